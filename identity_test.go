package session_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

// Who a client is: tokens, their signatures, their hashes, and their absence
// from everything that is printed.

// sign makes the wire form of a token as anybody who knows the secret can.
func sign(token string, secret session.Secret) string {
	mac := hmac.New(sha256.New, []byte(string(secret)))
	mac.Write([]byte(token))
	return token + "." + base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
}

// cookieOf makes the cookie of a signed token.
func cookieOf(wire string) string {
	escaped := strings.NewReplacer("+", "%2B", "/", "%2F").Replace(wire)
	return "__Host-session=s%3A" + escaped
}

const wellFormed = "abcdefghijklmnopqrstuvwxyz012345"

func TestTokens(t *testing.T) {
	st := newSite(t)
	shape := regexp.MustCompile(`^[A-Za-z0-9_-]{32}$`)
	seen := make(map[string]bool)
	for range 1000 {
		b := st.visitor(map[string]any{"a": 1})
		token := b.rawToken()
		if !shape.MatchString(token) || seen[token] {
			t.Fatalf("token %q", token)
		}
		seen[token] = true
	}
}

func TestTheStoreSeesOnlyHashes(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	sum := sha256.Sum256([]byte(b.rawToken()))
	rec := st.records()[0]
	equal(t, "ID", rec.ID, base64.RawURLEncoding.EncodeToString(sum[:]))
	t.Run("and what it holds opens nothing", func(t *testing.T) {
		thief := st.browser()
		for _, token := range []string{rec.ID, rec.ID[:32]} {
			for _, cookie := range []string{cookieOf(token), cookieOf(sign(token, "a guess of the secret............"))} {
				thief.cookie = cookie
				equal(t, "what a thief gets", thief.data(), "none")
			}
		}
		// Even with the secret the ID is no token.
		thief.cookie = cookieOf(sign(rec.ID, newSecret))
		equal(t, "what a thief with the secret gets", thief.data(), "none")
	})
	t.Run("unless StoreRawIDs is set", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.StoreRawIDs = true })
		b := st.visitor(map[string]any{"a": 1})
		equal(t, "ID", st.records()[0].ID, b.rawToken())
		equal(t, "the session", b.data(), `{"a":1}`)
	})
}

