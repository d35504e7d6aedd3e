package adapters

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session/internal/pages"
	"github.com/coatcheck/session/internal/testhost"
)

const page = "../../docs/migrate-gorilla.md"

// TestMigrateGorilla makes both programs of the first diff in
// docs/migrate-gorilla.md and does what the page says.
func TestMigrateGorilla(t *testing.T) {
	before, after := pages.Diff(t, page)
	programs := map[string]string{
		"before": pages.Build(t, map[string]string{"main.go": before}),
		"after":  pages.Build(t, map[string]string{"main.go": after}),
	}
	addr := testhost.FreeAddr(t)
	dir := t.TempDir()
	run := func(name string) (stop func()) {
		cmd := exec.Command(programs[name])
		cmd.Env = append(os.Environ(), "ADDR="+addr, "SESSION_KEY=a key of gorilla's, of 32 bytes.",
			"SESSION_DIR="+dir, "SESSION_SECRET="+strings.Repeat("0123456789abcdef", 3))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop = func() { _, _ = cmd.Process.Kill(), cmd.Wait() }
		t.Cleanup(stop)
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				_ = conn.Close()
				return stop
			}
			if time.Since(began) > time.Minute {
				t.Fatal("the program does not listen:", err)
			}
		}
	}
	c := newClient(t)
	c.Jar = secureJar{c.Jar}
	post := func(c *client, path string) {
		t.Helper()
		resp, err := c.PostForm("http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatal(path, resp.Status)
		}
	}
	home := "http://" + addr + "/"
	cookies := func(c *client) string {
		var names []string
		for _, cookie := range c.Jar.Cookies(parse(t, home)) {
			names = append(names, cookie.Name)
		}
		return strings.Join(names, " ")
	}

	stop := run("before")
	post(c, "/login") // and the redirect
	c.shows(home, "user ada, visit 2. []")
	if got := cookies(c); got != "app" {
		t.Fatalf("cookies of the old program: %q", got)
	}
	thief := newClient(t)
	thief.Jar = secureJar{thief.Jar}
	thief.Jar.SetCookies(parse(t, home), c.Jar.Cookies(parse(t, home)))
	stop()

	stop = run("after")
	c.shows(home, "user ada, visit 3. []")
	if got := cookies(c); got != "__Host-session" {
		t.Errorf("cookies of the new program: %q", got)
	}
	stop()

	run("after")
	c.shows(home, "user ada, visit 4. []")
	post(c, "/logout")
	if got := cookies(c); got != "" {
		t.Errorf("cookies after the sign-out: %q", got)
	}
	c.shows(home, "user <nil>, visit 1. []")
	thief.shows(home, "user <nil>, visit 1. []")
	post(c, "/login")
	c.shows(home, "user ada, visit 3. []")
}

// secureJar keeps Secure cookies for plain HTTP too, as browsers do on this machine.
type secureJar struct{ http.CookieJar }

func (j secureJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(https(u), cookies)
}
func (j secureJar) Cookies(u *url.URL) []*http.Cookie { return j.CookieJar.Cookies(https(u)) }

func https(u *url.URL) *url.URL {
	s := *u
	s.Scheme = "https"
	return &s
}

// The lines for gin-contrib are those that the tests use.
func TestThePageHasTheGinStore(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("gin_test.go")
	if err != nil {
		t.Fatal(err)
	}
	inPage := regexp.MustCompile(`(?s)type ginStore.*?ToGorillaOptions\(\) }`)
	want := strings.ReplaceAll(string(inPage.Find(code)), "ginsessions.", "sessions.")
	if got := string(inPage.Find(text)); got == "" || got != want {
		t.Errorf("the page has\n%s\nand the test\n%s", got, want)
	}
}
