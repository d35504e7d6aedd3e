package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// A session is kept as the text of one JSON object, and read where it lies: a
// key is looked up in the text, and a change replaces the text of its value.
// Whatever nobody touched keeps its bytes, as an Express application that
// shares the store must find its own number texts and key order again.

var errNotObject = errors.New("not a JSON object")

// A scanner walks over the members of a JSON object. It checks the structure of
// the object, not the grammar of nested values: those were checked when they
// were written, and are again when they are decoded.
type scanner struct {
	data []byte
	pos  int
	err  error
}

// scan starts at the first member of the object in data.
func scan(data []byte) scanner {
	sc := scanner{data: data}
	sc.space()
	if !sc.eat('{') {
		sc.err = errNotObject
		return sc
	}
	sc.space()
	switch {
	case sc.eat('}'):
		sc.end()
	case sc.pos >= len(sc.data):
		sc.err = errNotObject
	}
	return sc
}

// next returns the next member: the key as it is written, with its quotes, and
// the text of the value. It returns false after the last one and on an error.
func (sc *scanner) next() (key, value []byte, ok bool) {
	if sc.err != nil || sc.pos >= len(sc.data) {
		return nil, nil, false
	}
	start := sc.pos
	if !sc.str() {
		return nil, nil, sc.fail()
	}
	key = sc.data[start:sc.pos]
	sc.space()
	if !sc.eat(':') {
		return nil, nil, sc.fail()
	}
	sc.space()
	start = sc.pos
	if !sc.value() {
		return nil, nil, sc.fail()
	}
	value = sc.data[start:sc.pos]
	sc.space()
	switch {
	case sc.eat(','):
		sc.space()
		if sc.pos >= len(sc.data) || sc.data[sc.pos] != '"' {
			return nil, nil, sc.fail()
		}
	case sc.eat('}'):
		if sc.end(); sc.err != nil {
			return nil, nil, false
		}
	default:
		return nil, nil, sc.fail()
	}
	return key, value, true
}

func (sc *scanner) fail() bool {
	sc.err = errNotObject
	return false
}

// end checks that nothing but space follows the object.
func (sc *scanner) end() {
	sc.space()
	if sc.pos < len(sc.data) {
		sc.err = errNotObject
	}
}

func (sc *scanner) space() {
	for sc.pos < len(sc.data) {
		switch sc.data[sc.pos] {
		case ' ', '\t', '\n', '\r':
			sc.pos++
		default:
			return
		}
	}
}

func (sc *scanner) eat(c byte) bool {
	if sc.pos < len(sc.data) && sc.data[sc.pos] == c {
		sc.pos++
		return true
	}
	return false
}

// str passes over a string.
func (sc *scanner) str() bool {
	if !sc.eat('"') {
		return false
	}
	for {
		rest := sc.data[sc.pos:]
		end := bytes.IndexByte(rest, '"')
		if end < 0 {
			return false
		}
		escape := bytes.IndexByte(rest[:end], '\\')
		if escape < 0 {
			sc.pos += end + 1
			return true
		}
		if sc.pos += escape + 2; sc.pos > len(sc.data) {
			return false
		}
	}
}

// value passes over a value of any kind.
func (sc *scanner) value() bool {
	if sc.pos >= len(sc.data) {
		return false
	}
	switch sc.data[sc.pos] {
	case '"':
		return sc.str()
	case '{', '[':
		return sc.nested()
	}
	start := sc.pos
	for sc.pos < len(sc.data) {
		switch c := sc.data[sc.pos]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', c == '-', c == '+', c == '.', c == 'E':
			sc.pos++
		default:
			return sc.pos > start
		}
	}
	return sc.pos > start
}

// nested passes over an object or array by counting its brackets.
func (sc *scanner) nested() bool {
	depth := 0
	for sc.pos < len(sc.data) {
		switch sc.data[sc.pos] {
		case '"':
			if !sc.str() {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				sc.pos++
				return true
			}
		}
		sc.pos++
	}
	return false
}

// isObject reports whether data has the structure of a JSON object.
func isObject(data []byte) bool {
	_, ok := examine(data, "")
	return ok
}

// examine reports whether data has the structure of a JSON object, and returns
// the text of the value under key, or nil.
func examine(data []byte, key string) (value []byte, ok bool) {
	sc := scan(data)
	for {
		k, v, ok := sc.next()
		if !ok {
			return value, sc.err == nil
		}
		if value == nil && keyIs(k, key) {
			value = v
		}
	}
}

// find returns the text of the value under key, or nil.
func find(data []byte, key string) []byte {
	sc := scan(data)
	for {
		k, v, ok := sc.next()
		if !ok {
			return nil
		}
		if keyIs(k, key) {
			return v
		}
	}
}

// keyIs reports whether the quoted text is the key.
func keyIs(quoted []byte, key string) bool {
	inner := quoted[1 : len(quoted)-1]
	if string(inner) == key {
		return true
	}
	return bytes.IndexByte(inner, '\\') >= 0 && unquote(quoted) == key
}

// unquote returns the string that a quoted text stands for.
func unquote(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return string(inner)
	}
	return s
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as JavaScript's JSON.stringify writes a string: only
// quotes, backslashes and control characters are escaped.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\b':
				dst = append(dst, '\\', 'b')
			case '\f':
				dst = append(dst, '\\', 'f')
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			start = i + size
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendJSON appends v as encoding/json encodes it, but with the characters
// that it escapes for the sake of HTML and old JavaScript left as they are, as
// JSON.stringify does.
func appendJSON(dst []byte, v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, err
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	for len(text) > 0 {
		i := bytes.IndexByte(text, '\\')
		if i < 0 || i+1 >= len(text) {
			break
		}
		dst = append(dst, text[:i]...)
		switch rest := text[i:]; {
		case bytes.HasPrefix(rest, []byte(`\u2028`)):
			dst = append(dst, "\u2028"...)
			text = rest[6:]
		case bytes.HasPrefix(rest, []byte(`\u2029`)):
			dst = append(dst, "\u2029"...)
			text = rest[6:]
		default:
			dst = append(dst, rest[:2]...)
			text = rest[2:]
		}
	}
	return append(dst, text...), nil
}