func TestTokensThatNeverReachTheStore(t *testing.T) {
	good := sign(wellFormed, newSecret)
	for name, cookie := range map[string]string{
		"no signature":                     "__Host-session=s%3A" + wellFormed,
		"an empty signature":               "__Host-session=s%3A" + wellFormed + ".",
		"a wrong signature":                cookieOf(good[:len(good)-1] + "x"),
		"a signature of another token":     cookieOf("B" + good[1:]),
		"a signature that is cut":          cookieOf(good[:len(good)-1]),
		"a signature with padding":         cookieOf(good + "="),
		"a signature in base64url":         cookieOf(strings.NewReplacer("+", "-", "/", "_").Replace(sign("abcdefghijklmnopqrstuvwxyz012340", newSecret)) + "-"),
		"a secret that is not ours":        cookieOf(sign(wellFormed, oldSecret)),
		"no prefix":                        "__Host-session=" + good,
		"half a prefix":                    "__Host-session=s" + good,
		"another prefix":                   "__Host-session=j%3A" + good,
		"only a prefix":                    "__Host-session=s%3A",
		"only a dot":                       "__Host-session=s%3A.",
		"only a signature":                 cookieOf(sign("", newSecret)),
		"well signed, but too short":       cookieOf(sign(wellFormed[1:], newSecret)),
		"well signed, but too long":        cookieOf(sign(wellFormed+"6", newSecret)),
		"well signed, but enormous":        cookieOf(sign(strings.Repeat("a", 3000), newSecret)),
		"well signed, with a NUL":          cookieOf(sign(wellFormed[1:]+"\x00", newSecret)),
		"well signed, with a newline":      "__Host-session=s%3A" + strings.ReplaceAll(sign(wellFormed[1:]+"\n", newSecret), "\n", "%0A"),
		"well signed, with an escaped NUL": "__Host-session=s%3A" + strings.ReplaceAll(sign(wellFormed[1:]+"\x00", newSecret), "\x00", "%00"),
		"well signed, with a slash":        cookieOf(sign("../../../../../../../etc/passwd/", newSecret)),
		"well signed, with invalid UTF-8":  cookieOf(sign(wellFormed[1:]+"\xff", newSecret)),
		"well signed, with a space":        cookieOf(sign(wellFormed[1:]+" ", newSecret)),
		"an incomplete escape":             "__Host-session=s%3A" + good + "%2",
		"an escape that is none":           "__Host-session=s%3A%zz" + good,
		"escapes that are not UTF-8":       "__Host-session=s%3A" + good + "%ff",
		"escapes of escapes":               "__Host-session=s%253A" + good,
		"one mebibyte":                     "__Host-session=s%3A" + strings.Repeat("a", 1<<20),
		"one mebibyte of escapes":          "__Host-session=" + strings.Repeat("%41", 1<<18),
		"a lone quote":                     "__Host-session=\"",
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			b := st.browser()
			b.cookie = cookie
			w := b.clone().get(read)
			equal(t, "status", w.Code, 200)
			equal(t, "body", w.Body.String(), "count 0")
			st.checkCalls("the request", sessiontest.Calls{})
			equal(t, "events", st.kinds(), "forged")
			contains(t, "the cookie is cleared", w.Header().Get("Set-Cookie"), "__Host-session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT")
			equal(t, "Cache-Control", w.Header().Get("Cache-Control"), "no-store")

			w = b.get(write) // and one who writes gets a session like anybody else
			equal(t, "status of a write", w.Code, 200)
			equal(t, "Set-Cookie headers", len(w.Header()["Set-Cookie"]), 1)
			equal(t, "the new session", b.data(), `{"count":1}`)
		})
	}
}

func TestFormsOfAGoodCookie(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	wire := b.wire()
	escapedAll := ""
	for _, c := range []byte("s:" + wire) {
		escapedAll += fmt.Sprintf("%%%02x", c)
	}
	name := "__Host-session="
	for what, cookie := range map[string]string{
		"unescaped":                 name + "s:" + wire,
		"all escaped":               name + escapedAll,
		"in quotes":                 name + `"s:` + wire + `"`,
		"with spaces around":        " " + name + " s:" + wire + " ",
		"with a tab before the =":   "__Host-session\t=s:" + wire,
		"behind others":             "a=b; c; =d; x=y=z;" + name + "s:" + wire,
		"before others":             name + "s:" + wire + "; a=b",
		"behind a stale one":        cookieOf(sign(wellFormed, newSecret)) + "; " + b.cookie,
		"behind a forged one":       name + "s%3Aevil.sig; " + b.cookie,
		"behind an empty one":       name + "; " + b.cookie,
		"twice":                     b.cookie + "; " + b.cookie,
		"behind 20 forged ones":     strings.Repeat(name+"evil; ", 20) + b.cookie,
		"behind 900 of other names": strings.Repeat("a=b; ", 900) + b.cookie,
	} {
		t.Run(what, func(t *testing.T) {
			b := st.browser()
			b.cookie = cookie
			w := b.clone().get(read)
			equal(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "")
			equal(t, "the session", b.data(), `{"a":1}`)
		})
	}
	for what, cookie := range map[string]string{
		"another name":               "__Host-sessiom=s:" + wire,
		"another case":               "__host-session=s:" + wire,
		"a longer name":              "x__Host-session=s:" + wire,
		"no name":                    "s:" + wire,
		"in the value of another":    "a=__Host-session=s:" + wire,
		"behind 40 forged ones":      strings.Repeat(name+"evil; ", 40) + b.cookie, // nobody has so many by accident
		"behind more than 4 unknown": "",
	} {
		t.Run("not: "+what, func(t *testing.T) {
			b := st.browser()
			if cookie == "" {
				for i := range 5 {
					cookie += cookieOf(sign(fmt.Sprintf("%032d", i), newSecret)) + "; "
				}
				cookie += cookieOf(wire)
			}
			b.cookie = cookie
			equal(t, "the session", b.data(), "none")
		})
	}
	t.Run("in several header lines", func(t *testing.T) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{"a=b", b.cookie, "c=d"}
		equal(t, "body", st.browser().send(r, func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			fmt.Fprint(w, s.Keys())
		}).Body.String(), "[a]")
	})
}

