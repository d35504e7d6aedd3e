package adapters

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/sessions"
	"github.com/markbates/goth"
	"github.com/markbates/goth/gothic"
	"github.com/markbates/goth/providers/github"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/gorillasession"
)

// newGitHub is a server that speaks as GitHub does, and whose only user always
// consents.
func newGitHub(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		back := r.FormValue("redirect_uri")
		http.Redirect(w, r, back+"&"+url.Values{"code": {"a-code"}, "state": {r.FormValue("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("code") != "a-code" {
			http.Error(w, "bad code", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"access_token": "a-token", "token_type": "bearer"})
	})
	mux.HandleFunc("/user", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer a-token" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id": 23, "login": "ada", "email": "ada@example.test"})
	})
	return serve(t, mux)
}

// gothProgram is that of goth's own example, with a session of its own beside
// gothic's.
func gothProgram(store sessions.Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/auth", gothic.BeginAuthHandler)
	mux.HandleFunc("/auth/callback", func(w http.ResponseWriter, r *http.Request) {
		user, err := gothic.CompleteUserAuth(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		s, err := store.Get(r, "app")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.Values["user"], s.Values["name"] = user.UserID, user.NickName
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, "app")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "name %v", s.Values["name"])
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		if err := gothic.Logout(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s, err := store.Get(r, "app")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.Options.MaxAge = -1
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return mux
}

// withSubjects is gothProgram for one who keeps nobody among the values: who is
// signed in is the subject of our session.
func withSubjects(store *gorillasession.Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/auth", gothic.BeginAuthHandler)
	mux.HandleFunc("/auth/callback", func(w http.ResponseWriter, r *http.Request) {
		user, err := gothic.CompleteUserAuth(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		session.From(r).SetSubject(user.UserID)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "user %s", session.From(r).Subject())
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		session.From(r).Destroy()
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return mux
}

func TestGothicBesideOurs(t *testing.T) {
	m := newManager(t, nil)
	store := gorillasession.New(m)
	srv := startGothProgram(t, store, m.Handler(withSubjects(store)))
	c := newClient(t)
	c.shows(srv.URL, "user")
	c.shows(srv.URL+"/auth?provider=github", "user 23")
	token := c.cookie(srv, "session")
	c.shows(srv.URL+"/auth?provider=github", "user 23") // another account of one who is signed in
	if c.cookie(srv, "session") == token {
		t.Error("SetSubject has not replaced the token")
	}
	if got := data(t, m); got != `{}` {
		t.Errorf("gothic has left something: %s", got)
	}
	c.shows(srv.URL+"/logout", "user")
	if got := len(subjects(t, m)); got != 0 {
		t.Errorf("%d sessions after the sign-out", got)
	}
}

// startGoth runs gothProgram. It changes what is global in goth, so that no two
// tests may use it at the same time.
func startGoth(t *testing.T, store sessions.Store, around func(http.Handler) http.Handler) *httptest.Server {
	t.Helper()
	return startGothProgram(t, store, around(gothProgram(store)))
}

func startGothProgram(t *testing.T, store sessions.Store, program http.Handler) *httptest.Server {
	t.Helper()
	hub := newGitHub(t)
	srv := serve(t, program)
	goth.UseProviders(github.NewCustomisedURL("a-key", "a-secret", srv.URL+"/auth/callback?provider=github",
		hub.URL+"/authorize", hub.URL+"/token", hub.URL+"/user", hub.URL+"/emails"))
	gothic.Store = store
	t.Cleanup(goth.ClearProviders)
	return srv
}

func TestGothic(t *testing.T) {
	walk := func(t *testing.T, srv *httptest.Server) *client {
		c := newClient(t)
		c.shows(srv.URL, "name <nil>")
		c.shows(srv.URL+"/auth?provider=github", "name ada") // by way of GitHub, and back
		c.shows(srv.URL, "name ada")
		c.shows(srv.URL+"/auth?provider=github", "name ada") // once more, signed in
		c.shows(srv.URL+"/logout", "name <nil>")
		c.shows(srv.URL, "name <nil>")
		if status, text := c.get(srv.URL + "/auth/callback?provider=github&code=a-code&state=x"); status != http.StatusForbidden {
			t.Errorf("a callback that nobody has begun: %d %s", status, text)
		}
		c.shows(srv.URL+"/auth?provider=github", "name ada")
		return c
	}
	t.Run("with gorilla's store", func(t *testing.T) {
		store := sessions.NewCookieStore([]byte("a key of gorilla's, of 32 bytes."))
		store.Options.Secure, store.Options.SameSite = false, http.SameSiteLaxMode // for plain HTTP
		walk(t, startGoth(t, store, func(h http.Handler) http.Handler { return h }))
	})
	inBoth(t, func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler) {
		start := func(t *testing.T, base session.Store) (*httptest.Server, *session.Manager) {
			m := newManager(t, base)
			store := gorillasession.New(m)
			store.Subject = func(s *sessions.Session) (string, bool) {
				id, _ := s.Values["user"].(string)
				return id, s.Name() == "app"
			}
			return startGoth(t, store, func(h http.Handler) http.Handler { return around(m, h) }), m
		}
		t.Run("the whole way", func(t *testing.T) {
			srv, m := start(t, nil)
			walk(t, srv)
			if got := subjects(t, m); len(got) != 1 || got[0] != "23" {
				t.Errorf("sessions of %q, want one of 23", got)
			}
			if got := data(t, m); got != `{"app:name":"ada","app:user":"23"}` {
				t.Errorf("gothic has left something: %s", got)
			}
		})
		t.Run("a token planted before the sign-in is worth nothing after it", func(t *testing.T) {
			srv, _ := start(t, nil)
			attacker := newClient(t)
			attacker.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			if status, _ := attacker.get(srv.URL + "/auth?provider=github"); status != http.StatusTemporaryRedirect {
				t.Fatal(status)
			}
			planted := attacker.cookie(srv, "session")
			victim := attacker.copyCookies(srv)
			victim.shows(srv.URL+"/auth?provider=github", "name ada")
			if planted == "" || victim.cookie(srv, "session") == planted {
				t.Error("the token is the planted one")
			}
			attacker.shows(srv.URL, "name <nil>")
		})
		t.Run("a state that is not ours is refused", func(t *testing.T) {
			srv, _ := start(t, nil)
			c := newClient(t)
			c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			c.get(srv.URL + "/auth?provider=github")
			if _, text := c.get(srv.URL + "/auth/callback?provider=github&code=a-code&state=x"); text != "state token mismatch" {
				t.Error(text)
			}
		})
		t.Run("two windows sign in at the same time", func(t *testing.T) {
			srv, m := start(t, nil)
			c := newClient(t)
			c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			c.get(srv.URL + "/auth?provider=github")
			second := c.copyCookies(srv)
			second.shows(srv.URL+"/auth?provider=github", "name ada")
			// The first window's session was that one too, and it has ended.
			if status, text := c.get(srv.URL + "/auth/callback?provider=github&code=a-code&state=x"); status != http.StatusForbidden {
				t.Error(status, text)
			}
			if n := len(subjects(t, m)); n != 1 {
				t.Errorf("%d sessions", n)
			}
		})
		t.Run("a store that is down is told", func(t *testing.T) {
			base, faults := failing()
			srv, _ := start(t, base)
			c := newClient(t)
			c.get(srv.URL + "/auth?provider=github")
			faults.Fail("load", errors.New("the server is down"))
			for _, path := range []string{"/", "/auth?provider=github", "/logout", "/auth/callback?provider=github"} {
				if status, text := c.get(srv.URL + path); status < 400 || strings.HasPrefix(text, "name") {
					t.Errorf("%s: %d %s", path, status, text)
				}
			}
			faults.Reset()
			c.shows(srv.URL, "name ada")
		})
	})
}
