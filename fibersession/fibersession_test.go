package fibersession_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	fiberrecover "github.com/gofiber/fiber/v3/middleware/recover"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/fibersession"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

var (
	errDown = errors.New("the server is down")
	count   = session.NewKey[int]("count", session.Sum)
)

// A site is a fiber application with sessions, on a real server.
type site struct {
	*session.Manager
	t      *testing.T
	app    *fiber.App
	faults *sessiontest.Faults
	client *http.Client
	url    string
}

func newSite(t *testing.T, routes func(st *site), edit ...func(*session.Options, *fiber.Config)) *site {
	t.Helper()
	st := &site{t: t, faults: new(sessiontest.Faults), client: &http.Client{Transport: new(http.Transport)}}
	opts := &session.Options{
		Secrets:        []session.Secret{"a secret of a test, of 32 bytes or more"},
		Logger:         slog.New(slog.DiscardHandler),
		NoStoreWarning: true,
	}
	config := fiber.Config{ReadTimeout: 10 * time.Second} // for the end of connections on which nothing came
	for _, f := range edit {
		f(opts, &config)
	}
	var err error
	if st.Manager, err = session.New(st.faults.Wrap(memstore.New(nil)), opts); err != nil {
		t.Fatal(err)
	}
	st.app = fiber.New(config)
	st.app.Use(func(c fiber.Ctx) error {
		c.Set("X-Outer", "kept")
		return c.Next()
	})
	st.app.Use(fiberrecover.New(), fibersession.New(st.Manager))
	st.app.Get("/who", who)
	st.app.Get("/count", func(c fiber.Ctx) error {
		n, _ := count.Get(fibersession.From(c))
		count.Set(fibersession.From(c), n+1)
		return c.SendString(fmt.Sprint(n + 1))
	})
	st.app.Post("/login", func(c fiber.Ctx) error {
		fibersession.From(c).SetSubject(c.FormValue("user"))
		return c.SendStatus(fiber.StatusNoContent)
	})
	st.app.Post("/logout", func(c fiber.Ctx) error {
		fibersession.From(c).Destroy()
		return nil
	})
	st.app.Get("/static", func(c fiber.Ctx) error { return c.SendString("no session") })
	if routes != nil {
		routes(st)
	}
	st.url = "http://" + listen(t, st.app, nil)
	t.Cleanup(st.client.CloseIdleConnections)
	return st
}

// listen serves the application on a free port until the test ends.
func listen(t *testing.T, app *fiber.App, config *tls.Config) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	done := make(chan error, 1)
	go func() { done <- app.Listener(ln, fiber.ListenConfig{DisableStartupMessage: true}) }()
	t.Cleanup(func() {
		err := app.ShutdownWithTimeout(time.Minute)
		_ = ln.Close() // Shutdown does not if it is faster than Listener
		if err := errors.Join(err, <-done); err != nil {
			t.Error(err)
		}
	})
	return addr
}

func who(c fiber.Ctx) error {
	s := fibersession.From(c)
	if s.IsNew() {
		return c.SendString("nobody")
	}
	n, _ := count.Get(s)
	return c.SendString(fmt.Sprintf("%q %d", s.Subject(), n))
}

// A browser keeps a cookie over plain HTTP, as browsers do for localhost.
type browser struct {
	st     *site
	cookie string
}

func (st *site) browser() *browser { return &browser{st: st} }

