package multistore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/multistore"
	"github.com/coatcheck/session/sessiontest"
)

// A site is some processes that share two stores, either of which may fail, and
// sessions of which each counts what was acknowledged.
type site struct {
	old, new             session.Store // as they are
	oldFaults, newFaults *sessiontest.Faults
	processes            []*multistore.Store
	counts               [24]atomic.Int64
	gone                 [24]atomic.Bool
}

func newSite(t *testing.T, processes int) *site {
	s := &site{old: memstore.New(nil), new: memstore.New(nil), oldFaults: new(sessiontest.Faults), newFaults: new(sessiontest.Faults)}
	old, new := s.oldFaults.Wrap(s.old), s.newFaults.Wrap(s.new)
	for range processes {
		s.processes = append(s.processes, open(t, old, new, multistore.Options{Move: "test", FollowTimeout: 100 * time.Millisecond}))
	}
	for i := range s.counts {
		rec := session.Record{ID: siteID(i), Data: []byte("0"), Created: now, LastSeen: now, Expires: now.Add(time.Hour)}
		if _, err := s.old.Save(t.Context(), &rec); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

var now = time.Now().UTC().Truncate(time.Millisecond)

func siteID(i int) string { return fmt.Sprintf("session-%02d", i) }

// work does what requests do at one process: count a session up, touch it, or,
// rarely, end it.
func (s *site) work(t *testing.T, process *multistore.Store, stop <-chan struct{}) {
	ctx := context.Background()
	for {
		select {
		case <-stop:
			return
		default:
		}
		i := rand.IntN(len(s.counts))
		var err error
		switch n := rand.IntN(100); {
		case n < 1 && i%3 == 0:
			if err = process.Delete(ctx, siteID(i)); err == nil {
				s.gone[i].Store(true)
			}
		case n < 30:
			err = process.Touch(ctx, siteID(i), now.Add(time.Duration(n)*time.Second), now.Add(time.Hour+time.Duration(n)*time.Second))
		default:
			err = s.count(ctx, process, i)
		}
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			t.Errorf("a request failed: %v", err)
			return
		}
	}
}

func (s *site) count(ctx context.Context, process *multistore.Store, i int) error {
	for {
		gone := s.gone[i].Load()
		rec, err := process.Load(ctx, siteID(i))
		if err != nil {
			return err
		}
		if gone {
			return errors.New("a session that was ended is there again")
		}
		var n int
		fmt.Sscan(string(rec.Data), &n)
		time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
		rec.Data = fmt.Append(nil, n+1)
		_, err = process.Save(ctx, &rec)
		if err == nil {
			s.counts[i].Add(1)
			return nil
		}
		if !errors.Is(err, session.ErrConflict) {
			return err
		}
	}
}

// setPhase moves all processes to a phase, one after another as a script does.
func (s *site) setPhase(t *testing.T, p multistore.Phase) {
	t.Helper()
	for _, i := range rand.Perm(len(s.processes)) {
		if err := s.processes[i].SetPhase(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
	}
}

func (s *site) copy(t *testing.T) multistore.Report {
	t.Helper()
	report, err := s.processes[rand.IntN(len(s.processes))].Copy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

var errDown = errors.New("the server is down")

// outage lets the follower fail for a while, in part before and in part after a
// write has happened.
func outage(f *sessiontest.Faults) {
	for _, op := range []string{"load", "save", "touch", "delete"} {
		if rand.IntN(2) == 0 {
			f.Fail(op, errDown)
		} else {
			f.LoseAnswer(op, errDown)
		}
	}
	time.Sleep(10 * time.Millisecond)
	f.Reset()
}

// Three processes go all the way and back, several times, while requests are
// under way and the follower is down at times. No acknowledged change is lost,
// nothing that was ended comes back, and no request fails.
func TestMoveThereAndBack(t *testing.T) {
	s := newSite(t, 3)
	stop := make(chan struct{})
	var requests sync.WaitGroup
	for _, process := range s.processes {
		for range 2 {
			requests.Go(func() { s.work(t, process, stop) })
		}
	}
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	pause := func() { time.Sleep(10 * time.Millisecond) }
	for range rounds {
		s.setPhase(t, multistore.OldFirst)
		pause()
		outage(s.newFaults)
		s.copy(t)
		outage(s.newFaults)
		s.setPhase(t, multistore.OldHeld)
		t.Logf("to the new store: %+v", s.copy(t))
		s.wantAlike(t)
		s.setPhase(t, multistore.NewHeld)
		s.setPhase(t, multistore.NewFirst)
		pause()
		s.setPhase(t, multistore.NewOnly)
		pause()
		s.setPhase(t, multistore.NewFirst)
		outage(s.oldFaults)
		pause()
		s.setPhase(t, multistore.NewHeld)
		t.Logf("to the old store: %+v", s.copy(t))
		s.wantAlike(t)
		s.setPhase(t, multistore.OldHeld)
		s.setPhase(t, multistore.OldFirst)
		s.setPhase(t, multistore.OldOnly)
	}
	close(stop)
	requests.Wait()

	total := 0
	for i := range s.counts {
		rec, err := s.processes[0].Load(t.Context(), siteID(i))
		if s.gone[i].Load() {
			if !errors.Is(err, session.ErrNotFound) {
				t.Errorf("a session that was ended: %v", err)
			}
			continue
		}
		if want := fmt.Sprint(s.counts[i].Load()); err != nil || string(rec.Data) != want {
			t.Errorf("a session counted %s, %v, want %s", rec.Data, err, want)
		}
		total += int(s.counts[i].Load())
	}
	t.Logf("%d changes; %+v", total, s.processes[0].Stats())
}

// wantAlike compares the two stores while writes are held.
func (s *site) wantAlike(t *testing.T) {
	t.Helper()
	report, err := s.processes[0].Check(t.Context())
	if err != nil || report.Differences() != 0 {
		t.Errorf("after Copy, Check finds %+v, %v", report, err)
	}
	for i := range s.counts {
		a, errA := s.old.Load(t.Context(), siteID(i))
		b, errB := s.new.Load(t.Context(), siteID(i))
		if (errA == nil) != (errB == nil) || string(a.Data) != string(b.Data) || !a.Expires.Equal(b.Expires) || !a.LastSeen.Equal(b.LastSeen) {
			t.Errorf("the stores have %+v, %v and %+v, %v", a, errA, b, errB)
		}
	}
}

func TestHeldWritesWaitAndReadsDoNot(t *testing.T) {
	s := newSite(t, 1).processes[0]
	if err := errors.Join(s.SetPhase(t.Context(), multistore.OldFirst), s.SetPhase(t.Context(), multistore.OldHeld)); err != nil {
		t.Fatal(err)
	}
	rec, err := s.Load(t.Context(), siteID(0))
	if err != nil {
		t.Fatal(err)
	}
	// The store's own record of the phase may take a place in the page.
	if recs, _, err := s.List(t.Context(), session.Query{Limit: 5}); err != nil || len(recs) < 4 {
		t.Errorf("List: %d, %v", len(recs), err)
	}
	for op, f := range map[string]func(ctx context.Context) error{
		"save":   func(ctx context.Context) error { _, err := s.Save(ctx, &rec); return err },
		"touch":  func(ctx context.Context) error { return s.Touch(ctx, rec.ID, now, now.Add(2*time.Hour)) },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, rec.ID) },
		"sweep":  func(ctx context.Context) error { _, err := s.Sweep(ctx, now.Add(2*time.Hour)); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", op, err)
		}
		cancel()
	}
	if got, err := s.Load(t.Context(), rec.ID); err != nil || got.Version != rec.Version {
		t.Errorf("a write that gave up has happened: %v", err)
	}

	saved := make(chan error)
	go func() { saved <- s.Touch(t.Context(), rec.ID, now, now.Add(2*time.Hour)) }()
	if _, err := s.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.SetPhase(t.Context(), multistore.NewHeld); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-saved:
		t.Errorf("a write did not wait: %v", err)
	case <-time.After(5 * time.Millisecond):
	}
	// What was loaded from the old store is no version of the new one.
	if err := s.SetPhase(t.Context(), multistore.NewFirst); err != nil {
		t.Fatal(err)
	}
	if err := <-saved; err != nil {
		t.Error(err)
	}
	if _, err := s.Save(t.Context(), &rec); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Save with a version of the store that was the authority before: %v", err)
	}
}

