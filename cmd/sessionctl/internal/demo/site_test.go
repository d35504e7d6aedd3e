package demo

import (
	"context"
	"database/sql"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
)

// A fixture is the site on a server of its own, with an empty database.
type fixture struct {
	t    *testing.T
	site *site
	db   *sql.DB
	url  string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db, err := openDatabase(t.Context(), filepath.Join(t.TempDir(), "sessions.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	store, err := sqlstore.New(db, sqlstore.SQLite, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	users, err := newUsers(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	sessions, err := session.New(store, &session.Options{
		Secrets: []session.Secret{"a secret that is long enough for a test"},
		Cookie:  session.Cookie{Secure: session.SecureAuto},
		Logger:  log,
	})
	if err != nil {
		t.Fatal(err)
	}
	st := newSite(sessions, users, log)
	server := httptest.NewServer(st.handler())
	t.Cleanup(server.Close)
	return &fixture{t, st, db, server.URL}
}

func (f *fixture) sessions() int {
	f.t.Helper()
	n, err := f.site.sessions.Count(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// A browser keeps cookies and follows redirects.
type browser struct {
	f      *fixture
	client *http.Client
}

func (f *fixture) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return &browser{f, &http.Client{Jar: jar}}
}

// A reply is the page that a browser ends at.
type reply struct {
	status int
	path   string
	header http.Header
	text   string
}

func (b *browser) do(r *http.Request) reply {
	b.f.t.Helper()
	resp, err := b.client.Do(r)
	if err != nil {
		b.f.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.f.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Request.URL.RequestURI(), resp.Header, html.UnescapeString(string(body))}
}

func (b *browser) request(method, path string, body io.Reader) *http.Request {
	b.f.t.Helper()
	r, err := http.NewRequestWithContext(b.f.t.Context(), method, b.f.url+path, body)
	if err != nil {
		b.f.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (b *browser) get(path string) reply {
	b.f.t.Helper()
	return b.do(b.request(http.MethodGet, path, nil))
}

func (b *browser) post(path string, fields ...string) reply {
	b.f.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.do(b.request(http.MethodPost, path, strings.NewReader(form.Encode())))
}

func (b *browser) cookie() string {
	u, err := url.Parse(b.f.url)
	if err != nil {
		b.f.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		return c.Value
	}
	return ""
}

const goodPassword = "correct horse battery"

func (b *browser) signUp(name string) {
	b.f.t.Helper()
	if got := b.post("/signup", "name", name, "password", goodPassword); got.path != "/members" {
		b.f.t.Fatalf("signing up leads to %s:\n%s", got.path, got.text)
	}
}

func (b *browser) signIn(name string) {
	b.f.t.Helper()
	if got := b.post("/signin", "name", name, "password", goodPassword); got.path != "/members" {
		b.f.t.Fatalf("signing in leads to %s:\n%s", got.path, got.text)
	}
}

func TestLookingLeavesNothingBehind(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/signin", "/signup", "/inspect", "/members", "/sessions", "/nothing", "/assets/style.css"} {
		b := f.browser()
		if got := b.get(path); got.header.Get("Set-Cookie") != "" || b.cookie() != "" {
			t.Errorf("%s sets a cookie", path)
		}
	}
	b := f.browser()
	b.post("/signout")
	if n := f.sessions(); n != 0 || b.cookie() != "" {
		t.Errorf("there are %d sessions of nobody", n)
	}
}

func TestHeaders(t *testing.T) {
	f := newFixture(t)
	member := f.browser()
	member.signUp("ada")
	for _, path := range []string{"/", "/members", "/sessions", "/inspect", "/nothing"} {
		got := member.get(path)
		if cc := got.header.Get("Cache-Control"); cc != "no-store" {
			t.Errorf("%s has Cache-Control %q", path, cc)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Content-Type":            "text/html; charset=utf-8",
		} {
			if !strings.HasPrefix(got.header.Get(name), want) {
				t.Errorf("%s has %s %q", path, name, got.header.Get(name))
			}
		}
		if regexp.MustCompile(`(?i)style=|<style|onclick|<script>|https?://`).MatchString(got.text) {
			t.Errorf("%s has something that its own policy forbids, or a link to elsewhere", path)
		}
	}
	if got := member.get("/nothing"); got.status != http.StatusNotFound {
		t.Errorf("a page that is not there has status %d", got.status)
	}
	if got := member.get("/assets/"); got.status != http.StatusNotFound {
		t.Errorf("the list of files has status %d", got.status)
	}
}

func TestCountAndNote(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	if got := b.get("/"); !strings.Contains(got.text, "first visit") {
		t.Errorf("the first visit is no welcome:\n%s", got.text)
	}
	got := b.post("/note", "note", "<script>alert(1)</script>")
	if got.path != "/" || !strings.Contains(got.text, "kept in your session") || !strings.Contains(got.text, `<span id="visits">2</span>`) {
		t.Errorf("after the note the browser is at %s:\n%s", got.path, got.text)
	}
	if got := b.get("/"); strings.Contains(got.text, `class="flash`) {
		t.Error("the message is shown twice")
	}
	if got := b.post("/note", "note", strings.Repeat("ü", maxNote+1)); !strings.Contains(got.text, "too long") || !strings.Contains(got.text, "alert(1)") {
		t.Errorf("a long note takes the place of the old one:\n%s", got.text)
	}
	if got := b.post("/note", "note", ""); !strings.Contains(got.text, "The note is gone") || strings.Contains(got.text, "alert(1)") {
		t.Errorf("the note is not gone:\n%s", got.text)
	}
}

func TestNoteIsEscaped(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.post("/note", "note", "</textarea><script>alert(1)</script>")
	for _, path := range []string{"/", "/inspect"} {
		resp, err := b.client.Get(f.url + path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || strings.Contains(string(raw), "<script>alert") || !strings.Contains(string(raw), "alert(1)") {
			t.Errorf("%s does not show the note as a text: %v", path, err)
		}
	}
}

// Visits at the same time all count: the rule of the key sees to it.
func TestVisitsAtTheSameTime(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.get("/")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			resp, err := b.client.Get(f.url + "/")
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	all.Wait()
	if got := b.get("/"); !strings.Contains(got.text, `<span id="visits">12</span>`) {
		t.Errorf("visits were lost:\n%s", got.text)
	}
}

func TestAccount(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.get("/")
	anonymous := b.cookie()
	b.signUp("ada")
	if b.cookie() == anonymous {
		t.Error("signing up did not change the cookie: somebody may have planted it")
	}
	if got := b.get("/members"); !strings.Contains(got.text, "Hello, ada.") {
		t.Errorf("the members' page does not know the member:\n%s", got.text)
	}
	if got := b.get("/"); !strings.Contains(got.text, `<span id="visits">2</span>`) {
		t.Error("the count did not come along")
	}
	for _, path := range []string{"/signin", "/signup"} {
		if got := b.get(path); got.path != "/members" {
			t.Errorf("%s shows a member %s", path, got.path)
		}
	}
	member := b.cookie()
	got := b.post("/signout")
	if got.path != "/signin" || !strings.Contains(got.text, "You are signed out") {
		t.Errorf("signing out leads to %s:\n%s", got.path, got.text)
	}
	if got := b.get("/"); !strings.Contains(got.text, "first visit") {
		t.Error("the count outlived the session")
	}

	// Nobody gets in by a cookie of old.
	for _, old := range []string{anonymous, member} {
		r := b.request(http.MethodGet, "/members", nil)
		r.Header.Set("Cookie", "session="+old)
		thief := &browser{f, &http.Client{}}
		if got := thief.do(r); got.path != "/signin?next=%2Fmembers" {
			t.Errorf("an old cookie leads to %s", got.path)
		}
	}
	b.signIn("ADA") // names are the same in any case of letters
	if got := b.get("/members"); !strings.Contains(got.text, "Hello, ada.") {
		t.Errorf("signing in again:\n%s", got.text)
	}
}

func TestAccountRefusals(t *testing.T) {
	f := newFixture(t)
	f.browser().signUp("ada")
	const wrong = "The name or the password is wrong."
	for _, c := range []struct {
		name, path, user, password, want string
	}{
		{"a wrong password", "/signin", "ada", "something else", wrong},
		{"an unknown name is told in the same words", "/signin", "eve", goodPassword, wrong},
		{"no name", "/signin", "", goodPassword, wrong},
		{"no password", "/signin", "ada", "", wrong},
		{"a name that is taken", "/signup", "ada", goodPassword, "taken"},
		{"a name that is taken in other letters", "/signup", "Ada", goodPassword, "taken"},
		{"a short name", "/signup", "a", goodPassword, "2 to 32 characters"},
		{"a long name", "/signup", strings.Repeat("a", 33), goodPassword, "2 to 32 characters"},
		{"a name that looks like another", "/signup", "аdа", goodPassword, "only the letters"},
		{"a name that is no UTF-8", "/signup", "ad\xff", goodPassword, "only the letters"},
		{"a short password", "/signup", "eve", "1234567", "8 to 256 characters"},
		{"a very long password", "/signup", "eve", strings.Repeat("a", 257), "8 to 256 characters"},
		{"the name for a password", "/signup", "eveeveeve", "EveEveEve", "must not be the name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := *f
			f.t = t
			f.site.attempts.byName.forget("127.0.0.1 " + strings.ToLower(c.user))
			b := f.browser()
			got := b.post(c.path, "name", c.user, "password", c.password)
			if got.path != c.path || !strings.Contains(got.text, c.want) {
				t.Errorf("the browser is at %s, want %s with %q:\n%s", got.path, c.path, c.want, got.text)
			}
			if c.password != "" && c.password != c.user && strings.Contains(got.text, c.password) {
				t.Error("the page shows the password")
			}
			if got := b.get("/members"); got.path != "/signin?next=%2Fmembers" {
				t.Errorf("the members' page is open: %s", got.path)
			}
		})
	}
}

func TestAfterSignIn(t *testing.T) {
	f := newFixture(t)
	f.browser().signUp("ada")
	for _, c := range []struct{ name, next, want string }{
		{"the page that was asked for", "/sessions", "/sessions"},
		{"without one, the members' page", "", "/members"},
		{"another site is no place to go to", "https://evil.example/", "/members"},
		{"nor is one without a scheme", "//evil.example/", "/members"},
		{"nor is a backslash", `/\evil.example`, "/members"},
		{"nor is a page that does something", "/signout", "/members"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := *f
			f.t = t
			got := f.browser().post("/signin", "name", "ada", "password", goodPassword, "next", c.next)
			if got.path != c.want {
				t.Errorf("next %q leads to %s, want %s", c.next, got.path, c.want)
			}
		})
	}
}

func TestSomebodyElseSignsIn(t *testing.T) {
	f := newFixture(t)
	f.browser().signUp("bob")
	b := f.browser()
	b.signUp("ada")
	b.post("/note", "note", "ada's own note")
	b.signIn("bob")
	if got := b.get("/"); strings.Contains(got.text, "ada's own note") {
		t.Error("the next user sees the note of the one before")
	}
}

func TestRememberMe(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	got := b.post("/signup", "name", "ada", "password", goodPassword, "remember", "on")
	if c := got.header.Get("Set-Cookie"); !strings.Contains(c, "Expires=") {
		t.Errorf("the cookie ends with the browser: %s", c)
	}
	if got := b.get("/members"); !strings.Contains(got.text, "30 d 0 h after your last visit") {
		t.Errorf("the page does not say so:\n%s", got.text)
	}
	got = b.post("/signin", "name", "ada", "password", goodPassword)
	if c := got.header.Get("Set-Cookie"); strings.Contains(c, "Expires=") {
		t.Errorf("the cookie outlives the browser: %s", c)
	}
}

func TestTooManyAttempts(t *testing.T) {
	f := newFixture(t)
	f.browser().signUp("ada")
	b := f.browser()
	for range 5 {
		if got := b.post("/signin", "name", "ada", "password", "guess"); got.status != http.StatusOK {
			t.Fatalf("status %d too early", got.status)
		}
	}
	before := f.sessions()
	got := f.browser().post("/signin", "name", "Ada", "password", goodPassword)
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" || !strings.Contains(got.text, "Please try again in") {
		t.Errorf("a sixth attempt has status %d:\n%s", got.status, got.text)
	}
	if n := f.sessions(); n != before {
		t.Errorf("an attempt that was refused left a session: %d, then %d", before, n)
	}
	f.browser().signUp("bob") // others are not concerned
}

