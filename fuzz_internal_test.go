package session

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Everything that comes from outside is parsed by one of these.

// hasDuplicates reports whether a key is twice in an object, of which the first
// counts here and the last in encoding/json.
func hasDuplicates(data []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		return false
	}
	seen := make(map[string]bool)
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return false
		}
		if seen[key.(string)] {
			return true
		}
		seen[key.(string)] = true
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			return false
		}
	}
	return false
}

func FuzzJSONScan(f *testing.F) {
	for _, s := range []string{
		``, `{`, `{}`, ` { } `, `{"a":1}`, `{"a":1,}`, `{"a":{"b":[1,"]"]},"c":"\""}`, `{"\u0063ookie":1}`, `[]`, `null`, `{"a":tru}`,
		`{"a":1}{`, "{\"a\":\"\\", "{\"\xff\":1}", `{"\ud800":1}`, `{"":0,"a":-1.5E+10}`, `{"a":[}]}`, "{\"a\":\"\x00\"}",
	} {
		f.Add([]byte(s), "a")
	}
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		object := isObject(data)
		value := find(data, key)
		checkKeyText(t, data)
		var want map[string]json.RawMessage
		trimmed := bytes.TrimLeft(data, " \t\r\n")
		valid := json.Valid(data) && len(trimmed) > 0 && trimmed[0] == '{'
		if valid && !object {
			t.Fatalf("%q is an object for encoding/json", data)
		}
		if !valid || !utf8.Valid(data) || hasDuplicates(data) {
			return
		}
		if err := json.Unmarshal(data, &want); err != nil {
			return // too deep
		}
		if w := want[key]; utf8.ValidString(key) && !bytes.Equal(bytes.TrimSpace(w), value) {
			t.Fatalf("%q in %q: %q, encoding/json finds %q", key, data, value, w)
		}
		n := 0
		sc := scan(data)
		for quoted, v, ok := sc.next(); ok; quoted, v, ok = sc.next() {
			n++
			if !json.Valid(quoted) || !json.Valid(v) {
				t.Fatalf("%q: member %q: %q", data, quoted, v)
			}
		}
		if n != len(want) {
			t.Fatalf("%q: %d members, want %d", data, n, len(want))
		}
		if less := without(data, key); !json.Valid(less) || find(less, key) != nil {
			t.Fatalf("%q without %q: %q", data, key, less)
		}
	})
}

