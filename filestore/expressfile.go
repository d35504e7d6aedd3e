package filestore

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coatcheck/session"
)

// lastAccessKey is the member of an Express file that says when the session was
// last used, in milliseconds since 1970.
const lastAccessKey = "__lastAccess"

// wrapKey is the member under which an Express file keeps Data that is not an
// object; see [Express].
const wrapKey = "__coatcheck"

// maxMillis is the end of the year 9999 in milliseconds since 1970: later times
// cannot be written as JSON dates. It stands for "never".
const maxMillis = 253402300799999

// minMillis is the zero time in milliseconds since 1970.
const minMillis = -62135596800000

// An expressFile is what an Express file says.
type expressFile struct {
	data       []byte        // the session without "__lastAccess"
	lastAccess int64         // milliseconds since 1970
	hasAccess  bool          // whether there is a lastAccess
	period     time.Duration // from lastAccess to the expiry, whole milliseconds
	subject    string
	wrapped    bool // whether data was under wrapKey
}

// expires returns when the session expires, in milliseconds since 1970.
func (e *expressFile) expires() int64 {
	if !e.hasAccess {
		return maxMillis
	}
	return clampMillis(float64(e.lastAccess) + float64(e.period.Milliseconds()))
}

// accessFor returns the lastAccess with which the session expires at the given
// time, in milliseconds since 1970.
func (e *expressFile) accessFor(expires int64) int64 {
	return clampMillis(float64(expires) - float64(e.period.Milliseconds()))
}

