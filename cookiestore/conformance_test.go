package cookiestore_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/sessiontest"
)

const (
	secret    = session.Secret("a secret that seals, of 40 bytes........")
	oldSecret = session.Secret("the secret of last year, of 40 bytes....")
)

func newStore(t testing.TB, opts *cookiestore.Options, secrets ...session.Secret) *cookiestore.Store {
	t.Helper()
	if len(secrets) == 0 {
		secrets = []session.Secret{secret}
	}
	store, err := cookiestore.New(secrets, opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// A jar is what the clients of all sessions keep, in one place.
type jar struct {
	mu      sync.Mutex
	parcels map[string][][]byte
}

func (j *jar) Get(id string) [][]byte { return j.parcels[id] }
func (j *jar) Delete(id string)       { delete(j.parcels, id) }
func (j *jar) Put(id string, parcel []byte) error {
	j.parcels[id] = [][]byte{parcel}
	return nil
}

// withJar is a store whose clients hand in the latest that they were given, one
// call after another: what a request sees of its own.
type withJar struct {
	store *cookiestore.Store
	jar   *jar
}

func newWithJar(store *cookiestore.Store) *withJar {
	return &withJar{store, &jar{parcels: make(map[string][][]byte)}}
}

func (s *withJar) enter(ctx context.Context) context.Context {
	s.jar.mu.Lock()
	return session.WithParcels(ctx, s.jar)
}

func (s *withJar) Load(ctx context.Context, id string) (session.Record, error) {
	defer s.jar.mu.Unlock()
	return s.store.Load(s.enter(ctx), id)
}

func (s *withJar) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	defer s.jar.mu.Unlock()
	return s.store.Save(s.enter(ctx), rec)
}

func (s *withJar) Delete(ctx context.Context, id string) error {
	defer s.jar.mu.Unlock()
	return s.store.Delete(s.enter(ctx), id)
}

// TestConformance runs the whole suite on the store with clients that never show
// anything but the latest. What the suite cannot show by itself:
//
//   - The cases of concurrency pass because the jar is one and has a lock. Real
//     clients send a copy with each request; TestWhatTheContractLoses has what
//     becomes of the contract then.
//   - Not run, as the store has no such method: the cases of Touch, List, Sweep,
//     Ping and Close. Nothing can be listed, swept or reached, and a touch is a
//     save here.
//   - Not run: outage, as there is no server. TestRevokedBefore has what happens
//     when the one function that may ask a server fails.
func TestConformance(t *testing.T) {
	again := func(t *testing.T, store session.Store) session.Store {
		return &withJar{newStore(t, nil), store.(*withJar).jar}
	}
	for name, opts := range map[string]*cookiestore.Options{
		"as it comes": nil,
		"compressed":  {Compress: true, MaxBytes: 16384},
	} {
		t.Run(name, func(t *testing.T) {
			sessiontest.Suite{
				New:    func(t *testing.T) session.Store { return newWithJar(newStore(t, opts)) },
				Reopen: again,
				Peer:   again,
			}.Run(t)
		})
	}
}

// A client sends a copy of what it keeps with each request, and keeps what the
// answer brings. A thief has the copy that he has loaded first.
type client struct {
	store  *cookiestore.Store
	keeps  *jar
	thief  bool
	stolen map[string][][]byte
}

// request runs f as a request of its own, which takes its time on the way.
func (c *client) request(ctx context.Context, f func(ctx context.Context) error) error {
	c.keeps.mu.Lock()
	sent := &jar{parcels: maps.Clone(c.keeps.parcels)}
	c.keeps.mu.Unlock()
	time.Sleep(time.Millisecond)
	if err := f(session.WithParcels(ctx, sent)); err != nil {
		return err
	}
	c.keeps.mu.Lock()
	defer c.keeps.mu.Unlock()
	c.keeps.parcels = sent.parcels
	return nil
}

func (c *client) Load(ctx context.Context, id string) (rec session.Record, err error) {
	if c.stolen != nil {
		return c.store.Load(session.WithParcels(ctx, &jar{parcels: c.stolen}), id)
	}
	err = c.request(ctx, func(ctx context.Context) (err error) {
		rec, err = c.store.Load(ctx, id)
		return err
	})
	if c.thief && err == nil {
		c.stolen = maps.Clone(c.keeps.parcels)
	}
	return rec, err
}

func (c *client) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	err = c.request(ctx, func(ctx context.Context) (err error) {
		version, err = c.store.Save(ctx, rec)
		return err
	})
	return version, err
}

