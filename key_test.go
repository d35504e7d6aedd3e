package session_test

import (
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

type address struct {
	Street string            `json:"street"`
	Tags   []string          `json:"tags,omitempty"`
	More   map[string]*int64 `json:"more,omitempty"`
}

// roundTrip stores a value by one request and reads it by the next.
func roundTrip[T any](t *testing.T, name string, value T) {
	t.Helper()
	key := session.NewKey[T]("k")
	st := newSite(t)
	b := st.browser()
	w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		key.Set(s, value)
		got, ok := key.Get(s)
		if !ok || !reflect.DeepEqual(got, value) {
			t.Errorf("%s in the same request: got %#v %v, want %#v", name, got, ok, value)
		}
	})
	if w.Code != 200 {
		t.Fatalf("%s: status %d\n%s", name, w.Code, st.log)
	}
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		got, ok := key.Get(s)
		if !ok || !reflect.DeepEqual(got, value) {
			t.Errorf("%s: got %#v %v, want %#v", name, got, ok, value)
		}
		if dynamic, ok := session.Get[T](s, "k"); !ok || !reflect.DeepEqual(dynamic, value) {
			t.Errorf("%s by Get: got %#v %v", name, dynamic, ok)
		}
		if p := key.Ref(s); !reflect.DeepEqual(*p, value) {
			t.Errorf("%s by Ref: got %#v", name, *p)
		}
	})
	if calls := st.faults.Calls(); calls.Save != 1 {
		t.Errorf("%s: a reference that was not changed was saved", name)
	}
	if got, ok := key.In(st.records()[0]); !ok || !reflect.DeepEqual(got, value) {
		t.Errorf("%s in the record: got %#v %v", name, got, ok)
	}
}

func TestTypedKeys(t *testing.T) {
	for _, n := range []int{0, -1, 1, math.MaxInt64, math.MinInt64} {
		roundTrip(t, "int", n)
		roundTrip(t, "int64", int64(n))
	}
	roundTrip(t, "int8", int8(-128))
	roundTrip(t, "uint64", uint64(math.MaxUint64))
	for _, f := range []float64{0, 1.5, -1e-300, 1e300, math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1} {
		roundTrip(t, "float64", f)
	}
	roundTrip(t, "float32", float32(0.1))
	roundTrip(t, "true", true)
	roundTrip(t, "false", false)
	for _, s := range []string{"", "plain", `"\/`, "\x00\x01\x1f\x7f", "\b\f\n\r\t", "ä€𝄞", "<script>&", "\u2028\u2029", `\u2028`, `\\u2028`, "\ufffd", "\u0085", strings.Repeat("x", 10_000)} {
		roundTrip(t, fmt.Sprintf("%q", s), s)
		roundTrip(t, fmt.Sprintf("slice of %q", s), []string{s})
	}
	roundTrip(t, "time", time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
	roundTrip(t, "duration", time.Minute)
	n := int64(7)
	roundTrip(t, "struct", address{Street: "a \"b\"", Tags: []string{"x"}, More: map[string]*int64{"n": &n, "nil": nil}})
	roundTrip(t, "map", map[string]int{"a": 1, "": 2, "ä": 3})
	roundTrip(t, "slice", []int{1, 2, 3})
	roundTrip(t, "empty slice", []int{})
	roundTrip(t, "array", [2]string{"a", "b"})
	roundTrip(t, "bytes", []byte{0, 1, 255})
	roundTrip(t, "pointer", &n)
	roundTrip[*int](t, "nil pointer", nil)
	roundTrip[[]int](t, "nil slice", nil)
	roundTrip[map[string]int](t, "nil map", nil)
	roundTrip[any](t, "nil", nil)
	roundTrip[any](t, "any", map[string]any{"a": []any{1.0, "x", nil, true}})
}

func TestStringsThatAreNotUTF8(t *testing.T) {
	st := newSite(t)
	b := st.visitor(map[string]any{"a": "x\xffy"})
	equal(t, "what is kept", b.data(), "{\"a\":\"x\ufffdy\"}")
}

// What nobody touched keeps its bytes: number texts, key order, spaces.
func TestTextsAreKept(t *testing.T) {
	st := newSite(t)
	const before = `{"z":1.0,"e":1E2,"big":12345678901234567890123,"s":"\u00e4\/","o":{ "b" : 1, "a":2 },"m":-0}`
	b := st.seed(before)
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		session.NewKey[map[string]int]("o").Ref(s) // looked at and not changed
		s.Set("n", 1)
	})
	equal(t, "the record", string(st.records()[0].Data), before[:len(before)-1]+`,"n":1}`)
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("z", 2)
		s.Delete("e")
		s.Delete("m")
	})
	equal(t, "the record", string(st.records()[0].Data), `{"z":2,"big":12345678901234567890123,"s":"\u00e4\/","o":{ "b" : 1, "a":2 },"n":1}`)
}