func TestSetPhaseWaitsForWritesUnderWay(t *testing.T) {
	// The time of a bubble stands still until all wait: it passes while SetPhase waits
	// for the write, and not while it asks the stores for the phase before.
	synctest.Test(t, testSetPhaseWaitsForWritesUnderWay)
}

func testSetPhaseWaitsForWritesUnderWay(t *testing.T) {
	site := newSite(t, 1)
	s := site.processes[0]
	if err := s.SetPhase(t.Context(), multistore.OldFirst); err != nil {
		t.Fatal(err)
	}
	arrived, release := site.oldFaults.Block("delete")
	deleted := make(chan error)
	go func() { deleted <- s.Delete(context.Background(), siteID(0)) }()
	<-arrived
	for range 2 { // again, too
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if err := s.SetPhase(ctx, multistore.OldHeld); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("SetPhase with a write under way: %v", err)
		}
		cancel()
		if got := s.Phase(); got != multistore.OldHeld {
			t.Errorf("the phase is %v", got)
		}
	}
	release()
	if err := s.SetPhase(t.Context(), multistore.OldHeld); err != nil {
		t.Error(err)
	}
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	if err := s.SetPhase(t.Context(), multistore.NewFirst); err == nil {
		t.Error("a phase was skipped")
	}
}

