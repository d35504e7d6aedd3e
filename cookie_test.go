package session_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// attributesOf returns what stands in the first Set-Cookie header behind the
// value, and the name.
func attributesOf(w *httptest.ResponseRecorder) string {
	line := w.Header().Get("Set-Cookie")
	name, rest, _ := strings.Cut(line, "=")
	if line == "" {
		return "none"
	}
	_, rest, _ = strings.Cut(rest, ";")
	return name + ";" + rest
}

func TestCookieAttributes(t *testing.T) {
	for _, test := range []struct {
		name   string
		cookie session.Cookie
		want   string
	}{
		{"by default", session.Cookie{}, "__Host-session; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"name", session.Cookie{Name: "sid"}, "sid; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"path", session.Cookie{Path: "/app"}, "session; Path=/app; HttpOnly; Secure; SameSite=Lax"},
		{"domain", session.Cookie{Domain: "example.test"}, "session; Domain=example.test; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"domain with a dot", session.Cookie{Domain: ".example.test"}, "session; Domain=.example.test; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"MaxAge", session.Cookie{MaxAge: time.Hour}, "__Host-session; Path=/; Expires=Sun, 01 Mar 2026 13:00:00 GMT; HttpOnly; Secure; SameSite=Lax"},
		{"Expires", session.Cookie{Expires: time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)}, "__Host-session; Path=/; Expires=Sun, 01 Mar 2026 12:30:00 GMT; HttpOnly; Secure; SameSite=Lax"},
		{"AllowScript", session.Cookie{AllowScript: true}, "__Host-session; Path=/; Secure; SameSite=Lax"},
		{"InsecureNever", session.Cookie{Secure: session.InsecureNever}, "session; Path=/; HttpOnly; SameSite=Lax"},
		{"SecureRequired", session.Cookie{Secure: session.SecureRequired}, "__Host-session; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"Strict", session.Cookie{SameSite: http.SameSiteStrictMode}, "__Host-session; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{"None", session.Cookie{SameSite: http.SameSiteNoneMode}, "__Host-session; Path=/; HttpOnly; Secure; SameSite=None"},
		{"no SameSite", session.Cookie{SameSite: http.SameSiteDefaultMode}, "__Host-session; Path=/; HttpOnly; Secure"},
		{"Partitioned", session.Cookie{Partitioned: true}, "__Host-session; Path=/; HttpOnly; Secure; Partitioned; SameSite=Lax"},
		{"Priority", session.Cookie{Priority: "hIGH"}, "__Host-session; Path=/; HttpOnly; Secure; Priority=High; SameSite=Lax"},
		{"__Host-Http-", session.Cookie{Name: "__Host-Http-s"}, "__Host-Http-s; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"all", session.Cookie{Name: "a", Domain: "d.test", Path: "/p", MaxAge: time.Minute, AllowScript: true, SameSite: http.SameSiteNoneMode, Partitioned: true, Priority: "low"},
			"a; Domain=d.test; Path=/p; Expires=Sun, 01 Mar 2026 12:01:00 GMT; Secure; Partitioned; Priority=Low; SameSite=None"},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) { o.Cookie = test.cookie })
			request := func(cookie string) *http.Request {
				r := httptest.NewRequest("GET", "https://example.test"+test.cookie.Path+"/", nil)
				r.Header.Set("Cookie", cookie)
				return r
			}
			b := st.browser()
			w := b.send(request(""), write)
			equal(t, "attributes", attributesOf(w), test.want)
			if c := w.Result().Cookies()[0]; len(c.Unparsed) > 1 || len(c.Unparsed) == 1 && !strings.HasPrefix(c.Unparsed[0], "Priority=") {
				t.Errorf("net/http does not understand %q", c.Unparsed)
			}
			// Browsers tell the cookie to clear by its name, domain and path, and
			// drop a clearing that breaks the rules of its prefix.
			w = b.send(request(b.cookie), destroy)
			cleared := attributesOf(w)
			before, after, found := strings.Cut(cleared, "Expires=Thu, 01 Jan 1970 00:00:00 GMT; ")
			if !found {
				t.Fatalf("not cleared: %s", cleared)
			}
			wantBefore, wantAfter, dated := strings.Cut(test.want, "Expires=")
			if dated {
				_, wantAfter, _ = strings.Cut(wantAfter, "; ")
				equal(t, "the clearing", before+after, wantBefore+wantAfter)
			} else {
				equal(t, "the clearing", before+after, test.want)
			}
		})
	}
}

