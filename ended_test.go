package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

// After Destroy and Unset nobody is signed in, for the handler either.
func TestNobodyIsSignedInAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(*session.Session){
		"Destroy": (*session.Session).Destroy, "Unset": (*session.Session).Unset,
	} {
		t.Run(name, func(t *testing.T) {
			m := newSessions(session.Options{})
			s, _ := m.Open(context.Background(), "")
			s.SetSubject("ada")
			if _, err := m.Commit(context.Background(), s); err != nil {
				t.Fatal(err)
			}
			end(s)
			if got := s.Subject(); got != "" {
				t.Errorf("the subject is %q", got)
			}
		})
	}
}

// Whoever comes with the token from before Regenerate gets nothing, and his
// browser's cookie, which may be the new one by now, stays.
func TestStragglerAfterRegenerate(t *testing.T) {
	m := newSessions(session.Options{})
	site := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		switch r.URL.Path {
		case "/login":
			s.Regenerate()
			s.SetSubject("ada")
		case "/write":
			s.Set("a", 1)
		default:
			s.Keys()
		}
	}))
	get := func(path, cookie string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		return w
	}
	old, _, _ := strings.Cut(get("/write", "").Header().Get("Set-Cookie"), ";")
	if w := get("/login", old); w.Header().Get("Set-Cookie") == "" {
		t.Fatal("no cookie at the sign-in")
	}
	if w := get("/read", old); w.Code != http.StatusOK || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a read: %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
	}
	if w := get("/write", old); w.Code != http.StatusConflict || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a write: %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
	}
}

// A sign-out holds, whatever has gone wrong before in its request, by whichever
// name it goes.
func TestASignOutHoldsAfterAFailure(t *testing.T) {
	for name, end := range map[string]func(s *session.Session){
		"Destroy":    (*session.Session).Destroy,
		"Reset":      (*session.Session).Reset,
		"Unset":      (*session.Session).Unset,
		"SetMaxAge":  func(s *session.Session) { s.SetMaxAge(-time.Second) },
		"SetExpires": func(s *session.Session) { s.SetExpires(time.Unix(0, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) { o.Unset = session.UnsetDestroy })
			b := st.signedIn("ada")
			w := b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Set("f", func() {})
				end(s)
			})
			equal(t, "status", w.Code, 500)
			equal(t, "the session", b.data(), "none")
		})
	}
}

// The client is told of the end also where the session has another token by then
// than it holds. Otherwise it would go on as one whose token was replaced, and be
// refused for a while.
func TestTheEndOfARenewedSessionIsTold(t *testing.T) {
	for name, end := range map[string]func(*session.Session){
		"Destroy": (*session.Session).Destroy, "Reset": (*session.Session).Reset,
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, renewing)
			b := st.signedIn("ada")
			b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.RenewID()
				equal(t, "Save", s.Save(), nil)
				end(s)
			})
			equal(t, "cookie", b.cookie, "")

			b = st.signedIn("ada")
			slow := b.clone()
			st.clock.advance(31 * time.Minute)
			b.get(read)
			slow.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { end(s) })
			equal(t, "cookie of a request with the token of before", slow.cookie, "")
			equal(t, "sessions", st.live(), 0)
		})
	}
}

// Unset lets the session go on, also where its token is due to be renewed.
func TestUnsetAfterSaveWhereARenewalIsDue(t *testing.T) {
	st := newSite(t, renewing)
	b := st.signedIn("ada")
	st.clock.advance(31 * time.Minute)
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("a", 1)
		equal(t, "Save", s.Save(), nil)
		s.Unset()
	})
	equal(t, "data", b.data(), `{"a":1,"name":"ada"}`)
	token := b.rawToken()
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { equal(t, "Save", s.Save(), nil) })
	equal(t, "whether the next request has renewed it", b.rawToken() != token, true)
}

// A straggler may sign in, and what comes after that in his request is kept.
func TestAStragglerWhoSignsIn(t *testing.T) {
	signIn := func(s *session.Session) {
		s.SetSubject("ada")
		equal(t, "Save", s.Save(), nil)
	}
	for name, row := range map[string]struct {
		page func(s *session.Session)
		data string
	}{
		"and changes a key": {func(s *session.Session) { signIn(s); s.Set("a", 2) }, `{"a":2}`},
		"and signs out":     {func(s *session.Session) { signIn(s); s.Reset() }, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"a": 1})
			slow := b.clone()
			b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.RenewID() })
			w := slow.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { row.page(s) })
			equal(t, "status", w.Code, 200)
			equal(t, "data", slow.data(), row.data)
			n, err := st.RevokeAll(t.Context(), "ada")
			if want := strings.Count(row.data, "{"); n != want || err != nil {
				t.Errorf("there are %d sessions of the subject, %v", n, err)
			}
		})
	}
}

func TestForgottenUnits(t *testing.T) {
	for name, opts := range map[string]session.Options{
		"AbsoluteTimeout": {AbsoluteTimeout: 3600}, "TouchInterval": {TouchInterval: 5},
	} {
		opts.Secrets = []session.Secret{"an example's secret, which is no secret"}
		if _, err := session.New(memstore.New(nil), &opts); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "unit") {
			t.Errorf("%s without a unit: %v", name, err)
		}
	}
}

