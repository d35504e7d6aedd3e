package session

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// The most that is read of one request: nobody has so many session cookies by
// accident, and each costs a signature.
const (
	maxWireTokens  = 32
	maxWireBytes   = 4096
	maxStoreTokens = 4
)

// A presented token is one that came with a request and whose signature is
// good.
type presented struct {
	buf       [maxIDBytes]byte
	n         int
	oldSecret bool // it was signed by another secret than the first
}

func (p *presented) token() []byte { return p.buf[:p.n] }

// A presentation is all that a client showed.
type presentation struct {
	good [maxStoreTokens]presented
	n    int
	any  bool // something was shown, good or not
	bad  bool // something was shown that is not a signed token
}

// collect reads the tokens of a request: those of all cookies with the name, as
// a browser may hold several for different paths or domains, and which of them
// comes first is not ours to choose; or that of the header.
func (m *Manager) collect(r *http.Request, p *presentation) {
	if m.header != "" {
		for i, value := range r.Header[m.header] {
			switch {
			case value == "":
			case i >= maxWireTokens || len(value) > maxWireBytes:
				p.any, p.bad = true, true
			default:
				m.present(p, []byte(value))
			}
		}
		return
	}
	name := m.cookie.Name
	seen := 0
	for _, line := range r.Header["Cookie"] {
		for line != "" && seen < maxWireTokens {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, value, ok := strings.Cut(pair, "=")
			if !ok || strings.Trim(key, " \t") != name {
				continue
			}
			seen++
			m.presentCookie(p, value)
		}
	}
}

// presentCookie undoes the wrapping of a cookie's value as express-session
// does: space and one pair of quotes around it, percent escapes (which are left
// as they are where they are not well formed), and the prefix "s:".
func (m *Manager) presentCookie(p *presentation, value string) {
	value = strings.Trim(value, " \t")
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	if value == "" {
		return // what a browser holds that ignores the expiry of a cleared cookie
	}
	p.any = true
	if len(value) > maxWireBytes {
		p.bad = true
		return
	}
	var buf [160]byte
	wire := unescape(buf[:0], value)
	if len(wire) < 2 || wire[0] != 's' || wire[1] != ':' {
		p.bad = true
		return
	}
	m.present(p, wire[2:])
}

// unescape appends value with its percent escapes decoded, or as it is if any
// of them is malformed or the result is not UTF-8, as decodeURIComponent would
// throw there.
func unescape(dst []byte, value string) []byte {
	if strings.IndexByte(value, '%') < 0 {
		return append(dst, value...)
	}
	start := len(dst)
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '%' {
			if i+2 >= len(value) {
				return append(dst[:start], value...)
			}
			hi, lo := unhex(value[i+1]), unhex(value[i+2])
			if hi > 15 || lo > 15 {
				return append(dst[:start], value...)
			}
			c = hi<<4 | lo
			i += 2
		}
		dst = append(dst, c)
	}
	if !utf8.Valid(dst[start:]) {
		return append(dst[:start], value...)
	}
	return dst
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// present checks a signed token, "token.signature", and notes it. A token may
// have dots of its own, a signature has none.
func (m *Manager) present(p *presentation, wire []byte) {
	p.any = true
	dot := len(wire) - sigChars - 1
	if dot < 1 || wire[dot] != '.' {
		p.bad = true
		return
	}
	token, sig := wire[:dot], wire[dot+1:]
	if !m.isTokenShape(token) {
		p.bad = true
		return
	}
	for i, signer := range m.signers {
		if !signer.verify(token, sig) {
			continue
		}
		for j := range p.n {
			if string(p.good[j].token()) == string(token) {
				return
			}
		}
		if p.n < len(p.good) {
			good := &p.good[p.n]
			good.n = copy(good.buf[:], token)
			good.oldSecret = i > 0
			p.n++
		}
		return
	}
	p.bad = true
}

// appendWire appends the signed form of a token, "token.signature".
func (m *Manager) appendWire(dst, token []byte) []byte {
	dst = append(dst, token...)
	dst = append(dst, '.')
	return m.signers[0].append(dst, token)
}

// requestPath returns the path that the client asked for, whatever a router
// has made of r.URL since.
func requestPath(r *http.Request) string {
	uri := r.RequestURI
	if uri == "" {
		return r.URL.EscapedPath()
	}
	if uri[0] != '/' { // absolute form, as proxies send it
		u, err := url.Parse(uri)
		if err != nil {
			return r.URL.EscapedPath()
		}
		return u.EscapedPath()
	}
	path, _, _ := strings.Cut(uri, "?")
	return path
}

// isSecure tells whether the client's connection is HTTPS.
func (m *Manager) isSecure(r *http.Request) bool {
	switch {
	case r == nil:
		return false
	case r.TLS != nil:
		return true
	case m.opts.IsHTTPS != nil && m.opts.IsHTTPS(r):
		return true
	case m.opts.TrustProxy:
		proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
		return strings.EqualFold(strings.TrimSpace(proto), "https")
	}
	return false
}
