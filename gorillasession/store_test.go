package gorillasession_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/gorillasession"
	"github.com/coatcheck/session/sessiontest"
)

func signOut(s *sessions.Session) bool { s.Options.MaxAge = -1; return true }
func save(*sessions.Session) bool      { return true }

func TestLifeOfASession(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()

		resp := b.with("app", func(s *sessions.Session) bool {
			equal(t, "IsNew of a stranger", s.IsNew, true)
			equal(t, "ID of a stranger", s.ID, "")
			equal(t, "Name", s.Name(), "app")
			return false
		})
		equal(t, "cookies for one who only looked", len(resp.Header["Set-Cookie"]), 0)
		equal(t, "calls of the store", st.faults.ResetCalls(), sessiontest.Calls{})

		var id string
		resp = b.get(func(w http.ResponseWriter, r *http.Request) {
			s, err := st.store.Get(r, "app")
			if err != nil {
				t.Fatal(err)
			}
			s.Values["user"] = "ada"
			if err := s.Save(r, w); err != nil {
				t.Fatal(err)
			}
			id = s.ID
		})
		if id == "" {
			t.Error("there is no ID after Save")
		}
		equal(t, "calls of the store", st.faults.ResetCalls(), sessiontest.Calls{Save: 1})
		equal(t, "cookies", len(resp.Header["Set-Cookie"]), 1)
		equal(t, "Cache-Control", resp.Header.Get("Cache-Control"), "no-store")
		equal(t, "Vary", resp.Header.Get("Vary"), "Cookie")
		equal(t, "the ID in the store", st.live()[0].ID, id)

		st.faults.ResetCalls()
		resp = b.with("app", func(s *sessions.Session) bool {
			equal(t, "IsNew", s.IsNew, false)
			equal(t, "ID", s.ID, id)
			equal(t, "user", s.Values["user"], any("ada"))
			return true
		})
		equal(t, "calls of the store when nothing has changed", st.faults.ResetCalls(), sessiontest.Calls{Load: 1})
		equal(t, "cookies when nothing has changed", len(resp.Header["Set-Cookie"]), 0)

		b.with("app", func(s *sessions.Session) bool { s.AddFlash("Saved."); s.AddFlash(7, "numbers"); return true })
		equal(t, "calls of the store", st.faults.ResetCalls(), sessiontest.Calls{Load: 1, Save: 1})
		for i, want := range [][]any{{"Saved."}, nil} {
			b.with("app", func(s *sessions.Session) bool {
				if got := s.Flashes(); !reflect.DeepEqual(got, want) {
					t.Errorf("flashes at look %d: %v", i+1, got)
				}
				return true
			})
		}
		b.with("app", func(s *sessions.Session) bool {
			equal(t, "the flashes of another key", fmt.Sprint(s.Flashes("numbers")), "[7]")
			return true
		})

		resp = b.with("app", func(s *sessions.Session) bool { s.Values = map[any]any{}; return signOut(s) })
		contains(t, "Set-Cookie", resp.Header.Get("Set-Cookie"), "1970")
		equal(t, "sessions", len(st.live()), 0)
		equal(t, "cookies of the browser", len(b.cookies), 0)
		equal(t, "what is there", len(b.look("app")), 0)
	})
}

// Programs look for flashes on each page and save, for crawlers too.
func TestASessionWithoutValuesLeavesNoTrace(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		resp := b.with("app", func(s *sessions.Session) bool {
			s.Flashes()
			s.Options.MaxAge = 3600
			return true
		})
		equal(t, "calls of the store", st.faults.ResetCalls(), sessiontest.Calls{})
		equal(t, "cookies", len(resp.Header["Set-Cookie"]), 0)

		b.set("app", "user", "ada")
		b.with("app", func(s *sessions.Session) bool { delete(s.Values, "user"); return true })
		b.with("app", func(s *sessions.Session) bool {
			equal(t, "IsNew of one that was emptied", s.IsNew, true)
			return signOut(s)
		})
		equal(t, "sessions", len(st.live()), 0)
	})
	t.Run("unless the manager's options say so", func(t *testing.T) {
		inBoth(t, func(t *testing.T, within bool) {
			st := newSite(t, within, func(o *session.Options) { o.SaveUninitialized = true })
			st.browser().with("app", save)
			equal(t, "the data", st.data(), `{}`)
		})
	})
}

