package multistore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/multistore"
	"github.com/coatcheck/session/sessiontest"
)

// A moved is two stores of a move that has a name, and opens processes.
type moved struct {
	t                    *testing.T
	old, new             session.Store
	oldFaults, newFaults *sessiontest.Faults
}

func newMoved(t *testing.T) *moved {
	m := &moved{t: t, oldFaults: new(sessiontest.Faults), newFaults: new(sessiontest.Faults)}
	m.old, m.new = m.oldFaults.Wrap(memstore.New(nil)), m.newFaults.Wrap(memstore.New(nil))
	return m
}

// followTimeout is longer than a busy machine stalls. No test waits for it to pass: a
// store that is down fails at once, and one that is slow is so in a bubble.
const followTimeout = time.Minute

// start starts a process that is configured to begin in a phase.
func (m *moved) start(p multistore.Phase) *multistore.Store {
	return open(m.t, m.old, m.new, multistore.Options{Phase: p, Move: "there", FollowTimeout: followTimeout})
}

// wantPhase makes the first call of a process, and looks where it is then.
func (m *moved) wantPhase(s *multistore.Store, want multistore.Phase) {
	m.t.Helper()
	if _, err := s.Load(m.t.Context(), "any"); !errors.Is(err, session.ErrNotFound) {
		m.t.Errorf("Load: %v", err)
	}
	if got := s.Phase(); got != want {
		m.t.Errorf("the process is in the phase %v, want %v", got, want)
	}
}

func (m *moved) setPhase(p multistore.Phase, processes ...*multistore.Store) {
	m.t.Helper()
	for _, s := range processes {
		if err := s.SetPhase(m.t.Context(), p); err != nil {
			m.t.Fatalf("SetPhase(%v): %v", p, err)
		}
	}
}

func down(f *sessiontest.Faults) (up func()) {
	for _, op := range []string{"load", "save", "touch", "delete", "list"} {
		f.Fail(op, errDown)
	}
	return f.Reset
}

