package pgxstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/coatcheck/session"
)

// A server answers requests when it is told to. What a request finds is the value
// that the server has when it arrives, which is when it is sent.
type server struct {
	mu       sync.Mutex
	value    int
	requests []*arrived
}

// An arrived request waits for its answer.
type arrived struct {
	ids    []string
	answer chan error
}

func (s *server) send(ctx context.Context, loads []*load) {
	a := &arrived{answer: make(chan error)}
	for _, l := range loads {
		a.ids = append(a.ids, l.rec.ID)
	}
	s.mu.Lock()
	value := s.value
	s.requests = append(s.requests, a)
	s.mu.Unlock()
	var err error
	select {
	case err = <-a.answer:
	case <-ctx.Done():
		err = ctx.Err()
	}
	for _, l := range loads {
		l.rec.Version, l.err = uint64(value), err
	}
}

// arrived returns the IDs of each request that has ever arrived.
func (s *server) arrived() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, a := range s.requests {
		all = append(all, strings.Join(a.ids, "+"))
	}
	return strings.Join(all, " ")
}

// A caller is somebody who loads a record.
type caller struct {
	done    bool
	err     error
	version uint64
	cancel  context.CancelFunc
}

// bubble runs a test with a coalescer that has the limit.
func bubble(t *testing.T, limit int, test func(s *server, c *coalescer, load func(id string) *caller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		c := &coalescer{send: s.send, limit: limit}
		test(s, c, func(id string) *caller {
			ctx, cancel := context.WithCancel(t.Context())
			who := &caller{cancel: cancel}
			go func() {
				l := &load{rec: session.Record{ID: id}}
				who.err = c.do(ctx, l)
				if who.err == nil {
					who.version = l.rec.Version
				}
				who.done = true
			}()
			synctest.Wait()
			return who
		})
		synctest.Wait()
		// Nobody waits and nothing is under way: synctest sees to it that no
		// goroutine is left.
		if c.underWay != 0 || c.waiting.Len() != 0 {
			t.Errorf("%d requests are under way, %d loads wait", c.underWay, c.waiting.Len())
		}
	})
}

func (s *server) answer(request int, err error) {
	s.mu.Lock()
	a := s.requests[request]
	s.mu.Unlock()
	a.answer <- err
	synctest.Wait()
}

func wantArrived(t *testing.T, s *server, want string) {
	t.Helper()
	if got := s.arrived(); got != want {
		t.Errorf("the requests are %q, want %q", got, want)
	}
}

func TestLoadsJoin(t *testing.T) {
	bubble(t, 2, func(s *server, c *coalescer, load func(string) *caller) {
		a, b := load("a"), load("b")
		wantArrived(t, s, "a b") // nobody waits for company
		rest := []*caller{load("c"), load("d"), load("e")}
		wantArrived(t, s, "a b")
		s.answer(1, nil)
		wantArrived(t, s, "a b c+d+e")
		if !b.done || a.done || rest[0].done {
			t.Error("an answer went to somebody else")
		}
		f := load("f")
		wantArrived(t, s, "a b c+d+e") // two are under way
		s.answer(2, nil)
		wantArrived(t, s, "a b c+d+e f")
		for _, who := range rest {
			if !who.done || who.err != nil {
				t.Errorf("a load that was sent with others: done %v, %v", who.done, who.err)
			}
		}
		s.answer(0, nil)
		s.answer(3, nil)
		if !a.done || !f.done {
			t.Error("a load was not answered")
		}
		g := load("g") // alone again
		wantArrived(t, s, "a b c+d+e f g")
		s.answer(4, nil)
		if !g.done {
			t.Error("a load was not answered")
		}
	})
}

// A load that begins when a save has returned must see it, whatever is under way.
func TestLoadSeesWhatWasSavedBefore(t *testing.T) {
	bubble(t, 1, func(s *server, c *coalescer, load func(string) *caller) {
		first := load("a")
		second := load("a")
		s.value = 1 // saved, after the first request has arrived
		third := load("a")
		s.answer(0, nil)
		s.value = 2
		fourth := load("a")
		s.answer(1, nil)
		s.answer(2, nil)
		for i, who := range []*caller{first, second, third, fourth} {
			if want := []uint64{0, 0, 1, 2}[i]; !who.done || who.version < want {
				t.Errorf("load %d has seen version %d, want %d", i, who.version, want)
			}
		}
	})
}

