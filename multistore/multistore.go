// Package multistore moves a site's sessions from one store to another while it
// runs, without signing anybody out, and back again if need be.
//
//	store, err := multistore.New(oldStore, newStore, &multistore.Options{
//		Phase: multistore.OldFirst,
//		Move:  "postgres-to-redis",
//	})
//	...
//	sessions, err := session.New(store, options)
//
// # How
//
// At every moment one of the two stores is the authority: all reads and every
// compare-and-swap go to it, so that a program sees one store with one truth.
// The other one follows: after each write, its record is made like that of the
// authority. Nobody ever reads the follower to answer a request. So whatever may
// be wrong in it, because it was down, or too slow, or a process died between
// two writes, does no harm: no change is lost by it, and no session that has
// ended comes back. All that matters is that it is right at the one moment when
// it becomes the authority, and for that moment there are two phases in which
// writes wait, and [Store.Copy], which makes it right.
//
// # The phases
//
//	         OldOnly  OldFirst  OldHeld  NewHeld  NewFirst  NewOnly
//	reads    old      old       old      new      new       new
//	writes   old      old, new  wait     wait     new, old  new
//
// There is one rule: at any moment all processes are in the same phase, or in
// two that are neighbours here. Any two neighbours are safe together, for as
// long as you like, except that writes do not wait for ever where they are held.
// OldOnly is what a program without this package on the old store does, and
// NewOnly what one on the new store does, so both can be mixed in, too.
//
// # Step by step
//
// docs/moving-stores.md has the commands, and a handler for operators.
//
//  1. Deploy with phase OldFirst and a name for the move. The new store fills with
//     the sessions that are in use. Nothing depends on it yet: watch [Store.Stats]
//     to see how it does.
//  2. Call Copy on one process. It copies the rest and says what it could not.
//     Call [Store.Check] after an hour or a day: it should find no differences but
//     those that Stats.Behind explains.
//  3. When you are ready, and every process runs with OldFirst, call
//     SetPhase(OldHeld) on every process. Writes wait now, reads do not. When the
//     calls have returned everywhere, no write is under way any more. (A write
//     whose caller was told that it failed may still reach a server that was
//     slow, and is lost then. If that matters, wait a little.)
//  4. Call Copy on one process. Only if it returns no error: SetPhase(NewHeld) on
//     every process, and then SetPhase(NewFirst) on every process. The new store
//     is the authority, and writes go on.
//  5. To go back: NewHeld everywhere, Copy, OldHeld, OldFirst. From NewFirst this
//     is possible at any time and loses nothing.
//  6. When you are content, call SetPhase(NewOnly) on every process, and deploy
//     without this package.
//
// Steps 3 and 4 are to take a few seconds, so let a program do them: a handler
// for operators that calls SetPhase, and a script that calls it on all servers.
// A write waits until its context ends, which is [session.Options.StoreTimeout],
// 5 seconds by default, and fails then; raise that before if Copy takes longer.
// Copy reads both stores once; try out in step 2 how long that takes when there
// is nothing to copy. Reads work all the time. Copy keeps some 80 bytes in memory
// for each record.
//
// # Processes that come and go
//
// With [Options.Move] the phase is recorded in both stores before the first
// process enters it, and a process begins in the recorded phase. So one that
// crashes and starts again, or is added, at any moment of the move, is where the
// others are, whatever it was deployed with. And SetPhase refuses what cannot be
// right: a phase that is no neighbour of the recorded one, and the step between
// OldHeld and NewHeld without a Copy since writes are held.
//
// Without Options.Move, a process that starts must be given the phase of the
// others: change its setting before the first SetPhase of a step.
//
// # What is not promised
//
// A process that SetPhase does not reach stays where it was. Two processes whose
// phases are further apart than neighbours have two authorities: changes get lost,
// and sessions that were ended come back. No running process can see that of
// another, so this package cannot refuse it. Stop a process that cannot be reached
// before the next step.
//
// A store that cannot list its records cannot be moved in this way, as there is
// no telling what is in it.
//
// A cache belongs in front of this store, and not between it and one of the two:
// what is copied must be what is there.
//
// # Cost
//
// Besides what the authority does, a write costs a read of both stores and a
// write of the follower; a touch costs a touch of the follower. They happen
// before the write returns, but take [Options.FollowTimeout] at most, and their
// failure is only counted.
package multistore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coatcheck/session"
)

