// Package bytestore makes a session store of one that only keeps bytes under a
// key for a time. Such a store has no conditional write, so the comparison of
// Save holds within one process only.
package bytestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/coatcheck/session"
)

// A Backend keeps bytes under a key. A Get that finds nothing, or something that
// has expired, returns nil bytes and no error.
type Backend interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Set(ctx context.Context, key string, value []byte, expires time.Time) error
	Delete(ctx context.Context, key string) error
}

// Warning is what a manager says of such a store when the program starts.
const Warning = "the store has no conditional write, so two processes that change one session at the same time can lose a change, or bring back a session that the other has just ended; run one process, or choose a store with compare-and-swap"

// A Store makes records of bytes. It implements session.Store and
// session.Toucher.
type Store struct {
	name    string // what its errors begin with
	backend Backend
	seed    maphash.Seed
	locks   [256]chan struct{} // of one element each, so that waiting can end with a context
}

// New returns a store on the backend whose errors begin with name.
func New(name string, backend Backend) *Store {
	s := &Store{name: name, backend: backend, seed: maphash.MakeSeed()}
	for i := range s.locks {
		s.locks[i] = make(chan struct{}, 1)
	}
	return s
}

// Load implements session.Store.
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	rec, err := s.get(ctx, id)
	return rec, s.wrap("load", err)
}

// Save implements session.Store, but for other processes.
func (s *Store) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	unlock, err := s.lock(ctx, rec.ID)
	if err != nil {
		return 0, s.wrap("save", err)
	}
	defer unlock()
	have, err := s.get(ctx, rec.ID)
	switch {
	case err != nil && !errors.Is(err, session.ErrNotFound):
		return 0, s.wrap("save", err)
	case err == nil && have.Version != rec.Version, err != nil && rec.Version != 0:
		return 0, s.wrap("save", session.ErrConflict)
	}
	next := *rec
	// Random, because one that a deleted record had must not come back.
	for next.Version = 0; next.Version == 0 || next.Version == rec.Version; {
		next.Version = rand.Uint64()
	}
	return next.Version, s.wrap("save", s.set(ctx, &next))
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, id string) error {
	unlock, err := s.lock(ctx, id)
	if err != nil {
		return s.wrap("delete", err)
	}
	defer unlock()
	return s.wrap("delete", s.backend.Delete(ctx, id))
}

// Touch implements session.Toucher. It writes the record anew.
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	unlock, err := s.lock(ctx, id)
	if err != nil {
		return s.wrap("touch", err)
	}
	defer unlock()
	rec, err := s.get(ctx, id)
	if err != nil {
		return s.wrap("touch", err)
	}
	rec.LastSeen = later(rec.LastSeen, lastSeen)
	rec.Expires = later(rec.Expires, expires)
	return s.wrap("touch", s.set(ctx, &rec))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *Store) lock(ctx context.Context, id string) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	lock := s.locks[maphash.String(s.seed, id)%uint64(len(s.locks))]
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Store) get(ctx context.Context, id string) (session.Record, error) {
	if err := ctx.Err(); err != nil {
		return session.Record{}, err
	}
	b, err := s.backend.Get(ctx, id)
	if err != nil {
		return session.Record{}, err
	}
	rec, ok := Decode(b)
	if !ok {
		return session.Record{}, session.ErrNotFound
	}
	rec.ID = id
	return rec, nil
}

// set writes a record. One that has expired is deleted: some stores take a time
// that has passed for none at all and keep the record for ever.
func (s *Store) set(ctx context.Context, rec *session.Record) error {
	if !rec.Expires.After(time.Now()) {
		return s.backend.Delete(ctx, rec.ID)
	}
	return s.backend.Set(ctx, rec.ID, encode(rec), rec.Expires)
}

// wrap names the operation. Of the backend's errors it keeps the chain, and the
// text only where that cannot hold an ID: in none but ours and the context's.
func (s *Store) wrap(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrConflict),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %s: %w", s.name, op, err)
	}
	return &backendError{s.name + ": " + op + ": the wrapped store failed (errors.Unwrap has its error, which may hold IDs)", err}
}

type backendError struct {
	text string
	err  error
}

func (e *backendError) Error() string { return e.text }
func (e *backendError) Unwrap() error { return e.err }

// The form of a record: the magic, version, created, last seen and expires as
// eight bytes each, the length of the subject as two, the subject, the data.
const (
	magic    = "ccs1"
	headSize = len(magic) + 4*8 + 2
)

func encode(rec *session.Record) []byte {
	b := make([]byte, 0, headSize+len(rec.Subject)+len(rec.Data))
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint64(b, rec.Version)
	for _, t := range [...]time.Time{rec.Created, rec.LastSeen, rec.Expires} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(rec.Subject)))
	b = append(b, rec.Subject...)
	return append(b, rec.Data...)
}

// Decode returns the record that bytes of a backend hold, without its ID.
func Decode(b []byte) (rec session.Record, ok bool) {
	if len(b) < headSize || string(b[:len(magic)]) != magic {
		return session.Record{}, false
	}
	b = b[len(magic):]
	rec.Version = binary.BigEndian.Uint64(b)
	for i, t := range [...]*time.Time{&rec.Created, &rec.LastSeen, &rec.Expires} {
		*t = fromMilli(int64(binary.BigEndian.Uint64(b[8+8*i:])))
	}
	n := int(binary.BigEndian.Uint16(b[32:]))
	b = b[34:]
	if rec.Version == 0 || n > len(b) {
		return session.Record{}, false
	}
	rec.Subject = string(b[:n])
	rec.Data = append([]byte{}, b[n:]...)
	return rec, true
}

var zeroMilli = time.Time{}.UnixMilli()

func fromMilli(ms int64) time.Time {
	if ms == zeroMilli {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
