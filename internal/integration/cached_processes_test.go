package integration

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/sessiontest"
)

// A sharedStore is one that a cache can be in front of, in several processes.
type sharedStore interface {
	session.Store
	session.Toucher
	session.Lister
	session.Pinger
	session.Watcher
}

// cachedProcesses returns the suite for processes that share what a store keeps
// and have a cache each. The caches keep a record for an hour, so the suite passes
// only if what Watch reports is all that has changed.
func cachedProcesses(plain sessiontest.Suite) sessiontest.Suite {
	type process struct {
		inner session.Store
		group *group
	}
	var processes sync.Map // by what is given to the suite
	start := func(t *testing.T, g *group, inner session.Store) session.Store {
		store := g.join(t, inner.(sharedStore))
		processes.Store(store, process{inner, g})
		return store
	}
	another := func(t *testing.T, store session.Store) session.Store {
		p, _ := processes.Load(store)
		of := p.(process)
		return start(t, of.group, plain.Peer(t, of.inner))
	}
	return sessiontest.Suite{
		New:    func(t *testing.T) session.Store { return start(t, new(group), plain.New(t)) },
		Reopen: another,
		Peer:   another,
		Layout: plain.Layout,
	}
}

// A group is the processes that share records. What an operation of one of them
// has told its caller, all know: a write returns when all have claimed that they
// know of it, and so does a read beside a write, which may be the first to tell
// of it.
type group struct {
	writing atomic.Int64 // writes that have not returned
	mu      sync.Mutex
	taps    []*tap
}

func (g *group) join(t testing.TB, inner sharedStore) session.Store {
	t.Helper()
	tapped := newTap(t, inner)
	var outer session.Store = tapped
	sweeper, sweeps := inner.(session.Sweeper)
	if sweeps {
		outer = struct {
			*tap
			session.Sweeper
		}{tapped, sweeper}
	}
	cached := watched(t, outer, cachestore.Options{
		MaxStale: time.Hour,
		OnLost:   func(err error) { t.Error(err) },
	}).Store()
	g.mu.Lock()
	g.taps = append(g.taps, tapped)
	g.mu.Unlock()
	m := &member{cached.(memberStore), g}
	if sweeps {
		return sweepingMember{m, cached.(session.Sweeper)}
	}
	return m
}

func (g *group) await() {
	g.mu.Lock()
	taps := slices.Clone(g.taps)
	g.mu.Unlock()
	for _, tap := range taps {
		tap.await()
	}
}

// write encloses a write: it is called before, and what it returns after.
func (g *group) write() (wrote func()) {
	g.writing.Add(1)
	return func() {
		g.await()
		g.writing.Add(-1)
	}
}

// A member is the store of a process of the group.
type member struct {
	memberStore
	group *group
}

type memberStore interface {
	session.Store
	session.Toucher
	session.Lister
	session.Pinger
}

func (m *member) Load(ctx context.Context, id string) (session.Record, error) {
	defer func() {
		if m.group.writing.Load() > 0 {
			m.group.await()
		}
	}()
	return m.memberStore.Load(ctx, id)
}

func (m *member) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	defer m.group.write()()
	return m.memberStore.Save(ctx, rec)
}

func (m *member) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	defer m.group.write()()
	return m.memberStore.Touch(ctx, id, lastSeen, expires)
}

func (m *member) Delete(ctx context.Context, id string) error {
	defer m.group.write()()
	return m.memberStore.Delete(ctx, id)
}

type sweepingMember struct {
	*member
	sweeper session.Sweeper
}

func (m sweepingMember) Sweep(ctx context.Context, before time.Time) (int, error) {
	defer m.group.write()()
	return m.sweeper.Sweep(ctx, before)
}

// A tap is a store whose Watch remembers what it has claimed. It beats often,
// whatever it is asked for.
type tap struct {
	sharedStore
	t    testing.TB
	mu   sync.Mutex
	asOf time.Time
	more chan struct{} // closed when asOf is later
}

func newTap(t testing.TB, store sharedStore) *tap {
	return &tap{sharedStore: store, t: t, more: make(chan struct{})}
}

func (s *tap) Watch(ctx context.Context, _ time.Duration, changed func(string), current func(time.Time)) error {
	return s.sharedStore.Watch(ctx, 4*time.Millisecond, changed, func(asOf time.Time) {
		current(asOf)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asOf = asOf
		close(s.more)
		s.more = make(chan struct{})
	})
}

// await returns when Watch has claimed that all until now was reported.
func (s *tap) await() {
	now := time.Now()
	for {
		s.mu.Lock()
		asOf, more := s.asOf, s.more
		s.mu.Unlock()
		if asOf.After(now) {
			return
		}
		select {
		case <-more:
		case <-time.After(30 * time.Second):
			s.t.Error("Watch claims nothing any more")
			return
		}
	}
}
