package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sessiontest"
)

// The way of a request: what it costs and what becomes of it when the store
// fails.

var count = session.NewKey[int]("count")

var errDown = errors.New("the server is down")

func write(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
	n, _ := count.Get(s)
	count.Set(s, n+1)
}

func read(w http.ResponseWriter, _ *http.Request, s *session.Session) {
	n, _ := count.Get(s)
	fmt.Fprint(w, "count ", n)
}

func ignore(w http.ResponseWriter, _ *http.Request, _ *session.Session) { io.WriteString(w, "static") }

func TestNothingForNothing(t *testing.T) {
	for _, test := range []struct {
		name string
		page page
		vary string
	}{
		{"the session is not looked at", ignore, ""},
		{"nothing is written either", func(http.ResponseWriter, *http.Request, *session.Session) {}, ""},
		{"an anonymous session is read", read, "Cookie"}, // somebody else would see something else
		{"a missing key is deleted", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Delete("x") }, "Cookie"},
		{"an empty session is cleared", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Clear() }, "Cookie"},
		{"nothing is popped", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Pop(s) }, "Cookie"},
		{"a value is set and deleted again", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("x", 1)
			s.Delete("x")
		}, "Cookie"},
		{"a reference is taken and not changed", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Ref(s) }, "Cookie"},
		{"the ID is asked for", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.ID() }, "Cookie"},
		{"an anonymous session is destroyed", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() }, "Cookie"},
		{"an anonymous session is unset", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Unset() }, "Cookie"},
		{"an anonymous session is renewed", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.RenewID() }, "Cookie"},
		{"an anonymous session is touched", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Touch() }, "Cookie"},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			w := st.browser().get(test.page)
			equal(t, "status", w.Code, 200)
			equal(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "")
			equal(t, "Cache-Control", w.Header().Get("Cache-Control"), "")
			equal(t, "Vary", w.Header().Get("Vary"), test.vary)
			st.checkCalls("the request", sessiontest.Calls{})
		})
	}
	t.Run("SaveUninitialized changes that", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.SaveUninitialized = true })
		b := st.browser()
		w := b.get(ignore)
		if w.Header().Get("Set-Cookie") == "" {
			t.Error("no cookie")
		}
		st.checkCalls("the request", sessiontest.Calls{Save: 1})
	})
}

func TestStoreCalls(t *testing.T) {
	noPage := func(http.ResponseWriter, *http.Request, *session.Session) {}
	for _, test := range []struct {
		name  string
		after time.Duration // since the session began
		page  page
		want  sessiontest.Calls
	}{
		{"not looked at", time.Hour / 2, ignore, sessiontest.Calls{}},
		{"nothing at all", time.Hour / 2, noPage, sessiontest.Calls{}},
		{"read", 0, read, sessiontest.Calls{Load: 1}},
		{"read many times", 0, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			for range 10 {
				read(w, r, s)
				_, _, _, _, _ = s.ID(), s.Keys(), s.Subject(), s.Err(), s.Token()
			}
		}, sessiontest.Calls{Load: 1}},
		{"written", 0, write, sessiontest.Calls{Load: 1, Save: 1}},
		{"written many times", 0, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			for range 10 {
				write(w, r, s)
			}
		}, sessiontest.Calls{Load: 1, Save: 1}},
		{"set to what it was", 0, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Set(s, 1) }, sessiontest.Calls{Load: 1}},
		{"changed and changed back", 0, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			count.Set(s, 5)
			count.Set(s, 1)
		}, sessiontest.Calls{Load: 1}},
		{"read when it is time to touch", 6 * time.Minute, read, sessiontest.Calls{Load: 1, Touch: 1}},
		{"written when it is time to touch", 6 * time.Minute, write, sessiontest.Calls{Load: 1, Save: 1}},
		{"touched by hand", 0, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Touch() }, sessiontest.Calls{Load: 1, Touch: 1}},
		{"popped", 0, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Pop(s) }, sessiontest.Calls{Load: 1, Save: 1}},
		{"saved by hand", 0, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			count.Set(s, 9)
			if err := s.Save(); err != nil {
				panic(err)
			}
		}, sessiontest.Calls{Load: 1, Save: 1}},
		{"renewed", 0, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.RenewID() }, sessiontest.Calls{Load: 1, Save: 2}},
		{"destroyed", 0, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() }, sessiontest.Calls{Load: 1, Save: 1, Delete: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			b := st.browser()
			b.get(write)
			st.checkCalls("a new session", sessiontest.Calls{Save: 1})
			st.clock.advance(test.after)
			if w := b.get(test.page); w.Code != 200 {
				t.Error("status", w.Code, w.Body)
			}
			st.checkCalls(test.name, test.want)
		})
	}
}

