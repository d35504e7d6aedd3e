package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
)

// newSessions returns a manager for the examples. A real program reads its
// secret from the environment: session.SecretsFromEnv("SESSION_SECRET").
func newSessions(opts session.Options) *session.Manager {
	opts.Secrets = []session.Secret{"an example's secret, which is no secret"}
	opts.NoStoreWarning = true
	sessions, err := session.New(memstore.New(nil), &opts)
	if err != nil {
		log.Fatal(err)
	}
	return sessions
}

// A visitor is a client with one cookie.
type visitor struct {
	site   http.Handler
	cookie string
}

func (v *visitor) get(path string) string {
	r := httptest.NewRequest("GET", path, nil)
	if v.cookie != "" {
		r.Header.Set("Cookie", v.cookie)
	}
	w := httptest.NewRecorder()
	v.site.ServeHTTP(w, r)
	if c := w.Header().Get("Set-Cookie"); c != "" {
		v.cookie, _, _ = strings.Cut(c, ";")
	}
	return w.Body.String()
}

func Example() {
	views := session.NewKey[int]("views", session.Sum)
	sessions := newSessions(session.Options{})
	site := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		n, _ := views.Get(s)
		views.Set(s, n+1)
		fmt.Fprintf(w, "You have been here %d times.", n+1)
	}))

	v := visitor{site: site}
	fmt.Println(v.get("/"))
	fmt.Println(v.get("/"))
	// Output:
	// You have been here 1 times.
	// You have been here 2 times.
}

// Signing in gives the session a new token by itself; signing out clears the
// cookie.
func Example_signInAndOut() {
	sessions := newSessions(session.Options{})
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		session.From(r).SetSubject("ada") // after checking the password
		fmt.Fprint(w, "Welcome.")
	})
	mux.HandleFunc("/me", func(w http.ResponseWriter, r *http.Request) {
		if user := session.From(r).Subject(); user != "" {
			fmt.Fprintf(w, "You are %s.", user)
			return
		}
		fmt.Fprint(w, "Please sign in.")
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		session.From(r).Destroy()
		fmt.Fprint(w, "Goodbye.")
	})

	v := visitor{site: sessions.Handler(mux)}
	for _, path := range []string{"/me", "/login", "/me", "/logout", "/me"} {
		fmt.Println(v.get(path))
	}
	// Output:
	// Please sign in.
	// Welcome.
	// You are ada.
	// Goodbye.
	// Please sign in.
}

// What is changed through a reference is saved.
func ExampleKey_Ref() {
	type Cart struct{ Items []string }
	cart := session.NewKey[Cart]("cart")
	sessions := newSessions(session.Options{})
	site := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := cart.Ref(session.From(r))
		c.Items = append(c.Items, r.URL.Query().Get("item"))
		fmt.Fprint(w, c.Items)
	}))

	v := visitor{site: site}
	v.get("/?item=tea")
	fmt.Println(v.get("/?item=milk"))
	// Output: [tea milk]
}

// A message that is shown once, on the next page.
func ExampleKey_Pop() {
	notice := session.NewKey[string]("notice")
	sessions := newSessions(session.Options{})
	mux := http.NewServeMux()
	mux.HandleFunc("/save", func(w http.ResponseWriter, r *http.Request) {
		notice.Set(session.From(r), "Saved.")
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		message, ok := notice.Pop(session.From(r))
		fmt.Fprintf(w, "%q %t", message, ok)
	})

	v := visitor{site: sessions.Handler(mux)}
	v.get("/save")
	fmt.Println(v.get("/"))
	fmt.Println(v.get("/"))
	// Output:
	// "Saved." true
	// "" false
}

// Two requests add to a list at the same time, and both additions stay.
func ExampleNewKey_union() {
	seen := session.NewKey[[]string]("seen", session.Union)
	sessions := newSessions(session.Options{})
	ctx := context.Background()
	first, _ := sessions.Open(ctx, "")
	seen.Set(first, []string{"a"})
	directive, _ := sessions.Commit(ctx, first)
	token := first.Token().Reveal()
	fmt.Println(directive.Action == session.SetToken)

	x, _ := sessions.Open(ctx, token)
	y, _ := sessions.Open(ctx, token)
	seen.Set(x, []string{"a", "x"})
	seen.Set(y, []string{"a", "y"})
	_, _ = sessions.Commit(ctx, x)
	_, _ = sessions.Commit(ctx, y)

	last, _ := sessions.Open(ctx, token)
	fmt.Println(seen.Get(last))
	// Output:
	// true
	// [a x y] true
}

