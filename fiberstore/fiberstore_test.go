package fiberstore_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/fiberstore"
	"github.com/coatcheck/session/sessiontest"
)

// source has the methods of fiber.Storage that matter, and its habits: whole
// seconds, and zero for ever.
type source struct {
	mu      sync.Mutex
	values  map[string][]byte
	expires map[string]time.Time
	fail    error
}

func newSource() *source {
	return &source{values: map[string][]byte{}, expires: map[string]time.Time{}}
}

func (s *source) Get(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end := s.expires[key]; !end.IsZero() && !time.Now().Before(end) {
		return nil, s.fail
	}
	return s.values[key], s.fail
}

func (s *source) Set(key string, value []byte, life time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = bytes.Clone(value)
	delete(s.expires, key)
	if life = life.Truncate(time.Second); life > 0 {
		s.expires[key] = time.Now().Add(life)
	}
	return s.fail
}

func (s *source) Delete(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
	return s.fail
}

// ctxSource has the methods with a context besides.
type ctxSource struct{ *source }

func (s ctxSource) GetWithContext(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.Get(key)
}

func (s ctxSource) SetWithContext(ctx context.Context, key string, value []byte, life time.Duration) error {
	return errors.Join(ctx.Err(), s.Set(key, value, life))
}

func (s ctxSource) DeleteWithContext(ctx context.Context, key string) error {
	return errors.Join(ctx.Err(), s.Delete(key))
}

func TestConformance(t *testing.T) {
	t.Run("a driver without contexts", func(t *testing.T) {
		sessiontest.TestStore(t, func(*testing.T) session.Store { return fiberstore.New(newSource()) })
	})
	t.Run("a driver with contexts", func(t *testing.T) {
		sessiontest.TestStore(t, func(*testing.T) session.Store { return fiberstore.New(ctxSource{newSource()}) })
	})
}

func TestNothingIsKeptForEver(t *testing.T) {
	src := newSource()
	store := fiberstore.New(src)
	for _, left := range []time.Duration{time.Millisecond, 900 * time.Millisecond, time.Hour} {
		rec := session.Record{ID: left.String(), Data: []byte("{}"), Expires: time.Now().Add(left)}
		if _, err := store.Save(context.Background(), &rec); err != nil {
			t.Fatal(err)
		}
		end, kept := src.expires[rec.ID]
		if !kept && !rec.Expires.After(time.Now()) {
			continue // it has ended before it got there
		}
		if end.Before(rec.Expires) || end.After(rec.Expires.Add(3*time.Second)) {
			t.Errorf("a record that ends in %v is kept until %v, want %v or soon after", left, end, rec.Expires)
		}
	}
}

func TestErrorsOfTheDriverAreWrappedAndNotPrinted(t *testing.T) {
	src := newSource()
	src.fail = errors.New("no such host while looking for token-1")
	_, err := fiberstore.New(src).Load(context.Background(), "token-1")
	if !errors.Is(err, src.fail) || !strings.HasPrefix(err.Error(), "fiberstore: load: ") || strings.Contains(err.Error(), "token-1") {
		t.Errorf("got %v", err)
	}
}
