package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sessiontest"
)

// Sessions outside of HTTP.

func TestOpenAndCommit(t *testing.T) {
	st := newSite(t)
	ctx := context.Background()
	open := func(token string) *session.Session {
		t.Helper()
		s, err := st.Open(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	commit := func(s *session.Session, want session.Action) session.Directive {
		t.Helper()
		d, err := st.Commit(ctx, s)
		if err != nil || d.Action != want {
			t.Fatalf("Commit: action %v, %v", d.Action, err)
		}
		return d
	}

	s := open("")
	commit(s, session.Keep) // nothing for nothing
	count.Set(s, 1)
	d := commit(s, session.SetToken)
	if d.Token != s.Token() && d.Token != "" {
		t.Error("the token of the directive is not that of the session")
	}
	contains(t, "SetCookie", d.SetCookie.Reveal(), "__Host-session=s%3A")
	commit(s, session.Keep) // told already
	token := s.Token().Reveal()

	count.Set(s, 2) // and again after a commit
	commit(s, session.Keep)
	n, _ := count.Get(open(token))
	equal(t, "the count", n, 2)

	s = open(token)
	s.SetSubject("23")
	d = commit(s, session.SetToken)
	next := s.Token().Reveal()
	if next == token {
		t.Error("the token is the old one after a sign-in")
	}
	equal(t, "the session of the old token is new", open(token).IsNew(), true)

	s = open(next)
	s.Destroy()
	d = commit(s, session.ClearToken)
	contains(t, "SetCookie", d.SetCookie.Reveal(), "1970")
	equal(t, "Token after Destroy", s.Token(), "")

	for name, bad := range map[string]string{"unknown": next, "forged": next + "x", "too long": strings.Repeat("x", 1<<20), "empty parts": "."} {
		s := open(bad)
		equal(t, name+": IsNew", s.IsNew(), true)
		commit(s, session.ClearToken)
	}
}

func TestTheTokenOfABrowserWorksOutside(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	s, err := st.Open(t.Context(), b.wire())
	if err != nil {
		t.Fatal(err)
	}
	s.Set("b", 2)
	if _, err := st.Commit(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	equal(t, "the session", b.data(), `{"a":1,"b":2}`)
}

func TestOpenReportsTheStore(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": 1})
	st.faults.Fail("load", errDown)
	s, err := st.Open(t.Context(), b.wire())
	if !errors.Is(err, errDown) || !errors.Is(s.Err(), errDown) {
		t.Error("Open:", err)
	}
	s.Set("b", 2)
	if _, err := st.Commit(t.Context(), s); !errors.Is(err, errDown) {
		t.Error("Commit:", err)
	}
}

func TestCommitOfWhatIsNotItsOwn(t *testing.T) {
	st, other := newSite(t), newSite(t)
	s, err := other.Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), s); err == nil {
		t.Error("a session of another manager was committed")
	}
	b := st.browser()
	w := b.get(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
		s.Set("a", 1)
		if _, err := st.Commit(r.Context(), s); err == nil {
			t.Error("a session of Handler was committed, and its cookie lost")
		}
	})
	equal(t, "status", w.Code, 200)
	equal(t, "the session", b.data(), `{"a":1}`)
}

func TestOpenWithAHeader(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.Header = "X-Token" })
	s, err := st.Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	s.Set("a", 1)
	d, err := st.Commit(t.Context(), s)
	if err != nil || d.Action != session.SetToken || d.Token == "" || d.SetCookie != "" {
		t.Errorf("%v %v", d.Action, err)
	}
	equal(t, "the token", d.Token, s.Token())
}

// A request without Handler: what it presents is read as Handler reads it.
func TestOpenRequest(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.Cookie = session.Cookie{Name: "sid", Secure: session.SecureAuto} })
	r := httptest.NewRequest("GET", "http://example.test/", nil)
	s, err := st.OpenRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "IsNew", s.IsNew(), true)
	s.Set("a", 1)
	d, err := st.Commit(r.Context(), s)
	if err != nil || d.Action != session.SetToken {
		t.Fatalf("Commit: action %v, %v", d.Action, err)
	}
	if set := d.SetCookie.Reveal(); strings.Contains(set, "Secure") {
		t.Errorf("on plain HTTP, with SecureAuto: %s", set)
	}
	b := st.browser()
	b.cookie, _, _ = strings.Cut(d.SetCookie.Reveal(), ";")
	equal(t, "the session", b.data(), `{"a":1}`)

	r = httptest.NewRequest("GET", "http://example.test/", nil)
	r.Header.Set("Cookie", "sid=planted; "+b.cookie) // a browser may hold several
	s, err = st.OpenRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	s.Set("b", 2)
	if d, err := st.Commit(r.Context(), s); err != nil || d.Action != session.Keep {
		t.Errorf("Commit: action %v, %v", d.Action, err)
	}
	equal(t, "the session", b.data(), `{"a":1,"b":2}`)

	st.faults.Fail("load", errDown)
	if s, err := st.OpenRequest(b.request()); !errors.Is(err, errDown) || s == nil {
		t.Error("OpenRequest:", err)
	}
}

// A program that only reads commits nothing, and yet uses its session.
func TestOpenRequestExtends(t *testing.T) {
	st := newSite(t)
	b := st.signedIn("23")
	open := func() *session.Session {
		t.Helper()
		s, err := st.OpenRequest(b.request())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	st.faults.ResetCalls()
	for range 3 {
		st.clock.advance(40 * time.Minute)
		equal(t, "subject", open().Subject(), "23")
		open() // once is enough
	}
	st.checkCalls("of six requests", sessiontest.Calls{Load: 6, Touch: 3})
	st.clock.advance(time.Hour)
	equal(t, "subject after the idle timeout", open().Subject(), "")

	st.faults.ResetCalls()
	b = st.browser()
	equal(t, "IsNew", open().IsNew(), true)
	st.checkCalls("of a visitor", sessiontest.Calls{})
}

func TestFromContextOfAManager(t *testing.T) {
	st, other := newSite(t), newSite(t)
	b := st.browser()
	b.get(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
		if mine, ok := st.FromContext(r.Context()); !ok || mine != s {
			t.Error("FromContext does not find the session")
		}
		if _, ok := other.FromContext(r.Context()); ok {
			t.Error("FromContext finds the session of another manager")
		}
	})
}