func TestOperationsInOneRequest(t *testing.T) {
	type cart struct{ Items []string }
	carts := session.NewKey[cart]("cart")
	num := session.NewKey[int]("n")
	for _, test := range []struct {
		name string
		do   func(s *session.Session)
		want string
	}{
		{"Set after Set", func(s *session.Session) { num.Set(s, 2); num.Set(s, 3) }, `{"cart":{"Items":["a"]},"n":3}`},
		{"Delete", func(s *session.Session) { num.Delete(s) }, `{"cart":{"Items":["a"]}}`},
		{"Delete after Set", func(s *session.Session) { num.Set(s, 2); num.Delete(s) }, `{"cart":{"Items":["a"]}}`},
		{"Set after Delete", func(s *session.Session) { num.Delete(s); num.Set(s, 2) }, `{"cart":{"Items":["a"]},"n":2}`},
		{"Ref changed in place", func(s *session.Session) { p := carts.Ref(s); p.Items = append(p.Items, "b") }, `{"cart":{"Items":["a","b"]},"n":1}`},
		{"Ref of an element", func(s *session.Session) { carts.Ref(s).Items[0] = "z" }, `{"cart":{"Items":["z"]},"n":1}`},
		{"Ref twice is the same", func(s *session.Session) {
			a, b := carts.Ref(s), carts.Ref(s)
			a.Items = append(a.Items, "b")
			b.Items = append(b.Items, "c")
		}, `{"cart":{"Items":["a","b","c"]},"n":1}`},
		{"Ref of what is not there, unchanged", func(s *session.Session) { session.NewKey[int]("new").Ref(s) }, `{"cart":{"Items":["a"]},"n":1}`},
		{"Ref of what is not there", func(s *session.Session) { *session.NewKey[int]("new").Ref(s) = 5 }, `{"cart":{"Items":["a"]},"n":1,"new":5}`},
		{"Get after Ref", func(s *session.Session) {
			*num.Ref(s) = 7
			n, ok := num.Get(s)
			equal(t, "Get", fmt.Sprint(n, ok), "7 true")
		}, `{"cart":{"Items":["a"]},"n":7}`},
		{"Get of another type after Ref", func(s *session.Session) {
			*num.Ref(s) = 7
			f, ok := session.Get[float64](s, "n")
			equal(t, "Get", fmt.Sprint(f, ok), "7 true")
			*num.Ref(s) = 8
		}, `{"cart":{"Items":["a"]},"n":8}`},
		{"Ref of two types", func(s *session.Session) {
			*num.Ref(s) = 7
			*session.NewKey[float64]("n").Ref(s) += 0.5
		}, `{"cart":{"Items":["a"]},"n":7.5}`},
		{"Set after Ref", func(s *session.Session) {
			p := num.Ref(s)
			num.Set(s, 9)
			*p = 100 // no longer that of the session
		}, `{"cart":{"Items":["a"]},"n":9}`},
		{"Delete after Ref", func(s *session.Session) { *num.Ref(s) = 7; num.Delete(s) }, `{"cart":{"Items":["a"]}}`},
		{"Ref after Set", func(s *session.Session) { num.Set(s, 5); *num.Ref(s) += 1 }, `{"cart":{"Items":["a"]},"n":6}`},
		{"Ref changed after Save", func(s *session.Session) {
			p := num.Ref(s)
			*p = 5
			_ = s.Save()
			*p = 6
		}, `{"cart":{"Items":["a"]},"n":6}`},
		{"Pop", func(s *session.Session) {
			n, ok := num.Pop(s)
			equal(t, "Pop", fmt.Sprint(n, ok), "1 true")
			_, ok = num.Pop(s)
			equal(t, "Pop again", ok, false)
		}, `{"cart":{"Items":["a"]}}`},
		{"Pop after Set", func(s *session.Session) {
			num.Set(s, 4)
			n, ok := num.Pop(s)
			equal(t, "Pop", fmt.Sprint(n, ok), "4 true")
		}, `{"cart":{"Items":["a"]}}`},
		{"Pop after Ref", func(s *session.Session) {
			*num.Ref(s) = 4
			n, ok := num.Pop(s)
			equal(t, "Pop", fmt.Sprint(n, ok), "4 true")
		}, `{"cart":{"Items":["a"]}}`},
		{"Pop after an unchanged Ref", func(s *session.Session) {
			num.Ref(s)
			n, ok := num.Pop(s)
			equal(t, "Pop", fmt.Sprint(n, ok), "1 true")
		}, `{"cart":{"Items":["a"]}}`},
		{"Set after Pop", func(s *session.Session) { num.Pop(s); num.Set(s, 1) }, `{"cart":{"Items":["a"]},"n":1}`},
		{"Pop of a value of another type", func(s *session.Session) {
			_, ok := session.NewKey[string]("n").Pop(s)
			equal(t, "Pop", ok, false)
		}, `{"cart":{"Items":["a"]},"n":1}`},
		{"Clear", func(s *session.Session) { num.Ref(s); s.Set("x", 1); s.Clear() }, `{}`},
		{"Set after Clear", func(s *session.Session) { s.Clear(); num.Set(s, 2) }, `{"n":2}`},
		{"Reload forgets", func(s *session.Session) {
			num.Set(s, 9)
			*carts.Ref(s) = cart{}
			if err := s.Reload(); err != nil {
				t.Error(err)
			}
		}, `{"cart":{"Items":["a"]},"n":1}`},
		{"Unset forgets", func(s *session.Session) { num.Set(s, 9); s.Unset() }, `{"cart":{"Items":["a"]},"n":1}`},
		{"a value that is changed after Set is not", func(s *session.Session) {
			m := map[string]int{"a": 1}
			s.Set("m", m)
			m["a"] = 2
		}, `{"cart":{"Items":["a"]},"m":{"a":1},"n":1}`},
		{"many short values", func(s *session.Session) {
			s.Clear()
			for i := range 20 {
				s.Set(fmt.Sprint(i), "ab")
				s.Set(fmt.Sprint(i), fmt.Sprintf("%05d", i))
			}
			for i := range 20 {
				v, ok := session.Get[string](s, fmt.Sprint(i))
				equal(t, "a short value", fmt.Sprint(v, ok), fmt.Sprintf("%05dtrue", i))
				s.Delete(fmt.Sprint(i))
			}
			s.Set("last", "x")
		}, `{"last":"x"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t)
			b := st.visitor(map[string]any{"n": 1, "cart": cart{[]string{"a"}}})
			w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { test.do(s) })
			equal(t, "status", w.Code, 200)
			equal(t, "the session", b.data(), test.want)
		})
	}
}

func TestKeysInOrder(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		for _, k := range []string{"z", "a", "m"} {
			s.Set(k, 1)
		}
		s.SetMaxAge(time.Hour) // puts the member "cookie" there
	})
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("b", 1)
		s.Delete("a")
		s.Set("z", 2)
		equal(t, "keys", fmt.Sprint(s.Keys()), "[z m b]")
	})
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		equal(t, "keys", fmt.Sprint(s.Keys()), "[z m b]")
	})
}

func TestKeysAreAnyText(t *testing.T) {
	data := map[string]any{}
	for _, k := range []string{"", "a.b", `"`, `\`, "\n", "\x00", "ä", "__proto__", "constructor", "cookies", "Cookie", "\u2028", "id", strings.Repeat("k", 5000)} {
		data[k] = k
	}
	st := newSite(t)
	b := st.visitor(data)
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		equal(t, "number of keys", len(s.Keys()), len(data))
		for k := range data {
			v, ok := session.Get[string](s, k)
			if !ok || v != k {
				t.Errorf("key %q: %q %v", k, v, ok)
			}
			s.Delete(k)
		}
	})
	equal(t, "the session", b.data(), "{}")
}

func TestKeyName(t *testing.T) {
	equal(t, "Name", session.NewKey[int]("views").Name(), "views")
}
