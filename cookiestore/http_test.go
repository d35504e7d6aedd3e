package cookiestore_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
	"github.com/coatcheck/session/sessiontest"
)

const name = "__Host-session"

// The ways of commit.go, one after another.

func TestTheLifeOfASession(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	step := func(what string, p func(s *session.Session), wantTold, wantState, wantEvents string) {
		t.Helper()
		st.kinds()
		w := b.do(p)
		equal(t, what+": told", told(w), wantTold)
		equal(t, what+": events", st.kinds(), wantEvents)
		equal(t, what+": state", b.state(), wantState)
		if wantTold != "" {
			equal(t, what+": Cache-Control", w.Header().Get("Cache-Control"), "no-store")
		}
		st.kinds()
	}

	step("a look at nothing", func(s *session.Session) { count.Get(s) }, "", "none", "")
	step("begin", func(s *session.Session) { count.Set(s, 1) }, "token .0", `{"n":1}`, "created")
	step("read", func(s *session.Session) { count.Get(s) }, "", `{"n":1}`, "")
	step("do not look", func(*session.Session) {}, "", `{"n":1}`, "")
	step("write", func(s *session.Session) { count.Set(s, 2) }, ".0", `{"n":2}`, "")
	step("write what is there", func(s *session.Session) { count.Set(s, 2) }, "", `{"n":2}`, "")
	step("renew", (*session.Session).RenewID, "token -.0 .0", `{"n":2}`, "renewed")
	step("sign in", func(s *session.Session) { s.SetSubject("ada") }, "token -.0 .0", `ada {"n":2}`, "renewed")
	step("touch", (*session.Session).Touch, ".0", `ada {"n":2}`, "")
	step("save at once, and change again", func(s *session.Session) {
		count.Set(s, 3)
		if err := s.Save(); err != nil {
			t.Error(err)
		}
		if err := s.Reload(); err != nil {
			t.Error(err)
		}
		count.Set(s, 4)
	}, ".0", `ada {"n":4}`, "")
	step("pop", func(s *session.Session) {
		if n, ok := count.Pop(s); n != 4 || !ok {
			t.Error(n, ok)
		}
		if _, ok := count.Pop(s); ok {
			t.Error("popped twice")
		}
	}, ".0", `ada {}`, "")
	step("unset keeps what is there", func(s *session.Session) { count.Set(s, 9); s.Unset() }, "", `ada {}`, "")
	step("regenerate", func(s *session.Session) { s.Regenerate(); count.Set(s, 5) }, "token -.0 .0", `{"n":5}`, "created destroyed")
	step("destroy", (*session.Session).Destroy, "-token -.0", "none", "destroyed")
	equal(t, "what is left", b.names(), "")
	step("begin again", func(s *session.Session) { s.SetSubject("bob") }, "token .0", `bob {}`, "created")
	step("renew twice in one request", func(s *session.Session) {
		s.RenewID()
		if err := s.Save(); err != nil {
			t.Error(err)
		}
		s.RenewID()
	}, "token -.0 .0", `bob {}`, "renewed renewed")
	step("begin, save and destroy", func(s *session.Session) {
		s.Regenerate()
		if err := s.Save(); err != nil {
			t.Error(err)
		}
		s.Destroy()
	}, "-token -.0", "none", "created destroyed destroyed")
	step("begin, save and unset", func(s *session.Session) {
		count.Set(s, 1)
		if err := s.Save(); err != nil {
			t.Error(err)
		}
		s.Unset()
	}, "", "none", "created destroyed")
}

func TestUnsetMayDestroy(t *testing.T) {
	st := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.Unset = session.UnsetDestroy })
	b := st.browser()
	b.do(func(s *session.Session) { count.Set(s, 1) })
	equal(t, "told", told(b.do((*session.Session).Unset)), "-token -.0")
	equal(t, "state", b.state(), "none")
}

func TestTheOptionsOfExpress(t *testing.T) {
	st := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.SaveUninitialized, o.Resave = true, true })
	b := st.browser()
	equal(t, "uninitialized", told(b.do(func(*session.Session) {})), "token .0")
	equal(t, "resaved", told(b.do(func(*session.Session) {})), ".0")
	st = st.again(func(o *session.Options, _ *cookiestore.Options) {
		o.SaveUninitialized, o.Resave, o.Rolling = false, false, true
	})
	b.st = st
	equal(t, "rolling", told(b.do(func(*session.Session) {})), "token")
}

func TestTheCookiesAreAlike(t *testing.T) {
	attributes := func(line string) string {
		_, attrs, _ := strings.Cut(line, ";")
		return attrs
	}
	for name, edit := range map[string]func(*session.Options, *cookiestore.Options){
		"as they come": func(*session.Options, *cookiestore.Options) {},
		"all different": func(o *session.Options, _ *cookiestore.Options) {
			o.Cookie = session.Cookie{Name: "sid", Path: "/", Domain: "example.test", AllowScript: true, SameSite: http.SameSiteNoneMode, Partitioned: true, Priority: "High"}
		},
		"for plain HTTP": func(o *session.Options, _ *cookiestore.Options) {
			o.Cookie = session.Cookie{Secure: session.InsecureNever, SameSite: http.SameSiteStrictMode}
		},
		"by request": func(o *session.Options, _ *cookiestore.Options) {
			o.CookieFunc = func(_ *http.Request, c session.Cookie) session.Cookie {
				c.SameSite = http.SameSiteStrictMode
				return c
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, edit, func(_ *session.Options, c *cookiestore.Options) { c.MaxBytes = 16384 })
			b := st.browser()
			check := func(w *httptest.ResponseRecorder, n int) {
				t.Helper()
				lines := w.Header()["Set-Cookie"]
				equal(t, "Set-Cookie lines", len(lines), n)
				for _, line := range lines {
					equal(t, "attributes", attributes(line), attributes(lines[0]))
					if len(line) > 4000 && strings.Contains(line, ".0=") {
						t.Errorf("a line has %d bytes", len(line))
					}
				}
			}
			n, size := 4, 8000
			if st.opts.Cookie.Partitioned {
				n, size = 3, 3000
			}
			check(b.do(func(s *session.Session) { s.Set("big", strings.Repeat("x", size)) }), n)
			check(b.do((*session.Session).Destroy), n)
		})
	}
}

