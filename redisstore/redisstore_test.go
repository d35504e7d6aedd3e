package redisstore

import (
	"context"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
)

// The tests that need servers are in internal/integration.

func none(context.Context, ...any) (any, error) { return nil, nil }

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		name string
		opts *Options
		want string // a part of the error
	}{
		{"none", nil, ""},
		{"zero", &Options{}, ""},
		{"express", &Options{Layout: Express}, ""},
		{"a layout that is none", &Options{Layout: 9}, "Layout"},
		{"a negative cache", &Options{ClientCache: -1}, "ClientCache"},
		{"a cache of nanoseconds", &Options{ClientCache: 10}, "ClientCache"},
		{"a cache", &Options{ClientCache: time.Second}, "rueidis"},
	} {
		_, err := NewDo(none, test.opts)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: the error is %v, want one with %q", test.name, err, test.want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "redisstore: ") {
			t.Errorf("%s: the error %q has no prefix", test.name, err)
		}
	}
	if _, err := New(nil, nil); err == nil {
		t.Error("New takes no client")
	}
	if _, err := NewDo(nil, nil); err == nil {
		t.Error("NewDo takes no function")
	}
	if _, err := Open(nil, nil); err == nil {
		t.Error("Open takes no function")
	}
	for layout, want := range map[Layout]string{Native: "native", Express: "express", 7: "Layout(7)"} {
		if got := layout.String(); got != want {
			t.Errorf("the layout is %s, want %s", got, want)
		}
	}
}

// A store offers what it can do and no more: whoever is in front of it goes by that.
func TestAbilities(t *testing.T) {
	var do, client session.Store = new(DoStore), new(Store)
	if _, ok := do.(session.Watcher); ok {
		t.Error("a store with a function, which cannot listen, has a method Watch")
	}
	if _, ok := client.(session.Watcher); !ok {
		t.Error("a store with a client has no method Watch")
	}
}

func TestOpenWithoutClient(t *testing.T) {
	store, err := Open(func() (rueidis.Client, error) { return nil, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Ping(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "redisstore: ping: ") {
		t.Errorf("the error is %v", err)
	}
}

func TestOneSlot(t *testing.T) {
	for prefix, want := range map[string]bool{
		"": false, "session:": false, "{a}": true, "x{a}y:": true, "{}": false, "{": false, "}{": false, "a}{b}": true,
	} {
		if got := (&Options{Prefix: prefix}).oneSlot(); got != want {
			t.Errorf("prefix %q: %v, want %v", prefix, got, want)
		}
	}
}

func TestTTL(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 500_000, time.UTC)
	o := &Options{Now: func() time.Time { return now }}
	for _, test := range []struct {
		in   time.Time
		unit time.Duration
		want int64
	}{
		{now.Add(time.Second), time.Second, 1},
		{now.Add(1001 * time.Millisecond), time.Second, 2},
		{now.Add(time.Millisecond), time.Millisecond, 1},
		{now, time.Second, 0},
		{now.Add(-time.Hour), time.Second, 0},
		{time.Time{}, time.Millisecond, 0},
		{time.Unix(math.MaxInt32*1000, 0), time.Second, 1000 * 365 * 86400},
	} {
		if got := o.ttl(test.in, test.unit); got != test.want {
			t.Errorf("%v in %v is %d, want %d", test.in, test.unit, got, test.want)
		}
	}
}

func TestCursor(t *testing.T) {
	for _, c := range []cursor{{}, {at: math.MaxUint64}, {node: "127.0.0.1:6379", at: 7, seen: []uint64{1, math.MaxUint64}}} {
		got, err := parseCursor(c.String())
		if err != nil || got.node != c.node || got.at != c.at || !slices.Equal(got.seen, c.seen) {
			t.Errorf("%+v became %+v, %v", c, got, err)
		}
	}
	for _, text := range []string{"x", "1", "1.", "-1..", "1.a.", "1.!.", "99999999999999999999..", "1..!", "1.AAAA."} {
		if _, err := parseCursor(text); err == nil {
			t.Errorf("%q is a cursor", text)
		}
	}
}

func TestStamp(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 123e6, time.UTC)
	for _, expires := range []time.Time{now, now.Add(time.Minute), now.Add(400 * 24 * time.Hour), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		s := newStamp(expires, now)
		if s >= 1<<53 {
			t.Errorf("the stamp %d is more than a float64 holds", s)
		}
		if got, ok := parseStamp(s.String()); !ok || got != s || len(s.String()) != stampWidth {
			t.Errorf("the stamp %d became %q, %d", s, s.String(), got)
		}
		if uint64(s)>>millisBits < minuteOf(expires) {
			t.Errorf("the stamp of %v does not cover it", expires)
		}
		for age, want := range map[time.Duration]bool{
			0: true, time.Second: true, -time.Second: true, newcomer - time.Second: true, newcomer + time.Second: false,
			-newcomer + time.Second: true, -newcomer - time.Second: false, time.Hour: false, 17 * time.Hour: false,
		} {
			if got := s.isNew(now.Add(age)); got != want {
				t.Errorf("after %v it is new: %v, want %v", age, got, want)
			}
		}
	}
}

