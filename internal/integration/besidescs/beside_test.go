package besidescs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
)

// measures are what is measured: a whole request through the middleware, or a
// call of the store alone.
var measures = []string{"request/read", "request/write", "request/touch", "store/load", "store/save", "store/touch"}

// A library is one on a backend.
type library interface {
	// prepare makes sessions, and returns what does the measure on each in turn.
	prepare(tb testing.TB, measure string) (do func() error)
}

// sessions is how many there are.
const sessions = 32

func (b backend) open(tb testing.TB, who string, at address) library {
	tb.Helper()
	if who == "scs" {
		return theirs{b.theirs(tb, at)}
	}
	return ours{b.ours(tb, at)}
}

// libraries are those that have a store for the backend.
func (b backend) libraries() []string {
	if b.theirs == nil {
		return []string{"session"}
	}
	return []string{"session", "scs"}
}

func BenchmarkBesideSCS(b *testing.B) {
	for _, backend := range backends {
		b.Run(strings.ReplaceAll(backend.name, " ", "_"), func(b *testing.B) {
			libraries := make(map[string]library)
			counters := make(map[string]*counter)
			for _, who := range backend.libraries() {
				libraries[who] = backend.open(b, who, direct)
				counters[who] = newCounter(b, backend, who)
			}
			for _, measure := range measures {
				for _, who := range backend.libraries() {
					b.Run(measure+"/"+who, func(b *testing.B) {
						do := libraries[who].prepare(b, measure)
						b.ReportAllocs()
						for b.Loop() {
							if err := do(); err != nil {
								b.Fatal(err)
							}
						}
						b.ReportMetric(counters[who].turns(b, measure), "turns/op")
					})
				}
			}
		})
	}
}

// A counter counts the round trips of a library, apart from where its time is
// measured.
type counter struct {
	proxy *servers.ProxyServer // nil without a server
	lib   library
}

func newCounter(tb testing.TB, b backend, who string) *counter {
	tb.Helper()
	if b.server == nil {
		return &counter{}
	}
	proxy := servers.Proxy(tb, b.server(tb).Addr)
	return &counter{proxy, b.open(tb, who, proxy.Through)}
}

// turns returns the round trips of doing it once, when it has been done before.
func (c *counter) turns(tb testing.TB, measure string) float64 {
	tb.Helper()
	if c.proxy == nil {
		return 0
	}
	do := c.lib.prepare(tb, measure)
	all := func() {
		tb.Helper()
		for range sessions {
			if err := do(); err != nil {
				tb.Fatal(err)
			}
		}
	}
	all()
	return float64(c.proxy.Count(all)) / sessions
}

// TestBesideSCS does what is measured, looks whether it is done, and holds our
// stores to their round trips.
func TestBesideSCS(t *testing.T) {
	for _, backend := range backends {
		t.Run(backend.name, func(t *testing.T) {
			for _, who := range backend.libraries() {
				lib := backend.open(t, who, direct)
				for _, measure := range measures {
					do := lib.prepare(t, measure)
					for range sessions {
						if err := do(); err != nil {
							t.Errorf("%s: %s: %v", who, measure, err)
						}
					}
				}
				if st := siteOf(t, lib); !counts(t, st) {
					t.Errorf("%s does not count", who)
				}
			}
			load, save, touch := backend.turns[0], backend.turns[1], backend.turns[2]
			want := map[string]int{
				"request/read": load, "request/write": load + save, "request/touch": load + touch,
				"store/load": load, "store/save": save, "store/touch": touch,
			}
			if backend.cached {
				want["request/read"], want["store/load"] = 0, 0
			}
			count := newCounter(t, backend, "session")
			for _, measure := range measures {
				if got := count.turns(t, measure); got != float64(want[measure]) {
					t.Errorf("%s: %v round trips, want %d", measure, got, want[measure])
				}
			}
		})
	}
}

func siteOf(tb testing.TB, lib library) *site {
	tb.Helper()
	if lib, ok := lib.(theirs); ok {
		return theirSite(lib.store, "write")
	}
	return ourSite(tb, lib.(ours).store)
}

// counts reports whether a request reads what the one before has written.
func counts(tb testing.TB, st *site) bool {
	tb.Helper()
	cookie := begin(tb, st)
	for n := range 3 {
		for _, route := range []string{"/read", "/touch", "/write"} {
			r := httptest.NewRequest("GET", route, nil)
			r.Header.Set("Cookie", cookie)
			w := httptest.NewRecorder()
			st.ServeHTTP(w, r)
			if w.Code != http.StatusOK || st.views != n+1 {
				return false
			}
		}
	}
	return true
}

// ours is our library on a store.
type ours struct{ store session.Store }