func TestPersistentCookies(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	begin := st.clock()
	expires := func(w *httptest.ResponseRecorder) (all []time.Duration) {
		for _, c := range w.Result().Cookies() {
			all = append(all, c.Expires.Sub(begin))
		}
		return all
	}
	const day = 24 * time.Hour
	got := expires(b.do(func(s *session.Session) { s.SetSubject("ada"); s.SetMaxAge(7 * day); s.SetAbsoluteTimeout(30 * day) }))
	if len(got) != 2 || got[0] != 30*day || got[1] != 7*day {
		t.Errorf("the cookies end after %v; the token's at the absolute end, the other's with the session", got)
	}
	st.advance(2 * day)
	got = expires(b.do(func(s *session.Session) { count.Get(s) }))
	if len(got) != 1 || got[0] != 9*day {
		t.Errorf("when the life is extended, the cookies end after %v", got)
	}
	// Without an absolute end that cannot be known from the start.
	st = newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.AbsoluteTimeout = -1 })
	begin, b = st.clock(), st.browser()
	b.do(func(s *session.Session) { s.SetMaxAge(7 * day) })
	st.advance(2 * day)
	got = expires(b.do(func(s *session.Session) { count.Get(s) }))
	if len(got) != 2 || got[0] != 9*day || got[1] != 9*day {
		t.Errorf("without an absolute end, the cookies end after %v", got)
	}
}

func TestExpiryIsSealed(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	b.do(func(s *session.Session) { s.SetSubject("ada") })
	first := b.clone()
	for range 3 {
		st.advance(50 * time.Minute)
		equal(t, "extended", told(b.do(func(s *session.Session) { s.Subject() })), ".0")
		equal(t, "not again", told(b.do(func(s *session.Session) { s.Subject() })), "")
	}
	equal(t, "the session in use", b.state(), "ada {}")
	st.kinds()
	equal(t, "a copy that was not used for an hour", first.state(), "none")
	equal(t, "events", st.kinds(), "expired")
	for range 30 {
		st.advance(50 * time.Minute)
		b.do(func(s *session.Session) { s.Subject() })
	}
	equal(t, "after a day", b.state(), "none")
	equal(t, "what is left", b.names(), "")
}

func TestASessionInSeveralCookies(t *testing.T) {
	st := newSite(t, func(_ *session.Options, c *cookiestore.Options) { c.MaxBytes = 16384 })
	b := st.browser()
	all := func(n int) string {
		names := []string{name}
		for i := range n {
			names = append(names, name+"."+string(rune('0'+i)))
		}
		return strings.Join(names, " ")
	}
	pieces := 0
	for _, row := range []struct{ size, pieces int }{{10, 1}, {2800, 1}, {2900, 2}, {8000, 3}, {12000, 5}, {5000, 2}, {2800, 1}, {12000, 5}, {0, 1}} {
		text := strings.Repeat("0123456789", row.size/10)
		w := b.do(func(s *session.Session) { s.Set("text", text) })
		equal(t, "cookies", b.names(), all(row.pieces))
		if cleared := strings.Count(told(w), "-"); cleared != max(0, pieces-row.pieces) {
			t.Errorf("%d cookies were cleared when %d pieces became %d", cleared, pieces, row.pieces)
		}
		pieces = row.pieces
		equal(t, "state", b.state(), `{"text":"`+text+`"}`)
	}
	b.do((*session.Session).RenewID)
	equal(t, "cookies", b.names(), all(1))
	b.do(func(s *session.Session) { s.Set("text", strings.Repeat("x", 12000)) })
	b.do((*session.Session).Destroy)
	equal(t, "cookies", b.names(), "")
}

func TestTooLargeKeepsTheOldState(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	b.do(func(s *session.Session) { s.SetSubject("ada"); count.Set(s, 1) })
	before := b.state()
	for name, p := range map[string]func(s *session.Session){
		"a change":   func(s *session.Session) { s.Set("big", strings.Repeat("x", 4000)) },
		"a renewal":  func(s *session.Session) { s.Set("big", strings.Repeat("x", 4000)); s.RenewID() },
		"a new one":  func(s *session.Session) { s.Regenerate(); s.Set("big", strings.Repeat("x", 4000)) },
		"a sign-in":  func(s *session.Session) { s.Set("big", strings.Repeat("x", 4000)); s.SetSubject("bob") },
		"after Save": func(s *session.Session) { count.Set(s, 2); _ = s.Save(); s.Set("big", strings.Repeat("x", 4000)) },
	} {
		var err error
		w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			p(s)
			err = s.Save()
		})
		if w.Code != http.StatusInternalServerError || !errors.Is(err, session.ErrTooLarge) {
			t.Errorf("%s: status %d, %v", name, w.Code, err)
		}
		equal(t, name+": told", told(w), "")
		equal(t, name+": state", b.state(), before)
	}
}

// Of partitioned cookies browsers keep less.
func TestPartitionedCookiesHoldLess(t *testing.T) {
	st := newSite(t, func(o *session.Options, c *cookiestore.Options) {
		o.Cookie.Partitioned = true
		c.MaxBytes = 16384
	})
	b := st.browser()
	b.do(func(s *session.Session) { s.Set("text", strings.Repeat("x", 3000)) })
	before := b.state()
	w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("text", strings.Repeat("x", 3100))
	})
	equal(t, "status", w.Code, 500)
	equal(t, "state", b.state(), before)
}