func TestEagerLoadsForEveryRequest(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.Eager = true })
	b := st.visitor(map[string]any{"a": 1})
	st.faults.ResetCalls()
	b.get(ignore)
	st.checkCalls("a request that ignores its session", sessiontest.Calls{Load: 1})
	st.faults.Fail("load", errDown)
	w := b.get(func(http.ResponseWriter, *http.Request, *session.Session) {
		t.Error("the handler ran without a session")
	})
	equal(t, "status", w.Code, 503)
}

// A page that is refused must look like this: one error, and nothing of the
// handler's.
func checkRefused(t *testing.T, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	equal(t, "status", w.Code, status)
	if body := w.Body.String(); strings.Contains(body, "page") {
		t.Errorf("the body has something of the page: %q", body)
	}
	for _, name := range []string{"Set-Cookie", "X-Page", "Location", "Etag", "Content-Encoding"} {
		if v, ok := w.Header()[name]; ok {
			t.Errorf("header %s: %q", name, v)
		}
	}
	equal(t, "Cache-Control", w.Header().Get("Cache-Control"), "no-store")
	equal(t, "X-Outer", w.Header().Get("X-Outer"), "kept")
}

// outer sets a header outside of the middleware.
func outer(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Outer", "kept")
		h.ServeHTTP(w, r)
	})
}

// somePage writes headers and a body the given way.
func somePage(body func(w http.ResponseWriter)) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		h := w.Header()
		h.Set("X-Page", "1")
		h["Etag"] = []string{`"page"`}
		h.Set("Cache-Control", "public, max-age=3600")
		h.Set("Location", "/page")
		h.Set("Content-Encoding", "gzip")
		h.Set("X-Outer", "changed")
		http.SetCookie(w, &http.Cookie{Name: "page", Value: "page"})
		body(w)
	}
}

var bodies = map[string]func(w http.ResponseWriter){
	"nothing":        func(http.ResponseWriter) {},
	"Write":          func(w http.ResponseWriter) { w.Write([]byte("page")); w.Write([]byte("page")) },
	"WriteString":    func(w http.ResponseWriter) { io.WriteString(w, "page") },
	"WriteHeader":    func(w http.ResponseWriter) { w.WriteHeader(201); w.Write([]byte("page")); w.WriteHeader(202) },
	"a redirect":     func(w http.ResponseWriter) { w.WriteHeader(302) },
	"ReadFrom":       func(w http.ResponseWriter) { w.(io.ReaderFrom).ReadFrom(strings.NewReader("page")) },
	"Flush":          func(w http.ResponseWriter) { w.(http.Flusher).Flush(); w.Write([]byte("page")) },
	"FlushError":     func(w http.ResponseWriter) { http.NewResponseController(w).Flush(); w.Write([]byte("page")) },
	"1xx first":      func(w http.ResponseWriter) { w.Write([]byte("page")); w.WriteHeader(103) },
	"Content-Length": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "4"); w.Write([]byte("page")) },
}

func TestAFailedLoadIsNotAnAnonymousVisitor(t *testing.T) {
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			b := st.signedIn("23")
			cookie := b.cookie
			st.faults.Fail("load", errDown)
			w := httptest.NewRecorder()
			outer(st.Handler(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				equal(t, "Subject", s.Subject(), "")
				_, ok := session.Get[string](s, "name")
				equal(t, "ok of Get", ok, false)
				equal(t, "number of keys", len(s.Keys()), 0)
				var storeErr *session.StoreError
				if err := s.Err(); !errors.As(err, &storeErr) || storeErr.Op != "load" || !errors.Is(err, errDown) {
					t.Errorf("Err: %v", err)
				}
				s.Set("name", "x")
				somePage(body)(w)
			}))).ServeHTTP(w, b.request())
			checkRefused(t, w, 503)
			equal(t, "Retry-After", w.Header().Get("Retry-After"), "1")
			st.faults.Reset()
			b.cookie = cookie
			equal(t, "the session", b.data(), `{"name":"23"}`)
		})
	}
}

