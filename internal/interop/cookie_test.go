package interop

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// sign makes the value of a cookie as cookie-signature and express-session do.
func sign(id, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id))
	return "s:" + id + "." + base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
}

// plant writes a record that neither side has made and returns its ID and a
// browser that has its cookie.
func (p *pair) plant(text string, expires time.Time) (string, *browser) {
	p.t.Helper()
	id := "planted-" + rand.Text()
	p.rows.write(p.t, id, text, expires)
	return id, newBrowser(p.t).with(url.PathEscape(sign(id, secret)))
}

const plainCookie = `{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"},`

// signaturesWithPlusAndSlash shows both sides signatures of all characters.
func signaturesWithPlusAndSlash(t *testing.T, p *pair) {
	id := ""
	for i := 0; ; i++ {
		id = fmt.Sprintf("planted-%d", i)
		_, sig, _ := strings.Cut(sign(id, secret), ".")
		if strings.Contains(sig, "+") && strings.Contains(sig, "/") {
			break
		}
	}
	p.rows.write(t, id, plainCookie+`"passport":{"user":"tj"}}`, time.Now().Add(time.Hour))
	for _, cookie := range []string{url.QueryEscape(sign(id, secret)), sign(id, secret)} {
		p.somebody(newBrowser(t).with(cookie), "tj", `{"passport":{"user":"tj"}}`)
	}

	// And what we send is to the letter what Express sends.
	for seen := 0; seen < 3; {
		b := newBrowser(t)
		value := func(p page) string {
			pair, _, _ := strings.Cut(p.setCookie, ";")
			return pair
		}
		sent := value(b.post(p.ours, "/set", `{"a":1}`))
		if !strings.Contains(sent, "%2B") && !strings.Contains(sent, "%2F") {
			continue
		}
		seen++
		id := b.get(p.ours).ID
		if want := "connect.sid=" + url.QueryEscape(sign(id, secret)); sent != want {
			t.Errorf("we send %s, want %s", sent, want)
		}
		p.same(b, `{"a":1}`, "under the cookie "+sent)
	}
}

// secretsRotate gives Express the new secret after us, as one has to.
func secretsRotate(t *testing.T, p *pair) {
	const newSecret = "the secret that comes next, 40 bytes...."
	b := newBrowser(t)
	b.login(p.express, "tj")
	signedOld := b.cookie()
	id := b.get(p.express).ID

	// We sign with the new one at once, which Express must know by then.
	rotated := startSite(t, p.place.ours(t), p.options(newSecret, secret))
	both := p.startExpress(newSecret, secret)
	if got := b.get(rotated); got.Subject != "tj" {
		t.Errorf("signed with the old secret the session is that of %q", got.Subject)
	}
	if got, want := b.cookie(), url.QueryEscape(sign(id, newSecret)); got != want {
		t.Errorf("we do not sign anew: the cookie is %s, want %s", got, want)
	}
	if got := b.get(both); got.Name != "tj" {
		t.Errorf("to Express with both secrets it is that of %q", got.Name)
	}
	if got := b.get(p.express); got.Name != "" {
		t.Errorf("to Express with the old secret it is that of %q", got.Name)
	}

	// During the change one verifies with both and still signs with the old.
	careful := startSite(t, p.place.ours(t), p.options(secret, newSecret))
	old := b.with(signedOld)
	if got := old.get(careful); got.Subject != "tj" || old.cookie() != signedOld {
		t.Errorf("with the old secret first it is that of %q, and the cookie %s", got.Subject, old.cookie())
	}
	b = b.with(url.QueryEscape(sign(id, newSecret)))
	if got := b.get(careful); got.Subject != "tj" {
		t.Errorf("and signed with the new one that of %q", got.Subject)
	}
}