func TestTheValuesAreReplaced(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.with("app", func(s *sessions.Session) bool { s.Values["a"], s.Values["b"] = 1, 2; return true })
		b.with("app", func(s *sessions.Session) bool { s.Values = map[any]any{"b": 3, "c": 4}; return true })
		equal(t, "the data", st.data(), `{"app:b":3,"app:c":4}`)
		b.with("app", func(s *sessions.Session) bool { s.Values = nil; return true })
		equal(t, "the data", st.data(), `{}`)
		b.with("app", func(s *sessions.Session) bool {
			for i := range 5 {
				s.Values[i] = i
			}
			return true
		})
		equal(t, "the data, in order", st.data(), `{"app=0":0,"app=1":1,"app=2":2,"app=3":3,"app=4":4}`)
	})
}

func TestSeveralSessionsOfOneRequest(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		resp := b.get(func(w http.ResponseWriter, r *http.Request) {
			for _, name := range []string{"app", "app.prefs", "_gothic_session"} {
				s, err := st.store.Get(r, name)
				if err != nil {
					t.Fatal(err)
				}
				s.Values["name"] = name
			}
			if err := sessions.Save(r, w); err != nil {
				t.Fatal(err)
			}
		})
		equal(t, "cookies", len(resp.Header["Set-Cookie"]), 1)
		equal(t, "sessions of ours", len(st.live()), 1)
		for _, name := range []string{"app", "app.prefs", "_gothic_session"} {
			got := b.look(name)
			if len(got) != 1 || got["name"] != name {
				t.Errorf("%s holds %v", name, got)
			}
		}
		b.with("other", func(s *sessions.Session) bool {
			equal(t, "IsNew of a name that was never saved", s.IsNew, true)
			return false
		})

		// Deleting one leaves the others, and the token.
		cookie := b.cookies["__Host-session"]
		resp = b.with("app", signOut)
		equal(t, "cookies", len(resp.Header["Set-Cookie"]), 0)
		equal(t, "the cookie of the browser", b.cookies["__Host-session"], cookie)
		equal(t, "app", len(b.look("app")), 0)
		equal(t, "app.prefs", len(b.look("app.prefs")), 1)

		b.with("app.prefs", signOut)
		b.with("_gothic_session", signOut)
		equal(t, "sessions of ours in the end", len(st.live()), 0)
		equal(t, "cookies of the browser", len(b.cookies), 0)
	})
}

// sessions.Save saves all of them in any order, also the empty ones.
func TestASignOutThatSavesEverything(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		for range 20 {
			st := newSite(t, within)
			b := st.browser()
			b.set("app", "user", "ada")
			b.get(func(w http.ResponseWriter, r *http.Request) {
				for _, name := range []string{"a", "b", "app", "c", "d"} {
					s, err := st.store.Get(r, name)
					if err != nil {
						t.Fatal(err)
					}
					if name == "app" {
						signOut(s)
					}
				}
				if err := sessions.Save(r, w); err != nil {
					t.Fatal(err)
				}
			})
			equal(t, "sessions", len(st.live()), 0)
			equal(t, "cookies of the browser", len(b.cookies), 0)
		}
	})
}

// gothic deletes its session while the program signs somebody in, or adds another
// account to one who is signed in, and knows nothing of values.
func TestASubjectWithoutValues(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		callback := func(subject string) {
			b.set("oauth", "state", "x")
			b.get(func(w http.ResponseWriter, r *http.Request) {
				s, _ := st.store.Get(r, "oauth")
				equal(t, "state", s.Values["state"], any("x"))
				signOut(s)
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
				st.store.From(r).SetSubject(subject)
				again, _ := st.store.New(r, "oauth")
				if err := again.Save(r, w); err != nil {
					t.Fatal(err)
				}
			})
			recs := st.live()
			if len(recs) != 1 || recs[0].Subject != subject || string(recs[0].Data) != "{}" {
				t.Fatalf("%v", recs)
			}
		}
		callback("23")
		b.set("flash", "a", 1)
		b.with("flash", signOut)
		equal(t, "the subject after another session was deleted", st.live()[0].Subject, "23")
		callback("23")
		callback("24")
	})
}

// What is left of flashes that were shown is nothing.
func TestASignOutAfterFlashesOfAnotherSession(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.set("app", "user", "ada")
		b.with("notes", func(s *sessions.Session) bool { s.AddFlash("hello"); return true })
		b.with("notes", func(s *sessions.Session) bool { s.Flashes(); return true })
		b.with("app", signOut)
		equal(t, "sessions", len(st.live()), 0)
	})
}

