package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A contender is a way to serve the routes that every library has to serve.
type contender struct {
	name string
	// site returns the handler of a route for sessions of the given size, which
	// holds "views", a number, and padding.
	site func(tb testing.TB, route string, size int) http.Handler
}

// routes are what is measured: what the handler does, and whether the request
// comes with a session.
var routes = []struct {
	name   string
	cookie bool
}{
	{"anon", false},     // reads a key; there is no session
	{"untouched", true}, // does not look at its session
	{"read", true},      // reads a key
	{"write", true},     // reads a key and changes it
	{"new", false},      // begins a session
	{"renew", true},     // gives the session a new token
	{"touch", true},     // reads a key and extends the session's life
}

func BenchmarkServe(b *testing.B) {
	for _, size := range []int{300, 4096} {
		for _, route := range routes {
			for _, c := range contenders {
				b.Run(fmt.Sprintf("%s/%d/%s", route.name, size, c.name), func(b *testing.B) {
					serve(b, c.site(b, route.name, size), route.name, route.cookie, size)
				})
			}
		}
	}
}

const sessionsInRotation = 256

// serve calls the handler with the requests of some sessions in turn.
func serve(b *testing.B, site http.Handler, route string, cookie bool, size int) {
	if site == nil {
		b.Skip("the library has no such thing")
	}
	requests := make([]*http.Request, 1)
	if cookie {
		requests = make([]*http.Request, sessionsInRotation)
	}
	for i := range requests {
		requests[i] = httptest.NewRequest("GET", "/"+route, nil)
		if cookie {
			requests[i].Header.Set("Cookie", begin(site))
		}
	}
	w := &nullWriter{header: http.Header{}}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		r := requests[i%len(requests)]
		i++
		site.ServeHTTP(w, r)
		if route == "renew" { // the next request comes with the new token
			if c := pairs(w.header); c != "" {
				r.Header["Cookie"][0] = c
			}
		}
	}
	if w.status != 0 && w.status != http.StatusOK {
		b.Fatalf("status %d", w.status)
	}
}

// pairs returns the cookies that a response sets, as a request shows them.
func pairs(h http.Header) string {
	var all []string
	for _, line := range h["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		if _, value, _ := strings.Cut(pair, "="); value != "" {
			all = append(all, pair)
		}
	}
	return strings.Join(all, "; ")
}

// begin opens a session and returns its cookies.
func begin(site http.Handler) string {
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest("GET", "/new", nil))
	c := pairs(w.Header())
	if c == "" {
		return "other=1; session=s%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // the handlers without sessions
	}
	return c
}

type nullWriter struct {
	header http.Header
	status int
}

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) WriteHeader(status int)      { w.status = status }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }

var page = []byte("a page\n")

// A pair is a key of a session and its value.
type pair struct{ key, value string }

// fill is what a session holds besides "views": four texts for 300 bytes, forty
// for 4096. Begun while measuring, it has one: what is measured is beginning.
func fill(route string, size int) []pair {
	n := 4
	if size > 1000 {
		n = 40
	}
	pairs := make([]pair, n)
	for i := range pairs {
		key := fmt.Sprintf("key%02d", i)
		pairs[i] = pair{key, strings.Repeat("v", size/n-len(key)-6)}
	}
	if route == "new" {
		pairs = pairs[:1]
	}
	return pairs
}