// The keys of a session, in the form for names that are not known in advance.
func ExampleSession_Set() {
	sessions := newSessions(session.Options{})
	s, _ := sessions.Open(context.Background(), "")
	s.Set("color", "green")
	s.Set("size", 42)
	s.Delete("color")
	size, ok := session.Get[int](s, "size")
	fmt.Println(s.Keys(), size, ok)
	// Output: [size] 42 true
}

// "Remember me": this session and its cookie outlive the browser.
func ExampleSession_SetMaxAge() {
	sessions := newSessions(session.Options{})
	site := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		s.SetSubject("ada")
		if r.FormValue("remember") != "" {
			s.SetMaxAge(30 * 24 * time.Hour)
		}
	}))
	for _, form := range []string{"", "?remember=yes"} {
		w := httptest.NewRecorder()
		site.ServeHTTP(w, httptest.NewRequest("GET", "/login"+form, nil))
		fmt.Println(strings.Contains(w.Header().Get("Set-Cookie"), "Expires="))
	}
	// Output:
	// false
	// true
}

// Where a user is signed in, and signing out everywhere else.
func ExampleManager_RevokeOthers() {
	device := session.NewKey[string]("device")
	sessions := newSessions(session.Options{})
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		s.SetSubject("ada")
		device.Set(s, r.FormValue("device"))
	})
	mux.HandleFunc("/devices", func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		for rec, err := range sessions.List(r.Context(), s.Subject()) {
			if err != nil {
				http.Error(w, "Please try again.", http.StatusServiceUnavailable)
				return
			}
			name, _ := device.In(rec)
			if rec.ID == s.ID() {
				name += " (this one)"
			}
			fmt.Fprint(w, name, " ")
		}
	})
	mux.HandleFunc("/others", func(w http.ResponseWriter, r *http.Request) {
		n, err := sessions.RevokeOthers(r.Context(), session.From(r))
		fmt.Fprint(w, n, " ", err)
	})

	site := sessions.Handler(mux)
	phone, laptop := visitor{site: site}, visitor{site: site}
	phone.get("/login?device=phone")
	laptop.get("/login?device=laptop")
	fmt.Println(laptop.get("/others"))
	fmt.Println(laptop.get("/devices"))
	// Output:
	// 1 <nil>
	// laptop (this one)
}

// A token in a header, for clients without cookies.
func ExampleOptions_header() {
	sessions := newSessions(session.Options{Header: "X-Session-Token"})
	site := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		if s.IsNew() {
			s.SetSubject("robot-7")
		}
		fmt.Fprint(w, s.Subject())
	}))

	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest("POST", "/token", nil))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Session-Token", w.Header().Get("X-Session-Token"))
	w = httptest.NewRecorder()
	site.ServeHTTP(w, r)
	fmt.Println(w.Body)
	// Output: robot-7
}

// An error page of your own.
func ExampleOptions_onError() {
	sessions := newSessions(session.Options{
		OnError: func(w http.ResponseWriter, r *http.Request, err error) {
			var value *session.KeyError
			if errors.As(err, &value) {
				http.Error(w, "Cannot keep "+value.Key+".", http.StatusInternalServerError)
				return
			}
			http.Error(w, "Please try again.", http.StatusServiceUnavailable)
		},
	})
	site := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session.From(r).Set("callback", func() {}) // no JSON
		_, _ = io.WriteString(w, "never seen")
	}))
	fmt.Print((&visitor{site: site}).get("/"))
	// Output: Cannot keep callback.
}

// A log of what happens to sessions, without their tokens.
func ExampleOptions_onEvent() {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	sessions := newSessions(session.Options{
		OnEvent: func(e session.Event) {
			logger.Info("session", "event", e.Kind, "session", e.Mark, "subject", e.Subject)
			fmt.Println(e.Kind, e.Subject)
		},
	})
	v := visitor{site: sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			session.From(r).SetSubject("ada")
		} else {
			session.From(r).Destroy()
		}
	}))}
	v.get("/login")
	v.get("/logout")
	// Output:
	// created ada
	// destroyed ada
}

// Outside of net/http: a WebSocket server, a queue, another framework.
func ExampleManager_Open() {
	name := session.NewKey[string]("name")
	sessions := newSessions(session.Options{})
	ctx := context.Background()

	s, err := sessions.Open(ctx, "") // "" begins a new session
	if err != nil {
		log.Fatal(err)
	}
	name.Set(s, "Ada")
	directive, err := sessions.Commit(ctx, s)
	if err != nil {
		log.Fatal(err)
	}
	// directive.SetCookie is what a response would carry.
	fmt.Println(directive.Action == session.SetToken, directive.SetCookie)

	again, err := sessions.Open(ctx, s.Token().Reveal())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(name.Get(again))
	// Output:
	// true [redacted]
	// Ada true
}
