package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

const (
	newSecret = session.Secret("the secret that signs, of 40 bytes......")
	oldSecret = session.Secret("the secret of last year, of 40 bytes....")
)

// A clock is the time of a test, which passes only when the test says so.
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

// A safeBuffer is a buffer for logs of several goroutines.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A site is a manager with a store that can be made to fail, a clock that can be
// moved, and an ear for logs and events.
type site struct {
	*session.Manager
	t      *testing.T
	faults *sessiontest.Faults
	store  session.Store
	clock  *clock
	log    *safeBuffer
	opts   session.Options

	mu     sync.Mutex
	events []session.Event
}

// newSite makes a site over a store in memory. Edit changes its options.
func newSite(t *testing.T, edit ...func(*session.Options)) *site {
	t.Helper()
	return siteOver(t, nil, edit...)
}

func siteOver(t *testing.T, store session.Store, edit ...func(*session.Options)) *site {
	t.Helper()
	st := &site{t: t, faults: new(sessiontest.Faults), log: new(safeBuffer)}
	st.clock = &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	if store == nil {
		store = memstore.New(&memstore.Options{Now: st.clock.Now})
	}
	st.store = st.faults.Wrap(store)
	st.opts = session.Options{
		Secrets: []session.Secret{newSecret},
		Now:     st.clock.Now,
		Logger:  slog.New(slog.NewTextHandler(st.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnEvent: func(e session.Event) {
			st.mu.Lock()
			defer st.mu.Unlock()
			st.events = append(st.events, e)
		},
		NoStoreWarning: true,
	}
	for _, f := range edit {
		f(&st.opts)
	}
	m, err := session.New(st.store, &st.opts)
	if err != nil {
		t.Fatal(err)
	}
	st.Manager = m
	return st
}

// again returns a site over the same store and clock with other options, as
// after a new start of the program.
func (st *site) again(edit ...func(*session.Options)) *site {
	st.t.Helper()
	next := &site{t: st.t, faults: st.faults, store: st.store, clock: st.clock, log: st.log, opts: st.opts}
	for _, f := range edit {
		f(&next.opts)
	}
	m, err := session.New(next.store, &next.opts)
	if err != nil {
		st.t.Fatal(err)
	}
	next.Manager = m
	return next
}

// kinds returns the kinds of the events so far and forgets them.
func (st *site) kinds() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	var names []string
	for _, e := range st.events {
		names = append(names, e.Kind.String())
	}
	st.events = nil
	return strings.Join(names, " ")
}

// records returns all records of the store, pointers too.
func (st *site) records() []session.Record {
	st.t.Helper()
	recs, next, err := st.store.(session.Lister).List(context.Background(), session.Query{Limit: 1000})
	if err != nil || next != "" {
		st.t.Fatal(err, next)
	}
	return recs
}

// live returns how many sessions there are.
func (st *site) live() int {
	st.t.Helper()
	n, err := st.Count(context.Background())
	if err != nil {
		st.t.Fatal(err)
	}
	return n
}

// page is a handler that gets its session.
type page func(w http.ResponseWriter, r *http.Request, s *session.Session)

func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p(w, r, session.From(r)) }

// A browser keeps the cookie of one site, if only that one.
type browser struct {
	st     *site
	cookie string // name=value
}

func (st *site) browser() *browser { return &browser{st: st} }

// clone is a second window of the same browser, at this moment.
func (b *browser) clone() *browser { return &browser{b.st, b.cookie} }

// get makes a request of a page.
func (b *browser) get(p page) *httptest.ResponseRecorder { return b.send(b.request(), p) }

func (b *browser) request() *http.Request {
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	if b.cookie != "" {
		r.Header.Set("Cookie", b.cookie)
	}
	return r
}

func (b *browser) send(r *http.Request, p page) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.st.Handler(p).ServeHTTP(w, r)
	b.keep(w.Result())
	return w
}

