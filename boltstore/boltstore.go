// Package boltstore keeps sessions in a bbolt database: one file, no server, for
// one process.
//
//	db, err := bbolt.Open("app.db", 0o600, &bbolt.Options{Timeout: time.Second})
//	...
//	store, err := boltstore.New(db, nil)
//	...
//	sessions, err := session.New(store, options)
//
// The database is the program's own, and the sessions are in one of its buckets;
// whoever opened it closes it, when no request is under way any more. bbolt
// locks the file, so that no second process can open it meanwhile, also while
// servers are replaced: for a restart without a gap choose another store.
//
// # What is promised
//
// When Save, Touch or Delete has returned, what it did is on the disk, and
// neither a crash of the process nor a loss of power undoes it, unless the
// database was opened with NoSync. Writes that come at the same time share one
// transaction and one wait for the disk; one that comes alone does not wait for
// others. Reads wait for no write. Nothing that is returned is memory of the
// database.
//
// # What to mind
//
// A transaction of bbolt cannot be cancelled. A write whose context ends while
// it waits for its turn is not made; if it is being made, the call returns and
// the write comes to its end. A read looks at its context before it begins.
// So keep the program's own transactions short: one that writes holds up all
// writes of sessions, and one that only reads for minutes keeps the file from
// growing, and then holds up everything.
//
// Somebody has to call Sweep now and then ([session.Manager.RunSweeper]), else
// expired records stay for ever. The file never shrinks; its free pages are used
// again.
//
// A store starts a goroutine when there is something to write, and it ends when
// all is written. A Logger that is given to bbolt sees every key at level debug,
// and with raw IDs those are secrets.
//
// # The layout
//
// The bucket (by default "sessions") holds four others:
//
//	meta     ID                      → version, times, subject
//	data     ID                      → the data, byte for byte
//	expiry   time, ID                → nothing
//	subject  length, subject, ID     → nothing
//
// Data stands by itself, so that a touch writes a few dozen bytes and none of
// it. The time in expiry is the record's expiry or an earlier one: touching
// leaves it alone, and the Sweep that finds it due moves it. Who deletes the whole
// bucket signs everybody out.
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/coatcheck/session"
	"go.etcd.io/bbolt"
)

// DefaultBucket is the name of the bucket where Options names none.
const DefaultBucket = "sessions"

// The limits of the contract, and ours for the data: far above what any session
// should be, and below what bbolt can keep.
const (
	maxID      = 128
	maxSubject = 255
	maxData    = 64 << 20
)

// Options are the settings of a Store. The zero value is the recommended one.
type Options struct {
	// Bucket is the name of the bucket that holds the sessions. Stores with
	// different ones have nothing in common. The default is [DefaultBucket].
	Bucket string
}

// A Store keeps records in a bucket of a bbolt database. It is made by [New] and
// is safe for concurrent use. It implements [session.Store], [session.Toucher],
// [session.Lister], [session.Sweeper] and [session.Pinger].
//
// Its errors begin with "boltstore: " and the operation, wrap those of bbolt, and
// hold neither an ID nor a subject.
type Store struct {
	db     *bbolt.DB
	bucket []byte
	writes committer
}

var _ interface {
	session.Store
	session.Toucher
	session.Lister
	session.Sweeper
	session.Pinger
} = (*Store)(nil)

// New returns a store in the database. It makes its bucket if there is none, and
// refuses one that holds something else. Nil options are the zero ones. On a
// database that was opened to be read only it works if the bucket is there, and
// what writes fails.
func New(db *bbolt.DB, opts *Options) (*Store, error) {
	if db == nil {
		return nil, errors.New("boltstore: the database is nil")
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Bucket == "" {
		o.Bucket = DefaultBucket
	}
	s := &Store{db: db, bucket: []byte(o.Bucket)}
	s.writes.db, s.writes.bucket = db, s.bucket

	ready := false
	err := s.view(func(t *tables) (err error) {
		ready, err = t.ready()
		return err
	})
	if err == nil && !ready {
		err = s.writes.do(context.Background(), func(*tables) error { return nil })
	}
	if err != nil {
		return nil, failed("open", err)
	}
	return s, nil
}

// view runs read in a transaction, which it must not keep anything of.
func (s *Store) view(read func(t *tables) error) error {
	return safely(func() error {
		return s.db.View(func(tx *bbolt.Tx) error { return read(&tables{home: tx.Bucket(s.bucket)}) })
	})
}

// Load returns the record with the ID, expired or not, or an error that wraps
// [session.ErrNotFound].
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	if err := ctx.Err(); err != nil {
		return session.Record{}, failed("load", err)
	}
	var rec session.Record
	err := s.view(func(t *tables) (err error) {
		rec, err = t.record([]byte(id))
		return err
	})
	if err != nil {
		return session.Record{}, failed("load", err)
	}
	return rec, nil
}

// Save stores rec if the store still holds what the caller has seen; see
// [session.Store]. Data of more than 64 MiB is an error that wraps
// [session.ErrTooLarge].
func (s *Store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, failed("save", err)
	}
	if err := check(rec); err != nil {
		return 0, failed("save", err)
	}
	// The write may outlive this call, if ctx ends while it is made.
	given := *rec
	given.Data = slices.Clone(rec.Data)
	next := newVersion(rec.Version)
	var refused error
	err = s.writes.do(ctx, func(t *tables) error {
		old, err := t.meta([]byte(given.ID))
		switch {
		case err != nil && !errors.Is(err, session.ErrNotFound):
			refused = err
			return nil
		case old.version != given.Version:
			refused = session.ErrConflict
			return nil
		}
		return t.put(&given, next, old)
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return 0, failed("save", err)
	}
	return next, nil
}

// Touch moves LastSeen and Expires of the record forward, and neither of them
// back. One that moves nothing writes nothing.
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	if err := ctx.Err(); err != nil {
		return failed("touch", err)
	}
	var refused error
	err := s.writes.do(ctx, func(t *tables) error {
		m, err := t.meta([]byte(id))
		if err != nil {
			refused = err
			return nil
		}
		return t.touch([]byte(id), m, lastSeen.UnixMilli(), expires.UnixMilli())
	})
	if err == nil {
		err = refused
	}
	return failed("touch", err)
}

// Delete removes the record. That there is none is not an error.
func (s *Store) Delete(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return failed("delete", err)
	}
	err := s.writes.do(ctx, func(t *tables) error {
		_, err := t.remove([]byte(id))
		return err
	})
	return failed("delete", err)
}

// Ping reports whether the database is open.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return failed("ping", err)
	}
	return failed("ping", s.view(func(*tables) error { return nil }))
}

// newVersion returns a version that was never in use. It is random and not
// counted, so that it also differs from those in other databases: sessions move
// from one to another, and backups come back.
func newVersion(old uint64) uint64 {
	for {
		if v := rand.Uint64(); v != 0 && v != old {
			return v
		}
	}
}

// check refuses a record that is not of the contract, or too large.
func check(rec *session.Record) error {
	switch {
	case len(rec.ID) == 0 || len(rec.ID) > maxID:
		return fmt.Errorf("the ID has %d bytes; it must have 1 to %d", len(rec.ID), maxID)
	case len(rec.Subject) > maxSubject:
		return fmt.Errorf("the subject has %d bytes; at most %d are possible", len(rec.Subject), maxSubject)
	case len(rec.Data) > maxData:
		return fmt.Errorf("%w: %d bytes, at most %d are possible", session.ErrTooLarge, len(rec.Data), maxData)
	}
	return nil
}

// failed gives err, if it is one, the name of the operation.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("boltstore: %s: %w", op, err)
}