func TestSecureModes(t *testing.T) {
	for _, test := range []struct {
		name  string
		edit  func(o *session.Options)
		tls   bool
		proto string
		want  string // "Secure", "plain" or "refused"
	}{
		{"always, HTTP", nil, false, "", "Secure"},
		{"always, HTTPS", nil, true, "", "Secure"},
		{"required, HTTPS", func(o *session.Options) { o.Cookie.Secure = session.SecureRequired }, true, "", "Secure"},
		{"required, HTTP", func(o *session.Options) { o.Cookie.Secure = session.SecureRequired }, false, "", "refused"},
		{"required, HTTP, and a header that nobody trusts", func(o *session.Options) { o.Cookie.Secure = session.SecureRequired }, false, "https", "refused"},
		{"required, behind a proxy", func(o *session.Options) { o.Cookie.Secure = session.SecureRequired; o.TrustProxy = true }, false, "https", "Secure"},
		{"required, behind two proxies", func(o *session.Options) { o.Cookie.Secure = session.SecureRequired; o.TrustProxy = true }, false, " HTTPS , http", "Secure"},
		{"required, behind a proxy that got HTTP", func(o *session.Options) { o.Cookie.Secure = session.SecureRequired; o.TrustProxy = true }, false, "http, https", "refused"},
		{"required, behind a proxy that says nothing", func(o *session.Options) { o.Cookie.Secure = session.SecureRequired; o.TrustProxy = true }, false, "", "refused"},
		{"required, and IsHTTPS says so", func(o *session.Options) {
			o.Cookie.Secure = session.SecureRequired
			o.IsHTTPS = func(*http.Request) bool { return true }
		}, false, "", "Secure"},
		{"auto, HTTP", func(o *session.Options) { o.Cookie.Secure = session.SecureAuto }, false, "", "plain"},
		{"auto, HTTPS", func(o *session.Options) { o.Cookie.Secure = session.SecureAuto }, true, "", "Secure"},
		{"auto, a header that nobody trusts", func(o *session.Options) { o.Cookie.Secure = session.SecureAuto }, false, "https", "plain"},
		{"auto, behind a proxy", func(o *session.Options) { o.Cookie.Secure = session.SecureAuto; o.TrustProxy = true }, false, "https", "Secure"},
		{"never, HTTPS", func(o *session.Options) { o.Cookie.Secure = session.InsecureNever }, true, "", "plain"},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) {
				if test.edit != nil {
					test.edit(o)
				}
			})
			r := httptest.NewRequest("GET", "/", nil)
			if test.tls {
				r.TLS = new(tls.ConnectionState)
			}
			if test.proto != "" {
				r.Header.Set("X-Forwarded-Proto", test.proto)
			}
			w := st.browser().send(r, write)
			got := "plain"
			switch {
			case w.Code == 500 && w.Header().Get("Set-Cookie") == "":
				got = "refused"
				contains(t, "log", st.log.String(), "set Options.TrustProxy")
				equal(t, "sessions", st.live(), 0)
			case strings.Contains(w.Header().Get("Set-Cookie"), "; Secure"):
				got = "Secure"
			}
			equal(t, "the cookie", got, test.want)
		})
	}
}

func TestSameSiteAuto(t *testing.T) {
	st := newSite(t, func(o *session.Options) {
		o.Cookie.SameSite, o.Cookie.Secure = session.SameSiteAuto, session.SecureAuto
	})
	equal(t, "HTTP", attributesOf(st.browser().send(httptest.NewRequest("GET", "/", nil), write)), "session; Path=/; HttpOnly; SameSite=Lax")
	equal(t, "HTTPS", attributesOf(st.browser().get(write)), "session; Path=/; HttpOnly; Secure; SameSite=None")
}