func (b *browser) do(method, path string, edit ...func(*http.Request)) (*http.Response, string) {
	b.st.t.Helper()
	var body io.Reader
	path, form, _ := strings.Cut(path, "#")
	if form != "" {
		body = strings.NewReader(form)
	}
	req, err := http.NewRequestWithContext(b.st.t.Context(), method, b.st.url+path, body)
	if err != nil {
		b.st.t.Fatal(err)
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.cookie != "" {
		req.Header.Set("Cookie", b.cookie)
	}
	for _, f := range edit {
		f(req)
	}
	resp, err := b.st.client.Do(req)
	if err != nil {
		b.st.t.Error(err)
		return &http.Response{Header: http.Header{}}, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.st.t.Error(err)
	}
	for _, c := range resp.Cookies() {
		if b.cookie = c.Name + "=" + c.Value; c.Value == "" {
			b.cookie = ""
		}
	}
	return resp, string(text)
}

func (b *browser) get(path string) string {
	_, text := b.do("GET", path)
	return text
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestAVisit(t *testing.T) {
	st := newSite(t, nil)
	b := st.browser()
	resp, _ := b.do("GET", "/static")
	if resp.Header.Get("Vary") != "" || b.cookie != "" || st.faults.Calls() != (sessiontest.Calls{}) {
		t.Errorf("a request that does not use its session: %v, %+v", resp.Header, st.faults.Calls())
	}
	resp, text := b.do("GET", "/who")
	equal(t, "a stranger", text, "nobody")
	equal(t, "Vary", resp.Header.Get("Vary"), "Cookie")
	equal(t, "calls of the store", st.faults.Calls(), sessiontest.Calls{})

	resp, text = b.do("GET", "/count")
	equal(t, "the first count", text, "1")
	equal(t, "Cache-Control", resp.Header.Get("Cache-Control"), "no-store")
	equal(t, "an outer header", resp.Header.Get("X-Outer"), "kept")
	set := resp.Header.Get("Set-Cookie")
	if !strings.HasPrefix(set, "__Host-session=s%3A") || !strings.HasSuffix(set, "; Path=/; HttpOnly; Secure; SameSite=Lax") {
		t.Errorf("Set-Cookie: %q", set)
	}
	equal(t, "the second count", b.get("/count"), "2")
	resp, _ = b.do("GET", "/count")
	equal(t, "Set-Cookie where it is not needed", resp.Header.Get("Set-Cookie"), "")
}

func TestSignInAndOut(t *testing.T) {
	st := newSite(t, nil)
	b := st.browser()
	b.get("/count")
	planted := b.cookie
	b.do("POST", "/login#user=ada")
	if b.cookie == planted {
		t.Error("the token is the same after the sign-in")
	}
	equal(t, "signed in", b.get("/who"), `"ada" 1`)
	equal(t, "who has planted the cookie", (&browser{st, planted}).get("/who"), "nobody")
	n := 0
	for _, err := range st.List(context.Background(), "ada") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	equal(t, "sessions of the subject", n, 1)
	stolen := b.cookie
	b.do("POST", "/logout")
	equal(t, "the cookie after the sign-out", b.cookie, "")
	equal(t, "who has stolen the cookie", (&browser{st, stolen}).get("/who"), "nobody")
}

func TestTheClientCannotChooseItsSession(t *testing.T) {
	st := newSite(t, nil)
	b := st.browser()
	b.get("/count")
	for name, cookie := range map[string]string{
		"forged":          b.cookie + "x",
		"unsigned":        "__Host-session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"of another name": strings.Replace(b.cookie, "__Host-", "", 1),
	} {
		other := &browser{st, cookie}
		equal(t, name, other.get("/who"), "nobody")
		if strings.HasPrefix(cookie, "__Host-") {
			equal(t, name+": the cookie", other.cookie, "")
		}
	}
	for name, cookie := range map[string]string{
		"the second of two of the name": "__Host-session=planted; " + b.cookie,
		"the first of two of the name":  b.cookie + "; __Host-session=planted",
		"without escapes":               strings.Replace(b.cookie, "%3A", ":", 1),
		"in quotes":                     strings.Replace(b.cookie, "=", `="`, 1) + `"`,
	} {
		equal(t, name, (&browser{st, cookie}).get("/who"), `"" 1`)
	}
}

func TestConcurrentRequests(t *testing.T) {
	st := newSite(t, nil)
	b := st.browser()
	b.get("/count")
	const n = 20
	var wait sync.WaitGroup
	for range n {
		wait.Go(func() {
			other := *b
			if resp, _ := other.do("GET", "/count"); resp.StatusCode != http.StatusOK {
				t.Error(resp.Status)
			}
		})
	}
	wait.Wait()
	equal(t, "the count", b.get("/who"), fmt.Sprintf(`"" %d`, n+1))
}

// Nothing of the page leaves if its session could not be loaded or saved.
func TestAStoreThatIsDown(t *testing.T) {
	page := func(st *site) {
		st.app.Get("/page", func(c fiber.Ctx) error {
			c.Set("X-Page", "1")
			c.Cookie(&fiber.Cookie{Name: "page", Value: "1"})
			fibersession.From(c).Set("a", time.Now().UnixNano())
			return c.Type("html").Status(201).SendString("<p>the page")
		})
		st.app.Get("/stream", func(c fiber.Ctx) error {
			fibersession.From(c).Set("a", time.Now().UnixNano())
			return c.SendStream(strings.NewReader("the stream"))
		})
		st.app.Get("/error", func(c fiber.Ctx) error {
			fibersession.From(c).Set("a", time.Now().UnixNano())
			return fiber.NewError(404, "the page is missing")
		})
	}
	for name, row := range map[string]struct {
		op    string
		edit  func(*session.Options, *fiber.Config)
		check func(t *testing.T, resp *http.Response, text string)
	}{
		"it does not load": {op: "load"},
		"it does not save": {op: "save"},
		"it does not load, and sessions are loaded eagerly": {op: "load", edit: func(o *session.Options, _ *fiber.Config) { o.Eager = true }},
		"OnError answers": {op: "save",
			edit: func(o *session.Options, _ *fiber.Config) {
				o.OnError = func(w http.ResponseWriter, r *http.Request, err error) {
					w.Header().Set("X-Own", r.URL.Path)
					w.WriteHeader(http.StatusTeapot)
					fmt.Fprint(w, errors.Is(err, errDown))
				}
			},
			check: func(t *testing.T, resp *http.Response, text string) {
				if resp.StatusCode != http.StatusTeapot || text != "true" || resp.Header.Get("X-Own") != resp.Request.URL.Path {
					t.Errorf("%s %v %q", resp.Status, resp.Header, text)
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			edit := row.edit
			if edit == nil {
				edit = func(*session.Options, *fiber.Config) {}
			}
			st := newSite(t, page, edit)
			b := st.browser()
			b.get("/count")
			cookie := b.cookie
			for _, path := range []string{"/page", "/stream", "/error"} {
				st.faults.Fail(row.op, errDown)
				resp, text := b.do("GET", path)
				st.faults.Fail(row.op, nil)
				if resp.Header.Get("X-Page") != "" || len(resp.Cookies()) > 0 || resp.Header.Get("X-Outer") != "kept" {
					t.Errorf("%s: the header of the answer is %v", path, resp.Header)
				}
				if row.check != nil {
					row.check(t, resp, text)
					continue
				}
				if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" ||
					resp.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(text, "The service cannot reach") {
					t.Errorf("%s: %s %v %q", path, resp.Status, resp.Header, text)
				}
			}
			equal(t, "the cookie", b.cookie, cookie)
			equal(t, "when it is up again", b.get("/who"), `"" 1`)
		})
	}
}

// The session is saved when a handler returns an error, and not when it panics.
func TestHandlersThatFail(t *testing.T) {
	st := newSite(t, func(st *site) {
		st.app.Get("/error", func(c fiber.Ctx) error {
			count.Set(fibersession.From(c), 7)
			return fiber.NewError(404, "missing")
		})
		st.app.Get("/panic", func(c fiber.Ctx) error {
			count.Set(fibersession.From(c), 9)
			panic("oh")
		})
	})
	b := st.browser()
	resp, text := b.do("GET", "/error")
	if resp.StatusCode != 404 || text != "missing" {
		t.Error(resp.Status, text)
	}
	equal(t, "after an error", b.get("/who"), `"" 7`)
	resp, _ = b.do("GET", "/panic")
	equal(t, "status of a panic", resp.StatusCode, 500)
	equal(t, "after a panic", b.get("/who"), `"" 7`)
}

// A stream is written when the handlers have returned: its cookie is there before
// the first byte, its session can be read, and changes are refused.
func TestStreams(t *testing.T) {
	refused := make(chan error, 1)
	seen := make(chan struct{}) // closed when the client has the header
	st := newSite(t, func(st *site) {
		st.app.Get("/stream", func(c fiber.Ctx) error {
			s := fibersession.From(c)
			count.Set(s, 5)
			return c.SendStreamWriter(func(w *bufio.Writer) {
				n, _ := count.Get(s)
				fmt.Fprintf(w, "first %d\n", n)
				_ = w.Flush()
				<-seen
				count.Set(s, 6)
				refused <- s.Err()
				fmt.Fprint(w, "last")
			})
		})
	})
	resp, err := st.client.Get(st.url + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	other := &browser{st, cookie}
	equal(t, "while it is written", other.get("/who"), `"" 5`)
	close(seen)
	text, err := io.ReadAll(resp.Body)
	if err != nil || string(text) != "first 5\nlast" {
		t.Errorf("the stream: %q, %v", text, err)
	}
	if err := <-refused; !errors.Is(err, session.ErrRequestDone) {
		t.Error("a change in a stream:", err)
	}
	equal(t, "after the stream", other.get("/who"), `"" 5`)
}

// The texts of fiber are overwritten by later requests; nothing of a session may
// be made of them.
func TestNothingOfFibersBuffersIsKept(t *testing.T) {
	var mu sync.Mutex
	var kept []*session.Session
	st := newSite(t, func(st *site) {
		st.app.Post("/keep", func(c fiber.Ctx) error {
			s := fibersession.From(c)
			s.SetSubject(c.FormValue("user"))
			s.Set("name", c.FormValue("user"))
			s.Set("from", c.Get("X-From"))
			mu.Lock()
			defer mu.Unlock()
			kept = append(kept, s)
			return nil
		})
	}, func(o *session.Options, _ *fiber.Config) {
		o.CookieFunc = func(r *http.Request, c session.Cookie) session.Cookie {
			c.Domain, c.Path = r.Header.Get("X-From"), r.RequestURI
			return c
		}
		o.Cookie.Name = "sid"
	})
	const n = 50
	name := func(i int) string { return fmt.Sprintf("user-%04d", i) }
	var readers sync.WaitGroup
	stop := make(chan struct{})
	readers.Go(func() { // another goroutine reads them all the time, for the race detector
		for {
			select {
			case <-stop:
				return
			default:
			}
			mu.Lock()
			all := kept
			mu.Unlock()
			for _, s := range all {
				got, _ := session.Get[string](s, "name")
				if !strings.HasPrefix(got, "user-") || !strings.HasPrefix(s.Subject(), "user-") || s.Cookie().Path != "/keep" {
					t.Errorf("a session reads %q %q %q", got, s.Subject(), s.Cookie().Path)
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
	browsers := make([]*browser, n)
	for i := range n { // over one connection, whose buffers are used again each time
		browsers[i] = st.browser()
		resp, _ := browsers[i].do("POST", "/keep#user="+name(i), func(r *http.Request) { r.Header.Set("X-From", "host-"+name(i)) })
		equal(t, "status", resp.StatusCode, 200)
	}
	close(stop)
	readers.Wait()
	for i, s := range kept {
		got, _ := session.Get[string](s, "name")
		from, _ := session.Get[string](s, "from")
		if got != name(i) || from != "host-"+name(i) || s.Cookie().Domain != "host-"+name(i) || s.Cookie().Path != "/keep" || s.Subject() != name(i) || s.Record().Subject != name(i) {
			t.Fatalf("session %d reads %q %q %q", i, got, from, s.Subject())
		}
		_, text := browsers[i].do("GET", "/who", func(r *http.Request) { r.Header.Set("X-From", "x.test") })
		equal(t, "the session in the store", text, fmt.Sprintf("%q 0", name(i)))
	}
	listed := 0
	for rec, err := range st.All(context.Background()) {
		if err != nil || !strings.Contains(string(rec.Data), rec.Subject) {
			t.Error(err, rec.Subject, string(rec.Data))
		}
		listed++
	}
	equal(t, "sessions in the store", listed, n)
}

func TestHeaderTransport(t *testing.T) {
	st := newSite(t, nil, func(o *session.Options, _ *fiber.Config) { o.Header = "X-Session-Token" })
	b := st.browser()
	resp, _ := b.do("GET", "/count")
	token := resp.Header.Get("X-Session-Token")
	if token == "" || len(resp.Cookies()) > 0 {
		t.Fatalf("%v", resp.Header)
	}
	equal(t, "Vary", resp.Header.Get("Vary"), "X-Session-Token")
	_, text := b.do("GET", "/count", func(r *http.Request) { r.Header.Set("X-Session-Token", token) })
	equal(t, "the second count", text, "2")
}

func TestWhatTheOptionsSayOfRequests(t *testing.T) {
	secure := func(resp *http.Response) bool { return strings.Contains(resp.Header.Get("Set-Cookie"), "; Secure") }
	auto := session.Cookie{Secure: session.SecureAuto}
	https := func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }
	trusting := func(c *fiber.Config) {
		c.TrustProxy, c.TrustProxyConfig = true, fiber.TrustProxyConfig{Loopback: true}
	}
	for name, row := range map[string]struct {
		edit   func(*session.Options, *fiber.Config)
		change func(*http.Request)
		secure bool
	}{
		"plain HTTP":                     {func(o *session.Options, _ *fiber.Config) { o.Cookie = auto }, nil, false},
		"a proxy that nobody trusts":     {func(o *session.Options, _ *fiber.Config) { o.Cookie = auto }, https, false},
		"a proxy that fiber trusts":      {func(o *session.Options, c *fiber.Config) { o.Cookie = auto; trusting(c) }, https, true},
		"a proxy that the options trust": {func(o *session.Options, _ *fiber.Config) { o.Cookie, o.TrustProxy = auto, true }, https, true},
		"a function that looks at the request": {func(o *session.Options, _ *fiber.Config) {
			o.Cookie, o.IsHTTPS = auto, func(r *http.Request) bool { return r.Host != "" && r.RemoteAddr != "" }
		}, nil, true},
	} {
		st := newSite(t, nil, row.edit)
		b := st.browser()
		change := row.change
		if change == nil {
			change = func(*http.Request) {}
		}
		resp, _ := b.do("GET", "/count", change)
		if b.cookie == "" || secure(resp) != row.secure {
			t.Errorf("%s: Set-Cookie %q", name, resp.Header.Get("Set-Cookie"))
		}
	}

	// TLS of fiber's own.
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	st := newSite(t, nil, func(o *session.Options, _ *fiber.Config) { o.Cookie = auto })
	overTLS := fiber.New()
	overTLS.Use(fibersession.New(st.Manager))
	overTLS.Get("/count", func(c fiber.Ctx) error { count.Set(fibersession.From(c), 1); return nil })
	addr := listen(t, overTLS, cert.TLS)
	resp, err := cert.Client().Get("https://" + addr + "/count")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	equal(t, "Secure over TLS", secure(resp), true)

	// The path of the cookie, its domain, and a function that makes it.
	st = newSite(t, func(st *site) {
		st.app.Get("/app/who", who)
		st.app.Get("/application", who)
		st.app.Get("/app/count", func(c fiber.Ctx) error { count.Set(fibersession.From(c), 1); return nil })
	},
		func(o *session.Options, _ *fiber.Config) {
			o.Cookie = session.Cookie{Path: "/app", Domain: "example.test"}
			o.CookieFunc = func(r *http.Request, c session.Cookie) session.Cookie {
				if r.URL.Query().Get("script") != "" {
					c.AllowScript = true
				}
				return c
			}
		})
	b := st.browser()
	resp2, _ := b.do("GET", "/count")
	equal(t, "a change outside of the path", resp2.StatusCode, 500)
	resp2, _ = b.do("GET", "/app/count?script=1")
	if set := resp2.Header.Get("Set-Cookie"); !strings.Contains(set, "Domain=example.test; Path=/app;") || strings.Contains(set, "HttpOnly") {
		t.Errorf("Set-Cookie: %q", set)
	}
	equal(t, "inside of the path", b.get("/app/who"), `"" 1`)
	equal(t, "beside the path", b.get("/application"), "nobody")
}

func TestCachingThatTheHandlerHasChosen(t *testing.T) {
	st := newSite(t, func(st *site) {
		st.app.Get("/cached", func(c fiber.Ctx) error {
			c.Set("Cache-Control", "private, max-age=60")
			c.Vary("Accept-Language")
			c.Cookie(&fiber.Cookie{Name: "other", Value: "1"})
			count.Set(fibersession.From(c), 1)
			return nil
		})
	})
	resp, _ := st.browser().do("GET", "/cached")
	equal(t, "Cache-Control", strings.Join(resp.Header["Cache-Control"], "|"), "private, max-age=60")
	equal(t, "Vary", strings.Join(resp.Header["Vary"], ", "), "Accept-Language, Cookie")
	equal(t, "cookies", len(resp.Cookies()), 2)
}

func TestSeveralManagers(t *testing.T) {
	other := newSite(t, nil, func(o *session.Options, _ *fiber.Config) { o.Cookie.Name = "__Host-admin" })
	st := newSite(t, func(st *site) {
		group := st.app.Group("/admin", fibersession.New(other.Manager))
		group.Get("/count", func(c fiber.Ctx) error {
			count.Set(fibersession.From(c), 1)
			count.Set(fibersession.FromManager(c, st.Manager), 2)
			return nil
		})
	})
	resp, _ := st.browser().do("GET", "/admin/count")
	equal(t, "cookies", len(resp.Cookies()), 2)
	equal(t, "sessions of the site", must(st.Count(t.Context())), 1)
	equal(t, "sessions of the other", must(other.Count(t.Context())), 1)
}

func must(n int, err error) int {
	if err != nil {
		panic(err)
	}
	return n
}

func TestFromOutsideOfTheMiddleware(t *testing.T) {
	app := fiber.New()
	app.Get("/", func(c fiber.Ctx) (err error) {
		defer func() { err = c.SendString(fmt.Sprint(recover())) }()
		fibersession.From(c)
		return nil
	})
	resp, err := http.Get("http://" + listen(t, app, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if !strings.Contains(string(text), "app.Use(fibersession.New(sessions))") {
		t.Errorf("%s", text)
	}
}
