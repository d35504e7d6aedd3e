package boltstore_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/boltstore"
	"go.etcd.io/bbolt"
)

// Sessions in the database that the program has anyway.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := bbolt.Open(filepath.Join(dir, "app.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store, err := boltstore.New(db, nil)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, &session.Options{
		Secrets: []session.Secret{"a secret of at least 32 bytes, from a file"},
	})
	if err != nil {
		log.Fatal(err)
	}

	visits := session.NewKey[int]("visits")
	handler := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		n, _ := visits.Get(s)
		visits.Set(s, n+1)
		fmt.Fprintf(w, "visit %d", n+1)
	}))

	request := httptest.NewRequest("GET", "https://example.com/", nil)
	for range 2 {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		fmt.Println(response.Body)
		for _, cookie := range response.Result().Cookies() {
			request.AddCookie(cookie)
		}
	}
	// Output:
	// visit 1
	// visit 2
}