func TestAFailedSaveShowsNothingOfThePage(t *testing.T) {
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			for _, existing := range []bool{true, false} {
				st := newSite(t)
				b := st.browser()
				if existing {
					b = st.signedIn("23")
				}
				st.faults.Fail("save", errDown)
				w := httptest.NewRecorder()
				outer(st.Handler(page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
					write(w, r, s)
					somePage(body)(w)
				}))).ServeHTTP(w, b.request())
				checkRefused(t, w, 503)
				st.faults.Reset()
				if existing {
					equal(t, "the session", b.data(), `{"name":"23"}`)
				} else {
					equal(t, "sessions", st.live(), 0)
				}
			}
		})
	}
}

func TestTheHandlerLearnsThatItsResponseIsGone(t *testing.T) {
	st := newSite(t)
	b := st.signedIn("23")
	st.faults.Fail("save", errDown)
	b.get(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		write(w, r, s)
		if _, err := w.Write([]byte("page")); !errors.Is(err, errDown) {
			t.Errorf("Write: %v", err)
		}
		if _, err := io.WriteString(w, "page"); !errors.Is(err, errDown) {
			t.Errorf("WriteString: %v", err)
		}
		if _, err := io.Copy(w, strings.NewReader("page")); !errors.Is(err, errDown) {
			t.Errorf("ReadFrom: %v", err)
		}
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, errDown) {
			t.Errorf("Flush: %v", err)
		}
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, errDown) {
			t.Errorf("Hijack: %v", err)
		}
		if err := s.Err(); !errors.Is(err, errDown) {
			t.Errorf("Err: %v", err)
		}
	})
}

func TestDefaultAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		status int
		logged string
	}{
		{"the store is down", errDown, 503, "level=ERROR"},
		{"the store finds the session too large", session.ErrTooLarge, 500, "level=ERROR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			st.faults.Fail("save", fmt.Errorf("wrapped: %w", test.err))
			w := st.browser().get(write)
			equal(t, "status", w.Code, test.status)
			contains(t, "log", st.log.String(), test.logged)
		})
	}
}

func TestOnError(t *testing.T) {
	t.Run("its answer is the answer", func(t *testing.T) {
		var got error
		st := newSite(t, func(o *session.Options) {
			o.OnError = func(w http.ResponseWriter, r *http.Request, err error) {
				got = err
				w.Header().Set("X-Error", "1")
				http.Error(w, "sorry", http.StatusTeapot)
			}
		})
		st.faults.Fail("save", errDown)
		w := st.browser().get(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			w.Header().Set("X-Page", "1")
			write(w, r, s)
			io.WriteString(w, "page")
		})
		equal(t, "status", w.Code, http.StatusTeapot)
		equal(t, "body", w.Body.String(), "sorry\n")
		equal(t, "X-Page", w.Header().Get("X-Page"), "")
		if !errors.Is(got, errDown) {
			t.Error("OnError got", got)
		}
	})
	t.Run("one that only logs does not make it a success", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.OnError = func(http.ResponseWriter, *http.Request, error) {} })
		st.faults.Fail("save", errDown)
		equal(t, "status", st.browser().get(write).Code, 503)
	})
	t.Run("it can change nothing any more", func(t *testing.T) {
		var kept *session.Session
		st := newSite(t, func(o *session.Options) {
			o.OnError = func(w http.ResponseWriter, _ *http.Request, _ error) {
				kept.Set("evil", 1)
				kept.SetSubject("root")
				w.WriteHeader(500)
			}
		})
		b := st.signedIn("23")
		st.faults.Fail("save", errDown)
		b.get(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			kept = s
			write(w, r, s)
		})
		st.faults.Reset()
		equal(t, "the session", b.data(), `{"name":"23"}`)
		equal(t, "the subject", b.subject(), "23")
	})
	t.Run("its panic goes on", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) {
			o.OnError = func(http.ResponseWriter, *http.Request, error) { panic("boom") }
		})
		st.faults.Fail("save", errDown)
		defer func() { equal(t, "panic", recover(), any("boom")) }()
		st.browser().get(write)
	})
}