func TestCookiePath(t *testing.T) {
	for _, test := range []struct {
		path, request string
		inside        bool
	}{
		{"/", "/", true}, {"/", "/any/thing", true}, {"/", "/?a=b", true},
		{"/app", "/app", true}, {"/app", "/app/", true}, {"/app", "/app/x", true}, {"/app", "/app?x=/", true},
		{"/app", "/application", false}, {"/app", "/", false}, {"/app", "/x/app", false}, {"/app", "/App", false},
		{"/app", "/x?y=/app", false}, {"/app", "/%61pp", false}, {"/app", "/app%2Fx", false}, {"/app", "//app", false},
		{"/app/", "/app/", true}, {"/app/", "/app", false}, {"/app/", "/app/x", true},
		{"/app", "http://example.test/app/x", true}, {"/app", "http://example.test/other", false},
	} {
		t.Run(test.path+" "+test.request, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) { o.Cookie.Path = test.path })
			r := httptest.NewRequest("GET", test.request, nil)
			w := st.browser().send(r, read)
			equal(t, "status of a read", w.Code, 200)
			w = st.browser().send(httptest.NewRequest("GET", test.request, nil), write)
			equal(t, "a cookie is set", w.Header().Get("Set-Cookie") != "", test.inside)
			if !test.inside {
				equal(t, "status of a write", w.Code, 500)
				contains(t, "log", st.log.String(), "outside Cookie.Path")
			}
		})
	}
	t.Run("is that of the client, whatever a router made of it", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.Cookie.Path = "/app" })
		w := httptest.NewRecorder()
		http.StripPrefix("/app", st.Handler(page(write))).ServeHTTP(w, httptest.NewRequest("GET", "/app/x", nil))
		equal(t, "a cookie is set", w.Header().Get("Set-Cookie") != "", true)
	})
	t.Run("keeps a cookie from elsewhere from counting", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.Cookie.Path = "/app" })
		b := st.browser()
		b.send(httptest.NewRequest("GET", "/app/", nil), write)
		st.faults.ResetCalls()
		equal(t, "the session at another path", b.data(), "none")
		equal(t, "store calls", st.faults.Calls().Total(), 0)
	})
}

func TestVaryAndCacheControl(t *testing.T) {
	for _, test := range []struct {
		name         string
		vary, cache  []string // by the handler
		page         page
		wantV, wantC string
	}{
		{"a session that is used", nil, nil, read, "Cookie", ""},
		{"merged with what is there", []string{"Accept-Encoding"}, nil, read, "Accept-Encoding|Cookie", ""},
		{"there already", []string{"Accept, cookie"}, nil, read, "Accept, cookie", ""},
		{"in a second line", []string{"Accept", "Cookie"}, nil, read, "Accept|Cookie", ""},
		{"everything", []string{"*"}, nil, read, "*", ""},
		{"a similar name", []string{"Cookies"}, nil, read, "Cookies|Cookie", ""},
		{"a session that is not used", []string{"Accept"}, nil, ignore, "Accept", ""},
		{"a cookie is kept out of caches", nil, nil, write, "Cookie", "no-store"},
		{"the handler has chosen otherwise", nil, []string{"private, max-age=60"}, write, "Cookie", "private, max-age=60"},
		{"the handler's choice without a cookie", nil, []string{"public"}, read, "Cookie", "public"},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			w := st.browser().get(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				for _, v := range test.vary {
					w.Header().Add("Vary", v)
				}
				for _, v := range test.cache {
					w.Header().Add("Cache-Control", v)
				}
				test.page(w, r, s)
			})
			equal(t, "Vary", strings.Join(w.Header()["Vary"], "|"), test.wantV)
			equal(t, "Cache-Control", strings.Join(w.Header()["Cache-Control"], "|"), test.wantC)
		})
	}
	t.Run("the handler's own cookies are kept", func(t *testing.T) {
		st := newSite(t)
		w := st.browser().get(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
			write(w, r, s)
		})
		equal(t, "cookies", len(w.Result().Cookies()), 2)
	})
}

