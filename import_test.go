package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sessiontest"
)

// An oldSite is what was there before: sessions under the values of the cookie
// "old". With sealed they are in the cookie, so that none can be deleted.
type oldSite struct {
	mu      sync.Mutex
	rows    map[string]session.Imported
	sealed  bool
	cookie  http.Cookie
	loadErr error
	loading func() // called before Load looks
	loaded  func() // called when it has found something
	loads   int
	delErr  error
}

func newOldSite(rows map[string]session.Imported) *oldSite {
	return &oldSite{rows: rows, cookie: http.Cookie{Name: "old", Path: "/", HttpOnly: true}}
}

func (o *oldSite) Token(r *http.Request) string {
	if c, err := r.Cookie(o.cookie.Name); err == nil {
		return c.Value
	}
	return ""
}

func (o *oldSite) Load(_ context.Context, r *http.Request) (*session.Imported, error) {
	o.mu.Lock()
	loading := o.loading
	o.mu.Unlock()
	if loading != nil {
		loading()
	}
	o.mu.Lock()
	o.loads++
	token := o.Token(r)
	row, ok := o.rows[token]
	err, loaded := o.loadErr, o.loaded
	o.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("old: %w", session.ErrNotFound)
	}
	if !o.sealed {
		row.Delete = func(context.Context) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.delErr == nil {
				delete(o.rows, token)
			}
			return o.delErr
		}
	}
	if loaded != nil {
		loaded()
	}
	return &row, nil
}

func (o *oldSite) Cookies() []*http.Cookie {
	c := o.cookie
	return []*http.Cookie{&c}
}

func (o *oldSite) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.rows)
}

const oldToken = "kX7p-a-random-token-of-the-old-program-0001"

// movedSite is a site that imports what an old one has left: one session, of ada.
func movedSite(t *testing.T, edit ...func(*session.Options)) (*site, *oldSite) {
	t.Helper()
	old := newOldSite(nil)
	st := newSite(t, append([]func(*session.Options){func(o *session.Options) { o.Import = old }}, edit...)...)
	old.rows = map[string]session.Imported{oldToken: {
		Values:  map[string]any{"name": "ada", "cart": 3},
		Subject: "23",
		Expires: st.clock.Now().Add(8 * time.Hour),
	}}
	return st, old
}

// returning is a browser that still has the cookie of the old site.
func (st *site) returning(value string) *oldBrowser {
	return &oldBrowser{browser: st.browser(), old: "old=" + value}
}

// An oldBrowser keeps both cookies.
type oldBrowser struct {
	*browser
	old string
}

func (b *oldBrowser) clone() *oldBrowser { return &oldBrowser{b.browser.clone(), b.old} }

func (b *oldBrowser) request() *http.Request {
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	for _, c := range []string{b.old, b.cookie} {
		if c != "" {
			r.Header.Add("Cookie", c)
		}
	}
	return r
}

func (b *oldBrowser) get(p page) *httptest.ResponseRecorder { return b.send(b.request(), p) }

func (b *oldBrowser) send(r *http.Request, p page) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.st.Handler(p).ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		gone := c.MaxAge < 0 || c.Expires.Equal(time.Unix(0, 0))
		switch {
		case c.Name == "old" && gone:
			b.old = ""
		case gone:
			b.cookie = ""
		default:
			b.cookie = c.Name + "=" + c.Value
		}
	}
	return w
}

// who reads the session.
func who(w http.ResponseWriter, _ *http.Request, s *session.Session) {
	if s.IsNew() {
		fmt.Fprint(w, "nobody")
		return
	}
	all := make(map[string]any)
	for _, key := range s.Keys() {
		all[key], _ = session.Get[any](s, key)
	}
	text, _ := json.Marshal(all)
	fmt.Fprintf(w, "%s %s", s.Subject(), text)
}

const (
	ada    = `23 {"cart":3,"name":"ada"}`
	nobody = "nobody"
)