// What the options call may panic, at any point, and somebody further out may
// recover. Nothing may hang then, and nobody be taken for nobody.
func TestPanicsOfOthers(t *testing.T) {
	boom := func(when *bool) {
		if *when {
			panic("boom")
		}
	}
	for _, test := range []struct {
		name string
		edit func(o *session.Options, now *bool)
	}{
		{"OnEvent", func(o *session.Options, now *bool) { o.OnEvent = func(session.Event) { boom(now) } }},
		{"CookieFunc", func(o *session.Options, now *bool) {
			o.CookieFunc = func(_ *http.Request, c session.Cookie) session.Cookie { boom(now); return c }
		}},
		{"GenerateID", func(o *session.Options, now *bool) {
			o.GenerateID = func(*http.Request) string { boom(now); return fmt.Sprint(time.Now().UnixNano()) }
		}},
		{"IsHTTPS", func(o *session.Options, now *bool) {
			o.IsHTTPS = func(*http.Request) bool { boom(now); return true }
		}},
		{"Now", func(o *session.Options, now *bool) {
			clock := o.Now
			o.Now = func() time.Time { boom(now); return clock() }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var now bool
				st := newSite(t, func(o *session.Options) { test.edit(o, &now) })
				b := st.signedIn("23")
				b.cookie += "x" // forged: an event, and a new session
				now = true
				r := b.request()
				r.URL.Scheme, r.TLS = "http", nil
				func() {
					defer func() { recover() }()
					b.send(r, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
						func() {
							defer func() { recover() }()
							s.RenewID()
							s.SetSubject("24")
							s.Set("x", 1)
						}()
						now = false
						if s.Err() == nil && s.Subject() == "" {
							t.Error("a session that could not be loaded reads as an anonymous one")
						}
						now = true
						w.Write(nil)
					})
				}()
				now = false
			})
		})
	}
}

func TestACancelledRequestFinishesItsSave(t *testing.T) {
	for _, test := range []struct {
		name string
		page func(cancel func(), s *session.Session)
	}{
		{"cancelled after the change", func(cancel func(), s *session.Session) { s.Set("paid", true); cancel() }},
		{"cancelled before the session is used at all", func(cancel func(), s *session.Session) { cancel(); s.Set("paid", true) }},
		{"cancelled between read and change", func(cancel func(), s *session.Session) { s.Keys(); cancel(); s.Set("paid", true) }},
		{"cancelled before Save", func(cancel func(), s *session.Session) {
			s.Set("paid", true)
			cancel()
			if err := s.Save(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"a": 1})
			ctx, cancel := context.WithCancel(context.Background())
			b.send(b.request().WithContext(ctx), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				test.page(cancel, s)
			})
			equal(t, "the session", b.data(), `{"a":1,"paid":true}`)
		})
	}
}

func TestStoreTimeout(t *testing.T) {
	for _, test := range []struct {
		op   string
		page page
	}{
		{"load", read},
		{"save", write},
		{"delete", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() }},
	} {
		t.Run(test.op+" hangs", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newSite(t, func(o *session.Options) { o.StoreTimeout = 3 * time.Second })
				b := st.visitor(map[string]any{"count": 1})
				st.faults.Delay(test.op, time.Hour)
				start := time.Now()
				w := b.get(test.page)
				equal(t, "status", w.Code, 503)
				equal(t, "time", time.Since(start), 3*time.Second)
			})
		})
	}
	t.Run("touch hangs, and the page is shown all the same", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) { o.StoreTimeout = 3 * time.Second })
			b := st.visitor(map[string]any{"count": 1})
			st.clock.advance(10 * time.Minute)
			st.faults.Delay("touch", time.Hour)
			equal(t, "body", b.get(read).Body.String(), "count 1")
			contains(t, "log", st.log.String(), "could not extend")
		})
	})
	t.Run("a slow store that answers in time is no failure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) { o.StoreTimeout = 3 * time.Second })
			b := st.visitor(map[string]any{"count": 1})
			st.faults.Delay("load", 2*time.Second)
			equal(t, "body", b.get(read).Body.String(), "count 1")
		})
	})
	t.Run("Open is cancelled with its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"count": 1})
			st.faults.Delay("load", time.Hour)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			if _, err := st.Open(ctx, b.wire()); !errors.Is(err, context.DeadlineExceeded) {
				t.Error("Open:", err)
			}
			equal(t, "time", time.Since(start), time.Second)
		})
	})
}