// Options are the settings of a Store.
type Options struct {
	// Phase is where to begin. The default is OldOnly.
	Phase Phase

	// Move, if not empty, names this move, such as "postgres-to-redis": lower case
	// letters, digits and hyphens. The phase is then recorded in both stores, under
	// this name, and a process that starts begins in the recorded phase, whatever
	// Phase says. All processes must have the same name, and no other move in a year
	// may have it.
	//
	// Recommended, as one process in a phase of its own has an authority of its own.
	Move string

	// FollowTimeout is how long a write may wait for the follower. The default
	// is one second.
	FollowTimeout time.Duration

	// CompareEvery is the number of reads of which one is compared with the
	// follower, which is mended if it differs: 1 compares every read, 100 one in
	// a hundred. The default is 0, none.
	CompareEvery int

	// OnBehind, if not nil, is told why the follower could not be made like the
	// authority. It must be safe for concurrent use. The error holds no ID if
	// those of the stores hold none.
	OnBehind func(error)

	// Now tells which records have expired and need not be copied. The default
	// is [time.Now].
	Now func() time.Time
}

// A Side is a store that can be moved: all abilities that a move needs. Those
// of this project have them.
type Side interface {
	session.Store
	session.Toucher
	session.Lister
}

// A Store is two stores of which one is the authority. It is made by [New] and is
// safe for concurrent use. It implements [session.Store], [session.Toucher],
// [session.Lister], [session.Sweeper] and [session.Pinger].
//
// It has no method Close: the two stores stay with whoever opened them.
type Store struct {
	old, new side
	opts     Options
	gate     gate
	stats    counters

	known  atomic.Bool   // the phase is not only that of the options
	asking chan struct{} // has room for the one who finds it out
}

var _ interface {
	session.Store
	session.Toucher
	session.Lister
	session.Sweeper
	session.Pinger
	session.Warner
	session.ExpressStore
} = (*Store)(nil)

// New returns a store that moves from the old store to the new one. Both must be
// a [Side]. Nil options are the zero ones.
func New(old, new session.Store, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.FollowTimeout == 0 {
		o.FollowTimeout = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{opts: o, asking: make(chan struct{}, 1)}
	if !o.Phase.valid() {
		return nil, errors.New("multistore: there is no such phase")
	}
	if o.Move != "" && !moveName.MatchString(o.Move) {
		return nil, errMove
	}
	s.known.Store(o.Move == "")
	s.gate.open(o.Phase)
	for _, x := range []struct {
		name  string
		store session.Store
		side  *side
		salt  uint64
	}{{"old", old, &s.old, 0}, {"new", new, &s.new, newSalt}} {
		store, ok := x.store.(Side)
		if !ok {
			return nil, fmt.Errorf("multistore: the %s store, a %T, cannot be touched or listed, so sessions cannot be moved from or to it", x.name, x.store)
		}
		*x.side = side{store, x.name, x.salt}
	}
	if reflect.ValueOf(old).Comparable() && old == new {
		return nil, errors.New("multistore: the old store and the new one are the same")
	}
	return s, nil
}

// A roles says which store is what in a phase.
type roles struct {
	phase               Phase
	authority, follower *side
	follows             bool
}

func (s *Store) roles(p Phase) roles {
	if p >= NewHeld {
		return roles{p, &s.new, &s.old, p == NewFirst}
	}
	return roles{p, &s.old, &s.new, p == OldFirst}
}

// read and write let a call pass, as soon as the gate does, and tell what each
// store is for it. The call ends with leave.
func (s *Store) read(ctx context.Context, op string) (r roles, leave func(), err error) {
	if err := s.begin(ctx, op); err != nil {
		return r, nil, err
	}
	p, leave := s.gate.read()
	return s.roles(p), leave, nil
}

func (s *Store) write(ctx context.Context, op string) (r roles, leave func(), err error) {
	if err := s.begin(ctx, op); err != nil {
		return r, nil, err
	}
	p, leave, err := s.gate.write(ctx)
	if err != nil {
		return r, nil, fmt.Errorf("multistore: %s: writes are held: %w", op, err)
	}
	return s.roles(p), leave, nil
}

// Load returns the record as the authority has it.
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	r, leave, err := s.read(ctx, "load")
	if err != nil {
		return session.Record{}, err
	}
	defer leave()
	rec, err := r.authority.load(ctx, id)
	if err != nil {
		return session.Record{}, r.authority.failed("load", err)
	}
	if r.follows && s.stats.due(s.opts.CompareEvery) {
		s.compare(ctx, r, rec)
	}
	return rec, nil
}

