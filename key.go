package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// A Key names a value in a session and knows its type. Make it once, as a
// package variable; it is safe for concurrent use.
//
// Values are kept as JSON, by the rules of encoding/json. A value that is there
// but does not decode into T, because the program or an Express application
// wrote something else, reads as absent.
type Key[T any] struct {
	name  string
	merge Merge
}

// NewKey returns the key with a name. At most one merge rule may follow: it says
// what happens when two requests change the key at the same time; by default the
// later save wins. NewKey panics for a name that [Session.Set] refuses, and for a
// rule that cannot apply to T: it would silently be [LastWrite].
func NewKey[T any](name string, rule ...Merge) Key[T] {
	if err := checkKey(name); err != nil {
		panic(err)
	}
	key := Key[T]{name: name}
	for _, r := range rule {
		if r < LastWrite || r > Union || len(rule) > 1 {
			panic(fmt.Sprintf("session: NewKey(%q): give one of LastWrite, Sum, Max and Union", name))
		}
		if !r.fits(reflect.TypeFor[T]()) {
			panic(fmt.Sprintf("session: NewKey(%q): Sum and Max are for numbers, Union is for slices, and the type is %v", name, reflect.TypeFor[T]()))
		}
		key.merge = r
	}
	return key
}

// Name returns the name of the key in the session's data.
func (k Key[T]) Name() string { return k.name }

// Get returns the value and whether there is one.
func (k Key[T]) Get(s *Session) (value T, ok bool) { return Get[T](s, k.name) }

// Set puts the value in the session.
func (k Key[T]) Set(s *Session, value T) { set(s, k.name, value, k.merge) }

// Pop returns the value and removes it: for messages that are shown once and
// secrets that are good for one use. It is removed from the store at once, so
// that of several requests only one gets it (each of them, if the clients keep the
// sessions; see package cookiestore).
func (k Key[T]) Pop(s *Session) (value T, ok bool) {
	s.use()
	defer s.mu.Unlock()
	s.encodeRefs()
	value, ok = get[T](s, k.name)
	if !ok || !s.allow() {
		return value, ok
	}
	if s.changed(k.name) == nil && s.rec.Version != 0 && s.plan == planKeep {
		raw := s.take(k.name)
		s.dropRef(k.name)
		return decode[T](raw)
	}
	s.remove(k.name)
	return value, ok
}

// Delete removes the value.
func (k Key[T]) Delete(s *Session) { s.Delete(k.name) }

// Ref returns a pointer to the value, or to a zero value if there is none.
// Whatever is changed through it until the response begins is saved, as
// req.session.cart.push(x) is in Express. Unlike the other methods a pointer is
// not safe for several goroutines.
func (k Key[T]) Ref(s *Session) *T {
	s.use()
	defer s.mu.Unlock()
	if s.done {
		s.allow()
		return new(T)
	}
	for i := range s.refs {
		if s.refs[i].key == k.name {
			if p, ok := s.refs[i].value.(*T); ok {
				return p
			}
		}
	}
	p := new(T)
	*p, _ = get[T](s, k.name)
	s.dropRef(k.name)
	encode := func() ([]byte, error) { return appendValue(nil, p) }
	before, err := encode()
	if err != nil {
		s.fail(&KeyError{k.name, err})
	}
	s.refs = append(s.refs, ref{key: k.name, value: p, encode: encode, before: before, merge: k.merge})
	return p
}

// In returns the value in a record, as [Manager.List] returns them.
func (k Key[T]) In(rec Record) (value T, ok bool) {
	return decode[T](find(rec.Data, k.name))
}

// A ref is a value that was handed out by reference.
type ref struct {
	key    string
	value  any // *T
	encode func() ([]byte, error)
	before []byte
	merge  Merge
}

// encodeRefs turns what was changed by reference into changes. What was not
// keeps the bytes that it has in the record, which an encoder might not make.
func (s *Session) encodeRefs() {
	for i := range s.refs {
		r := &s.refs[i]
		text, err := r.encode()
		if err != nil {
			s.fail(&KeyError{r.key, err})
			continue
		}
		if string(text) != string(r.before) {
			r.before = text
			if s.allow() {
				s.put(r.key, text, r.merge)
			}
		}
	}
}

