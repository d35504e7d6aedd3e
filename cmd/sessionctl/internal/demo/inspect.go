package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/coatcheck/session"
)

// An inspection is a session taken apart.
type inspection struct {
	New    bool // there is no session yet
	Cookie cookieParts
	Record recordParts
	Times  []timePart
}

// cookieParts is the cookie as the browser has sent it.
type cookieParts struct {
	Name, Raw        string
	Token, Signature string
	Sent             bool // false: this response brings it
	Attributes       []attribute
}

// An attribute is one that the cookie was set with, or one that it lacks.
type attribute struct {
	Text string
	Has  bool
	Why  string
}

type recordParts struct {
	ID      string
	Matches bool // the ID is the hash of the token in the cookie
	Subject string
	Data    string
	Version uint64
}

// A timePart is a time of the session and what it means.
type timePart struct {
	Name  string
	Time  moment
	Left  string // how long until then, if it is to come
	Means string
}

// inspect shows the visitor his own session. It changes nothing: somebody
// without a session has none afterwards either.
func (st *site) inspect(w http.ResponseWriter, r *http.Request) {
	s := session.From(r)
	in := inspection{New: s.IsNew()}
	if !in.New {
		in.Cookie = takeApart(r, s)
		rec := s.Record()
		in.Record = recordParts{
			ID:      rec.ID,
			Matches: rec.ID == hashOf(in.Cookie.Token),
			Subject: rec.Subject,
			Data:    indent(rec.Data),
			Version: rec.Version,
		}
		in.Times = st.times(s, rec)
	} else if c, err := r.Cookie(s.Cookie().Name); err == nil {
		in.Cookie = cookieParts{Name: c.Name, Raw: c.Value}
	}
	st.render(w, r, http.StatusOK, "inspect", in)
}

// takeApart finds the cookie that the session was found by. A browser may send
// several of one name, so it is looked for by its token.
func takeApart(r *http.Request, s *session.Session) cookieParts {
	c := s.Cookie()
	token, signature, _ := strings.Cut(s.Token().Reveal(), ".")
	parts := cookieParts{Name: c.Name, Token: token, Signature: signature}
	for _, sent := range r.CookiesNamed(c.Name) {
		if strings.Contains(sent.Value, token) {
			parts.Raw, parts.Sent = sent.Value, true
		}
	}
	_, lasting := s.OriginalMaxAge()
	secure := c.Secure == session.SecureAuto && r.TLS != nil || c.Secure == session.SecureAlways || c.Secure == session.SecureRequired
	parts.Attributes = []attribute{
		{"HttpOnly", !c.AllowScript, "No script can read it, not even one that an attacker smuggles in."},
		{"SameSite=" + sameSite(c.SameSite), true, "The browser leaves it out when another site sends a form here."},
		{"Path=" + c.Path, true, "It belongs to all pages of the site."},
		{"Domain", c.Domain != "", "Without it, the cookie goes to this host alone and not to its subdomains."},
		{"Expires", lasting, "With it, the cookie outlives the browser: “remember me”. Without it, it goes when the browser is closed."},
		{"Secure", secure, "With it, the cookie travels only over HTTPS. The demo is served over plain HTTP, on your own machine."},
	}
	return parts
}

func sameSite(mode http.SameSite) string {
	switch mode {
	case http.SameSiteStrictMode:
		return "Strict"
	case http.SameSiteNoneMode:
		return "None"
	}
	return "Lax"
}

// hashOf is how the ID of a record follows from the token.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func indent(data []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, data, "", "  ") != nil {
		return string(data)
	}
	return b.String()
}

func (st *site) times(s *session.Session, rec session.Record) []timePart {
	now := st.now()
	end := rec.Created.Add(absoluteTimeout)
	if maxAge, ok := s.OriginalMaxAge(); ok {
		end = rec.Created.Add(max(absoluteTimeout, maxAge))
	}
	left := func(t time.Time) string { return span(t.Sub(now)) }
	return []timePart{
		{"Created", st.moment(rec.Created), "", "A sign-in begins it anew, since somebody has proved who he is."},
		{"Last seen", st.moment(rec.LastSeen), "", "Before this request. Written at most every " + span(touchInterval) + ", to spare the store."},
		{"Expires", st.moment(rec.Expires), left(rec.Expires), "The idle timeout, unless you come back before. This request may move it on."},
		{"Ends", st.moment(end), left(end), "The absolute timeout: however much it is used, it ends then."},
	}
}
