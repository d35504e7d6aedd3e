package byo

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/pages"
	"github.com/coatcheck/session/internal/testhost"
)

// TestMigrateScs makes both programs of the diff in docs/migrate-scs.md and does
// what the page says.
func TestMigrateScs(t *testing.T) {
	before, after := pages.Diff(t, "../../docs/migrate-scs.md")
	programs := map[string]string{
		"before": pages.Build(t, map[string]string{"main.go": before}),
		"after":  pages.Build(t, map[string]string{"main.go": after}),
	}
	server := servers.Postgres(t)
	database := server.NewDatabase(t)
	mustPool(t, openPool(t, database.DSN), scsPostgres)
	addr := testhost.FreeAddr(t)
	run := func(name string) (stop func()) {
		cmd := exec.Command(programs[name])
		cmd.Env = append(os.Environ(), "ADDR="+addr, "DATABASE_URL="+database.URL, "SESSION_SECRET="+strings.Repeat("0123456789abcdef", 3))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop = func() { _, _ = cmd.Process.Kill(), cmd.Wait() }
		t.Cleanup(stop)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				return stop
			}
			select {
			case <-ctx.Done():
				t.Fatal("the program does not listen:", err)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}

	// The cookies are Secure, and a jar of net/http sends such to HTTPS only: so it
	// is told that this is HTTPS.
	inner, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: secureJar{inner}}
	get := func(path string) string { return fetch(t, client, "http://"+addr+path) }
	post := func(path string) string {
		t.Helper()
		resp, err := client.PostForm("http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.Status
	}

	stop := run("before")
	equal(t, "the sign-in", post("/login"), "200 OK") // after the redirect to /
	equal(t, "before", get("/"), "user 23, visit 2. \n")
	stop()
	check := exec.Command(programs["after"], "check")
	check.Env = append(os.Environ(), "DATABASE_URL="+database.URL)
	out, err := check.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "1 sessions can be taken over; the others: <nil>") {
		t.Errorf("the check before the deploy: %v\n%s", err, out)
	}
	stop = run("after")
	equal(t, "after", get("/"), "user 23, visit 3. \n")
	equal(t, "and again", get("/"), "user 23, visit 4. \n")
	var left int
	if err := openPool(t, database.DSN).QueryRow(t.Context(), "SELECT count(*) FROM sessions").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows of scs are left, %v", left, err)
	}
	equal(t, "the sign-out everywhere", post("/logout-everywhere"), "200 OK")
	equal(t, "then", get("/"), "user 0, visit 1. \n")
	equal(t, "a new sign-in", post("/login"), "200 OK")
	equal(t, "then", get("/"), "user 23, visit 3. \n")
	equal(t, "the sign-out", post("/logout"), "200 OK")
	equal(t, "then", get("/"), "user 0, visit 1. \n")
	stop()
}

// A secureJar takes every connection for HTTPS.
type secureJar struct{ http.CookieJar }

func (j secureJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(secured(u), cookies)
}
func (j secureJar) Cookies(u *url.URL) []*http.Cookie { return j.CookieJar.Cookies(secured(u)) }

func secured(u *url.URL) *url.URL {
	https := *u
	https.Scheme = "https"
	return &https
}
