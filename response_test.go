package session_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sessiontest"
)

// What goes over the wire, and when: real servers and raw connections.

// A rawConn is a connection of somebody who looks at single bytes.
type rawConn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, srv *httptest.Server, request string, b *browser) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := request + "\r\nHost: example.test\r\n"
	if b.cookie != "" {
		head += "Cookie: " + b.cookie + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		t.Fatal(err)
	}
	return &rawConn{conn, t, bufio.NewReader(conn)}
}

// until reads up to a text and returns what came.
func (c *rawConn) until(text string) string {
	c.t.Helper()
	var buf bytes.Buffer
	for !strings.HasSuffix(buf.String(), text) {
		b, err := c.r.ReadByte()
		if err != nil {
			c.t.Fatalf("waiting for %q: %v after %q", text, err, buf.String())
		}
		buf.WriteByte(b)
	}
	return buf.String()
}

// quiet reports bytes that came although nothing should.
func (c *rawConn) quiet(what string) {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		c.t.Fatal(err)
	}
	if b, err := c.r.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%s: the client saw %q (%v)", what, b, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
}

// rest reads to the end of the connection.
func (c *rawConn) rest() string {
	all, _ := io.ReadAll(c.r)
	return string(all)
}

func TestSavedBeforeTheFirstByte(t *testing.T) {
	for name, body := range map[string]func(w http.ResponseWriter){
		"Write":    func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat("x", 10_000)) },
		"Flush":    func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"ReadFrom": func(w http.ResponseWriter) { io.Copy(w, strings.NewReader(strings.Repeat("x", 10_000))) },
		"nothing":  func(http.ResponseWriter) {},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Set("a", 1)
				body(w)
			}))
			arrived, release := st.faults.Block("save")
			b := st.browser()
			c := dial(t, srv, "GET / HTTP/1.1", b)
			<-arrived
			c.quiet("while the session is being saved")
			release()
			head := c.until("\r\n\r\n")
			contains(t, "head", head, "Set-Cookie: __Host-session=")
			_, cookie, _ := strings.Cut(head, "Set-Cookie: ")
			b.cookie, _, _ = strings.Cut(cookie, ";")
			equal(t, "the session", b.data(), `{"a":1}`)
		})
	}
}

// Changes after the first byte must be in the store before the client can know
// that the response is over.
func TestLateChangesAreSavedBeforeTheEnd(t *testing.T) {
	const end = "\r\n\r\n"
	for _, test := range []struct {
		name    string
		request string
		body    func(w http.ResponseWriter)
		before  string // what the client sees before the save
		after   string
	}{
		{"Content-Length", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4")
			io.WriteString(w, "page")
		}, "", "page"},
		{"Content-Length and Flush", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4")
			io.WriteString(w, "page")
			http.NewResponseController(w).Flush()
		}, end + "pag", "e"},
		{"Content-Length 1 and Flush", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1")
			io.WriteString(w, "p")
			http.NewResponseController(w).Flush()
		}, end, "p"},
		{"Content-Length 0 and Flush", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "0")
			http.NewResponseController(w).Flush()
		}, "", "Content-Length: 0"},
		{"Content-Length and ReadFrom", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4")
			io.Copy(w, strings.NewReader("page"))
			http.NewResponseController(w).Flush()
		}, end + "pag", "e"},
		{"Content-Length in pieces", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4")
			for _, c := range "page" {
				io.WriteString(w, string(c))
				w.Write(nil)
			}
			http.NewResponseController(w).Flush()
		}, end + "pag", "e"},
		{"chunked", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			io.WriteString(w, "page")
			http.NewResponseController(w).Flush()
		}, "page\r\n", "0\r\n\r\n"},
		{"no length announced, nor flushed", "GET / HTTP/1.1", func(w http.ResponseWriter) { io.WriteString(w, "page") }, "", "page"},
		{"HTTP/1.0", "GET / HTTP/1.0", func(w http.ResponseWriter) {
			io.WriteString(w, "page")
			http.NewResponseController(w).Flush()
		}, end + "page", ""},
		{"HEAD and Flush", "HEAD / HTTP/1.1", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4")
			io.WriteString(w, "page")
			http.NewResponseController(w).Flush()
		}, "", "Content-Length: 4"},
		{"204 and Flush", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			w.WriteHeader(204)
			http.NewResponseController(w).Flush()
		}, "", "204 No Content"},
		{"304 and Flush", "GET / HTTP/1.1", func(w http.ResponseWriter) {
			w.WriteHeader(304)
			http.NewResponseController(w).Flush()
		}, "", "304 Not Modified"},
	} {
		for _, opened := range []bool{true, false} {
			name := test.name
			if !opened {
				name += ", and the session is looked at late"
			}
			t.Run(name, func(t *testing.T) {
				st := newSite(t)
				b := st.visitor(map[string]any{"a": 1})
				srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
					if opened {
						s.Keys()
					}
					test.body(w)
					s.Set("late", true)
				}))
				arrived, release := st.faults.Block("save")
				defer release()
				c := dial(t, srv, test.request, b)
				<-arrived
				if test.before != "" {
					c.until(test.before)
				}
				c.quiet("before the late change is saved")
				release()
				if test.after != "" {
					c.until(test.after)
				} else {
					equal(t, "the rest", c.rest(), "")
				}
				equal(t, "the session", b.data(), `{"a":1,"late":true}`)
			})
		}
	}
}

