package gorillasession_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/filestore"
	"github.com/coatcheck/session/gorillasession"
	"github.com/coatcheck/session/memstore"
)

// A program on gorilla, of which one line has changed.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	files, err := filestore.New(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	manager, err := session.New(files, &session.Options{
		Secrets: []session.Secret{"a secret of at least 32 bytes, from a file"},
	})
	if err != nil {
		log.Fatal(err)
	}

	store := gorillasession.New(manager) // was: sessions.NewCookieStore(key)

	visit := func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, "app")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		n, _ := s.Values["visits"].(int)
		s.Values["visits"] = n + 1
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "Visits:", n+1)
	}

	site := manager.Handler(http.HandlerFunc(visit))
	var cookies []*http.Cookie
	for range 2 {
		r := httptest.NewRequest("GET", "https://example.com/", nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		cookies = append(cookies, w.Result().Cookies()...)
		fmt.Print(w.Body)
	}
	// Output:
	// Visits: 1
	// Visits: 2
}

// Those who are signed in by a cookie of gorilla's stay signed in.
func ExampleNewImporter() {
	old := sessions.NewCookieStore([]byte("the key of the old program"))
	subject := func(s *sessions.Session) (string, bool) {
		user, _ := s.Values["user"].(string)
		return user, s.Name() == "app"
	}
	importer := gorillasession.NewImporter(old, "app")
	importer.Subject = subject
	manager, err := session.New(memstore.New(nil), &session.Options{
		Secrets: []session.Secret{"a secret of at least 32 bytes, from a file"},
		Import:  importer,

		NoStoreWarning: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	store := gorillasession.New(manager)
	store.Subject = subject

	// The old program has signed ada in.
	r := httptest.NewRequest("GET", "https://example.com/", nil)
	w := httptest.NewRecorder()
	s, _ := old.Get(r, "app")
	s.Values["user"] = "ada"
	if err := s.Save(r, w); err != nil {
		log.Fatal(err)
	}

	// The new one knows her.
	r = httptest.NewRequest("GET", "https://example.com/", nil)
	r.AddCookie(w.Result().Cookies()[0])
	w = httptest.NewRecorder()
	manager.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, "app")
		fmt.Println("Hello,", s.Values["user"])
	})).ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		fmt.Println(c.Name, "cleared:", c.MaxAge < 0)
	}
	// Output:
	// Hello, ada
	// __Host-session cleared: false
	// app cleared: true
}