// What others keep in our session outlives that of gorilla.
func TestASignOutLeavesWhatIsNotGorillas(t *testing.T) {
	st := newSite(t, true)
	b := st.browser()
	b.get(func(w http.ResponseWriter, r *http.Request) {
		session.From(r).Set("theme", "dark")
		session.From(r).Set("app", "nor is this")
	})
	b.set("app", "user", "ada")
	b.with("app", signOut)
	equal(t, "the data", st.data(), `{"theme":"dark","app":"nor is this"}`)
}

func TestATokenIsReplaced(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		// The way in which programs ask stores on a server for a new ID.
		t.Run("when a program deletes a session and saves it again", func(t *testing.T) {
			st := newSite(t, within)
			b := st.browser()
			b.with("app", func(s *sessions.Session) bool { s.Values["user"], s.Values["cart"] = "ada", 3; return true })
			old := b.clone()
			var before, after string
			resp := b.get(func(w http.ResponseWriter, r *http.Request) {
				s, err := st.store.Get(r, "app")
				if err != nil {
					t.Fatal(err)
				}
				before = s.ID
				maxAge := s.Options.MaxAge
				s.Options.MaxAge = -1
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
				s.ID, s.Options.MaxAge = "", maxAge
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
				after = s.ID
			})
			equal(t, "cookies", len(resp.Header["Set-Cookie"]), 1)
			if before == after || b.cookies["__Host-session"] == old.cookies["__Host-session"] {
				t.Error("the ID or the token is the old one")
			}
			equal(t, "values", fmt.Sprint(b.look("app")), fmt.Sprint(map[any]any{"user": "ada", "cart": 3}))
			equal(t, "what the old token opens", len(old.look("app")), 0)
			equal(t, "sessions", len(st.live()), 1)
		})
		// As gothic deletes its own session while it signs somebody in.
		t.Run("when one session ends and another begins", func(t *testing.T) {
			st := newSite(t, within)
			b := st.browser()
			b.set("oauth", "state", "x")
			old := b.clone()
			resp := b.get(func(w http.ResponseWriter, r *http.Request) {
				app, _ := st.store.Get(r, "app")
				oauth, _ := st.store.Get(r, "oauth")
				signOut(oauth)
				if err := oauth.Save(r, w); err != nil {
					t.Fatal(err)
				}
				late, err := st.store.Get(r, "late")
				if err != nil || !late.IsNew || len(late.Values) != 0 {
					t.Fatal(err, late)
				}
				app.Values["user"] = "ada"
				if err := app.Save(r, w); err != nil {
					t.Fatal(err)
				}
			})
			equal(t, "cookies", len(resp.Header["Set-Cookie"]), 1)
			equal(t, "user", b.look("app")["user"], any("ada"))
			equal(t, "what the old token opens", len(old.look("oauth"))+len(old.look("app")), 0)
			equal(t, "the data", st.data(), `{"app:user":"ada"}`)
		})
	})
}

func TestGetIsTheSameForOneRequest(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.set("app", "user", "ada")
		st.faults.ResetCalls()
		type key struct{}
		b.get(func(w http.ResponseWriter, r *http.Request) {
			s, _ := st.store.Get(r, "app")
			again, _ := sessions.GetRegistry(r).Get(st.store, "app")
			derived, _ := st.store.Get(r.WithContext(context.WithValue(r.Context(), key{}, 1)), "app")
			if s != again || s != derived {
				t.Error("Get gives several sessions")
			}
			if s.Store() != st.store {
				t.Error("Store is another one")
			}
			s.Values["seen"] = true
			if err := sessions.Save(r, w); err != nil {
				t.Error(err)
			}
		})
		equal(t, "calls of the store", st.faults.ResetCalls(), sessiontest.Calls{Load: 1, Save: 1})
		equal(t, "what was saved by sessions.Save", b.look("app")["seen"], any(true))
	})
}

