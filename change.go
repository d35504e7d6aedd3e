package session

import (
	"bytes"
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"time"
)

// A Merge says what becomes of a key that two requests changed at the same
// time. Keys that only one of them changed never need it.
type Merge int

const (
	LastWrite Merge = iota // the later save wins
	Sum                    // numbers: both differences are added
	Max                    // numbers: the greater stays
	Union                  // arrays: what either added is in, what either removed is out
)

// fits reports whether values of the type may be what the rule is for. Of a type
// that encodes itself only its author knows.
func (m Merge) fits(t reflect.Type) bool {
	if m == LastWrite || t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return true
	}
	if t.Kind() == reflect.Pointer {
		return m.fits(t.Elem())
	}
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Slice, reflect.Array:
		return m == Union
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64:
		return m != Union
	}
	return t == reflect.TypeFor[json.Number]() && m != Union
}

// A change is what one request did to one key.
type change struct {
	key   string
	value []byte // nil: removed
	merge Merge
}

func (s *Session) changed(key string) *change {
	for i := range s.changes {
		if s.changes[i].key == key {
			return &s.changes[i]
		}
	}
	return nil
}

// put notes that key is to have the value. Setting what is there already is no
// change.
func (s *Session) put(key string, value []byte, merge Merge) {
	before := find(s.rec.Data, key)
	same := before != nil && value != nil && bytes.Equal(before, value) || before == nil && value == nil
	c := s.changed(key)
	switch {
	case same && c != nil:
		i := 0
		for &s.changes[i] != c {
			i++
		}
		s.changes = append(s.changes[:i], s.changes[i+1:]...)
	case same:
	case c != nil:
		c.value, c.merge = value, merge
	default:
		if s.changes == nil {
			s.changes = s.changeBuf[:0]
		}
		s.changes = append(s.changes, change{key, value, merge})
	}
}

// encode returns the data of the session with its changes: what was there keeps
// its bytes and its place, what is new comes after.
func (s *Session) encode(now time.Time) []byte {
	var attrBuf [256]byte
	attrs := s.attrs.append(attrBuf[:0], now, s.m.opts.ExpressCompatible)
	size := len(s.rec.Data) + len(attrs) + 16
	for i := range s.changes {
		size += len(s.changes[i].key) + len(s.changes[i].value) + 4
	}
	dst := append(make([]byte, 0, size), '{')
	if len(attrs) > 0 && find(s.rec.Data, cookieKey) == nil {
		dst = appendMember(dst, cookieKey, attrs)
	}
	sc := scan(s.rec.Data)
	for quoted, value, ok := sc.next(); ok; quoted, value, ok = sc.next() {
		if keyIs(quoted, cookieKey) {
			value = attrs
		} else {
			for i := range s.changes {
				if keyIs(quoted, s.changes[i].key) {
					value = s.changes[i].value
				}
			}
		}
		if len(value) > 0 {
			dst = appendQuotedMember(dst, quoted, value)
		}
	}
	for i := range s.changes {
		c := &s.changes[i]
		if c.value == nil || find(s.rec.Data, c.key) != nil {
			continue
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, c.key)
		dst = append(dst, ':')
		dst = append(dst, c.value...)
	}
	return append(dst, '}')
}

// without returns the data less one key.
func without(data []byte, key string) []byte {
	dst := append(make([]byte, 0, len(data)), '{')
	sc := scan(data)
	for quoted, value, ok := sc.next(); ok; quoted, value, ok = sc.next() {
		if !keyIs(quoted, key) {
			dst = appendQuotedMember(dst, quoted, value)
		}
	}
	return append(dst, '}')
}

func appendQuotedMember(dst, quoted, value []byte) []byte {
	if len(dst) > 1 {
		dst = append(dst, ',')
	}
	dst = append(dst, quoted...)
	dst = append(dst, ':')
	return append(dst, value...)
}

// rebase puts the changes of this request on top of a record that somebody else
// has saved since: a three-way merge, key by key.
func (s *Session) rebase(theirs Record) {
	for i := range s.changes {
		c := &s.changes[i]
		base, their := find(s.rec.Data, c.key), find(theirs.Data, c.key)
		if bytes.Equal(base, their) {
			continue
		}
		if s.setSubject && s.m.opts.ExpressCompatible && c.key == passportKey && c.value != nil {
			c.value = withPassportUser(their, passportUser(c.value)) // what else is in it is theirs
			continue
		}
		c.value = c.merge.resolve(base, c.value, their)
	}
	mine := s.attrs
	s.adopt(theirs)
	if s.setAttrs {
		s.attrs = mine
	}
}

// resolve returns the value of a key that was base and that two have changed,
// to mine and to theirs. What a rule does not apply to, it leaves to the last
// write, which is mine.
func (m Merge) resolve(base, mine, theirs []byte) []byte {
	switch {
	case mine == nil:
		return nil
	case m == Sum:
		if theirs == nil { // taken away is zero: what was before must not come back
			theirs = []byte("0")
		}
		return mergeNumbers(base, mine, theirs,
			func(base, mine, theirs int64) int64 { return theirs + mine - base },
			func(base, mine, theirs float64) float64 { return theirs + mine - base })
	case m == Max:
		return mergeNumbers(base, mine, theirs,
			func(_, mine, theirs int64) int64 { return max(mine, theirs) },
			func(_, mine, theirs float64) float64 { return max(mine, theirs) })
	case m == Union:
		return mergeArrays(base, mine, theirs)
	}
	return mine
}

func mergeNumbers(base, mine, theirs []byte, ints func(a, b, c int64) int64, floats func(a, b, c float64) float64) []byte {
	if theirs == nil {
		return mine
	}
	if base == nil {
		base = []byte("0")
	}
	a, errA := strconv.ParseInt(string(base), 10, 64)
	b, errB := strconv.ParseInt(string(mine), 10, 64)
	c, errC := strconv.ParseInt(string(theirs), 10, 64)
	if errA == nil && errB == nil && errC == nil {
		return strconv.AppendInt(nil, ints(a, b, c), 10)
	}
	x, errA := strconv.ParseFloat(string(base), 64)
	y, errB := strconv.ParseFloat(string(mine), 64)
	z, errC := strconv.ParseFloat(string(theirs), 64)
	if errA != nil || errB != nil || errC != nil {
		return mine
	}
	sum := floats(x, y, z)
	if math.IsInf(sum, 0) || math.IsNaN(sum) {
		return mine
	}
	text, err := json.Marshal(sum)
	if err != nil {
		return mine
	}
	return text
}

func mergeArrays(base, mine, theirs []byte) []byte {
	var a, b, c []json.RawMessage
	if base != nil && json.Unmarshal(base, &a) != nil || json.Unmarshal(mine, &b) != nil ||
		theirs != nil && json.Unmarshal(theirs, &c) != nil {
		return mine
	}
	inBase, inMine := rawSet(a), rawSet(b)
	dst := []byte{'['}
	add := func(raw json.RawMessage) {
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, raw...)
	}
	have := make(map[string]bool, len(b)+len(c))
	for _, raw := range c { // theirs, but for what I removed
		if !have[string(raw)] && (inMine[string(raw)] || !inBase[string(raw)]) {
			have[string(raw)] = true
			add(raw)
		}
	}
	for _, raw := range b { // and what I added
		if !have[string(raw)] && !inBase[string(raw)] {
			have[string(raw)] = true
			add(raw)
		}
	}
	return append(dst, ']')
}

func rawSet(raws []json.RawMessage) map[string]bool {
	set := make(map[string]bool, len(raws))
	for _, raw := range raws {
		set[string(raw)] = true
	}
	return set
}
