package browser

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
)

// A sealedSite keeps its sessions in the cookies of Chromium. Its pages change
// the session as their address says and show what is in it.
type sealedSite struct {
	url     string
	arrived chan struct{} // a slow request has changed its session
	release chan struct{} // and may be answered

	running, atOnce atomic.Int64 // requests now, and the most that there were
}

type sealedState struct {
	Subject string
	N       int
	Text    string
	Header  int // the length of the Cookie header
}

func startSealedSite(t *testing.T, edit func(*session.Options)) *sealedSite {
	t.Helper()
	secrets := []session.Secret{"a secret for tests, which is no secret..."}
	store, err := cookiestore.New(secrets, &cookiestore.Options{MaxBytes: 16384})
	if err != nil {
		t.Fatal(err)
	}
	opts := session.Options{Secrets: secrets, NoStoreWarning: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if edit != nil {
		edit(&opts)
	}
	sessions, err := session.New(store, &opts)
	if err != nil {
		t.Fatal(err)
	}
	site := &sealedSite{arrived: make(chan struct{}), release: make(chan struct{})}
	server := httptest.NewUnstartedServer(sessions.Handler(http.HandlerFunc(site.serve)))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	site.url = server.URL
	return site
}

func (site *sealedSite) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/favicon.ico" {
		http.NotFound(w, r)
		return
	}
	defer site.running.Add(-1)
	if n := site.running.Add(1); n > site.atOnce.Load() {
		site.atOnce.Store(n)
	}
	s := session.From(r)
	q := r.URL.Query()
	if user := q.Get("user"); user != "" {
		s.SetSubject(user)
	}
	if size, err := strconv.Atoi(q.Get("size")); err == nil {
		s.Set("text", strings.Repeat(q.Get("of"), size))
	}
	if n, err := strconv.Atoi(q.Get("n")); err == nil {
		s.Set("n", n)
	}
	if q.Has("out") {
		s.Destroy()
	}
	if q.Has("slow") {
		// The session is read now, as it is when the answer of a slow page begins.
		_ = s.Err()
		site.arrived <- struct{}{}
		<-site.release
	}
	if err := s.Err(); err == nil && !q.Has("out") {
		_ = s.Save()
	}
	state := sealedState{Subject: s.Subject(), Header: len(r.Header.Get("Cookie"))}
	state.N, _ = session.Get[int](s, "n")
	state.Text, _ = session.Get[string](s, "text")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_ = json.NewEncoder(w).Encode(state)
}

// visitSealed opens a browser at the site, whose certificate is made up.
func visitSealed(t *testing.T, site *sealedSite) *visitor {
	t.Helper()
	v := visitURL(t, site.url)
	if _, err := chromedp.Call(v.ctx, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true}); err != nil {
		t.Fatal(err)
	}
	v.open("/favicon.ico") // a page of the origin, without a session
	return v
}

// fetch requests an address of the site from the page and returns the status and
// what was answered.
func (v *visitor) fetch(path string) (int, sealedState) {
	v.t.Helper()
	text := get(v, chromedp.Evaluate[string](fmt.Sprintf("fetch(%q).then(async r => r.status + ' ' + await r.text())", path), chromedp.EvalAwaitPromise))
	status, body, _ := strings.Cut(text, " ")
	code, err := strconv.Atoi(status)
	if err != nil {
		v.t.Fatal(text)
	}
	var state sealedState
	if code == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &state); err != nil {
			v.t.Fatalf("%s: %v", body, err)
		}
	}
	return code, state
}

// holds checks what the site finds in the session.
func (v *visitor) holds(what, subject, text string) {
	v.t.Helper()
	code, state := v.fetch("/")
	if code != http.StatusOK || state.Subject != subject || state.Text != text {
		v.t.Errorf("%s: status %d, the session is that of %q with %d bytes of text, want %q and %d", what, code, state.Subject, len(state.Text), subject, len(text))
	}
}

