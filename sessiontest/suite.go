package sessiontest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// TestStore checks that a store keeps the contract of [session.Store]. It calls
// newStore for every case; the store must be new and empty each time, and two of
// them need not share anything. What newStore opens it closes with t.Cleanup.
//
// The optional interfaces (touch, list, sweep, ping, and a Close method) are
// tested when the store has them. The log says which it has and which cases were
// therefore not run.
func TestStore(t *testing.T, newStore func(t *testing.T) session.Store) {
	t.Helper()
	Suite{New: newStore}.Run(t)
}

// A Suite is what [TestStore] runs, with what it must be told about a store to
// test more of it, or to expect less.
type Suite struct {
	// New returns a new, empty store. It is required, except for [Suite.Check].
	New func(t *testing.T) session.Store

	// Reopen closes a store that New returned and opens what it kept again, as
	// a restart of the program does. Nil if nothing outlives the store.
	Reopen func(t *testing.T, store session.Store) session.Store

	// Peer opens what a store that New returned keeps a second time, as another
	// process does. Nil if a store has no second door. With Peer the concurrent
	// cases use both.
	Peer func(t *testing.T, store session.Store) session.Store

	// Outage makes the server of a store that New returned unreachable, and
	// returns what makes it reachable again. Nil if that cannot be arranged.
	Outage func(t *testing.T, store session.Store) (mend func())

	// Layout says what the store's form of a record has no place for.
	Layout Layout
}

// A Layout is what a store's form of a record has no place for. The zero value,
// a layout that keeps all, is what a store has unless it shares its records with
// software that dictates the form.
type Layout struct {
	// NoCreated and NoLastSeen are layouts without these times. The store then
	// returns the zero time for them.
	NoCreated, NoLastSeen bool

	// NoSubject is a layout without a subject. The store then returns an empty
	// one.
	NoSubject bool

	// Data rewrites the JSON object of a test so that the layout reads the
	// subject from it, where it has no other place for it: for one that takes
	// passport.user for the subject it adds that member. It must keep the
	// members that are there. Nil where the subject is kept beside the data.
	Data func(object []byte, subject string) []byte

	// ContentVersion is a layout without a place for a version, so that the
	// store makes one of the content: saving what was there before brings its
	// version back.
	ContentVersion bool

	// ExpiresPrecision is the unit to which the layout rounds Expires up, for
	// one with less than milliseconds. It is never rounded down: a record must
	// not end early.
	ExpiresPrecision time.Duration

	// ValidID reports whether the layout can keep a record with this ID, for one
	// that cannot with every ID. The store must refuse to save the others.
	ValidID func(id string) bool
}

// Run runs the cases as subtests of t.
func (s Suite) Run(t *testing.T) {
	t.Helper()
	var has ability
	t.Run("new", func(t *testing.T) {
		store := s.New(t)
		if store == nil {
			t.Fatal("New returned a nil store")
		}
		has = s.abilities(store)
	})
	if t.Failed() {
		return
	}
	for _, c := range allCases() {
		if !has.covers(c.needs) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			store := s.New(t)
			e, cancel := newEnv(context.Background(), t, store, s.Layout)
			defer cancel()
			if s.Peer != nil {
				e.peer = s.Peer(t, store)
			}
			if s.Reopen != nil {
				e.reopen = func(store session.Store) session.Store { return s.Reopen(t, store) }
			}
			if s.Outage != nil {
				e.outage = func(store session.Store) func() { return s.Outage(t, store) }
			}
			c.runOn(e)
		})
	}
	t.Log(has.report())
}

// An ability is a set of things that a store, or the Suite for it, can do.
type ability uint16

const (
	touching ability = 1 << iota
	listing
	sweeping
	pinging
	closing
	subjects
	reopening
	peering
	outages
)

var abilityNames = []struct {
	ability ability
	name    string
}{
	{touching, "touch"},
	{listing, "list"},
	{sweeping, "sweep"},
	{pinging, "ping"},
	{closing, "close"},
	{subjects, "subject"},
	{reopening, "reopen"},
	{peering, "peer"},
	{outages, "outage"},
}

// abilities returns what the suite can test of the store.
func (s Suite) abilities(store session.Store) ability {
	var has ability
	add := func(a ability, ok bool) {
		if ok {
			has |= a
		}
	}
	_, ok := store.(session.Toucher)
	add(touching, ok)
	_, ok = store.(session.Lister)
	add(listing, ok)
	_, ok = store.(session.Sweeper)
	add(sweeping, ok)
	_, ok = store.(session.Pinger)
	add(pinging, ok)
	_, ok = store.(interface{ Close() error })
	add(closing, ok)
	add(subjects, !s.Layout.NoSubject)
	add(reopening, s.Reopen != nil)
	add(peering, s.Peer != nil)
	add(outages, s.Outage != nil)
	return has
}

func (a ability) covers(needs ability) bool { return needs&^a == 0 }

// report says in one line what the store can do and what was not tested because
// it, or the suite for it, cannot.
func (a ability) report() string {
	var has, lacks, notRun []string
	for _, n := range abilityNames {
		if a.covers(n.ability) {
			has = append(has, n.name)
		} else {
			lacks = append(lacks, n.name)
		}
	}
	for _, c := range allCases() {
		if !a.covers(c.needs) {
			notRun = append(notRun, c.name)
		}
	}
	line := "capabilities: " + strings.Join(has, ", ")
	if len(lacks) > 0 {
		line += "; absent: " + strings.Join(lacks, ", ") + "; so not run: " + strings.Join(notRun, ", ")
	}
	return line
}
