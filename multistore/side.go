package multistore

import (
	"context"
	"errors"
	"fmt"

	"github.com/coatcheck/session"
)

// A side is one of the two stores.
type side struct {
	store Side
	name  string
	salt  uint64
}

// newSalt makes the versions of the new store unlike those of the old one. A
// request that has loaded a record from one store and saves it when the other
// has become the authority must get a conflict, also where both stores count
// their versions.
const newSalt = 0x9d5c_0fb1_76e3_482b

// outward and inward turn a version of the store into one of ours and back. Zero
// stays zero, and nothing else becomes it.
func (s *side) outward(version uint64) uint64 {
	if version == s.salt || version == 0 {
		return version
	}
	return version ^ s.salt
}

func (s *side) inward(version uint64) uint64 { return s.outward(version) }

func (s *side) load(ctx context.Context, id string) (session.Record, error) {
	rec, err := s.store.Load(ctx, id)
	rec.Version = s.outward(rec.Version)
	return rec, err
}

func (s *side) save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	given := *rec
	given.Version = s.inward(rec.Version)
	version, err = s.store.Save(ctx, &given)
	return s.outward(version), err
}

// failed says which store an error is of. The frequent ones, which are none of
// the store's, pass as they are.
func (s *side) failed(op string, err error) error {
	if err == nil || errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrConflict) {
		return err
	}
	return fmt.Errorf("multistore: %s: the %s store: %w", op, s.name, err)
}
