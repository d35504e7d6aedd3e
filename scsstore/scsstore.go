// Package scsstore makes a session store of one that was written for
// github.com/alexedwards/scs. Such stores are known by the shape of their
// methods, so this package does not import scs, and any of them fits.
//
// They have no conditional write. Within one process changes are merged and
// sessions that have ended stay so, as with every store; between processes they
// can be lost or come back. A manager says so in its log when it starts. For a
// site with several processes choose a store of its own for the same server.
//
// The records are not in scs's format. An [Importer] takes over sessions that scs
// has written; docs/migrate-scs.md has the whole way from scs.
package scsstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/bytestore"
)

// Source is scs.Store: what all stores of scs have.
type Source interface {
	Find(token string) (b []byte, found bool, err error)
	Commit(token string, b []byte, expiry time.Time) error
	Delete(token string) error
}

// ContextSource is scs.CtxStore. Its methods are used where a store has them;
// one without them cannot be interrupted.
type ContextSource interface {
	FindCtx(ctx context.Context, token string) (b []byte, found bool, err error)
	CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, token string) error
}

// A Store keeps records in a store of scs. It implements [session.Store] and
// [session.Toucher].
type Store struct{ *bytestore.Store }

// New returns a store on source.
func New(source Source) *Store {
	return &Store{bytestore.New("scsstore", newBackend(source))}
}

// Warning implements session.Warner.
func (s *Store) Warning() string { return bytestore.Warning }

// IterableSource is scs.IterableStore, and IterableContextSource
// scs.IterableCtxStore.
type (
	IterableSource interface {
		Source
		All() (map[string][]byte, error)
	}
	IterableContextSource interface {
		Source
		AllCtx(ctx context.Context) (map[string][]byte, error)
	}
)

// An IterableStore is a [Store] that can list its sessions, also by subject, by
// reading all of them. It implements [session.Lister] besides.
type IterableStore struct {
	*Store
	all func(ctx context.Context) (map[string][]byte, error)
}

// NewIterable returns a store that can list on a source that can.
func NewIterable(source IterableSource) *IterableStore {
	return &IterableStore{New(source), func(context.Context) (map[string][]byte, error) { return source.All() }}
}

// NewIterableContext is NewIterable for a source that takes a context.
func NewIterableContext(source IterableContextSource) *IterableStore {
	return &IterableStore{New(source), source.AllCtx}
}

// List implements [session.Lister]. Each page reads all sessions.
func (s *IterableStore) List(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", fmt.Errorf("scsstore: list: %w", err)
	}
	if q.Limit < 1 {
		return nil, "", errors.New("scsstore: list: the limit must be at least 1")
	}
	all, err := s.all(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, "", fmt.Errorf("scsstore: list: %w", ctx.Err())
	case err != nil:
		return nil, "", &sourceError{"list", err}
	}
	var page []session.Record
	for id, b := range all {
		rec, ok := bytestore.Decode(b)
		if rec.ID = id; ok && id > q.Cursor && (q.Subject == "" || rec.Subject == q.Subject) {
			page = append(page, rec)
		}
	}
	slices.SortFunc(page, func(a, b session.Record) int { return strings.Compare(a.ID, b.ID) })
	if len(page) <= q.Limit {
		return page, "", nil
	}
	page = page[:q.Limit]
	return page, page[q.Limit-1].ID, nil
}

// A sourceError hides the text of the source's error, which may hold IDs and tokens.
type sourceError struct {
	op  string
	err error
}

func (e *sourceError) Error() string {
	return "scsstore: " + e.op + ": the wrapped store failed (errors.Unwrap has its error)"
}
func (e *sourceError) Unwrap() error { return e.err }

func newBackend(source Source) bytestore.Backend {
	if ctxSource, ok := source.(ContextSource); ok {
		return contextBackend{ctxSource}
	}
	return backend{source}
}

// ahead is when a store may drop a record. Some reckon with what is left until
// then, and keep for ever what has nothing left at that moment; so it is at least
// a second. The manager judges the exact time.
func ahead(expires time.Time) time.Time {
	if soonest := time.Now().Add(time.Second); expires.Before(soonest) {
		return soonest
	}
	return expires
}

type backend struct{ source Source }

func (b backend) Get(_ context.Context, key string) ([]byte, error) {
	value, found, err := b.source.Find(key)
	if err != nil || !found {
		return nil, err
	}
	return value, nil
}

func (b backend) Set(_ context.Context, key string, value []byte, expires time.Time) error {
	return b.source.Commit(key, value, ahead(expires))
}

func (b backend) Delete(_ context.Context, key string) error { return b.source.Delete(key) }

type contextBackend struct{ source ContextSource }

func (b contextBackend) Get(ctx context.Context, key string) ([]byte, error) {
	value, found, err := b.source.FindCtx(ctx, key)
	if err != nil || !found {
		return nil, err
	}
	return value, nil
}

func (b contextBackend) Set(ctx context.Context, key string, value []byte, expires time.Time) error {
	return b.source.CommitCtx(ctx, key, value, ahead(expires))
}

func (b contextBackend) Delete(ctx context.Context, key string) error {
	return b.source.DeleteCtx(ctx, key)
}
