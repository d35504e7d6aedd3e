package scsstore_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/scsstore"
)

// A store that was written for scs, here one in memory, keeps our sessions.
func ExampleNew() {
	source := newSource() // in a program pgxstore.New(pool), for example
	sessions, err := session.New(scsstore.New(source), &session.Options{
		Secrets:        []session.Secret{"a secret of at least 32 bytes, from the environment"},
		NoStoreWarning: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	h := sessions.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session.From(r).SetSubject("23")
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "https://example.test/login", nil))
	all, _ := source.All()
	fmt.Println(len(all), "row in the store of scs")
	// Output: 1 row in the store of scs
}

// Whoever is signed in by scs stays so.
func ExampleNewImporter() {
	old := newSource() // in a program pgxstore.New(pool), for example
	importer := scsstore.NewImporter(old, &scsstore.ImportOptions{SubjectKey: "userID"})
	sessions, err := session.New(memstore.New(nil), &session.Options{
		Secrets:        []session.Secret{"a secret of at least 32 bytes, from the environment"},
		Import:         importer,
		NoStoreWarning: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	h := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "user %q", session.From(r).Subject())
	}))
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	r.AddCookie(signedInByScs(old, map[string]any{"userID": 23}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Body)
	left, _ := old.All()
	fmt.Println(len(left), "rows left in the old store")
	// Output:
	// user "23"
	// 0 rows left in the old store
}
