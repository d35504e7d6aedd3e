package fibersession_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v3"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/fibersession"
	"github.com/coatcheck/session/memstore"
)

func Example() {
	sessions, err := session.New(memstore.New(nil), &session.Options{
		Secrets:        []session.Secret{"a secret of at least 32 bytes, from the environment"},
		NoStoreWarning: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	app := fiber.New()
	app.Use(fibersession.New(sessions))
	app.Post("/login", func(c fiber.Ctx) error {
		// ... after the password was checked
		fibersession.From(c).SetSubject(c.FormValue("user"))
		return c.SendStatus(fiber.StatusNoContent)
	})
	app.Get("/", func(c fiber.Ctx) error {
		return c.SendString("Hello, " + fibersession.From(c).Subject())
	})

	// What a browser would do:
	form := strings.NewReader(url.Values{"user": {"ada"}}.Encode())
	login := httptest.NewRequest("POST", "/login", form)
	login.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := app.Test(login)
	if err != nil {
		log.Fatal(err)
	}
	home := httptest.NewRequest("GET", "/", nil)
	for _, c := range resp.Cookies() {
		home.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	resp, err = app.Test(home)
	if err != nil {
		log.Fatal(err)
	}
	body := make([]byte, 100)
	n, _ := resp.Body.Read(body)
	fmt.Println(string(body[:n]))
	// Output: Hello, ada
}
