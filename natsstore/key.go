package natsstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash/fnv"
	"strings"
)

// Keys of records and those of places differ in their first token. After what they
// begin with, both have three tokens that part them, and the ID:
//
//	r.7.0.c.ID
//	s.HASH.7.0.c.ID
//
// The three are a hash of the ID. A server can return the keys that begin with
// given tokens; with these, a list asks for as few at once as it likes.
const (
	recordPrefix = "r."
	placePrefix  = "s."
	partTokens   = 3
	partsOfOne   = 16 // that a token makes
)

func recordKey(id string) string { return recordPrefix + keyEnd(id) }

// placesOf begins the keys of all places of a subject. A hash has the same length
// for all of them, and who sees the subjects of messages learns no names.
func placesOf(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return placePrefix + base64.RawURLEncoding.EncodeToString(sum[:]) + "."
}

func placeKey(subject, id string) string { return placesOf(subject) + keyEnd(id) }

func keyEnd(id string) string {
	h := fnv.New32a()
	h.Write([]byte(id))
	return partBegin(int(h.Sum32()>>(32-4*partTokens)), partTokens) + escape(id)
}

// partBegin returns the tokens with which the keys of a part begin, where so many
// tokens part them.
func partBegin(part, tokens int) string {
	b := make([]byte, 0, 2*partTokens)
	for i := tokens - 1; i >= 0; i-- {
		b = append(b, "0123456789abcdef"[part>>(4*i)%partsOfOne], '.')
	}
	return string(b)
}

// idOf returns the ID in the end of a key.
func idOf(end string) (string, bool) {
	const parting = 2 * partTokens
	if len(end) <= parting {
		return "", false
	}
	id, ok := unescape(end[parting:])
	return id, ok && keyEnd(id) == end
}

// recordID returns the ID of the record with the key.
func recordID(key string) (string, bool) {
	end, ok := strings.CutPrefix(key, recordPrefix)
	if !ok {
		return "", false
	}
	return idOf(end)
}

// escape makes a token of an ID. Tokens are case-sensitive, and what they may
// consist of leaves = to begin an escape.
func escape(id string) string {
	i := 0
	for i < len(id) && isPlain(id[i]) {
		i++
	}
	if i == len(id) {
		return id
	}
	var b strings.Builder
	for i := range len(id) {
		if c := id[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'=', digits[c>>4], digits[c&0xf]})
		}
	}
	return b.String()
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// unescape is the inverse of escape for what that returns. For other texts it
// returns anything.
func unescape(token string) (id string, ok bool) {
	plain, rest, escaped := strings.Cut(token, "=")
	if !escaped {
		return token, true
	}
	b := []byte(plain)
	for escaped {
		const width = 2
		if len(rest) < width {
			return "", false
		}
		c, err := hex.DecodeString(rest[:width])
		if err != nil {
			return "", false
		}
		plain, rest, escaped = strings.Cut(rest[width:], "=")
		b = append(append(b, c...), plain...)
	}
	return string(b), true
}