func TestUnknownIDsAreNeverAdopted(t *testing.T) {
	st := newSite(t)
	for name, token := range map[string]string{"never issued": wellFormed, "signed out": ""} {
		b := st.visitor(map[string]any{"a": 1})
		if token == "" {
			token = b.rawToken()
			b.clone().get(destroy)
		}
		st.kinds()
		b.cookie = cookieOf(sign(token, newSecret))
		w := b.clone().get(read)
		contains(t, name+": Set-Cookie of a read", w.Header().Get("Set-Cookie"), "1970")
		equal(t, name+": events", st.kinds(), "unknown")
		b.get(write)
		if b.rawToken() == token {
			t.Error(name, ": the token was adopted")
		}
		equal(t, name+": the new session", b.data(), `{"count":1}`)
	}
}

func TestSecretRotation(t *testing.T) {
	both := func(o *session.Options) { o.Secrets = []session.Secret{newSecret, oldSecret} }
	before := newSite(t, func(o *session.Options) { o.Secrets = []session.Secret{oldSecret} })
	b := before.visitor(map[string]any{"a": 1})
	now := before.again(both)
	b.st = now
	old := b.cookie
	equal(t, "signed by", b.wire(), sign(b.rawToken(), oldSecret))
	w := b.clone().get(ignore)
	equal(t, "Set-Cookie of a request that does not look", w.Header().Get("Set-Cookie"), "")
	now.faults.ResetCalls()
	b.get(read)
	now.checkCalls("re-signing", sessiontest.Calls{Load: 1})
	equal(t, "signed by", b.wire(), sign(b.rawToken(), newSecret))
	if b.cookie == old {
		t.Error("the cookie was not signed anew")
	}
	w = b.clone().get(read)
	equal(t, "Set-Cookie of the next request", w.Header().Get("Set-Cookie"), "")
	after := now.again(func(o *session.Options) { o.Secrets = []session.Secret{newSecret} })
	b.st = after
	equal(t, "the session when the old secret is retired", b.data(), `{"a":1}`)
	late := &browser{after, old}
	equal(t, "a cookie of the old secret then", late.data(), "none")
}

func TestHeaderTransport(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.Header = "x-session-token" })
	var token string
	call := func(p page) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/", nil)
		if token != "" {
			r.Header.Set("X-Session-Token", token)
		}
		w := httptest.NewRecorder()
		st.Handler(p).ServeHTTP(w, r)
		return w
	}
	w := call(write)
	token = w.Header().Get("X-Session-Token")
	equal(t, "token", token, sign(strings.Split(token, ".")[0], newSecret))
	equal(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "")
	equal(t, "Vary", w.Header().Get("Vary"), "X-Session-Token")
	equal(t, "Cache-Control", w.Header().Get("Cache-Control"), "no-store")
	equal(t, "the next request", call(read).Body.String(), "count 1")
	equal(t, "the header of a request that changes no token", call(read).Header().Get("X-Session-Token"), "")
	old := token
	w = call(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23") })
	token = w.Header().Get("X-Session-Token")
	equal(t, "after a sign-in", call(read).Body.String(), "count 1")
	token = old
	equal(t, "the old token after a sign-in", call(read).Body.String(), "count 0")
	t.Run("a cookie counts for nothing", func(t *testing.T) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", cookieOf(old))
		w := httptest.NewRecorder()
		st.Handler(page(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			equal(t, "IsNew", s.IsNew(), true)
		})).ServeHTTP(w, r)
	})
	t.Run("what is not a token is none", func(t *testing.T) {
		for _, bad := range []string{"x", "s:" + old, strings.Repeat("x", 1<<20), sign("short", newSecret), "Bearer " + old} {
			token = bad
			st.faults.ResetCalls()
			equal(t, "status", call(read).Code, 200)
			st.checkCalls("a bad token", sessiontest.Calls{})
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["X-Session-Token"] = make([]string, 10_000)
		st.Handler(page(read)).ServeHTTP(httptest.NewRecorder(), r)
	})
}