// A record that is deleted between the two steps of its copying stays so.
func TestCopyDoesNotBringBack(t *testing.T) {
	site := newSite(t, 1)
	s := site.processes[0]
	if err := s.SetPhase(t.Context(), multistore.OldFirst); err != nil {
		t.Fatal(err)
	}
	arrived, release := site.newFaults.Block("save")
	copied := make(chan error)
	go func() { _, err := s.Copy(t.Context()); copied <- err }()
	<-arrived // somewhere, with what it read of the old store
	for i := range site.counts {
		if err := s.Delete(t.Context(), siteID(i)); err != nil {
			t.Fatal(err)
		}
	}
	release()
	if err := <-copied; err != nil {
		t.Fatal(err)
	}
	for i := range site.counts {
		if _, err := site.new.Load(t.Context(), siteID(i)); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the new store has a record that was deleted: %v", err)
		}
	}
}

func TestCheckAndCopy(t *testing.T) {
	site := newSite(t, 1)
	s := site.processes[0]
	if _, err := s.Check(t.Context()); err == nil {
		t.Error("Check without a follower is no error")
	}
	if err := s.SetPhase(t.Context(), multistore.OldFirst); err != nil {
		t.Fatal(err)
	}
	n := len(site.counts)
	put := func(store session.Store, rec session.Record) {
		if has, err := store.Load(t.Context(), rec.ID); err == nil {
			rec.Version = has.Version
		}
		if _, err := store.Save(t.Context(), &rec); err != nil {
			t.Fatal(err)
		}
	}
	put(site.new, session.Record{ID: siteID(0), Data: []byte("5"), Created: now, LastSeen: now, Expires: now.Add(time.Hour)})
	put(site.new, session.Record{ID: siteID(1), Data: []byte("0"), Created: now, LastSeen: now, Expires: now.Add(2 * time.Hour)})
	put(site.new, session.Record{ID: siteID(2), Data: []byte("0"), Created: now, LastSeen: now, Expires: now.Add(time.Hour + time.Second/2)})
	put(site.new, session.Record{ID: "extra", Data: []byte("0"), Created: now, LastSeen: now, Expires: now.Add(time.Hour)})
	put(site.old, session.Record{ID: "expired", Data: []byte("0"), Expires: now.Add(-time.Hour)})

	want := multistore.Report{Records: n, Missing: n - 3, Different: 2, Extra: 1}
	if got, err := s.Check(t.Context()); got != want || err != nil {
		t.Errorf("Check: %+v, %v, want %+v", got, err, want)
	}
	site.newFaults.Fail("load", errDown)
	if _, err := s.Check(t.Context()); !errors.Is(err, errDown) || !strings.HasPrefix(err.Error(), "multistore: check: ") {
		t.Errorf("Check of a store that can be listed, and not read: %v", err)
	}
	site.newFaults.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	site.newFaults.Before("load", func(ctx context.Context) error { cancel(); return ctx.Err() })
	if _, err := s.Copy(ctx); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "multistore: copy: ") {
		t.Errorf("Copy that was given up: %v", err)
	}
	site.newFaults.Reset()
	site.newFaults.Fail("save", errDown)
	want.Failed = n - 1
	if got, err := s.Copy(t.Context()); got != want || !errors.Is(err, errDown) {
		t.Errorf("Copy to a store that takes nothing: %+v, %v, want %+v", got, err, want)
	}
	site.newFaults.Reset()
	want = multistore.Report{Records: n, Missing: n - 3, Different: 2}
	if got, err := s.Copy(t.Context()); got != want || err != nil {
		t.Errorf("Copy: %+v, %v, want %+v", got, err, want)
	}
	if got, err := s.Check(t.Context()); got.Differences() != 0 || err != nil {
		t.Errorf("Check after Copy: %+v, %v", got, err)
	}
	if err := site.new.Delete(t.Context(), siteID(3)); err != nil {
		t.Fatal(err)
	}
	site.newFaults.Fail("load", errDown)
	if _, err := s.Check(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("Check that cannot look at the only one that differs: %v", err)
	}
	site.newFaults.Reset()
	site.oldFaults.Fail("list", errDown)
	if _, err := s.Check(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("Check of a store that is down: %v", err)
	}
}