func TestAfterTheFirstByteNothingCanBeSaved(t *testing.T) {
	for _, row := range []struct {
		name string
		late func(s *session.Session)
		bad  bool
	}{
		{"reading is possible", func(s *session.Session) { count.Get(s) }, false},
		{"reading again, too", func(s *session.Session) { _ = s.Reload() }, false},
		{"to take no part, too", (*session.Session).Unset, false},
		{"a change", func(s *session.Session) { count.Set(s, 2) }, true},
		{"a change by reference", func(s *session.Session) { *count.Ref(s) = 2 }, true},
		{"Pop", func(s *session.Session) { count.Pop(s) }, true},
		{"RenewID", (*session.Session).RenewID, true},
		{"SetSubject", func(s *session.Session) { s.SetSubject("bob") }, true},
		{"Regenerate", (*session.Session).Regenerate, true},
		{"Touch", (*session.Session).Touch, true},
		{"Save", func(s *session.Session) { _ = s.Save() }, true},
		{"SetMaxAge", func(s *session.Session) { s.SetMaxAge(time.Hour) }, true},
		{"Destroy", (*session.Session).Destroy, true},
		{"Reset", (*session.Session).Reset, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newSite(t)
			b := st.browser()
			b.do(func(s *session.Session) { s.SetSubject("ada"); count.Set(s, 1) })
			before := b.state()
			st.advance(30 * time.Minute) // its life would be extended
			var err error
			aborted := func() (aborted bool) {
				defer func() { aborted = recover() == http.ErrAbortHandler }()
				b.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
					_, _ = w.Write([]byte("the first byte"))
					row.late(s)
					err = s.Err()
				})
				return false
			}()
			equal(t, "cut short", aborted, row.bad)
			if row.bad && row.name != "a change by reference" && !errors.Is(err, session.ErrHeaderSent) || !row.bad && err != nil {
				t.Error(err)
			}
			equal(t, "state", b.state(), before)
		})
	}
}

func TestHijackCarriesNoCookie(t *testing.T) {
	for _, row := range []struct {
		name string
		p    func(s *session.Session)
		ok   bool
	}{
		{"reading is possible", func(s *session.Session) { count.Get(s) }, true},
		{"a change is not", func(s *session.Session) { count.Set(s, 2) }, false},
		{"also if it was saved", func(s *session.Session) { count.Set(s, 2); _ = s.Save() }, false},
		{"nor a sign-out", (*session.Session).Destroy, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.Resave = true })
			b := st.browser()
			b.do(func(s *session.Session) { count.Set(s, 1) })
			b.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				row.p(s)
				_, _, err := w.(http.Hijacker).Hijack()
				if row.ok != errors.Is(err, http.ErrNotSupported) || !row.ok && !errors.Is(err, session.ErrHeaderSent) {
					t.Error(err) // the recorder cannot, which is as far as it gets
				}
			})
		})
	}
}

// Requests at the same time. An answer is made at one moment and arrives later.

func TestASlowAnswerDoesNotUndoASignOut(t *testing.T) {
	for name, life := range map[string]time.Duration{"until the browser is closed": 0, "for a week": 7 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			b := st.browser()
			b.do(func(s *session.Session) { s.SetSubject("ada"); s.SetMaxAge(life) })
			slow := b.answer(b.request(), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Set(s, 1) })
			b.do((*session.Session).Destroy)
			b.keep(slow)
			equal(t, "state", b.state(), "none")
			b.do(func(s *session.Session) { count.Get(s) }) // cleans up
			equal(t, "what is left", b.names(), "")
		})
	}
}

func TestASlowAnswerDoesNotUndoASignIn(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	b.do(func(s *session.Session) { count.Set(s, 1) })
	slow := b.answer(b.request(), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Set(s, 2) })
	b.do(func(s *session.Session) { s.SetSubject("ada") })
	b.keep(slow)
	equal(t, "state", b.state(), `ada {"n":1}`)
	equal(t, "the next look clears", told(b.do(func(s *session.Session) { count.Get(s) })), "-.0")
	equal(t, "state", b.state(), `ada {"n":1}`)
}

func TestTheLastAnswerStays(t *testing.T) {
	st := newSite(t, func(_ *session.Options, c *cookiestore.Options) { c.MaxBytes = 16384 })
	b := st.browser()
	b.do(func(s *session.Session) { s.Set("base", true) })
	large := b.answer(b.request(), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("a", strings.Repeat("a", 8000))
	})
	small := b.answer(b.request(), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Set("b", 1) })
	b.keep(large)
	b.keep(small)
	equal(t, "state", b.state(), `{"base":true,"b":1}`)
	b.keep(large)
	equal(t, "state", b.state(), `{"base":true,"a":"`+strings.Repeat("a", 8000)+`"}`)
}

// Attackers.

// parts returns the token and the piece of a browser whose session is in one
// cookie.
func (b *browser) parts() (token, piece *http.Cookie) {
	b.st.t.Helper()
	for _, c := range b.jar.Cookies(origin) {
		if c.Name == name {
			token = c
		} else {
			piece = c
		}
	}
	if token == nil || piece == nil {
		b.st.t.Fatalf("the browser has %s", b.names())
	}
	return token, piece
}

// holding returns a browser with other cookies.
func (st *site) holding(cookies ...*http.Cookie) *browser {
	b := st.browser()
	b.jar.SetCookies(origin, cookies)
	return b
}