func TestAnOldSessionBecomesOneOfOurs(t *testing.T) {
	st, old := movedSite(t)
	b := st.returning(oldToken)
	w := b.get(who)
	equal(t, "the first page", w.Body.String(), ada)
	st.checkCalls("an import", sessiontest.Calls{Load: 1, Save: 3})
	equal(t, "the old cookie", b.old, "")
	if b.cookie == "" || strings.Contains(b.cookie, oldToken) {
		t.Errorf("the new cookie is %q", b.cookie)
	}
	contains(t, "Set-Cookie", strings.Join(w.Header()["Set-Cookie"], "\n"), "old=; Path=/; Expires=Thu, 01 Jan 1970")
	equal(t, "Cache-Control", w.Header().Get("Cache-Control"), "no-store")
	equal(t, "Vary", strings.Join(w.Header()["Vary"], ","), "Cookie")
	equal(t, "rows left in the old store", old.left(), 0)
	equal(t, "events", st.kinds(), "imported")
	var listed int
	for rec, err := range st.List(t.Context(), "23") {
		if err != nil || strings.Contains(string(rec.Data), oldToken) {
			t.Error(err, string(rec.Data))
		}
		listed++
	}
	equal(t, "sessions of the subject", listed, 1)
	for _, rec := range st.records() {
		if strings.Contains(fmt.Sprintf("%+v %s", rec, rec.Data), oldToken) {
			t.Error("the store has the old token")
		}
	}

	st.faults.ResetCalls()
	equal(t, "the second page", b.get(who).Body.String(), ada)
	st.checkCalls("the next request", sessiontest.Calls{Load: 1})
	equal(t, "loads of the old store", old.loads, 1)
}

func TestNothingIsImportedWithoutNeed(t *testing.T) {
	st, old := movedSite(t)
	idle := page(func(http.ResponseWriter, *http.Request, *session.Session) {})
	b := st.returning(oldToken)

	w := b.get(idle)
	st.checkCalls("a handler that does not use its session", sessiontest.Calls{})
	equal(t, "its headers", len(w.Header()), 0)

	equal(t, "without an old cookie", st.browser().get(who).Body.String(), nobody)
	st.checkCalls("without an old cookie", sessiontest.Calls{})
	equal(t, "loads of the old store", old.loads, 0)

	b.cookie = st.signedIn("42").cookie
	equal(t, "with a live session of ours", b.get(who).Body.String(), `42 {"name":"42"}`)
	equal(t, "loads of the old store", old.loads, 0)
	if b.old == "" {
		t.Error("the cookie of a session that was not imported was cleared")
	}

	equal(t, "with a token that the old store does not know", st.returning("unknown").get(who).Body.String(), nobody)
	equal(t, "records", len(st.records()), 1)

	s, err := st.Open(t.Context(), oldToken)
	if err != nil || !s.IsNew() {
		t.Error("Open has found a session:", err)
	}

	st = st.again(func(o *session.Options) { o.Cookie.Path = "/app" })
	st.faults.ResetCalls()
	r := b.request()
	r.Header.Set("Cookie", b.old)
	equal(t, "outside of the cookie's path", b.clone().send(r, func(w http.ResponseWriter, r *http.Request, _ *session.Session) {
		w2 := httptest.NewRecorder()
		st.Handler(page(who)).ServeHTTP(w2, r)
		fmt.Fprint(w, w2.Body)
	}).Body.String(), nobody)
	equal(t, "rows left in the old store", old.left(), 1)
}

func TestEagerImports(t *testing.T) {
	st, old := movedSite(t, func(o *session.Options) { o.Eager = true })
	b := st.returning(oldToken)
	b.get(func(http.ResponseWriter, *http.Request, *session.Session) {})
	equal(t, "rows left in the old store", old.left(), 0)
	equal(t, "the session", b.get(who).Body.String(), ada)
}

