package multistore

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/coatcheck/session"
)

// Stats are what a store has counted since it was made.
type Stats struct {
	Followed   uint64 // writes that reached the follower
	Behind     uint64 // failures of it: until the next write or Copy a record of it is behind
	Compared   uint64 // reads that were compared with the follower
	Mismatched uint64 // those of them that differed
}

type counters struct {
	followed, behind, compared, mismatched, reads atomic.Uint64
}

// Stats returns the counts of this moment, of this process.
func (s *Store) Stats() Stats {
	return Stats{
		Followed:   s.stats.followed.Load(),
		Behind:     s.stats.behind.Load(),
		Compared:   s.stats.compared.Load(),
		Mismatched: s.stats.mismatched.Load(),
	}
}

// due reports whether this read is one to compare.
func (c *counters) due(every int) bool { return every > 0 && c.reads.Add(1)%uint64(every) == 0 }

func (s *Store) behind(err error) {
	s.stats.behind.Add(1)
	if s.opts.OnBehind != nil {
		s.opts.OnBehind(err)
	}
}

// following runs f, which brings the follower in line after a write of the
// authority. That has happened, so neither a context that ends now nor a failure
// undoes it.
func (s *Store) following(ctx context.Context, r roles, op string, f func(ctx context.Context) error) {
	if !r.follows {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.FollowTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		s.behind(r.follower.failed(op, err))
		return
	}
	s.stats.followed.Add(1)
}

func (s *Store) follow(ctx context.Context, r roles, id string) {
	s.following(ctx, r, "save", func(ctx context.Context) error {
		_, err := align(ctx, r, id)
		return err
	})
}

func (s *Store) followTouch(ctx context.Context, r roles, id string, lastSeen, expires time.Time) {
	s.following(ctx, r, "touch", func(ctx context.Context) error {
		err := r.follower.store.Touch(ctx, id, lastSeen, expires)
		if errors.Is(err, session.ErrNotFound) {
			_, err = align(ctx, r, id)
		}
		return err
	})
}

func (s *Store) followDelete(ctx context.Context, r roles, id string) {
	s.following(ctx, r, "delete", func(ctx context.Context) error { return r.follower.store.Delete(ctx, id) })
}

// compare looks whether the follower has the record that was read, and mends it
// if not.
func (s *Store) compare(ctx context.Context, r roles, rec session.Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.FollowTimeout)
	defer cancel()
	has, err := find(ctx, r.follower, rec.ID)
	changed := false
	if err == nil && (has.Version == 0 || !alike(rec, has)) {
		// Or it was written between the two reads, and needs no mending.
		changed, err = align(ctx, r, rec.ID)
	}
	if err != nil {
		s.behind(r.follower.failed("load", err))
		return
	}
	s.stats.compared.Add(1)
	if changed {
		s.stats.mismatched.Add(1)
	}
}

// align makes the follower's record like the authority's, and reports whether
// it was not. Others may write both meanwhile: whoever has written the authority
// aligns after it, and who is late notices, because the follower is read before
// the authority and changed by compare-and-swap.
//
// What it inserts may have been deleted from both stores since it was read. So
// after that it looks again, and takes it back.
func align(ctx context.Context, r roles, id string) (changed bool, err error) {
	for {
		has, err := find(ctx, r.follower, id)
		if err != nil {
			return changed, err
		}
		want, err := find(ctx, r.authority, id)
		if err != nil {
			return changed, err
		}
		switch {
		case want.Version == 0 && has.Version == 0:
			return changed, nil
		case want.Version == 0:
			return true, r.follower.store.Delete(ctx, id)
		case has.Version != 0 && alike(want, has):
			return changed, nil
		}
		inserted := has.Version == 0
		want.Version = has.Version
		_, err = r.follower.save(ctx, &want)
		switch {
		case err == nil && !inserted:
			return true, nil
		case err != nil && !errors.Is(err, session.ErrConflict):
			return changed, err
		case err == nil:
			changed = true
		}
		if err := ctx.Err(); err != nil {
			return changed, err
		}
	}
}

// find is load, but a missing record is one with version zero.
func find(ctx context.Context, s *side, id string) (session.Record, error) {
	rec, err := s.load(ctx, id)
	if errors.Is(err, session.ErrNotFound) {
		return session.Record{}, nil
	}
	return rec, err
}

// tolerance is by how much times of a record may differ in two stores: some keep
// whole seconds.
const tolerance = time.Second

// alike reports whether two records are the same, but for their versions, as far
// as both stores have a place for it.
func alike(a, b session.Record) bool {
	return a.Subject == b.Subject && bytes.Equal(a.Data, b.Data) && near(a.Expires, b.Expires) &&
		(a.Created.IsZero() || b.Created.IsZero() || near(a.Created, b.Created)) &&
		(a.LastSeen.IsZero() || b.LastSeen.IsZero() || near(a.LastSeen, b.LastSeen))
}

func near(a, b time.Time) bool { return a.Sub(b).Abs() < tolerance }