func TestCookieFunc(t *testing.T) {
	byHost := func(o *session.Options) {
		o.Cookie.Domain = "example.test"
		o.CookieFunc = func(r *http.Request, c session.Cookie) session.Cookie {
			c.Domain = r.Host
			c.Name = "evil"
			return c
		}
	}
	t.Run("decides per request, but not the name", func(t *testing.T) {
		st := newSite(t, byHost)
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = "shop.test"
		equal(t, "attributes", attributesOf(st.browser().send(r, write)), "session; Domain=shop.test; Path=/; HttpOnly; Secure; SameSite=Lax")
	})
	for name, p := range map[string]page{"a new session": write, "a read": read, "a renewal": renewID, "a sign-out": destroy} {
		for _, edit := range []func(*session.Options){func(*session.Options) {}, func(o *session.Options) { o.Rolling = true }} {
			t.Run("what does not fit a header is refused for "+name, func(t *testing.T) {
				st := newSite(t, byHost, edit)
				b := st.browser()
				if name != "a new session" {
					b = st.visitor(map[string]any{"a": 1})
				}
				b.cookie = strings.Replace(b.cookie, "session=s%3A", "session=s%3A", 1)
				r := b.request()
				r.Host = "a.test; Path=/evil; X=\r\nSet-Cookie: x=y"
				w := b.clone().send(r, p)
				equal(t, "status", w.Code, 500)
				equal(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "")
				contains(t, "log", st.log.String(), "not a domain name")
			})
		}
	}
	t.Run("also when a forged cookie is cleared", func(t *testing.T) {
		st := newSite(t, byHost)
		b := st.browser()
		b.cookie = "session=forged"
		r := b.request()
		r.Host = "a.test; Path=/evil"
		w := b.send(r, read)
		equal(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "")
	})
}

func TestRememberMe(t *testing.T) {
	st := newSite(t)
	plain, remembered := st.signedIn("23"), st.signedIn("23")
	w := remembered.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.SetMaxAge(30 * 24 * time.Hour)
		if d, ok := s.OriginalMaxAge(); d != 30*24*time.Hour || !ok {
			t.Error("OriginalMaxAge:", d, ok)
		}
	})
	equal(t, "attributes", attributesOf(w), "__Host-session; Path=/; Expires=Tue, 31 Mar 2026 12:00:00 GMT; HttpOnly; Secure; SameSite=Lax")
	st.clock.advance(20 * 24 * time.Hour)
	equal(t, "the browser session", plain.data(), "none")
	w = remembered.get(read)
	// 30 days are the absolute timeout now, too.
	equal(t, "attributes after a use", attributesOf(w), "__Host-session; Path=/; Expires=Tue, 31 Mar 2026 12:00:00 GMT; HttpOnly; Secure; SameSite=Lax")
	equal(t, "the remembered session", remembered.data(), `{"name":"23"}`)
	remembered.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		if left, ok := s.MaxAge(); left != 10*24*time.Hour || !ok {
			t.Error("MaxAge:", left, ok)
		}
	})
	w = remembered.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetMaxAge(0) })
	equal(t, "attributes when it is forgotten", attributesOf(w), "__Host-session; Path=/; HttpOnly; Secure; SameSite=Lax")
}

func TestSetCookieOfOneSession(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.Cookie.Name = "sid" })
	b := st.visitor(map[string]any{"a": 1})
	w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		c := s.Cookie()
		c.Name, c.SameSite, c.Priority, c.AllowScript, c.Domain = "evil", http.SameSiteStrictMode, "High", true, "example.test"
		s.SetCookie(c)
	})
	want := "sid; Domain=example.test; Path=/; Secure; Priority=High; SameSite=Strict"
	equal(t, "attributes", attributesOf(w), want)
	w = b.get(renewID)
	equal(t, "attributes after a renewal", attributesOf(w), want)
	equal(t, "another session's", attributesOf(st.browser().get(write)), "sid; Path=/; HttpOnly; Secure; SameSite=Lax")
}

func TestCookieSize(t *testing.T) {
	st := newSite(t, func(o *session.Options) {
		o.Cookie.Name = strings.Repeat("n", 3578) // the longest that is accepted
		o.GenerateID = func(*http.Request) string { return strings.Repeat("ä", 64) }
	})
	w := st.browser().get(write)
	pair, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	if len(pair)-len("=") > 4096 || len(pair) < 3900 {
		t.Errorf("name and value have %d bytes", len(pair))
	}
}