func TestPiecesOfOthersOpenNothing(t *testing.T) {
	st := newSite(t)
	ada, eve := st.browser(), st.browser()
	ada.do(func(s *session.Session) { s.SetSubject("ada") })
	eve.do(func(s *session.Session) { s.SetSubject("eve") })
	adaToken, adaPiece := ada.parts()
	eveToken, evePiece := eve.parts()
	renamed := *adaPiece
	renamed.Name = evePiece.Name
	foreign := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.Secrets = []session.Secret{oldSecret} }).browser()
	foreign.do(func(s *session.Session) { s.SetSubject("ada") })
	foreignToken, foreignPiece := foreign.parts()
	// Who knows the secret of the signatures alone, or the other purpose of a
	// site, has a token that is good, and no parcel for it.
	purpose := st.again(func(_ *session.Options, c *cookiestore.Options) { c.Purpose = "admin" })
	admin := purpose.browser()
	admin.do(func(s *session.Session) { s.SetSubject("root") })
	adminToken, adminPiece := admin.parts()
	for _, row := range []struct {
		name    string
		cookies []*http.Cookie
		want    string
	}{
		{"her own", []*http.Cookie{eveToken, evePiece}, "eve {}"},
		{"her token, his piece", []*http.Cookie{eveToken, adaPiece}, "none"},
		{"her token, his piece under the name of hers", []*http.Cookie{eveToken, &renamed}, "none"},
		{"his token alone", []*http.Cookie{adaToken}, "none"},
		{"his piece alone", []*http.Cookie{adaPiece}, "none"},
		{"both of another site", []*http.Cookie{foreignToken, foreignPiece}, "none"},
		{"her token, a piece of another site", []*http.Cookie{eveToken, foreignPiece}, "none"},
		{"both of another purpose", []*http.Cookie{adminToken, adminPiece}, "none"},
	} {
		b := st.holding(row.cookies...)
		equal(t, row.name, b.state(), row.want)
		if row.want == "none" {
			b.do(func(s *session.Session) { count.Get(s) })
			equal(t, row.name+": what is left", b.names(), "")
		}
	}
}

func TestDamagedPiecesOpenNothing(t *testing.T) {
	st := newSite(t, func(_ *session.Options, c *cookiestore.Options) { c.MaxBytes = 16384 })
	good := st.browser()
	text := strings.Repeat("0123456789", 800)
	good.do(func(s *session.Session) { s.Set("text", text) })
	old := good.clone()
	good.do(func(s *session.Session) { s.Set("text", text+"!") })
	cookies, before := good.jar.Cookies(origin), old.jar.Cookies(origin)
	if len(cookies) != 4 {
		t.Fatalf("%d cookies", len(cookies))
	}
	piece := func(from []*http.Cookie, i int) *http.Cookie {
		for _, c := range from {
			if strings.HasSuffix(c.Name, "."+string(rune('0'+i))) {
				return c
			}
		}
		t.Fatal("no piece")
		return nil
	}
	with := func(c *http.Cookie, value string) *http.Cookie { return &http.Cookie{Name: c.Name, Value: value} }
	a, b, c := piece(cookies, 0), piece(cookies, 1), piece(cookies, 2)
	for _, row := range []struct {
		name string
		put  []*http.Cookie
		want string
	}{
		{"nothing changed", nil, `{"text":"` + text + `!"}`},
		{"a piece is missing", []*http.Cookie{{Name: b.Name, MaxAge: -1}}, "none"},
		{"the last is missing", []*http.Cookie{{Name: c.Name, MaxAge: -1}}, "none"},
		{"the first is missing", []*http.Cookie{{Name: a.Name, MaxAge: -1}}, "none"},
		{"two are swapped", []*http.Cookie{with(a, b.Value), with(b, a.Value)}, "none"},
		{"one is of the state before", []*http.Cookie{with(b, piece(before, 1).Value)}, "none"},
		{"one of the state before has the label of this", []*http.Cookie{with(b, b.Value[:4]+piece(before, 1).Value[4:])}, "none"},
		{"one is cut", []*http.Cookie{with(b, b.Value[:len(b.Value)-4])}, "none"},
		{"a character is another", []*http.Cookie{with(c, c.Value[:len(c.Value)-9]+"AAAA"+c.Value[len(c.Value)-5:])}, "none"},
		{"an end that decodes alike", []*http.Cookie{with(c, c.Value+"A")}, "none"},
		{"another alphabet", []*http.Cookie{with(a, strings.ReplaceAll(a.Value, "-", "+")+"+")}, "none"},
		{"all of the state before, which a client can always put back", before, `{"text":"` + text + `"}`},
		{"more pieces than there are", []*http.Cookie{{Name: a.Name[:len(a.Name)-1] + "7", Value: "AAAAAAAA"}}, `{"text":"` + text + `!"}`},
		{"a further piece without this label", []*http.Cookie{{Name: a.Name[:len(a.Name)-1] + "3", Value: "AAAAAAAA"}}, `{"text":"` + text + `!"}`},
		{"a further piece with it", []*http.Cookie{{Name: a.Name[:len(a.Name)-1] + "3", Value: a.Value[:4] + "AAAA"}}, "none"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := good.clone()
			b.jar.SetCookies(origin, row.put)
			if got := b.state(); got != row.want {
				t.Errorf("%.40s, want %.40s", got, row.want)
			}
		})
	}
}

