package natstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/natsstore"
	"github.com/coatcheck/session/sessiontest"
)

// A watching collects what Watch reports.
type watching struct {
	mu      sync.Mutex
	changed map[string]int
	asOf    time.Time
	proofs  int
	ended   bool
	err     chan error
}

// startWatch watches until the test ends, or until stop is called.
func startWatch(t *testing.T, store *natsstore.Store, every time.Duration) (w *watching, stop context.CancelFunc) {
	t.Helper()
	w = &watching{changed: map[string]int{}, err: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		err := store.Watch(ctx, every,
			func(id string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.changed[id]++
				if w.ended {
					t.Error("a change was reported after Watch had returned")
				}
			},
			func(asOf time.Time) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if asOf.Before(w.asOf) || w.ended {
					t.Errorf("current with %v after %v, ended: %v", asOf, w.asOf, w.ended)
				}
				w.asOf, w.proofs = asOf, w.proofs+1
			})
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		w.err <- err
	})
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	waitUntil(t, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.proofs == 0 && !w.ended {
			return errors.New("current was not called")
		}
		return nil
	})
	return w, cancel
}

// wait waits until a change of the record was reported.
func (w *watching) wait(t *testing.T, id string) {
	t.Helper()
	waitUntil(t, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.changed[id] == 0 {
			return fmt.Errorf("no change of %q was reported", id)
		}
		return nil
	})
}

func (w *watching) waitProof(t *testing.T, after time.Time) {
	t.Helper()
	waitUntil(t, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.asOf.After(after) {
			return errors.New("nothing was proved")
		}
		return nil
	})
}

func TestWatch(t *testing.T) {
	forEachPlace(t, func(t *testing.T, nodes []*node) {
		opts := natsstore.Options{Replicas: len(nodes)}
		store := open(t, connect(t, nodes...), opts)
		old := record("old", "")
		save(t, store, &old)
		// On another server, if there are several.
		watcher := newStore(t, connect(t, nodes[len(nodes)-1]), opts)
		w, stop := startWatch(t, watcher, 20*time.Millisecond)
		changes := []struct {
			id string
			do func()
		}{
			{"a.b *>", func() { rec := record("a.b *>", "alice"); save(t, store, &rec) }},
			{"old", func() { touch(t, store, "old", now().Add(2*time.Hour)) }},
			{"old", func() { save(t, store, &old) }},
			{"old", func() {
				if err := store.Delete(limited(t), "old"); err != nil {
					t.Error(err)
				}
			}},
		}
		for _, change := range changes {
			w.mu.Lock()
			clear(w.changed)
			w.mu.Unlock()
			change.do()
			w.wait(t, change.id)
		}
		// With each proof comes what was changed before.
		for i := range 50 {
			id := fmt.Sprint("id-", i)
			rec := record(id, "")
			save(t, store, &rec)
			w.waitProof(t, time.Now())
			w.mu.Lock()
			if w.changed[id] == 0 {
				t.Errorf("a proof for a time after the change of %s, of which nothing was reported", id)
			}
			w.mu.Unlock()
		}
		stop()
		if err := <-w.err; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
	})
}

// A key that is written all the time is delivered late, and some of its values
// never. No proof may come before what was changed at its time.
func TestWatchUnderLoad(t *testing.T) {
	forEachPlace(t, func(t *testing.T, nodes []*node) {
		opts := natsstore.Options{Replicas: len(nodes)}
		open(t, connect(t, nodes...), opts)
		type change struct{ began, ended time.Time } // of the last Save
		var (
			mu       sync.Mutex
			changed  = map[string]change{}
			reported = map[string]time.Time{}
			proofs   int
			running  sync.WaitGroup
		)
		ctx, cancel := context.WithCancel(context.Background())
		watcher := newStore(t, connect(t, nodes[len(nodes)-1]), opts)
		running.Go(func() {
			err := watcher.Watch(ctx, 10*time.Millisecond, func(id string) {
				mu.Lock()
				defer mu.Unlock()
				reported[id] = time.Now()
			}, func(asOf time.Time) {
				mu.Lock()
				defer mu.Unlock()
				proofs++
				for id, c := range changed {
					// One that is reported may have begun before it was written, and
					// ended after it was reported.
					if c.ended.Before(asOf) && reported[id].Before(c.began) {
						t.Errorf("a proof for %v after a change that was not reported", asOf.Sub(c.ended))
					}
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Watch: %v", err)
			}
		})
		proved := func(n int) {
			t.Helper()
			waitUntil(t, func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				if proofs < n {
					return errors.New("there are no proofs")
				}
				return nil
			})
		}
		proved(1) // of what was changed before it listens nothing is said
		var writing sync.WaitGroup
		const writers, saves = 6, 150
		for i := range writers {
			store := newStore(t, connect(t, nodes[i%len(nodes)]), opts)
			writing.Go(func() {
				rec := record(fmt.Sprint(i), "")
				for range saves {
					began := time.Now()
					save(t, store, &rec)
					mu.Lock()
					changed[rec.ID] = change{began, time.Now()}
					mu.Unlock()
				}
			})
		}
		writing.Wait()
		proved(3)
		cancel()
		running.Wait()
		t.Logf("%d proofs while %d saves were made", proofs, writers*saves)
	})
}

// Whatever keeps changes from coming, there is no proof any more, and an end.
func TestWatchThatIsDeafEnds(t *testing.T) {
	n := startNode(t, limits{})
	admin := connect(t, n)
	store := open(t, admin, natsstore.Options{})
	rec := record("id", "")
	save(t, store, &rec)
	removeConsumers := func() {
		t.Helper()
		stream, err := admin.Stream(limited(t), "KV_sessions")
		if err != nil {
			t.Fatal(err)
		}
		names := stream.ConsumerNames(limited(t))
		for name := range names.Name() {
			if err := stream.DeleteConsumer(limited(t), name); err != nil {
				t.Error(err)
			}
		}
	}
	for _, test := range []struct {
		name string
		harm func(wire *lossyWire)
		says string
	}{
		{"the consumer is gone, and something is saved", func(*lossyWire) {
			removeConsumers()
			save(t, store, &rec)
		}, "does not bring"},
		{"the wire is dead", func(w *lossyWire) {
			w.deaf.Store(true)
			save(t, store, &rec)
		}, "does not bring"},
		{"the wire is dead, and nothing is saved", func(w *lossyWire) { w.deaf.Store(true) }, "does not bring"},
		{"the wire was dead for a while, and messages were lost", func(w *lossyWire) {
			w.deaf.Store(true)
			save(t, store, &rec)
			waitUntil(t, func(context.Context) error {
				if !w.swallowed.Load() {
					return errors.New("the message has not come")
				}
				return nil
			})
			w.mend()
		}, "channel"},
		{"the bucket is made anew", func(*lossyWire) {
			if err := admin.DeleteKeyValue(limited(t), "sessions"); err != nil {
				t.Error(err)
			}
			open(t, admin, natsstore.Options{})
		}, "bucket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wire := new(lossyWire)
			watcher := newStore(t, connectWith(t, []*node{n}, nats.SetCustomDialer(wire)), natsstore.Options{})
			w, _ := startWatch(t, watcher, 50*time.Millisecond)
			w.waitProof(t, time.Now())
			test.harm(wire)
			harmed := time.Now()
			err := <-w.err
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Watch: %v, want %q", err, test.says)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.asOf.After(harmed) {
				t.Errorf("a proof for %v after the harm", w.asOf.Sub(harmed))
			}
			t.Logf("it ended after %v: %v", time.Since(harmed), err)
		})
	}
}