var placeID = regexp.MustCompile(`name="id" value="([^"]+)"`)

func TestWhereYouAreSignedIn(t *testing.T) {
	f := newFixture(t)
	laptop, phone, eve := f.browser(), f.browser(), f.browser()
	laptop.signUp("ada")
	r := phone.request(http.MethodPost, "/signin", strings.NewReader("name=ada&password="+url.QueryEscape(goodPassword)))
	r.Header.Set("User-Agent", "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0")
	phone.do(r)
	eve.signUp("eve")

	list := laptop.get("/sessions").text
	if strings.Count(list, "this one") != 1 || !strings.Contains(list, "Firefox 140 on Android") || !strings.Contains(list, "A Go program") {
		t.Errorf("the list:\n%s", list)
	}
	ids := placeID.FindAllStringSubmatch(list, -1)
	if len(ids) != 2 || strings.Index(list, "this one") > strings.Index(list, "Firefox 140") {
		t.Fatalf("there are %d places, or this one is not the first:\n%s", len(ids), list)
	}
	own, other := ids[0][1], ids[1][1]

	for name, id := range map[string]string{"a session of somebody else": other, "no session": "nonsense", "nothing": "", "an impossible ID": "a\x00b"} {
		if got := eve.post("/sessions/revoke", "id", id); got.path != "/sessions" || !strings.Contains(got.text, "signed out already") {
			t.Errorf("revoking %s leads to %s:\n%s", name, got.path, got.text)
		}
	}
	if got := phone.get("/members"); got.path != "/members" {
		t.Fatal("a stranger signed the phone out")
	}
	stranger := f.browser()
	if got := stranger.post("/sessions/revoke", "id", other); got.path != "/signin" {
		t.Errorf("somebody who is not signed in gets to %s", got.path)
	}
	if got := laptop.post("/sessions/revoke", "id", other); !strings.Contains(got.text, "That browser is signed out") {
		t.Errorf("revoking:\n%s", got.text)
	}
	if got := phone.get("/members"); got.path != "/signin?next=%2Fmembers" {
		t.Errorf("the phone is still at %s", got.path)
	}
	if got := laptop.post("/sessions/revoke", "id", own); got.path != "/signin" || !strings.Contains(got.text, "You are signed out") {
		t.Errorf("signing out here leads to %s", got.path)
	}
}