// A library signs out with Reset, and the program around it may sign somebody in
// within the same request.
func TestReset(t *testing.T) {
	next := func(s *session.Session) {
		s.Reset()
		s.SetSubject("24")
		s.Set("name", "24")
	}
	reset := func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Reset() }

	t.Run("ends the session and clears the cookie", func(t *testing.T) {
		st := newSite(t)
		b := st.signedIn("23")
		old := b.clone()
		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("lost", true)
			s.Reset()
			equal(t, "keys", len(s.Keys()), 0)
			equal(t, "subject", s.Subject(), "")
			equal(t, "IsNew", s.IsNew(), true)
		})
		equal(t, "cookie", b.cookie, "")
		equal(t, "what the old token opens", old.data(), "none")
		equal(t, "records", len(st.records()), 0)
	})
	t.Run("clears the cookie as it was set", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.Cookie.Name = "sid" })
		b := st.browser()
		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			c := s.Cookie()
			c.Domain = "example.test"
			s.SetCookie(c)
		})
		w := b.get(reset)
		contains(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "Domain=example.test")
	})
	t.Run("leaves no trace of a visitor without one", func(t *testing.T) {
		st := newSite(t)
		w := st.browser().get(reset)
		equal(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "")
		st.checkCalls("of a visitor", sessiontest.Calls{})
	})
	t.Run("begins a new session where something is put in it", func(t *testing.T) {
		st := newSite(t)
		b := st.signedIn("23")
		old := b.clone()
		equal(t, "status", b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { next(s) }).Code, 200)
		equal(t, "the new session", b.data(), `{"name":"24"}`)
		equal(t, "whose it is", b.subject(), "24")
		equal(t, "what the old token opens", old.data(), "none")
		equal(t, "sessions", st.live(), 1)
	})
	t.Run("may be called again, and after Save and Destroy", func(t *testing.T) {
		st := newSite(t)
		b := st.signedIn("23")
		w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			next(s)
			equal(t, "Save", s.Save(), nil)
			equal(t, "sessions after Save", st.live(), 1)
			s.Destroy()
			s.Reset()
			next(s)
		})
		equal(t, "status", w.Code, 200)
		equal(t, "the new session", b.data(), `{"name":"24"}`)
		equal(t, "sessions", st.live(), 1)
	})
	t.Run("by a slow request does not end what others have begun", func(t *testing.T) {
		st := newSite(t)
		b := st.signedIn("23")
		slow := b.clone()
		slow.slow(func() {
			b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { next(s) })
		}, reset)
		equal(t, "the session of the fast one", b.data(), `{"name":"24"}`)
	})
	for name, fail := range map[string]func(st *site, s *session.Session){
		"a value that cannot be kept":             func(_ *site, s *session.Session) { s.Set("f", func() {}) },
		"a session that is too large":             func(_ *site, s *session.Session) { s.Set("x", strings.Repeat("x", 2<<20)) },
		"a value that could not be kept before":   func(_ *site, s *session.Session) { s.Set("f", func() {}); s.Reset() },
		"a change of what is destroyed afterward": func(_ *site, s *session.Session) { s.Destroy(); s.Set("x", 1) },
	} {
		t.Run("holds with "+name, func(t *testing.T) {
			st := newSite(t)
			b := st.signedIn("23")
			w := b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { next(s); fail(st, s) })
			equal(t, "status", w.Code, 500)
			equal(t, "the old session", b.data(), "none")
			equal(t, "sessions", st.live(), 0)
		})
	}
	t.Run("holds when the header has left, but nothing new begins", func(t *testing.T) {
		st := newSite(t)
		b := st.signedIn("23")
		late := b.clone()
		equal(t, "status", late.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			w.WriteHeader(200)
			s.Reset()
		}).Code, 200)
		equal(t, "the old session", b.data(), "none")

		b = st.signedIn("23")
		func() {
			defer func() { equal(t, "the panic that cuts the response short", recover(), any(http.ErrAbortHandler)) }()
			b.clone().get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				w.WriteHeader(200)
				next(s)
				if !errors.Is(s.Err(), session.ErrHeaderSent) {
					t.Errorf("Err: %v", s.Err())
				}
			})
		}()
		equal(t, "the old session", b.data(), "none")
	})
	t.Run("is refused where the cookie does not come", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.Cookie = session.Cookie{Name: "sid", Path: "/shop"} })
		equal(t, "status", st.browser().get(reset).Code, 500)
	})
	t.Run("goes on after a commit outside of HTTP", func(t *testing.T) {
		st := newSite(t)
		b := st.signedIn("23")
		s, err := st.Open(t.Context(), b.wire())
		if err != nil {
			t.Fatal(err)
		}
		commit := func(want session.Action) {
			t.Helper()
			if d, err := st.Commit(t.Context(), s); err != nil || d.Action != want {
				t.Fatalf("Commit: action %v, %v", d.Action, err)
			}
		}
		s.Reset()
		commit(session.ClearToken)
		equal(t, "sessions", st.live(), 0)
		commit(session.Keep)
		s.Set("name", "nobody")
		commit(session.SetToken)
		equal(t, "sessions", st.live(), 1)
	})
}
