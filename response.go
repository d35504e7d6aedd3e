package session

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// A responseWriter commits the session before the first byte of the response,
// and once more before its end.
//
// Its methods pass on what the wrapped writer can do; where that cannot, they
// say so as http.ResponseController expects it.
type responseWriter struct {
	http.ResponseWriter
	x *exchange

	wrote    bool  // the header has been passed on
	hijacked bool  //
	failed   error // the response is no longer the handler's
	before   http.Header

	// With a Content-Length the client would know the end of the response when
	// its last byte arrives. So that byte waits for the last commit.
	length  int64 // bytes of the body announced, -1 if none are
	written int64
	held    bool
	last    [1]byte
	empty   bool // there is no body, and the client would see the end with the header

	setCookie, vary, cacheControl [1]string // the texts of header fields, kept here to save allocations
}

func (w *responseWriter) start(inner http.ResponseWriter, x *exchange) {
	w.ResponseWriter, w.x = inner, x
	w.length = -1
	if h := inner.Header(); len(h) > 0 {
		w.before = maps.Clone(h)
	}
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// load loads the session at once, and reports whether the request can go on.
func (w *responseWriter) load() bool {
	s := &w.x.session
	s.use()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		w.fail(err)
		return false
	}
	return true
}

// begin commits the session and readies the header.
func (w *responseWriter) begin(cookie bool) error {
	s := &w.x.session
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.m.commit(s.ctx, s, cookie)
	if err != nil {
		return err
	}
	s.late = true
	if s.opened && cookie {
		w.mark(d)
	}
	return nil
}

// mark writes what the client and caches must know into the header.
func (w *responseWriter) mark(d Directive) {
	m := w.x.session.m
	h := w.Header()
	on := "Cookie"
	if m.header != "" {
		on = m.header
	}
	w.addVary(h, on)
	if d.Action == Keep && len(d.MoreCookies) == 0 {
		return
	}
	switch {
	case m.header != "" && d.Action != Keep:
		h.Set(m.header, d.Token.Reveal())
	case d.SetCookie != "":
		w.setCookie[0] = d.SetCookie.Reveal()
		if have := h["Set-Cookie"]; len(have) > 0 {
			h["Set-Cookie"] = append(have, w.setCookie[0])
		} else {
			h["Set-Cookie"] = w.setCookie[:]
		}
	}
	if len(d.MoreCookies) > 0 {
		w.addVary(h, "Cookie")
		for _, c := range d.MoreCookies {
			h["Set-Cookie"] = append(h["Set-Cookie"], c.Reveal())
		}
	}
	if _, chosen := h["Cache-Control"]; !chosen {
		w.cacheControl[0] = "no-store"
		h["Cache-Control"] = w.cacheControl[:]
	}
}

func (w *responseWriter) addVary(h http.Header, on string) {
	have := h["Vary"]
	if len(have) == 0 {
		w.vary[0] = on
		h["Vary"] = w.vary[:]
		return
	}
	for _, line := range have {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, on) {
				return
			}
		}
	}
	h["Vary"] = append(have, on)
}

// fail takes the response from the handler: whatever it has prepared is
// discarded, and whatever it still writes.
func (w *responseWriter) fail(err error) {
	w.failed = err
	w.wrote = true
	h := w.Header()
	clear(h)
	maps.Copy(h, w.before)
	s := &w.x.session
	s.mu.Lock()
	d := s.forget()
	s.mu.Unlock()
	if d.Action != Keep {
		w.mark(d)
	}
	s.m.respond(w.ResponseWriter, s.r, err)
}

func (w *responseWriter) WriteHeader(status int) {
	switch {
	case w.failed != nil:
		return
	case w.wrote:
		w.ResponseWriter.WriteHeader(status) // net/http complains about it
		return
	case 100 <= status && status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status) // not the response yet
		return
	}
	if err := w.begin(true); err != nil {
		w.fail(err)
		return
	}
	w.wrote = true
	w.measure(status)
	w.ResponseWriter.WriteHeader(status)
}

// measure decides whether a last byte is to be held back: if there is one, and
// the session may still change. For those without a cookie whose session nobody
// has looked at a late change is unlikely enough to spare the effort.
func (w *responseWriter) measure(status int) {
	s := &w.x.session
	s.mu.Lock()
	mayChange := s.opened || s.shows()
	s.mu.Unlock()
	if !mayChange || status < 200 {
		return
	}
	if w.x.request.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified {
		w.empty = true
		return
	}
	text := w.Header()["Content-Length"]
	if len(text) != 1 {
		return
	}
	if n, err := strconv.ParseInt(text[0], 10, 64); err == nil && n > 0 {
		w.length = n
	} else {
		w.empty = err == nil && n == 0
	}
}

