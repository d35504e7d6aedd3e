package natsstore

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// What clients of NATS take for a key.
var validKey = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)

func checkKey(t *testing.T, id string) {
	t.Helper()
	key := recordKey(id)
	if !validKey.MatchString(key) || strings.Contains(key, "..") || strings.HasSuffix(key, ".") {
		t.Errorf("the key of %q is %q, which is none", id, key)
	}
	if strings.Count(key, ".") != partTokens+1 {
		t.Errorf("the key of %q is %q, with a wrong number of tokens", id, key)
	}
	if got, ok := recordID(key); !ok || got != id {
		t.Errorf("the key of %q is %q, from which comes %q, %v", id, key, got, ok)
	}
}

func TestKeysLeadBackToTheirIDs(t *testing.T) {
	for _, id := range []string{"a", "A", ".", "..", "*", ">", "=", "=41", "a.b", " ", "é", "日本", "😀", "\x00", "\xff",
		strings.Repeat("%", maxID), strings.Repeat("x", maxID)} {
		checkKey(t, id)
	}
	for c := range 256 {
		checkKey(t, "-"+string([]byte{byte(c)})+"-")
	}
}

func TestAKeyThatIsNoneHasNoID(t *testing.T) {
	good := recordKey("a b")
	for _, key := range []string{"", "r", "r.", "r.a", "r.0.0.0.", "s." + good[2:], "x" + good, good + "=", good + "=2", good + "=zz", good + "=2e",
		good + "x", "r.0.0.0.a", strings.ToUpper(good), strings.Replace(good, "=20", "=7A", 1)} {
		if id, ok := recordID(key); ok && recordKey(id) != key {
			t.Errorf("the ID of the key %q is %q, whose key is %q", key, id, recordKey(id))
		} else if ok {
			t.Errorf("the key %q has the ID %q", key, id)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("a", "r.0.0.0.a")
	f.Add("a.b*c>d", "r.a.b.c.=2E")
	f.Fuzz(func(t *testing.T, id, key string) {
		if isID(id) {
			checkKey(t, id)
		}
		if id, ok := recordID(key); ok && recordKey(id) != key {
			t.Errorf("the ID of the key %q is %q, whose key is %q", key, id, recordKey(id))
		}
	})
}

// Each part of a key's tokens holds what its neighbours do not, and the order of
// parts is that of keys.
func TestPartsAreInTheOrderOfKeys(t *testing.T) {
	for tokens := 0; tokens <= partTokens; tokens++ {
		c := cursor{tokens: tokens}
		last := ""
		for part := range c.parts() {
			begin := partBegin(part, tokens)
			if len(begin) != 2*tokens || part > 0 && begin <= last {
				t.Fatalf("part %d of %d begins with %q, the one before with %q", part, c.parts(), begin, last)
			}
			last = begin
		}
	}
	counts := map[string]int{}
	for i := range 16000 {
		counts[keyEnd(fmt.Sprint("id-", i))[:2]]++
	}
	for begin, n := range counts {
		if len(counts) != partsOfOne || n < 700 || n > 1300 {
			t.Errorf("%d of 16000 IDs are in part %q, of %d", n, begin, len(counts))
		}
	}
}

func TestCursorOfManyKeysPartsThem(t *testing.T) {
	for keys, tokens := range map[int]int{0: 0, fewKeys: 0, fewKeys + 1: 1, 16 * fewKeys: 1, 17 * fewKeys: 2, 300 * fewKeys: 3, 1 << 40: 3} {
		if c := cursorFor(keys); c.tokens != tokens || c.part != 0 || c.after != "" {
			t.Errorf("a list of %d keys begins at %v, want %d tokens", keys, c, tokens)
		}
	}
}

func TestCursorComesBack(t *testing.T) {
	for _, c := range []cursor{{}, {1, 15, ""}, {3, 4095, "f.f.f.a:b"}, {2, 0, "0.0.0.=3A"}} {
		if got, err := parseCursor(c.String()); err != nil || got != c {
			t.Errorf("%v comes back as %v, %v", c, got, err)
		}
	}
	for _, text := range []string{"x", "0", "0:0", "4:0:", "-1:0:", "1:16:", "1:-1:", "1:a:", "0:1:", "99999999999999999999:0:"} {
		if c, err := parseCursor(text); err == nil {
			t.Errorf("%q was taken for the cursor %v", text, c)
		}
	}
}

func TestValueComesBack(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_123).UTC()
	for _, rec := range []session.Record{
		{ID: "a", Data: []byte(`{}`), Expires: now},
		{ID: "a", Subject: "a b  c ", Data: []byte("{\n\"a\": 1}\n"), Version: 7, Created: now, LastSeen: now.Add(time.Second), Expires: now.Add(time.Hour)},
		{ID: "a", Subject: "\u2028", Data: nil, Version: 1<<64 - 1, Created: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), Expires: now},
	} {
		v := valueOf(&rec)
		v.write, v.version, v.cover = 1<<63, rec.Version, now.UnixMilli()
		got, ok := decode(v.encode())
		if !ok || got.write != v.write || got.cover != v.cover {
			t.Errorf("%q comes back as %+v, %v", v.encode(), got, ok)
		}
		h := held{revision: 5, exists: true, value: got}
		back := h.record("a")
		if rec.Version == 0 {
			rec.Version = 5 // the revision
		}
		if back.Subject != rec.Subject || !bytes.Equal(back.Data, rec.Data) || back.Version != rec.Version ||
			!back.Created.Equal(rec.Created) || !back.LastSeen.Equal(rec.LastSeen) || !back.Expires.Equal(rec.Expires) {
			t.Errorf("%+v comes back as %+v", rec, back)
		}
		if len(v.encode()) > valueHead+len(v.subject)+len(v.data) {
			t.Errorf("%q is longer than was reckoned", v.encode())
		}
	}
}

