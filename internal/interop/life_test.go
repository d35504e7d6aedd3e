package interop

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// slack is what rounding to seconds, up there and to the nearest here, and the
// computing in between may make.
const slack = time.Second

// lifetimesAgree reads the end of sessions of both sides where the server
// keeps it.
func lifetimesAgree(t *testing.T, p *pair) {
	for side, site := range p.sides() {
		b := newBrowser(t)
		since := time.Now()
		id := b.login(site, "tj").ID
		p.ends(id, since, p.life, "signed in by "+side)

		for other, site := range p.sides() {
			since = time.Now()
			b.post(site, "/set", fmt.Sprintf(`{"by":%q}`, other))
			p.ends(id, since, p.life, "signed in by "+side+", changed by "+other)
		}

		// And one that the handler gives another life, which both sides keep to.
		since = time.Now()
		b.post(site, "/maxage", `{"ms":7200000}`)
		p.ends(id, since, 2*time.Hour, "given two hours by "+side)
		for other, site := range p.sides() {
			since = time.Now()
			if got := b.post(site, "/set", fmt.Sprintf(`{"again":%q}`, other)); !isTwoHours(got.MaxAge) {
				t.Errorf("given two hours by %s, %s has %v", side, other, got.MaxAge)
			}
			p.ends(id, since, 2*time.Hour, "given two hours by "+side+", changed by "+other)
		}

		// And one that is to end with the browser, and in the store by the TTL.
		since = time.Now()
		b.post(site, "/maxage", `{"ms":null}`)
		p.ends(id, since, p.ttl, "given none by "+side)
		for other, site := range p.sides() {
			since = time.Now()
			if got := b.post(site, "/set", fmt.Sprintf(`{"third":%q}`, other)); got.MaxAge != nil {
				t.Errorf("given none by %s, %s has %v", side, other, got.MaxAge)
			}
			p.ends(id, since, p.ttl, "given none by "+side+", changed by "+other)
		}
	}
}

// touchKeepsAlive uses a session of whose life half has passed.
func touchKeepsAlive(t *testing.T, p *pair) {
	for side, site := range p.sides() {
		for user, other := range p.sides() {
			b := newBrowser(t)
			id := b.login(site, "tj").ID
			text, _, _ := p.rows.read(t, id)
			p.rows.write(t, id, text, time.Now().Add(p.life/2))
			since := time.Now()
			b.get(other)
			p.ends(id, since, p.life, "made by "+side+", used by "+user)
			// The next use, of ours, is too soon for another touch and takes nothing away.
			_, before, _ := p.rows.read(t, id)
			b.get(p.ours)
			if _, after, _ := p.rows.read(t, id); after.Before(before.Add(-slack / 4)) {
				t.Errorf("our use moves the end from %v to %v", before, after)
			}
		}
	}

	// What somebody has given a longer life we do not shorten.
	b := newBrowser(t)
	id := b.login(p.ours, "tj").ID
	text, _, _ := p.rows.read(t, id)
	long := time.Now().Add(2 * p.life)
	p.rows.write(t, id, text, long)
	b.get(p.ours)
	if _, got, _ := p.rows.read(t, id); got.Before(long.Add(-slack)) {
		t.Errorf("we shorten a life until %v to %v", long, got)
	}
}

// theStoreSaysWhenASessionEnds has the two disagree: the row is right, as for
// express-session, since most of its stores leave cookie.expires behind when they
// touch.
func theStoreSaysWhenASessionEnds(t *testing.T, p *pair) {
	stale := `{"cookie":{"originalMaxAge":5400000,"expires":"2020-01-01T00:00:00.000Z","httpOnly":true,"path":"/"},"passport":{"user":"tj"}}`
	_, b := p.plant(stale, time.Now().Add(time.Minute))
	if got := b.get(p.ours); got.Subject != "tj" {
		t.Errorf("to us it is the session of %q", got.Subject)
	}
	_, b = p.plant(stale, time.Now().Add(time.Minute))
	if got := b.get(p.express); got.Name != "tj" {
		t.Errorf("to Express it is the session of %q", got.Name)
	}
	fresh := `{"cookie":{"originalMaxAge":5400000,"expires":"2100-01-01T00:00:00.000Z","httpOnly":true,"path":"/"},"passport":{"user":"tj"}}`
	id, b := p.plant(fresh, time.Now().Add(-2*time.Second))
	p.nobody(b, "when the row has ended")
	p.swept(id)
}

// isTwoHours allows for what express-session takes off: it reads the clock twice
// whenever it sets a maxAge, and keeps the difference.
func isTwoHours(ms any) bool {
	n, ok := ms.(float64)
	return ok && 7200000-100 <= n && n <= 7200000
}

// ends checks that the session's life, reckoned from its last use, which was
// between since and now, ends when it should.
func (p *pair) ends(id string, since time.Time, life time.Duration, what string) {
	p.t.Helper()
	_, expires, ok := p.rows.read(p.t, id)
	if !ok {
		p.t.Errorf("%s: there is no session", what)
	}
	if expires.Before(since.Add(life-slack)) || expires.After(time.Now().Add(life+slack)) {
		p.t.Errorf("%s: the session ends in %v, want %v", what, expires.Sub(since), life)
	}
}

// swept checks that our sweep takes the ended row and no other.
func (p *pair) swept(id string) {
	p.t.Helper()
	m := newManager(p.t, p.place.ours(p.t), p.options(secret))
	alive, b := p.plant(plainCookie+`"passport":{"user":"tj"}}`, time.Now().Add(time.Minute))
	if _, err := m.Sweep(context.Background()); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		p.t.Fatal(err)
	}
	if _, _, ok := p.rows.read(p.t, id); ok {
		p.t.Error("the ended session is still there after a sweep")
	}
	if _, _, ok := p.rows.read(p.t, alive); !ok {
		p.t.Error("a sweep has taken a living session")
	}
	p.somebody(b, "tj", `{"passport":{"user":"tj"}}`)
}