// decodeExpress reads an Express file, or the Data of a record that is to
// become one. It reports false if that is no JSON object.
func decodeExpress(b []byte, ttl time.Duration) (e expressFile, ok bool) {
	trimmed := bytes.TrimLeft(b, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(b) {
		return expressFile{}, false
	}
	e.data = b
	e.period = ttl
	var wrapped []byte
	others := false
	// As in JavaScript the last one of several members with one name counts.
	for m := range members(b) {
		switch m.key {
		case lastAccessKey:
			e.lastAccess, e.hasAccess = millis(m.value(b))
		case "cookie":
			e.period = ttl
			for c := range members(m.value(b)) {
				if c.key != "originalMaxAge" {
					continue
				}
				e.period = ttl
				if age, ok := millis(c.value(m.value(b))); ok && age != 0 {
					e.period = milliseconds(age)
				}
			}
		case "passport":
			e.subject = passportUser(m.value(b))
			others = true
		case wrapKey:
			wrapped = m.value(b)
		default:
			others = true
		}
	}
	if wrapped != nil && !others && wrapped[0] != '{' {
		e.data, e.wrapped = wrapped, true
		return e, true
	}
	e.data = without(b, lastAccessKey)
	return e, true
}

// encodeExpress returns the Express file of a record. It refuses Data that is no
// JSON.
func encodeExpress(rec *session.Record, ttl time.Duration) ([]byte, error) {
	expires := rec.Expires.UnixMilli()
	e, ok := decodeExpress(rec.Data, ttl)
	if e.wrapped {
		return nil, errors.New("the session key " + wrapKey + " is reserved")
	}
	if ok {
		return withAccess(e.data, e.accessFor(expires)), nil
	}
	if !json.Valid(rec.Data) {
		return nil, errors.New("the data is not JSON, as layout Express needs it")
	}
	// A cookie, because express-session answers every request with an error for
	// a session that has none; and its age, because it makes the times exact.
	age := max(1, expires-rec.LastSeen.UnixMilli())
	b := []byte(`{"cookie":{"originalMaxAge":`)
	b = strconv.AppendInt(b, age, 10)
	b = append(b, `},"`+wrapKey+`":`...)
	b = append(b, rec.Data...)
	b = append(b, '}')
	return withAccess(b, expires-age), nil
}

// withAccess returns b, which must be a JSON object, with "__lastAccess" as its
// last member, where session-file-store puts it in a new file. It replaces any
// that is there. b stays as it is.
func withAccess(b []byte, lastAccess int64) []byte {
	b = without(b, lastAccessKey)
	at := bytes.IndexByte(b, '{') + 1
	comma := ""
	for m := range members(b) {
		at, comma = m.end, ","
	}
	member := comma + `"` + lastAccessKey + `":` + strconv.FormatInt(lastAccess, 10)
	return slices.Concat(b[:at], []byte(member), b[at:])
}

// without returns b, which must be a JSON object, without the members of the
// name, all others byte for byte. b stays as it is, and may be returned.
func without(b []byte, key string) []byte {
	for {
		from, to := 0, 0 // what to cut out
		prev := -1       // the end of the member before
		found, first := false, false
		for m := range members(b) {
			if found { // the first one is cut out up to the next
				if first {
					to = m.start
				}
				break
			}
			if m.key == key {
				found, first = true, prev < 0
				from, to = m.start, m.end
				if !first { // the others with the comma before them
					from = prev
				}
			}
			prev = m.end
		}
		if !found {
			return b
		}
		b = slices.Concat(b[:from], b[to:])
	}
}

// passportUser returns the text of the member user of a JSON value, which is
// where Passport keeps whose session it is: a string's content or a number's
// digits. Anything else, or what cannot be a subject, is nobody.
func passportUser(value []byte) (subject string) {
	for m := range members(value) {
		if m.key != "user" {
			continue
		}
		subject = ""
		switch v := m.value(value); {
		case v[0] == '"':
			subject = unquote(v)
		case isNumber(v):
			subject = string(v)
		}
	}
	if len(subject) > maxSubject || !utf8.ValidString(subject) || strings.ContainsFunc(subject, unicode.IsControl) {
		return ""
	}
	return subject
}

// millis returns a JSON number as whole milliseconds; ok tells if it is one.
func millis(value []byte) (ms int64, ok bool) {
	if !isNumber(value) {
		return 0, false
	}
	f, _ := strconv.ParseFloat(string(value), 64) // out of range gives infinity, which is clamped
	return clampMillis(f), true
}

// isNumber reports whether a JSON value is a number.
func isNumber(value []byte) bool {
	return value[0] == '-' || value[0] >= '0' && value[0] <= '9'
}

// clampMillis cuts to whole milliseconds between the zero time and the year 9999.
func clampMillis(f float64) int64 {
	return int64(math.Floor(min(max(f, minMillis), maxMillis)))
}

// milliseconds returns ms as a duration, or the longest one.
func milliseconds(ms int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(min(max(ms, -most), most)) * time.Millisecond
}

// A member is where one member of a JSON object is.
type member struct {
	key             string
	start, val, end int // from the key's quote, from the value, after the value
}

// value returns the text of the value; b is what was given to members.
func (m member) value(b []byte) []byte { return b[m.val:m.end] }

// members walks through the members of b, which must be valid JSON. What is not
// an object has none.
func members(b []byte) iter.Seq[member] {
	return func(yield func(member) bool) {
		i := skipSpace(b, 0)
		if b[i] != '{' {
			return
		}
		for {
			i = skipSpace(b, i+1) // behind { or ,
			if b[i] == '}' {
				return
			}
			m := member{start: i}
			i = skipValue(b, i)
			m.key = unquote(b[m.start:i])
			i = skipSpace(b, i) + 1 // behind :
			m.val = skipSpace(b, i)
			m.end = skipValue(b, m.val)
			if !yield(m) {
				return
			}
			if i = skipSpace(b, m.end); b[i] == '}' {
				return
			}
		}
	}
}

// unquote returns the content of a JSON string.
func unquote(quoted []byte) string {
	if !bytes.ContainsRune(quoted, '\\') {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return ""
	}
	return s
}

// skipSpace returns where the white space from i on ends.
func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n' {
		i++
	}
	return i
}

// skipValue returns where the JSON value that begins at i ends.
func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		for i++; b[i] != '"'; i++ {
			if b[i] == '\\' {
				i++
			}
		}
		return i + 1
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = skipValue(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(b) && bytes.IndexByte([]byte(" \t\r\n,:]}"), b[i]) < 0 {
		i++
	}
	return i
}