func TestSignOutEverywhereElse(t *testing.T) {
	for others, want := range []string{"nowhere else", "One other browser", "2 other browsers"} {
		t.Run(want, func(t *testing.T) {
			f := newFixture(t)
			here := f.browser()
			here.signUp("ada")
			for range others {
				f.browser().signIn("ada")
			}
			if got := here.post("/sessions/revoke-others"); !strings.Contains(got.text, want) {
				t.Errorf("want %q:\n%s", want, got.text)
			}
			if n := f.sessions(); n != 1 {
				t.Errorf("%d sessions are left", n)
			}
		})
	}
}

func TestAUserWhoIsGone(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signUp("ada")
	if _, err := f.db.ExecContext(t.Context(), "DELETE FROM users"); err != nil {
		t.Fatal(err)
	}
	if got := b.get("/members"); got.path != "/signin?next=%2Fmembers" || got.status != http.StatusOK {
		t.Errorf("the session of a user who is gone leads to %s with %d", got.path, got.status)
	}
	b.signUp("ada") // another one, by the same name
}

func TestInspector(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signUp("ada")
	got := b.get("/inspect").text
	raw := b.cookie()
	value, err := url.PathUnescape(raw)
	if err != nil {
		t.Fatal(err)
	}
	token, signature, _ := strings.Cut(strings.TrimPrefix(value, "s:"), ".")
	for _, want := range []string{
		`id="raw">` + raw, `id="token">` + token, `id="signature">` + signature,
		`id="record-id">` + hashOf(token), "SHA-256 of the token", `"browser": "A Go program"`, `">59 min`, `">23 h`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the inspector does not show %q:\n%s", want, got)
		}
	}
	r := b.request(http.MethodGet, "/inspect", nil)
	r.Header.Set("Cookie", "session=s%3Anonsense.nonsense")
	forged := (&browser{f, &http.Client{}}).do(r)
	if !strings.Contains(forged.text, "leads to no session") || !strings.Contains(forged.header.Get("Set-Cookie"), "session=;") {
		t.Errorf("a cookie that is not ours is not cleared: %q\n%s", forged.header.Get("Set-Cookie"), forged.text)
	}
}