// The parser must neither take long nor be led astray by what it is shown.
func TestManyPieces(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	b.do(func(s *session.Session) { count.Set(s, 1) })
	token, piece := b.parts()
	own := token.Name + "=" + token.Value + "; " + piece.Name + "=" + piece.Value
	junk := func(n int, size int) string {
		var text strings.Builder
		for i := range n {
			id := base64.RawURLEncoding.EncodeToString([]byte{byte(i), byte(i >> 8), 7})
			text.WriteString(name + "." + id + "." + string(rune('0'+i%10)) + "=" + strings.Repeat("A", size) + "; ")
		}
		return text.String()
	}
	for _, row := range []struct{ name, header, want string }{
		{"its own", own, `{"n":1}`},
		{"after some of others", junk(20, 8) + own, `{"n":1}`},
		{"before very many of others", own + "; " + junk(100_000, 8), `{"n":1}`},
		{"before very long ones", own + "; " + junk(100, 4096), `{"n":1}`},
		{"after very many of others", junk(100_000, 8) + own, "none"},
		{"the same piece a hundred times", token.Name + "=" + token.Value + strings.Repeat("; "+piece.Name+"="+piece.Value, 100), `{"n":1}`},
		{"one that is longer than a browser keeps", strings.Replace(own, piece.Value, piece.Value+strings.Repeat("A", 5000), 1), "none"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", origin.String(), nil)
			r.Header.Set("Cookie", row.header)
			state := "none"
			w := b.answer(r, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				if !s.IsNew() {
					state = string(s.Record().Data)
				}
			})
			equal(t, "state", state, row.want)
			if n := len(w.Header()["Set-Cookie"]); n > 33 {
				t.Errorf("%d cookies are cleared", n)
			}
		})
	}
}

func TestOtherCookiesAreLeftAlone(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	for _, n := range []string{"other", "__Host-session2", "__Host-session.theme", "__Host-session.abcd.x", "__Host-session.abcd.0x", "__Host-session.ab d.0", "__Host-sessio.abcd.0", "x__Host-session.abcd.0"} {
		b.jar.SetCookies(origin, []*http.Cookie{{Name: n, Value: "AAAAAAAA"}})
	}
	before := b.names()
	b.do(func(s *session.Session) { count.Set(s, 1) })
	b.do((*session.Session).Destroy)
	equal(t, "cookies", b.names(), before)
}

func TestTheSecretIsRotated(t *testing.T) {
	st := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.Secrets = []session.Secret{oldSecret} })
	b := st.browser()
	b.do(func(s *session.Session) { s.SetSubject("ada") })
	b.st = st.again(func(o *session.Options, _ *cookiestore.Options) { o.Secrets = []session.Secret{secret, oldSecret} })
	equal(t, "state", b.state(), "ada {}")
	equal(t, "the token is signed anew", told(b.do(func(s *session.Session) { count.Get(s) })), "token")
	equal(t, "a change is sealed anew", told(b.do(func(s *session.Session) { count.Set(s, 1) })), ".0")
	b.st = st.again(func(o *session.Options, _ *cookiestore.Options) { o.Secrets = []session.Secret{secret} })
	equal(t, "state", b.state(), `ada {"n":1}`)
}

// A browser holds cookies for the old path and for the new one, and shows the one
// with the longer path first.
func TestTheLatestCountsWhenThePathHasChanged(t *testing.T) {
	st := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.Cookie.Name, o.Cookie.Path = "sid", "/app" })
	old := httptest.NewRequest("GET", "https://example.test/app/page", nil)
	b := st.browser()
	w := b.answer(old, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Set(s, 1) })
	var shown []string
	for _, c := range w.Result().Cookies() {
		shown = append(shown, c.Name+"="+c.Value)
	}
	st = st.again(func(o *session.Options, _ *cookiestore.Options) { o.Cookie.Path = "/" })
	st.advance(time.Second)
	r := httptest.NewRequest("GET", "https://example.test/app/page", nil)
	r.Header.Set("Cookie", strings.Join(shown, "; "))
	b.st = st
	w = b.answer(r, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Set(s, 2) })
	for _, c := range w.Result().Cookies() {
		shown = append(shown, c.Name+"="+c.Value)
	}
	r.Header.Set("Cookie", strings.Join(shown, "; "))
	b.answer(r, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		n, _ := count.Get(s)
		equal(t, "the count", n, 2)
		count.Set(s, n+1)
		if err := s.Save(); err != nil {
			t.Error(err)
		}
		if err := s.Reload(); err != nil {
			t.Error(err)
		}
		n, _ = count.Get(s)
		equal(t, "the count after Save", n, 3)
	})
}

func TestSecureIsRequired(t *testing.T) {
	st := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.Cookie.Secure = session.SecureRequired })
	b := st.browser()
	b.do(func(s *session.Session) { count.Set(s, 1) })
	plain := func(p func(s *session.Session)) *httptest.ResponseRecorder {
		r := b.request()
		r.TLS = nil
		return b.answer(r, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { p(s) })
	}
	st.advance(30 * time.Minute)
	w := plain(func(s *session.Session) {
		n, _ := count.Get(s)
		equal(t, "the count", n, 1)
	})
	equal(t, "reading over HTTP", w.Code, 200)
	equal(t, "told over HTTP", told(w), "")
	equal(t, "changing over HTTP", plain(func(s *session.Session) { count.Set(s, 2) }).Code, 500)
	equal(t, "popping over HTTP", plain(func(s *session.Session) { count.Pop(s) }).Code, 500)
}

// Sign out everywhere.

