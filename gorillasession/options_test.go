package gorillasession_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

func TestOptionsOfASession(t *testing.T) {
	for name, test := range map[string]struct {
		manager session.Cookie
		options sessions.Options
		want    []string // of Set-Cookie
		not     []string
		err     string
		data    string // that the session is to have, where that matters
	}{
		"set as gorilla's documentation does": {
			options: sessions.Options{Path: "/", MaxAge: 86400 * 7, HttpOnly: true},
			want:    []string{"__Host-session=", "Path=/", "Expires=", "HttpOnly", "Secure", "SameSite=Lax"},
		},
		"all zero, which opens nothing": {
			want: []string{"__Host-session=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"},
			not:  []string{"Expires"},
		},
		"all zero, where the manager has a MaxAge": {
			manager: session.Cookie{MaxAge: time.Hour},
			not:     []string{"Expires"},
		},
		"all zero, where the manager says everything": {
			manager: session.Cookie{Name: "app", Path: "/shop", Domain: "example.test", SameSite: http.SameSiteStrictMode, Partitioned: true},
			want:    []string{"Path=/shop", "Domain=example.test", "HttpOnly", "Secure", "SameSite=Strict", "Partitioned"},
			data:    `{"app:a":1}`,
		},
		"all zero, where the manager needs HTTPS": {
			manager: session.Cookie{Secure: session.SecureRequired},
			want:    []string{"Secure"},
			data:    `{"app:a":1}`,
		},
		"SameSite": {
			options: sessions.Options{SameSite: http.SameSiteStrictMode},
			want:    []string{"SameSite=Strict"},
		},
		"SameSite None": {
			options: sessions.Options{SameSite: http.SameSiteNoneMode, Secure: true},
			want:    []string{"SameSite=None", "Secure"},
		},
		"Partitioned": {
			options: sessions.Options{Partitioned: true},
			want:    []string{"Partitioned"},
		},
		"a path, with a name that allows it": {
			manager: session.Cookie{Name: "app"},
			options: sessions.Options{Path: "/shop"},
			want:    []string{"app=", "Path=/shop"},
		},
		"a domain, with a name that allows it": {
			manager: session.Cookie{Name: "app"},
			options: sessions.Options{Domain: "example.test"},
			want:    []string{"app=", "Domain=example.test", "Path=/"},
		},
		"a path, with the name __Host-session": {
			options: sessions.Options{Path: "/shop"},
			err:     "choose another Cookie.Name",
		},
		"a domain, with the name __Host-session": {
			options: sessions.Options{Domain: "example.test"},
			err:     "choose another Cookie.Name",
		},
		"Secure and HttpOnly, where the manager has neither": {
			manager: session.Cookie{Secure: session.InsecureNever, AllowScript: true},
			options: sessions.Options{Secure: true, HttpOnly: true},
			want:    []string{"Secure", "HttpOnly"},
		},
		"None, without Secure": {
			manager: session.Cookie{Secure: session.InsecureNever},
			options: sessions.Options{SameSite: http.SameSiteNoneMode},
			err:     "only with Secure",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, within bool) {
				for how, use := range map[string]func(st *site, s *sessions.Session){
					"in the session": func(_ *site, s *sessions.Session) { o := test.options; s.Options = &o },
					"in the store":   nil,
				} {
					st := newSite(t, within, func(o *session.Options) { o.Cookie = test.manager })
					if use == nil {
						o := test.options
						st.store.Options = &o
					}
					var saveErr error
					resp := st.browser().get(func(w http.ResponseWriter, r *http.Request) {
						s, err := st.store.Get(r, "app")
						if err != nil {
							t.Fatal(err)
						}
						if use != nil {
							use(st, s)
						}
						s.Values["a"] = 1
						saveErr = s.Save(r, w)
					})
					if test.err != "" {
						if saveErr == nil || !strings.Contains(saveErr.Error(), test.err) {
							t.Errorf("%s: Save: %v", how, saveErr)
						}
						continue
					}
					if saveErr != nil {
						t.Errorf("%s: Save: %v", how, saveErr)
					}
					got := strings.Join(resp.Header["Set-Cookie"], "|")
					for _, part := range test.want {
						contains(t, how+": Set-Cookie", got+";", part)
					}
					if test.data != "" {
						equal(t, how+": the data", st.data(), test.data)
					}
					for _, part := range test.not {
						if strings.Contains(got, part) {
							t.Errorf("%s: Set-Cookie is %q, with %q", how, got, part)
						}
					}
				}
			})
		})
	}
}

func TestOptionsThatASessionIsGiven(t *testing.T) {
	want := sessions.Options{Path: "/", MaxAge: 3600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	for name, cookie := range map[string]session.Cookie{
		"of a new one":                  {MaxAge: time.Hour},
		"with parts of a second":        {MaxAge: time.Hour + time.Millisecond},
		"of less than a second":         {MaxAge: 500 * time.Millisecond},
		"that are not the default ones": {MaxAge: time.Hour, Name: "a", Domain: "example.test", Path: "/a", Secure: session.InsecureNever, AllowScript: true, SameSite: session.SameSiteAuto},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, false, func(o *session.Options) { o.Cookie = cookie })
			want := want
			if cookie.MaxAge < time.Second {
				want.MaxAge = 1
			}
			if cookie.Name != "" {
				want = sessions.Options{Path: "/a", Domain: "example.test", MaxAge: 3600}
			}
			equal(t, "Store.Options", *st.store.Options, want)
			s, err := st.store.Get(httptest.NewRequest("GET", "https://example.test/a", nil), "app")
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the options", *s.Options, want)
		})
	}
}