// Middlewares make copies of the request, and save with another than they have
// read with.
func TestCopiesOfTheRequest(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.set("app", "user", "ada")
		type key struct{}
		b.get(func(w http.ResponseWriter, r *http.Request) {
			sessions.GetRegistry(r)
			inner := r.WithContext(context.WithValue(r.Context(), key{}, 1))
			s, err := st.store.Get(inner, "app")
			if err != nil {
				t.Fatal(err)
			}
			b.clone().set("app", "other", 1) // somebody else's change
			s.Values["mine"] = 1
			if err := s.Save(inner.WithContext(context.WithValue(inner.Context(), key{}, 2)), w); err != nil {
				t.Fatal(err)
			}
		})
		equal(t, "the data", st.data(), `{"app:user":"ada","app:other":1,"app:mine":1}`)
	})
}

// New, which gothic calls, makes copies; each saves its own changes.
func TestNewMakesCopies(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		resp := b.get(func(w http.ResponseWriter, r *http.Request) {
			var copies []*sessions.Session
			for range 3 {
				s, err := st.store.New(r, "app")
				if err != nil || slices.Contains(copies, s) {
					t.Fatal(err, copies)
				}
				s.Values[len(copies)] = len(copies)
				copies = append(copies, s)
			}
			for _, s := range copies {
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
			}
		})
		equal(t, "cookies", len(resp.Header["Set-Cookie"]), 1)
		equal(t, "sessions", len(st.live()), 1)
		equal(t, "the data", st.data(), `{"app=0":0,"app=1":1,"app=2":2}`)
	})
}

// Whoever saves a session that was deleted wants it to be there, all of it.
func TestACopyIsSavedAfterTheDeletion(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.with("app", func(s *sessions.Session) bool { s.Values["a"], s.Values["b"] = 1, 2; return true })
		b.get(func(w http.ResponseWriter, r *http.Request) {
			first, _ := st.store.New(r, "app")
			second, _ := st.store.New(r, "app")
			signOut(first)
			second.Values["c"] = 3
			for _, s := range []*sessions.Session{first, second} {
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
			}
		})
		equal(t, "the data", st.data(), `{"app:a":1,"app:b":2,"app:c":3}`)
	})
}

func TestASessionMadeByHand(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.with("app", func(s *sessions.Session) bool { s.Values["a"], s.Values["b"] = 1, 2; return true })
		b.get(func(w http.ResponseWriter, r *http.Request) {
			s := sessions.NewSession(st.store, "app")
			s.Values["b"] = 3
			if err := s.Save(r, w); err != nil {
				t.Fatal(err)
			}
		})
		equal(t, "the data", st.data(), `{"app:b":3}`)
		b.get(func(w http.ResponseWriter, r *http.Request) {
			s := sessions.NewSession(st.store, "app")
			s.Options = nil
			if err := s.Save(r, w); err != nil {
				t.Fatal(err)
			}
		})
		equal(t, "the data", st.data(), `{}`)
	})
}

func TestTwoStoresOfOneManager(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		other := gorillasession.New(st.Manager)
		b := st.browser()
		resp := b.get(func(w http.ResponseWriter, r *http.Request) {
			for name, store := range map[string]sessions.Store{"app": st.store, "oauth": other} {
				s, err := store.Get(r, name)
				if err != nil {
					t.Fatal(err)
				}
				s.Values["a"] = 1
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
			}
		})
		equal(t, "cookies", len(resp.Header["Set-Cookie"]), 1)
		equal(t, "sessions", len(st.live()), 1)
	})
}

func TestTwoManagersOfOneRequest(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		admin := newSite(t, within, func(o *session.Options) { o.Cookie.Name = "admin" })
		b := st.browser()
		b.get(func(w http.ResponseWriter, r *http.Request) {
			for name, store := range map[string]sessions.Store{"app": st.store, "admin": admin.store} {
				s, err := store.Get(r, name)
				if err != nil {
					t.Fatal(err)
				}
				s.Values["name"] = name
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
			}
		})
		equal(t, "the one session", st.data(), `{"app:name":"app"}`)
		equal(t, "the other", admin.data(), `{"admin:name":"admin"}`)
		equal(t, "cookies of the browser", len(b.cookies), 2)
	})
}

// The middleware may stand further in than the first use of a session.
func TestHandlerFurtherIn(t *testing.T) {
	st := newSite(t, false)
	b := st.browser()
	b.set("app", "user", "ada")
	b.get(func(w http.ResponseWriter, r *http.Request) {
		if _, err := st.store.Get(r, "app"); err != nil {
			t.Fatal(err)
		}
		st.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if st.store.From(r) != session.From(r) {
				t.Error("the session is not that of Handler")
			}
			s, err := st.store.Get(r, "app")
			if err != nil {
				t.Fatal(err)
			}
			s.Values["seen"] = true
			if err := s.Save(r, w); err != nil {
				t.Fatal(err)
			}
		})).ServeHTTP(w, r)
	})
	equal(t, "the data", st.data(), `{"app:user":"ada","app:seen":true}`)
}