// A leader is killed, and with it perhaps the consumer: what the cache returns is
// never older than it may be, and it listens anew.
func TestWatchOutlivesLeaders(t *testing.T) {
	nodes := startCluster(t)
	admin := connect(t, nodes...)
	opts := natsstore.Options{Replicas: 3}
	store := open(t, admin, opts)
	rec := record("id", "")
	save(t, store, &rec)
	const maxStale = 5 * time.Second
	cache, err := cachestore.New(newStore(t, connect(t, nodes...), opts), &cachestore.Options{MaxStale: maxStale})
	if err != nil {
		t.Fatal(err)
	}
	runCache(t, cache)
	cached := cache.Store()
	for range nodes {
		leader := leaderOf(t, admin, "sessions", nodes)
		leader.Kill()
		save(t, store, &rec) // there is a leader again
		leader.Start()
		waitUntil(t, func(ctx context.Context) error { return isCurrent(ctx, admin, "sessions") })
		// Two loads without a change between: the second from memory.
		for hits := cache.Stats().Hits; cache.Stats().Hits == hits; {
			load(t, cached, "id")
		}
		save(t, store, &rec)
		saved := time.Now()
		for {
			began := time.Now()
			if load(t, cached, "id").Version == rec.Version {
				break
			}
			if old := began.Sub(saved); old > maxStale {
				t.Fatalf("%v after the save the cache returns what was before", old)
			}
		}
		waitUntil(t, func(context.Context) error {
			changes := cache.Stats().Changes
			save(t, store, &rec)
			time.Sleep(100 * time.Millisecond)
			if cache.Stats().Changes == changes {
				return errors.New("the cache does not hear of changes")
			}
			return nil
		})
	}
	if stats := cache.Stats(); stats.Changes == 0 || stats.Hits < uint64(len(nodes)) {
		t.Errorf("%+v", stats)
	} else {
		t.Logf("%+v", stats)
	}
}

func runCache(t *testing.T, cache *cachestore.Cache) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { cache.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	waitUntil(t, func(context.Context) error {
		if !cache.Stats().Watching {
			return errors.New("the cache does not listen")
		}
		return nil
	})
}

// Behind a cache that trusts the channel for a long time. A peer sees a change when
// it was reported, which is a moment later, so there is none here.
func TestConformanceCached(t *testing.T) {
	forEachPlace(t, func(t *testing.T, nodes []*node) {
		inner := suite(t, nodes)
		var mu sync.Mutex
		inners := map[session.Store]session.Store{}
		at := func(t *testing.T, store session.Store) session.Store {
			cache, err := cachestore.New(store, &cachestore.Options{MaxStale: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			runCache(t, cache)
			cached := cache.Store()
			mu.Lock()
			defer mu.Unlock()
			inners[cached] = store
			return cached
		}
		sessiontest.Suite{
			New: func(t *testing.T) session.Store { return at(t, inner.New(t)) },
			Reopen: func(t *testing.T, store session.Store) session.Store {
				mu.Lock()
				of := inners[store]
				mu.Unlock()
				return at(t, inner.Reopen(t, of))
			},
		}.Run(t)
	})
}