// Unlike gorilla we remember what a session was told: who has ticked "remember
// me" need not tick it with each page.
func TestMaxAgeLasts(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.with("app", func(s *sessions.Session) bool { s.Values["user"], s.Options.MaxAge = "ada", 30*86400; return true })
		b.with("flash", func(s *sessions.Session) bool { // another name begins, and changes nothing of it
			equal(t, "MaxAge that another name is given", s.Options.MaxAge, 30*86400)
			s.AddFlash("hello")
			return true
		})
		st.clock.advance(20 * 24 * time.Hour)
		b.with("app", func(s *sessions.Session) bool {
			equal(t, "user after 20 days", s.Values["user"], any("ada"))
			equal(t, "MaxAge", s.Options.MaxAge, 30*86400)
			s.Options.MaxAge = 0
			return true
		})
		b.with("app", func(s *sessions.Session) bool {
			equal(t, "MaxAge, taken back", s.Options.MaxAge, 0)
			return false
		})
		st.clock.advance(2 * time.Hour)
		equal(t, "what is there after the idle timeout", len(b.look("app")), 0)
	})
}

// The options of the store are for sessions that begin.
func TestOptionsOfTheStoreAreForNewSessions(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		st.store.Options.MaxAge = 60
		b := st.browser()
		b.get(func(w http.ResponseWriter, r *http.Request) {
			app, _ := st.store.Get(r, "app")
			equal(t, "MaxAge of a new session", app.Options.MaxAge, 60)
			app.Options.MaxAge = 3600
			app.Values["user"] = "ada"
			if err := app.Save(r, w); err != nil {
				t.Fatal(err)
			}
			other, _ := st.store.Get(r, "other")
			equal(t, "MaxAge of the next one in the same request", other.Options.MaxAge, 3600)
			other.Values["a"] = 1
			if err := other.Save(r, w); err != nil {
				t.Fatal(err)
			}
		})
		b.with("third", func(s *sessions.Session) bool {
			equal(t, "MaxAge of one in a later request", s.Options.MaxAge, 3600)
			return true
		})
		st.clock.advance(30 * time.Minute)
		equal(t, "user after half an hour", b.look("app")["user"], any("ada"))

		b.with("app", signOut)
		b.with("third", signOut)
		b.get(func(w http.ResponseWriter, r *http.Request) {
			other, _ := st.store.Get(r, "other")
			signOut(other)
			if err := other.Save(r, w); err != nil {
				t.Fatal(err)
			}
			next, _ := st.store.Get(r, "next")
			equal(t, "MaxAge of what begins when all has ended", next.Options.MaxAge, 60)
		})
		st.browser().get(func(w http.ResponseWriter, r *http.Request) {
			for range 2 { // of one that has begun in this request too
				s, _ := st.store.New(r, "app")
				equal(t, "MaxAge of a new session", s.Options.MaxAge, 60)
				s.Options.MaxAge, s.Values["a"] = 3600, 1
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
				signOut(s)
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
			}
		})
		st.store.Options = nil
		b.with("app", func(s *sessions.Session) bool {
			equal(t, "MaxAge where the store says nothing", s.Options.MaxAge, 0)
			return true
		})
	})
}

// Options.CookieFunc of the manager decides for each request, and the options of
// the store, that nobody has touched, do not stand in its way.
func TestCookieFunc(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within, func(o *session.Options) {
			o.Cookie.MaxAge = time.Hour
			o.CookieFunc = func(_ *http.Request, c session.Cookie) session.Cookie {
				c.MaxAge, c.SameSite = 2*time.Hour, http.SameSiteStrictMode
				return c
			}
		})
		b := st.browser()
		resp := b.set("app", "user", "ada")
		contains(t, "Set-Cookie", resp.Header.Get("Set-Cookie"), "SameSite=Strict")
		contains(t, "the data", st.data(), `"originalMaxAge":7200000`)
	})
}

// A session that was made by hand has the options that it was made with.
func TestOptionsMadeByHand(t *testing.T) {
	st := newSite(t, false, func(o *session.Options) { o.Cookie.MaxAge = time.Hour })
	resp := st.browser().get(func(w http.ResponseWriter, r *http.Request) {
		s := sessions.NewSession(st.store, "app")
		s.Values["a"] = 1
		if err := s.Save(r, w); err != nil {
			t.Fatal(err)
		}
	})
	if set := resp.Header.Get("Set-Cookie"); set == "" || strings.Contains(set, "Expires") {
		t.Errorf("Set-Cookie is %q", set)
	}
}