func TestNamesThatCannotBe(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		for _, name := range []string{"", "coatcheck.session", "a b", "a:b", "a=b", "a/b", "ä", "a\n", "a;"} {
			st.browser().get(func(w http.ResponseWriter, r *http.Request) {
				if _, err := st.store.Get(r, "app"); err != nil {
					t.Fatal(err)
				}
				for _, get := range []func(*http.Request, string) (*sessions.Session, error){st.store.Get, st.store.New} {
					if s, err := get(r, name); s == nil || err == nil {
						t.Errorf("%q: %v, %v", name, s, err)
					}
				}
				if err := sessions.NewSession(st.store, name).Save(r, w); err == nil {
					t.Errorf("Save of %q has no error", name)
				}
			})
		}
	})
	defer func() { contains(t, "the panic", fmt.Sprint(recover()), "manager is nil") }()
	gorillasession.New(nil)
}

func TestCookiesThatAreNoSession(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		for name, value := range map[string]string{
			"forged":           "s%3AxKB124lQllyA-QmJj1XLv0BUofCY__M5.1Co3IccQcV8rjWuiMPdgytWpfj8vSiEcVJXRK9JJBe0",
			"no token":         "hello",
			"that of gorilla":  "MTc3MjM2NTgxNXxEWDhFQVFMX2dBQUJFQUVRQUFBcF80QUFBUVp6ZEhKcGJtY01Cd",
			"longer than 4096": strings.Repeat("x", 5000),
		} {
			st := newSite(t, within)
			b := st.browser()
			b.cookies["__Host-session"] = value
			resp := b.with("app", func(s *sessions.Session) bool { // which fails the test on an error
				equal(t, name+": IsNew", s.IsNew, true)
				s.Values["user"] = "ada"
				return true
			})
			equal(t, name+": status", resp.StatusCode, 200)
			equal(t, name+": user", b.look("app")["user"], any("ada"))
		}
	})
}

var errDown = errors.New("the server is down")

func TestAStoreThatIsDownIsNoStranger(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.set("app", "user", "ada")
		st.faults.Fail("load", errDown)
		resp := b.get(func(w http.ResponseWriter, r *http.Request) {
			for _, get := range []func(*http.Request, string) (*sessions.Session, error){st.store.Get, st.store.New, st.store.Get} {
				s, err := get(r, "app")
				var down *session.StoreError
				if s == nil || !errors.As(err, &down) || !errors.Is(err, errDown) {
					t.Fatalf("%v, %v", s, err)
				}
				s.Values["user"] = "nobody"
				if err := s.Save(r, w); !errors.Is(err, errDown) {
					t.Errorf("Save: %v", err)
				}
			}
			_, _ = fmt.Fprint(w, "Hello, stranger.") // a program that does not look at errors
		})
		if within {
			equal(t, "status", resp.StatusCode, http.StatusServiceUnavailable)
		}
		equal(t, "cookies", len(resp.Header["Set-Cookie"]), 0)

		st.faults.Reset()
		equal(t, "user, when the store is back", b.look("app")["user"], any("ada"))
		st.faults.Fail("save", errDown)
		resp = b.get(func(w http.ResponseWriter, r *http.Request) {
			s, err := st.store.Get(r, "app")
			if err != nil {
				t.Fatal(err)
			}
			s.Values["user"] = "grace"
			err = s.Save(r, w)
			if !within && !errors.Is(err, errDown) {
				t.Errorf("Save: %v", err)
			}
			_, _ = fmt.Fprint(w, "Saved.")
		})
		if within {
			equal(t, "status", resp.StatusCode, http.StatusServiceUnavailable)
		}
		st.faults.Reset()
		equal(t, "user", b.look("app")["user"], any("ada"))
	})
}