func (l ours) prepare(tb testing.TB, measure string) func() error {
	tb.Helper()
	if route, ok := strings.CutPrefix(measure, "request/"); ok {
		return requests(tb, ourSite(tb, l.store), route)
	}
	ctx := context.Background()
	now := time.Now().UTC().Truncate(time.Millisecond)
	records := make([]session.Record, sessions)
	for i, id := range newIDs() {
		records[i] = session.Record{ID: id, Data: data, Created: now, LastSeen: now, Expires: now.Add(24 * time.Hour)}
		if err := l.save(ctx, &records[i]); err != nil {
			tb.Fatal(err)
		}
	}
	op := map[string]func(context.Context, *session.Record) error{
		"store/load": l.load, "store/save": l.save, "store/touch": l.touch,
	}[measure]
	next := 0
	return func() error {
		next++
		return op(ctx, &records[next%sessions])
	}
}

func (l ours) load(ctx context.Context, rec *session.Record) error {
	_, err := l.store.Load(ctx, rec.ID)
	return err
}

func (l ours) save(ctx context.Context, rec *session.Record) (err error) {
	rec.Version, err = l.store.Save(ctx, rec)
	return err
}

func (l ours) touch(ctx context.Context, rec *session.Record) error {
	rec.LastSeen, rec.Expires = rec.LastSeen.Add(time.Second), rec.Expires.Add(time.Second)
	return l.store.(session.Toucher).Touch(ctx, rec.ID, rec.LastSeen, rec.Expires)
}

// theirs is scs on a store.
type theirs struct{ store scs.Store }

func (l theirs) prepare(tb testing.TB, measure string) func() error {
	tb.Helper()
	if route, ok := strings.CutPrefix(measure, "request/"); ok {
		return requests(tb, theirSite(l.store, route), route)
	}
	ids := newIDs()
	for _, id := range ids {
		if err := l.commit(id); err != nil {
			tb.Fatal(err)
		}
	}
	op := map[string]func(id string) error{
		"store/load": l.find, "store/save": l.commit, "store/touch": l.commit, // it has no other way to touch
	}[measure]
	next := 0
	return func() error {
		next++
		return op(ids[next%sessions])
	}
}

// scs uses the methods with a context if there are any.

func (l theirs) find(id string) (err error) {
	var ok bool
	if store, is := l.store.(scs.CtxStore); is {
		_, ok, err = store.FindCtx(context.Background(), id)
	} else {
		_, ok, err = l.store.Find(id)
	}
	if err == nil && !ok {
		err = errors.New("the record is not there")
	}
	return err
}

func (l theirs) commit(id string) error {
	expires := time.Now().Add(24 * time.Hour)
	if store, is := l.store.(scs.CtxStore); is {
		return store.CommitCtx(context.Background(), id, data, expires)
	}
	return l.store.Commit(id, data, expires)
}

// data is what a record holds.
var data = []byte(`{"pad":"` + strings.Repeat("v", 300-len(`{"pad":""}`)) + `"}`)

var ids atomic.Int64

// newIDs returns IDs that nobody had before, of the length that both libraries
// have.
func newIDs() []string {
	list := make([]string, sessions)
	for i := range list {
		list[i] = fmt.Sprintf("record-%036d", ids.Add(1))
	}
	return list
}

// requests returns what serves a request of each session in turn.
func requests(tb testing.TB, st *site, route string) func() error {
	tb.Helper()
	cookies := make([]string, sessions)
	for i := range cookies {
		cookies[i] = begin(tb, st)
	}
	r := httptest.NewRequest("GET", "/"+route, nil)
	r.Header.Set("Cookie", "")
	w := &discarding{header: http.Header{}}
	next := 0
	return func() error {
		clear(w.header)
		r.Header["Cookie"][0] = cookies[next%sessions]
		next++
		st.ServeHTTP(w, r)
		if w.status != 0 && w.status != http.StatusOK {
			return fmt.Errorf("status %d: %s", w.status, w.body)
		}
		return nil
	}
}

// begin begins a session and returns its cookie.
func begin(tb testing.TB, st *site) string {
	tb.Helper()
	w := httptest.NewRecorder()
	st.ServeHTTP(w, httptest.NewRequest("GET", "/new", nil))
	cookie, _, ok := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	if !ok {
		tb.Fatalf("a new session has no cookie: %d %s", w.Code, w.Body)
	}
	return cookie
}

// A discarding writer keeps what an error says.
type discarding struct {
	header http.Header
	status int
	body   string
}

func (w *discarding) Header() http.Header    { return w.header }
func (w *discarding) WriteHeader(status int) { w.status = status }
func (w *discarding) Write(p []byte) (int, error) {
	if w.status != 0 && w.status != http.StatusOK {
		w.body = string(p)
	}
	return len(p), nil
}