// An import that fails is a failed load: nobody is taken for a stranger, and
// nothing of the old session is lost.
func TestAnImportThatFailsIsNotNobody(t *testing.T) {
	down := errors.New("the old server is down")
	for name, row := range map[string]struct {
		fail func(st *site, old *oldSite)
		mend func(st *site, old *oldSite)
		most int // sessions that may be left behind
	}{
		"the old store is down": {
			func(_ *site, old *oldSite) { old.loadErr = down },
			func(_ *site, old *oldSite) { old.loadErr = nil }, 0,
		},
		"our store does not load": {
			func(st *site, _ *oldSite) { st.faults.Fail("load", errDown) },
			func(st *site, _ *oldSite) { st.faults.Fail("load", nil) }, 0,
		},
		"our store does not save": {
			func(st *site, _ *oldSite) { st.faults.Fail("save", errDown) },
			func(st *site, _ *oldSite) { st.faults.Fail("save", nil) }, 0,
		},
		"our store saves the session and not the mark": {
			func(st *site, _ *oldSite) { st.faults.Before("save", nth(2, errDown)) },
			func(*site, *oldSite) {}, 1,
		},
		"the answer to the saving of the mark is lost": {
			func(st *site, _ *oldSite) { st.faults.After("save", nth(2, errDown)) },
			func(*site, *oldSite) {}, 0,
		},
		"a value that JSON cannot hold": {
			func(_ *site, old *oldSite) { setValue(old, "f", func() {}) },
			func(_ *site, old *oldSite) { setValue(old, "f", nil) }, 0,
		},
		"a key that is reserved": {
			func(_ *site, old *oldSite) { setValue(old, "cookie", 1) },
			func(_ *site, old *oldSite) { setValue(old, "cookie", nil) }, 0,
		},
		"a subject that cannot be one": {
			func(_ *site, old *oldSite) { setSubject(old, "a\nb") },
			func(_ *site, old *oldSite) { setSubject(old, "23") }, 0,
		},
		"a session larger than MaxSize": {
			func(_ *site, old *oldSite) { setValue(old, "big", strings.Repeat("x", 2<<20)) },
			func(_ *site, old *oldSite) { setValue(old, "big", nil) }, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			st, old := movedSite(t)
			b := st.returning(oldToken)
			row.fail(st, old)
			var seen string
			w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				seen = fmt.Sprint(s.Subject(), s.Keys(), s.Err() != nil)
			})
			if w.Code < 500 || len(w.Header()["Set-Cookie"]) > 0 {
				t.Errorf("status %d, %v", w.Code, w.Header())
			}
			equal(t, "what the handler saw", seen, "[] true")
			equal(t, "rows left in the old store", old.left(), 1)
			row.mend(st, old)
			equal(t, "when it works again", b.get(who).Body.String(), ada)
			equal(t, "rows left in the old store", old.left(), 0)
			if n := st.live(); n < 1 || n > 1+row.most {
				t.Errorf("there are %d sessions", n)
			}
		})
	}
}

// nth makes the nth call fail.
func nth(n int, err error) func(context.Context) error {
	return func(context.Context) error {
		if n--; n == 0 {
			return err
		}
		return nil
	}
}

func setValue(old *oldSite, key string, value any) {
	if value == nil {
		delete(old.rows[oldToken].Values, key)
	} else {
		old.rows[oldToken].Values[key] = value
	}
}

func setSubject(old *oldSite, subject string) {
	row := old.rows[oldToken]
	row.Subject = subject
	old.rows[oldToken] = row
}

// Some clients of a server send a command again when its answer was lost, and
// the second finds what the first has done.
func TestAnImportWhoseMarkIsStoredTwice(t *testing.T) {
	st, old := movedSite(t)
	b := st.returning(oldToken)
	st.faults.After("save", nth(2, fmt.Errorf("again: %w", session.ErrConflict)))
	equal(t, "the page", b.get(who).Body.String(), ada)
	equal(t, "the next page", b.get(who).Body.String(), ada)
	equal(t, "rows left in the old store", old.left(), 0)
	equal(t, "sessions", st.live(), 1)
}