func TestGenerateID(t *testing.T) {
	for name, id := range map[string]string{
		"empty":              "",
		"too long":           strings.Repeat("a", 129),
		"a newline":          "a\nb",
		"a NUL":              "a\x00b",
		"DEL":                "a\x7fb",
		"invalid UTF-8":      "a\xffb",
		"a header injection": "a\r\nSet-Cookie: b=c",
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			st := newSite(t, func(o *session.Options) { o.GenerateID = func(*http.Request) string { return id } })
			w := st.browser().get(write)
			equal(t, "status", w.Code, 500)
			contains(t, "log", st.log.String(), "Options.GenerateID made an ID that is not")
			equal(t, "records", len(st.records()), 0)
		})
	}
	for name, id := range map[string]string{
		"one character": "a", "128 characters": strings.Repeat("a", 128), "dots": "a.b.c", "not ASCII": "sitzung-ä-🍪", "of a header": `a;b,c="d" e`,
	} {
		t.Run(name+" is taken", func(t *testing.T) {
			st := newSite(t, func(o *session.Options) { o.GenerateID = func(*http.Request) string { return id } })
			b := st.visitor(map[string]any{"a": 1})
			equal(t, "the session", b.data(), `{"a":1}`)
		})
	}
	t.Run("one that exists already takes nobody's session", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.GenerateID = func(*http.Request) string { return "always the same" } })
		b := st.visitor(map[string]any{"a": 1})
		w := st.browser().get(set("b", 2))
		equal(t, "status", w.Code, 503)
		contains(t, "log", st.log.String(), "check Options.GenerateID")
		equal(t, "status of a renewal", b.clone().get(renewID).Code, 503)
		equal(t, "the session", b.data(), `{"a":1}`)
	})
}

func TestRedaction(t *testing.T) {
	st := newSite(t, renewing)
	b := st.signedIn("23")
	b.cookie = cookieOf(b.wire()[:len(b.wire())-3]+"xxx") + "; " + b.cookie
	st.clock.advance(time.Hour / 2)
	var things []any
	r := b.request()
	b.send(r, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		s.Set("fail", func() {})
		things = append(things, s, st.Manager, st.opts, &st.opts, newSecret, []session.Secret{newSecret}, s.Token(),
			map[string]any{"token": s.Token()}, struct{ T session.Token }{s.Token()}, s.Err(), r.Context(), w,
			context.WithValue(r.Context(), http.ServerContextKey, 1))
		w.Write(nil)
	})
	s, err := st.Open(context.Background(), b.wire())
	if err != nil {
		t.Fatal(err)
	}
	s.RenewID()
	s.Regenerate()
	s.Set("a", 1)
	d, err := st.Commit(context.Background(), s)
	if err != nil || d.SetCookie == "" {
		t.Fatal(d, err)
	}
	things = append(things, d, &d, s, &session.StoreError{Op: "save", Err: errDown}, &session.KeyError{Key: "k", Err: errDown})
	st.mu.Lock()
	for _, e := range st.events {
		things = append(things, e)
	}
	st.mu.Unlock()

	secrets := []string{string(newSecret), b.wire(), b.rawToken(), s.Token().Reveal(), strings.Split(s.Token().Reveal(), ".")[0],
		fmt.Sprint([]byte(b.rawToken())), fmt.Sprintf("%x", b.rawToken())}
	check := func(how, text string) {
		t.Helper()
		for _, secret := range secrets {
			if strings.Contains(text, strings.Trim(secret, "[]")) {
				t.Errorf("%s shows %q: %s", how, secret, text)
			}
		}
	}
	for _, thing := range things {
		name := fmt.Sprintf("%T", thing)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10v"} {
			check(name+" "+verb, fmt.Sprintf(verb, thing))
		}
		var buf bytes.Buffer
		slog.New(slog.NewTextHandler(&buf, nil)).Info("m", "thing", thing)
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("m", "thing", thing)
		check(name+" slog", buf.String())
		if raw, err := json.Marshal(thing); err == nil {
			check(name+" json", string(raw))
		} else {
			check(name+" json", err.Error())
		}
	}
	check("the log", st.log.String())
	equal(t, "Token", fmt.Sprintln(s.Token(), session.Secret("x")), "[redacted] [redacted]\n")
	raw, err := json.Marshal(struct {
		T session.Token
		S session.Secret
	}{"t", "s"})
	equal(t, "JSON", string(raw)+fmt.Sprint(err), `{"T":"[redacted]","S":"[redacted]"}<nil>`)
}

