package express

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A CookieRule says why a Cookie header leads to another session than in
// Express. It gets the values of the cookies of the name, and the session that
// each leads to in Express when it comes alone, and changes that to ours.
type CookieRule struct {
	Name   string
	Change func(values, ids []string) []string
}

// CookieRules are applied one after the other; then the first session counts.
var CookieRules = []CookieRule{
	{"utf8-cookie", func(values, ids []string) []string {
		for i, v := range values {
			v = strings.Trim(v, " \t")
			if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			if token, n := verify(v, cookieSecrets); n >= 0 && !isASCII(v) && slices.Contains(cookieIDs, token) {
				ids[i] = token
			}
		}
		return ids
	}},
	{"token-limit", func(values, ids []string) []string {
		for i := range ids {
			if len(ids[i]) > 128 || len(values[i]) > 4096 {
				ids[i] = ""
			}
		}
		return ids
	}},
	{"every-cookie", func(values, ids []string) []string {
		ids = ids[:min(32, len(ids))]
		for len(ids) > 1 && ids[0] == "" {
			ids = ids[1:]
		}
		return ids
	}},
}

func first(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return ids[0]
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

var (
	cookieSecrets = []string{"keyboard cat", "ключ☃"}
	cookieIDs     = []string{
		"QzqhTwCLPpH49y0hC0yWUSdJkzGp1jOe", "a.b", "x..y.", "é☃", "white space+plus", "100%", "%41bc", "a,b;c=d", "s:twice",
		strings.Repeat("long", 32), strings.Repeat("over", 33), "'(single)*!~",
	}
)

// A BadCookie is a Cookie header, good or bad, its lines separated by newlines.
type BadCookie struct{ Header string }

// Values lists the values under the name, as they stand in the header.
func (c *BadCookie) Values() []string {
	var values []string
	for pair := range strings.FieldsFuncSeq(c.Header, func(r rune) bool { return r == ';' || r == '\n' }) {
		if key, value, ok := strings.Cut(pair, "="); ok && strings.Trim(key, " \t") == "connect.sid" {
			values = append(values, value)
		}
	}
	return values
}

// BadCookies makes headers, always the same for a seed.
func BadCookies(seed uint64, n int) []BadCookie {
	g := generator{rand.New(rand.NewPCG(seed, 7))}
	list := make([]BadCookie, n)
	for i := range list {
		var pairs []string
		for range 1 + g.IntN(3) {
			pairs = append(pairs, g.cookiePair())
		}
		if g.one(25) {
			for range 20 + g.IntN(30) {
				pairs = slices.Insert(pairs, 0, "connect.sid=s%3Ano")
			}
		}
		header := pairs[0]
		for _, p := range pairs[1:] {
			header += pick(g, "; ", "; ", ";", " ;\t", ";;", "; junk; ", "\n") + p
		}
		list[i] = BadCookie{header}
	}
	return list
}

func (g generator) cookiePair() string {
	if g.one(6) {
		return pick(g, "a=b", "Connect.sid=x", "connect.sid2=y", "connect.sid", "=", "=x", "connect.sid=", `connect.sid=""`, `connect.sid="`, "__proto__=1", "connect.sid =s%3Ax.y")
	}
	id := pick(g, cookieIDs...)
	sig := Signature(id, pick(g, "keyboard cat", "keyboard cat", "keyboard cat", "ключ☃", "ключ☃", "unknown secret"))
	switch g.IntN(16) {
	case 0:
		sig = pick(g, sig+"=", sig[:42], sig+"A", "", sig[:42]+"*", strings.ToLower(sig))
	case 1:
		sig = strings.NewReplacer("+", "-", "/", "_").Replace(sig)
	case 2: // the last character has two bits that mean nothing
		sig = sig[:42] + string(sig[42]+1)
	}
	plain := pick(g, "s:", "s:", "s:", "s:", "s:", "s:", "s:", "s:", "s:", "s:", "s:", "s:", "", "S:", "j:", "s") + id + pick(g, ".", ".", ".", ".", ".", ".", ".", ".", ".", ".", "", "..", ",") + sig
	value := escape(plain)
	switch g.IntN(18) {
	case 0:
		value = strings.ToLower(value)
	case 1: // only the hex digits
		value = lowerEscapes(value)
	case 2:
		value = plain
	case 3:
		value = escape(value)
	case 4:
		value = strings.ReplaceAll(value, "%20", "+")
	case 5:
		value += pick(g, "%", "%4", "%zz", "%E9", "%C3%A9", "%00", "\u00e9", "=", " x", ",")
	case 6:
		value = pick(g, "%zz", "%", "x", "%ff") + value
	case 7:
		value = strings.ReplaceAll(value, "%3A", ":")
	case 8: // everything escaped
		value = ""
		for i := range len(plain) {
			value += fmt.Sprintf("%%%02X", plain[i])
		}
	}
	switch g.IntN(8) {
	case 0:
		value = `"` + value + `"`
	case 1:
		value = pick(g, ` "`, `"`, "\t", "  ") + value + pick(g, `" `, `"`, "\t", "")
	}
	if g.one(40) {
		value += strings.Repeat(pick(g, "x", "%41", " "), 1500+g.IntN(2000))
	}
	return pick(g, "connect.sid=", "connect.sid=", "connect.sid=", " connect.sid=", "connect.sid =", "connect.sid= ") + value
}

func lowerEscapes(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '%' && i+2 < len(b) {
			copy(b[i+1:], strings.ToLower(s[i+1:i+3]))
		}
	}
	return string(b)
}
