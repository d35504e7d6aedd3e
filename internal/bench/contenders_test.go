package bench

import (
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	scsmem "github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
	"github.com/coatcheck/session/memstore"
)

var contenders = []contender{
	{"bare", bare},
	{"cookie", cookieOnly},
	{"session", ours},
	{"cookiestore", oursInCookies},
	{"scs", scsSite},
	{"gorilla", gorillaSite},
}

// bare is the handler alone.
func bare(testing.TB, string, int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(page) })
}

// cookieOnly reads, and sets, a cookie like ours by means of net/http.
func cookieOnly(_ testing.TB, route string, _ int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("session"); err == nil && c.Value == "" {
			panic("no value")
		}
		if route == "new" || route == "renew" {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "s%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
				Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
		}
		_, _ = w.Write(page)
	})
}

var views = session.NewKey[int]("views")

var secrets = []session.Secret{"a secret for measuring, no secret at all"}

func ours(tb testing.TB, route string, size int) http.Handler {
	return oursWith(tb, memstore.New(&memstore.Options{MaxSessions: -1, MaxBytes: -1}), route, size)
}

// oursInCookies keeps the sessions in cookies as gorilla does, but so that nobody
// else can read them.
func oursInCookies(tb testing.TB, route string, size int) http.Handler {
	store, err := cookiestore.New(secrets, &cookiestore.Options{MaxBytes: 16384})
	if err != nil {
		tb.Fatal(err)
	}
	return oursWith(tb, store, route, size)
}

func oursWith(tb testing.TB, store session.Store, route string, size int) http.Handler {
	m, err := session.New(store, &session.Options{
		Secrets: secrets, NoStoreWarning: true,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	pairs := fill(route, size)
	return m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/untouched":
		case "/new":
			s := session.From(r)
			for _, p := range pairs {
				session.NewKey[string](p.key).Set(s, p.value)
			}
			views.Set(s, 1)
		case "/renew":
			session.From(r).RenewID()
		default:
			s := session.From(r)
			n, ok := views.Get(s)
			if !ok && r.URL.Path != "/anon" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			switch r.URL.Path {
			case "/write":
				views.Set(s, n+1)
			case "/touch":
				s.Touch()
			}
		}
		_, _ = w.Write(page)
	}))
}

func scsSite(_ testing.TB, route string, size int) http.Handler {
	m := scs.New()
	m.Store = scsmem.NewWithCleanupInterval(0)
	m.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) { w.WriteHeader(http.StatusInternalServerError) }
	if route == "touch" {
		m.IdleTimeout = time.Hour
	}
	pairs := fill(route, size)
	return m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		switch r.URL.Path {
		case "/untouched":
		case "/new":
			for _, p := range pairs {
				m.Put(ctx, p.key, p.value)
			}
			m.Put(ctx, "views", 1)
		case "/renew":
			if m.RenewToken(ctx) != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		default:
			n := m.GetInt(ctx, "views")
			if n == 0 && r.URL.Path != "/anon" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if r.URL.Path == "/write" {
				m.Put(ctx, "views", n+1)
			}
		}
		_, _ = w.Write(page)
	}))
}

// gorillaSite keeps its sessions in signed cookies, which is what the library has
// besides files. It cannot renew a token or extend a life.
func gorillaSite(_ testing.TB, route string, size int) http.Handler {
	if route == "renew" || route == "touch" {
		return nil
	}
	store := sessions.NewCookieStore([]byte("a secret for measuring, no secret at all"))
	for _, codec := range store.Codecs {
		codec.(*securecookie.SecureCookie).MaxLength(0) // else a session of 4 KB is refused
	}
	pairs := fill(route, size)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/untouched" {
			_, _ = w.Write(page)
			return
		}
		// The library keeps its state in the request's context and mutates the
		// request; each measured call must begin with a fresh one.
		r = r.Clone(r.Context())
		s, _ := store.Get(r, "session")
		n, _ := s.Values["views"].(int)
		switch r.URL.Path {
		case "/new":
			for _, p := range pairs {
				s.Values[p.key] = p.value
			}
			s.Values["views"] = 1
		case "/anon":
			_, _ = w.Write(page)
			return
		default:
			if n == 0 {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if r.URL.Path == "/write" {
				s.Values["views"] = n + 1
			}
		}
		if r.URL.Path != "/read" {
			if s.Save(r, w) != nil {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
		}
		_, _ = w.Write(page)
	})
}
