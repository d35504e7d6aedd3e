package adapters

import (
	"encoding/gob"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/gorillasession"
)

type account struct {
	ID    uint
	Roles []string
}

func init() { gob.Register(account{}) }

// gorillaProgram is a program as there are many. All that it knows of its store is
// that line.
func gorillaProgram(store sessions.Store) http.Handler {
	get := func(w http.ResponseWriter, r *http.Request) *sessions.Session {
		s, err := store.Get(r, "app")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return nil
		}
		return s
	}
	save := func(w http.ResponseWriter, r *http.Request) bool {
		if err := sessions.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return false
		}
		return true
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		s := get(w, r)
		if s == nil {
			return
		}
		s.Values["account"] = account{ID: 23, Roles: []string{"staff"}}
		s.Values["views"] = 0
		s.Options = &sessions.Options{Path: "/", MaxAge: 86400, HttpOnly: true}
		s.AddFlash("Welcome!")
		if save(w, r) {
			http.Redirect(w, r, "/", http.StatusSeeOther)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s := get(w, r)
		if s == nil {
			return
		}
		a, ok := s.Values["account"].(account)
		if !ok {
			fmt.Fprintf(w, "new %t", s.IsNew)
			return
		}
		views := s.Values["views"].(int) + 1
		s.Values["views"] = views
		flashes := s.Flashes()
		if save(w, r) {
			fmt.Fprintf(w, "account %d %v, view %d, flashes %v", a.ID, a.Roles, views, flashes)
		}
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		s := get(w, r)
		if s == nil {
			return
		}
		s.Options = &sessions.Options{Path: "/", MaxAge: -1}
		if save(w, r) {
			http.Redirect(w, r, "/", http.StatusSeeOther)
		}
	})
	return mux
}

// The same walk through the same program, with gorilla's store and with ours.
func TestAProgramOnGorilla(t *testing.T) {
	walk := func(t *testing.T, start func() *httptest.Server) {
		c := newClient(t)
		srv := start()
		c.shows(srv.URL, "new true")
		c.shows(srv.URL+"/login", "account 23 [staff], view 1, flashes [Welcome!]")
		c.shows(srv.URL, "account 23 [staff], view 2, flashes []")

		next := start() // the program starts again, on another port: the jar does not look at that
		srv.Close()
		c.shows(next.URL, "account 23 [staff], view 3, flashes []")
		newClient(t).shows(next.URL, "new true")

		c.shows(next.URL+"/logout", "new true")
		c.shows(next.URL, "new true")
		c.shows(next.URL+"/login", "account 23 [staff], view 1, flashes [Welcome!]")
	}
	t.Run("with its own store", func(t *testing.T) {
		dir := t.TempDir()
		walk(t, func() *httptest.Server {
			return serve(t, gorillaProgram(sessions.NewFilesystemStore(dir, []byte("a key of gorilla's, of 32 bytes."))))
		})
	})
	inBoth(t, func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler) {
		dir := t.TempDir()
		walk(t, func() *httptest.Server {
			m := newManager(t, openFiles(t, dir))
			return serve(t, around(m, gorillaProgram(gorillasession.New(m))))
		})
	})
}

// Where ours differs, on purpose: the thief's copy of a cookie is worth nothing
// after the sign-out, and nothing that is down looks like a stranger.
func TestAProgramOnGorillaIsBetterOff(t *testing.T) {
	inBoth(t, func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler) {
		store, faults := failing()
		m := newManager(t, store)
		srv := serve(t, around(m, gorillaProgram(gorillasession.New(m))))
		c := newClient(t)
		c.get(srv.URL + "/login")
		thief := c.copyCookies(srv)
		c.shows(srv.URL+"/logout", "new true")
		thief.shows(srv.URL, "new true")

		c.get(srv.URL + "/login")
		faults.Fail("load", fmt.Errorf("the server is down"))
		if status, text := c.get(srv.URL); status < 500 {
			t.Errorf("%d %s", status, text)
		}
		faults.Reset()
		c.shows(srv.URL, "account 23 [staff], view 2, flashes []")
	})
}
