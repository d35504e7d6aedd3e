package express

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// responseRules are the rules that only raw bytes show; the tests of this file
// assert both sides of them.
var responseRules = []string{"saved-before-first-byte", "failed-save-is-error", "failed-load-is-503"}

var patienceFlag = flag.Duration("patience", 20*time.Second, "for what happens at once unless something is broken")

// An event is what the application on either side reports.
type event struct {
	Event   string
	Port    int
	Written int64
	Count   int
	Whole   bool
}

// A server is one of the two applications.
type server struct {
	addr    string
	events  chan event
	release func()
}

func (s *server) wait(t *testing.T, name string) event {
	t.Helper()
	timeout := time.After(*patienceFlag)
	for {
		select {
		case e := <-s.events:
			if e.Event == name {
				return e
			}
		case <-timeout:
			t.Fatalf("%q did not happen", name)
		}
	}
}

func startExpress(t *testing.T) *server {
	t.Helper()
	if err := Installed("."); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "node/server.js")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	s := &server{events: make(chan event, 100), release: func() { _, _ = io.WriteString(in, "release\n") }}
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				s.events <- e
			}
		}
	}()
	s.addr = fmt.Sprintf("127.0.0.1:%d", s.wait(t, "listening").Port)
	return s
}

// A countedListener counts what is written to its connections.
type countedListener struct {
	net.Listener
	written *atomic.Int64
}

func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.written}, err
}

type countedConn struct {
	net.Conn
	written *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// A heldStore saves when it is told to.
type heldStore struct {
	*textStore
	s       *server
	mode    atomic.Value
	release chan struct{}
	written *atomic.Int64
}

var errDown = errors.New("the store is down")

func (h *heldStore) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	switch h.mode.Load() {
	case "fail":
		return 0, errDown
	case "hold":
		h.s.events <- event{Event: "held", Written: h.written.Load()}
		<-h.release
	}
	version, err := h.textStore.Save(ctx, rec)
	h.s.events <- event{Event: "saved", Count: len(h.records)}
	return version, err
}

func (h *heldStore) Load(ctx context.Context, id string) (session.Record, error) {
	if h.mode.Load() == "loadfail" {
		return session.Record{}, errDown
	}
	return h.textStore.Load(ctx, id)
}

func startOurs(t *testing.T) *server {
	t.Helper()
	written := new(atomic.Int64)
	s := &server{events: make(chan event, 100)}
	h := &heldStore{textStore: newTextStore(nil, time.Now), s: s, release: make(chan struct{}), written: written}
	h.mode.Store("")
	s.release = func() { h.release <- struct{}{} }
	o := baseOpts()
	opts, err := o.Options()
	if err != nil {
		t.Fatal(err)
	}
	m, err := session.New(h, opts)
	if err != nil {
		t.Fatal(err)
	}
	n := session.NewKey[int]("n")
	mux := http.NewServeMux()
	handle := func(path string, f http.HandlerFunc) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			count, _ := n.Get(session.From(r))
			n.Set(session.From(r), count+1)
			f(w, r)
		})
	}
	text := func(w http.ResponseWriter, s string) { _, _ = io.WriteString(w, s) }
	length := func(w http.ResponseWriter, s string) {
		w.Header().Set("Content-Length", fmt.Sprint(len(s)))
		text(w, s)
	}
	handle("/chunked", func(w http.ResponseWriter, r *http.Request) { text(w, "hello") })
	handle("/send", func(w http.ResponseWriter, r *http.Request) { text(w, "hello") })
	handle("/length", func(w http.ResponseWriter, r *http.Request) { length(w, "hello") })
	handle("/length1", func(w http.ResponseWriter, r *http.Request) { length(w, "x") })
	handle("/parts", func(w http.ResponseWriter, r *http.Request) {
		text(w, "hel")
		_ = http.NewResponseController(w).Flush()
		text(w, "lo")
	})
	handle("/empty", func(http.ResponseWriter, *http.Request) {})
	handle("/204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	handle("/304", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotModified) })
	handle("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/next", http.StatusFound) })
	handle("/error", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	inner := m.Handler(mux)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	srv := &http.Server{
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.mode.Store(r.Header.Get("X-Store"))
			defer func() { s.events <- event{Event: "closed"} }()
			inner.ServeHTTP(w, r)
		}),
	}
	go func() { _ = srv.Serve(countedListener{l, written}) }()
	t.Cleanup(func() { _ = srv.Close() })
	return s
}

// A response is what came over a raw connection.
type response struct {
	early string // before the save was done
	whole string
}

func (r response) status() string {
	line, _, _ := strings.Cut(r.whole, "\r\n")
	return strings.TrimPrefix(line, "HTTP/1.1 ")
}

func (r response) body(t *testing.T, method string) (string, error) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(r.whole)), &http.Request{Method: method})
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func dial(t *testing.T, s *server, method, path, mode string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(*patienceFlag))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nX-Store: %s\r\n", method, path, mode)
	if mode == "loadfail" {
		fmt.Fprintf(conn, "Cookie: connect.sid=%s\r\n", Signed("anybody", "keyboard cat"))
	}
	_, _ = io.WriteString(conn, "\r\n")
	return conn
}

// held makes a request whose save is held until all has arrived that is sent before.
func held(t *testing.T, s *server, method, path string, start int64) response {
	t.Helper()
	conn := dial(t, s, method, path, "hold")
	before := make([]byte, s.wait(t, "held").Written-start)
	if _, err := io.ReadFull(conn, before); err != nil {
		t.Fatal(err)
	}
	s.release()
	rest, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return response{string(before), string(before) + string(rest)}
}

