package pgxstore

import (
	"container/list"
	"context"
	"sync"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/sqldirect"
)

// maxBatch is how many loads share a request at most.
const maxBatch = 100

// A coalescer sends loads, and those that come while as many requests as it may
// have are under way together in the next one. So nobody waits for company: a
// load that comes alone goes at once, on the goroutine of its caller.
//
// No load ever joins a request that has been sent. What it gets was read after it
// began, and so it sees every save that had returned before.
type coalescer struct {
	send  func(ctx context.Context, loads []*load) // reads all and notes what it found
	limit int                                      // how many requests are under way at most

	mu       sync.Mutex
	underWay int
	waiting  list.List // of *load; empty unless underWay is limit
}

// A load is a record that somebody waits for.
type load struct {
	lookup sqldirect.Lookup
	key    any

	// What send notes. It belongs to the request until done is closed.
	rec session.Record // with the ID from the beginning
	err error

	done    chan struct{}
	place   *list.Element // while it waits
	request *request      // afterwards
}

// A request is on its way for several loads.
type request struct {
	loads  []*load
	wanted int // how many of the loads have not been given up
	ctx    context.Context
	cancel context.CancelFunc
}

// do returns when l was sent and answered, or ctx is done. In that case what l
// notes must not be looked at.
func (c *coalescer) do(ctx context.Context, l *load) error {
	c.mu.Lock()
	if c.underWay < c.limit {
		c.underWay++
		c.mu.Unlock()
		defer func() {
			if r := c.next(); r != nil {
				go c.run(r)
			}
		}()
		c.send(ctx, []*load{l})
		return l.err
	}
	l.done = make(chan struct{})
	l.place = c.waiting.PushBack(l)
	c.mu.Unlock()

	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		c.giveUp(l)
		return ctx.Err()
	}
}

// giveUp forgets a load that nobody waits for any more. A request ends when that
// was the last one that somebody had waited for.
func (c *coalescer) giveUp(l *load) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.request == nil {
		c.waiting.Remove(l.place)
		return
	}
	if l.request.wanted--; l.request.wanted == 0 {
		l.request.cancel()
	}
}

// run sends requests until nobody waits. It is a goroutine, and its requests have
// a context of their own, because whoever asked for a record must be able to give
// up without the others.
func (c *coalescer) run(r *request) {
	for ; r != nil; r = c.next() {
		c.send(r.ctx, r.loads)
		r.cancel()
		for _, l := range r.loads {
			close(l.done)
		}
	}
}

// next ends a request and begins that of those who wait, in their order. It
// returns nil if nobody does.
func (c *coalescer) next() *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(c.waiting.Len(), maxBatch)
	if n == 0 {
		c.underWay--
		return nil
	}
	r := &request{loads: make([]*load, n), wanted: n}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for i := range r.loads {
		l := c.waiting.Remove(c.waiting.Front()).(*load)
		l.request = r
		r.loads[i] = l
	}
	return r
}