// Whatever a process is configured to begin in, it begins where the others are, at
// each step of the way there and back.
func TestBeginsWhereTheOthersAre(t *testing.T) {
	m := newMoved(t)
	a := m.start(multistore.OldOnly)
	m.wantPhase(a, multistore.OldOnly)
	way := []multistore.Phase{
		multistore.OldFirst, multistore.OldHeld, multistore.NewHeld, multistore.NewFirst, multistore.NewOnly,
		multistore.NewFirst, multistore.NewHeld, multistore.OldHeld, multistore.OldFirst, multistore.OldOnly,
	}
	for _, p := range way {
		m.setPhase(p, a)
		for configured := multistore.OldOnly; configured <= multistore.NewOnly; configured++ {
			m.wantPhase(m.start(configured), p)
		}
		if p == multistore.OldHeld || p == multistore.NewHeld {
			if _, err := a.Copy(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The other processes may not have taken the step that is recorded yet.
func TestStepsOfTwoProcesses(t *testing.T) {
	m := newMoved(t)
	a, b, unreached := m.start(multistore.OldFirst), m.start(multistore.OldFirst), m.start(multistore.OldFirst)
	m.setPhase(multistore.OldFirst, a, b, unreached)
	m.setPhase(multistore.OldHeld, a, b)
	m.wantPhase(b, multistore.OldHeld)
	if err := a.SetPhase(t.Context(), multistore.NewHeld); err == nil || !strings.Contains(err.Error(), "Copy") {
		t.Errorf("the authority changes without a Copy: %v", err)
	}
	if _, err := b.Copy(t.Context()); err != nil { // on one process, not on each
		t.Fatal(err)
	}
	m.setPhase(multistore.NewHeld, a)
	// The old server is gone when the second process follows. That is no reason to
	// stay with it.
	up := down(m.oldFaults)
	m.setPhase(multistore.NewHeld, b)
	m.setPhase(multistore.NewFirst, a, b)
	m.wantPhase(m.start(multistore.NewFirst), multistore.NewFirst)
	m.setPhase(multistore.NewOnly, a, b)
	up()
	// The old store does not know of the last steps, but of the one that counts.
	m.wantPhase(m.start(multistore.OldFirst), multistore.NewOnly)

	// A process that has missed everything is refused, and does not lead the others
	// back.
	for range 2 {
		if err := unreached.SetPhase(t.Context(), multistore.OldHeld); err == nil || !strings.Contains(err.Error(), "the other processes are in the phase NewOnly") {
			t.Errorf("a step that the others took long ago: %v", err)
		}
	}
	for configured := multistore.OldOnly; configured <= multistore.NewOnly; configured++ {
		m.wantPhase(m.start(configured), multistore.NewOnly)
	}
}

// To go on, or back, needs a Copy since writes were held, not an earlier one.
func TestCopyIsNotLeftOut(t *testing.T) {
	m := newMoved(t)
	a := m.start(multistore.OldFirst)
	refused := func(p multistore.Phase) {
		t.Helper()
		from := a.Phase()
		if err := a.SetPhase(t.Context(), p); err == nil || !strings.Contains(err.Error(), "call Copy") {
			t.Errorf("from %v to %v without a Copy: %v", from, p, err)
		}
		m.wantPhase(a, from)
		m.wantPhase(m.start(multistore.OldFirst), from)
	}
	copy := func(fails bool) {
		t.Helper()
		if _, err := a.Copy(t.Context()); (err != nil) != fails {
			t.Fatalf("Copy: %v", err)
		}
	}
	rec := session.Record{ID: "a", Data: []byte("{}"), Created: now, LastSeen: now, Expires: now.Add(time.Hour)}
	if _, err := m.old.Save(t.Context(), &rec); err != nil {
		t.Fatal(err)
	}
	m.setPhase(multistore.OldFirst, a)
	copy(false) // while writes go on
	m.setPhase(multistore.OldHeld, a)
	refused(multistore.NewHeld)
	copy(false)
	m.setPhase(multistore.OldFirst, a) // and writes have gone on since
	m.setPhase(multistore.OldHeld, a)
	refused(multistore.NewHeld)
	if err := m.new.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	m.newFaults.Fail("save", errDown)
	copy(true)
	m.newFaults.Reset()
	refused(multistore.NewHeld)
	copy(false)
	m.setPhase(multistore.NewHeld, a)
	m.setPhase(multistore.OldHeld, a) // thought better of it; nothing was written
	m.setPhase(multistore.NewHeld, a)
	m.setPhase(multistore.NewFirst, a)
	m.setPhase(multistore.NewHeld, a)
	refused(multistore.OldHeld)
	copy(false)
	m.setPhase(multistore.OldHeld, a)
}

// The step that changes the authority is recorded in both stores, or not taken.
func TestSwitchNeedsBothStores(t *testing.T) {
	for _, first := range []bool{true, false} {
		m := newMoved(t)
		a := m.start(multistore.OldFirst)
		m.setPhase(multistore.OldFirst, a)
		m.setPhase(multistore.OldHeld, a)
		if _, err := a.Copy(t.Context()); err != nil {
			t.Fatal(err)
		}
		faults := m.newFaults
		if first {
			faults = m.oldFaults
		}
		faults.Fail("save", errDown)
		if err := a.SetPhase(t.Context(), multistore.NewHeld); !errors.Is(err, errDown) {
			t.Errorf("SetPhase: %v", err)
		}
		m.wantPhase(a, multistore.OldHeld)
		faults.Reset()
		// Those that start now are in one of the held phases, and so neighbours of
		// the others.
		for configured := multistore.OldOnly; configured <= multistore.NewOnly; configured++ {
			m.wantPhase(m.start(configured), multistore.OldHeld)
		}
		if err := a.SetPhase(t.Context(), multistore.OldFirst); first == (err != nil) {
			t.Errorf("SetPhase(OldFirst) when the step was begun %v: %v", !first, err)
		}
		if first {
			continue
		}
		// Both ways lead out of it.
		m.wantPhase(m.start(multistore.NewOnly), multistore.OldHeld)
	}
	for _, on := range []bool{true, false} {
		m := newMoved(t)
		a := m.start(multistore.OldFirst)
		m.setPhase(multistore.OldHeld, a)
		if _, err := a.Copy(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.newFaults.Fail("save", errDown)
		if err := a.SetPhase(t.Context(), multistore.NewHeld); !errors.Is(err, errDown) {
			t.Errorf("SetPhase: %v", err)
		}
		m.newFaults.Reset()
		if on {
			m.setPhase(multistore.NewHeld, a)
			m.setPhase(multistore.NewFirst, a)
		} else {
			m.setPhase(multistore.OldHeld, a)
			m.setPhase(multistore.OldFirst, a)
		}
		for configured := multistore.OldOnly; configured <= multistore.NewOnly; configured++ {
			m.wantPhase(m.start(configured), a.Phase())
		}
	}
}

// A store that has missed the steps before the one that changes the authority says
// of it what an unfinished step says, though its phase is an older one.
func TestSwitchAfterMissedSteps(t *testing.T) {
	for _, test := range []struct {
		name            string
		stale, from, to multistore.Phase
	}{
		{"over", multistore.OldFirst, multistore.OldHeld, multistore.NewHeld},
		{"back", multistore.NewFirst, multistore.NewHeld, multistore.OldHeld},
	} {
		for _, out := range []multistore.Phase{test.from, test.to} {
			t.Run(test.name+" and then "+out.String(), func(t *testing.T) {
				m := newMoved(t)
				a := m.start(test.stale)
				m.setPhase(test.stale, a)
				follower := m.newFaults
				if test.stale == multistore.NewFirst {
					follower = m.oldFaults
				}
				follower.Fail("save", errDown)
				m.setPhase(test.from, a)
				if _, err := a.Copy(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := a.SetPhase(t.Context(), test.to); !errors.Is(err, errDown) {
					t.Errorf("SetPhase(%v): %v", test.to, err)
				}
				m.wantPhase(a, test.from)
				follower.Reset()
				for configured := multistore.OldOnly; configured <= multistore.NewOnly; configured++ {
					m.wantPhase(m.start(configured), multistore.OldHeld)
				}
				if err := a.SetPhase(t.Context(), test.stale); err == nil || !strings.Contains(err.Error(), "begun and not finished") {
					t.Errorf("SetPhase(%v) when the step was begun: %v", test.stale, err)
				}
				m.setPhase(out, a)
				for configured := multistore.OldOnly; configured <= multistore.NewOnly; configured++ {
					m.wantPhase(m.start(configured), out)
				}
			})
		}
	}
}

// Both ways lead out of a step that has failed at a store without any record.
func TestSwitchToStoreWithoutRecord(t *testing.T) {
	for _, on := range []bool{false, true} {
		m := newMoved(t)
		a := m.start(multistore.OldFirst)
		m.newFaults.Fail("save", errDown)
		m.setPhase(multistore.OldHeld, a)
		if _, err := a.Copy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.SetPhase(t.Context(), multistore.NewHeld); !errors.Is(err, errDown) {
			t.Errorf("SetPhase: %v", err)
		}
		m.newFaults.Reset()
		m.wantPhase(m.start(multistore.OldFirst), multistore.OldHeld)
		if on {
			// Tried again, the step is recorded in both.
			m.setPhase(multistore.NewHeld, a)
			for configured := multistore.OldOnly; configured <= multistore.NewOnly; configured++ {
				m.wantPhase(m.start(configured), multistore.NewHeld)
			}
			continue
		}
		m.setPhase(multistore.OldHeld, a)
		m.setPhase(multistore.OldFirst, a)
		m.wantPhase(m.start(multistore.NewOnly), multistore.OldFirst)
	}
}

// The phase may be asked for while it is found out.
func TestPhaseIsAskedMeanwhile(t *testing.T) {
	s := newMoved(t).start(multistore.OldFirst)
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		for range 1000 {
			s.Phase()
		}
	})
	if _, err := s.Load(t.Context(), "any"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load: %v", err)
	}
}

// A process that cannot know the phase fails its calls, until it can; and a
// follower that is down is no reason for that.
func TestPhaseUnknown(t *testing.T) {
	for _, test := range []struct {
		name       string
		recorded   bool // that NewFirst is
		configured multistore.Phase
		oldDown    bool
		newDown    bool
		want       bool // it can begin
	}{
		{"the old store, which has the sessions, is down", false, multistore.OldFirst, true, false, false},
		{"the new store is down, before anything was recorded", false, multistore.OldFirst, false, true, true},
		{"the new store is down, and the old one says that it has the sessions", true, multistore.OldFirst, false, true, false},
		{"the old store is down, and the new one has the sessions", true, multistore.NewFirst, true, false, true},
		{"the old store is down, and the setting is ahead of what was recorded", false, multistore.NewFirst, true, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMoved(t)
			if test.recorded {
				a := m.start(multistore.OldFirst)
				m.setPhase(multistore.OldHeld, a)
				if _, err := a.Copy(t.Context()); err != nil {
					t.Fatal(err)
				}
				m.setPhase(multistore.NewHeld, a)
				m.setPhase(multistore.NewFirst, a)
			}
			if test.oldDown {
				down(m.oldFaults)
			}
			if test.newDown {
				down(m.newFaults)
			}
			s := m.start(test.configured)
			for range 2 {
				_, err := s.Load(t.Context(), "any")
				if test.want != errors.Is(err, session.ErrNotFound) || !test.want && !errors.Is(err, errDown) {
					t.Errorf("Load: %v", err)
				}
			}
			m.oldFaults.Reset()
			m.newFaults.Reset()
			want := multistore.OldFirst
			if test.recorded {
				want = multistore.NewFirst
			}
			if test.configured == multistore.NewFirst && !test.recorded {
				want = multistore.NewFirst // nobody has said otherwise
			}
			m.wantPhase(s, want)
		})
	}
}

// A store that has lost its record, as Redis may, is outvoted by the other.
func TestRecordLost(t *testing.T) {
	for _, lost := range []string{"old", "new"} {
		m := newMoved(t)
		a := m.start(multistore.OldFirst)
		m.setPhase(multistore.OldHeld, a)
		if _, err := a.Copy(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.setPhase(multistore.NewHeld, a)
		m.setPhase(multistore.NewFirst, a)
		store := m.old
		if lost == "new" {
			store = m.new
		}
		if err := store.Delete(t.Context(), "multistore-there"); err != nil {
			t.Fatal(err)
		}
		for configured := multistore.OldOnly; configured <= multistore.NewOnly; configured++ {
			m.wantPhase(m.start(configured), multistore.NewFirst)
		}
	}
}

// Who has to ask the authority waits for it as long as the call may take.
func TestSlowAuthorityIsAsked(t *testing.T) { synctest.Test(t, testSlowAuthorityIsAsked) }

func testSlowAuthorityIsAsked(t *testing.T) {
	m := newMoved(t)
	a := m.start(multistore.OldFirst)
	m.setPhase(multistore.OldHeld, a)
	if _, err := a.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.setPhase(multistore.NewHeld, a)
	m.newFaults.Delay("load", 2*followTimeout)
	m.wantPhase(m.start(multistore.OldFirst), multistore.NewHeld)
}

// One call finds the phase out, the others wait for it as long as they may.
func TestPhaseIsFoundOutOnce(t *testing.T) {
	m := newMoved(t)
	s := m.start(multistore.OldFirst)
	arrived, release := m.oldFaults.Block("load")
	first := make(chan error)
	go func() { _, err := s.Load(context.Background(), "any"); first <- err }()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	for op, f := range map[string]func() error{
		"load": func() error { _, err := s.Load(ctx, "any"); return err },
		"save": func() error {
			_, err := s.Save(ctx, &session.Record{ID: "a", Data: []byte("{}"), Expires: now})
			return err
		},
		"list":  func() error { _, _, err := s.List(ctx, session.Query{Limit: 1}); return err },
		"check": func() error { _, err := s.Check(ctx); return err },
		"copy":  func() error { _, err := s.Copy(ctx); return err },
		"ping":  func() error { return s.Ping(ctx) },
		"phase": func() error { return s.SetPhase(ctx, multistore.OldFirst) },
	} {
		if err := f(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s before the phase is known: %v", op, err)
		}
	}
	release()
	if err := <-first; !errors.Is(err, session.ErrNotFound) {
		t.Error(err)
	}
}

// The record is no session: it is not listed, and not counted.
func TestRecordIsNoSession(t *testing.T) {
	m := newMoved(t)
	s := m.start(multistore.OldFirst)
	m.setPhase(multistore.OldFirst, s)
	m.setPhase(multistore.OldHeld, s)
	report, err := s.Copy(t.Context())
	if err != nil || report != (multistore.Report{}) {
		t.Errorf("Copy: %+v, %v", report, err)
	}
	if report, err := s.Check(t.Context()); err != nil || report != (multistore.Report{}) {
		t.Errorf("Check: %+v, %v", report, err)
	}
	recs, next, err := s.List(t.Context(), session.Query{Limit: 10})
	if err != nil || len(recs) != 0 || next != "" {
		t.Errorf("List: %d, %q, %v", len(recs), next, err)
	}
	if recs, _, err := m.old.(session.Lister).List(t.Context(), session.Query{Limit: 10}); err != nil || len(recs) != 1 ||
		recs[0].Expires.Before(now.Add(300*24*time.Hour)) {
		t.Errorf("the old store has %+v, %v", recs, err)
	}
	sessions, err := session.New(m.old, &session.Options{Secrets: []session.Secret{"0123456789abcdef0123456789abcdef0123456789ab"}, NoStoreWarning: true})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := sessions.Count(t.Context()); n != 0 || err != nil {
		t.Errorf("without multistore there are %d sessions, %v", n, err)
	}
	for _, name := range []string{"There", "a b", strings.Repeat("a", 65), "ü"} {
		if _, err := multistore.New(memstore.New(nil), memstore.New(nil), &multistore.Options{Move: name}); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}
