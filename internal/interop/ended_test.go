package interop

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/coatcheck/session"
)

// endedOnEitherSide checks that what ends a session or its ID on one side ends it
// on the other.
func endedOnEitherSide(t *testing.T, p *pair) {
	for side, site := range p.sides() {
		for _, path := range []string{"/renew", "/regenerate", "/logout", "/destroy"} {
			b := newBrowser(t)
			b.login(p.express, "tj")
			b.post(p.express, "/set", `{"cart":["a",1.5]}`)
			old := b.with(b.cookie())
			p.somebody(old, "tj", `{"passport":{"user":"tj"},"cart":["a",1.5]}`)

			oldID := b.get(p.ours).ID
			b.post(site, path, "")
			what := path + " of " + side
			p.nobody(old, what+" with the old cookie")
			p.gone(oldID, what)
			if path == "/renew" { // the session goes on
				p.somebody(b, "tj", `{"passport":{"user":"tj"},"cart":["a",1.5]}`)
			} else {
				p.nobody(b, what)
			}
			if path != "/destroy" {
				ours, theirs := b.get(p.ours), b.get(p.express)
				if ours.ID != theirs.ID || b.cookie() == "" || strings.Contains(old.cookie(), ours.ID) {
					t.Errorf("after %s our ID is %s, theirs %s", what, ours.ID, theirs.ID)
				}
			}
			b.login(site, "tj") // and life goes on
			if got := b.get(p.ours); got.Subject != "tj" || got.Name != b.get(p.express).Name {
				t.Errorf("signed in again after %s the browser is to us %+v", what, got)
			}
		}
	}
}

// signInKillsTheTokenBeforeIt is session fixation: who has planted a token must not
// be signed in by it.
func signInKillsTheTokenBeforeIt(t *testing.T, p *pair) {
	for side, site := range p.sides() {
		for planter, where := range p.sides() {
			b := newBrowser(t)
			b.post(where, "/set", `{"cart":1}`)
			thief := b.with(b.cookie())
			oldID := thief.get(p.ours).ID
			b.login(site, "tj")
			p.nobody(thief, "planted by "+planter+", signed in by "+side)
			p.gone(oldID, "planted by "+planter+", signed in by "+side)
			data := `{"passport":{"user":"tj"}}` // Passport begins anew
			if side == "ours" {
				data = `{"cart":1,"passport":{"user":"tj"}}`
			}
			p.somebody(b, "tj", data)
		}
	}
}

// gone checks that not even an empty session remains under an ID.
func (p *pair) gone(id, what string) {
	p.t.Helper()
	if text, _, ok := p.rows.read(p.t, id); ok {
		p.t.Errorf("%s: under the old ID there is still %s", what, text)
	}
}

// signOutIsFinal has a slow request of ours save after a sign-out on Express. (The
// other way round Express brings the session back, and nobody can keep it from it.)
func signOutIsFinal(t *testing.T, p *pair) {
	m := newManager(t, p.place.ours(t), p.options(secret))
	for _, path := range []string{"/logout", "/destroy"} {
		b := newBrowser(t)
		b.login(p.express, "tj")
		old := b.with(b.cookie())
		wire, err := url.PathUnescape(b.cookie())
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.Open(context.Background(), strings.TrimPrefix(wire, "s:"))
		if err != nil || s.Subject() != "tj" {
			t.Fatalf("the session is that of %q, %v", s.Subject(), err)
		}
		s.Set("late", true)
		b.post(p.express, path, "")
		if _, err := m.Commit(context.Background(), s); !errors.Is(err, session.ErrEnded) {
			t.Errorf("after %s a late save gives %v", path, err)
		}
		p.nobody(old, path+" and a late save")
	}
}

// whatExpressBringsBack is a slow request of Express and a sign-out of ours. If the
// request has only read, the sign-out holds. If it has written, the session is back,
// as the guide says; should that ever change, the guide has to.
func whatExpressBringsBack(t *testing.T, p *pair) {
	for _, path := range []string{"/slow", "/slow?set=1"} {
		if p.complainsOfEnded && path == "/slow" {
			continue
		}
		b := newBrowser(t)
		b.login(p.express, "tj")
		old := b.with(b.cookie())
		slow := b.with(b.cookie())
		done := make(chan string)
		go func() {
			_, failure := slow.try("POST", p.express+path, "")
			done <- failure
		}()
		helper := newBrowser(t)
		helper.do("GET", p.express+"/begun", "")
		b.post(p.ours, "/destroy", "")
		p.nobody(old, "after our sign-out")
		helper.do("GET", p.express+"/release", "")
		if failure := <-done; failure != "" {
			t.Fatal(failure)
		}
		if path == "/slow" {
			p.nobody(old, "after our sign-out and a late read of Express")
		} else {
			p.somebody(old, "tj", `{"passport":{"user":"tj"},"late":true}`)
			p.nobody(b, "in the browser that signed out")
		}
	}
}

// revokedEverywhere finds the sessions of somebody who signed in on either side,
// and ends them all.
func revokedEverywhere(t *testing.T, p *pair) {
	m := newManager(t, p.place.ours(t), p.options(secret))
	if _, err := m.Clear(context.Background()); err != nil {
		t.Fatal(err)
	}
	onExpress, onOurs, other := newBrowser(t), newBrowser(t), newBrowser(t)
	onExpress.login(p.express, "ada")
	onOurs.login(p.numeric, "ada")
	other.login(p.express, "tj")
	if n, err := m.RevokeAll(context.Background(), "7"); n != 2 || err != nil {
		t.Errorf("RevokeAll ends %d sessions, %v", n, err)
	}
	p.nobody(onExpress, "revoked, signed in on Express")
	p.nobody(onOurs, "revoked, signed in by us")
	p.somebody(other, "tj", `{"passport":{"user":"tj"}}`)
}