func TestHeaderNeedsHandler(t *testing.T) {
	for _, within := range []bool{true, false} {
		st := newSite(t, within, func(o *session.Options) { o.Header = "X-Session" })
		resp := st.browser().get(func(w http.ResponseWriter, r *http.Request) {
			s, err := st.store.Get(r, "app")
			if err != nil {
				t.Fatal(err)
			}
			s.Values["a"] = 1
			switch err := s.Save(r, w); {
			case within && err != nil:
				t.Error(err)
			case !within && (err == nil || !strings.Contains(err.Error(), "Handler")):
				t.Error("Save:", err)
			}
		})
		equal(t, "whether there is a token", resp.Header.Get("X-Session") != "", within)
	}
}

func TestWhatIsInTheHeaderAlready(t *testing.T) {
	st := newSite(t, false)
	resp := st.browser().get(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept, cookie")
		w.Header().Set("Cache-Control", "private")
		http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
		s, _ := st.store.Get(r, "app")
		s.Values["a"] = 1
		if err := s.Save(r, w); err != nil {
			t.Fatal(err)
		}
	})
	equal(t, "Vary", strings.Join(resp.Header["Vary"], "|"), "Accept, cookie")
	equal(t, "Cache-Control", resp.Header.Get("Cache-Control"), "private")
	equal(t, "cookies", len(resp.Cookies()), 2)
}

// Within Handler a session may also be saved when the response has begun, as far
// as no cookie is needed.
func TestSaveAfterTheResponseHasBegun(t *testing.T) {
	st := newSite(t, true)
	b := st.browser()
	late := func(key any) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			s, err := st.store.Get(r, "app")
			if err != nil {
				t.Fatal(err)
			}
			w.WriteHeader(200)
			s.Values[key] = 1
			switch err := s.Save(r, w); {
			case s.IsNew && !errors.Is(err, session.ErrHeaderSent):
				t.Errorf("Save of a new session: %v", err)
			case !s.IsNew && err != nil:
				t.Error(err)
			}
		}
	}
	func() {
		defer func() { equal(t, "the panic that cuts the response short", recover(), any(http.ErrAbortHandler)) }()
		b.get(late("a"))
	}()
	b.set("app", "b", 1)
	b.get(late("c"))
	equal(t, "the data", st.data(), `{"app:b":1,"app:c":1}`)
}

func TestOurOwnSessionBeside(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.get(func(w http.ResponseWriter, r *http.Request) {
			s, _ := st.store.Get(r, "app")
			s.Values["user"] = "ada"
			st.store.From(r).SetSubject("23")
			if within && st.store.From(r) != session.From(r) {
				t.Error("From is not that of Handler")
			}
			if err := s.Save(r, w); err != nil {
				t.Fatal(err)
			}
		})
		recs := st.live()
		if len(recs) != 1 || recs[0].Subject != "23" {
			t.Fatalf("%v", recs)
		}
		// What was ended is not brought back by a save of what was not changed.
		b.get(func(w http.ResponseWriter, r *http.Request) {
			s, _ := st.store.Get(r, "app")
			empty, _ := st.store.Get(r, "empty")
			st.store.From(r).Destroy()
			for _, s := range []*sessions.Session{s, empty} {
				if err := s.Save(r, w); err != nil {
					t.Errorf("Save: %v", err)
				}
			}
		})
		equal(t, "sessions", len(st.live()), 0)
		equal(t, "cookies of the browser", len(b.cookies), 0)
	})
}

func TestASessionThatNobodyUsesEnds(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.set("app", "user", "ada")
		st.clock.advance(40 * time.Minute)
		b.with("app", save)
		for range 3 {
			st.clock.advance(40 * time.Minute)
			equal(t, "user, of one who only reads", b.look("app")["user"], any("ada"))
		}
		st.clock.advance(2 * time.Hour)
		equal(t, "values after the idle timeout", len(b.look("app")), 0)
	})
}

// A program on a real server with a real client, over plain HTTP.
func TestOnAServer(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within, func(o *session.Options) { o.Cookie.Secure = session.SecureAuto })
		var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := st.store.Get(r, "app")
			if err != nil {
				t.Error(err)
			}
			n, _ := s.Values["n"].(int)
			s.Values["n"] = n + 1
			if err := s.Save(r, w); err != nil {
				t.Error(err)
			}
			_, _ = fmt.Fprint(w, n+1)
		})
		if within {
			h = st.Handler(h)
		}
		srv := httptest.NewServer(h)
		defer srv.Close()
		client := srv.Client()
		client.Jar = newJar(t)
		for n := 1; n <= 3; n++ {
			resp, err := client.Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the page", body(t, resp), fmt.Sprint(n))
			_ = resp.Body.Close()
		}
	})
}
