package natstest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/natsstore"
)

// A visit by way of one server, and the next by way of another process and another
// server.
func TestTwoProcessesShareSessions(t *testing.T) {
	nodes := startCluster(t)
	views := session.NewKey[int]("views", session.Sum)
	visit := func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		if r.URL.Path == "/logout" {
			s.Destroy()
			return
		}
		if s.Subject() == "" {
			s.SetSubject("alice")
		}
		n, _ := views.Get(s)
		views.Set(s, n+1)
		fmt.Fprintf(w, "%s, visit %d", s.Subject(), n+1)
	}
	var handlers []http.Handler
	var managers []*session.Manager
	for _, n := range nodes {
		store := open(t, connect(t, n), natsstore.Options{Replicas: 3})
		m, err := session.New(store, &session.Options{Secrets: []session.Secret{session.Secret("0123456789abcdef0123456789abcdef")}})
		if err != nil {
			t.Fatal(err)
		}
		managers = append(managers, m)
		handlers = append(handlers, m.Handler(http.HandlerFunc(visit)))
	}
	var cookie *http.Cookie
	get := func(i int, path string) string {
		r := httptest.NewRequest("GET", "https://example.org"+path, nil)
		if cookie != nil {
			r.AddCookie(cookie)
		}
		w := httptest.NewRecorder()
		handlers[i].ServeHTTP(w, r)
		for _, c := range w.Result().Cookies() {
			cookie = c
		}
		if w.Code != http.StatusOK {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	for n := range 9 {
		if got, want := get(n%3, "/"), fmt.Sprintf("alice, visit %d", n+1); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	count := func(i int) (n int) {
		for _, err := range managers[i].List(context.Background(), "alice") {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	for i := range managers {
		if n := count(i); n != 1 {
			t.Errorf("alice has %d sessions, want 1", n)
		}
	}
	get(1, "/logout")
	for i := range managers {
		if n := count(i); n != 0 {
			t.Errorf("after the sign-out alice has %d sessions", n)
		}
	}
	if n, err := managers[2].RevokeAll(context.Background(), "alice"); n != 0 || err != nil {
		t.Errorf("RevokeAll: %d, %v", n, err)
	}
}
