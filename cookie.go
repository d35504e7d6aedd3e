package session

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// A Cookie says how the session cookie is sent. The zero value is the
// recommended one: out of reach of scripts, only over HTTPS, not sent along by
// other sites' forms, and gone when the browser is closed.
type Cookie struct {
	// Name defaults to "__Host-session" where browsers allow that prefix (the
	// attribute Secure always there, no Domain, Path "/"), which keeps sibling
	// domains and plain HTTP from planting a cookie, else to "session", and
	// with Options.ExpressCompatible to "connect.sid".
	Name string

	// Path defaults to "/". For requests to other paths (by the rule of RFC
	// 6265, section 5.1.4) there is no session, since the browser keeps the
	// cookie from them.
	Path string

	// Domain is empty by default, which makes the cookie host-only.
	Domain string

	// MaxAge makes the cookie outlive the browser: it, and the session, end
	// that long after the last use, and as long after the sign-in unless
	// Options.AbsoluteTimeout is longer. Zero, the default, makes it a cookie of the
	// browser session, as OWASP and NIST SP 800-63B advise for secrets that are
	// not bound to a device; the session then ends by Options.IdleTimeout.
	MaxAge time.Duration

	// Expires is the same with a date: the time that remains until then when
	// a session begins is its MaxAge, as in express-session. At most one of the
	// two may be set.
	Expires time.Time

	// AllowScript leaves out the attribute HttpOnly, so that scripts, also those
	// that an attacker smuggles in, can read the token.
	AllowScript bool

	// Secure says when the attribute Secure is set; by default always.
	Secure Secure

	// SameSite defaults to Lax; http.SameSiteDefaultMode leaves the attribute
	// out. [SameSiteAuto] is None over HTTPS and Lax over HTTP.
	SameSite http.SameSite

	// Partitioned keeps a separate cookie for each site that embeds this one.
	Partitioned bool

	// Priority is "", "Low", "Medium" or "High", in any case of letters.
	Priority string
}

// SameSiteAuto is express-session's sameSite "auto".
const SameSiteAuto http.SameSite = -1

// Secure says when a cookie has the attribute Secure. Browsers keep such a
// cookie to HTTPS, with an exception for the local machine in most of them.
type Secure int

const (
	// SecureAlways sets the attribute, whatever the connection looks like from
	// here: behind a proxy that ends TLS it looks like HTTP.
	SecureAlways Secure = iota

	// SecureRequired is express-session's secure: true. The attribute is set,
	// and over a connection that is not known to be HTTPS nothing is sent: a
	// change that would need a cookie there is an error.
	SecureRequired

	// SecureAuto sets the attribute on HTTPS and leaves it out on HTTP. It is
	// for development and for sites that must serve both.
	SecureAuto

	// InsecureNever leaves the attribute out: everybody on the way can read the
	// token.
	InsecureNever
)

// maxCookieBytes is the size of name and value together above which browsers
// ignore a cookie (RFC 6265bis, section 5.6).
const maxCookieBytes = 4096

// maxValueBytes is the longest value that a session cookie can have: every byte
// of the token and of the signature escaped.
const maxValueBytes = len("s%3A") + 3*maxIDBytes + len(".") + 3*sigChars

// withDefaults returns c with what is not set filled in.
func (c Cookie) withDefaults(express bool) Cookie {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.Name == "" {
		switch {
		case express:
			c.Name = "connect.sid"
		case c.Secure <= SecureRequired && c.Domain == "" && c.Path == "/":
			c.Name = "__Host-session"
		default:
			c.Name = "session"
		}
	}
	if c.SameSite == 0 {
		c.SameSite = http.SameSiteLaxMode
	}
	return c
}

