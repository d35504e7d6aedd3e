package session_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
)

// homemade finds the sessions of a program that kept user IDs under random tokens.
type homemade struct{ users sync.Map }

func (h *homemade) Token(r *http.Request) string {
	if c, err := r.Cookie("login"); err == nil {
		return c.Value
	}
	return ""
}

func (h *homemade) Load(_ context.Context, r *http.Request) (*session.Imported, error) {
	token := h.Token(r)
	user, ok := h.users.Load(token)
	if !ok {
		return nil, session.ErrNotFound
	}
	return &session.Imported{
		Subject: user.(string),
		Values:  map[string]any{"theme": "dark"},
		Delete: func(context.Context) error {
			h.users.Delete(token)
			return nil
		},
	}, nil
}

func (h *homemade) Cookies() []*http.Cookie { return []*http.Cookie{{Name: "login", Path: "/"}} }

func ExampleImporter() {
	old := new(homemade)
	old.users.Store("lJ9mT2xV7q", "ada")
	sessions, err := session.New(memstore.New(nil), &session.Options{
		Secrets:        []session.Secret{"a secret of at least 32 bytes, from the environment"},
		Import:         old,
		NoStoreWarning: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	h := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		theme, _ := session.Get[string](session.From(r), "theme")
		fmt.Fprintf(w, "%s, %s", session.From(r).Subject(), theme)
	}))
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	r.AddCookie(&http.Cookie{Name: "login", Value: "lJ9mT2xV7q"})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Body)
	for _, c := range w.Result().Cookies() {
		fmt.Println(c.Name, c.MaxAge >= 0)
	}
	// Output:
	// ada, dark
	// __Host-session true
	// login false
}