func (s *Session) dropRef(key string) {
	for i := range s.refs {
		if s.refs[i].key == key {
			s.refs = append(s.refs[:i], s.refs[i+1:]...)
			return
		}
	}
}

// Get returns the value under key and whether there is one of type T: the form
// of [Key.Get] for keys that are not known in advance.
func Get[T any](s *Session, key string) (value T, ok bool) {
	s.use()
	defer s.mu.Unlock()
	return get[T](s, key)
}

func get[T any](s *Session, key string) (value T, ok bool) {
	for i := range s.refs {
		if s.refs[i].key == key {
			p, same := s.refs[i].value.(*T)
			s.encodeRefs()
			if same {
				return *p, s.lookup(key) != nil
			}
		}
	}
	return decode[T](s.lookup(key))
}

// Set puts a value in the session: the form of [Key.Set] for keys that are not
// known in advance. The key is UTF-8, and not "cookie", which express-session
// reserves. A value that encoding/json cannot encode fails the request with a
// *[KeyError], and nothing of the session is saved.
func (s *Session) Set(key string, value any) { set(s, key, value, LastWrite) }

func set[T any](s *Session, key string, value T, merge Merge) {
	if !s.change() {
		return
	}
	defer s.mu.Unlock()
	if err := s.m.checkKey(key); err != nil {
		s.fail(err)
		return
	}
	// Short values stand in the session itself; append allocates for others.
	start := s.scratchLen
	text, err := appendValue(s.scratch[start:start:len(s.scratch)], &value)
	if err != nil {
		s.fail(&KeyError{key, err})
		return
	}
	if start+len(text) <= len(s.scratch) {
		s.scratchLen += len(text)
	}
	s.dropRef(key)
	s.put(key, text, merge)
}

func checkKey(key string) error {
	if key == cookieKey {
		return &KeyError{key, errors.New("the name is reserved for what express-session keeps there; choose another")}
	}
	if !utf8.ValidString(key) {
		return &KeyError{key, errors.New("the name is not UTF-8")}
	}
	return nil
}

// checkKey refuses with Options.ExpressCompatible the names that are methods of
// its sessions: express-session drops a value under such a name on loading.
func (m *Manager) checkKey(key string) error {
	if m.opts.ExpressCompatible {
		switch key {
		case "id", "req", "touch", "resetMaxAge", "save", "reload", "destroy", "regenerate",
			"constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf",
			"__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__":
			return &KeyError{key, errors.New("express-session loses a value of this name; choose another")}
		}
	}
	return checkKey(key)
}

// decode reads the common types itself, for the speed of it, and leaves the
// others to encoding/json.
//
// null is a value only where T has a nil: a user ID that an Express application
// has set to null must not read as user 0.
func decode[T any](raw []byte) (value T, ok bool) {
	if raw == nil {
		return value, false
	}
	if string(raw) == "null" {
		switch reflect.TypeFor[T]().Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		default:
			return value, false
		}
	}
	if known, good := decodeCommon(raw, &value); known {
		return value, good
	}
	return decodeAny[T](raw)
}

func decodeAny[T any](raw []byte) (value T, ok bool) {
	var v T
	if json.Unmarshal(raw, &v) != nil {
		return value, false
	}
	return v, true
}

func decodeCommon[T any](raw []byte, dst *T) (known, ok bool) {
	switch p := any(dst).(type) {
	case *string:
		if raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
			return false, false
		}
		*p = string(raw[1 : len(raw)-1])
		return true, true
	case *int:
		n, err := strconv.ParseInt(string(raw), 10, strconv.IntSize)
		if err == nil {
			*p = int(n)
		}
		return err == nil, err == nil // 1e3 and 7.0 are left to encoding/json
	case *int64:
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err == nil {
			*p = n
		}
		return err == nil, err == nil
	case *bool:
		*p = string(raw) == "true"
		return true, *p || string(raw) == "false"
	}
	return false, false
}

// appendValue encodes a value as JSON, the common types without detour.
func appendValue[T any](dst []byte, value *T) ([]byte, error) {
	switch p := any(value).(type) {
	case *string:
		return appendQuoted(dst, *p), nil
	case *int:
		return strconv.AppendInt(dst, int64(*p), 10), nil
	case *int64:
		return strconv.AppendInt(dst, *p, 10), nil
	case *bool:
		return strconv.AppendBool(dst, *p), nil
	}
	return appendJSON(dst, *value)
}
