// Package fibersession gives the handlers of fiber 3 their sessions.
//
//	app.Use(fibersession.New(sessions)) // a *session.Manager
//
//	app.Post("/login", func(c fiber.Ctx) error {
//		fibersession.From(c).SetSubject("23")
//		return c.Redirect().To("/")
//	})
//
// It is [session.Manager.Handler] that does the work: for each request of fiber
// it gets one of net/http with the same method, path, headers and connection, and
// its handler is what comes next in fiber. So everything that the package session says
// of a request holds here, its options too: cookies and their paths, the header
// in place of a cookie, OnError, Import, events.
//
// A response of fiber is sent when its handlers have returned, also one that is a
// stream. The session is saved before that, and whether or not the handlers
// return an error. Then its request is over: what writes the stream
// (SendStreamWriter) can read the session; a change is refused with
// [session.ErrRequestDone], so make it before.
//
// Put the middleware inside of those that change the response afterwards, like
// recover or compress. What answers by itself, [fiber.Ctx.End] and hijacked
// connections, does so without what the middleware adds: a new session's cookie.
package fibersession

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/url"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"

	"github.com/coatcheck/session"
)

// New returns a middleware that gives the requests of the handlers after it a
// session of the manager.
//
// A request came over HTTPS if fiber says so, which believes a proxy by its own
// Config.TrustProxy, or if the options of the manager do.
func New(m *session.Manager) fiber.Handler {
	return func(c fiber.Ctx) error {
		r := request(c)
		w := &response{header: make(http.Header)}
		var before fasthttp.ResponseHeader
		c.Response().Header.CopyTo(&before)
		var result error
		m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			c.SetContext(r.Context())
			result = c.Next()
			w.load(c)
		})).ServeHTTP(w, r)
		if w.status != 0 { // it has failed, and this is the answer
			w.replace(c, &before)
			return nil
		}
		w.store(c)
		return result
	}
}

// From returns the session of a request that came through the middleware. If it
// came through those of several managers, it is the innermost one's. From panics
// if it came through none.
func From(c fiber.Ctx) *session.Session {
	s, ok := session.FromContext(c.Context())
	if !ok {
		panic("fibersession: From: the request did not come through the middleware; add it before the handlers: app.Use(fibersession.New(sessions))")
	}
	return s
}

// FromManager returns the manager's session of a request that came through its
// middleware, whichever others it came through. It panics if it did not.
func FromManager(c fiber.Ctx, m *session.Manager) *session.Session {
	return m.From(new(http.Request).WithContext(c.Context()))
}

// request makes a request of net/http of one of fiber. It copies every text: what
// fiber hands out is overwritten by the next request, and a session may be used
// after that.
func request(c fiber.Ctx) *http.Request {
	from := c.Request()
	uri := string(from.Header.RequestURI())
	u, err := url.ParseRequestURI(uri)
	if err != nil { // fasthttp takes some that net/http does not
		u = &url.URL{Path: string(from.URI().Path()), RawQuery: string(from.URI().QueryString())}
	}
	r := &http.Request{
		Method:     string(from.Header.Method()),
		URL:        u,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header, from.Header.Len()),
		Host:       string(from.Header.Host()),
		RemoteAddr: c.RequestCtx().RemoteAddr().String(),
		RequestURI: uri,
		Body:       http.NoBody,
		TLS:        c.RequestCtx().TLSConnectionState(),
	}
	if r.TLS == nil && c.Scheme() == "https" {
		r.TLS = new(tls.ConnectionState) // it was, on the other side of a proxy that fiber trusts
	}
	for key, value := range from.Header.All() {
		name := http.CanonicalHeaderKey(string(key))
		r.Header[name] = append(r.Header[name], string(value))
	}
	return r.WithContext(c.Context())
}

// A response takes what the manager has to say, and nothing else is written to
// it: the handlers of fiber have a response of their own.
type response struct {
	header http.Header
	status int // not zero: the request has failed
	body   bytes.Buffer
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// shared are the headers that both sides may set.
var shared = []string{"Vary", "Cache-Control"}

// load shows the manager what the handlers have set of them.
func (w *response) load(c fiber.Ctx) {
	for _, name := range shared {
		for _, value := range c.Response().Header.PeekAll(name) {
			w.header[name] = append(w.header[name], string(value))
		}
	}
}

// store adds what the manager says to the response of the handlers.
func (w *response) store(c fiber.Ctx) {
	h := &c.Response().Header
	for _, name := range shared {
		if _, ok := w.header[name]; ok {
			h.Del(name)
		}
	}
	for name, values := range w.header {
		for _, value := range values {
			h.Add(name, value)
		}
	}
}

// replace puts the answer to a failure in the place of what the handlers have made.
func (w *response) replace(c fiber.Ctx, before *fasthttp.ResponseHeader) {
	c.Response().Reset()
	before.CopyTo(&c.Response().Header)
	c.Response().SetStatusCode(w.status)
	for name, values := range w.header {
		c.Response().Header.Del(name)
		for _, value := range values {
			c.Response().Header.Add(name, value)
		}
	}
	c.Response().SetBody(w.body.Bytes())
}
