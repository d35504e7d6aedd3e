// Package memstore keeps sessions in the memory of the process.
//
// It is the store for one process whose sessions may be lost when it restarts:
// development, tests, single servers that can bear a new login after a deploy.
// Every process has its own sessions; servers that share logins need another
// store.
//
// The store is bounded: by default to a million sessions and to one gibibyte,
// so that nobody who opens sessions without end can take all memory. A record
// costs about 100 bytes besides its ID, subject and data, at any number of
// records, and the garbage collector sees none of them: they lie as bytes in
// large blocks, and all links between them are numbers.
//
// Nothing runs in the background. Every call drops a few records that have
// expired, so a store in use stays clean by itself; [Store.Sweep] cleans one
// that is idle.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/coatcheck/session"
)

// The bounds where Options names none.
const (
	DefaultMaxSessions = 1_000_000
	DefaultMaxBytes    = 1 << 30
)

// ErrFull is what [Store.Save] returns when the store has reached its bounds
// and its policy lets nobody go to make room.
var ErrFull = errors.New("memstore: save: the store is full")

// The errors are made once: a lookup that finds nothing is as frequent as one
// that does, wherever clients come back late.
var (
	errLoadMissing  = fmt.Errorf("memstore: load: %w", session.ErrNotFound)
	errTouchMissing = fmt.Errorf("memstore: touch: %w", session.ErrNotFound)
	errConflict     = fmt.Errorf("memstore: save: %w", session.ErrConflict)
	errTooLarge     = fmt.Errorf("memstore: save: %w", session.ErrTooLarge)
	errEmptyID      = errors.New("memstore: save: the ID is empty")
	errClosed       = errors.New("the store is closed")
)

// What a record may measure at most, as [session.Record] says.
const (
	maxID      = 128
	maxSubject = 255
)

// A Policy says what happens when a store is full.
type Policy int

const (
	// RefuseNew protects those who have logged in: a record without a Subject
	// is refused with [ErrFull], for one with a Subject the anonymous record
	// nearest to its expiry goes. If there is no anonymous record, that one is
	// refused too. A change that makes a record larger counts like a new one.
	RefuseNew Policy = iota

	// EvictSoonest lets the record nearest to its expiry go, whoever it is of.
	// Who opens sessions in masses can so log out everybody else.
	EvictSoonest
)

// Options are the settings of a Store. The zero value is the recommended one,
// and every value means something: there is nothing to check.
type Options struct {
	// MaxSessions is the most records to hold. Zero means
	// [DefaultMaxSessions], a negative number no bound.
	MaxSessions int

	// MaxBytes is the most memory to use, in bytes: IDs, subjects, data and 96
	// bytes a record. The heap may be a third larger than that while space of
	// deleted records waits to be used again. Zero means [DefaultMaxBytes], a
	// negative number no bound.
	MaxBytes int64

	// Full is what happens at these bounds. Zero, and whatever is not a
	// Policy, means [RefuseNew]. Expired records go first under any policy.
	Full Policy

	// OnEvict, if not nil, is told of every record that goes before its expiry
	// to make room. It is called by the Save that needs the room, when the
	// record has gone and no lock is held; it must be safe for concurrent use.
	// With raw IDs the id is a secret.
	OnEvict func(id, subject string)

	// Now tells the time for dropping expired records. Nil means [time.Now].
	Now func() time.Time
}

// A Store keeps records in memory. It implements [session.Store],
// [session.Toucher], [session.Lister], [session.Sweeper] and [session.Pinger],
// and is safe for concurrent use.
type Store struct {
	shards   []shard
	horizons []horizon
	bounds   bounds
	seed     maphash.Seed
	full     Policy
	onEvict  func(id, subject string)
	now      func() time.Time
	closed   atomic.Bool
}

var _ interface {
	session.Store
	session.Toucher
	session.Lister
	session.Sweeper
	session.Pinger
} = (*Store)(nil)