func TestThatTheOldOneCannotBeDeletedIsLoggedOnly(t *testing.T) {
	st, old := movedSite(t)
	old.delErr = errors.New("read only")
	b := st.returning(oldToken)
	w := b.get(who)
	equal(t, "the page", w.Body.String(), ada)
	contains(t, "the log", st.log.String(), "could not delete a session that was imported")
	contains(t, "the log", st.log.String(), "read only")
	replay := st.returning(oldToken)
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() })
	equal(t, "after the sign-out", replay.get(who).Body.String(), nobody)
}

// The old cookie is worth nothing once its session was imported, however it is
// kept and whatever became of the new one.
func TestAnOldSessionIsImportedOnce(t *testing.T) {
	forEver := func(old *oldSite) {
		row := old.rows[oldToken]
		row.Expires = time.Time{}
		old.rows[oldToken] = row
	}
	for name, row := range map[string]struct {
		edit func(old *oldSite)
		then func(t *testing.T, st *site, b *oldBrowser)
		want string
	}{
		"after the time of grace": {then: func(_ *testing.T, st *site, _ *oldBrowser) {
			st.clock.advance(time.Minute)
		}, want: nobody},
		"within the time of grace it leads to the new one": {then: func(_ *testing.T, st *site, _ *oldBrowser) {
			st.clock.advance(time.Minute - time.Millisecond)
		}, want: ada},
		"after a sign-out": {then: func(_ *testing.T, _ *site, b *oldBrowser) {
			b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() })
		}, want: nobody},
		"after a revocation": {then: func(t *testing.T, st *site, _ *oldBrowser) {
			if n, err := st.RevokeAll(t.Context(), "23"); n != 1 || err != nil {
				t.Error(n, err)
			}
		}, want: nobody},
		"after a sign-in": {then: func(_ *testing.T, _ *site, b *oldBrowser) {
			b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("42") })
		}, want: nobody},
		"after the new one was idle for too long": {then: func(_ *testing.T, st *site, _ *oldBrowser) {
			st.clock.advance(2 * time.Hour)
		}, want: nobody},
		"after a year, if it has no end": {edit: forEver, then: func(_ *testing.T, st *site, _ *oldBrowser) {
			st.clock.advance(365 * 24 * time.Hour)
		}, want: nobody},
		"after the secret was replaced": {then: func(_ *testing.T, st *site, b *oldBrowser) {
			b.st = st.again(func(o *session.Options) { o.Secrets = []session.Secret{oldSecret} })
			st.clock.advance(time.Minute)
		}, want: nobody},
	} {
		for _, sealed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in the cookie: %v", name, sealed), func(t *testing.T) {
				st, old := movedSite(t)
				old.sealed = sealed
				if row.edit != nil {
					row.edit(old)
				}
				b := st.returning(oldToken)
				equal(t, "the first page", b.get(who).Body.String(), ada)
				row.then(t, st, b)
				replay := st.returning(oldToken)
				replay.st = b.st
				equal(t, "the replay", replay.get(who).Body.String(), row.want)
				equal(t, "the replayed cookie", replay.old, "")
				if n := st.live(); n > 1 {
					t.Errorf("there are %d sessions", n)
				}
			})
		}
	}
}

// A straggler with the old token must not get the session that somebody has
// signed in to meanwhile, nor take the place of its cookie.
func TestAStragglerOfTheOldTokenAfterASignIn(t *testing.T) {
	st, _ := movedSite(t)
	b := st.returning(oldToken)
	straggler := b.clone()
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("42") })
	w := straggler.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Set("a", 1) })
	equal(t, "status", w.Code, http.StatusConflict)
	w = straggler.clone().get(who)
	equal(t, "what it reads", w.Body.String(), nobody)
	if text := strings.Join(w.Header()["Set-Cookie"], "\n"); strings.Contains(text, "__Host-session") {
		t.Errorf("the straggler was told %s", text)
	}
	equal(t, "the session", b.get(who).Body.String(), `42 {"cart":3,"name":"ada"}`)
	equal(t, "sessions", st.live(), 1)
}

