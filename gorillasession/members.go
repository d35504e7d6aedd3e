package gorillasession

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

// One session of ours holds the values of all names, each under a key of its own,
// so that two requests which change different values both keep their change:
//
//	app:user      the value that the session "app" has under the key "user"
//	app=7         the value that it has under the key 7, which is no string: the text is as in values.go
//
// A name is the name of a cookie in gorilla, so that it has neither of the signs.

const (
	textKey  = ':'
	otherKey = '='
)

// popped is what remains of a list that was taken from the session. If another
// request adds to the list meanwhile, what it adds is kept; a list that is gone
// would take that along.
const popped = "[]"

// splitMember returns the name of the session to which a key of ours belongs.
func splitMember(key string) (name string, ok bool) {
	i := strings.IndexAny(key, string([]rune{textKey, otherKey}))
	if i < 0 {
		return "", false
	}
	return key[:i], true
}

// isName reports whether a name can be that of a cookie, by RFC 9110, section 5.6.2.
func isName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?={}", c) >= 0 {
			return false
		}
	}
	return name != ""
}

// memberOf returns the key of ours for a key of gorilla's.
func memberOf(name string, key any) (string, error) {
	if text, ok := key.(string); ok && utf8.ValidString(text) {
		return name + string(textKey) + text, nil
	}
	text, err := encode(key)
	return name + string(otherKey) + string(text), err
}

// keyOf returns the key of gorilla's for a key of ours that belongs to name.
func keyOf(name, member string) (any, error) {
	rest := member[len(name)+1:]
	if member[len(name)] == textKey {
		return rest, nil
	}
	key, err := decode([]byte(rest))
	if err == nil && (key == nil || !reflect.TypeOf(key).Comparable()) {
		err = fmt.Errorf("a %T cannot be the key of a map", key)
	}
	return key, err
}

// A snapshot is what a gorilla session held when it was read or last saved.
type snapshot struct {
	members map[any]member
	exists  bool // there is something, which may not be fit to be read
	options sessions.Options
}

// A member is where a value is kept and its text.
type member struct {
	key  string
	text []byte
}

// read returns what a session of ours holds under a name, the values decoded
// into values. Those that cannot be decoded are left out, and the first of them
// is the error.
func read(s *session.Session, name string, values map[any]any) (snapshot, error) {
	snap := snapshot{members: make(map[any]member)}
	var first error
	for _, full := range s.Keys() {
		if of, ok := splitMember(full); !ok || of != name {
			continue
		}
		snap.exists = true
		text, _ := session.Get[json.RawMessage](s, full)
		if string(text) == popped {
			continue
		}
		key, err := keyOf(name, full)
		var value any
		if err == nil {
			value, err = decode(text)
		}
		if err != nil {
			if first == nil {
				first = fmt.Errorf("gorillasession: session %q: the value of %q cannot be read: %w", name, full, err)
			}
			continue
		}
		values[key] = value
		snap.members[key] = member{full, text}
	}
	return snap, first
}

// An edit is a change of one key of ours; a nil text removes it.
type edit struct {
	key  string
	text []byte
	list bool
}

// diff returns what has to be changed so that a session which held what snap says
// holds the values, and the snapshot of that.
func diff(name string, snap snapshot, values map[any]any) (edits []edit, next map[any]member, err error) {
	next = make(map[any]member, len(values))
	for key, value := range values {
		text, err := encode(value)
		if err != nil {
			return nil, nil, fmt.Errorf("gorillasession: session %q: the value under %#v cannot be kept: %w", name, key, err)
		}
		before, ok := snap.members[key]
		if !ok {
			if before.key, err = memberOf(name, key); err != nil {
				return nil, nil, fmt.Errorf("gorillasession: session %q: the key %#v cannot be kept: %w", name, key, err)
			}
		}
		if ok && same(before.text, value, text) {
			next[key] = before
			continue
		}
		next[key] = member{before.key, text}
		edits = append(edits, edit{before.key, text, isList(text)})
	}
	for key, before := range snap.members {
		if _, ok := values[key]; ok {
			continue
		}
		if isList(before.text) {
			edits = append(edits, edit{before.key, []byte(popped), true})
		} else {
			edits = append(edits, edit{key: before.key})
		}
	}
	slices.SortFunc(edits, func(a, b edit) int { return strings.Compare(a.key, b.key) })
	return edits, next, nil
}

func isList(text []byte) bool { return len(text) > 0 && text[0] == '[' }

// apply makes the change. What two requests add to a list at the same time is
// all in it; of any other value the later one is kept.
func (e edit) apply(s *session.Session) {
	switch {
	case e.text == nil:
		s.Delete(e.key)
	case e.list:
		session.NewKey[json.RawMessage](e.key, session.Union).Set(s, e.text)
	default:
		session.NewKey[json.RawMessage](e.key).Set(s, e.text)
	}
}

// removeAll takes everything under a name from a session of ours, and reports
// whether nothing else is in it.
func removeAll(s *session.Session, name string) (empty bool) {
	empty = true
	for _, full := range s.Keys() {
		of, ok := splitMember(full)
		if ok && of == name {
			s.Delete(full)
			continue
		}
		if text, _ := session.Get[json.RawMessage](s, full); !ok || string(text) != popped {
			empty = false
		}
	}
	return empty
}

// alone reports whether a record holds nothing but what is under some names.
func alone(rec session.Record, names []string) bool {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(rec.Data, &members) // what is no object is no session
	for full, text := range members {
		of, ok := splitMember(full)
		if full != "cookie" && (!ok || !slices.Contains(names, of) && string(text) != popped) {
			return false
		}
	}
	return true
}