func TestSignOutEverywhere(t *testing.T) {
	users := map[string]time.Time{}
	var down error
	st := newSite(t, func(_ *session.Options, c *cookiestore.Options) {
		c.RevokedBefore = func(_ context.Context, subject string) (time.Time, error) { return users[subject], down }
	})
	laptop, phone, eve, guest := st.browser(), st.browser(), st.browser(), st.browser()
	laptop.do(func(s *session.Session) { s.SetSubject("ada") })
	phone.do(func(s *session.Session) { s.SetSubject("ada") })
	eve.do(func(s *session.Session) { s.SetSubject("eve") })
	guest.do(func(s *session.Session) { count.Set(s, 1) })
	thief := laptop.clone()
	st.advance(time.Minute)
	slow := phone.answer(phone.request(), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		// While this request of the phone runs, Ada changes her password.
		count.Get(s)
		st.advance(time.Minute)
		laptop.do(func(s *session.Session) {
			users["ada"] = st.clock()
			s.SetSubject("ada")
		})
		st.advance(time.Minute)
		count.Set(s, 1)
	})
	phone.keep(slow)
	equal(t, "the browser where she did it", laptop.state(), "ada {}")
	equal(t, "the phone, whose slow request has saved later", phone.state(), "none")
	equal(t, "the thief", thief.state(), "none")
	equal(t, "another user", eve.state(), "eve {}")
	equal(t, "nobody", guest.state(), `{"n":1}`)
	phone.do(func(s *session.Session) { count.Get(s) })
	equal(t, "what the phone has left", phone.names(), "")

	down = errors.New("the database is down")
	for name, want := range map[*browser]int{laptop: 503, eve: 503, guest: 200} {
		w := name.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { count.Get(s) })
		equal(t, "status while nobody can tell", w.Code, want)
		equal(t, "told", told(w), "")
	}
	w := laptop.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() })
	equal(t, "status of a sign-out while nobody can tell", w.Code, 503)
	equal(t, "told", told(w), "-token -.0")
	down = nil
	equal(t, "the browser where she has signed out", laptop.state(), "none")
	equal(t, "another user", eve.state(), "eve {}")
}

func TestReloadSeesARevocation(t *testing.T) {
	var before time.Time
	st := newSite(t, func(_ *session.Options, c *cookiestore.Options) {
		c.RevokedBefore = func(context.Context, string) (time.Time, error) { return before, nil }
	})
	b := st.browser()
	b.do(func(s *session.Session) { s.SetSubject("ada") })
	st.advance(time.Minute)
	b.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		_, _ = w.Write([]byte("a stream"))
		if err := s.Reload(); err != nil {
			t.Error(err)
		}
		before = st.clock()
		if err := s.Reload(); !errors.Is(err, session.ErrNotFound) {
			t.Error(err)
		}
	})
}

// What the manager refuses.

func TestNewRefusesWhatCannotBeKept(t *testing.T) {
	for name, row := range map[string]struct {
		edit func(o *session.Options)
		want string
	}{
		"a limit of sessions":     {func(o *session.Options) { o.MaxPerSubject = 3 }, "MaxPerSubject needs a store that can list"},
		"a header":                {func(o *session.Options) { o.Header = "X-Token" }, "leave Header out"},
		"Express":                 {func(o *session.Options) { o.ExpressCompatible = true }, "leave out Options.ExpressCompatible"},
		"renewal by time":         {func(o *session.Options) { o.RenewalTimeout = time.Hour }, "shorten AbsoluteTimeout"},
		"a grace after a renewal": {func(o *session.Options) { o.RenewalGrace = time.Minute }, "RenewalGrace"},
		"a very long name":        {func(o *session.Options) { o.Cookie.Name = strings.Repeat("n", 257) }, "at most 256"},
	} {
		opts := session.Options{Secrets: []session.Secret{secret}, NoStoreWarning: true}
		row.edit(&opts)
		_, err := session.New(newStore(t, nil), &opts)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheWarningIsLogged(t *testing.T) {
	st := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.NoStoreWarning = false })
	if log := st.log.String(); !strings.Contains(log, "nobody can list them") || !strings.Contains(log, "RevokedBefore") {
		t.Error(log)
	}
}

func TestNobodyElseCanReachASession(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	b.do(func(s *session.Session) { s.SetSubject("ada") })
	b.get(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
		_, findErr := st.Find(r.Context(), s.ID())
		_, countErr := st.Count(r.Context())
		_, allErr := st.RevokeAll(r.Context(), "ada")
		_, othersErr := st.RevokeOthers(r.Context(), s)
		_, clearErr := st.Clear(r.Context())
		_, sweepErr := st.Sweep(r.Context())
		for op, err := range map[string]error{
			"Find": findErr, "Count": countErr, "RevokeAll": allErr, "RevokeOthers": othersErr, "Clear": clearErr, "Sweep": sweepErr,
			"Revoke": st.Revoke(r.Context(), s.ID()), "Ping": st.Ping(r.Context()),
		} {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: %v", op, err)
			}
		}
	})
	equal(t, "state", b.state(), "ada {}")
}

// Outside of net/http.

