package interop

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// A browser keeps one jar of cookies for both sides: to it they are one host,
// whatever their ports.
type browser struct {
	t    *testing.T
	host *url.URL
	http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &url.URL{Scheme: "http", Host: "127.0.0.1", Path: "/"}, http.Client{Jar: jar}}
}

// A page is what either side answers.
type page struct {
	ID      string // of the session
	Name    string // of the user, by his ID in passport.user with its JSON type
	Subject string // only ours
	Data    string // the session without its cookie
	MaxAge  any    // cookie.originalMaxAge
	Flashes string // only ours: what typed keys read

	setCookie string
}

// get asks for the state of the session.
func (b *browser) get(site string) page {
	b.t.Helper()
	return b.do("GET", site+"/view", "")
}

// post does something with the session. The body is JSON.
func (b *browser) post(site, path, body string) page {
	b.t.Helper()
	return b.do("POST", site+path, body)
}

func (b *browser) login(site, name string) page {
	b.t.Helper()
	return b.post(site, "/login", `{"username":"`+name+`","password":"secret of `+name+`"}`)
}

func (b *browser) do(method, url, body string) page {
	b.t.Helper()
	p, err := b.try(method, url, body)
	if err != "" {
		b.t.Fatal(err)
	}
	return p
}

// try is do for other goroutines than that of the test.
func (b *browser) try(method, url, body string) (p page, failure string) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return p, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.Do(req)
	if err != nil {
		return p, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return p, err.Error()
	}
	if resp.StatusCode != http.StatusOK {
		return p, method + " " + url + ": " + resp.Status + "\n" + string(text)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, err.Error() + " in " + string(text)
	}
	p.setCookie = strings.Join(resp.Header["Set-Cookie"], "\n")
	return p, ""
}

// cookie returns the value of the session cookie that the browser holds.
func (b *browser) cookie() string {
	for _, c := range b.Jar.Cookies(b.host) {
		if c.Name == "connect.sid" {
			return c.Value
		}
	}
	return ""
}

// with returns a browser that holds the cookie and no other.
func (b *browser) with(cookie string) *browser {
	other := newBrowser(b.t)
	if cookie == "" {
		return other
	}
	other.Jar.SetCookies(b.host, []*http.Cookie{{Name: "connect.sid", Value: cookie, Path: "/"}})
	return other
}