// What a head says survives, and whatever else is at a key is an error.
func FuzzParseNative(f *testing.F) {
	head := append([]byte(marker), hexVersion(7)...)
	for range 3 {
		head = appendTime(head, time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC))
	}
	whole := string(head) + noStamp + "alice" + endOfSubject + `{"a":1}`
	for n := range len(whole) {
		f.Add([]byte(whole[:n]))
	}
	f.Add([]byte(whole))
	f.Fuzz(func(t *testing.T, value []byte) {
		rec, found, err := parseNative("id", slices.Clone(value))
		if err != nil || !found {
			return
		}
		again := append([]byte(marker), hexVersion(rec.Version)...)
		again = appendTime(appendTime(appendTime(again, rec.Created), rec.LastSeen), rec.Expires)
		again = append(again, value[stampAt:headWidth]...)
		again = append(append(again, rec.Subject+endOfSubject...), rec.Data...)
		if !strings.EqualFold(string(again), string(value)) {
			t.Errorf("%q became %q", value, again)
		}
	})
}

func TestTimes(t *testing.T) {
	for _, want := range []time.Time{
		{}, time.Unix(0, 0).UTC(), time.Date(1999, 12, 31, 23, 59, 59, 999e6, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC),
	} {
		text := appendTime(nil, want)
		got, ok := parseTime(text)
		if !ok || !got.Equal(want) || got.IsZero() != want.IsZero() || len(text) != timeWidth {
			t.Errorf("%v became %q and %v", want, text, got)
		}
	}
	for _, odd := range []time.Time{time.Unix(math.MaxInt64/1_000_000, 0), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if text := appendTime(nil, odd); len(text) != timeWidth {
			t.Errorf("%v became %q", odd, text)
		}
	}
}

func TestContentVersion(t *testing.T) {
	// echo -n abc | sha1sum
	if got := contentVersion([]byte("abc")); got != 0xa9993e364706816a {
		t.Errorf("the version is %x", got)
	}
}

func TestEscapeGlob(t *testing.T) {
	if got, want := escapeGlob(`a*b?c[d]e\f^-`), `a\*b\?c\[d\]e\\f^-`; got != want {
		t.Errorf("the pattern is %s, want %s", got, want)
	}
}

func TestParseView(t *testing.T) {
	for _, test := range []struct {
		name, nodes string
		want        view
	}{
		{"nothing", "", view{}},
		{"lines that are none of it", "myself\n\na b c\n", view{}},
		{"a replica", "a 1:1@2 master - 0 0 1 connected 0-9\nb 1:2@3 myself,slave a 0 0 1 connected\n",
			view{id: "b", holders: []string{"a"}}},
		{"a verbatim string", "txt:a 1:1@2 myself,master - 0 0 1 connected 0-5\n", view{id: "a", master: true, holders: []string{"a"}}},
		{"a master, another that failed, and one without slots",
			"a 1:1@2 myself,master - 0 0 1 connected 0-5 7\nb 1:2@3 slave a 0 0 1 connected\n" +
				"c 1:3@4 master,fail - 0 0 1 disconnected 6\nd 1:4@5 master - 0 0 1 connected\n",
			view{id: "a", master: true, holders: []string{"a", "c"}}},
		{"slots on their way", "a 1:1@2,host myself,master - 0 0 1 connected 0-5 [3->-d] [9-<-c]\nc 1:3@4 master - 0 0 1 connected 6-9\n",
			view{id: "a", master: true, holders: []string{"a", "d", "c"}}},
	} {
		if got := parseView(test.nodes); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// What Save cannot keep it refuses, and sends nothing.
func TestRefused(t *testing.T) {
	store, err := NewDo(func(context.Context, ...any) (any, error) {
		t.Error("a command was sent")
		return nil, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []session.Record{
		{}, {ID: strings.Repeat("x", 129)}, {ID: "a", Subject: strings.Repeat("x", 256)}, {ID: "a", Subject: "b\nc"},
	} {
		if _, err := store.Save(t.Context(), &rec); err == nil {
			t.Errorf("%.20q was taken", rec.ID)
		}
	}
	if _, _, err := store.List(t.Context(), session.Query{}); err == nil {
		t.Error("the limit 0 was taken")
	}
}
