package cookiestore_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
)

var (
	origin = &url.URL{Scheme: "https", Host: "example.test", Path: "/"}
	count  = session.NewKey[int]("n", session.Sum)
)

// A site is a manager with a clock that can be moved, an ear for its log and its
// events, and the settings of its store.
type site struct {
	*session.Manager
	t      *testing.T
	opts   session.Options
	sealed cookiestore.Options

	mu     sync.Mutex
	now    time.Time
	log    bytes.Buffer
	events []string
}

func newSite(t *testing.T, edit ...func(*session.Options, *cookiestore.Options)) *site {
	t.Helper()
	st := &site{t: t, now: time.Now().UTC().Truncate(time.Second)}
	st.opts = session.Options{
		Secrets: []session.Secret{secret},
		Now:     st.clock,
		Logger:  slog.New(slog.NewTextHandler(st, nil)),
		OnEvent: func(e session.Event) {
			st.mu.Lock()
			defer st.mu.Unlock()
			st.events = append(st.events, e.Kind.String())
		},
		NoStoreWarning: true,
	}
	for _, f := range edit {
		f(&st.opts, &st.sealed)
	}
	m, err := session.New(newStore(t, &st.sealed, st.opts.Secrets...), &st.opts)
	if err != nil {
		t.Fatal(err)
	}
	st.Manager = m
	return st
}

// again is the site after a new start with other settings.
func (st *site) again(edit ...func(*session.Options, *cookiestore.Options)) *site {
	st.t.Helper()
	next := newSite(st.t, append([]func(*session.Options, *cookiestore.Options){func(o *session.Options, c *cookiestore.Options) {
		now := o.Now
		*o, *c = st.opts, st.sealed
		o.Now = now
	}}, edit...)...)
	next.now = st.clock()
	return next
}

func (st *site) Write(p []byte) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.log.Write(p)
}

func (st *site) clock() time.Time {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.now
}

func (st *site) advance(d time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.now = st.now.Add(d)
}

// kinds returns the kinds of the events so far and forgets them.
func (st *site) kinds() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	text := strings.Join(st.events, " ")
	st.events = nil
	return text
}

// A browser keeps cookies by the rules of RFC 6265. It does not know that time
// passes: what has expired it shows like somebody who holds on to it.
type browser struct {
	st  *site
	jar http.CookieJar
}

func (st *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		st.t.Fatal(err)
	}
	return &browser{st, jar}
}

type page func(w http.ResponseWriter, r *http.Request, s *session.Session)

// request is one with the cookies that the browser has now.
func (b *browser) request() *http.Request {
	r := httptest.NewRequest("GET", origin.String(), nil)
	for _, c := range b.jar.Cookies(origin) {
		r.Header["Cookie"] = []string{strings.TrimPrefix(r.Header.Get("Cookie")+"; ", "; ") + c.Name + "=" + c.Value}
	}
	return r
}

// answer lets the site serve a request, whose answer does not arrive yet.
func (b *browser) answer(r *http.Request, p page) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.st.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p(w, r, session.From(r)) })).ServeHTTP(w, r)
	return w
}

// keep is the arrival of an answer.
func (b *browser) keep(w *httptest.ResponseRecorder) { b.keepAt(origin, w) }

func (b *browser) keepAt(u *url.URL, w *httptest.ResponseRecorder) {
	var set []*http.Cookie
	for _, c := range w.Result().Cookies() {
		if c.Expires.Equal(time.Unix(0, 0)) {
			c.MaxAge = -1
		}
		set = append(set, c)
	}
	b.jar.SetCookies(u, set)
}

func (b *browser) get(p page) *httptest.ResponseRecorder {
	w := b.answer(b.request(), p)
	b.keep(w)
	return w
}

// do is get of a page that must succeed.
func (b *browser) do(p func(s *session.Session)) *httptest.ResponseRecorder {
	b.st.t.Helper()
	w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { p(s) })
	if w.Code != http.StatusOK {
		b.st.t.Fatalf("status %d\n%s", w.Code, b.st.log.String())
	}
	return w
}

// clone is a copy of the browser with what it has at this moment.
func (b *browser) clone() *browser {
	other := b.st.browser()
	other.jar.SetCookies(origin, b.jar.Cookies(origin))
	return other
}

// names returns the names of the cookies, those of parcels without their mark.
func (b *browser) names() string {
	var names []string
	for _, c := range b.jar.Cookies(origin) {
		names = append(names, unmarked(c.Name))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func unmarked(name string) string {
	if parts := strings.Split(name, "."); len(parts) == 3 {
		return parts[0] + "." + parts[2]
	}
	return name
}

// told returns what an answer sets and clears, in its order.
func told(w *httptest.ResponseRecorder) string {
	var all []string
	for _, c := range w.Result().Cookies() {
		name := strings.TrimPrefix(unmarked(c.Name), "__Host-session")
		if name == "" {
			name = "token"
		}
		if c.Value == "" {
			name = "-" + name
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// state is what the browser's session holds, "none" without one.
func (b *browser) state() string {
	b.st.t.Helper()
	text := "none"
	b.answer(b.request(), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		if err := s.Err(); err != nil {
			text = err.Error()
		} else if !s.IsNew() {
			text = fmt.Sprintf("%s %s", s.Subject(), s.Record().Data)
		}
	})
	return strings.TrimSpace(text)
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// background is a context of no request.
var background = context.Background()
