package adapters

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/gorillasession"
)

// Deploy day: the old program stops, the new one starts at its place, and the
// browser's next request is still signed in.
func TestDeployDay(t *testing.T) {
	dir := t.TempDir()
	for name, newOld := range map[string]func() sessions.Store{
		"from cookies": func() sessions.Store {
			store := sessions.NewCookieStore([]byte("a key of gorilla's, of 32 bytes."), []byte("a block key of 32 bytes, for AES"))
			store.Options.Secure, store.Options.SameSite = false, http.SameSiteLaxMode // for plain HTTP
			return store
		},
		"from files": func() sessions.Store {
			return sessions.NewFilesystemStore(dir, []byte("a key of gorilla's, of 32 bytes."))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler) {
				files := t.TempDir()
				var passed atomic.Int64 // time that the test lets pass at once
				after := func() (*httptest.Server, *session.Manager) {
					m, err := session.New(openFiles(t, files), &session.Options{
						Secrets: []session.Secret{secret},
						Cookie:  session.Cookie{Secure: session.SecureAuto},
						Import:  gorillasession.NewImporter(newOld(), "app"),
						Now:     func() time.Time { return time.Now().Add(time.Duration(passed.Load())) },
					})
					if err != nil {
						t.Fatal(err)
					}
					return serve(t, around(m, gorillaProgram(gorillasession.New(m)))), m
				}

				old := serve(t, gorillaProgram(newOld()))
				c, other := newClient(t), newClient(t)
				c.shows(old.URL+"/login", "account 23 [staff], view 1, flashes [Welcome!]")
				other.get(old.URL + "/login")
				old.Close()

				srv, m := after()
				thief := c.copyCookies(srv)

				// The browser makes all requests of a page at once.
				var done sync.WaitGroup
				windows := []*client{c, c.copyCookies(srv), c.copyCookies(srv), c.copyCookies(srv)}
				for _, window := range windows {
					done.Go(func() {
						if status, text := window.get(srv.URL); status != 200 || text == "new true" {
							t.Errorf("%d %s", status, text)
						}
					})
				}
				done.Wait()
				if got := len(subjects(t, m)); got != 1 {
					t.Errorf("%d sessions of one browser", got)
				}
				for i, window := range windows {
					if window.cookie(srv, "app") != "" || window.cookie(srv, "session") == "" {
						t.Errorf("cookies of window %d: %v", i, window.Jar.Cookies(parse(t, srv.URL)))
					}
				}
				if _, text := c.get(srv.URL); text == "new true" {
					t.Error("signed out by the second request")
				}

				srv.Close()
				srv, m = after() // and again, which has nothing to do with gorilla any more
				if _, text := c.get(srv.URL); text == "new true" {
					t.Error("signed out by the second start")
				}
				c.shows(srv.URL+"/logout", "new true")
				thief.shows(srv.URL, "new true")
				passed.Store(int64(10 * time.Minute)) // more than the grace
				thief.shows(srv.URL, "new true")
				if got := len(subjects(t, m)); got != 0 {
					t.Errorf("%d sessions after the sign-out", got)
				}
				if status, text := other.get(srv.URL); status != 200 || text == "new true" {
					t.Errorf("who comes later: %d %s", status, text)
				}
				if left, _ := filepath.Glob(filepath.Join(dir, "session_*")); len(left) != 0 {
					t.Errorf("files of the old program: %v", left)
				}
			})
		})
	}
}