func TestLoadGivenUp(t *testing.T) {
	gaveUp := func(t *testing.T, who *caller) {
		t.Helper()
		synctest.Wait()
		if !who.done || !errors.Is(who.err, context.Canceled) {
			t.Errorf("a load that was given up: done %v, %v", who.done, who.err)
		}
	}
	t.Run("while it waits", func(t *testing.T) {
		bubble(t, 1, func(s *server, c *coalescer, load func(string) *caller) {
			load("a")
			b, d := load("b"), load("d")
			b.cancel()
			gaveUp(t, b)
			s.answer(0, nil)
			wantArrived(t, s, "a d")
			s.answer(1, nil)
			if !d.done || d.err != nil {
				t.Errorf("the load beside it: done %v, %v", d.done, d.err)
			}
		})
	})
	t.Run("while its request is under way", func(t *testing.T) {
		bubble(t, 1, func(s *server, c *coalescer, load func(string) *caller) {
			load("a")
			b, d := load("b"), load("d")
			s.answer(0, nil)
			b.cancel()
			gaveUp(t, b)
			if d.done {
				t.Error("the load beside it was given up, too")
			}
			s.answer(1, nil)
			if !d.done || d.err != nil {
				t.Errorf("the load beside it: done %v, %v", d.done, d.err)
			}
		})
	})
	t.Run("by all of a request", func(t *testing.T) {
		bubble(t, 1, func(s *server, c *coalescer, load func(string) *caller) {
			load("a")
			b, d := load("b"), load("d")
			s.answer(0, nil)
			e := load("e")
			b.cancel()
			d.cancel()
			gaveUp(t, b)
			gaveUp(t, d)
			wantArrived(t, s, "a b+d e") // the request has ended, without an answer
			s.answer(2, nil)
			if !e.done || e.err != nil {
				t.Errorf("the load behind them: done %v, %v", e.done, e.err)
			}
		})
	})
	t.Run("by who is alone", func(t *testing.T) {
		bubble(t, 1, func(s *server, c *coalescer, load func(string) *caller) {
			a, b := load("a"), load("b")
			a.cancel()
			gaveUp(t, a)
			wantArrived(t, s, "a b")
			s.answer(1, nil)
			if !b.done || b.err != nil {
				t.Errorf("the load behind it: done %v, %v", b.done, b.err)
			}
		})
	})
}

func TestLoadsFailTogether(t *testing.T) {
	broken := errors.New("broken")
	bubble(t, 1, func(s *server, c *coalescer, load func(string) *caller) {
		load("a")
		b, d := load("b"), load("d")
		s.answer(0, nil)
		e := load("e")
		s.answer(1, broken)
		for _, who := range []*caller{b, d} {
			if !who.done || who.err != broken {
				t.Errorf("a load of the request that failed: done %v, %v", who.done, who.err)
			}
		}
		s.answer(2, nil)
		if !e.done || e.err != nil {
			t.Errorf("the load behind them: done %v, %v", e.done, e.err)
		}
	})
}

func TestRequestsAreBounded(t *testing.T) {
	bubble(t, 1, func(s *server, c *coalescer, load func(string) *caller) {
		load("first")
		var ids []string
		for i := range 2*maxBatch + 1 {
			ids = append(ids, fmt.Sprint(i))
			load(ids[i])
		}
		want := "first"
		for i, batch := range slices.Collect(slices.Chunk(ids, maxBatch)) {
			s.answer(i, nil)
			want += " " + strings.Join(batch, "+")
			wantArrived(t, s, want)
		}
		s.answer(3, nil)
	})
}

// TestLoadsAtOnce has many load and give up on several processors, to be run with
// the race detector.
func TestLoadsAtOnce(t *testing.T) {
	var sent, limit = 0, 3
	var mu sync.Mutex
	c := &coalescer{limit: limit, send: func(ctx context.Context, loads []*load) {
		mu.Lock()
		sent++
		if len(loads) > maxBatch {
			t.Errorf("a request has %d loads", len(loads))
		}
		mu.Unlock()
		runtime.Gosched()
		for _, l := range loads {
			l.rec.Subject = "of " + l.rec.ID
			l.err = ctx.Err()
		}
	}}
	var wg sync.WaitGroup
	const callers, rounds = 64, 300
	for n := range callers {
		wg.Go(func() {
			for i := range rounds {
				ctx, cancel := context.WithCancel(t.Context())
				if (n+i)%5 == 0 {
					go cancel()
				}
				l := &load{rec: session.Record{ID: fmt.Sprint(n, "-", i)}}
				switch err := c.do(ctx, l); {
				case err == nil && l.rec.Subject != "of "+l.rec.ID:
					t.Errorf("load %s got %q", l.rec.ID, l.rec.Subject)
				case err != nil && ctx.Err() == nil:
					t.Errorf("load %s: %v", l.rec.ID, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for { // the last request may end when all its loads have been given up
		c.mu.Lock()
		idle := c.underWay == 0 && c.waiting.Len() == 0
		c.mu.Unlock()
		if idle {
			break
		}
		runtime.Gosched()
	}
	if sent == callers*rounds {
		t.Error("no two loads were sent together")
	}
}