// Save is a compare-and-swap in the authority. The follower is made alike.
func (s *Store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	r, leave, err := s.write(ctx, "save")
	if err != nil {
		return 0, err
	}
	defer leave()
	version, err = r.authority.save(ctx, rec)
	if err != nil {
		return 0, r.authority.failed("save", err)
	}
	s.follow(ctx, r, rec.ID)
	return version, nil
}

// Touch touches the record in the authority, and in the follower, which gets the
// whole record if it has none.
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	r, leave, err := s.write(ctx, "touch")
	if err != nil {
		return err
	}
	defer leave()
	if err := r.authority.store.Touch(ctx, id, lastSeen, expires); err != nil {
		return r.authority.failed("touch", err)
	}
	s.followTouch(ctx, r, id, lastSeen, expires)
	return nil
}

// Delete removes the record from the authority, where the session has then
// ended, and from the follower.
func (s *Store) Delete(ctx context.Context, id string) error {
	r, leave, err := s.write(ctx, "delete")
	if err != nil {
		return err
	}
	defer leave()
	if err := r.authority.store.Delete(ctx, id); err != nil {
		return r.authority.failed("delete", err)
	}
	s.followDelete(ctx, r, id)
	return nil
}

// Sweep sweeps both stores, those of them that are a [session.Sweeper]; others
// drop expired records by themselves. It returns how many records the authority
// removed.
func (s *Store) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	r, leave, err := s.write(ctx, "sweep")
	if err != nil {
		return 0, err
	}
	defer leave()
	if w, ok := r.authority.store.(session.Sweeper); ok {
		if removed, err = w.Sweep(ctx, before); err != nil {
			return removed, r.authority.failed("sweep", err)
		}
	}
	if w, ok := r.follower.store.(session.Sweeper); ok && r.follows {
		if _, err := w.Sweep(ctx, before); err != nil {
			s.behind(r.follower.failed("sweep", err))
		}
	}
	return removed, nil
}

// Ping reports whether the authority can be reached. That the follower cannot is
// no reason to take a process out of service; see [Store.Stats].
func (s *Store) Ping(ctx context.Context) error {
	r, leave, err := s.read(ctx, "ping")
	if err != nil {
		return err
	}
	defer leave()
	pinger, ok := r.authority.store.(session.Pinger)
	if !ok {
		return nil
	}
	return r.authority.failed("ping", pinger.Ping(ctx))
}

// Warning returns what there is to know of both stores.
func (s *Store) Warning() string {
	var warnings []string
	for _, side := range []*side{&s.old, &s.new} {
		if w, ok := side.store.(session.Warner); ok && w.Warning() != "" {
			warnings = append(warnings, "the "+side.name+" store: "+w.Warning())
		}
	}
	return strings.Join(warnings, "; ")
}

// ExpressLayout reports whether one of the stores has the layout of an Express
// store, which both must be able to keep.
func (s *Store) ExpressLayout() bool {
	for _, side := range []*side{&s.old, &s.new} {
		if e, ok := side.store.(session.ExpressStore); ok && e.ExpressLayout() {
			return true
		}
	}
	return false
}
