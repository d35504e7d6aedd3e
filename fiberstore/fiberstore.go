// Package fiberstore makes a session store of one of fiber's storage drivers
// (github.com/gofiber/storage). They are known by the shape of their methods, so
// this package imports neither fiber nor a driver, and any of them fits.
//
// They have no conditional write and cannot list. Within one process changes are
// merged and sessions that have ended stay so, as with every store; between
// processes they can be lost or come back. A manager says so in its log when it
// starts. Lists and revocation by subject need another store: here they return an
// error that wraps [errors.ErrUnsupported].
//
// The drivers for memory, Redis and PostgreSQL pass the whole suite. What some
// drivers do no adapter can mend: bbolt's (v2.1.2) keeps what has expired, and hands out
// memory of the database after the transaction, which may crash the program; take boltstore
// instead. The tables for PostgreSQL and MySQL take keys of 64 characters, enough unless
// Options.GenerateID makes longer ones with StoreRawIDs; the one for MySQL (v2.2.0)
// takes "a" and "A" for the same key, and 64 KiB of a session.
package fiberstore

import (
	"context"
	"time"

	"github.com/coatcheck/session/internal/bytestore"
)

// Source is what all of fiber's storage drivers have.
type Source interface {
	Get(key string) ([]byte, error)
	Set(key string, value []byte, expires time.Duration) error
	Delete(key string) error
}

// ContextSource is what drivers for fiber 3 have besides. Its methods are used
// where a driver has them; one without them cannot be interrupted.
type ContextSource interface {
	GetWithContext(ctx context.Context, key string) ([]byte, error)
	SetWithContext(ctx context.Context, key string, value []byte, expires time.Duration) error
	DeleteWithContext(ctx context.Context, key string) error
}

// A Store keeps records in one of fiber's drivers. It implements
// [github.com/coatcheck/session.Store] and its Toucher.
type Store struct{ *bytestore.Store }

// New returns a store on source.
func New(source Source) *Store {
	if ctxSource, ok := source.(ContextSource); ok {
		return &Store{bytestore.New("fiberstore", contextBackend{ctxSource})}
	}
	return &Store{bytestore.New("fiberstore", backend{source})}
}

// Warning implements session.Warner.
func (s *Store) Warning() string { return bytestore.Warning }

// lifetime is how long a record is to be kept. Drivers count in whole seconds,
// some of them cutting off the rest, and take zero for "for ever"; the manager
// judges the exact time.
func lifetime(expires time.Time) time.Duration {
	return time.Until(expires).Truncate(time.Second) + 2*time.Second
}

// value returns what a driver found, which is empty if it found nothing.
func value(b []byte, err error) ([]byte, error) {
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return b, nil
}

type backend struct{ source Source }

func (b backend) Get(_ context.Context, key string) ([]byte, error) { return value(b.source.Get(key)) }

func (b backend) Set(_ context.Context, key string, value []byte, expires time.Time) error {
	return b.source.Set(key, value, lifetime(expires))
}

func (b backend) Delete(_ context.Context, key string) error { return b.source.Delete(key) }

type contextBackend struct{ source ContextSource }

func (b contextBackend) Get(ctx context.Context, key string) ([]byte, error) {
	return value(b.source.GetWithContext(ctx, key))
}

func (b contextBackend) Set(ctx context.Context, key string, value []byte, expires time.Time) error {
	return b.source.SetWithContext(ctx, key, value, lifetime(expires))
}

func (b contextBackend) Delete(ctx context.Context, key string) error {
	return b.source.DeleteWithContext(ctx, key)
}
