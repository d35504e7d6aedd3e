package session_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
	"github.com/coatcheck/session/sessiontest"
)

// A succession is a site and the one that takes its place, with its own store,
// and imports from it.
func succession(t *testing.T, edit func(*session.Options), store session.Store, next func(*session.Options)) (before, after *site) {
	t.Helper()
	before = newSite(t, edit)
	after = siteOver(t, store, func(o *session.Options) {
		o.Import, o.Now = before.Importer(), before.clock.Now
		next(o)
	})
	after.clock = before.clock
	return before, after
}

func express(o *session.Options) {
	o.ExpressCompatible = true
	o.Cookie.Secure = session.SecureAuto
}

func asTheyCome(*session.Options) {}

// move lets a browser go on at another site, and returns its first answer there.
func (b *browser) move(to *site, p page) string {
	b.st = to
	w := b.get(p)
	return w.Body.String()
}

// at is the browser at another site.
func (b *browser) at(to *site) *browser { return &browser{to, b.cookie} }

// signOut ends the session of a browser, which keeps its cookie all the same.
func (st *site) signOut(b *browser) {
	b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() })
}

func TestTheSessionsOfAFormerManager(t *testing.T) {
	t.Run("with the layout of Express before", func(t *testing.T) {
		before, after := succession(t, express, nil, asTheyCome)
		const text = `{"big":9007199254740993,"one":1.0,"order":{"b":1,"a":2},"line":"` + "\u2028" + `"}`
		b := before.signedIn("7")
		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.Set("passport", json.RawMessage(`{"user":7,"strategy":"local"}`))
			s.Set("text", json.RawMessage(text))
		})
		old := *b
		b.st = after
		w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			equal(t, "subject", s.Subject(), "7")
			equal(t, "data", string(s.Record().Data), `{"name":"7","passport":{"strategy":"local"},"text":`+text+`}`)
		})
		lines := w.Header()["Set-Cookie"]
		equal(t, "cookies told", len(lines), 2)
		contains(t, "Set-Cookie", strings.Join(lines, "\n"), "connect.sid=; Path=/; Expires=Thu, 01 Jan 1970")
		contains(t, "Set-Cookie", strings.Join(lines, "\n"), "__Host-session=s%3A")
		equal(t, "sessions before", before.live(), 0)
		for _, line := range lines {
			if strings.HasPrefix(line, "__Host-session") {
				b.cookie, _, _ = strings.Cut(line, ";")
			}
		}
		equal(t, "subject with the new cookie", b.subject(), "7")
		if n, err := after.RevokeAll(t.Context(), "7"); n != 1 || err != nil {
			t.Errorf("the subject has %d sessions, %v", n, err)
		}

		before.clock.advance(time.Minute)
		old.st = after
		equal(t, "what the old token opens after the grace", old.data(), "none")
	})
	t.Run("with nothing but a user in passport", func(t *testing.T) {
		before, after := succession(t, express, nil, asTheyCome)
		b := before.signedIn("ada")
		equal(t, "data", b.move(after, who), `ada {"name":"ada"}`)
	})
	t.Run("with a passport in which nobody is signed in", func(t *testing.T) {
		before, after := succession(t, express, nil, asTheyCome)
		b := before.visitor(map[string]any{"passport": map[string]any{"user": map[string]any{"id": 7}}})
		equal(t, "data", b.move(after, who), ` {"passport":{"user":{"id":7}}}`)
	})
	t.Run("with another name of the cookie only, on the same store", func(t *testing.T) {
		before := newSite(t)
		b := before.signedIn("ada")
		thief := b.clone()
		after := before.again(func(o *session.Options) { o.Cookie.Name, o.Import = "sid", before.Importer() })
		before.clock.advance(30 * time.Minute)
		equal(t, "data", b.move(after, who), `ada {"name":"ada"}`)
		equal(t, "sessions", after.live(), 1)
		before.clock.advance(time.Minute)
		equal(t, "what the old token opens there", thief.data(), "none")
	})
	t.Run("with the same cookie", func(t *testing.T) {
		name := func(o *session.Options) { o.Cookie.Name = "sid" }
		before, after := succession(t, name, nil, name)
		b := before.signedIn("ada")
		b.st = after
		w := b.get(who)
		equal(t, "page", w.Body.String(), `ada {"name":"ada"}`)
		equal(t, "cookies told", len(w.Header()["Set-Cookie"]), 1)
		after.faults.ResetCalls()
		equal(t, "the next page", b.get(who).Body.String(), `ada {"name":"ada"}`)
		after.checkCalls("the next request", sessiontest.Calls{Load: 1})
	})
	t.Run("with a header in place of a cookie", func(t *testing.T) {
		header := func(o *session.Options) { o.Header = "X-Token" }
		before, after := succession(t, header, nil, header)
		s, err := before.Open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		s.SetSubject("ada")
		d, err := before.Commit(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		b := after.browser()
		r := b.request()
		r.Header.Set("X-Token", d.Token.Reveal())
		w := b.send(r, who)
		equal(t, "page", w.Body.String(), `ada {}`)
		if got := w.Header().Get("X-Token"); got == "" || got == d.Token.Reveal() {
			t.Error("there is no new token")
		}
	})
	t.Run("remembers how long to remember", func(t *testing.T) {
		before, after := succession(t, asTheyCome, nil, asTheyCome)
		b := before.browser()
		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.SetSubject("ada")
			s.SetMaxAge(30 * 24 * time.Hour)
		})
		b.move(after, who)
		before.clock.advance(10 * 24 * time.Hour)
		equal(t, "after 10 days", b.subject(), "ada")
	})
	t.Run("and what timeouts the session has of its own", func(t *testing.T) {
		before, after := succession(t, asTheyCome, nil, asTheyCome)
		long, short := before.signedIn("ada"), before.signedIn("bob")
		long.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.SetIdleTimeout(100 * time.Hour)
			s.SetAbsoluteTimeout(1000 * time.Hour)
		})
		short.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetIdleTimeout(10 * time.Minute) })
		short.move(after, who)
		before.clock.advance(10 * time.Minute)
		equal(t, "after 10 minutes idle", short.subject(), "none")
		before.clock.advance(90 * time.Hour)
		equal(t, "after 90 hours idle", long.move(after, who), `ada {"name":"ada"}`)
		before.clock.advance(90 * time.Hour)
		equal(t, "and 90 more", long.subject(), "ada")
	})
	t.Run("and when the session began", func(t *testing.T) {
		before, after := succession(t, asTheyCome, nil, asTheyCome)
		b := before.signedIn("ada")
		began := before.records()[0].Created
		before.clock.advance(50 * time.Minute)
		b.move(after, func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			equal(t, "Created", s.Record().Created, began)
		})
	})
	t.Run("follows a token that was replaced a moment ago", func(t *testing.T) {
		before, after := succession(t, func(o *session.Options) { o.RenewalTimeout = 10 * time.Minute }, nil, asTheyCome)
		b := before.signedIn("ada")
		slow := b.clone()
		before.clock.advance(11 * time.Minute)
		b.get(who)
		equal(t, "the slow one", slow.move(after, who), `ada {"name":"ada"}`)
	})
	t.Run("takes over the one that is live of several cookies", func(t *testing.T) {
		before, after := succession(t, func(o *session.Options) { o.Cookie.Name = "sid" }, nil, asTheyCome)
		ended := before.signedIn("eve")
		before.signOut(ended)
		moved := before.signedIn("bob")
		after.signOut(moved.at(after))
		b := before.signedIn("ada")
		b.cookie = strings.Join([]string{ended.cookie, moved.cookie, b.cookie}, "; ")
		again := b.clone()

		equal(t, "the page", b.move(after, who), `ada {"name":"ada"}`)
		equal(t, "the page at the same time", again.move(after, who), `ada {"name":"ada"}`)
		equal(t, "what opens whose token had ended", ended.move(after, who), nobody)
		equal(t, "what opens whose token had been moved", moved.move(after, who), nobody)
	})
	t.Run("imports nothing by way of the former manager", func(t *testing.T) {
		old := newOldSite(nil)
		before, after := succession(t, func(o *session.Options) { o.Cookie.Name, o.Import = "sid", old }, nil, asTheyCome)
		old.rows = map[string]session.Imported{oldToken: {Subject: "23", Expires: before.clock.Now().Add(time.Hour)}}
		ended := before.signedIn("eve")
		before.signOut(ended)
		b := after.browser()
		b.cookie = ended.cookie + "; old=" + oldToken
		equal(t, "the page", b.get(who).Body.String(), nobody)
		equal(t, "sessions before", before.live(), 0)
	})
	t.Run("opens nothing that is not signed, or has ended", func(t *testing.T) {
		before, after := succession(t, asTheyCome, nil, asTheyCome)
		b := before.signedIn("ada")
		for name, cookie := range map[string]string{
			"no cookie":         "",
			"another signature": b.cookie[:len(b.cookie)-5] + "AAAAA",
			"an unknown token":  "__Host-session=s%3A" + strings.Repeat("A", 32) + "." + strings.Repeat("A", 43),
		} {
			other := after.browser()
			other.cookie = cookie
			equal(t, name, other.get(who).Body.String(), nobody)
		}
		before.clock.advance(2 * time.Hour)
		equal(t, "an hour idle", b.move(after, who), nobody)
		equal(t, "sessions after", after.live(), 0)
	})
	t.Run("is no stranger when the former store is down", func(t *testing.T) {
		before, after := succession(t, asTheyCome, nil, asTheyCome)
		b := before.signedIn("ada")
		before.faults.Fail("load", errDown)
		b.st = after
		equal(t, "status", b.get(who).Code, http.StatusServiceUnavailable)
		before.faults.Reset()
		equal(t, "page", b.get(who).Body.String(), `ada {"name":"ada"}`)
	})
}

func TestAManagerWhoseClientsKeepTheSessionsHasNoImporter(t *testing.T) {
	secrets := []session.Secret{newSecret}
	store, err := cookiestore.New(secrets, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := session.New(store, &session.Options{Secrets: secrets, NoStoreWarning: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Importer does not panic")
		}
	}()
	m.Importer()
}