// Nor does one bring another session along whose token of ours was replaced at a
// sign-in: it would take the place of the cookie that its browser has by now.
func TestAStragglerImportsNothing(t *testing.T) {
	st, old := movedSite(t)
	b := st.returning(oldToken)
	b.cookie = st.visitor(map[string]any{"a": 1}).cookie
	straggler := b.clone()
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("42") })
	equal(t, "what it reads", straggler.get(who).Body.String(), nobody)
	equal(t, "rows left in the old store", old.left(), 1)
}

// What the first request does with the imported session holds.
func TestTheFirstRequestOfAnOldSession(t *testing.T) {
	for name, row := range map[string]struct {
		page   page
		after  string // what the browser sees next
		live   int
		cookie bool
	}{
		"changes a key": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Set("cart", 4) },
			`23 {"cart":4,"name":"ada"}`, 1, true},
		"signs out": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() },
			nobody, 0, false},
		"signs in": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("42") },
			`42 {"cart":3,"name":"ada"}`, 1, true},
		"renews": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.RenewID() },
			ada, 1, true},
		"regenerates": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Regenerate(); s.Set("a", 1) },
			` {"a":1}`, 1, true},
		"takes a key": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { session.NewKey[int]("cart").Pop(s) },
			`23 {"name":"ada"}`, 1, true},
		"saves and reloads": {func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("cart", 5)
			if err := errors.Join(s.Save(), s.Reload()); err != nil {
				http.Error(w, err.Error(), 500)
			}
		}, `23 {"cart":5,"name":"ada"}`, 1, true},
		"lets go of it": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Unset() },
			ada, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			st, old := movedSite(t)
			b := st.returning(oldToken)
			w := b.get(row.page)
			equal(t, "status", w.Code, 200)
			equal(t, "whether a cookie was set", b.cookie != "", row.cookie)
			equal(t, "rows left in the old store", old.left(), 0)
			equal(t, "sessions", st.live(), row.live)
			if !row.cookie {
				b.old = "old=" + oldToken // of a client that did not listen
				st.clock.advance(10 * time.Minute)
			}
			equal(t, "the next page", b.get(who).Body.String(), row.after)
		})
	}
}

// As long as the client has not been sent the new token the old one leads to
// the session, or a page that opens a WebSocket first would be signed out.
func TestTheOldTokenLeadsThereUntilTheClientHasTheNewOne(t *testing.T) {
	for name, first := range map[string]page{
		"the session is first used after the header has left": func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			w.WriteHeader(200)
			s.Set("cart", 4)
		},
		"the connection is hijacked": func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("cart", 4)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.Close()
			}
		},
		"the handler panics": func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("cart", 4)
			if err := s.Save(); err == nil {
				panic(http.ErrAbortHandler)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			st, _ := movedSite(t)
			b := st.returning(oldToken)
			srv := st.serve(first)
			req, _ := http.NewRequest("GET", srv.URL, nil)
			req.Header.Set("Cookie", b.old)
			if resp, err := srv.Client().Do(req); err == nil {
				equal(t, "cookies set", len(resp.Cookies()), 0)
				resp.Body.Close()
			}
			srv.Close()
			st.clock.advance(30 * time.Minute)
			const changed = `23 {"cart":4,"name":"ada"}`
			equal(t, "half an hour later", b.get(who).Body.String(), changed)
			st.clock.advance(time.Minute)
			equal(t, "with the new cookie", b.get(who).Body.String(), changed)
			equal(t, "with the old one, a minute after the new one was sent", st.returning(oldToken).get(who).Body.String(), nobody)
			equal(t, "sessions", st.live(), 1)
		})
	}
}

