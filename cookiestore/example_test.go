package cookiestore_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
)

// A site without any server for its sessions. The secret is that of the tokens,
// too, and comes from the environment in a real program.
func ExampleNew() {
	secrets := []session.Secret{"an example of a secret, not for use....."}
	store, err := cookiestore.New(secrets, nil)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, &session.Options{Secrets: secrets, NoStoreWarning: true})
	if err != nil {
		log.Fatal(err)
	}
	visits := session.NewKey[int]("visits")
	site := httptest.NewTLSServer(sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		n, _ := visits.Get(s)
		visits.Set(s, n+1) // before the response begins
		fmt.Fprintln(w, "visit", n+1)
	})))
	defer site.Close()

	browser := site.Client()
	if browser.Jar, err = cookiejar.New(nil); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		resp, err := browser.Get(site.URL)
		if err != nil {
			log.Fatal(err)
		}
		var word string
		var n int
		if _, err := fmt.Fscan(resp.Body, &word, &n); err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(word, n, "sets", len(resp.Cookies()), "cookies")
	}
	// Output:
	// visit 1 sets 2 cookies
	// visit 2 sets 1 cookies
}