func TestLateChangesOverHTTP2(t *testing.T) {
	for _, length := range []bool{true, false} {
		t.Run(fmt.Sprint("Content-Length ", length), func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"a": 1})
			srv := st.serve(page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				equal(t, "protocol", r.Proto, "HTTP/2.0")
				if length {
					w.Header().Set("Content-Length", "4")
				}
				s.Keys()
				io.WriteString(w, "page")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				s.Set("late", true)
			}), func(srv *httptest.Server) { srv.EnableHTTP2 = true })
			arrived, release := st.faults.Block("save")
			defer release()
			req, _ := http.NewRequest("GET", srv.URL, nil)
			req.Header.Set("Cookie", b.cookie)
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			<-arrived
			ended := make(chan string)
			go func() {
				all, err := io.ReadAll(resp.Body)
				ended <- fmt.Sprint(string(all), err)
			}()
			select {
			case got := <-ended:
				t.Error("the response ended before the save:", got)
			case <-time.After(20 * time.Millisecond):
			}
			release()
			equal(t, "body", <-ended, "page<nil>")
			equal(t, "the session", b.data(), `{"a":1,"late":true}`)
		})
	}
}

// A change that cannot be kept after the header has left cuts the response
// short: the client must not take it for whole.
func TestALateChangeThatCannotBeKept(t *testing.T) {
	anonymous := func(st *site) *browser { return st.browser() }
	known := func(st *site) *browser { return st.signedIn("23") }
	for _, test := range []struct {
		name   string
		who    func(*site) *browser
		change func(st *site, s *session.Session)
		want   error
	}{
		{"a new session", anonymous, func(_ *site, s *session.Session) { s.Set("late", 1) }, session.ErrHeaderSent},
		{"a new session by reference", anonymous, func(_ *site, s *session.Session) { *count.Ref(s) = 5 }, nil},
		{"a sign-in", known, func(_ *site, s *session.Session) { s.SetSubject("24") }, session.ErrHeaderSent},
		{"a renewal", known, func(_ *site, s *session.Session) { s.RenewID() }, session.ErrHeaderSent},
		{"a regeneration", known, func(_ *site, s *session.Session) { s.Regenerate() }, session.ErrHeaderSent},
		{"a value that cannot be encoded", known, func(_ *site, s *session.Session) { s.Set("f", func() {}) }, nil},
		{"a store that is down", known, func(st *site, s *session.Session) { s.Set("late", 1); st.faults.Fail("save", errDown) }, nil},
	} {
		for _, length := range []string{"", "4"} {
			for _, flush := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, length %q, flush %v", test.name, length, flush), func(t *testing.T) {
					st := newSite(t)
					b := test.who(st)
					before := b.data()
					srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
						if length != "" {
							w.Header().Set("Content-Length", length)
						}
						s.Keys()
						io.WriteString(w, "page")
						if flush {
							http.NewResponseController(w).Flush()
						}
						test.change(st, s)
						if err := s.Err(); test.want != nil && !errors.Is(err, test.want) {
							t.Errorf("Err: %v", err)
						}
					}))
					if _, body, err := b.clone().fetch(srv, "GET"); err == nil {
						t.Errorf("the client took the response for whole: %q", body)
					}
					contains(t, "log", st.log.String(), "the response is cut short")
					st.faults.Reset()
					equal(t, "the session", b.data(), before)
					equal(t, "the subject is unchanged", b.subject() == "23", before != "none")
				})
			}
		}
	}
}

func TestLateThingsThatNeedNoCookie(t *testing.T) {
	st := newSite(t)
	b := st.signedIn("23")
	srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Keys()
		io.WriteString(w, "page")
		s.Destroy()
	}))
	if _, _, err := b.clone().fetch(srv, "GET"); err != nil {
		t.Error("a late logout:", err)
	}
	equal(t, "the session", b.data(), "none")
}