// Nor is the old cookie cleared where the answer does not bring the new one.
func TestTheOldCookieStaysUntilTheClientHasTheNewOne(t *testing.T) {
	for name, unset := range map[string]bool{"the session is unset": true, "the request is plain HTTP": false} {
		for _, cookie := range []string{"old", "session"} { // which is the name of ours
			t.Run(name+", "+cookie, func(t *testing.T) {
				st, old := movedSite(t, func(o *session.Options) {
					o.Cookie = session.Cookie{Name: "session", Secure: session.SecureRequired}
				})
				old.cookie.Name = cookie
				b := st.browser()
				b.cookie = cookie + "=" + oldToken
				r := b.request()
				if !unset {
					r.TLS = nil
				}
				w := b.send(r, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
					equal(t, "whose session it is", s.Subject(), "23")
					if unset {
						s.Unset()
					}
				})
				equal(t, "cookies told", len(w.Header()["Set-Cookie"]), 0)
				equal(t, "the next page", b.get(who).Body.String(), ada)
			})
		}
	}
}

func TestThatTheOldTokenCannotBeEndedIsLoggedOnly(t *testing.T) {
	st, _ := movedSite(t)
	b := st.returning(oldToken)
	st.faults.Before("save", nth(3, errDown))
	equal(t, "the page", b.get(who).Body.String(), ada)
	contains(t, "the log", st.log.String(), "could not end the old token")
	equal(t, "the next page", b.get(who).Body.String(), ada)
}

// Requests that a client makes at the same time get one session, and none of
// their changes is lost.
func TestConcurrentFirstRequestsOfAnOldSession(t *testing.T) {
	const n = 8
	for _, sealed := range []bool{false, true} {
		for round := range 20 {
			st, old := movedSite(t)
			old.sealed = sealed
			other := st.again() // another process
			var wait sync.WaitGroup
			cookies := make([]string, n)
			gate := make(chan struct{})
			for i := range n {
				wait.Go(func() {
					b := st.returning(oldToken)
					if i%2 == 1 {
						b.st = other
					}
					<-gate
					w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
						c, _ := sum.Get(s)
						sum.Set(s, c+1)
						s.Set(fmt.Sprint("key", i), i)
					})
					if w.Code != 200 || b.cookie == "" || b.old != "" {
						t.Errorf("status %d, cookies %q %q, %s", w.Code, b.cookie, b.old, w.Body)
					}
					cookies[i] = b.cookie
				})
			}
			close(gate)
			wait.Wait()
			for _, c := range cookies {
				equal(t, "the cookies", c, cookies[0])
			}
			equal(t, "sessions", st.live(), 1)
			b := st.browser()
			b.cookie = cookies[0]
			var got map[string]any
			unmarshal(t, b.data(), &got)
			if len(got) != 3+n-1+1 || got["cart"] != 3.0 || got["sum"] != float64(n) {
				t.Errorf("round %d: the session has %v", round, got)
			}
			if t.Failed() {
				return
			}
		}
	}
}

var sum = session.NewKey[int]("sum", session.Sum)

