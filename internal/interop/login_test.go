package interop

import (
	"strings"
	"testing"
)

// oneLogin walks with one browser through both sides.
func oneLogin(t *testing.T, p *pair) {
	for _, user := range []struct{ name, subject, passport, site string }{
		{"ada", "7", `{"user":7}`, p.numeric},
		{"seven", "7", `{"user":"7"}`, p.ours},
		{"tj", "tj", `{"user":"tj"}`, p.ours},
	} {
		want := `"passport":` + user.passport

		b := newBrowser(t)
		p.nobody(b, "a stranger")
		b.login(p.express, user.name)
		if ours := b.get(p.ours); ours.Subject != user.subject || ours.Name != user.name || ours.Data != "{"+want+"}" {
			t.Errorf("%s signed in on Express is to us %+v", user.name, ours)
		}
		b.post(p.ours, "/set", `{"from":"ours"}`)
		p.somebody(b, user.name, `{`+want+`,"from":"ours"}`)
		b.post(p.express, "/logout", "")
		p.nobody(b, "signed out on Express")

		b.login(user.site, user.name)
		p.somebody(b, user.name, `{`+want+`}`)
		b.post(p.express, "/set", `{"from":"Express"}`)
		p.somebody(b, user.name, `{`+want+`,"from":"Express"}`)
		b.post(p.ours, "/logout", "")
		p.nobody(b, "signed out by us")
		if got := b.get(p.express).Data; got != `{"passport":{},"from":"Express"}` {
			t.Errorf("signing out the subject leaves %s", got)
		}
	}
}

// seenOnBothSides checks changes of every kind.
func seenOnBothSides(t *testing.T, p *pair) {
	b := newBrowser(t)
	for side, site := range p.sides() {
		b.post(site, "/set", `{"k":{"b":1,"a":[1.5,null,"☃ 😀 <&>"]}}`)
		p.same(b, `{"k":{"b":1,"a":[1.5,null,"☃ 😀 <&>"]}}`, "set by "+side)
		b.post(site, "/set", `{"k":2}`)
		p.same(b, `{"k":2}`, "changed by "+side)
		b.post(site, "/delete?key=k", "")
		p.same(b, `{}`, "deleted by "+side)
	}
	for range 3 {
		b.post(p.express, "/add?key=n", "")
		b.post(p.ours, "/add?key=n", "")
	}
	p.same(b, `{"n":6}`, "added up by both")
}

// arraysOfExpress reads what Passport and connect-flash keep by typed keys.
func arraysOfExpress(t *testing.T, p *pair) {
	b := newBrowser(t)
	b.post(p.express, "/flash", "")
	b.try("POST", p.express+"/login", `{"username":"tj","password":"wrong"}`)
	if got := b.get(p.ours); got.Flashes != "No such page|<\u2028>|Welcome|Bad password" {
		t.Errorf("typed keys read %q of %s", got.Flashes, got.Data)
	}
}

// somebody checks that both sides take the browser for the user.
func (p *pair) somebody(b *browser, name, data string) {
	p.t.Helper()
	for side, site := range p.sides() {
		if got := b.get(site); got.Name != name || got.Data != data {
			p.t.Errorf("%s takes %s for %q with %s, want %s", side, name, got.Name, got.Data, data)
		}
	}
}

// nobody checks that to both sides the browser is not signed in.
func (p *pair) nobody(b *browser, what string) {
	p.t.Helper()
	cookie := b.cookie() // of which one side may tell the browser to let go
	for side, site := range p.sides() {
		if got := b.with(cookie).get(site); got.Name != "" || got.Subject != "" || strings.Contains(got.Data, "user") {
			p.t.Errorf("%s: %s takes the browser for %+v", what, side, got)
		}
	}
}

// same checks that both sides see the same session.
func (p *pair) same(b *browser, data, what string) {
	p.t.Helper()
	for side, site := range p.sides() {
		if got := b.get(site); got.Data != data {
			p.t.Errorf("%s: %s sees %s, want %s", what, side, got.Data, data)
		}
	}
}
