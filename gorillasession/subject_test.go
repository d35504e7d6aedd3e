package gorillasession_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

// subjectOf is how a program says who is signed in.
func subjectOf(s *sessions.Session) (string, bool) {
	if s.Name() != "app" {
		return "", false
	}
	id, ok := s.Values["user"].(int)
	if !ok {
		return "", true
	}
	return fmt.Sprint(id), true
}

func TestSubject(t *testing.T) {
	signIn := func(s *sessions.Session) bool { s.Values["user"] = 23; return true }
	inBoth(t, func(t *testing.T, within bool) {
		newSite := func(t *testing.T) *site {
			st := newSite(t, within)
			st.store.Subject = subjectOf
			return st
		}
		t.Run("a sign-in replaces the token", func(t *testing.T) {
			st := newSite(t)
			attacker := st.browser()
			attacker.set("app", "planted", true)
			victim := attacker.clone()
			var before, after string
			victim.get(func(w http.ResponseWriter, r *http.Request) {
				s, err := st.store.Get(r, "app")
				if err != nil {
					t.Fatal(err)
				}
				before = s.ID
				signIn(s)
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
				after = s.ID
			})
			if before == after {
				t.Error("the ID after Save is that from before")
			}
			recs := st.live()
			if len(recs) != 1 || recs[0].Subject != "23" || recs[0].ID != after {
				t.Fatalf("%v", recs)
			}
			equal(t, "user", victim.look("app")["user"], any(23))
			equal(t, "what was there before", victim.look("app")["planted"], any(true))
			equal(t, "what the attacker has", len(attacker.look("app")), 0)
		})
		t.Run("saving again does not", func(t *testing.T) {
			st := newSite(t)
			b := st.browser()
			b.with("app", signIn)
			cookie := b.cookies["__Host-session"]
			b.with("app", signIn)
			b.set("app", "n", 1)
			b.set("other", "user", 24)
			equal(t, "the cookie", b.cookies["__Host-session"], cookie)
			equal(t, "the subject", st.live()[0].Subject, "23")
		})
		t.Run("the sessions of a user are listed and revoked", func(t *testing.T) {
			st := newSite(t)
			laptop, phone := st.browser(), st.browser()
			laptop.with("app", signIn)
			phone.with("app", signIn)
			n, err := st.RevokeAll(t.Context(), "23")
			if n != 2 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			equal(t, "what the phone has", len(phone.look("app")), 0)
		})
		for name, out := range map[string]func(s *sessions.Session){
			"deleting the value":   func(s *sessions.Session) { delete(s.Values, "user") },
			"deleting all values":  func(s *sessions.Session) { s.Values = map[any]any{} },
			"deleting the session": func(s *sessions.Session) { signOut(s) },
		} {
			t.Run(name+" signs out, and keeps what else is there", func(t *testing.T) {
				st := newSite(t)
				b := st.browser()
				b.with("app", signIn)
				b.set("prefs", "theme", "dark")
				old := b.clone()
				b.with("app", func(s *sessions.Session) bool { out(s); return true })
				recs := st.live()
				if len(recs) != 1 || recs[0].Subject != "" {
					t.Fatalf("%v", recs)
				}
				equal(t, "the theme", b.look("prefs")["theme"], any("dark"))
				equal(t, "what the old token opens", len(old.look("prefs")), 0)
			})
		}
		t.Run("deleting the only session ends it", func(t *testing.T) {
			st := newSite(t)
			b := st.browser()
			b.with("app", signIn)
			b.with("app", signOut)
			equal(t, "sessions", len(st.live()), 0)
		})
		t.Run("deleting it when the response has begun ends it too", func(t *testing.T) {
			st := newSite(t)
			b := st.browser()
			b.with("app", signIn)
			b.get(func(w http.ResponseWriter, r *http.Request) {
				s, _ := st.store.Get(r, "app")
				w.WriteHeader(200)
				signOut(s)
				if err := s.Save(r, w); err != nil {
					t.Errorf("Save: %v", err)
				}
			})
			equal(t, "sessions", len(st.live()), 0)
		})
		t.Run("another user in the same request", func(t *testing.T) {
			st := newSite(t)
			b := st.browser()
			b.with("app", signIn)
			old := b.clone()
			b.get(func(w http.ResponseWriter, r *http.Request) {
				s, _ := st.store.Get(r, "app")
				maxAge := s.Options.MaxAge
				signOut(s)
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
				s.Options.MaxAge = maxAge
				s.Values = map[any]any{"user": 24}
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
			})
			recs := st.live()
			if len(recs) != 1 || recs[0].Subject != "24" {
				t.Fatalf("%v", recs)
			}
			equal(t, "user", b.look("app")["user"], any(24))
			equal(t, "what the old token opens", len(old.look("app")), 0)
		})
		t.Run("a subject that cannot be is an error of Save", func(t *testing.T) {
			st := newSite(t)
			st.store.Subject = func(*sessions.Session) (string, bool) { return "a\nb", true }
			b := st.browser()
			b.get(func(w http.ResponseWriter, r *http.Request) {
				s, _ := st.store.Get(r, "app")
				s.Values["user"] = 23
				if err := s.Save(r, w); err == nil {
					t.Error("no error")
				}
			})
			equal(t, "sessions", len(st.live()), 0)
		})
	})
	t.Run("a limit of sessions holds", func(t *testing.T) {
		st := newLimited(t)
		first, second := st.browser(), st.browser()
		first.with("app", signIn)
		st.clock.advance(time.Second)
		second.with("app", signIn)
		equal(t, "what the first one has", len(first.look("app")), 0)
		equal(t, "user of the second", second.look("app")["user"], any(23))
	})
}

func newLimited(t *testing.T) *site {
	st := newSite(t, true, func(o *session.Options) { o.MaxPerSubject = 1 })
	st.store.Subject = subjectOf
	return st
}
