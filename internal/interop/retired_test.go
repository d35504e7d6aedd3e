package interop

import (
	"testing"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
)

// expressRetires takes the last step of the guide: a manager with a store and a
// cookie of its own, which knows nothing of Express, goes on with its sessions.
func expressRetires(t *testing.T, p *pair) {
	before := p.options(secret)
	next := startSite(t, memstore.New(nil), session.Options{
		Secrets:        []session.Secret{secret},
		Cookie:         session.Cookie{Name: "sid", Secure: session.InsecureNever},
		Import:         newManager(t, p.place.ours(t), before).Importer(),
		NoStoreWarning: true,
	})
	for side, site := range p.sides() {
		b := newBrowser(t)
		b.login(site, "ada")
		b.post(site, "/set", `{"n":1.5,"text":"☃ <&>"}`)
		old := b.cookie()
		want := page{Subject: "7", Data: `{"n":1.5,"text":"☃ <&>"}`}
		for range 2 {
			if got := b.get(next); got.Subject != want.Subject || got.Data != want.Data {
				t.Errorf("of a session that began at %s there is %+v, want %+v", side, got, want)
			}
		}
		if b.cookie() != "" {
			t.Errorf("the browser keeps the cookie of the session that began at %s", side)
		}
		p.nobody(b.with(old), "whose session has moved")
		b.post(next, "/logout", "")
		if got := b.with(old).get(next); got.Subject != "" {
			t.Errorf("signed out, the old cookie opens %+v", got)
		}
	}
}
