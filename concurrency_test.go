package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
)

// Two requests, one session. Each test has the name of what goes wrong in other
// libraries. Most need no goroutines: the second request runs in the middle of
// the first.

// slow makes a request that has read its session when during happens, and then
// goes on as p says.
func (b *browser) slow(during func(), p page) *httptest.ResponseRecorder {
	return b.get(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		s.Keys()
		during()
		p(w, r, s)
	})
}

func nothing(http.ResponseWriter, *http.Request, *session.Session) {}

func set(key string, value any) page {
	return func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Set(key, value) }
}

func destroy(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() }

func renewID(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.RenewID() }

func TestLostUpdates(t *testing.T) {
	sum := session.NewKey[int]("n", session.Sum)
	sumFloat := session.NewKey[float64]("n", session.Sum)
	most := session.NewKey[int]("n", session.Max)
	union := session.NewKey[[]string]("n", session.Union)
	type change func(s *session.Session)
	for _, test := range []struct {
		name         string
		base         string
		theirs, mine change // theirs is saved first
		want         string
	}{
		{"different keys are both kept", `{"a":1,"b":1}`,
			func(s *session.Session) { s.Set("a", 2) }, func(s *session.Session) { s.Set("b", 3) }, `{"a":2,"b":3}`},
		{"new keys are both kept", `{"a":1}`,
			func(s *session.Session) { s.Set("x", 2) }, func(s *session.Session) { s.Set("y", 3) }, `{"a":1,"x":2,"y":3}`},
		{"of the same key the later save wins", `{"a":1}`,
			func(s *session.Session) { s.Set("a", 2) }, func(s *session.Session) { s.Set("a", 3) }, `{"a":3}`},
		{"a deletion does not undo another key", `{"a":1,"b":1}`,
			func(s *session.Session) { s.Set("b", 2) }, func(s *session.Session) { s.Delete("a") }, `{"b":2}`},
		{"a deletion is not undone by another key", `{"a":1,"b":1}`,
			func(s *session.Session) { s.Delete("a") }, func(s *session.Session) { s.Set("b", 2) }, `{"b":2}`},
		{"a deletion that is saved later wins", `{"a":1,"b":1}`,
			func(s *session.Session) { s.Set("a", 2) }, func(s *session.Session) { s.Delete("a") }, `{"b":1}`},
		{"a key that both delete is gone", `{"a":1,"b":1}`,
			func(s *session.Session) { s.Delete("a") }, func(s *session.Session) { s.Delete("a") }, `{"b":1}`},
		{"Clear leaves what came meanwhile", `{"a":1}`,
			func(s *session.Session) { s.Set("new", 2) }, func(s *session.Session) { s.Clear() }, `{"new":2}`},
		{"a reference is merged too", `{"a":1,"n":[1]}`,
			func(s *session.Session) { s.Set("a", 2) },
			func(s *session.Session) {
				list := session.NewKey[[]int]("n").Ref(s)
				*list = append(*list, 2)
			}, `{"a":2,"n":[1,2]}`},
		{"Sum adds both differences", `{"n":10}`,
			func(s *session.Session) { sum.Set(s, 15) }, func(s *session.Session) { sum.Set(s, 8) }, `{"n":13}`},
		{"Sum begins at zero", `{}`,
			func(s *session.Session) { sum.Set(s, 5) }, func(s *session.Session) { sum.Set(s, 2) }, `{"n":7}`},
		{"Sum takes a deletion for zero", `{"n":10}`,
			func(s *session.Session) { s.Delete("n") }, func(s *session.Session) { sum.Set(s, 12) }, `{"n":2}`},
		{"Sum adds fractions", `{"n":0.5}`,
			func(s *session.Session) { sumFloat.Set(s, 1) }, func(s *session.Session) { sumFloat.Set(s, 0.75) }, `{"n":1.25}`},
		{"Sum by reference", `{"n":10}`,
			func(s *session.Session) { *sum.Ref(s) += 5 }, func(s *session.Session) { *sum.Ref(s) -= 2 }, `{"n":13}`},
		{"Sum of something else is the later save", `{"n":10}`,
			func(s *session.Session) { s.Set("n", "ten") }, func(s *session.Session) { sum.Set(s, 11) }, `{"n":11}`},
		{"Max keeps theirs if greater", `{"n":10}`,
			func(s *session.Session) { most.Set(s, 30) }, func(s *session.Session) { most.Set(s, 20) }, `{"n":30}`},
		{"Max keeps mine if greater", `{"n":10}`,
			func(s *session.Session) { most.Set(s, 20) }, func(s *session.Session) { most.Set(s, 30) }, `{"n":30}`},
		{"Union has what either added", `{"n":["a"]}`,
			func(s *session.Session) { union.Set(s, []string{"a", "b"}) }, func(s *session.Session) { union.Set(s, []string{"a", "c"}) }, `{"n":["a","b","c"]}`},
		{"Union lacks what either removed", `{"n":["a","b","c"]}`,
			func(s *session.Session) { union.Set(s, []string{"b", "c"}) }, func(s *session.Session) { union.Set(s, []string{"a", "b", "d"}) }, `{"n":["b","d"]}`},
		{"Union has each once", `{}`,
			func(s *session.Session) { union.Set(s, []string{"a", "b"}) }, func(s *session.Session) { union.Set(s, []string{"b", "a"}) }, `{"n":["a","b"]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			var base map[string]any
			unmarshal(t, test.base, &base)
			b := st.visitor(map[string]any{"other": 1})
			b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Delete("other")
				for k, v := range base {
					s.Set(k, v)
				}
			})
			st.kinds()
			w := b.slow(func() {
				b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { test.theirs(s) })
			}, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { test.mine(s) })
			equal(t, "status", w.Code, 200)
			equal(t, "the session", b.data(), test.want)
			equal(t, "events", st.kinds(), "conflict")
		})
	}
}

func TestAReaderOverwritesNothing(t *testing.T) {
	for _, after := range []time.Duration{0, 10 * time.Minute} { // also when it is time to touch
		st := newSite(t)
		b := st.visitor(map[string]any{"cart": 1})
		st.clock.advance(after)
		b.slow(func() { b.clone().get(set("cart", 2)) }, nothing)
		equal(t, "the session", b.data(), `{"cart":2}`)
	}
}

func TestCounters(t *testing.T) {
	hits := session.NewKey[int]("hits", session.Sum)
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 100 {
		wg.Go(func() {
			w := b.clone().get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				*hits.Ref(s)++
				io.WriteString(w, "page")
			})
			if w.Code != 200 {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	equal(t, "failed requests", failed.Load(), 0)
	equal(t, "the session", b.data(), `{"a":1,"hits":100}`)
}

func TestWritersOfDifferentKeys(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() { b.clone().get(set(fmt.Sprint("key", i), i)) })
	}
	wg.Wait()
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		equal(t, "number of keys", len(s.Keys()), 31)
	})
}

// A logout stays a logout, whatever the requests do that were under way.
func TestResurrection(t *testing.T) {
	ends := map[string]func(st *site, b *browser){
		"Destroy": func(_ *site, b *browser) { b.clone().get(destroy) },
		"Regenerate": func(_ *site, b *browser) {
			b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Regenerate() })
		},
		"Revoke": func(st *site, _ *browser) {
			for rec := range st.All(context.Background()) {
				if err := st.Revoke(context.Background(), rec.ID); err != nil {
					t.Error(err)
				}
			}
		},
		"RevokeAll": func(st *site, _ *browser) {
			if n, err := st.RevokeAll(context.Background(), "23"); n != 1 || err != nil {
				t.Error("RevokeAll:", n, err)
			}
		},
		"a sign-in elsewhere": func(_ *site, b *browser) {
			b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("24") })
		},
		"its expiry": func(st *site, _ *browser) { st.clock.advance(2 * time.Hour) },
	}
	for name, end := range ends {
		for _, test := range []struct {
			name   string
			page   page
			status int
		}{
			{"a write", set("x", 1), 409},
			{"a write by Save", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				s.Set("x", 1)
				if err := s.Save(); !errors.Is(err, session.ErrEnded) {
					t.Error("Save:", err)
				}
			}, 409},
			{"Save without a change", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { _ = s.Save() }, 409},
			{"a renewal", renewID, 409},
			{"Pop", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				if v, ok := session.NewKey[string]("name").Pop(s); ok {
					t.Error("popped", v)
				}
			}, 409},
			{"a touch", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Touch() }, 200},
			{"a read", nothing, 200},
			{"a second logout", destroy, 200},
			{"Reload", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				if err := s.Reload(); !errors.Is(err, session.ErrNotFound) {
					t.Error("Reload:", err)
				}
			}, 200},
		} {
			t.Run(test.name+" after "+name, func(t *testing.T) {
				st := newSite(t)
				b := st.signedIn("23")
				st.clock.advance(10 * time.Minute)
				left := 0
				w := b.clone().slow(func() {
					end(st, b)
					left = st.live()
				}, test.page)
				equal(t, "status", w.Code, test.status)
				if c := w.Header().Get("Set-Cookie"); c != "" && test.name != "a second logout" {
					t.Errorf("the straggler got a cookie: %s", c)
				}
				equal(t, "the session", b.data(), "none")
				equal(t, "sessions", st.live(), left)
			})
		}
	}
}

func TestAStragglerDoesNotTouchTheStoreOfAnExpiredSession(t *testing.T) {
	st := newSite(t)
	b := st.signedIn("23")
	rec := st.records()[0]
	b.slow(func() {
		if err := st.store.Delete(context.Background(), rec.ID); err != nil {
			t.Fatal(err)
		}
	}, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Touch() })
	equal(t, "records", len(st.records()), 0)
}

// A stranger's token must be worth nothing after a sign-in (session fixation).
func TestFixation(t *testing.T) {
	signIn := func(subject string) page {
		return func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject(subject) }
	}
	for name, p := range map[string]page{
		"SetSubject": signIn("23"),
		"RenewID":    func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.RenewID(); s.Set("user", 23) },
		"Regenerate": func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Regenerate(); s.Set("user", 23) },
		"all of them": func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.SetSubject("1")
			s.RenewID()
			s.Regenerate()
			s.SetSubject("23")
		},
		"SetSubject after Save": func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("x", 1)
			_ = s.Save()
			s.SetSubject("23")
		},
		"SetSubject before Save": func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23"); _ = s.Save() },
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			attacker := st.visitor(map[string]any{"planted": true})
			victim := attacker.clone()
			victim.get(p)
			if victim.cookie == attacker.cookie {
				t.Fatal("the token is still that of the attacker")
			}
			if victim.data() == "none" {
				t.Fatal("the sign-in failed")
			}
			for range 2 {
				equal(t, "what the attacker has", attacker.data(), "none")
				equal(t, "whose session the attacker has", attacker.subject(), "none")
				st.clock.advance(2 * time.Minute) // longer than the grace
			}
		})
	}
	t.Run("a request of the attacker under way gets nothing into the session", func(t *testing.T) {
		st := newSite(t)
		attacker := st.visitor(map[string]any{"planted": true})
		victim := attacker.clone()
		w := attacker.slow(func() { victim.get(signIn("23")) }, set("evil", true))
		equal(t, "status", w.Code, 409)
		equal(t, "the session", victim.data(), `{"planted":true}`)
		equal(t, "the attacker", attacker.data(), "none")
	})
	t.Run("what a request under way has saved before is in the session", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		other := b.clone()
		b.slow(func() { other.get(set("cart", 7)) }, signIn("23"))
		equal(t, "the session", b.data(), `{"a":1,"cart":7}`)
		equal(t, "the subject", b.subject(), "23")
		equal(t, "the old token", other.data(), "none")
	})
}

// Two logins at once, as by a double click.
func TestTwoSignInsAtOnce(t *testing.T) {
	st := newSite(t)
	first := st.visitor(map[string]any{"a": 1})
	planted := first.clone()
	second := first.clone()
	signIn := func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23") }
	w := first.slow(func() { second.get(signIn) }, signIn)
	equal(t, "status", w.Code, 200)
	equal(t, "first", first.subject(), "23")
	equal(t, "second", second.subject(), "23")
	equal(t, "the token from before", planted.subject(), "none")
}

// A straggler holds the token from before the sign-in. The cookie of its
// response would reach the browser after the new one.
func TestStragglersLeaveTheNewCookie(t *testing.T) {
	for name, edit := range map[string]func(o *session.Options){
		"by default":             func(o *session.Options) {},
		"with SaveUninitialized": func(o *session.Options) { o.SaveUninitialized = true },
		"with Rolling":           func(o *session.Options) { o.Rolling = true },
		"with Resave":            func(o *session.Options) { o.Resave = true },
	} {
		for what, test := range map[string]struct {
			page   page
			status int
		}{
			"reads":   {read, 200},
			"writes":  {set("x", 1), 409},
			"saves":   {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { _ = s.Save() }, 409},
			"touches": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Touch() }, 200},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				st := newSite(t, edit)
				b := st.visitor(map[string]any{"a": 1})
				straggler := b.clone()
				b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23") })
				w := straggler.get(test.page)
				equal(t, "status", w.Code, test.status)
				equal(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "")
				equal(t, "sessions", st.live(), 1)
			})
		}
	}
	t.Run("but a sign-in by it counts", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		straggler := b.clone()
		signIn := func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23") }
		b.get(signIn)
		straggler.get(signIn)
		equal(t, "subject", straggler.subject(), "23")
	})
	t.Run("and after the grace its token is like any unknown one", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		straggler := b.clone()
		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23") })
		st.clock.advance(2 * time.Minute)
		contains(t, "Set-Cookie", straggler.get(read).Header().Get("Set-Cookie"), "1970")
	})
	t.Run("and does not keep a second cookie of the name from working", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		retired := b.cookie
		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23") })
		b.cookie = retired + "; " + b.cookie
		equal(t, "status", b.clone().get(set("b", 2)).Code, 200)
		equal(t, "the session", b.data(), `{"a":1,"b":2}`)
	})
}

func renewing(o *session.Options) { o.RenewalTimeout = 30 * time.Minute }

// Some clients of a server send a command again when its answer was lost, and
// the second finds what the first has done.
func TestARenewalWhosePointerIsStoredTwice(t *testing.T) {
	for name, p := range map[string]page{"by time": write, "by RenewID": renewID} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, renewing)
			b := st.signedIn("23")
			st.clock.advance(31 * time.Minute)
			st.faults.After("save", nth(2, fmt.Errorf("again: %w", session.ErrConflict)))
			equal(t, "status", b.get(p).Code, 200)
			equal(t, "subject", b.subject(), "23")
			equal(t, "sessions", st.live(), 1)
		})
	}
}

func TestTimedRenewal(t *testing.T) {
	t.Run("gives a new token when it is due, and not before", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		first := b.cookie
		st.clock.advance(29 * time.Minute)
		b.get(read)
		equal(t, "the cookie before", b.cookie, first)
		st.clock.advance(time.Minute)
		b.get(read)
		if b.cookie == first {
			t.Fatal("no new token")
		}
		equal(t, "the session", b.data(), `{"name":"23"}`)
		equal(t, "the subject", b.subject(), "23")
		equal(t, "events", st.kinds(), "created renewed")
		second := b.cookie
		st.clock.advance(30 * time.Minute)
		b.get(read)
		if b.cookie == second {
			t.Fatal("no third token")
		}
	})
	t.Run("lets requests with the old token go on within the grace", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		old := b.clone()
		st.clock.advance(30 * time.Minute)
		b.get(read)
		st.clock.advance(59 * time.Second)
		w := old.get(set("x", 1))
		equal(t, "status", w.Code, 200)
		equal(t, "the cookie that it gets", old.cookie, b.cookie)
		equal(t, "the session", b.data(), `{"name":"23","x":1}`)
		equal(t, "sessions", st.live(), 1)
	})
	t.Run("lets nobody in with the old token after the grace", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		old := b.clone()
		st.clock.advance(30 * time.Minute)
		b.get(read)
		st.clock.advance(time.Minute)
		equal(t, "the old token", old.data(), "none")
		equal(t, "the new token", b.data(), `{"name":"23"}`)
	})
	t.Run("has a grace that a request under way does not prolong", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		old := b.clone()
		stolen := b.clone()
		st.clock.advance(30 * time.Minute)
		old.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Keys()
			b.get(read)
			rec := st.records()
			equal(t, "records", len(rec), 2)
			// What the request would do if it were not the time to renew.
			for _, r := range rec {
				if err := st.store.(session.Toucher).Touch(context.Background(), r.ID, st.clock.Now(), st.clock.Now().Add(time.Hour)); err != nil {
					t.Error(err)
				}
			}
		})
		st.clock.advance(time.Minute)
		equal(t, "the old token after the grace", stolen.data(), "none")
	})
	t.Run("carries late changes of a request under way along", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		old := b.clone()
		w := old.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Keys()
			io.WriteString(w, "page")
			st.clock.advance(30 * time.Minute)
			b.get(read)
			s.Set("late", 1)
		})
		equal(t, "status", w.Code, 200)
		equal(t, "the session", b.data(), `{"late":1,"name":"23"}`)
	})
	t.Run("carries a late change of a request with the old token along", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		old := b.clone()
		st.clock.advance(30 * time.Minute)
		b.get(read)
		old.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			io.WriteString(w, "page")
			s.Set("late", 1)
		})
		equal(t, "the session", b.data(), `{"late":1,"name":"23"}`)
	})
	for name, changes := range map[string]page{"reading": nothing, "writing": set("x", 1)} {
		t.Run("of two at once while "+name+" has one winner", func(t *testing.T) {
			st := newSite(t, renewing)
			b := st.signedIn("23")
			other := b.clone()
			st.clock.advance(30 * time.Minute)
			b.slow(func() { other.get(set("y", 2)) }, changes)
			equal(t, "cookies", b.cookie, other.cookie)
			equal(t, "sessions", st.live(), 1)
			want := `{"name":"23","y":2}`
			if name == "writing" {
				want = `{"name":"23","x":1,"y":2}`
			}
			equal(t, "the session", b.data(), want)
		})
	}
	t.Run("of many at once has one winner", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		st.clock.advance(30 * time.Minute)
		hits := session.NewKey[int]("hits", session.Sum)
		cookies := make([]string, 20)
		var wg sync.WaitGroup
		for i := range cookies {
			wg.Go(func() {
				b := b.clone()
				if w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { *hits.Ref(s)++ }); w.Code != 200 {
					t.Error("status", w.Code)
				}
				cookies[i] = b.cookie
			})
		}
		wg.Wait()
		for _, c := range cookies {
			equal(t, "cookie", c, cookies[0])
		}
		b.cookie = cookies[0]
		equal(t, "the session", b.data(), `{"hits":20,"name":"23"}`)
		equal(t, "sessions", st.live(), 1)
	})
	t.Run("is not what a straggler of two renewals is lost by", func(t *testing.T) {
		st := newSite(t, renewing, func(o *session.Options) { o.RenewalGrace = time.Hour })
		b := st.signedIn("23")
		old := b.clone()
		for range 2 {
			st.clock.advance(30 * time.Minute)
			b.get(read)
		}
		st.clock.advance(-15 * time.Minute) // the first pointer is still good
		old.get(set("x", 1))
		equal(t, "the session", b.data(), `{"name":"23","x":1}`)
		equal(t, "the straggler's cookie", old.cookie, b.cookie)
	})
	t.Run("that fails does not fail a read", func(t *testing.T) {
		for _, op := range []string{"before", "after"} {
			st := newSite(t, renewing)
			b := st.signedIn("23")
			st.clock.advance(30 * time.Minute)
			if op == "before" {
				st.faults.Fail("save", errDown)
			} else {
				var n atomic.Int32
				st.faults.After("save", func(context.Context) error { // the answer about the old record is lost
					if n.Add(1) == 2 {
						return errDown
					}
					return nil
				})
			}
			w := b.get(read)
			equal(t, "status", w.Code, 200)
			contains(t, "log", st.log.String(), "could not renew")
			st.faults.Reset()
			equal(t, "the session", b.data(), `{"name":"23"}`)
			b.get(read)
			equal(t, "the session after the next try", b.data(), `{"name":"23"}`)
		}
	})
	t.Run("that fails does fail a write", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		st.clock.advance(30 * time.Minute)
		st.faults.Fail("save", errDown)
		equal(t, "status", b.get(set("x", 1)).Code, 503)
	})
	t.Run("opens nothing to who reads the store", func(t *testing.T) {
		st := newSite(t, renewing)
		b := st.signedIn("23")
		old := b.rawToken()
		st.clock.advance(30 * time.Minute)
		b.get(read)
		for _, rec := range st.records() {
			for _, token := range []string{old, b.rawToken()} {
				if strings.Contains(rec.ID+string(rec.Data)+rec.Subject, token) {
					t.Errorf("a token is in the store: %s %s", rec.ID, rec.Data)
				}
			}
		}
	})
}

// Whoever signs out is out, also when the token is being renewed.
func TestEndsMeetRenewals(t *testing.T) {
	renewals := map[string]func(st *site, b *browser){
		"a renewal by time": func(st *site, b *browser) { st.clock.advance(30 * time.Minute); b.get(read) },
		"RenewID":           func(_ *site, b *browser) { b.get(renewID) },
		"two renewals":      func(_ *site, b *browser) { b.get(renewID); b.get(renewID) },
	}
	for name, renewal := range renewals {
		t.Run("Destroy after "+name, func(t *testing.T) {
			st := newSite(t, renewing)
			b := st.signedIn("23")
			w := b.clone().slow(func() { renewal(st, b) }, destroy)
			equal(t, "status", w.Code, 200)
			equal(t, "the renewed session", b.data(), "none")
			equal(t, "sessions", st.live(), 0)
		})
		t.Run("Regenerate after "+name, func(t *testing.T) {
			st := newSite(t, renewing)
			b := st.signedIn("23")
			other := b.clone()
			other.slow(func() { renewal(st, b) }, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Regenerate() })
			equal(t, "the renewed session", b.data(), "none")
			equal(t, "the new session", other.data(), "{}")
		})
		t.Run("Revoke by the former ID after "+name, func(t *testing.T) {
			st := newSite(t, renewing)
			b := st.signedIn("23")
			id := st.records()[0].ID
			renewal(st, b)
			if err := st.Revoke(context.Background(), id); err != nil {
				t.Error(err)
			}
			equal(t, "the renewed session", b.data(), "none")
		})
		t.Run("RevokeAll while "+name, func(t *testing.T) {
			st := newSite(t, renewing)
			b := st.signedIn("23")
			var once sync.Once
			st.faults.After("list", func(context.Context) error { // when the list has been read
				once.Do(func() { renewal(st, b) })
				return nil
			})
			if n, err := st.RevokeAll(context.Background(), "23"); n != 1 || err != nil {
				t.Error("RevokeAll:", n, err)
			}
			equal(t, "the renewed session", b.data(), "none")
		})
	}
	for name, test := range map[string]struct {
		due  time.Duration
		page page
	}{
		"a renewal by time":                    {30 * time.Minute, read},
		"a renewal by time of who writes":      {30 * time.Minute, write},
		"RenewID":                              {0, renewID},
		"RenewID of somebody who writes, too ": {0, func(w http.ResponseWriter, r *http.Request, s *session.Session) { write(w, r, s); s.RenewID() }},
	} {
		for step := 1; step <= 2; step++ {
			t.Run(fmt.Sprintf("Destroy in the middle of %s, before save %d", name, step), func(t *testing.T) {
				st := newSite(t, renewing)
				b := st.signedIn("23")
				st.clock.advance(test.due)
				other := b.clone()
				var n atomic.Int32
				st.faults.Before("save", func(context.Context) error {
					if n.Add(1) == int32(step) {
						other.get(destroy)
					}
					return nil
				})
				b.get(test.page)
				equal(t, "the session", b.data(), "none")
				equal(t, "sessions", st.live(), 0)
			})
		}
	}
	t.Run("a logout works although the store is full", func(t *testing.T) {
		st := newSite(t)
		b := st.signedIn("23")
		st.faults.Fail("save", errDown)
		equal(t, "status", b.clone().get(destroy).Code, 200)
		st.faults.Reset()
		equal(t, "the session", b.data(), "none")
	})
}

// A message that is shown once is shown once.
func TestFlash(t *testing.T) {
	flash := session.NewKey[string]("flash")
	t.Run("in one of two requests", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"flash": "saved!", "a": 1})
		var first, second string
		b.slow(func() {
			b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { second, _ = flash.Pop(s) })
		}, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("x", 1)
			first, _ = flash.Pop(s)
		})
		equal(t, "shown", first+second, "saved!")
		equal(t, "the session", b.data(), `{"a":1,"x":1}`)
	})
	t.Run("in one of many requests", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"flash": "saved!"})
		var shown atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
					if _, ok := flash.Pop(s); ok {
						shown.Add(1)
					}
				})
			})
		}
		wg.Wait()
		equal(t, "shown", shown.Load(), 1)
	})
	t.Run("not at all if the store is down", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"flash": "saved!"})
		st.faults.Fail("save", errDown)
		w := b.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			v, ok := flash.Pop(s)
			fmt.Fprint(w, "page", v, ok)
		})
		equal(t, "status", w.Code, 503)
		st.faults.Reset()
		equal(t, "the session", b.data(), `{"flash":"saved!"}`)
	})
	t.Run("with nothing else saved before the time", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"flash": "saved!"})
		func() {
			defer func() { recover() }()
			b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Set("half", true)
				flash.Pop(s)
				panic("boom")
			})
		}()
		equal(t, "the session", b.data(), `{}`)
	})
	t.Run("the one that somebody has put there meanwhile", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"flash": "first"})
		var got string
		b.slow(func() { b.clone().get(set("flash", "second")) },
			func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { got, _ = flash.Pop(s) })
		equal(t, "shown", got, "second")
		equal(t, "the session", b.data(), `{}`)
	})
}

func TestOversizeOnMerge(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.MaxSize = 1000 })
	b := st.visitor(map[string]any{"a": 1})
	long := strings.Repeat("x", 600)
	w := b.slow(func() { b.clone().get(set("theirs", long)) }, set("mine", long))
	equal(t, "status", w.Code, 500)
	contains(t, "log", st.log.String(), "session too large")
	equal(t, "the session", b.data(), `{"a":1,"theirs":"`+long+`"}`)
}

func TestAConflictThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		st.faults.Fail("save", session.ErrConflict)
		start := time.Now()
		w := b.get(set("b", 2))
		equal(t, "status", w.Code, 503)
		if d := time.Since(start); d < 4*time.Second || d > 6*time.Second {
			t.Error("gave up after", d)
		}
		st.faults.Reset()
		equal(t, "the session", b.data(), `{"a":1}`)
	})
}

// All goroutines of a request may use its session, also while the response is
// being written. The race detector is the judge.
func TestGoroutinesOfOneRequest(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.TouchInterval = -1 })
	b := st.visitor(map[string]any{"a": 1})
	srv := st.serve(page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		w.Header().Set("Content-Length", "400")
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				s := session.From(r)
				s.Set(fmt.Sprint("key", i), i)
				session.Get[int](s, "key1")
				count.Pop(s)
				_, _, _, _, _ = s.Keys(), s.ID(), s.Subject(), s.Err(), s.Token()
				_, _, _ = s.IsNew(), s.Expires(), s.Cookie()
				s.Touch()
				s.Delete(fmt.Sprint("key", i+1))
				_ = s.Record()
				if i%5 == 0 {
					_ = s.Save()
				}
			})
		}
		wg.Go(func() {
			for range 4 {
				io.WriteString(w, strings.Repeat("x", 100))
			}
		})
		wg.Wait()
	}))
	resp, body, err := b.fetch(srv, "GET")
	if err != nil || resp.StatusCode != 200 || len(body) != 400 {
		t.Error(err, resp, len(body))
	}
}
