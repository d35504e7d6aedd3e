package session

import (
	"net/http"
	"strconv"
	"time"
)

// cookieKey is the member of a session's data that express-session keeps the
// attributes of its cookie in. It is reserved there and so it is here.
const cookieKey = "cookie"

// attributes is what the member "cookie" says of a session: how long it lives
// and where its cookie differs from the options. With
// Options.ExpressCompatible the member is always there and has all that
// express-session expects; otherwise it holds only what differs, and is mostly
// absent.
type attributes struct {
	// maxAge is how long the session and its cookie live after a use. Without
	// hasMaxAge the cookie is one of the browser session; rawMaxAge then keeps
	// what stands instead of a number (null, false, nothing).
	maxAge    time.Duration
	hasMaxAge bool
	rawMaxAge []byte

	// The attributes as JSON texts, nil where the options hold.
	partitioned, priority, secure, httpOnly, domain, path, sameSite []byte

	// Ours: timeouts of this session, zero where the options hold. When its token
	// was issued, for Options.RenewalTimeout, and when it ends if it was imported
	// and nobody has signed in since, in Unix milliseconds: a time.Time would make
	// each request larger.
	idle, absolute time.Duration
	issued, ends   int64
}

func parseAttributes(raw []byte) attributes {
	var a attributes
	sc := scan(raw)
	for {
		key, value, ok := sc.next()
		if !ok {
			return a
		}
		switch string(key) {
		case `"originalMaxAge"`:
			ms, err := strconv.ParseFloat(string(value), 64)
			if err == nil {
				a.maxAge, a.hasMaxAge = milliseconds(ms), true
			} else {
				a.rawMaxAge = value
			}
		case `"partitioned"`:
			a.partitioned = value
		case `"priority"`:
			a.priority = value
		case `"secure"`:
			a.secure = value
		case `"httpOnly"`:
			a.httpOnly = value
		case `"domain"`:
			a.domain = value
		case `"path"`:
			a.path = value
		case `"sameSite"`:
			a.sameSite = value
		case `"idleTimeout"`:
			a.idle = parseMilliseconds(value)
		case `"absoluteTimeout"`:
			a.absolute = parseMilliseconds(value)
		case `"issued"`:
			a.issued = parseMilliseconds(value).Milliseconds()
		case `"ends"`:
			a.ends = parseMilliseconds(value).Milliseconds()
		}
	}
}

func parseMilliseconds(raw []byte) time.Duration {
	ms, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0
	}
	return milliseconds(ms)
}

// milliseconds converts with saturation: a stored number may be anything.
func milliseconds(ms float64) time.Duration {
	const most = float64(1<<63-1) / float64(time.Millisecond)
	switch {
	case ms >= most:
		return 1<<63 - 1
	case ms <= -most:
		return -1 << 63
	}
	return time.Duration(ms) * time.Millisecond
}

// newAttributes are those of a new session, whose cookie is c.
func (s *Session) newAttributes(c *Cookie) attributes {
	var a attributes
	switch {
	case c.MaxAge > 0:
		a.maxAge, a.hasMaxAge = c.MaxAge.Truncate(time.Millisecond), true
	case !c.Expires.IsZero():
		a.maxAge, a.hasMaxAge = c.Expires.Sub(s.m.now()).Truncate(time.Millisecond), true
	}
	if !s.m.opts.ExpressCompatible {
		return a
	}
	secure := s.m.isSecure(s.r)
	a.setSecure(c, secure)
	a.setSameSite(c, secure)
	a.httpOnly = jsonBool(!c.AllowScript)
	a.path = appendQuoted(nil, c.Path)
	if c.Domain != "" {
		a.domain = appendQuoted(nil, c.Domain)
	}
	if c.Partitioned {
		a.partitioned = jsonBool(true)
	}
	if c.Priority != "" {
		a.priority = appendQuoted(nil, c.Priority)
	}
	return a
}

func jsonBool(b bool) []byte { return strconv.AppendBool(nil, b) }

func (a *attributes) setSecure(c *Cookie, secure bool) {
	a.secure = jsonBool(c.hasSecure(secure))
}

func (a *attributes) setSameSite(c *Cookie, secure bool) {
	switch c.sameSite(secure) {
	case http.SameSiteLaxMode:
		a.sameSite = []byte(`"lax"`)
	case http.SameSiteStrictMode:
		a.sameSite = []byte(`"strict"`)
	case http.SameSiteNoneMode:
		a.sameSite = []byte(`"none"`)
	default:
		a.sameSite = nil
	}
}

// override notes where the cookie want differs from the cookie in force.
func (a *attributes) override(have, want *Cookie, secure bool) {
	if want.Secure != have.Secure {
		a.setSecure(want, secure)
	}
	if want.SameSite != have.SameSite {
		a.setSameSite(want, secure)
		if a.sameSite == nil {
			a.sameSite = jsonBool(false)
		}
	}
	if want.AllowScript != have.AllowScript {
		a.httpOnly = jsonBool(!want.AllowScript)
	}
	if want.Path != have.Path {
		a.path = appendQuoted(nil, want.Path)
	}
	if want.Domain != have.Domain {
		a.domain = appendQuoted(nil, want.Domain)
	}
	if want.Partitioned != have.Partitioned {
		a.partitioned = jsonBool(want.Partitioned)
	}
	if want.Priority != have.Priority {
		a.priority = appendQuoted(nil, want.Priority)
	}
}