func TestWhatIsNoValueIsRefused(t *testing.T) {
	v := value{write: 1, subject: "a", data: []byte("{}")}
	good := string(v.encode())
	if _, ok := decode([]byte(good)); !ok {
		t.Fatalf("%q was refused", good)
	}
	for _, text := range []string{"", "\n", "{}", "s1\n{}", "s2" + good[2:], strings.Replace(good, " 0", "", 1), strings.Replace(good, "0", "x", 1),
		strings.ReplaceAll(good, "\n", ""), strings.Replace(good, " 1 ", " -1 ", 1), strings.Replace(good, " 0", " 99999999999999999999", 2)} {
		if v, ok := decode([]byte(text)); ok {
			t.Errorf("%q was taken for %+v", text, v)
		}
	}
}

func FuzzDecode(f *testing.F) {
	v := value{write: 1, subject: "a", data: []byte("{}")}
	f.Add(v.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := decode(b)
		if !ok {
			return
		}
		again, ok := decode(v.encode())
		if !ok || again.write != v.write || again.subject != v.subject || !bytes.Equal(again.data, v.data) {
			t.Errorf("%q comes back as %+v, %v", b, again, ok)
		}
	})
}

// No record ends early, and nothing is without an end.
func TestTimeToLive(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 999_999_999, time.UTC)
	o := Options{Now: func() time.Time { return now }}
	for _, test := range []struct {
		name        string
		until       time.Time
		least, most time.Duration
	}{
		{"a fraction of a second is a whole one", now.Add(time.Millisecond), skew + time.Millisecond, skew + 3*time.Second},
		{"an hour", now.Add(time.Hour), time.Hour + skew, time.Hour + skew + 2*time.Second},
		{"what has expired goes soon", now.Add(-time.Hour), time.Second, skew + time.Second},
		{"the zero time", time.Time{}, time.Second, skew + time.Second},
		{"a lifetime", now.AddDate(100, 0, 0), 100 * 365 * 24 * time.Hour, 101 * 365 * 24 * time.Hour},
		{"more than a server can reckon with", now.AddDate(5000, 0, 0), longest, longest + skew},
	} {
		if got := o.ttl(test.until); got < test.least || got > test.most || got%time.Second != 0 {
			t.Errorf("%s: %v, want %v to %v in whole seconds", test.name, got, test.least, test.most)
		}
	}
}

func TestSightings(t *testing.T) {
	var s sightings
	if s.of(0) != nil || s.of(5) != nil {
		t.Error("something was seen before anything was noted")
	}
	s.note(&sighting{version: 5, revision: 9, subject: "alice"})
	if got := s.of(5); got == nil || got.revision != 9 {
		t.Errorf("got %+v", got)
	}
	other := uint64(5 + len(s.slots))
	if s.of(other) != nil {
		t.Error("the sighting of one version was taken for one of another")
	}
	s.note(&sighting{version: other, revision: 10})
	if s.of(5) != nil {
		t.Error("a version was remembered in the place of another")
	}
}