func TestOpenAndCommit(t *testing.T) {
	st := newSite(t)
	open := func(token session.Token) *session.Session {
		t.Helper()
		s, err := st.Open(background, token.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	commit := func(s *session.Session, want session.Action) session.Directive {
		t.Helper()
		d, err := st.Commit(background, s)
		if err != nil || d.Action != want {
			t.Fatalf("action %v, %v", d.Action, err)
		}
		return d
	}
	s := open("")
	commit(s, session.Keep)
	count.Set(s, 1)
	d := commit(s, session.SetToken)
	equal(t, "the token", d.Token, s.Token())
	commit(s, session.Keep)
	first := d.Token
	s = open(first)
	count.Set(s, 2)
	d = commit(s, session.SetToken)
	equal(t, "SetCookie, as only the parcel changes", d.SetCookie, "")
	second := d.Token
	for token, want := range map[session.Token]int{first: 1, second: 2} {
		n, _ := count.Get(open(token))
		equal(t, "the count", n, want)
	}
	s = open(second)
	s.SetSubject("ada")
	d = commit(s, session.SetToken)
	third := d.Token
	equal(t, "the subject", open(third).Subject(), "ada")
	s = open(third)
	s.Destroy()
	d = commit(s, session.ClearToken)
	equal(t, "the token of no session", s.Token(), "")

	wire, _, _ := strings.Cut(third.Reveal(), "~")
	_, parcel, _ := strings.Cut(first.Reveal(), "~")
	for name, bad := range map[string]string{
		"the token alone": wire, "another parcel": wire + "~" + parcel, "an empty parcel": wire + "~", "no parcel": wire + "~!~~",
		"a forged token": "x" + third.Reveal(), "very many parcels": wire + strings.Repeat("~AAAA", 1<<16), "a very long one": wire + "~" + strings.Repeat("A", 1<<20),
	} {
		s := open(session.Token(bad))
		equal(t, name+": IsNew", s.IsNew(), true)
		commit(s, session.ClearToken)
	}
}

func TestOpenRequest(t *testing.T) {
	st := newSite(t, func(_ *session.Options, c *cookiestore.Options) { c.MaxBytes = 16384 })
	b := st.browser()
	b.do(func(s *session.Session) { s.Set("text", strings.Repeat("x", 8000)) })
	// An adapter gets the header, and sends what it is told.
	serve := func(p func(s *session.Session)) session.Directive {
		t.Helper()
		s, err := st.OpenRequest(b.request())
		if err != nil {
			t.Fatal(err)
		}
		p(s)
		d, err := st.Commit(background, s)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		for _, c := range append([]session.Token{d.SetCookie}, d.MoreCookies...) {
			if c != "" {
				w.Header().Add("Set-Cookie", c.Reveal())
			}
		}
		b.keep(w)
		return d
	}
	equal(t, "reading", serve(func(s *session.Session) { equal(t, "new", s.IsNew(), false) }).Action, session.Keep)
	equal(t, "changing", serve(func(s *session.Session) { s.Clear(); count.Set(s, 1) }).Action, session.SetToken)
	equal(t, "cookies", b.names(), name+" "+name+".0")
	equal(t, "state", b.state(), `{"n":1}`)
	equal(t, "renewing", serve((*session.Session).RenewID).Action, session.SetToken)
	equal(t, "cookies", b.names(), name+" "+name+".0")
	equal(t, "state", b.state(), `{"n":1}`)
	equal(t, "ending", serve((*session.Session).Destroy).Action, session.ClearToken)
	equal(t, "cookies", b.names(), "")
	equal(t, "nothing", serve(func(s *session.Session) { equal(t, "new", s.IsNew(), true) }).Action, session.Keep)

	st2 := newSite(t, func(_ *session.Options, c *cookiestore.Options) {
		c.RevokedBefore = func(context.Context, string) (time.Time, error) { return time.Time{}, errors.New("down") }
	})
	b = st2.browser()
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("ada") })
	var storeErr *session.StoreError
	if _, err := st2.OpenRequest(b.request()); !errors.As(err, &storeErr) {
		t.Error(err)
	}
}

// A sign-out holds whatever else goes wrong in its request: nothing but the
// browser can forget.
func TestASignOutHoldsInARequestThatFails(t *testing.T) {
	unkept := func(s *session.Session) { s.Set("f", func() {}) }
	for name, p := range map[string]func(s *session.Session){
		"Destroy":                         func(s *session.Session) { s.Destroy(); unkept(s) },
		"Destroy after the failure":       func(s *session.Session) { unkept(s); s.Destroy() },
		"Reset":                           func(s *session.Session) { s.Reset(); unkept(s) },
		"Reset, and another is signed in": func(s *session.Session) { s.Reset(); s.SetSubject("bob"); unkept(s) },
		"Reset, and another is saved": func(s *session.Session) {
			s.Reset()
			s.SetSubject("bob")
			if err := s.Save(); err != nil {
				t.Error(err)
			}
			unkept(s)
		},
		"Reset, and what begins is too large": func(s *session.Session) { s.Reset(); s.Set("x", strings.Repeat("x", 1<<20)) },
	} {
		signedIn := func(t *testing.T) *browser {
			b := newSite(t).browser()
			b.do(func(s *session.Session) { s.SetSubject("ada") })
			return b
		}
		t.Run("by Handler: "+name, func(t *testing.T) {
			b := signedIn(t)
			w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { p(s) })
			equal(t, "status", w.Code, http.StatusInternalServerError)
			equal(t, "told", told(w), "-token -.0")
			equal(t, "what is left", b.names(), "")
		})
		t.Run("by Commit: "+name, func(t *testing.T) {
			b := signedIn(t)
			s, err := b.st.OpenRequest(b.request())
			if err != nil {
				t.Fatal(err)
			}
			p(s)
			d, err := b.st.Commit(background, s)
			if err == nil {
				t.Error("Commit does not fail")
			}
			equal(t, "action", d.Action, session.ClearToken)
			equal(t, "pieces", len(d.MoreCookies), 1)
		})
	}
	for name, end := range map[string]func(s *session.Session){
		"Destroy": (*session.Session).Destroy, "Reset": (*session.Session).Reset,
	} {
		t.Run("where the session cannot be read: "+name, func(t *testing.T) {
			st := newSite(t, func(_ *session.Options, c *cookiestore.Options) {
				c.RevokedBefore = func(context.Context, string) (time.Time, error) { return time.Time{}, errors.New("down") }
			})
			b := st.browser()
			b.do(func(s *session.Session) { s.SetSubject("ada") })
			w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { end(s) })
			equal(t, "status", w.Code, http.StatusServiceUnavailable)
			equal(t, "told", told(w), "-token -.0")
		})
	}
	t.Run("but does not end what has begun and was told since", func(t *testing.T) {
		b := newSite(t).browser()
		b.do(func(s *session.Session) { s.SetSubject("ada") })
		s, err := b.st.OpenRequest(b.request())
		if err != nil {
			t.Fatal(err)
		}
		s.Reset()
		s.SetSubject("bob")
		if d, err := b.st.Commit(background, s); err != nil || d.Action != session.SetToken {
			t.Fatal(d.Action, err)
		}
		unkept(s)
		d, err := b.st.Commit(background, s)
		if err == nil {
			t.Error("Commit does not fail")
		}
		equal(t, "action", d.Action, session.Keep)
		equal(t, "cookies", len(d.MoreCookies), 0)
	})
	t.Run("and tells a visitor nothing", func(t *testing.T) {
		w := newSite(t).browser().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Reset(); unkept(s) })
		equal(t, "told", told(w), "")
	})
	t.Run("but other failures end nothing", func(t *testing.T) {
		b := newSite(t).browser()
		b.do(func(s *session.Session) { s.SetSubject("ada") })
		w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Regenerate(); unkept(s) })
		equal(t, "told", told(w), "")
		equal(t, "state", b.state(), "ada {}")
	})
}

