package cachestore_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
)

// A slowServer takes as long for a read as the context says.
type slowServer struct{ *hub }

// A delay is how long a read takes to get to the server, and back.
type delay struct{ there, back time.Duration }

type delayKey struct{}

func (s slowServer) Load(ctx context.Context, id string) (session.Record, error) {
	d, _ := ctx.Value(delayKey{}).(delay)
	time.Sleep(d.there)
	rec, err := s.hub.Load(ctx, id)
	time.Sleep(d.back)
	return rec, err
}

// gone is what read returns for a record that is not there.
const gone = 1 << 30

// read returns the number in the record "a", as a read that takes that long.
func read(t *testing.T, s session.Store, d delay) int {
	t.Helper()
	rec, err := s.Load(context.WithValue(t.Context(), delayKey{}, d), "a")
	if errors.Is(err, session.ErrNotFound) {
		return gone
	}
	n, bad := strconv.Atoi(string(rec.Data))
	if err != nil || bad != nil {
		t.Errorf("Load: %q, %v", rec.Data, err)
	}
	return n
}

// Some reads are under way while another process changes the record from 1 to 2
// at 50 ms. Whoever reads when they have returned finds the change.
func TestReadsDoNotGoBack(t *testing.T) {
	const ms = time.Millisecond
	type slowRead struct {
		begins time.Duration
		delay
		want int
	}
	// As the cache judges, the read that begins later is the fresher one.
	for _, test := range []struct {
		name   string
		delete bool
		reads  []slowRead
	}{
		{"the read that began first sees the change, the other returns last", false, []slowRead{
			{0, delay{60 * ms, 10 * ms}, 2},
			{10 * ms, delay{10 * ms, 80 * ms}, 1},
		}},
		{"the read that sees the change returns last", false, []slowRead{
			{0, delay{60 * ms, 40 * ms}, 2},
			{10 * ms, delay{10 * ms, 60 * ms}, 1},
		}},
		{"after two that differ comes one more of what was there before", false, []slowRead{
			{0, delay{10 * ms, 50 * ms}, 1},
			{0, delay{60 * ms, 10 * ms}, 2},
			{10 * ms, delay{10 * ms, 80 * ms}, 1},
		}},
		{"one finds nothing any more, the other returns last", true, []slowRead{
			{0, delay{60 * ms, 10 * ms}, gone},
			{10 * ms, delay{10 * ms, 80 * ms}, 1},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t)
				s := open(t, slowServer{h}, cachestore.Options{}).Store()
				rec := save(t, h, record("a", 1))
				var reads sync.WaitGroup
				for _, r := range test.reads {
					reads.Go(func() {
						time.Sleep(r.begins)
						if got := read(t, s, r.delay); got != r.want {
							t.Errorf("the read that begins at %v finds %d, want %d", r.begins, got, r.want)
						}
					})
				}
				time.Sleep(50 * ms)
				want := 2
				if test.delete {
					want = gone
					if err := h.Delete(t.Context(), "a"); err != nil {
						t.Fatal(err)
					}
				} else {
					rec.Data = []byte("2")
					save(t, h, rec)
				}
				reads.Wait()
				if got := read(t, s, delay{}); got != want {
					t.Errorf("a read after all others finds %d, want %d", got, want)
				}
			})
		})
	}
}

// A layout without a place for it reckons Expires anew with each read. Reads at once
// of one record are kept all the same, and a touch is not taken for such a
// difference.
func TestReadsThatReckonExpires(t *testing.T) {
	for _, test := range []struct {
		name string
		step time.Duration // between what two reads find
		hits uint64
	}{
		{"a few milliseconds", 3 * time.Millisecond, 1},
		{"a touch", time.Minute, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t)
				c := open(t, &reckoning{Store: slowServer{h}, step: test.step}, cachestore.Options{})
				s := c.Store()
				save(t, h, record("a", 1))
				var reads sync.WaitGroup
				for range 2 {
					reads.Go(func() { read(t, s, delay{back: time.Millisecond}) })
				}
				reads.Wait()
				read(t, s, delay{})
				if got := c.Stats().Hits; got != test.hits {
					t.Errorf("%d hits, want %d", got, test.hits)
				}
			})
		})
	}
}

// A reckoning is a store that finds a later end with each read.
type reckoning struct {
	session.Store
	step  time.Duration
	reads atomic.Int64
}

func (s *reckoning) Load(ctx context.Context, id string) (session.Record, error) {
	rec, err := s.Store.Load(ctx, id)
	rec.Expires = rec.Expires.Add(time.Duration(s.reads.Add(1)) * s.step)
	return rec, err
}

// Random reads, while another process counts up and, in the end, deletes.
func TestReadsDoNotGoBackAtRandom(t *testing.T) {
	var hits uint64
	for range 200 {
		bubble := func(t *testing.T) {
			h := newHub(t)
			c := open(t, slowServer{h}, cachestore.Options{MaxStale: 30 * time.Millisecond})
			s := c.Store()
			rec := save(t, h, record("a", 0))
			var mu sync.Mutex
			newest := 0 // that a read has returned
			var readers sync.WaitGroup
			for range 8 {
				readers.Go(func() {
					for range 20 {
						time.Sleep(rand.N(10 * time.Millisecond))
						mu.Lock()
						least := newest
						mu.Unlock()
						n := read(t, s, delay{rand.N(10 * time.Millisecond), rand.N(10 * time.Millisecond)})
						if n < least {
							t.Errorf("a read finds %d after another has returned %d", n, least)
						}
						mu.Lock()
						newest = max(newest, n)
						mu.Unlock()
					}
				})
			}
			for n := range 10 {
				time.Sleep(rand.N(30 * time.Millisecond))
				rec.Data = strconv.AppendInt(nil, int64(n+1), 10)
				rec = save(t, h, rec)
			}
			if err := h.Delete(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			readers.Wait()
			hits += c.Stats().Hits
		}
		synctest.Test(t, bubble)
		if t.Failed() {
			return
		}
	}
	if hits == 0 {
		t.Error("the cache was not used")
	}
}
