package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"unicode/utf8"
)

// A Token is the secret that a client presents: who knows it has the session.
// It hides itself when it is printed, logged or encoded as text or JSON;
// Reveal is the only way out.
type Token string

const redacted = "[redacted]"

// Reveal returns the token as it goes over the wire. Do not log it.
func (t Token) Reveal() string { return string(t) }

func (t Token) String() string               { return redacted }
func (t Token) GoString() string             { return redacted }
func (t Token) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (t Token) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }

// What holds secrets in fields of its own says only what it is when it is
// printed: fmt does not ask the fields of a struct that are not exported.

func (m *Manager) Format(f fmt.State, _ rune)  { _, _ = io.WriteString(f, "session.Manager") }
func (s *Session) Format(f fmt.State, _ rune)  { _, _ = io.WriteString(f, "session.Session") }
func (x *exchange) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "session.Context") }
func (w *responseWriter) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "session.ResponseWriter")
}

const (
	tokenBytes = 24 // as express-session's uid(24): 192 bits, where OWASP ASVS 7.2.3 asks for 128
	tokenChars = 32 // the same as base64url without padding
	maxIDBytes = 128
)

// appendToken appends a fresh token.
func appendToken(dst []byte) []byte {
	var raw [tokenBytes]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never fails; it ends the process instead
	return base64.RawURLEncoding.AppendEncode(dst, raw[:])
}

// isToken reports whether b has the shape of the tokens that appendToken makes.
func isToken(b []byte) bool {
	if len(b) != tokenChars {
		return false
	}
	for _, c := range b {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// isID reports whether b is fit to be the ID of a record: the shape that is
// asked of tokens which somebody else's generator made.
func isID(b []byte) bool {
	if len(b) == 0 || len(b) > maxIDBytes || !utf8.Valid(b) {
		return false
	}
	for _, c := range b {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// hashID returns the ID under which the record of a token is stored. A plain
// hash is enough, without salt or work factor: the token has 192 random bits.
func hashID(token []byte) string {
	sum := sha256.Sum256(token)
	var text [43]byte
	base64.RawURLEncoding.Encode(text[:], sum[:])
	return string(text[:])
}

// logID returns a short mark of a record that is safe to log even where the ID
// is the client's token.
func logID(id string) string {
	return hashID([]byte(id))[:10]
}
