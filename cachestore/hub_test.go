package cachestore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

var errLost = errors.New("the connection is lost")

// A hub is a server: records, and channels that report what was changed.
type hub struct {
	*memstore.Store
	changing sync.RWMutex // held to read from a change until it has been reported

	mu       sync.Mutex
	mute     bool // channels are dead without a sign
	refuse   bool // no channel can be had
	watchers map[*watcher]bool
}

type watcher struct {
	calls   sync.Mutex
	changed func(id string)
	lost    chan struct{}
}

func newHub(t testing.TB) *hub {
	h := &hub{Store: memstore.New(nil), watchers: map[*watcher]bool{}}
	t.Cleanup(func() { h.Store.Close() })
	return h
}

func (h *hub) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	defer h.change(rec.ID)()
	return h.Store.Save(ctx, rec)
}

func (h *hub) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	defer h.change(id)()
	return h.Store.Touch(ctx, id, lastSeen, expires)
}

func (h *hub) Delete(ctx context.Context, id string) error {
	defer h.change(id)()
	return h.Store.Delete(ctx, id)
}

func (h *hub) Sweep(ctx context.Context, before time.Time) (int, error) {
	defer h.change("")()
	return h.Store.Sweep(ctx, before)
}

func (h *hub) change(id string) (report func()) {
	h.changing.RLock()
	return func() {
		defer h.changing.RUnlock()
		h.mu.Lock()
		defer h.mu.Unlock()
		for w := range h.watchers {
			if !h.mute {
				w.calls.Lock()
				w.changed(id)
				w.calls.Unlock()
			}
		}
	}
}

func (h *hub) Watch(ctx context.Context, every time.Duration, changed func(id string), current func(asOf time.Time)) error {
	w := &watcher{changed: changed, lost: make(chan struct{})}
	h.mu.Lock()
	if h.refuse {
		h.mu.Unlock()
		return errLost
	}
	h.watchers[w] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		h.changing.Lock()
		asOf := time.Now()
		h.changing.Unlock()
		h.mu.Lock()
		mute := h.mute
		h.mu.Unlock()
		if !mute {
			w.calls.Lock()
			current(asOf)
			w.calls.Unlock()
		}
		select {
		case <-ticker.C:
		case <-w.lost:
			return errLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// set makes channels mute, or not, and says whether there are new ones. One that
// was mute ends instead of speaking again: it has left out changes.
func (h *hub) set(mute, refuse bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mute && !mute {
		h.end()
	}
	h.mute, h.refuse = mute, refuse
}

// lose ends all channels.
func (h *hub) lose() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end()
}

func (h *hub) end() {
	for w := range h.watchers {
		close(w.lost)
		delete(h.watchers, w)
	}
}

// A linearHub is a hub whose reads, too, return when what they have found is
// reported to all: else one process may return a change that another, which still
// has what was there before, does not.
type linearHub struct{ *hub }

func (h linearHub) Load(ctx context.Context, id string) (session.Record, error) {
	defer func() {
		h.changing.Lock()
		defer h.changing.Unlock()
	}()
	return h.hub.Load(ctx, id)
}

func open(t testing.TB, inner session.Store, opts cachestore.Options) *cachestore.Cache {
	t.Helper()
	c, err := cachestore.New(inner, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// watch runs the cache until the test ends.
func watch(t testing.TB, c *cachestore.Cache) *cachestore.Cache {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { c.Run(ctx) })
	t.Cleanup(ended.Wait)
	t.Cleanup(cancel)
	for !c.Stats().Watching {
		time.Sleep(time.Millisecond)
	}
	return c
}

func TestConformance(t *testing.T) {
	t.Run("one process", func(t *testing.T) {
		t.Parallel()
		sessiontest.TestStore(t, func(t *testing.T) session.Store {
			return open(t, memstore.New(nil), cachestore.Options{}).Store()
		})
	})
	t.Run("two processes and a channel", func(t *testing.T) {
		t.Parallel()
		var mu sync.Mutex
		hubs := map[session.Store]*hub{}
		at := func(t *testing.T, h *hub) session.Store {
			// With a long bound it is the channel alone that keeps them current.
			s := watch(t, open(t, linearHub{h}, cachestore.Options{MaxStale: time.Hour})).Store()
			mu.Lock()
			defer mu.Unlock()
			hubs[s] = h
			return s
		}
		sessiontest.Suite{
			New:  func(t *testing.T) session.Store { return at(t, newHub(t)) },
			Peer: func(t *testing.T, store session.Store) session.Store { return at(t, hubs[store]) },
		}.Run(t)
	})
	t.Run("a small cache", func(t *testing.T) {
		t.Parallel()
		sessiontest.TestStore(t, func(t *testing.T) session.Store {
			return open(t, memstore.New(nil), cachestore.Options{MaxRecords: 2, MaxBytes: 5000}).Store()
		})
	})
}

func BenchmarkStore(b *testing.B) {
	sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
		return watch(b, open(b, newHub(b), cachestore.Options{})).Store()
	})
}
