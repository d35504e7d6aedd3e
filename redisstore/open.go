package redisstore

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/rueidis"
)

// Open is [New] for a client that is made when it is needed first. It is for
// programs that must be able to start while the server is down, as
// rueidis.NewClient then fails: operations fail until connect succeeds, which
// is called again when there is a call for it, by one operation at a time.
// [Store.Close] closes the client.
//
//	store, err := redisstore.Open(func() (rueidis.Client, error) {
//		return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}})
//	}, nil)
func Open(connect func() (rueidis.Client, error), opts *Options) (*Store, error) {
	if connect == nil {
		return nil, errors.New("redisstore: the function is nil; it has to call rueidis.NewClient")
	}
	o := &opener{connect: connect}
	return newStore(opts, o.link, o.close)
}

// An opener opens a client and keeps it.
type opener struct {
	connect func() (rueidis.Client, error)

	mu      sync.Mutex
	opened  *rueidisLink
	current *attempt
	closed  bool
}

// An attempt is a call of connect. Its results are set when done is closed.
type attempt struct {
	done chan struct{}
	link *rueidisLink
	err  error
}

// link returns the client's link, or waits for an attempt to get it, as long as
// ctx lets it. The attempt goes on without it, for the next one who asks:
// connect knows nothing of ctx.
func (o *opener) link(ctx context.Context) (*rueidisLink, error) {
	o.mu.Lock()
	switch {
	case o.closed:
		o.mu.Unlock()
		return nil, errClosed
	case o.opened != nil:
		defer o.mu.Unlock()
		return o.opened, nil
	}
	if o.current == nil {
		o.current = &attempt{done: make(chan struct{})}
		go o.try(o.current)
	}
	a := o.current
	o.mu.Unlock()

	select {
	case <-a.done:
		if a.err != nil {
			return nil, a.err
		}
		return a.link, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (o *opener) try(a *attempt) {
	client, err := o.connect()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil && client == nil:
		err = errors.New("the function that connects returned no client")
	case err == nil && o.closed:
		err = errClosed
	}
	if err == nil {
		a.link = newRueidisLink(client)
		o.opened = a.link
	} else if client != nil {
		client.Close() // rueidis may return both a client and an error
	}
	a.err = err
	o.current = nil
	close(a.done)
}

func (o *opener) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opened != nil && !o.closed {
		o.opened.client.Close()
	}
	o.closed = true
	return nil
}