func TestInformationalResponses(t *testing.T) {
	st := newSite(t)
	srv := st.serve(page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		s.Set("a", 1) // still in time
		w.WriteHeader(103)
		w.WriteHeader(201)
	}))
	b := st.browser()
	c := dial(t, srv, "GET / HTTP/1.1", b)
	for range 2 {
		if head := c.until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 103 ") || strings.Contains(head, "Cookie") {
			t.Errorf("early hints: %q", head)
		}
	}
	head := c.until("\r\n\r\n")
	contains(t, "head", head, "HTTP/1.1 201 ")
	contains(t, "head", head, "Set-Cookie: __Host-session=")
	st.checkCalls("the request", sessiontest.Calls{Save: 1})
}

func TestSwitchingProtocols(t *testing.T) {
	st := newSite(t)
	srv := st.serve(page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		s.Set("a", 1)
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(101)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "hello")
		rw.Flush()
	}))
	c := dial(t, srv, "GET / HTTP/1.1", st.browser())
	all := c.rest()
	contains(t, "response", all, "HTTP/1.1 101 ")
	contains(t, "response", all, "Set-Cookie: __Host-session=")
	contains(t, "response", all, "\r\n\r\nhello")
}

func TestHijack(t *testing.T) {
	hijack := func(t *testing.T, w http.ResponseWriter, text string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error("Hijack:", err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, text)
	}
	t.Run("saves first", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		done := make(chan struct{})
		h := st.Handler(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("b", 2)
			hijack(t, w, "raw")
			s.Set("c", 3)
		}))
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			h.ServeHTTP(w, r)
		}))
		defer srv.Close()
		arrived, release := st.faults.Block("save")
		c := dial(t, srv, "GET / HTTP/1.1", b)
		<-arrived
		c.quiet("before the save")
		release()
		equal(t, "response", c.rest(), "raw")
		<-done
		equal(t, "the session", b.data(), `{"a":1,"b":2,"c":3}`)
	})
	t.Run("of the anonymous costs nothing", func(t *testing.T) {
		st := newSite(t)
		srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) { s.Keys(); hijack(t, w, "raw") }))
		equal(t, "response", dial(t, srv, "GET / HTTP/1.1", st.browser()).rest(), "raw")
		st.checkCalls("the request", sessiontest.Calls{})
	})
	for name, change := range map[string]func(s *session.Session){
		"a new session":            func(s *session.Session) { s.Set("a", 1) },
		"a new session, saved":     func(s *session.Session) { s.Set("a", 1); _ = s.Save() },
		"a sign-in":                func(s *session.Session) { s.SetSubject("23") },
		"a new session, committed": func(s *session.Session) { s.Set("a", 1); s.SetSubject("5"); _ = s.Save() },
	} {
		t.Run("is refused for "+name+", whose cookie could not be sent", func(t *testing.T) {
			st := newSite(t)
			srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				change(s)
				if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, session.ErrHeaderSent) {
					t.Error("Hijack:", err)
				}
			}))
			resp, _, err := st.browser().fetch(srv, "GET")
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "status", resp.StatusCode, 500)
		})
	}
	t.Run("that is not supported leaves the response as it was", func(t *testing.T) {
		st := newSite(t)
		b := st.browser()
		w := b.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
				t.Error("Hijack:", err)
			}
			s.Set("a", 1)
			io.WriteString(w, "page")
		})
		equal(t, "body", w.Body.String(), "page")
		equal(t, "the session", b.data(), `{"a":1}`)
	})
	t.Run("after the response began lets nothing be lost", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Keys()
			w.Header().Set("Content-Length", "4")
			io.WriteString(w, "page")
			http.NewResponseController(w).Flush()
			hijack(t, w, "raw")
		}))
		contains(t, "response", dial(t, srv, "GET / HTTP/1.1", b).rest(), "\r\n\r\npageraw")
	})
	t.Run("when the store is down is an error page", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		st.faults.Fail("load", errDown)
		srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Keys()
			if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, errDown) {
				t.Error("Hijack:", err)
			}
		}))
		resp, _, err := b.fetch(srv, "GET")
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "status", resp.StatusCode, 503)
	})
}

