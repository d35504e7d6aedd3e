package besidescs

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/coatcheck/session"
)

// What a site does at /new, /read, /write and /touch: begin a session of 300
// bytes, read a number of it, change that, extend the session's life.
var (
	page  = []byte("a page\n")
	views = session.NewKey[int]("views")
	keys  = func() (keys []session.Key[string]) {
		for i := range 4 {
			keys = append(keys, session.NewKey[string](fmt.Sprintf("key%02d", i)))
		}
		return keys
	}()
	value = strings.Repeat("v", 300/4-len("key00")-6)
)

// A site is what a library makes of the handler.
type site struct {
	http.Handler
	views int // what the last request has read
}

func ourSite(tb testing.TB, store session.Store) *site {
	tb.Helper()
	st := new(site)
	m, err := session.New(store, &session.Options{
		Secrets: []session.Secret{"a secret for measuring, no secret at all"}, NoStoreWarning: true,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	must(tb, m, err)
	st.Handler = m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		if r.URL.Path == "/new" {
			for _, key := range keys {
				key.Set(s, value)
			}
			views.Set(s, 1)
			_, _ = w.Write(page)
			return
		}
		n, ok := views.Get(s)
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/write":
			views.Set(s, n+1)
		case "/touch":
			s.Touch()
		}
		st.views = n
		_, _ = w.Write(page)
	}))
	return st
}

func theirSite(store scs.Store, route string) *site {
	st := new(site)
	m := scs.New()
	m.Store = store
	m.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
	if route == "touch" {
		m.IdleTimeout = time.Hour // how scs extends a life, on every request
	}
	st.Handler = m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if r.URL.Path == "/new" {
			for i := range keys {
				m.Put(ctx, keys[i].Name(), value)
			}
			m.Put(ctx, "views", 1)
			_, _ = w.Write(page)
			return
		}
		n := m.GetInt(ctx, "views")
		if n == 0 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/write" {
			m.Put(ctx, "views", n+1)
		}
		st.views = n
		_, _ = w.Write(page)
	}))
	return st
}
