package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
)

func signIn(subject string) page {
	return func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject(subject) }
}

func TestListAndFind(t *testing.T) {
	st := newSite(t, renewing)
	ctx := t.Context()
	st.visitor(map[string]any{"a": 1})
	var bs []*browser
	for range 250 { // several pages
		bs = append(bs, st.signedIn("23"))
	}
	st.signedIn("24")
	bs[0].get(renewID) // leaves a pointer, which is no session
	st.clock.advance(30 * time.Minute)
	bs[1].get(read)
	count := func(seq func(func(session.Record, error) bool)) int {
		n := 0
		for rec, err := range seq {
			if err != nil || rec.ID == "" {
				t.Error(rec, err)
			}
			n++
		}
		return n
	}
	equal(t, "sessions of 23", count(st.List(ctx, "23")), 250)
	equal(t, "sessions of 24", count(st.List(ctx, "24")), 1)
	equal(t, "sessions of nobody", count(st.List(ctx, "25")), 0)
	equal(t, "sessions of the empty subject", count(st.List(ctx, "")), 0)
	equal(t, "all sessions", count(st.All(ctx)), 252)
	equal(t, "Count", st.live(), 252)
	for range st.All(ctx) {
		break // must not go on
	}
	var some session.Record
	for some = range st.List(ctx, "24") {
	}
	rec, err := st.Find(ctx, some.ID)
	if err != nil || rec.Subject != "24" {
		t.Error("Find:", rec, err)
	}
	name, ok := session.NewKey[string]("name").In(rec)
	equal(t, "a key in a record", fmt.Sprint(name, ok), "24true")
	st.clock.advance(2 * time.Hour)
	equal(t, "Count after all have expired", st.live(), 0)
	for _, id := range []string{some.ID, "unknown", ""} {
		if _, err := st.Find(ctx, id); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Find(%q): %v", id, err)
		}
	}
}

func TestRevoke(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(st *site, mine *browser) (int, error)
		want string // of mine, the other device, and somebody else
		n    int
	}{
		{"Revoke", func(st *site, mine *browser) (int, error) {
			var id string
			mine.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { id = s.ID() })
			return 0, st.Revoke(t.Context(), id)
		}, "none 23 24", 0},
		{"Revoke of an unknown ID", func(st *site, _ *browser) (int, error) { return 0, st.Revoke(t.Context(), "unknown") }, "23 23 24", 0},
		{"RevokeAll", func(st *site, _ *browser) (int, error) { return st.RevokeAll(t.Context(), "23") }, "none none 24", 2},
		{"RevokeAll of nobody", func(st *site, _ *browser) (int, error) { return st.RevokeAll(t.Context(), "") }, "23 23 24", 0},
		{"RevokeOthers", func(st *site, mine *browser) (n int, err error) {
			mine.get(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
				n, err = st.RevokeOthers(r.Context(), s)
			})
			return n, err
		}, "23 none 24", 1},
		{"RevokeOthers with a new token", func(st *site, mine *browser) (n int, err error) { // a password was changed
			mine.get(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
				s.RenewID()
				n, err = st.RevokeOthers(r.Context(), s)
			})
			return n, err
		}, "23 none 24", 1},
		{"RevokeOthers at the sign-in", func(st *site, mine *browser) (n int, err error) {
			mine.get(destroy)
			mine.get(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
				s.SetSubject("23")
				n, err = st.RevokeOthers(r.Context(), s)
			})
			return n, err
		}, "23 none 24", 1},
		{"RevokeOthers of an anonymous session", func(st *site, _ *browser) (n int, err error) {
			st.browser().get(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
				n, err = st.RevokeOthers(r.Context(), s)
			})
			return n, err
		}, "23 23 24", 0},
		{"Clear", func(st *site, _ *browser) (int, error) { return st.Clear(t.Context()) }, "none none none", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			mine, other, else_ := st.signedIn("23"), st.signedIn("23"), st.signedIn("24")
			st.kinds()
			n, err := test.do(st, mine)
			if n != test.n || err != nil {
				t.Error(n, err)
			}
			equal(t, "subjects", strings.Join([]string{mine.subject(), other.subject(), else_.subject()}, " "), test.want)
			if test.n > 0 {
				equal(t, "events of revocation", strings.Count(st.kinds(), "revoked"), test.n)
			}
		})
	}
	t.Run("with a store that is down", func(t *testing.T) {
		for _, test := range []struct {
			op string
			do func(st *site, id string) error
		}{
			{"load", func(st *site, id string) error { return st.Revoke(t.Context(), id) }},
			{"delete", func(st *site, id string) error { return st.Revoke(t.Context(), id) }},
			{"delete", func(st *site, _ string) error { _, err := st.RevokeAll(t.Context(), "23"); return err }},
			{"list", func(st *site, _ string) error { _, err := st.RevokeAll(t.Context(), "23"); return err }},
			{"list", func(st *site, _ string) error { _, err := st.Clear(t.Context()); return err }},
			{"list", func(st *site, _ string) error { _, err := st.Count(t.Context()); return err }},
			{"load", func(st *site, id string) error { _, err := st.Find(t.Context(), id); return err }},
		} {
			st := newSite(t)
			st.signedIn("23")
			id := st.records()[0].ID
			st.faults.Fail(test.op, errDown)
			var storeErr *session.StoreError
			if err := test.do(st, id); !errors.Is(err, errDown) || !errors.As(err, &storeErr) || storeErr.Op != test.op {
				t.Errorf("%s fails: %v", test.op, err)
			}
		}
	})
}

