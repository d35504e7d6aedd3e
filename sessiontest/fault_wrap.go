package sessiontest

import (
	"context"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/abilities"
)

// Wrap returns a store that does what the given one does, except for the faults.
// It has those of the interfaces [session.Toucher], [session.Lister],
// [session.Sweeper] and [session.Pinger] that the given store has, and no others,
// because whoever uses a store goes by them, and says what that says as a
// [session.Warner], [session.ExpressStore] or [session.ParcelStore].
func (f *Faults) Wrap(store session.Store) session.Store {
	var touch session.Toucher
	if t, ok := store.(session.Toucher); ok {
		touch = faultyToucher{f, t}
	}
	var list session.Lister
	if l, ok := store.(session.Lister); ok {
		list = faultyLister{f, l}
	}
	var sweep session.Sweeper
	if w, ok := store.(session.Sweeper); ok {
		sweep = faultySweeper{f, w}
	}
	var ping session.Pinger
	if p, ok := store.(session.Pinger); ok {
		ping = faultyPinger{f, p}
	}
	return abilities.Join(faultyStore{f, store}, touch, list, sweep, ping)
}

type faultyStore struct {
	faults *Faults
	store  session.Store
}

func (s faultyStore) Warning() string     { return abilities.Warning(s.store) }
func (s faultyStore) ExpressLayout() bool { return abilities.ExpressLayout(s.store) }
func (s faultyStore) KeepsParcels() bool  { return abilities.KeepsParcels(s.store) }

func (s faultyStore) Load(ctx context.Context, id string) (session.Record, error) {
	if err := s.faults.begin(ctx, "load"); err != nil {
		return session.Record{}, err
	}
	rec, err := s.store.Load(ctx, id)
	if err := s.faults.end(ctx, "load", err); err != nil {
		return session.Record{}, err
	}
	return rec, nil
}

func (s faultyStore) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	if err := s.faults.begin(ctx, "save"); err != nil {
		return 0, err
	}
	version, err := s.store.Save(ctx, rec)
	if err := s.faults.end(ctx, "save", err); err != nil {
		return 0, err
	}
	return version, nil
}

func (s faultyStore) Delete(ctx context.Context, id string) error {
	if err := s.faults.begin(ctx, "delete"); err != nil {
		return err
	}
	return s.faults.end(ctx, "delete", s.store.Delete(ctx, id))
}

type faultyToucher struct {
	faults  *Faults
	toucher session.Toucher
}

func (s faultyToucher) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	if err := s.faults.begin(ctx, "touch"); err != nil {
		return err
	}
	return s.faults.end(ctx, "touch", s.toucher.Touch(ctx, id, lastSeen, expires))
}

type faultyLister struct {
	faults *Faults
	lister session.Lister
}

func (s faultyLister) List(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	if err := s.faults.begin(ctx, "list"); err != nil {
		return nil, "", err
	}
	records, next, err := s.lister.List(ctx, q)
	if err := s.faults.end(ctx, "list", err); err != nil {
		return nil, "", err
	}
	return records, next, nil
}

type faultySweeper struct {
	faults  *Faults
	sweeper session.Sweeper
}

// Sweep returns how many records went also with an error, as a store that was
// interrupted does.
func (s faultySweeper) Sweep(ctx context.Context, before time.Time) (int, error) {
	if err := s.faults.begin(ctx, "sweep"); err != nil {
		return 0, err
	}
	removed, err := s.sweeper.Sweep(ctx, before)
	return removed, s.faults.end(ctx, "sweep", err)
}

type faultyPinger struct {
	faults *Faults
	pinger session.Pinger
}

func (s faultyPinger) Ping(ctx context.Context) error {
	if err := s.faults.begin(ctx, "ping"); err != nil {
		return err
	}
	return s.faults.end(ctx, "ping", s.pinger.Ping(ctx))
}