// checkKeyText walks over whatever it is without a panic or an endless loop.
func checkKeyText(t *testing.T, data []byte) {
	sc := scan(data)
	for i := 0; ; i++ {
		quoted, _, ok := sc.next()
		if !ok {
			return
		}
		if len(quoted) < 2 || i > len(data) {
			t.Fatalf("%q: key %q", data, quoted)
		}
		_ = unquote(quoted)
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", `"\/`, "\x00\x1f\x7f", "ä€𝄞", "\xff", "\u2028", "a\xc3", "\ufffd", "<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := appendQuoted(nil, s)
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil {
			t.Fatalf("%q: %v", quoted, err)
		}
		want := strings.ToValidUTF8(s, "\ufffd")
		if !utf8.ValidString(s) { // each bad byte counts, ToValidUTF8 joins them
			want = string([]rune(s))
		}
		if back != want {
			t.Fatalf("%q came back as %q", s, back)
		}
		if utf8.ValidString(s) {
			if got := unquote(quoted); got != s {
				t.Fatalf("unquote: %q, want %q", got, s)
			}
			viaJSON, err := appendJSON(nil, s)
			if err != nil || !bytes.Equal(viaJSON, quoted) {
				t.Fatalf("appendJSON: %q, want %q", viaJSON, quoted)
			}
		}
	})
}

func FuzzPointer(f *testing.F) {
	for _, s := range []string{`["retired","1"]`, `["renewed","99","abc","eA"]`, `["renewed"]`, `[`, `[]`, `["retired",1]`, `["retired","1","","",""]`, `{}`} {
		f.Add([]byte(s), []byte("old token"), []byte("new token"))
	}
	f.Fuzz(func(t *testing.T, data, old, next []byte) {
		if to, ok := parsePointer(data); ok {
			if token, ok := to.open(old); ok && !isID(token) {
				t.Fatalf("%q leads to %q", data, token)
			}
		}
		if len(old) == 0 || !isID(next) {
			return
		}
		to := pointer{end: time.UnixMilli(12345).UTC(), successor: hashID(next), sealed: sealToken(old, next)}
		back, ok := parsePointer(to.data())
		if !ok || back.successor != to.successor || !back.end.Equal(to.end) {
			t.Fatalf("%q came back as %+v", to.data(), back)
		}
		if token, ok := back.open(old); !ok || !bytes.Equal(token, next) {
			t.Fatalf("opened as %q, want %q", token, next)
		}
		if token, ok := back.open(append(old[:len(old):len(old)], 'x')); ok && len(next) > 8 && bytes.Equal(token, next) {
			t.Fatal("another token opens the pointer")
		}
		if len(next) > 8 && bytes.Equal(to.sealed, next) {
			t.Fatalf("the token is in the pointer: %q", to.data())
		}
	})
}

func FuzzAttributes(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"originalMaxAge":60000,"domain":"a.test","path":"/"}`, `{"path":"/;x","sameSite":"none"}`, `{"domain":"a\r\nb"}`,
		`{"originalMaxAge":1e300,"issued":-1e300,"idleTimeout":nan}`, `{"priority":"high","secure":"auto","httpOnly":false}`, `"x"`, `null`,
	} {
		f.Add([]byte(s), true)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, raw []byte, express bool) {
		a := parseAttributes(raw)
		c := Cookie{}.withDefaults(express)
		a.apply(&c)
		line := string(c.appendSetCookie(nil, []byte("value"), a.expires(now), true))
		for i := range len(line) {
			if line[i] < ' ' || line[i] >= 0x7f {
				t.Fatalf("%q makes %q", raw, line)
			}
		}
		if n := strings.Count(line, ";"); n > 8 {
			t.Fatalf("%q makes %q", raw, line)
		}
		if text := a.append(nil, now, express); json.Valid(raw) && len(text) > 0 {
			if !json.Valid(text) {
				t.Fatalf("%q is written as %q", raw, text)
			}
			b := parseAttributes(text)
			if a.maxAge.Milliseconds() != b.maxAge.Milliseconds() || a.idle.Milliseconds() != b.idle.Milliseconds() || string(a.path) != string(b.path) {
				t.Fatalf("%q is read back differently from %q", raw, text)
			}
		}
	})
}

func FuzzMerge(f *testing.F) {
	for _, s := range [][3]string{{`1`, `2`, `3`}, {`[1]`, `[1,2]`, `[3]`}, {``, `1.5`, `2`}, {`9223372036854775807`, `1`, `-9223372036854775808`}, {`"a"`, `null`, `{}`}, {`1e308`, `1e308`, `1e308`}} {
		for rule := range 4 {
			f.Add(rule, []byte(s[0]), []byte(s[1]), []byte(s[2]))
		}
	}
	f.Fuzz(func(t *testing.T, rule int, base, mine, theirs []byte) {
		text := func(b []byte) []byte {
			if len(b) == 0 || !json.Valid(b) {
				return nil
			}
			return b
		}
		base, mine, theirs = text(base), text(mine), text(theirs)
		got := Merge(rule&3).resolve(base, mine, theirs)
		if (got == nil) != (mine == nil) {
			t.Fatalf("a deletion became a value, or the other way round: %q", got)
		}
		if got != nil && !json.Valid(got) {
			t.Fatalf("merge %d of %q, %q, %q is %q", rule&3, base, mine, theirs, got)
		}
	})
}