func TestMaxPerSubject(t *testing.T) {
	limited := func(n int, at session.AtLimit) func(o *session.Options) {
		return func(o *session.Options) { o.MaxPerSubject, o.AtLimit = n, at }
	}
	t.Run("the oldest goes", func(t *testing.T) {
		st := newSite(t, limited(2, session.EvictOldest))
		var bs []*browser
		for range 4 {
			bs = append(bs, st.signedIn("23"))
			st.clock.advance(time.Second)
		}
		st.signedIn("24")
		var got []string
		for _, b := range bs {
			got = append(got, b.subject())
		}
		equal(t, "subjects", strings.Join(got, " "), "none none 23 23")
		equal(t, "sessions", st.live(), 3)
		contains(t, "events", st.kinds(), "evicted")
	})
	t.Run("the newest is refused", func(t *testing.T) {
		st := newSite(t, limited(2, session.RefuseNew))
		first, second := st.signedIn("23"), st.signedIn("23")
		visitor := st.visitor(map[string]any{"cart": 1})
		w := visitor.get(signIn("23"))
		equal(t, "status", w.Code, 409)
		contains(t, "body", w.Body.String(), "signed in too many times")
		equal(t, "the session that stays anonymous", visitor.subject()+visitor.data(), `{"cart":1}`)
		equal(t, "status for a new session", st.browser().get(signIn("23")).Code, 409)
		equal(t, "the others", first.subject()+second.subject(), "2323")
		equal(t, "sessions", st.live(), 3)
		first.get(destroy)
		equal(t, "status when there is room again", visitor.get(signIn("23")).Code, 200)
	})
	t.Run("one who signs in again is not another session", func(t *testing.T) {
		for _, at := range []session.AtLimit{session.EvictOldest, session.RefuseNew} {
			st := newSite(t, limited(1, at))
			b := st.signedIn("23")
			for _, p := range []page{signIn("23"), renewID, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Regenerate()
				s.SetSubject("23")
			}} {
				equal(t, "status", b.get(p).Code, 200)
				equal(t, "subject", b.subject(), "23")
			}
			equal(t, "sessions", st.live(), 1)
		}
	})
	for _, at := range []session.AtLimit{session.EvictOldest, session.RefuseNew} {
		t.Run(fmt.Sprint("concurrent sign-ins, policy ", at), func(t *testing.T) {
			st := newSite(t, limited(2, at))
			var wg sync.WaitGroup
			bs := make([]*browser, 20)
			for i := range bs {
				bs[i] = st.browser()
				wg.Go(func() {
					if w := bs[i].get(signIn("23")); w.Code != 200 && w.Code != 409 {
						t.Error("status", w.Code)
					}
				})
			}
			wg.Wait()
			n := st.live()
			if n > 2 || at == session.EvictOldest && n != 2 {
				t.Errorf("%d sessions", n)
			}
		})
	}
	t.Run("a list that fails leaves nothing behind", func(t *testing.T) {
		st := newSite(t, limited(1, session.EvictOldest))
		st.faults.Fail("list", errDown)
		equal(t, "status", st.browser().get(signIn("23")).Code, 503)
		b := st.visitor(map[string]any{"a": 1})
		equal(t, "status", b.clone().get(signIn("23")).Code, 503)
		st.faults.Reset()
		equal(t, "sessions", st.live(), 1)
		equal(t, "the session", b.data()+b.subject(), `{"a":1}`)
	})
}