// check refuses what browsers would drop or misunderstand. It expects defaults
// to be filled in.
func (c Cookie) check() error {
	if !isCookieName(c.Name) {
		return fmt.Errorf("session: Cookie.Name %q is not a cookie name: use letters, digits and -_. only", c.Name)
	}
	if most := maxCookieBytes - maxValueBytes; len(c.Name) > most {
		return fmt.Errorf("session: Cookie.Name has %d bytes, at most %d are possible: browsers drop a cookie of more than %d bytes, and the value needs up to %d", len(c.Name), most, maxCookieBytes, maxValueBytes)
	}
	if c.Path[0] != '/' || !isAttribute(c.Path) || len(c.Path) > 1024 {
		return fmt.Errorf("session: Cookie.Path %q must begin with / and have at most 1024 visible ASCII characters without a semicolon", c.Path)
	}
	if c.Domain != "" && (!isAttribute(c.Domain) || len(c.Domain) > 253 || strings.ContainsAny(c.Domain, " ,/:")) {
		return fmt.Errorf("session: Cookie.Domain %q is not a domain name; leave out the scheme, the port and the path", c.Domain)
	}
	if c.MaxAge < 0 {
		return fmt.Errorf("session: Cookie.MaxAge is %v; it must be positive, or zero for a cookie of the browser session", c.MaxAge)
	}
	if c.MaxAge > 0 && c.MaxAge < time.Millisecond {
		return fmt.Errorf("session: Cookie.MaxAge is %v; the shortest is a millisecond (did you forget the unit?)", c.MaxAge)
	}
	if c.MaxAge > 0 && !c.Expires.IsZero() {
		return errors.New("session: Cookie.MaxAge and Cookie.Expires are both set; keep one")
	}
	if c.Secure < SecureAlways || c.Secure > InsecureNever {
		return fmt.Errorf("session: Cookie.Secure has the unknown value %d; use SecureAlways, SecureRequired, SecureAuto or InsecureNever", c.Secure)
	}
	switch c.SameSite {
	case http.SameSiteDefaultMode, http.SameSiteLaxMode, http.SameSiteStrictMode, SameSiteAuto:
	case http.SameSiteNoneMode:
		if c.Secure > SecureRequired {
			return errors.New("session: Cookie.SameSite is None, which browsers accept only with Secure; leave Cookie.Secure at SecureAlways, or take SameSiteAuto")
		}
	default:
		return fmt.Errorf("session: Cookie.SameSite has the unknown value %d", c.SameSite)
	}
	if c.Partitioned && c.Secure > SecureRequired {
		return errors.New("session: Cookie.Partitioned is set, which browsers accept only with Secure; leave Cookie.Secure at SecureAlways")
	}
	if _, ok := priorityText(c.Priority); !ok {
		return fmt.Errorf("session: Cookie.Priority is %q; it must be Low, Medium or High, or empty", c.Priority)
	}
	switch lower := strings.ToLower(c.Name); {
	case strings.HasPrefix(lower, "__host-"):
		if c.Domain != "" || c.Path != "/" || c.Secure > SecureRequired {
			return fmt.Errorf("session: browsers drop the cookie %s unless it has Secure, no Domain and the Path /; mend these or choose another Cookie.Name", c.Name)
		}
	case strings.HasPrefix(lower, "__secure-"), strings.HasPrefix(lower, "__http-"):
		if c.Secure > SecureRequired {
			return fmt.Errorf("session: browsers drop the cookie %s unless it has Secure; leave Cookie.Secure at SecureAlways or choose another Cookie.Name", c.Name)
		}
	}
	if lower := strings.ToLower(c.Name); c.AllowScript && (strings.HasPrefix(lower, "__http-") || strings.HasPrefix(lower, "__host-http-")) {
		return fmt.Errorf("session: browsers drop the cookie %s unless it has HttpOnly; leave Cookie.AllowScript false or choose another Cookie.Name", c.Name)
	}
	return nil
}

func priorityText(p string) (string, bool) {
	switch strings.ToLower(p) {
	case "":
		return "", true
	case "low":
		return "Low", true
	case "medium":
		return "Medium", true
	case "high":
		return "High", true
	}
	return "", false
}

// isCookieName reports whether s is a token of RFC 9110, section 5.6.2.
func isCookieName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?={}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

// isAttribute reports whether s can stand as the value of a cookie attribute.
func isAttribute(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == ';' {
			return false
		}
	}
	return true
}

// sameSite resolves SameSiteAuto for a connection.
func (c *Cookie) sameSite(secure bool) http.SameSite {
	switch {
	case c.SameSite != SameSiteAuto:
		return c.SameSite
	case secure:
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}

// hasSecure tells whether the cookie gets the attribute Secure on a connection.
func (c *Cookie) hasSecure(secure bool) bool {
	return c.Secure <= SecureRequired || c.Secure == SecureAuto && secure
}

// appendSetCookie appends the value of a Set-Cookie header, its attributes in
// the order of express-session. A zero expires makes a cookie of the browser
// session. Unlike http.SetCookie it keeps a leading dot of the domain and knows
// Priority.
func (c *Cookie) appendSetCookie(dst []byte, value []byte, expires time.Time, secure bool) []byte {
	dst = append(dst, c.Name...)
	dst = append(dst, '=')
	dst = append(dst, value...)
	if c.Domain != "" {
		dst = append(dst, "; Domain="...)
		dst = append(dst, c.Domain...)
	}
	if c.Path != "" {
		dst = append(dst, "; Path="...)
		dst = append(dst, c.Path...)
	}
	if !expires.IsZero() {
		dst = append(dst, "; Expires="...)
		dst = expires.UTC().AppendFormat(dst, http.TimeFormat)
	}
	if !c.AllowScript {
		dst = append(dst, "; HttpOnly"...)
	}
	if c.hasSecure(secure) {
		dst = append(dst, "; Secure"...)
	}
	if c.Partitioned {
		dst = append(dst, "; Partitioned"...)
	}
	if p, _ := priorityText(c.Priority); p != "" {
		dst = append(dst, "; Priority="...)
		dst = append(dst, p...)
	}
	switch c.sameSite(secure) {
	case http.SameSiteLaxMode:
		dst = append(dst, "; SameSite=Lax"...)
	case http.SameSiteStrictMode:
		dst = append(dst, "; SameSite=Strict"...)
	case http.SameSiteNoneMode:
		dst = append(dst, "; SameSite=None"...)
	}
	return dst
}

// appendEscaped appends b as JavaScript's encodeURIComponent writes it, which
// is how express-session writes the value of its cookie.
func appendEscaped(dst, b []byte) []byte {
	const upperHex = "0123456789ABCDEF"
	for _, c := range b {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '!', c == '~', c == '*', c == '\'', c == '(', c == ')':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// pathMatches is the rule of RFC 6265, section 5.1.4.
func pathMatches(requestPath, cookiePath string) bool {
	if cookiePath == "/" || requestPath == cookiePath {
		return true
	}
	return strings.HasPrefix(requestPath, cookiePath) &&
		(cookiePath[len(cookiePath)-1] == '/' || requestPath[len(cookiePath)] == '/')
}