func TestFlush(t *testing.T) {
	t.Run("the cookie is sent with it", func(t *testing.T) { // the way server-sent events begin
		st := newSite(t)
		b := st.browser()
		srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("a", 1)
			w.(http.Flusher).Flush()
			fmt.Fprint(w, "data: 1\n\n")
		}))
		if _, body, err := b.fetch(srv, "GET"); err != nil || body != "data: 1\n\n" {
			t.Error(body, err)
		}
		equal(t, "the session", b.data(), `{"a":1}`)
	})
	t.Run("where it is not supported the error says so", func(t *testing.T) {
		st := newSite(t)
		w := st.Handler(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
				t.Error("Flush:", err)
			}
		}))
		w.ServeHTTP(struct{ http.ResponseWriter }{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
	})
}

func TestResponseController(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	srv := st.serve(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		rc := http.NewResponseController(w)
		for name, err := range map[string]error{
			"SetReadDeadline":  rc.SetReadDeadline(time.Now().Add(time.Minute)),
			"SetWriteDeadline": rc.SetWriteDeadline(time.Now().Add(time.Minute)),
			"EnableFullDuplex": rc.EnableFullDuplex(),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		s.Set("b", 2)
	}))
	if _, _, err := b.fetch(srv, "GET"); err != nil {
		t.Error(err)
	}
	equal(t, "the session", b.data(), `{"a":1,"b":2}`)
}

// Whatever way a body takes through the writer, what arrives is what arrives
// without it.
func TestBodiesAreNotChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.txt")
	if err := os.WriteFile(file, []byte(strings.Repeat("0123456789", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	announce := func(n int, f func(w http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(n))
			f(w)
		}
	}
	serveFile := func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }
	for _, test := range []struct {
		name    string
		method  string
		header  string
		handler http.HandlerFunc
	}{
		{"a file", "GET", "", serveFile},
		{"HEAD of a file", "HEAD", "", serveFile},
		{"a range", "GET", "Range: bytes=5-14", serveFile},
		{"a range of one byte", "GET", "Range: bytes=5-5", serveFile},
		{"several ranges", "GET", "Range: bytes=0-1,5-7", serveFile},
		{"a range that cannot be", "GET", "Range: bytes=999999999-", serveFile},
		{"not modified", "GET", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", serveFile},
		{"a short Write", "GET", "", announce(1, func(w http.ResponseWriter) { w.Write([]byte("x")) })},
		{"no body", "GET", "", announce(0, func(w http.ResponseWriter) {})},
		{"two Writes", "GET", "", announce(4, func(w http.ResponseWriter) { w.Write([]byte("pa")); w.Write([]byte("ge")) })},
		{"ReadFrom without LimitedReader", "GET", "", announce(4, func(w http.ResponseWriter) { io.Copy(w, strings.NewReader("page")) })},
		{"ReadFrom of one byte", "GET", "", announce(1, func(w http.ResponseWriter) { io.Copy(w, strings.NewReader("p")) })},
		{"ReadFrom of the first half", "GET", "", announce(4, func(w http.ResponseWriter) {
			io.CopyN(w, strings.NewReader("pa"), 2)
			io.WriteString(w, "ge")
		})},
		{"ReadFrom of the second half", "GET", "", announce(4, func(w http.ResponseWriter) {
			io.WriteString(w, "pa")
			io.Copy(w, strings.NewReader("ge"))
		})},
		{"ReadFrom after the end", "GET", "", announce(4, func(w http.ResponseWriter) {
			io.WriteString(w, "page")
			n, err := io.Copy(w, strings.NewReader(""))
			if n != 0 || err != nil {
				t.Error(n, err)
			}
		})},
		{"more than announced, at once", "GET", "", announce(4, func(w http.ResponseWriter) { io.WriteString(w, "page and more") })},
		{"more than announced, later", "GET", "", announce(4, func(w http.ResponseWriter) {
			io.WriteString(w, "page")
			if _, err := io.WriteString(w, "more"); !errors.Is(err, http.ErrContentLength) {
				t.Error("Write:", err)
			}
		})},
		{"fewer than announced", "GET", "", announce(9, func(w http.ResponseWriter) { io.WriteString(w, "page") })},
		{"a length that is none", "GET", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "four")
			io.WriteString(w, "page")
		}},
		{"a negative length", "GET", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "-1")
			io.WriteString(w, "page")
		}},
		{"a body where none may be", "GET", "", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
			if _, err := io.WriteString(w, "page"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Error("Write:", err)
			}
		}},
		{"WriteHeader twice", "GET", "", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
			io.WriteString(w, "page")
		}},
		{"trailers", "GET", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-End")
			io.WriteString(w, "page")
			w.Header().Set("X-End", "end")
			w.Header().Set(http.TrailerPrefix+"X-Other", "other")
		}},
		{"a long body in pieces", "GET", "", announce(100_000, func(w http.ResponseWriter) {
			for range 1000 {
				w.Write(bytes.Repeat([]byte("x"), 100))
			}
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"a": 1})
			bare := httptest.NewUnstartedServer(test.handler)
			bare.Config.ErrorLog = log.New(io.Discard, "", 0)
			bare.Start()
			want := exchangeWith(t, bare, test.method, test.header, b)
			got := exchangeWith(t, st.serve(test.handler), test.method, test.header, b)
			equal(t, "what arrives", got, want)
			got = exchangeWith(t, st.serve(page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				s.Keys()
				test.handler(w, r)
			})), test.method, test.header, b)
			equal(t, "what arrives when the session is used", strings.Replace(got, "Vary: Cookie\n", "", 1), want)
		})
	}
}