// apply changes the cookie of the options to that of the session. What does not
// fit a header is passed over: a store may be shared with other programs.
func (a *attributes) apply(c *Cookie) {
	c.MaxAge, c.Expires = 0, time.Time{}
	if a.hasMaxAge {
		c.MaxAge = a.maxAge
	}
	if a.partitioned != nil {
		c.Partitioned = string(a.partitioned) == "true"
	}
	if isText(a.priority) {
		if _, ok := priorityText(unquote(a.priority)); ok {
			c.Priority = unquote(a.priority)
		}
	}
	// With SecureAuto the connection decides, each time; express-session decides
	// once and for all when the session begins.
	if c.Secure != SecureAuto {
		switch string(a.secure) {
		case "true":
			if c.Secure > SecureRequired {
				c.Secure = SecureRequired
			}
		case "false":
			c.Secure = InsecureNever
		case `"auto"`:
			c.Secure = SecureAuto
		}
	}
	if a.httpOnly != nil {
		c.AllowScript = string(a.httpOnly) != "true"
	}
	if isText(a.domain) && isAttribute(unquote(a.domain)) {
		c.Domain = unquote(a.domain)
	}
	switch {
	case isText(a.path) && isAttribute(unquote(a.path)):
		c.Path = unquote(a.path)
	case string(a.path) == "null":
		c.Path = ""
	}
	auto := c.SameSite == SameSiteAuto // which has made Lax and None, and they say nothing of this request
	switch string(a.sameSite) {
	case "true", `"strict"`:
		c.SameSite = http.SameSiteStrictMode
	case "false":
		c.SameSite = http.SameSiteDefaultMode
	case `"lax"`:
		if !auto {
			c.SameSite = http.SameSiteLaxMode
		}
	case `"none"`:
		if !auto {
			c.SameSite = http.SameSiteNoneMode
		}
	}
}

func isText(raw []byte) bool { return len(raw) >= 2 && raw[0] == '"' }

// expires is when the cookie, used now, ends; zero with the browser session.
func (a *attributes) expires(now time.Time) time.Time {
	if !a.hasMaxAge {
		return time.Time{}
	}
	return now.Add(a.maxAge)
}

// append appends the member's value, or nothing if there is nothing to say. The
// order of express-session's keys is kept.
func (a *attributes) append(dst []byte, now time.Time, express bool) []byte {
	start := len(dst)
	dst = append(dst, '{')
	if express || a.hasMaxAge {
		dst = a.appendMaxAge(dst)
	}
	dst = appendMember(dst, "partitioned", a.partitioned)
	dst = appendMember(dst, "priority", a.priority)
	if express {
		dst = a.appendExpires(dst, now)
	}
	dst = appendMember(dst, "secure", a.secure)
	dst = appendMember(dst, "httpOnly", a.httpOnly)
	dst = appendMember(dst, "domain", a.domain)
	dst = appendMember(dst, "path", a.path)
	dst = appendMember(dst, "sameSite", a.sameSite)
	dst = appendMilliseconds(dst, "idleTimeout", a.idle.Milliseconds())
	dst = appendMilliseconds(dst, "absoluteTimeout", a.absolute.Milliseconds())
	dst = appendMilliseconds(dst, "issued", a.issued)
	dst = appendMilliseconds(dst, "ends", a.ends)
	if len(dst) == start+1 && !express {
		return dst[:start]
	}
	return append(dst, '}')
}

func (a *attributes) appendMaxAge(dst []byte) []byte {
	switch {
	case a.hasMaxAge:
		dst = append(dst, `"originalMaxAge":`...)
		return strconv.AppendInt(dst, a.maxAge.Milliseconds(), 10)
	case a.rawMaxAge != nil:
		return appendMember(dst, "originalMaxAge", a.rawMaxAge)
	}
	return append(dst, `"originalMaxAge":null`...)
}

func (a *attributes) appendExpires(dst []byte, now time.Time) []byte {
	switch {
	case a.hasMaxAge:
		dst = append(dst, `,"expires":"`...)
		dst = a.expires(now).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
		return append(dst, '"')
	case a.rawMaxAge != nil:
		return appendMember(dst, "expires", a.rawMaxAge)
	}
	return append(dst, `,"expires":null`...)
}

func appendMember(dst []byte, key string, raw []byte) []byte {
	if raw == nil {
		return dst
	}
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	dst = append(dst, '"', ':')
	return append(dst, raw...)
}

func appendMilliseconds(dst []byte, key string, ms int64) []byte {
	if ms == 0 {
		return dst
	}
	return appendMember(dst, key, strconv.AppendInt(nil, ms, 10))
}
