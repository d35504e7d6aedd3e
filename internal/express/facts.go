package express

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

const day = 86400000

// Facts are what the rules judge by: the step, the world before it, what
// Express made of it, and what follows from these for ours.
type Facts struct {
	Step  *Step
	World *World
	E     *Answer

	header, end *Mark

	// The session at the header and at the end, as ours has stored it by then.
	atHeader, atEnd life

	lefts []string // what our MaxAge says, each time it is asked
}

// A life is what ours has stored of the session that a request has.
type life struct {
	id       string
	saved    *Mark  // Express's session at the moment of our last save, nil if there was none
	data     string // the JSON text that we have stored
	extended int64  // when its life was last extended, 0 if not in this request
	expires  int64
	attr     bool // an attribute of the cookie was saved
	explicit bool // there was an explicit save
	sets     int
	touches  int
}

func (w *World) record(id string) *Stored {
	for i := range w.Store {
		if w.Store[i].ID == id {
			return &w.Store[i]
		}
	}
	return nil
}

func newFacts(step *Step, w *World, e *Answer) *Facts {
	f := &Facts{Step: step, World: w, E: e}
	for i := range e.Marks {
		switch m := &e.Marks[i]; m.Kind {
		case "header":
			f.header = m
		case "end":
			f.end = m
		}
	}
	f.walk()
	return f
}

// walk follows the request to see when ours saves or extends the session: at
// each explicit save, before the header, and at the end, if there is something
// to save then, and otherwise before the header to extend its life.
func (f *Facts) walk() {
	var l life
	resaved := false
	begin := func(m *Mark) {
		l = life{id: m.ID}
		if r := f.World.record(m.ID); r != nil && m.Came {
			l.data, l.expires = r.Data, r.Expires
		}
	}
	for i := range f.E.Marks {
		m := &f.E.Marks[i]
		if m.Kind == "throw" {
			continue
		}
		if m.Kind == "left" {
			if m.JSON != "" && m.ID != l.id {
				begin(m)
			}
			f.lefts = append(f.lefts, left(m, &l))
			continue
		}
		if m.JSON != "" { // there is a session
			if m.ID != l.id {
				begin(m)
			}
			text := ordered(m.JSON, l.data, m.Order...)
			dirty := content(text) != content(l.data) || m.Attr
			fresh := !m.Came && l.saved == nil
			create := fresh && (content(text) != content("{}") || m.Attr || m.Regenerated || f.Step.Opts.SaveUninitialized && m.Sendable)
			period := int64(day)
			if m.Period != nil {
				period = *m.Period
			}
			switch {
			case m.Kind == "save", m.Kind == "first", fresh && create, !fresh && dirty, !fresh && f.Step.Opts.Resave && l.extended == 0 && !resaved:
				l.saved, l.data, l.extended, l.expires = m, text, m.T, m.T+period
				l.attr = l.attr || m.Attr
				l.explicit = l.explicit || m.Kind == "save"
				l.sets++
				resaved = true
			case !fresh && (m.Touch || l.extended == 0 && m.T+period >= l.expires):
				l.extended = m.T
				l.expires = max(l.expires, m.T+period)
				l.touches++
			}
		}
		switch m.Kind {
		case "header":
			f.atHeader = l
		case "end":
			f.atEnd = l
		}
	}
}

// left is what is left of a life: that in the store, or a whole one if it is yet
// to be saved.
func left(m *Mark, l *life) string {
	switch {
	case m.Period == nil:
		return "left=null"
	case m.Attr || l.data == "":
		return "left=" + strconv.FormatInt(*m.Period, 10)
	}
	return "left=" + strconv.FormatInt(l.expires-m.T, 10)
}

// members splits a JSON object into its keys, in order, and their texts.
func members(text string) (keys []string, values map[string]string) {
	values = map[string]string{}
	dec := json.NewDecoder(strings.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, values
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return keys, values
		}
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return keys, values
		}
		keys = append(keys, key.(string))
		values[key.(string)] = string(raw)
	}
	return keys, values
}

// ordered gives text the order of keys that ours has: what was there before
// keeps its place, what is new comes after, in the order in which it was put in.
// (JavaScript puts keys that look like whole numbers first.)
func ordered(text, before string, inserted ...string) string {
	keys, values := members(text)
	old, _ := members(before)
	var order []string
	take := func(from []string) {
		for _, k := range from {
			if _, ok := values[k]; ok && !slices.Contains(order, k) {
				order = append(order, k)
			}
		}
	}
	take(old)
	take([]string{"cookie"})
	take(inserted)
	take(keys)
	return join(order, values)
}

func join(keys []string, values map[string]string) string {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			buf.WriteByte(',')
		}
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(k)
		buf.Truncate(buf.Len() - 1)
		buf.WriteByte(':')
		buf.WriteString(values[k])
	}
	buf.WriteByte('}')
	return buf.String()
}

// content is the text of a session without its cookie.
func content(text string) string {
	keys, values := members(text)
	return join(slices.DeleteFunc(keys, func(k string) bool { return k == "cookie" }), values)
}

// setExpires puts another expiry into a cookie text that has one.
func setExpires(cookie string, ms int64) string {
	before, rest, ok := strings.Cut(cookie, "; Expires=")
	if !ok {
		return cookie
	}
	_, after, more := strings.Cut(rest, ";")
	text := before + "; Expires=" + time.UnixMilli(ms).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	if more {
		text += ";" + after
	}
	return text
}

// own splits the Set-Cookie lines into that of the session and the others.
func (f *Facts) own(lines []string) (own string, others []string) {
	for _, line := range lines {
		if strings.HasPrefix(line, f.Step.name()+"=") {
			own = line
		} else {
			others = append(others, line)
		}
	}
	return own, others
}

// shown tells whether the client presented anything under the name.
func (f *Facts) shown() bool {
	for _, v := range presented(f.World.Cookie, f.Step.name()) {
		if v != "" {
			return true
		}
	}
	return false
}

// oldSecret tells whether the session came by a cookie with an old signature.
func (f *Facts) oldSecret() bool {
	for _, v := range presented(f.World.Cookie, f.Step.name()) {
		if t, n := verify(v, f.Step.Opts.Secret); n >= 0 && t == f.E.SID {
			return n > 0
		}
	}
	return false
}

func find(store []Stored, id string) int {
	return slices.IndexFunc(store, func(r Stored) bool { return r.ID == id })
}
