package bench

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

// TestAllocations holds the middleware to what docs/performance.md promises. The
// race detector allocates too, so the test is for runs without it.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes the numbers")
	}
	for _, row := range []struct {
		route  string
		cookie bool
		most   float64
	}{
		{"anon", false, 2},
		{"untouched", true, 1},
		{"read", true, 4},
		{"write", true, 4},
		{"new", false, 8},
		{"touch", true, 4},
	} {
		site := ours(t, row.route, 300)
		r := httptest.NewRequest("GET", "/"+row.route, nil)
		if row.cookie {
			r.Header.Set("Cookie", begin(site))
		}
		w := &nullWriter{header: http.Header{}}
		got := testing.AllocsPerRun(20_000, func() {
			clear(w.header)
			site.ServeHTTP(w, r)
		})
		if got > row.most {
			t.Errorf("%s: %v allocations, at most %v are promised", row.route, got, row.most)
		}
	}
}

// TestContenders runs what is measured once, so that it is known to do its work.
func TestContenders(t *testing.T) {
	for _, c := range contenders {
		for _, size := range []int{300, 4096} {
			for _, route := range routes {
				site := c.site(t, route.name, size)
				if site == nil {
					continue
				}
				r := httptest.NewRequest("GET", "/"+route.name, nil)
				if route.cookie {
					r.Header.Set("Cookie", begin(site))
				}
				w := httptest.NewRecorder()
				site.ServeHTTP(w, r)
				if w.Code != http.StatusOK || w.Body.String() != string(page) {
					t.Errorf("%s, %s, %d bytes: %d %q", c.name, route.name, size, w.Code, w.Body)
				}
			}
		}
	}
}

// TestStoreCalls holds it to the calls of the store that docs/design.md lists.
func TestStoreCalls(t *testing.T) {
	var faults sessiontest.Faults
	m, err := session.New(faults.Wrap(memstore.New(nil)), &session.Options{
		Secrets: []session.Secret{"a secret for measuring, no secret at all"}, NoStoreWarning: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	site := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/untouched":
		case "/read", "/anon":
			views.Get(session.From(r))
		case "/write", "/new":
			n, _ := views.Get(session.From(r))
			views.Set(session.From(r), n+1)
		case "/touch":
			session.From(r).Touch()
		case "/renew":
			session.From(r).RenewID()
		}
		_, _ = w.Write(page)
	}))
	cookie := ""
	for _, row := range []struct {
		path string
		want sessiontest.Calls
	}{
		{"/anon", sessiontest.Calls{}},
		{"/new", sessiontest.Calls{Save: 1}},
		{"/untouched", sessiontest.Calls{}},
		{"/read", sessiontest.Calls{Load: 1}},
		{"/write", sessiontest.Calls{Load: 1, Save: 1}},
		{"/touch", sessiontest.Calls{Load: 1, Touch: 1}},
		{"/renew", sessiontest.Calls{Load: 1, Save: 2}},
	} {
		faults.ResetCalls()
		r := httptest.NewRequest("GET", row.path, nil)
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		if c := w.Header().Get("Set-Cookie"); c != "" {
			cookie, _, _ = strings.Cut(c, ";")
		}
		if got := faults.Calls(); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.path, got, row.want)
		}
	}
}