// keep does with the Set-Cookie headers what a browser does.
func (b *browser) keep(resp *http.Response) {
	for _, c := range resp.Cookies() {
		if c.Expires.Equal(time.Unix(0, 0)) || c.MaxAge < 0 {
			b.cookie = ""
			continue
		}
		b.cookie = c.Name + "=" + c.Value
	}
}

// signedIn returns a browser whose session has a subject and some data.
func (st *site) signedIn(subject string) *browser {
	st.t.Helper()
	b := st.browser()
	w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.SetSubject(subject)
		s.Set("name", subject)
	})
	if w.Code != 200 || b.cookie == "" {
		st.t.Fatalf("sign-in: status %d, cookie %q\n%s", w.Code, b.cookie, st.log)
	}
	return b
}

// visitor returns a browser with an anonymous session that has the data.
func (st *site) visitor(data map[string]any) *browser {
	st.t.Helper()
	b := st.browser()
	w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		for k, v := range data {
			s.Set(k, v)
		}
	})
	if w.Code != 200 || b.cookie == "" {
		st.t.Fatalf("visit: status %d, cookie %q\n%s", w.Code, b.cookie, st.log)
	}
	return b
}

// data returns what a browser's session holds, as JSON text; "none" if it has
// no session.
func (b *browser) data() string {
	b.st.t.Helper()
	text := "none"
	w := httptest.NewRecorder()
	b.st.Handler(page(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		if err := s.Err(); err != nil {
			b.st.t.Error(err)
		}
		if s.IsNew() {
			return
		}
		all := make(map[string]any)
		for _, key := range s.Keys() {
			all[key], _ = session.Get[any](s, key)
		}
		raw, err := json.Marshal(all)
		if err != nil {
			b.st.t.Error(err)
		}
		text = string(raw)
	})).ServeHTTP(w, b.request())
	return text
}

// subject returns whose session the browser's is, "none" without one.
func (b *browser) subject() string {
	subject := "none"
	w := httptest.NewRecorder()
	b.st.Handler(page(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		if !s.IsNew() {
			subject = s.Subject()
		}
	})).ServeHTTP(w, b.request())
	return subject
}

// rawToken returns the token in the browser's cookie without its signature.
func (b *browser) rawToken() string {
	_, value, _ := strings.Cut(b.cookie, "=")
	value = strings.TrimPrefix(value, "s%3A")
	token, _, _ := strings.Cut(value, ".")
	return token
}

// wire returns the signed token in the browser's cookie.
func (b *browser) wire() string {
	_, value, _ := strings.Cut(b.cookie, "=")
	value, err := url.PathUnescape(value)
	if err != nil {
		b.st.t.Fatal(err)
	}
	return strings.TrimPrefix(value, "s:")
}

// serve runs a real server.
func (st *site) serve(h http.Handler, edit ...func(*httptest.Server)) *httptest.Server {
	srv := httptest.NewUnstartedServer(st.Handler(h))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(st.log, nil), slog.LevelInfo)
	for _, f := range edit {
		f(srv)
	}
	if srv.TLS == nil && !srv.EnableHTTP2 {
		srv.Start()
	} else {
		srv.StartTLS()
	}
	st.t.Cleanup(srv.Close)
	return srv
}

// fetch makes a request of a real server with the browser's cookie.
func (b *browser) fetch(srv *httptest.Server, method string) (*http.Response, string, error) {
	req, err := http.NewRequest(method, srv.URL, nil)
	if err != nil {
		return nil, "", err
	}
	if b.cookie != "" {
		req.Header.Set("Cookie", b.cookie)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	b.keep(resp)
	return resp, string(body), err
}

// checkCalls compares the calls of the store since the last time.
func (st *site) checkCalls(what string, want sessiontest.Calls) {
	st.t.Helper()
	if got := st.faults.ResetCalls(); got != want {
		st.t.Errorf("%s: store calls %+v, want %+v", what, got, want)
	}
}

// equal reports two values that differ.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// contains reports a text that lacks a part.
func contains(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s: %q lacks %q", what, text, part)
	}
}

func unmarshal(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}