// One that has found the old session when another has finished importing it, and
// one that no longer finds it.
func TestALateSecondImport(t *testing.T) {
	st, old := movedSite(t)
	first, second := st.returning(oldToken), st.returning(oldToken)
	old.loaded = func() {
		old.loaded = nil
		equal(t, "the first", first.get(who).Body.String(), ada)
	}
	equal(t, "the second, which had begun before", second.get(who).Body.String(), ada)
	equal(t, "the second's cookie", second.cookie, first.cookie)
	equal(t, "sessions", st.live(), 1)
	third := st.returning(oldToken)
	equal(t, "the third, for which the row is gone", third.get(who).Body.String(), ada)
	equal(t, "the third's cookie", third.cookie, first.cookie)

	// One for which it goes between what it looks at first and what it looks at next.
	st, old = movedSite(t)
	first, second = st.returning(oldToken), st.returning(oldToken)
	old.loading = func() {
		old.loading = nil
		equal(t, "the first", first.get(who).Body.String(), ada)
	}
	equal(t, "the second, whose row goes before it looks", second.get(who).Body.String(), ada)

	// Both have stored a session, and one of them the mark.
	st, _ = movedSite(t)
	first, second = st.returning(oldToken), st.returning(oldToken)
	saves := 0
	st.faults.Before("save", func(context.Context) error {
		if saves++; saves == 2 { // before the second's mark
			equal(t, "the first", first.get(who).Body.String(), ada)
		}
		return nil
	})
	equal(t, "the second", second.get(who).Body.String(), ada)
	equal(t, "the second's cookie", second.cookie, first.cookie)
	equal(t, "sessions", st.live(), 1)
}

func TestTheLifeOfAnImportedSession(t *testing.T) {
	hours := func(st *site, n float64) time.Time { return st.clock.Now().Add(time.Duration(n * float64(time.Hour))) }
	for name, row := range map[string]struct {
		opts  func(*session.Options)
		old   func(st *site) session.Imported
		ends  time.Duration // if it is used all the time; zero for at once
		after page          // what happens before that
	}{
		"it ends with the old one, if that is sooner": {
			old:  func(st *site) session.Imported { return session.Imported{Expires: hours(st, 3)} },
			ends: 3 * time.Hour,
		},
		"it ends by the options, if that is sooner": {
			old:  func(st *site) session.Imported { return session.Imported{Expires: hours(st, 30)} },
			ends: 24 * time.Hour,
		},
		"the absolute timeout counts from its beginning": {
			old:  func(st *site) session.Imported { return session.Imported{Created: hours(st, -20)} },
			ends: 4 * time.Hour,
		},
		"a beginning in the future is now": {
			old:  func(st *site) session.Imported { return session.Imported{Created: hours(st, 20)} },
			ends: 24 * time.Hour,
		},
		"one that is older than the absolute timeout is over": {
			old: func(st *site) session.Imported { return session.Imported{Created: hours(st, -25)} },
		},
		"one that has ended is over": {
			old: func(st *site) session.Imported { return session.Imported{Expires: hours(st, 0)} },
		},
		"without an absolute timeout it ends with the old one": {
			opts: func(o *session.Options) { o.AbsoluteTimeout = -1 },
			old:  func(st *site) session.Imported { return session.Imported{Expires: hours(st, 50)} },
			ends: 50 * time.Hour,
		},
		"after a sign-in it is like any other": {
			old:   func(st *site) session.Imported { return session.Imported{Expires: hours(st, 3)} },
			after: func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23") },
			ends:  24 * time.Hour,
		},
		"after a renewal it still ends with the old one": {
			old:   func(st *site) session.Imported { return session.Imported{Expires: hours(st, 3)} },
			after: func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.RenewID() },
			ends:  3 * time.Hour,
		},
		"one to be remembered ends with the old one": {
			old: func(st *site) session.Imported {
				return session.Imported{Expires: hours(st, 48), MaxAge: 48 * time.Hour}
			},
			ends: 48 * time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			old := newOldSite(nil)
			st := newSite(t, func(o *session.Options) {
				o.Import = old
				if row.opts != nil {
					row.opts(o)
				}
			})
			old.rows = map[string]session.Imported{oldToken: row.old(st)}
			b := st.returning(oldToken)
			alive := func() bool { return b.get(who).Body.String() != nobody }
			if row.ends == 0 {
				equal(t, "alive", alive(), false)
				equal(t, "records", len(st.records()), 0)
				return
			}
			equal(t, "alive", alive(), true)
			if row.after != nil {
				b.get(row.after)
			}
			const step = 10 * time.Minute
			for at := step; at < row.ends; at += step {
				st.clock.advance(step)
				if !alive() {
					t.Fatalf("it has ended after %v, want %v", at, row.ends)
				}
			}
			st.clock.advance(step)
			equal(t, "alive at its end", alive(), false)
		})
	}
}