func TestAPanickingHandlerSavesNothing(t *testing.T) {
	crash := func(v any) page {
		return func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			s.Set("half", true)
			s.SetSubject("24")
			panic(v)
		}
	}
	st := newSite(t)
	b := st.signedIn("23")
	for _, v := range []any{"boom", http.ErrAbortHandler, errDown} {
		func() {
			defer func() { equal(t, "panic", recover(), v) }()
			b.get(crash(v))
		}()
		equal(t, "the session", b.data(), `{"name":"23"}`)
	}
	t.Run("recovered outside", func(t *testing.T) {
		w := httptest.NewRecorder()
		func() {
			defer func() {
				recover()
				w.WriteHeader(500)
			}()
			st.Handler(crash("boom")).ServeHTTP(w, b.request())
		}()
		equal(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "")
		equal(t, "the session", b.data(), `{"name":"23"}`)
	})
	t.Run("recovered inside it is a response like any other", func(t *testing.T) {
		w := b.get(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			defer func() {
				recover()
				http.Error(w, "our fault", 500)
			}()
			s.Set("before", true)
			panic("boom")
		})
		equal(t, "status", w.Code, 500)
		equal(t, "the session", b.data(), `{"before":true,"name":"23"}`)
	})
}

func TestTimeoutHandler(t *testing.T) {
	t.Run("outside: the save is finished, and no cookie leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"a": 1})
			h := http.TimeoutHandler(st.Handler(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Set("b", 2)
				time.Sleep(2 * time.Second)
				io.WriteString(w, "page")
			})), time.Second, "too late")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, b.request())
			equal(t, "status", w.Code, 503)
			equal(t, "body", w.Body.String(), "too late")
			time.Sleep(5 * time.Second)
			equal(t, "the session", b.data(), `{"a":1,"b":2}`)
		})
	})
	t.Run("inside: the handler that goes on finds the session inert", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"a": 1})
			h := st.Handler(http.TimeoutHandler(page(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Set("b", 2)
				time.Sleep(2 * time.Second)
				s.Set("c", 3)
				if !errors.Is(s.Err(), session.ErrRequestDone) {
					t.Error("Err:", s.Err())
				}
			}), time.Second, "too late"))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, b.request())
			equal(t, "status", w.Code, 503)
			time.Sleep(5 * time.Second)
			equal(t, "the session", b.data(), `{"a":1,"b":2}`)
		})
	})
}

func TestOverlappingManagers(t *testing.T) {
	public := newSite(t)
	admin := newSite(t, func(o *session.Options) { o.Cookie.Name = "__Host-admin" })
	var inner *http.Request
	h := public.Handler(admin.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner = r
		public.From(r).Set("who", "public")
		admin.From(r).Set("who", "admin")
		if session.From(r) != admin.From(r) {
			t.Error("From is not the innermost session")
		}
		w.Header().Set("Content-Length", "4")
		io.WriteString(w, "page")
		public.From(r).Set("late", 1)
		admin.From(r).Set("late", 2)
	})))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	equal(t, "body", w.Body.String(), "page")
	equal(t, "number of cookies", len(w.Result().Cookies()), 2)
	equal(t, "Vary", strings.Join(w.Header().Values("Vary"), ", "), "Cookie")
	for _, c := range w.Result().Cookies() {
		st, want := public, `{"late":1,"who":"public"}`
		if c.Name == "__Host-admin" {
			st, want = admin, `{"late":2,"who":"admin"}`
		}
		b := st.browser()
		b.cookie = c.Name + "=" + c.Value
		equal(t, c.Name, b.data(), want)
		// A token of one is nothing to the other, though the secret is the same.
		stranger := admin.browser()
		if st == admin {
			stranger = public.browser()
		}
		name := "__Host-admin"
		if st == admin {
			name = "__Host-session"
		}
		stranger.cookie = name + "=" + c.Value
		equal(t, "at the other", stranger.data(), "none")
	}
	if inner == nil {
		t.Fatal("the handler did not run")
	}
}