// fuzzManager is a manager whose store has one record: rec.
func fuzzManager(f *testing.F) (*Manager, *oneStore) {
	store := new(oneStore)
	m, err := New(store, &Options{Secrets: []Secret{"a secret of at least 32 bytes, as is due"}, Logger: quietLogger(), Rolling: true})
	if err != nil {
		f.Fatal(err)
	}
	return m, store
}

func FuzzCookieHeader(f *testing.F) {
	m, store := fuzzManager(f)
	token := "abcdefghijklmnopqrstuvwxyz012345"
	good := "__Host-session=s%3A" + string(appendEscaped(nil, m.appendWire(nil, []byte(token))))
	store.rec = Record{ID: m.id([]byte(token)), Data: []byte(`{"a":1}`), Version: 1, Created: time.Now(), LastSeen: time.Now(), Expires: time.Now().Add(time.Hour)}
	for _, s := range []string{"", good, "a=b; " + good, good + ";" + good, `__Host-session="x`, "__Host-session=s%3A.", "__Host-session=%", "=;=;", "__Host-session=s:\x00", good + "\xff", good[:40]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{header}
		w := httptest.NewRecorder()
		known := false
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := From(r)
			known = !s.IsNew()
			if err := s.Err(); err != nil {
				t.Errorf("Err: %v", err)
			}
		})).ServeHTTP(w, r)
		if w.Code != 200 {
			t.Fatalf("%q: status %d", header, w.Code)
		}
		if known && !strings.Contains(header, "__Host-session") {
			t.Fatalf("%q is somebody", header)
		}
		for _, line := range w.Header()["Set-Cookie"] {
			if strings.ContainsAny(line, "\r\n\x00") || len(line) > 4096 {
				t.Fatalf("%q sets %q", header, line)
			}
		}
	})
}

// A record of arbitrary bytes never panics, and never breaks a response.
func FuzzRecord(f *testing.F) {
	m, store := fuzzManager(f)
	token := []byte("abcdefghijklmnopqrstuvwxyz012345")
	for _, s := range []string{``, `{`, `{}`, `{"a":1}`, `["retired","99999999999999"]`, `["renewed","99999999999999","x","eA"]`, `{"cookie":{"path":"/\n"}}`, `{"cookie":{"originalMaxAge":-1}}`, `{"a":1,"a":2}`, "\xff", `null`} {
		f.Add([]byte(s))
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", "__Host-session=s%3A"+string(appendEscaped(nil, m.appendWire(nil, token))))
	f.Fuzz(func(t *testing.T, data []byte) {
		now := time.Now()
		for _, change := range []func(s *Session){
			func(s *Session) { _, _ = Get[int](s, "a"); _ = s.Keys() },
			func(s *Session) { s.Set("a", 2) },
			func(s *Session) { s.RenewID() },
			func(s *Session) { NewKey[any]("a").Pop(s) },
			func(s *Session) { s.Clear(); s.SetMaxAge(time.Hour) },
			func(s *Session) { s.Destroy() },
		} {
			store.rec = Record{ID: m.id(token), Data: bytes.Clone(data), Version: 1, Created: now, LastSeen: now, Expires: now.Add(time.Hour)}
			w := httptest.NewRecorder()
			m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { change(From(r)) })).ServeHTTP(w, r)
			// A retired session refuses changes; everything else goes well.
			if w.Code != 200 && w.Code != 409 {
				t.Fatalf("%q: status %d", data, w.Code)
			}
			for _, line := range w.Header()["Set-Cookie"] {
				for i := range len(line) {
					if line[i] < ' ' || line[i] >= 0x7f {
						t.Fatalf("%q sets %q", data, line)
					}
				}
			}
			if rec := store.rec; json.Valid(data) && len(rec.Data) > 0 && !json.Valid(rec.Data) {
				t.Fatalf("%q became %q", data, rec.Data)
			}
		}
	})
}