func (c *client) Delete(ctx context.Context, id string) error {
	return c.request(ctx, func(ctx context.Context) error { return c.store.Delete(ctx, id) })
}

func TestFacts(t *testing.T) {
	storefacts.Measure(t, "cookiestore", storefacts.Network, sessiontest.Suite{
		New: func(t *testing.T) session.Store {
			return &client{store: newStore(t, nil), keeps: &jar{parcels: make(map[string][][]byte)}}
		},
		Peer: func(t *testing.T, store session.Store) session.Store {
			return &client{store: newStore(t, nil), keeps: store.(*client).keeps, thief: true}
		},
		Reopen: func(t *testing.T, store session.Store) session.Store {
			return &client{store: newStore(t, nil), keeps: store.(*client).keeps}
		},
	})
}

// TestWhatTheContractLoses shows each rule of session.Store that does not hold
// between two requests, as each of them has a copy of what the client keeps.
func TestWhatTheContractLoses(t *testing.T) {
	ctx := t.Context()
	now := time.Now().UTC().Truncate(time.Millisecond)
	begin := func(t *testing.T) (*cookiestore.Store, session.Record, func() context.Context) {
		store, first := newStore(t, nil), &jar{parcels: make(map[string][][]byte)}
		rec := session.Record{ID: "an ID", Data: []byte(`{"n":0}`), Created: now, LastSeen: now, Expires: now.Add(time.Hour)}
		version, err := store.Save(session.WithParcels(ctx, first), &rec)
		if err != nil {
			t.Fatal(err)
		}
		rec.Version = version
		return store, rec, func() context.Context { // another request that shows the copy
			return session.WithParcels(ctx, &jar{parcels: map[string][][]byte{rec.ID: first.Get(rec.ID)}})
		}
	}

	t.Run("save-stale: a save of a state that another request has replaced succeeds", func(t *testing.T) {
		store, rec, request := begin(t)
		for range 2 {
			if _, err := store.Save(request(), &rec); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("save-deleted, concurrent-save-delete: a save after another request has deleted succeeds", func(t *testing.T) {
		store, rec, request := begin(t)
		if err := store.Delete(request(), rec.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Save(request(), &rec); err != nil {
			t.Error(err)
		}
	})
	t.Run("delete-gone: a copy opens after the deletion", func(t *testing.T) {
		store, rec, request := begin(t)
		if err := store.Delete(request(), rec.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(request(), rec.ID); err != nil {
			t.Error(err)
		}
	})
	t.Run("insert-exists, concurrent-insert: an ID that another client has can be used again", func(t *testing.T) {
		store, rec, _ := begin(t)
		rec.Version = 0
		other := session.WithParcels(ctx, &jar{parcels: make(map[string][][]byte)})
		if _, err := store.Save(other, &rec); err != nil {
			t.Error(err)
		}
	})
	t.Run("peer-sees, linearizable, concurrent-cas: a request sees only what its client had when it began", func(t *testing.T) {
		store, rec, request := begin(t)
		slow := request()
		changed := rec
		changed.Data = []byte(`{"n":1}`)
		if _, err := store.Save(request(), &changed); err != nil {
			t.Fatal(err)
		}
		got, err := store.Load(slow, rec.ID)
		if err != nil || string(got.Data) != `{"n":0}` {
			t.Error(string(got.Data), err)
		}
	})
}

func TestWithoutAClientNothingIsKnown(t *testing.T) {
	store := newStore(t, nil)
	_, loadErr := store.Load(t.Context(), "an ID")
	_, saveErr := store.Save(t.Context(), &session.Record{ID: "an ID"})
	for op, err := range map[string]error{"load": loadErr, "save": saveErr, "delete": store.Delete(t.Context(), "an ID")} {
		if !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s: %v", op, err)
		}
	}
}