func TestLogsAndErrorsOfAWholeLife(t *testing.T) {
	// One secret life, every store call failing once, and a look at all that was
	// said about it.
	for _, raw := range []bool{false, true} {
		st := newSite(t, renewing, func(o *session.Options) { o.StoreRawIDs = raw; o.TouchInterval = -1 })
		var tokens []string
		b := st.signedIn("23")
		note := func() { tokens = append(tokens, b.rawToken()) }
		note()
		for _, op := range []string{"load", "save", "touch", "delete"} {
			st.faults.Fail(op, errDown)
			for _, p := range []page{read, write, renewID, destroy} {
				b.clone().get(p)
			}
			st.faults.Reset()
		}
		for _, p := range []page{read, write, renewID, set("f", func() {}), destroy, read} {
			st.clock.advance(31 * time.Minute)
			b.get(p)
			if b.cookie != "" {
				note()
			}
		}
		st.mu.Lock()
		said := st.log.String() + fmt.Sprintf("%+v", st.events)
		st.mu.Unlock()
		for _, token := range tokens {
			if strings.Contains(said, token) {
				t.Errorf("a token was logged (StoreRawIDs %v): %s", raw, said)
			}
		}
		if len(tokens) < 4 || len(said) < 500 {
			t.Error("the test saw too little:", len(tokens), said)
		}
	}
}

func TestSecretsFromEnv(t *testing.T) {
	t.Setenv("SECRET_A", "one,two three\nfour")
	t.Setenv("SECRET_B", "")
	t.Setenv("SECRET_C", "five")
	got := session.SecretsFromEnv("SECRET_A", "SECRET_B", "SECRET_C", "SECRET_NONE")
	want := []session.Secret{"one", "two", "three", "four", "five"}
	if len(got) != len(want) {
		t.Fatal("number of secrets:", len(got))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("secret %d differs", i+1)
		}
	}
}

func TestTheMemoryStoreWarning(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		var log bytes.Buffer
		_, err := session.New(memstore.New(nil), &session.Options{
			Secrets: []session.Secret{newSecret}, NoStoreWarning: quiet, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprintf("warned with quiet %v", quiet), strings.Contains(log.String(), "vanish when the program ends"), !quiet)
	}
}

func TestEventsTellOfOneRecord(t *testing.T) {
	st := newSite(t)
	b := st.signedIn("23")
	b.get(destroy)
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.events) != 2 || st.events[0].Mark != st.events[1].Mark || len(st.events[0].Mark) != 10 || st.events[0].Subject != "23" {
		t.Errorf("events: %+v", st.events)
	}
	if st.events[0].Time != st.clock.Now() || session.EventKind(0).String() != "invalid" || session.EventKind(99).String() != "invalid" {
		t.Error("times or names of events")
	}
}

func TestErrorsWrap(t *testing.T) {
	for _, err := range []error{&session.StoreError{Op: "load", Err: errDown}, &session.KeyError{Key: "k", Err: errDown}} {
		if !errors.Is(err, errDown) || !strings.HasPrefix(err.Error(), "session: ") {
			t.Errorf("%v", err)
		}
	}
}