// New returns an empty store. Nil options are the zero ones.
func New(opts *Options) *Store {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxSessions == 0 {
		o.MaxSessions = DefaultMaxSessions
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return newStore(o, shardsFor(o.MaxSessions))
}

// newStore takes completed options and a power of two.
func newStore(o Options, shards int) *Store {
	s := &Store{
		shards:   make([]shard, shards),
		horizons: make([]horizon, shards),
		// A hash with a seed of its own: with raw IDs it is clients who choose
		// them, and they must not be able to choose the shard and cell too.
		seed:    maphash.MakeSeed(),
		full:    o.Full,
		onEvict: o.OnEvict,
		now:     o.Now,
	}
	s.bounds.maxSessions = int64(o.MaxSessions)
	s.bounds.maxBytes = o.MaxBytes
	for i := range s.shards {
		s.shards[i].init(s.seed, &s.bounds, &s.horizons[i])
	}
	return s
}

// shardsFor keeps shards at a few thousand records, so that whatever is done
// to a whole shard at once (growing its tables) takes microseconds.
func shardsFor(maxSessions int) int {
	const perShard, fewest, most = 4096, 16, 1024
	if maxSessions < 0 || maxSessions > most*perShard {
		return most
	}
	return max(fewest, 1<<bits.Len(uint(maxSessions-1)/perShard))
}

// locate returns the shard that an ID belongs to and its hash within.
func (s *Store) locate(id string) (sh *shard, hash uint32) {
	low, hash := hashes(maphash.String(s.seed, id))
	return &s.shards[low&uint32(len(s.shards)-1)], hash
}

// hashes splits a hash into the half that chooses the shard and the half that
// is used within.
func hashes(h uint64) (shard, within uint32) { return uint32(h), uint32(h >> 32) }

// millis is the time by the store's clock.
func (s *Store) millis() int64 { return s.now().UnixMilli() }

// Load returns the record with the ID, or an error that wraps
// [session.ErrNotFound]. An expired record is not found.
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	if err := ctx.Err(); err != nil {
		return session.Record{}, failed("load", err)
	}
	sh, hash := s.locate(id)
	now := s.millis()
	rec, state := sh.load(id, hash, now)
	switch state {
	case stateLive:
		sh.tidyIfDue(now)
		return rec, nil
	case stateClosed:
		return session.Record{}, failed("load", errClosed)
	case stateExpired:
		sh.dropExpired(id, hash, now)
	}
	return session.Record{}, errLoadMissing
}

// Save stores rec as the contract of [session.Store] says: it returns the new
// version, or an error that wraps [session.ErrConflict] if the record is not
// as the caller has seen it, [session.ErrTooLarge] if it is larger than
// MaxBytes or has an ID or a subject of illegal length, or [ErrFull]. An
// expired record counts as absent.
func (s *Store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, failed("save", err)
	}
	switch {
	case rec.ID == "":
		return 0, errEmptyID
	case len(rec.ID) > maxID, len(rec.Subject) > maxSubject, len(rec.Data) > maxData,
		!s.bounds.fits(charge(rec)):
		return 0, errTooLarge
	}
	sh, hash := s.locate(rec.ID)
	now := s.millis()
	for {
		version, state := sh.save(rec, hash, now)
		switch state {
		case stateLive:
			return version, nil
		case stateConflict:
			return 0, errConflict
		case stateClosed:
			return 0, failed("save", errClosed)
		}
		// Each turn lets at least one record go, so this ends.
		if state == stateRefused || !s.makeRoom(rec, now) {
			s.bounds.refused.Add(1)
			return 0, ErrFull
		}
		if err := ctx.Err(); err != nil {
			return 0, failed("save", err)
		}
	}
}

// Touch moves LastSeen and Expires of the record forward to the given times,
// and neither of them back. If there is no record, or it has expired, the
// error wraps [session.ErrNotFound].
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	if err := ctx.Err(); err != nil {
		return failed("touch", err)
	}
	sh, hash := s.locate(id)
	switch sh.touch(id, hash, lastSeen.UnixMilli(), expires.UnixMilli(), s.millis()) {
	case stateLive:
		return nil
	case stateClosed:
		return failed("touch", errClosed)
	}
	return errTouchMissing
}

// Delete removes the record. That there is none is not an error.
func (s *Store) Delete(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return failed("delete", err)
	}
	sh, hash := s.locate(id)
	if sh.delete(id, hash, s.millis()) == stateClosed {
		return failed("delete", errClosed)
	}
	return nil
}

// Ping reports whether the store is open.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return failed("ping", err)
	}
	if s.closed.Load() {
		return failed("ping", errClosed)
	}
	return nil
}

// Warning implements [session.Warner].
func (s *Store) Warning() string {
	return "sessions are kept in memory only: they vanish when the program ends, and other processes do not see them"
}

// Len returns the number of records, among them those that have expired and
// have not been removed yet.
func (s *Store) Len() int { return int(s.bounds.sessions.Load()) }

// Stats are what a store has counted.
type Stats struct {
	Sessions int    // records held, as Len returns them
	Bytes    int64  // what they count toward Options.MaxBytes
	Evicted  uint64 // records that went before their expiry to make room
	Refused  uint64 // calls of Save that returned ErrFull
}

// Stats returns the counts of this moment.
func (s *Store) Stats() Stats {
	return Stats{
		Sessions: s.Len(),
		Bytes:    s.bounds.bytes.Load(),
		Evicted:  s.bounds.evicted.Load(),
		Refused:  s.bounds.refused.Load(),
	}
}

// Close drops all records and gives their memory back. Every later call of
// a method that returns an error returns one, but for Close itself.
func (s *Store) Close() error {
	s.closed.Store(true)
	for i := range s.shards {
		s.shards[i].close()
	}
	return nil
}

func failed(op string, err error) error { return fmt.Errorf("memstore: %s: %w", op, err) }
