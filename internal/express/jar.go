package express

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Jar holds the cookies of one client by the rules of browsers: RFC 6265, and
// that plain HTTP neither sets nor gets a cookie with Secure.
type Jar struct{ cookies []jarCookie }

type jarCookie struct {
	name, value, domain, path string
	secure                    bool
	expires                   int64 // ms since 1970, 0 for never
}

const host = "app.example.com"

// Take obeys a Set-Cookie header.
func (j *Jar) Take(line string, now int64, secure bool) {
	pair, rest, _ := strings.Cut(line, ";")
	c := jarCookie{domain: host, path: "/"}
	c.name, c.value, _ = strings.Cut(pair, "=")
	for attr := range strings.SplitSeq(rest, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(attr), "=")
		switch strings.ToLower(key) {
		case "domain":
			c.domain = strings.TrimPrefix(strings.ToLower(value), ".")
			if c.domain != host && !strings.HasSuffix(host, "."+c.domain) {
				return
			}
		case "path":
			c.path = value
		case "secure":
			c.secure = true
		case "expires":
			if t, err := time.Parse(time.RFC1123, value); err == nil {
				c.expires = max(t.UnixMilli(), 1)
			}
		}
	}
	if c.secure && !secure {
		return
	}
	j.cookies = slices.DeleteFunc(j.cookies, func(o jarCookie) bool {
		return o.name == c.name && o.domain == c.domain && o.path == c.path
	})
	if c.expires == 0 || c.expires > now {
		j.cookies = append(j.cookies, c)
	}
}

// Header returns the Cookie header of a request.
func (j *Jar) Header(path string, now int64, secure bool) string {
	path, _, _ = strings.Cut(path, "?")
	var sent []jarCookie
	for _, c := range j.cookies {
		under := c.path == "/" || path == c.path || strings.HasPrefix(path, strings.TrimSuffix(c.path, "/")+"/")
		if under && (c.expires == 0 || c.expires > now) && (secure || !c.secure) {
			sent = append(sent, c)
		}
	}
	slices.SortStableFunc(sent, func(a, b jarCookie) int { return cmp.Compare(len(b.path), len(a.path)) })
	var pairs []string
	for _, c := range sent {
		pairs = append(pairs, c.name+"="+c.value)
	}
	return strings.Join(pairs, "; ")
}

// Signature is that of cookie-signature.
func Signature(token, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(token))
	return base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
}

// Signed returns the value of a cookie.
func Signed(token, secret string) string {
	return escape("s:" + token + "." + Signature(token, secret))
}

// escape is encodeURIComponent, written in another way than the code under test.
func escape(s string) string {
	s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	return strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*", "%7E", "~").Replace(s)
}

// verify returns the token of a signed value and the place of its secret, or -1.
func verify(value string, secrets []string) (token string, secret int) {
	plain, err := url.PathUnescape(value)
	if err != nil {
		plain = value
	}
	wire, ok := strings.CutPrefix(plain, "s:")
	dot := strings.LastIndexByte(wire, '.')
	if !ok || dot < 0 {
		return "", -1
	}
	for i, s := range secrets {
		if Signature(wire[:dot], s) == wire[dot+1:] {
			return wire[:dot], i
		}
	}
	return "", -1
}

// presented lists the values under a name in a Cookie header.
func presented(header, name string) []string {
	var values []string
	for pair := range strings.SplitSeq(header, ";") {
		if key, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && key == name {
			values = append(values, strings.Trim(value, `"`))
		}
	}
	return values
}

// present makes the Cookie header of a step.
func (s *Step) present(j *Jar, now int64) string {
	held := j.Header(s.Req.Path, now, s.clientSecure())
	name := s.name()
	token := "0123456789abcdefghijklmnopqrstuv"
	if values := presented(held, name); len(values) > 0 {
		for i := range values {
			if t, n := verify(values[i], s.Opts.Secret); n >= 0 {
				token = t
				break
			}
		}
	}
	pair := func(value string) string { return name + "=" + value }
	and := func(other string) string {
		if held == "" {
			return other
		}
		return other + "; " + held
	}
	secrets := s.Opts.Secret
	unknown := pair(Signed("unknown-0123456789abcdefghijklmn", secrets[0]))
	forged := pair(Signed(token, "not the secret"))
	switch s.Req.Cookie {
	case "":
		return held
	case "none":
		return ""
	case "forged":
		return forged
	case "unsigned":
		return pair(token)
	case "unknown":
		return unknown
	case "empty":
		return pair("")
	case "garbage":
		return pair("s%3A")
	case "old":
		return pair(Signed(token, secrets[len(secrets)-1]))
	case "quoted":
		return pair(`"` + Signed(token, secrets[0]) + `"`)
	case "others":
		return and("a=b") + "; z=" + `"y"`
	case "forged first":
		return and(forged)
	case "unknown first":
		return and(unknown)
	}
	panic("unknown cookie " + s.Req.Cookie)
}

// clientSecure tells whether the browser itself speaks HTTPS.
func (s *Step) clientSecure() bool {
	proto, _, _ := strings.Cut(s.Req.Forwarded, ",")
	return s.Req.TLS || s.Req.AppSecure || strings.EqualFold(strings.TrimSpace(proto), "https")
}
