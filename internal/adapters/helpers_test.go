package adapters

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/filestore"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

const secret = session.Secret("the secret of the tests, of 40 bytes....")

// newManager returns a manager for servers of plain HTTP on this machine.
func newManager(t *testing.T, store session.Store) *session.Manager {
	t.Helper()
	if store == nil {
		store = memstore.New(nil)
	}
	m, err := session.New(store, &session.Options{
		Secrets:        []session.Secret{secret},
		Cookie:         session.Cookie{Secure: session.SecureAuto},
		Logger:         slog.New(slog.DiscardHandler),
		NoStoreWarning: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// openFiles opens the store in a folder, as a program does when it starts.
func openFiles(t *testing.T, dir string) session.Store {
	t.Helper()
	store, err := filestore.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// failing returns a store whose calls can be made to fail.
func failing() (session.Store, *sessiontest.Faults) {
	faults := new(sessiontest.Faults)
	return faults.Wrap(memstore.New(nil)), faults
}

// A client is a browser.
type client struct {
	t *testing.T
	http.Client
}

func newClient(t *testing.T) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t, http.Client{Jar: jar}}
}

// copyCookies returns a client with the same cookies for a server, a second window
// or a thief.
func (c *client) copyCookies(srv *httptest.Server) *client {
	c.t.Helper()
	other := newClient(c.t)
	u := parse(c.t, srv.URL)
	other.Jar.SetCookies(u, c.Jar.Cookies(u))
	return other
}

// cookie returns the value of a cookie, empty if there is none.
func (c *client) cookie(srv *httptest.Server, name string) string {
	for _, cookie := range c.Jar.Cookies(parse(c.t, srv.URL)) {
		if cookie.Name == name {
			return cookie.Value
		}
	}
	return ""
}

// get returns status and body of a page, after all redirects.
func (c *client) get(address string) (int, string) {
	c.t.Helper()
	resp, err := c.Get(address)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// shows fails the test unless the page has the text.
func (c *client) shows(address, want string) {
	c.t.Helper()
	if status, got := c.get(address); got != want {
		c.t.Errorf("%s: %d %q, want %q", address, status, got, want)
	}
}

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// serve runs a server until the test ends.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

// inBoth runs a test with the manager's Handler around the program and without.
func inBoth(t *testing.T, f func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler)) {
	t.Run("within Handler", func(t *testing.T) {
		f(t, func(m *session.Manager, h http.Handler) http.Handler { return m.Handler(h) })
	})
	t.Run("without Handler", func(t *testing.T) {
		f(t, func(_ *session.Manager, h http.Handler) http.Handler { return h })
	})
}

func subjects(t *testing.T, m *session.Manager) (list []string) {
	t.Helper()
	for rec, err := range m.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rec.Subject)
	}
	return list
}

// data returns the data of all sessions.
func data(t *testing.T, m *session.Manager) string {
	t.Helper()
	var all []string
	for rec, err := range m.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(rec.Data))
	}
	return strings.Join(all, "\n")
}

func containsLine(text, line string) bool {
	for l := range strings.Lines(text) {
		if strings.TrimSuffix(l, "\n") == line {
			return true
		}
	}
	return false
}