func whole(t *testing.T, s *server, method, path, mode string) response {
	t.Helper()
	rest, err := io.ReadAll(dial(t, s, method, path, mode))
	if err != nil {
		t.Fatal(err)
	}
	return response{whole: string(rest)}
}

// TestWhatLeavesBeforeTheSave holds each save and looks at what the client has
// got by then.
func TestWhatLeavesBeforeTheSave(t *testing.T) {
	express, ours := startExpress(t), startOurs(t)
	var written int64 // of ours, by the requests before
	for _, c := range []struct {
		method, path string
		early        string // of the body, in Express; "-" if not even the header
		status       string
		body         string
	}{
		{"GET", "/chunked", "5\r\nhello\r\n", "200 OK", "hello"},
		{"GET", "/send", "hell", "200 OK", "hello"},
		{"GET", "/length", "hell", "200 OK", "hello"},
		{"GET", "/length1", "", "200 OK", "x"},
		{"GET", "/parts", "3\r\nhel\r\n2\r\nlo\r\n", "200 OK", "hello"},
		{"GET", "/empty", "-", "200 OK", ""},
		{"GET", "/204", "-", "204 No Content", ""},
		{"GET", "/304", "-", "304 Not Modified", ""},
		{"GET", "/redirect", "Found. Redirecting to /nex", "302 Found", "*"},
		{"HEAD", "/length", "-", "200 OK", ""},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			e := held(t, express, c.method, c.path, 0)
			head, body, sent := strings.Cut(e.early, "\r\n\r\n")
			switch {
			case c.early == "-" && sent:
				t.Errorf("Express sent %q before the save", e.early)
			case c.early != "-" && (!sent || body != c.early):
				t.Errorf("Express sent %q before the save, want a header and %q", e.early, c.early)
			case c.early != "-" && !strings.Contains(head, "Set-Cookie: connect.sid="):
				t.Errorf("Express sent no cookie before the save: %q", head)
			}
			o := held(t, ours, c.method, c.path, written)
			written += int64(len(o.whole))
			if o.early != "" {
				t.Errorf("ours sent %q before the save", o.early)
			}
			for side, r := range map[string]response{"Express": e, "ours": o} {
				if r.status() != c.status {
					t.Errorf("%s answers %q, want %q", side, r.status(), c.status)
				}
				if !strings.Contains(r.whole, "Set-Cookie: connect.sid=s%3A") {
					t.Errorf("%s sends no cookie: %q", side, r.whole)
				}
				got, err := r.body(t, c.method)
				if err != nil || c.body != "*" && got != c.body {
					t.Errorf("the body from %s is %q, %v", side, got, err)
				}
			}
			if c.path == "/redirect" {
				for side, r := range map[string]response{"Express": e, "ours": o} {
					if !strings.Contains(r.whole, "\r\nLocation: /next\r\n") {
						t.Errorf("%s does not redirect: %q", side, r.whole)
					}
				}
			}
		})
	}
}

// TestStoreFails: Express sends the page and a cookie that leads nowhere; ours
// sends nothing of the page.
func TestStoreFails(t *testing.T) {
	express, ours := startExpress(t), startOurs(t)
	for _, path := range []string{"/chunked", "/length", "/parts", "/empty", "/204", "/redirect"} {
		e := whole(t, express, "GET", path, "fail")
		if !strings.Contains(e.whole, "Set-Cookie: connect.sid=") || strings.HasPrefix(e.status(), "5") {
			t.Errorf("%s: Express answers %q when the store fails", path, e.whole)
		}
		o := whole(t, ours, "GET", path, "fail")
		if o.status() != "503 Service Unavailable" || strings.Contains(o.whole, "Set-Cookie") || strings.Contains(o.whole, "hel") || strings.Contains(o.whole, "Location") {
			t.Errorf("%s: ours answers %q when the store fails", path, o.whole)
		}
	}
	e, o := whole(t, express, "GET", "/length", "loadfail"), whole(t, ours, "GET", "/length", "loadfail")
	if e.status() != "500 Internal Server Error" || strings.Contains(e.whole, "hello") {
		t.Errorf("Express answers %q when loading fails", e.whole)
	}
	if o.status() != "503 Service Unavailable" || strings.Contains(o.whole, "hello") {
		t.Errorf("ours answers %q when loading fails", o.whole)
	}
}

// TestErrorInHandler: Express saves what a handler did before it threw; ours
// cuts the connection and saves nothing.
func TestErrorInHandler(t *testing.T) {
	express, ours := startExpress(t), startOurs(t)
	e := held(t, express, "GET", "/error", 0)
	if !strings.Contains(e.early, "Set-Cookie: connect.sid=") || e.status() != "500 Internal Server Error" {
		t.Errorf("Express answers %q, of which %q before the save", e.whole, e.early)
	}
	o := whole(t, ours, "GET", "/error", "")
	if o.whole != "" {
		t.Errorf("ours answers %q", o.whole)
	}
	if e := ours.wait(t, "closed"); e.Event != "closed" {
		t.Error(e)
	}
	select {
	case e := <-ours.events:
		t.Errorf("after a panic: %+v", e)
	default:
	}
}

// TestClientGone: both save what was changed for a client that has gone.
func TestClientGone(t *testing.T) {
	for name, s := range map[string]*server{"Express": startExpress(t), "ours": startOurs(t)} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, s, "GET", "/length", "hold")
			s.wait(t, "held")
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			s.release()
			if got := s.wait(t, "saved").Count; got != 1 {
				t.Errorf("%d records are saved", got)
			}
		})
	}
}
