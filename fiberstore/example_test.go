package fiberstore_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/fiberstore"
)

// A driver of fiber, here one in memory, keeps our sessions.
func ExampleNew() {
	driver := newSource() // in a program redis.New(redis.Config{...}) of gofiber/storage, for example
	sessions, err := session.New(fiberstore.New(driver), &session.Options{
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
	fmt.Println(len(driver.values), "value in the driver")
	// Output: 1 value in the driver
}
