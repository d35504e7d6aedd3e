package scsstore_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/scsstore"
	"github.com/coatcheck/session/sessiontest"
)

// source has the methods of scs.Store and scs.IterableStore.
type source struct {
	mu      sync.Mutex
	values  map[string][]byte
	expires map[string]time.Time
	fail    error
}

func newSource() *source {
	return &source{values: map[string][]byte{}, expires: map[string]time.Time{}}
}

func (s *source) Find(token string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.values[token]
	if ok && !time.Now().Before(s.expires[token]) {
		return nil, false, s.fail
	}
	return b, ok, s.fail
}

func (s *source) Commit(token string, b []byte, expiry time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[token], s.expires[token] = b, expiry
	return s.fail
}

func (s *source) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, token)
	return s.fail
}

func (s *source) All() (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.values), s.fail
}

// ctxSource has those of scs.CtxStore and scs.IterableCtxStore instead, and its
// plain ones panic, as those of some stores do.
type ctxSource struct{ inner *source }

func (ctxSource) Find(string) ([]byte, bool, error)      { panic("use FindCtx") }
func (ctxSource) Commit(string, []byte, time.Time) error { panic("use CommitCtx") }
func (ctxSource) Delete(string) error                    { panic("use DeleteCtx") }

func (s ctxSource) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	return s.inner.Find(token)
}

func (s ctxSource) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	return errors.Join(ctx.Err(), s.inner.Commit(token, b, expiry))
}

func (s ctxSource) DeleteCtx(ctx context.Context, token string) error {
	return errors.Join(ctx.Err(), s.inner.Delete(token))
}

func (s ctxSource) AllCtx(ctx context.Context) (map[string][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.inner.All()
}

func TestConformance(t *testing.T) {
	for name, newStore := range map[string]func() session.Store{
		"a store without contexts": func() session.Store { return scsstore.New(newSource()) },
		"a store that can iterate": func() session.Store { return scsstore.NewIterable(newSource()) },
		"a store with contexts":    func() session.Store { return scsstore.NewIterableContext(ctxSource{newSource()}) },
	} {
		t.Run(name, func(t *testing.T) {
			sessiontest.TestStore(t, func(*testing.T) session.Store { return newStore() })
		})
	}
}

func TestErrorsOfTheSourceAreWrappedAndNotPrinted(t *testing.T) {
	src := newSource()
	store := scsstore.NewIterable(src)
	src.fail = errors.New("no such host while looking for token-1")
	ctx := context.Background()
	rec := session.Record{ID: "token-1", Data: []byte("{}"), Expires: time.Now().Add(time.Hour)}
	_, loadErr := store.Load(ctx, rec.ID)
	_, saveErr := store.Save(ctx, &rec)
	_, _, listErr := store.List(ctx, session.Query{Limit: 1})
	for op, err := range map[string]error{
		"load":   loadErr,
		"save":   saveErr,
		"delete": store.Delete(ctx, rec.ID),
		"touch":  store.Touch(ctx, rec.ID, rec.Expires, rec.Expires),
		"list":   listErr,
	} {
		if !errors.Is(err, src.fail) {
			t.Errorf("%s: the error %v does not wrap the source's", op, err)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "scsstore: "+op) || strings.Contains(err.Error(), "token-1") {
			t.Errorf("%s: the text is %q", op, err)
		}
	}
}

// goredisstore keeps for ever what has ended by the time it asks.
func TestNothingIsKeptForEver(t *testing.T) {
	src := newSource()
	for name, store := range map[string]*scsstore.Store{"without contexts": scsstore.New(src), "with contexts": scsstore.New(ctxSource{src})} {
		rec := session.Record{ID: name, Data: []byte("{}"), Expires: time.Now().Add(5 * time.Millisecond)}
		before := time.Now()
		if _, err := store.Save(context.Background(), &rec); err != nil {
			t.Fatal(err)
		}
		if end, kept := src.expires[name]; kept && end.Before(before.Add(time.Second)) {
			t.Errorf("%s: it was given until %v, %v after the call began", name, end, end.Sub(before))
		}
	}
}

func TestWhatScsWroteIsNoRecord(t *testing.T) {
	src := newSource()
	_ = src.Commit("old", []byte("\x0c\xff\x81\x03gob"), time.Now().Add(time.Hour))
	if _, err := scsstore.New(src).Load(context.Background(), "old"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