func TestBackfill(t *testing.T) {
	site := newSite(t, 0)
	has := func(i int) bool {
		_, err := site.new.Load(t.Context(), siteID(i))
		return err == nil
	}
	var told []error
	s := open(t, site.old, site.newFaults.Wrap(site.new), multistore.Options{
		Phase: multistore.OldFirst, CompareEvery: 2, OnBehind: func(err error) { told = append(told, err) },
	})
	if err := s.Touch(t.Context(), siteID(0), now, now.Add(2*time.Hour)); err != nil || !has(0) {
		t.Errorf("a touched record was not copied, %v", err)
	}
	for range 2 {
		if _, err := s.Load(t.Context(), siteID(1)); err != nil {
			t.Fatal(err)
		}
	}
	if !has(1) {
		t.Error("a compared record was not copied")
	}
	site.newFaults.Fail("load", errDown)
	rec, _ := s.Load(t.Context(), siteID(2))
	if _, err := s.Save(t.Context(), &rec); err != nil {
		t.Errorf("Save with a follower that is down: %v", err)
	}
	want := multistore.Stats{Followed: 1, Behind: 1, Compared: 1, Mismatched: 1}
	if got := s.Stats(); got != want || len(told) != 1 || !errors.Is(told[0], errDown) {
		t.Errorf("the counts are %+v, and %v was told, want %+v", got, told, want)
	}
}

// A follower that does not answer costs a write the timeout and nothing else, and
// who gives up after the authority has written does not leave it behind.
func TestSlowFollower(t *testing.T) {
	// In a bubble only the fault takes time, so no other call can be given up.
	synctest.Test(t, testSlowFollower)
}

func testSlowFollower(t *testing.T) {
	site := newSite(t, 0)
	s := open(t, site.old, site.newFaults.Wrap(site.new), multistore.Options{Phase: multistore.OldFirst, FollowTimeout: 20 * time.Millisecond})
	if err := s.Touch(t.Context(), siteID(0), now, now.Add(time.Hour)); err != nil { // which copies it
		t.Fatal(err)
	}
	_, release := site.newFaults.Block("touch")
	defer release()
	began := time.Now()
	if err := s.Touch(t.Context(), siteID(0), now, now.Add(2*time.Hour)); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took != 20*time.Millisecond || s.Stats().Behind != 1 {
		t.Errorf("it took %v; %+v", took, s.Stats())
	}

	ctx, cancel := context.WithCancel(t.Context())
	site.newFaults.Before("delete", func(ctx context.Context) error { cancel(); return ctx.Err() })
	if err := s.Delete(ctx, siteID(0)); err != nil {
		t.Error(err)
	}
	if _, err := site.new.Load(t.Context(), siteID(0)); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("the follower still has a record that was deleted: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	bare := struct{ session.Store }{memstore.New(nil)}
	if _, err := multistore.New(bare, memstore.New(nil), nil); err == nil {
		t.Error("a store that cannot be listed was taken")
	}
	if _, err := multistore.New(memstore.New(nil), nil, nil); err == nil {
		t.Error("nil was taken for a store")
	}
	same := memstore.New(nil)
	if _, err := multistore.New(same, same, nil); err == nil {
		t.Error("one store was taken for two")
	}
	if _, err := multistore.New(memstore.New(nil), memstore.New(nil), &multistore.Options{Phase: 6}); err == nil {
		t.Error("a phase that there is not was taken")
	}
	for p := multistore.OldOnly; p <= multistore.NewOnly; p++ {
		if got, err := multistore.ParsePhase(p.String()); got != p || err != nil {
			t.Errorf("ParsePhase(%q) = %v, %v", p.String(), got, err)
		}
	}
}

// A listing that goes on when the authority has changed would miss records.
func TestCursorsAreOfOneStore(t *testing.T) {
	s := newSite(t, 1).processes[0]
	_, cursor, err := s.List(t.Context(), session.Query{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for p := multistore.OldFirst; p <= multistore.NewOnly; p++ {
		if p == multistore.NewHeld {
			if _, err := s.Copy(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SetPhase(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.List(t.Context(), session.Query{Limit: 1, Cursor: cursor})
		if (err == nil) != (p < multistore.NewHeld) {
			t.Errorf("a cursor of the old store in phase %v: %v", p, err)
		}
	}
}

func BenchmarkStore(b *testing.B) {
	for _, p := range []multistore.Phase{multistore.OldOnly, multistore.OldFirst} {
		b.Run(p.String(), func(b *testing.B) {
			sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
				return open(b, memory(b), memory(b), multistore.Options{Phase: p})
			})
		})
	}
}