func TestFormsOfOtherSites(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signUp("ada")
	for _, path := range []string{"/note", "/signup", "/signin", "/signout", "/sessions/revoke", "/sessions/revoke-others"} {
		r := b.request(http.MethodPost, path, strings.NewReader("note=x"))
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Origin", "https://evil.example")
		if got := b.do(r); got.status != http.StatusForbidden || !strings.Contains(got.text, "another site") {
			t.Errorf("%s has status %d", path, got.status)
		}
	}
	if got := b.get("/members"); got.path != "/members" {
		t.Error("the member was signed out")
	}
}

func TestEveryFormEndsWithARedirect(t *testing.T) {
	f := newFixture(t)
	f.browser().signUp("ada")
	b := f.browser()
	b.signIn("ada")
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, path := range []string{"/note", "/signup", "/signin", "/sessions/revoke", "/sessions/revoke-others", "/signout"} {
		if got := b.post(path); got.status != http.StatusSeeOther {
			t.Errorf("POST %s has status %d", path, got.status)
		}
	}
}

func TestBadForms(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	for _, c := range []struct {
		name, body string
		want       int
	}{
		{"a form that is far too large", "note=" + strings.Repeat("x", maxBody), http.StatusRequestEntityTooLarge},
		{"a form that is not encoded properly", "note=%zz", http.StatusBadRequest},
		{"a form with semicolons", "note=a;b", http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := b.do(b.request(http.MethodPost, "/note", strings.NewReader(c.body)))
			if got.status != c.want || !strings.Contains(got.text, "cannot be read") {
				t.Errorf("status %d, want %d:\n%s", got.status, c.want, got.text)
			}
		})
	}
	if n := f.sessions(); n != 0 {
		t.Errorf("they left %d sessions", n)
	}
}

// When the database is gone, nobody is told that he is signed out.
func TestTheDatabaseFails(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signUp("ada")
	f.db.Close()
	for _, path := range []string{"/", "/members", "/inspect"} {
		if got := b.get(path); got.status != http.StatusServiceUnavailable || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s has status %d", path, got.status)
		}
	}
}

func TestUsersFailures(t *testing.T) {
	f := newFixture(t)
	f.browser().signUp("ada")
	if _, err := f.db.ExecContext(t.Context(), "UPDATE users SET password = 'nonsense'"); err != nil {
		t.Fatal(err)
	}
	if got := f.browser().post("/signin", "name", "ada", "password", goodPassword); got.status != http.StatusInternalServerError {
		t.Errorf("a hash that cannot be read gives status %d", got.status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.site.users.signUp(ctx, "bob", goodPassword); err == nil {
		t.Error("signing up succeeds although nobody waits for it")
	}
	if _, err := f.site.users.bySubject(t.Context(), "not a number"); err != errNoUser {
		t.Errorf("a subject that is not ours: %v", err)
	}
}