func TestTwoManagersInOneRequest(t *testing.T) {
	a := newSite(t, func(_ *session.Options, c *cookiestore.Options) { c.Purpose = "site" })
	b := newSite(t, func(o *session.Options, c *cookiestore.Options) { c.Purpose, o.Cookie.Name = "admin", "admin" })
	br := a.browser()
	visit := func(p http.HandlerFunc) {
		w := httptest.NewRecorder()
		a.Handler(b.Handler(p)).ServeHTTP(w, br.request())
		br.keep(w)
	}
	visit(func(_ http.ResponseWriter, r *http.Request) { count.Set(a.From(r), 1); count.Set(b.From(r), 2) })
	equal(t, "cookies", br.names(), name+" "+name+".0 admin admin.0")
	visit(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := count.Get(a.From(r))
		m, _ := count.Get(b.From(r))
		equal(t, "the sessions", [2]int{n, m}, [2]int{1, 2})
		a.From(r).Destroy()
	})
	equal(t, "cookies", br.names(), "admin admin.0")
}

func TestAWrappedStore(t *testing.T) {
	var faults sessiontest.Faults
	opts := newSite(t).opts
	m, err := session.New(faults.Wrap(newStore(t, nil)), &opts)
	if err != nil {
		t.Fatal(err)
	}
	b := newSite(t).browser()
	b.st.Manager = m
	for _, row := range []struct {
		name string
		p    func(s *session.Session)
		want sessiontest.Calls
	}{
		{"a look at nothing", func(s *session.Session) { count.Get(s) }, sessiontest.Calls{}},
		{"begin", func(s *session.Session) { count.Set(s, 1) }, sessiontest.Calls{Save: 1}},
		{"read", func(s *session.Session) { count.Get(s) }, sessiontest.Calls{Load: 1}},
		{"write", func(s *session.Session) { count.Set(s, 2) }, sessiontest.Calls{Load: 1, Save: 1}},
		{"touch", (*session.Session).Touch, sessiontest.Calls{Load: 1, Save: 1}},
		{"renew", (*session.Session).RenewID, sessiontest.Calls{Load: 1, Save: 1, Delete: 1}},
		{"destroy", (*session.Session).Destroy, sessiontest.Calls{Load: 1, Delete: 1}},
	} {
		b.do(row.p)
		equal(t, row.name, faults.ResetCalls(), row.want)
	}
}

// A session whose cookie has got another place leaves nothing at the former one
// that could be opened again.
func TestASessionThatMoves(t *testing.T) {
	at := *origin
	at.Path = "/app/page"
	signIn := func(s *session.Session) { s.SetSubject("ada") }
	move := func(s *session.Session) {
		c := s.Cookie()
		c.Path = "/app"
		s.SetCookie(c)
	}
	next := func(s *session.Session) { s.SetSubject("bob") }
	for name, row := range map[string]struct {
		steps []func(s *session.Session)
		want  string
	}{
		"moves":                                 {[]func(s *session.Session){signIn, move}, `ada {"cookie":{"path":"/app"}}`},
		"moves and ends":                        {[]func(s *session.Session){signIn, move, (*session.Session).Destroy}, "none"},
		"ends as it moves":                      {[]func(s *session.Session){signIn, func(s *session.Session) { move(s); s.Destroy() }}, "none"},
		"is reset as it moves":                  {[]func(s *session.Session){signIn, func(s *session.Session) { move(s); s.Reset() }}, "none"},
		"is saved as it moves, and ends":        {[]func(s *session.Session){signIn, func(s *session.Session) { move(s); _ = s.Save(); s.Destroy() }}, "none"},
		"does not move, as it is unset":         {[]func(s *session.Session){signIn, func(s *session.Session) { move(s); s.Unset() }}, "ada {}"},
		"moves, and another takes its place":    {[]func(s *session.Session){signIn, move, func(s *session.Session) { s.Reset(); next(s) }}, "bob {}"},
		"moves, another comes, and that ends":   {[]func(s *session.Session){signIn, move, func(s *session.Session) { s.Reset(); next(s) }, (*session.Session).Destroy}, "none"},
		"moves, another follows, and that ends": {[]func(s *session.Session){signIn, move, func(s *session.Session) { s.Regenerate(); next(s) }, (*session.Session).Destroy}, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, func(o *session.Options, _ *cookiestore.Options) { o.Cookie.Name = "sid" })
			b := st.browser()
			request := func() *http.Request {
				r := httptest.NewRequest("GET", at.String(), nil)
				for _, c := range b.jar.Cookies(&at) {
					r.AddCookie(c)
				}
				return r
			}
			for _, step := range row.steps {
				w := b.answer(request(), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { step(s) })
				equal(t, "status", w.Code, http.StatusOK)
				b.keepAt(&at, w)
				st.advance(time.Second)
			}
			got := "none"
			b.answer(request(), func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				if !s.IsNew() {
					got = s.Subject() + " " + string(s.Record().Data)
				}
			})
			equal(t, "what the browser opens", got, row.want)
		})
	}
}
