package gorillasession_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/gorillasession"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

const secret = session.Secret("the secret of the tests, of 40 bytes....")

// A clock passes only when the test says so.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A site is a program on gorilla, with our manager behind it, within Handler or
// not.
type site struct {
	*session.Manager
	t      *testing.T
	store  *gorillasession.Store
	faults *sessiontest.Faults
	clock  *clock
	within bool
}

func newSite(t *testing.T, within bool, edit ...func(*session.Options)) *site {
	t.Helper()
	return siteOver(t, within, nil, edit...)
}

func siteOver(t *testing.T, within bool, store session.Store, edit ...func(*session.Options)) *site {
	t.Helper()
	st := &site{t: t, faults: new(sessiontest.Faults), within: within}
	st.clock = &clock{now: time.Now().Truncate(time.Second)}
	if store == nil {
		store = memstore.New(&memstore.Options{Now: st.clock.Now})
	}
	opts := &session.Options{
		Secrets:        []session.Secret{secret},
		Now:            st.clock.Now,
		Logger:         slog.New(slog.DiscardHandler),
		NoStoreWarning: true,
	}
	for _, f := range edit {
		f(opts)
	}
	m, err := session.New(st.faults.Wrap(store), opts)
	if err != nil {
		t.Fatal(err)
	}
	st.Manager, st.store = m, gorillasession.New(m)
	return st
}

// inBoth runs a test within Handler and without.
func inBoth(t *testing.T, f func(t *testing.T, within bool)) {
	t.Run("within Handler", func(t *testing.T) { f(t, true) })
	t.Run("without Handler", func(t *testing.T) { f(t, false) })
}

// live returns the records of the sessions that have not ended.
func (st *site) live() []session.Record {
	st.t.Helper()
	var recs []session.Record
	for rec, err := range st.All(context.Background()) {
		if err != nil {
			st.t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	return recs
}

// data returns the data of the only session.
func (st *site) data() string {
	st.t.Helper()
	recs := st.live()
	if len(recs) != 1 {
		st.t.Fatalf("there are %d sessions, want one", len(recs))
	}
	return string(recs[0].Data)
}

// A page is a handler of a gorilla program.
type page func(w http.ResponseWriter, r *http.Request)

// A browser keeps cookies as browsers do, by their names.
type browser struct {
	st      *site
	cookies map[string]string
}

func (st *site) browser() *browser { return &browser{st, make(map[string]string)} }

// clone is a second window of the same browser, or a thief's copy of it.
func (b *browser) clone() *browser {
	c := b.st.browser()
	for name, value := range b.cookies {
		c.cookies[name] = value
	}
	return c
}

func (b *browser) request() *http.Request {
	r := httptest.NewRequest("GET", "https://example.test/shop/", nil)
	for name, value := range b.cookies {
		r.Header.Add("Cookie", name+"="+value)
	}
	return r
}

// get makes a request of a page.
func (b *browser) get(p page) *http.Response {
	w := httptest.NewRecorder()
	var h http.Handler = http.HandlerFunc(p)
	if b.st.within {
		h = b.st.Handler(h)
	}
	h.ServeHTTP(w, b.request())
	resp := w.Result()
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name] = c.Value
	}
	return resp
}

// with makes a request whose page gets the session by the name and, if f does not
// return false, saves it.
func (b *browser) with(name string, f func(s *sessions.Session) bool) *http.Response {
	b.st.t.Helper()
	return b.get(func(w http.ResponseWriter, r *http.Request) {
		s, err := b.st.store.Get(r, name)
		if err != nil {
			b.st.t.Errorf("Get: %v", err)
		}
		if !f(s) {
			return
		}
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

func (b *browser) set(name string, key, value any) *http.Response {
	b.st.t.Helper()
	return b.with(name, func(s *sessions.Session) bool { s.Values[key] = value; return true })
}

// look returns what a session holds, nil if it is new.
func (b *browser) look(name string) map[any]any {
	b.st.t.Helper()
	var values map[any]any
	b.with(name, func(s *sessions.Session) bool {
		if !s.IsNew {
			values = s.Values
		}
		return false
	})
	return values
}

func newJar(t *testing.T) http.CookieJar {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return jar
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %#v, want %#v", what, got, want)
	}
}

func contains(t *testing.T, what, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%s is %q, without %q", what, text, want)
	}
}

func hmacSHA256(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write(message)
	return mac.Sum(nil)
}