func TestARememberedSessionKeepsItsCookie(t *testing.T) {
	st, old := movedSite(t)
	row := old.rows[oldToken]
	row.MaxAge = 6 * time.Hour
	old.rows[oldToken] = row
	w := st.returning(oldToken).get(who)
	c := w.Result().Cookies()[0]
	equal(t, "Expires", c.Expires.UTC(), st.clock.Now().Add(6*time.Hour).UTC())
}

func TestAnImportWithAHeader(t *testing.T) {
	st, _ := movedSite(t, func(o *session.Options) { o.Header = "X-Token" })
	b := st.returning(oldToken)
	w := b.get(who)
	equal(t, "the page", w.Body.String(), ada)
	equal(t, "the old cookie", b.old, "")
	equal(t, "Vary", strings.Join(w.Header()["Vary"], ","), "X-Token,Cookie")
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	r.Header.Set("X-Token", w.Header().Get("X-Token"))
	equal(t, "the next page", st.browser().send(r, who).Body.String(), ada)
}

// The old cookie may have had the name that ours has.
func TestTheOldCookieHasTheNameOfOurs(t *testing.T) {
	for _, path := range []string{"/", ""} {
		st, old := movedSite(t, func(o *session.Options) { o.Cookie.Name = "session" })
		old.cookie = http.Cookie{Name: "session", Path: path}
		b := st.browser()
		b.cookie = "session=" + oldToken
		w := b.get(who)
		equal(t, "the page", w.Body.String(), ada)
		if set := w.Header()["Set-Cookie"]; len(set) != 1 || !strings.HasPrefix(set[0], "session=s%3A") {
			t.Errorf("Set-Cookie: %q", set)
		}
		equal(t, "the next page", b.get(who).Body.String(), ada)
		equal(t, "events", st.kinds(), "imported")

		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() })
		equal(t, "the cookie after the sign-out", b.cookie, "")
		b.cookie = "session=" + oldToken
		equal(t, "the replay", b.get(who).Body.String(), nobody)
		equal(t, "the replayed cookie", b.cookie, "")
	}
	// A sign-out by the old cookie clears it.
	st, old := movedSite(t, func(o *session.Options) { o.Cookie.Name = "session" })
	old.cookie = http.Cookie{Name: "session", Path: "/"}
	b := st.browser()
	b.cookie = "session=" + oldToken
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() })
	equal(t, "the cookie", b.cookie, "")
	// Under another path both are there, and the old one is to go.
	st, old = movedSite(t, func(o *session.Options) { o.Cookie.Name = "session" })
	old.cookie = http.Cookie{Name: "session", Path: "/app"}
	b = st.browser()
	b.cookie = "session=" + oldToken
	set := b.get(who).Header()["Set-Cookie"]
	if len(set) != 2 || !strings.HasPrefix(set[1], "session=; Path=/app; Expires=Thu, 01 Jan 1970") {
		t.Errorf("Set-Cookie: %q", set)
	}
}

func TestWhatImportDoesNotGoWith(t *testing.T) {
	for name, row := range map[string]struct {
		edit func(o *session.Options, old *oldSite)
		want string
	}{
		"ExpressCompatible":   {func(o *session.Options, _ *oldSite) { o.ExpressCompatible = true }, "Options.Import leaves a mark"},
		"a cookie of no name": {func(_ *session.Options, old *oldSite) { old.cookie.Name = "" }, "cookie 1"},
	} {
		old := newOldSite(nil)
		opts := session.Options{Secrets: []session.Secret{newSecret}, Import: old, NoStoreWarning: true}
		row.edit(&opts, old)
		_, err := session.New(newSite(t).store, &opts)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
