package adapters

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck/session"
)

// Whether gin and echo need an adapter of their own. They are http.Handlers, so
// that Manager.Handler goes around all of it; what each of these programs does is
// what an adapter would have to do better.

// A gate lets a handler wait in the middle of its response.
type gate struct{ arrived, open chan struct{} }

// frameworks has the same pages each:
//
//	/view      counts, and shows the count with the first byte
//	/json      counts, and answers with the framework's JSON
//	/redirect  counts, and redirects to /count
//	/count     shows the count
//	/file      counts, and sends a file
//	/nothing   counts, and answers with a status alone
//	/stream    counts, flushes, waits at the gate, counts again
//	/after     is answered before a middleware of the framework counts
//	/hijack    counts, takes over the connection and answers by hand
//	/fail      counts, and returns an error or aborts, as the framework has it
//	/panic     counts, and panics, which the framework recovers from
//	/login     signs in
//	/late      counts for the first time when the response has begun
var frameworks = []struct {
	name string
	new  func(file string, g gate) http.Handler
}{
	{"gin", ginFramework},
	{"echo v4", echo4Framework},
	{"echo v5", echo5Framework},
}

var counter = session.NewKey[int]("count", session.Sum)

// count is what every page does first: no framework has a part in it.
func count(r *http.Request) int {
	s := session.From(r)
	n, _ := counter.Get(s)
	counter.Set(s, n+1)
	return n + 1
}

func TestHandlerAroundAFramework(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file.txt")
	if err := os.WriteFile(file, []byte(strings.Repeat("text ", 20000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, fw := range frameworks {
		t.Run(fw.name, func(t *testing.T) {
			g := gate{make(chan struct{}), make(chan struct{})}
			store, faults := failing()
			m := newManager(t, store)
			srv := serve(t, m.Handler(fw.new(file, g)))
			saved := func(t *testing.T, c *client, want int) {
				t.Helper()
				c.shows(srv.URL+"/count", fmt.Sprint(want))
			}

			t.Run("what was changed is saved", func(t *testing.T) {
				c := newClient(t)
				c.shows(srv.URL+"/count", "0")
				c.shows(srv.URL+"/view", "1")
				saved(t, c, 1)
				c.shows(srv.URL+"/json", `{"count":2}`)
				saved(t, c, 2)
				c.shows(srv.URL+"/redirect", "3")
				if status, text := c.get(srv.URL + "/file"); status != 200 || len(text) != len(strings.Repeat("text ", 20000))-1 {
					t.Errorf("/file: %d, %d bytes", status, len(text))
				}
				saved(t, c, 4)
				if status, _ := c.get(srv.URL + "/nothing"); status != http.StatusNoContent {
					t.Errorf("/nothing: %d", status)
				}
				saved(t, c, 5)
				if status, _ := c.get(srv.URL + "/fail"); status != http.StatusTeapot {
					t.Errorf("/fail: %d", status)
				}
				saved(t, c, 6)
				if status, _ := c.get(srv.URL + "/panic"); status != http.StatusInternalServerError {
					t.Errorf("/panic: %d", status)
				}
				saved(t, c, 7)
				if status, _ := c.get(srv.URL + "/no such page"); status != http.StatusNotFound {
					t.Errorf("a page that is not there: %d", status)
				}
			})
			t.Run("a visitor without a session leaves no trace", func(t *testing.T) {
				faults.ResetCalls()
				resp, err := newClient(t).Get(srv.URL + "/count")
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if n := faults.ResetCalls().Total(); n != 0 || resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Vary") != "Cookie" {
					t.Errorf("%d calls of the store, %v", n, resp.Header)
				}
			})
			t.Run("the first byte comes when the session is saved, and the last one too", func(t *testing.T) {
				c := newClient(t)
				resp, err := c.Get(srv.URL + "/stream")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body := bufio.NewReader(resp.Body)
				line, err := body.ReadString('\n')
				if line != "1\n" || err != nil {
					t.Fatalf("%q, %v", line, err)
				}
				<-g.arrived // the handler is still at work
				saved(t, c, 1)
				g.open <- struct{}{}
				if rest, err := io.ReadAll(body); string(rest) != "2\n" || err != nil {
					t.Fatalf("%q, %v", rest, err)
				}
				saved(t, c, 2)
			})
			t.Run("a middleware changes it after the page", func(t *testing.T) {
				c := newClient(t)
				c.shows(srv.URL+"/view", "1")
				c.shows(srv.URL+"/after", "page")
				saved(t, c, 2)
			})
			t.Run("a connection is taken over", func(t *testing.T) {
				c := newClient(t)
				c.shows(srv.URL+"/view", "1")
				c.shows(srv.URL+"/hijack", "by hand: 2")
				saved(t, c, 2)
			})
			t.Run("a sign-in replaces the token", func(t *testing.T) {
				attacker := newClient(t)
				attacker.shows(srv.URL+"/view", "1")
				victim := attacker.copyCookies(srv)
				victim.shows(srv.URL+"/login", "hello")
				saved(t, victim, 1)
				saved(t, attacker, 0)
			})
			t.Run("a store that is down is 503, whatever the page says", func(t *testing.T) {
				c := newClient(t)
				c.shows(srv.URL+"/view", "1")
				defer faults.Reset()
				for _, op := range []string{"load", "save"} {
					faults.Reset()
					faults.Fail(op, errors.New("the server is down"))
					for _, path := range []string{"/view", "/json", "/redirect", "/nothing", "/file", "/login", "/fail", "/panic"} {
						if status, text := c.get(srv.URL + path); status != http.StatusServiceUnavailable || strings.Contains(text, "text") {
							t.Errorf("%s: %d %q", path, status, text)
						}
					}
				}
			})
			t.Run("a change that comes too late for its cookie cuts the response short", func(t *testing.T) {
				resp, err := newClient(t).Get(srv.URL + "/late")
				if err != nil {
					return // cut before the header has arrived
				}
				defer resp.Body.Close()
				if _, err := io.ReadAll(resp.Body); err == nil {
					t.Error("the client takes the response for whole")
				}
			})
			t.Run("one who is behind HTTP/1.0", func(t *testing.T) {
				conn, err := net.Dial("tcp", srv.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprintf(conn, "GET /view HTTP/1.0\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.Header.Get("Set-Cookie") == "" {
					t.Error("no cookie")
				}
			})
			t.Run("HTTP/2", func(t *testing.T) {
				srv := httptest.NewUnstartedServer(m.Handler(fw.new(file, g)))
				srv.EnableHTTP2 = true
				srv.StartTLS()
				defer srv.Close()
				c := newClient(t)
				c.Transport = srv.Client().Transport
				c.shows(srv.URL+"/view", "1")
				c.shows(srv.URL+"/redirect", "2")
			})
		})
	}
}