// sealedNames returns the names of the cookies, those of pieces without their mark.
func (v *visitor) sealedNames() string {
	v.t.Helper()
	var names []string
	for _, c := range v.cookies() {
		if parts := strings.Split(c.Name, "."); len(parts) == 3 {
			names = append(names, parts[2])
		} else {
			names = append(names, "token")
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (v *visitor) hasCookies(want string) {
	v.t.Helper()
	if got := v.sealedNames(); got != want {
		v.t.Errorf("the browser has the cookies %q, want %q", got, want)
	}
}

func TestASessionLivesInCookies(t *testing.T) {
	site := startSealedSite(t, nil)
	v := visitSealed(t, site)
	v.hasCookies("")
	if code, _ := v.fetch("/?user=ada&n=1"); code != http.StatusOK {
		t.Fatal(code)
	}
	v.hasCookies("0 token")
	v.holds("signed in", "ada", "")

	for _, row := range []struct {
		size    int
		cookies string
	}{
		{2500, "0 token"}, {3500, "0 1 token"}, {8000, "0 1 2 token"}, {12000, "0 1 2 3 4 token"}, {5000, "0 1 token"}, {10, "0 token"}, {12000, "0 1 2 3 4 token"},
	} {
		code, _ := v.fetch(fmt.Sprintf("/?size=%d&of=x", row.size))
		if code != http.StatusOK {
			t.Fatalf("%d bytes: status %d", row.size, code)
		}
		v.hasCookies(row.cookies)
		v.holds(fmt.Sprintf("%d bytes", row.size), "ada", strings.Repeat("x", row.size))
	}

	code, _ := v.fetch("/?size=13000&of=y")
	if code != http.StatusInternalServerError {
		t.Errorf("beyond the limit the status is %d", code)
	}
	v.holds("after the limit was refused", "ada", strings.Repeat("x", 12000))

	if seen := eval[string](v, "document.cookie"); seen != "" {
		t.Errorf("a script can read %q", seen)
	}
	if code, state := v.fetch("/?user=eve"); code != http.StatusOK || state.Subject != "eve" {
		t.Error(code, state.Subject)
	}
	v.hasCookies("0 1 2 3 4 token") // those of the former token are gone
	v.holds("another user", "eve", strings.Repeat("x", 12000))
	v.fetch("/?out")
	v.hasCookies("")
}

func TestPiecesHaveTheAttributesOfTheToken(t *testing.T) {
	for name, c := range map[string]session.Cookie{
		"as they come": {},
		"others":       {Name: "__Secure-sid", Path: "/deep", SameSite: http.SameSiteStrictMode, AllowScript: true, Priority: "High", MaxAge: 24 * time.Hour},
		"partitioned":  {Partitioned: true, SameSite: http.SameSiteNoneMode},
	} {
		t.Run(name, func(t *testing.T) {
			site := startSealedSite(t, func(o *session.Options) { o.Cookie = c })
			site.url += c.Path
			v := visitSealed(t, site)
			if code, _ := v.fetch(c.Path + "/?size=3000&of=x&n=1"); code != http.StatusOK {
				t.Fatal(code)
			}
			cookies := v.cookies()
			if len(cookies) != 3 {
				t.Fatalf("%d cookies", len(cookies))
			}
			alike := func(c *network.Cookie) string {
				key := ""
				if c.PartitionKey != nil {
					key = c.PartitionKey.TopLevelSite
				}
				return fmt.Sprint(c.Domain, " ", c.Path, " ", c.HTTPOnly, c.Secure, c.Session, c.SameSite, c.Priority, key)
			}
			for _, piece := range cookies {
				if alike(piece) != alike(cookies[0]) {
					t.Errorf("%s has %s, %s has %s", piece.Name, alike(piece), cookies[0].Name, alike(cookies[0]))
				}
				// Chromium corrects the date by what it thinks of the server's clock.
				if d := piece.Expires - cookies[0].Expires; d < -2 || d > 2 {
					t.Errorf("%s ends at %v, %s at %v", piece.Name, piece.Expires, cookies[0].Name, cookies[0].Expires)
				}
			}
			if code, _ := v.fetch(c.Path + "/?out"); code != http.StatusOK {
				t.Fatal(code)
			}
			if left := v.cookies(); len(left) > 0 {
				t.Errorf("%d cookies are left", len(left))
			}
		})
	}
}

// slowly sends a request whose answer waits until it is let go.
func (v *visitor) slowly(site *sealedSite, path string) (letGo func()) {
	v.t.Helper()
	eval[bool](v, fmt.Sprintf("window.slow = fetch(%q).then(r => r.status), true", path))
	select {
	case <-site.arrived:
	case <-time.After(stepTimeout):
		v.t.Fatal("the slow request does not arrive")
	}
	return func() {
		v.t.Helper()
		site.release <- struct{}{}
		if code := get(v, chromedp.Evaluate[int]("window.slow", chromedp.EvalAwaitPromise)); code != http.StatusOK {
			v.t.Errorf("the slow request: status %d", code)
		}
	}
}

func TestASlowAnswerUndoesNothing(t *testing.T) {
	site := startSealedSite(t, nil)
	t.Run("a sign-out", func(t *testing.T) {
		v := visitSealed(t, site)
		v.fetch("/?user=ada")
		letGo := v.slowly(site, "/?slow&n=5&size=8000&of=x")
		v.fetch("/?out")
		letGo()
		v.holds("after the sign-out", "", "")
	})
	t.Run("a sign-in", func(t *testing.T) {
		v := visitSealed(t, site)
		v.fetch("/?n=1")
		letGo := v.slowly(site, "/?slow&n=5&size=8000&of=x")
		v.fetch("/?user=ada")
		letGo()
		v.holds("after the sign-in", "ada", "")
		v.hasCookies("0 token") // what the slow answer has left is cleared
	})
}

// A browser takes the cookies of one answer together: however many requests
// change a session of several cookies at once, it is always that of one of them.
func TestAnswersDoNotMix(t *testing.T) {
	site := startSealedSite(t, nil)
	v := visitSealed(t, site)
	v.fetch("/?user=ada")
	const round = `(async () => {
	const all = [];
	for (let i = 0; i < 8; i++) {
		all.push(fetch("/?size=" + (3500 + 1000 * i) + "&of=" + "abcdefgh"[i]));
		all.push(fetch("/"));
	}
	const whole = async r => {
		if (r.status !== 200) return "status " + r.status;
		const s = await r.json();
		if (s.Subject !== "ada") return "the session is lost";
		const of = s.Text[0];
		if (s.Text && s.Text !== of.repeat(3500 + 1000 * "abcdefgh".indexOf(of))) return "the text is mixed";
		return "";
	};
	for (const r of await Promise.all(all)) {
		const wrong = await whole(r);
		if (wrong) return wrong;
	}
	return await whole(await fetch("/"));
})()`
	for i := range 15 {
		if wrong := get(v, chromedp.Evaluate[string](round, chromedp.EvalAwaitPromise)); wrong != "" {
			t.Fatalf("round %d: %s", i, wrong)
		}
	}
	if most := site.atOnce.Load(); most < 2 {
		t.Errorf("%d requests ran at the same time", most)
	}
}

// What cookiestore and the manager rely on. RFC 6265bis, section 5.6, has the
// first, and RFC 6265, section 6.1, the second.
func TestTheLimitsOfTheBrowser(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header()["Set-Cookie"] = lines
		fmt.Fprint(w, len(r.Header.Get("Cookie")))
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	v := visitSealed(t, &sealedSite{url: server.URL})
	set := func(all ...string) {
		t.Helper()
		mu.Lock()
		lines = all
		mu.Unlock()
		v.open("/")
	}
	kept := func() map[string]bool {
		names := make(map[string]bool)
		for _, c := range v.cookies() {
			names[c.Name] = true
		}
		return names
	}
	const attrs = "; Path=/; Secure; HttpOnly; SameSite=Lax"
	set(
		"__Host-most="+strings.Repeat("x", 4096-len("__Host-most"))+attrs,
		"__Host-more="+strings.Repeat("x", 4097-len("__Host-more"))+attrs,
		"__Host-line="+strings.Repeat("x", 4000-len("__Host-line="+attrs))+attrs,
	)
	if got := kept(); !got["__Host-most"] || got["__Host-more"] || !got["__Host-line"] {
		t.Errorf("of cookies with 4096 and 4097 bytes and a line of 4000, these are kept: %v", got)
	}

	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("__Host-%d=x%s", i, attrs))
	}
	set(many...)
	got := kept()
	for i := range 60 {
		if !got[fmt.Sprintf("__Host-%d", i)] {
			t.Fatalf("of 60 cookies more, number %d is not kept", i)
		}
	}
	// Of partitioned cookies less is kept, which the manager knows.
	partitioned := func(n int) (kept int) {
		t.Helper()
		var some []string
		for i := range n {
			some = append(some, fmt.Sprintf("__Host-%d-%d=%s%s; Partitioned", n, i, strings.Repeat("x", 2500), attrs))
		}
		set(some...)
		for _, c := range v.cookies() {
			if strings.HasPrefix(c.Name, fmt.Sprintf("__Host-%d-", n)) {
				kept++
			}
		}
		return kept
	}
	if got := partitioned(3); got != 3 {
		t.Errorf("of 3 partitioned cookies with 7.5 KB in all, %d are kept", got)
	}
	if got := partitioned(5); got == 5 {
		t.Error("5 partitioned cookies with 12.5 KB are kept; there is room for more than 10 KB")
	}

	// A session of the greatest size, twice, as for a moment after a sign-in.
	many = nil
	for i := range 10 {
		many = append(many, fmt.Sprintf("__Host-big%d=%s%s", i, strings.Repeat("x", 3900), attrs))
	}
	set(many...)
	set()
	sent, err := strconv.Atoi(eval[string](v, "document.body.innerText"))
	if err != nil || sent < 40_000 {
		t.Errorf("of 40 KB of cookies %d bytes were sent, %v", sent, err)
	}
}