// shows reports whether the client presented anything at all.
func (s *Session) shows() bool {
	if s.m.header != "" {
		return len(s.r.Header[s.m.header]) > 0
	}
	return len(s.r.Header["Cookie"]) > 0
}

func (w *responseWriter) ready() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.failed
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if err := w.ready(); err != nil {
		return 0, err
	}
	if len(p) == 0 || w.length < 0 || w.written+int64(len(p)) != w.length {
		// Not the end, or more than was announced, which net/http refuses.
		if len(p) > 0 {
			if err := w.release(); err != nil {
				return 0, err
			}
		}
		n, err := w.ResponseWriter.Write(p)
		w.written += int64(n)
		return n, err
	}
	n, err := 0, error(nil)
	if len(p) > 1 {
		n, err = w.ResponseWriter.Write(p[:len(p)-1])
	}
	w.written += int64(n)
	if err != nil {
		return n, err
	}
	w.held, w.last[0] = true, p[len(p)-1]
	w.written++
	return n + 1, nil
}

// release sends the byte that was held back.
func (w *responseWriter) release() error {
	if !w.held {
		return nil
	}
	w.held = false
	_, err := w.ResponseWriter.Write(w.last[:])
	return err
}

func (w *responseWriter) WriteString(s string) (int, error) {
	if err := w.ready(); err != nil {
		return 0, err
	}
	if w.length >= 0 {
		return w.Write([]byte(s))
	}
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom lets the kernel copy files, up to the byte that is held back.
func (w *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	if err := w.ready(); err != nil {
		return 0, err
	}
	if w.held || w.length >= 0 && w.length <= w.written+1 {
		return io.Copy(writerOnly{w}, src)
	}
	if w.length < 0 {
		n, err := io.Copy(w.ResponseWriter, src)
		w.written += n
		return n, err
	}
	limit := w.length - 1 - w.written
	var n int64
	var err error
	if lr, ok := src.(*io.LimitedReader); ok { // as http.ServeContent passes it
		part := &io.LimitedReader{R: lr.R, N: min(lr.N, limit)}
		n, err = io.Copy(w.ResponseWriter, part)
		lr.N -= n
	} else {
		n, err = io.Copy(w.ResponseWriter, io.LimitReader(src, limit))
	}
	w.written += n
	if err != nil || n < limit {
		return n, err
	}
	rest, err := io.Copy(writerOnly{w}, src)
	return n + rest, err
}

// writerOnly hides ReadFrom.
type writerOnly struct{ io.Writer }

// FlushError begins the response and sends what is there of it, unless that is
// all of it.
func (w *responseWriter) FlushError() error {
	if err := w.ready(); err != nil {
		return err
	}
	if w.empty {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who know only http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// Hijack commits the session and hands over the connection. A new session
// cannot begin here, as no cookie leaves with the header: use the session before
// or answer with a header first.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.failed != nil {
		return nil, nil, w.failed
	}
	if !w.wrote {
		if err := w.begin(false); err != nil {
			w.fail(err)
			return nil, nil, err
		}
	}
	rc := http.NewResponseController(w.ResponseWriter)
	if w.held {
		_, _ = w.release(), rc.Flush()
	}
	conn, rw, err := rc.Hijack()
	switch {
	case err == nil:
		w.wrote, w.hijacked = true, true
	case !w.wrote:
		w.x.session.reopen()
	}
	return conn, rw, err
}

// finish saves what changed since the response began, and lets the client see
// its end.
func (w *responseWriter) finish() {
	if w.failed != nil {
		return
	}
	if !w.wrote {
		// Nothing was written: net/http sends the header when we return.
		if err := w.begin(true); err != nil {
			w.fail(err)
		}
		return
	}
	if err := w.begin(false); err != nil {
		m := w.x.session.m
		m.opts.Logger.Error("session: could not save changes that were made after the response began; the response is cut short",
			"method", w.x.request.Method, "pattern", w.x.request.Pattern, "err", err)
		if w.hijacked {
			return
		}
		panic(http.ErrAbortHandler) // the client must not take the response for whole
	}
	_ = w.release()
}