func TestSweepAndPing(t *testing.T) {
	inner := memstore.New(&memstore.Options{Now: func() time.Time { return time.Time{} }}) // drops nothing by itself
	st := siteOver(t, inner)
	for range 5 {
		st.visitor(map[string]any{"a": 1})
	}
	st.clock.advance(2 * time.Hour)
	st.visitor(map[string]any{"a": 1})
	n, err := st.Sweep(t.Context())
	if n != 5 || err != nil || st.live() != 1 {
		t.Error("Sweep:", n, err, st.live())
	}
	if err := st.Ping(t.Context()); err != nil {
		t.Error("Ping:", err)
	}
	st.faults.Fail("ping", errDown)
	st.faults.Fail("sweep", errDown)
	if err := st.Ping(t.Context()); !errors.Is(err, errDown) {
		t.Error("Ping:", err)
	}
	if _, err := st.Sweep(t.Context()); !errors.Is(err, errDown) {
		t.Error("Sweep:", err)
	}
}

func TestRunSweeper(t *testing.T) {
	for _, interval := range []time.Duration{time.Minute, 0, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			st := newSite(t)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { st.RunSweeper(ctx, interval); close(done) }()
			time.Sleep(time.Hour)
			st.faults.Fail("sweep", errDown)
			time.Sleep(time.Hour)
			synctest.Wait()
			if n := st.faults.Calls().Sweep; n < 100 || n > 140 {
				t.Errorf("interval %v: swept %d times in two hours", interval, n)
			}
			contains(t, "log", st.log.String(), "sweep failed")
			cancel()
			<-done
		})
	}
}

func TestMissingCapabilities(t *testing.T) {
	st := siteOver(t, onlyStore{memstore.New(&memstore.Options{Now: func() time.Time { return time.Time{} }})})
	ctx := t.Context()
	errs := map[string]error{"Ping": st.Ping(ctx)}
	_, errs["Sweep"] = st.Sweep(ctx)
	_, errs["Count"] = st.Count(ctx)
	_, errs["Clear"] = st.Clear(ctx)
	_, errs["RevokeAll"] = st.RevokeAll(ctx, "23")
	for name, err := range errs {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		contains(t, name, err.Error(), "cannot do this")
	}
	st.RunSweeper(ctx, time.Millisecond) // returns at once
	b := st.visitor(map[string]any{"a": 1})
	st.clock.advance(10 * time.Minute)
	b.get(read) // extended by Save
	equal(t, "the session", b.data(), `{"a":1}`)
	equal(t, "saves", st.faults.Calls().Save, 2)
}

func TestEvents(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() {}, []string{"created"}},
		{func() { b.get(read) }, nil},
		{func() { b.get(set("a", 2)) }, nil},
		{func() { b.get(renewID) }, []string{"renewed"}},
		{func() { b.get(signIn("23")) }, []string{"renewed"}},
		{func() { b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Regenerate() }) }, []string{"created", "destroyed"}},
		{func() { b.clone().slow(func() { b.get(set("a", 3)) }, set("b", 4)) }, []string{"conflict"}},
		{func() { b.clone().slow(func() { b.clone().get(destroy) }, set("c", 5)) }, []string{"destroyed", "lost"}},
		{func() { b.get(read) }, []string{"unknown"}},
	} {
		step.do()
		got := strings.Fields(st.kinds())
		slices.Sort(got)
		if !slices.Equal(got, step.want) {
			t.Errorf("events %v, want %v", got, step.want)
		}
	}
}