func exchangeWith(t *testing.T, srv *httptest.Server, method, header string, b *browser) string {
	t.Helper()
	defer srv.Close()
	req, err := http.NewRequest(method, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", b.cookie)
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		return "error: " + strings.ReplaceAll(err.Error(), srv.URL, "")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	var text strings.Builder
	fmt.Fprintln(&text, resp.Status, resp.ContentLength, resp.TransferEncoding)
	_, boundary, _ := strings.Cut(resp.Header.Get("Content-Type"), "boundary=")
	_ = resp.Header.Write(&text)
	fmt.Fprintln(&text, string(body), err, resp.Trailer)
	all := strings.ReplaceAll(text.String(), "\r", "")
	if boundary != "" {
		all = strings.ReplaceAll(all, boundary, "B")
	}
	return all
}

// io.Copy must reach the server's own ReadFrom, which has the kernel copy files.
func TestFilesAreCopiedByTheServer(t *testing.T) {
	for _, length := range []string{"", "10000"} {
		rec := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
		st := newSite(t)
		st.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			io.Copy(w, struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 10_000))})
		})).ServeHTTP(rec, st.visitor(map[string]any{"a": 1}).request())
		if rec.taken < 9_999 {
			t.Errorf("length %q: ReadFrom of the server got %d bytes", length, rec.taken)
		}
		equal(t, "bytes", rec.Body.Len(), 10_000)
	}
}

type readerFrom struct {
	*httptest.ResponseRecorder
	taken int64
}

func (r *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(r.ResponseRecorder, src)
	r.taken += n
	return n, err
}

func TestClientGoneInTheMiddle(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	gone, done := make(chan struct{}), make(chan struct{})
	h := st.Handler(page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		io.WriteString(w, "page")
		http.NewResponseController(w).Flush()
		<-gone
		<-r.Context().Done()
		if _, err := io.WriteString(w, strings.Repeat("x", 100_000)); err == nil {
			io.WriteString(w, strings.Repeat("x", 100_000))
		}
		s.Set("paid", true)
	}))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	c := dial(t, srv, "GET / HTTP/1.1", b)
	c.until("page\r\n")
	c.Close()
	close(gone)
	<-done
	equal(t, "the session", b.data(), `{"a":1,"paid":true}`)
}

// Nobody may see a change of this request and not find it in the store, in any
// order of reads, writes and flushes: a writer that looks when bytes pass.
func TestNoByteBeforeItsSave(t *testing.T) {
	for name, f := range map[string]func(w http.ResponseWriter, s *session.Session){
		"Set, Write": func(w http.ResponseWriter, s *session.Session) { s.Set("x", 1); io.WriteString(w, "page") },
		"read, Set, header, Set, Write": func(w http.ResponseWriter, s *session.Session) {
			s.Keys()
			s.Set("x", 0)
			w.Header().Set("X", "y")
			s.Set("x", 1)
			io.WriteString(w, "page")
		},
		"1xx, Set, Flush": func(w http.ResponseWriter, s *session.Session) {
			w.WriteHeader(103)
			s.Set("x", 1)
			http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"a": 1})
			look := &lookingWriter{ResponseRecorder: httptest.NewRecorder(), look: func() {
				recs, _, _ := st.store.(session.Lister).List(context.Background(), session.Query{Limit: 10})
				contains(t, "the record when the first byte passes", string(recs[0].Data), `"x":1`)
			}}
			st.Handler(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) { f(w, s) })).ServeHTTP(look, b.request())
		})
	}
}

type lookingWriter struct {
	*httptest.ResponseRecorder
	look func()
}

func (w *lookingWriter) WriteHeader(status int) {
	if status >= 200 {
		w.look()
	}
	w.ResponseRecorder.WriteHeader(status)
}
