package session

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
)

// contextKey is where From looks; managerKey is where [Manager.From] does.
type (
	contextKey struct{}
	managerKey struct{ m *Manager }
)

// An exchange is one request on its way through Handler: its context, its
// session, its response writer and its copy of the request, in one allocation.
// It is never used again: a handler may keep any of them for as long as it
// likes.
type exchange struct {
	context.Context
	session Session
	writer  responseWriter
	request http.Request
}

func (x *exchange) Value(key any) any {
	switch k := key.(type) {
	case contextKey:
		return &x.session
	case managerKey:
		if k.m == x.session.m {
			return &x.session
		}
	}
	return x.Context.Value(key)
}

// Handler returns a handler that gives next's requests a session. See the
// package comment for what happens to a request.
func (m *Manager) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
}

// serve is Handler's handler. As a function of its own it lets the compiler put
// the copy of the request into the exchange without allocating it.
func (m *Manager) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	x := &exchange{Context: r.Context()}
	x.session.m = m
	x.session.ctx = x.Context
	x.session.r = r
	x.session.handled = true
	x.request = *r.WithContext(x)
	x.writer.start(w, x)
	defer x.session.finish()
	if m.opts.Eager && !x.writer.load() {
		return
	}
	next.ServeHTTP(&x.writer, &x.request)
	// What the server looks at after a handler: without this the files of a
	// parsed upload stay behind, and an outer log does not see the route.
	r.MultipartForm, r.Pattern = x.request.MultipartForm, x.request.Pattern
	x.writer.finish()
}

// From returns the session of a request that came through [Manager.Handler]. If
// it came through those of several managers, it is the innermost one's. From
// panics if it came through none.
func From(r *http.Request) *Session {
	s, ok := FromContext(r.Context())
	if !ok {
		panic("session: From: the request did not come through the middleware; wrap the handler: http.ListenAndServe(addr, sessions.Handler(mux))")
	}
	return s
}

// FromContext returns the session of a request's context, if it has one.
func FromContext(ctx context.Context) (*Session, bool) {
	s, ok := ctx.Value(contextKey{}).(*Session)
	return s, ok
}

// From returns the manager's session of a request that came through its Handler,
// whichever other managers it came through. It panics if it did not.
func (m *Manager) From(r *http.Request) *Session {
	s, ok := m.FromContext(r.Context())
	if !ok {
		panic("session: Manager.From: the request did not come through the middleware of this manager; wrap the handler in its Handler")
	}
	return s
}

// FromContext returns the manager's session of a request's context, if it has
// one.
func (m *Manager) FromContext(ctx context.Context) (*Session, bool) {
	s, ok := ctx.Value(managerKey{m}).(*Session)
	return s, ok
}

// respond answers a request that failed because of its session.
func (m *Manager) respond(w http.ResponseWriter, r *http.Request, err error) {
	if m.opts.OnError != nil {
		e := &errorWriter{ResponseWriter: w}
		m.opts.OnError(e, r, err)
		if e.wrote {
			return
		}
		// One that only logs must not make it look like a success.
	}
	status, text := http.StatusInternalServerError, "The session of this request could not be saved."
	level := slog.LevelError
	var storeErr *StoreError
	switch {
	case errors.Is(err, ErrTooLarge):
	case errors.As(err, &storeErr):
		status, text = http.StatusServiceUnavailable, "The service cannot reach its sessions at the moment. Please try again soon."
		w.Header().Set("Retry-After", "1")
	case errors.Is(err, ErrEnded):
		status, text = http.StatusConflict, "The session has ended meanwhile. Please load the page again."
		level = slog.LevelInfo
	case errors.Is(err, ErrTooManySessions):
		status, text = http.StatusConflict, "You are signed in too many times. Please sign out somewhere else first."
		level = slog.LevelInfo
	}
	m.opts.Logger.Log(r.Context(), level, "session: request failed", "method", r.Method, "status", status, "err", err)
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}

// An errorWriter notices whether Options.OnError writes anything.
type errorWriter struct {
	http.ResponseWriter
	wrote bool
}

func (w *errorWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *errorWriter) WriteHeader(status int) {
	w.wrote = w.wrote || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

func (w *errorWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}