func TestFrom(t *testing.T) {
	bare := httptest.NewRequest("GET", "/", nil)
	if s, ok := session.FromContext(bare.Context()); ok || s != nil {
		t.Error("FromContext outside:", s, ok)
	}
	st := newSite(t)
	for _, test := range []struct {
		name string
		f    func()
		want string
	}{
		{"From outside", func() { session.From(bare) }, "wrap the handler: http.ListenAndServe(addr, sessions.Handler(mux))"},
		{"Manager.From outside", func() { st.From(bare) }, "wrap the handler in its Handler"},
		{"another manager's", func() {
			newSite(t).browser().get(func(_ http.ResponseWriter, r *http.Request, _ *session.Session) { st.From(r) })
		}, "did not come through the middleware of this manager"},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer func() { contains(t, "panic", fmt.Sprint(recover()), test.want) }()
			test.f()
		})
	}
	st.browser().get(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
		type key struct{}
		ctx := context.WithValue(r.Context(), key{}, 1)
		if got, ok := session.FromContext(ctx); !ok || got != s {
			t.Error("FromContext of a derived context:", got, ok)
		}
	})
}

func TestAfterTheRequest(t *testing.T) {
	st := newSite(t)
	b := st.signedIn("23")
	var used, unused *session.Session
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { used = s; s.Keys() })
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { unused = s })
	st.faults.ResetCalls()

	name, ok := session.Get[string](used, "name")
	equal(t, "a read", name, "23")
	equal(t, "its ok", ok, true)
	equal(t, "Err before a change", used.Err(), nil)
	_, ok = session.Get[string](unused, "name")
	equal(t, "a read of a session that was never loaded", ok, false)
	for name, s := range map[string]*session.Session{"used": used, "unused": unused} {
		for op, f := range map[string]func(){
			"Set": func() { s.Set("x", 1) }, "Delete": func() { s.Delete("name") }, "Clear": s.Clear,
			"RenewID": s.RenewID, "Regenerate": s.Regenerate, "Reset": s.Reset, "Destroy": s.Destroy, "Touch": s.Touch, "Unset": s.Unset,
			"SetSubject": func() { s.SetSubject("24") }, "Ref": func() { *count.Ref(s) = 5 },
			"Pop": func() { session.NewKey[string]("name").Pop(s) }, "SetMaxAge": func() { s.SetMaxAge(time.Hour) },
			"Save": func() { _ = s.Save() }, "Reload": func() { _ = s.Reload() },
		} {
			f()
			if !errors.Is(s.Err(), session.ErrRequestDone) {
				t.Errorf("%s: Err after %s: %v", name, op, s.Err())
			}
		}
	}
	name, _ = session.Get[string](used, "name")
	equal(t, "a read after all that", name, "23")
	st.checkCalls("after the request", sessiontest.Calls{})
	equal(t, "the session", b.data(), `{"name":"23"}`)
	contains(t, "log", st.log.String(), "after its request was over")
}

func TestTheRequestIsThatOfTheHandler(t *testing.T) {
	st := newSite(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /things/{id}", func(w http.ResponseWriter, r *http.Request) {
		equal(t, "path value", r.PathValue("id"), "7")
	})
	r := httptest.NewRequest("GET", "/things/7", nil)
	st.Handler(mux).ServeHTTP(httptest.NewRecorder(), r)
	equal(t, "the pattern that an outer log sees", r.Pattern, "GET /things/{id}")
}
