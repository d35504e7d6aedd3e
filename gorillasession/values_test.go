package gorillasession_test

import (
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

type role string

type user struct {
	Name  string
	Roles []string
	Since time.Time
}

type point struct{ X, Y int }

type place struct{ Row, Seat int }

func init() {
	gob.Register(role(""))
	gob.Register(user{})
	gob.Register(&point{})
	gob.Register(place{})
	gob.Register([2]string{})
	gob.Register(map[string]int{})
	gob.Register(map[string]any{})
	gob.Register(time.Time{})
	gob.Register(time.Duration(0))
}

var moment = time.Date(2026, 3, 1, 12, 30, 15, 123456789, time.UTC)

// What programs put into a session comes back with its type, as it does from
// gorilla's own stores. The text is what other tools see, where that matters.
var values = []struct {
	name  string
	value any
	text  string
}{
	{"a string", "ada", `"ada"`},
	{"an empty string", "", `""`},
	{"a string with everything that JSON escapes", "\"\\\n\x00<&>\u2028é💚", ""},
	{"a string as it stands in a page", "<a&b>", `"<a&b>"`},
	{"a string that is not UTF-8, as gothic's", "\x1f\x8b\x08\xff\xfe", `{"string":"H4sI//4="}`},
	{"true", true, `true`},
	{"false", false, `false`},
	{"an int", 7, `7`},
	{"zero", 0, `0`},
	{"a negative int", -7, `-7`},
	{"the greatest int", math.MaxInt, `9223372036854775807`},
	{"an int8", int8(-8), `{"int8":-8}`},
	{"an int16", int16(-16), `{"int16":-16}`},
	{"an int32", int32(-32), `{"int32":-32}`},
	{"an int64", int64(math.MinInt64), `{"int64":-9223372036854775808}`},
	{"a uint, as an ORM's ID", uint(7), `{"uint":7}`},
	{"a uint8", uint8(8), `{"uint8":8}`},
	{"a uint16", uint16(16), `{"uint16":16}`},
	{"a uint32", uint32(32), `{"uint32":32}`},
	{"a uint64", uint64(math.MaxUint64), `{"uint64":18446744073709551615}`},
	{"a uintptr", uintptr(7), `{"uintptr":7}`},
	{"a float64 that is whole", 3.0, `{"float64":3}`},
	{"a float64", 0.1, `{"float64":0.1}`},
	{"a very small float64", math.SmallestNonzeroFloat64, ""},
	{"a float64 with a sign of nothing", math.Copysign(0, -1), ""},
	{"infinity", math.Inf(1), ""},
	{"a float32", float32(0.1), `{"float32":0.1}`},
	{"a complex number", complex(1, 2), ""},
	{"bytes", []byte{0, 1, 255}, `{"[]byte":"AAH/"}`},
	{"no bytes", []byte{}, ""},
	{"nil bytes", []byte(nil), ""},
	{"a time", moment, `{"time.Time":"2026-03-01T12:30:15.123456789Z"}`},
	{"a local time", moment.Local(), ""},
	{"a time elsewhere", moment.In(time.FixedZone("", 5*3600+1800)), ""},
	{"a time that RFC 3339 cannot write", time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC), ""},
	{"no time", time.Time{}, ""},
	{"a duration", time.Minute, ""},
	{"a string of a type of the program", role("admin"), ""},
	{"a struct", user{Name: "ada", Roles: []string{"admin"}, Since: moment}, ""},
	{"a pointer to a struct", &point{1, 2}, ""},
	{"strings", []string{"a", "b"}, ""},
	{"a map", map[string]int{"a": 1, "b": 2}, ""},
	{"a map of anything", map[string]any{"a": 1, "b": "2", "c": []any{true}}, ""},
	{"flashes", []any{"Saved.", 7, role("admin"), place{1, 2}}, ""},
	{"flashes that are all text", []any{"Saved.", "Sent."}, `["Saved.","Sent."]`},
	{"a list in a list", []any{[]any{"a"}, []any{}}, ""},
	{"an empty list", []any{}, ""},
}

func TestValuesKeepTheirTypes(t *testing.T) {
	for _, test := range values {
		t.Run(test.name, func(t *testing.T) {
			theirs := throughGorilla(t, test.value)
			if theirs == nil {
				t.Fatal("gorilla has lost it")
			}
			inBoth(t, func(t *testing.T, within bool) {
				st := newSite(t, within)
				b := st.browser()
				if resp := b.set("app", "v", test.value); resp.StatusCode != 200 {
					t.Fatal(body(t, resp))
				}
				ours := b.look("app")["v"]
				if at, ok := ours.(time.Time); ok {
					_, offset := at.Zone()
					_, want := theirs.(time.Time).Zone()
					equal(t, "the offset", offset, want)
					equal(t, "whether it is the same time", at.Equal(theirs.(time.Time)), true)
				} else if !reflect.DeepEqual(ours, theirs) {
					t.Errorf("ours is %T %#v, gorilla's is %T %#v", ours, ours, theirs, theirs)
				}
				if test.text != "" {
					equal(t, "the text", st.data(), `{"app:v":`+test.text+`}`)
				}
				if !json.Valid([]byte(st.data())) {
					t.Errorf("no JSON: %s", st.data())
				}

				// And saved again it is no change.
				version := st.live()[0].Version
				b.with("app", func(*sessions.Session) bool { return true })
				equal(t, "the version after a save of what was there", st.live()[0].Version, version)
			})
		})
	}
}

// throughGorilla returns what becomes of a value in gorilla's own store.
func throughGorilla(t *testing.T, value any) any {
	t.Helper()
	store := sessions.NewCookieStore([]byte("a key of gorilla's"))
	w := httptest.NewRecorder()
	s, err := store.New(httptest.NewRequest("GET", "/", nil), "app")
	if err != nil {
		t.Fatal(err)
	}
	s.Values["v"] = value
	if err := s.Save(httptest.NewRequest("GET", "/", nil), w); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", w.Result().Cookies()[0].String())
	if s, err = store.New(r, "app"); err != nil {
		t.Fatal(err)
	}
	return s.Values["v"]
}

func TestNaNAndNil(t *testing.T) {
	st := newSite(t, true)
	b := st.browser()
	b.with("app", func(s *sessions.Session) bool {
		s.Values["nan"], s.Values["nil"] = math.NaN(), nil
		return true
	})
	got := b.look("app")
	if f, ok := got["nan"].(float64); !ok || !math.IsNaN(f) {
		t.Errorf("NaN is %#v", got["nan"])
	}
	if v, ok := got["nil"]; !ok || v != nil {
		t.Errorf("nil is %#v, %v", v, ok)
	}
	version := st.live()[0].Version
	b.with("app", func(*sessions.Session) bool { return true })
	equal(t, "the version after a save of what was there", st.live()[0].Version, version)
}

func TestKeysKeepTheirTypes(t *testing.T) {
	keys := map[any]string{
		"user":           `app:user`,
		"":               `app:`,
		"a:b=c":          `app:a:b=c`,
		"cookie":         `app:cookie`,
		"é \"quoted\"":   "",
		"not\xffUTF-8":   "",
		7:                `app=7`,
		int64(7):         `app={"int64":7}`,
		true:             `app=true`,
		role("user"):     "",
		place{1, 2}:      "",
		[2]string{"a"}:   "",
		"__proto__":      `app:__proto__`,
		"_flash":         `app:_flash`,
		uint(0):          `app={"uint":0}`,
		time.Duration(1): "",
	}
	inBoth(t, func(t *testing.T, within bool) {
		st := newSite(t, within)
		b := st.browser()
		b.with("app", func(s *sessions.Session) bool {
			for key := range keys {
				s.Values[key] = fmt.Sprintf("%#v", key)
			}
			return true
		})
		got := b.look("app")
		for key, text := range keys {
			equal(t, fmt.Sprintf("the value under %#v", key), got[key], any(fmt.Sprintf("%#v", key)))
			if name, _ := json.Marshal(text); text != "" && !strings.Contains(st.data(), string(name)+":") {
				t.Errorf("there is no %s in %s", name, st.data())
			}
		}
		equal(t, "the number of values", len(got), len(keys))

		// They can be changed and removed.
		b.with("app", func(s *sessions.Session) bool {
			for key := range keys {
				s.Values[key] = 1
			}
			return true
		})
		b.with("app", func(s *sessions.Session) bool {
			for key, value := range s.Values {
				equal(t, fmt.Sprintf("the value under %#v", key), value, any(1))
				delete(s.Values, key)
			}
			return true
		})
		equal(t, "what is left", len(b.look("app")), 0)
	})
}

func TestWhatOthersHavePutThere(t *testing.T) {
	st := newSite(t, true)
	b := st.browser()
	raw := map[string]string{
		"app:float":  `7.5`,
		"app:big":    `12345678901234567890`,
		"app:object": `{"a": 1, "b": [true]}`,
		"app:one":    `{"a": 1}`,
		"app:two":    `{"int64": 1, "uint": 2}`,
		"app:spaced": `[ "a" , 7 ]`,
		"app:text":   `"\u0061"`,
	}
	b.get(func(_ http.ResponseWriter, r *http.Request) {
		for key, text := range raw {
			session.From(r).Set(key, json.RawMessage(text))
		}
		session.From(r).Set("other", "not gorilla's")
		session.From(r).Set("app", "nor is this")
	})
	want := map[any]any{
		"float":  7.5,
		"big":    12345678901234567890.0,
		"object": map[string]any{"a": 1.0, "b": []any{true}},
		"one":    map[string]any{"a": 1.0},
		"two":    map[string]any{"int64": 1.0, "uint": 2.0},
		"spaced": []any{"a", 7},
		"text":   "a",
	}
	if got := b.look("app"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
	before := st.data()
	b.with("app", func(*sessions.Session) bool { return true })
	equal(t, "the data after a save without changes", st.data(), before)
}

func TestANewCodeReadsWhatGorillaWrote(t *testing.T) {
	st := newSite(t, true)
	b := st.browser()
	b.with("app", func(s *sessions.Session) bool {
		s.Values["user"], s.Values["visits"], s.Values["staff"] = "ada", 3, true
		return true
	})
	b.get(func(_ http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		user, _ := session.NewKey[string]("app:user").Get(s)
		visits, _ := session.NewKey[int]("app:visits").Get(s)
		staff, _ := session.NewKey[bool]("app:staff").Get(s)
		equal(t, "user", user, "ada")
		equal(t, "visits", visits, 3)
		equal(t, "staff", staff, true)
	})
}

func TestAValueThatCannotBeRead(t *testing.T) {
	for name, text := range map[string]string{
		"a type that is not registered": `{"gob":"` + gobOfUnknownType + `"}`,
		"no base64":                     `{"gob":"?"}`,
		"no gob":                        `{"gob":"AAAA"}`,
		"no time":                       `{"time.Time":"noon"}`,
		"a number out of range":         `{"uint8":256}`,
		"one in a list":                 `["a",{"int8":1000}]`,
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, within bool) {
				st := newSite(t, within)
				b := st.browser()
				b.set("app", "user", "ada")
				token := b.cookies["__Host-session"]
				put(t, st, token, "app:bad", text)
				b.get(func(w http.ResponseWriter, r *http.Request) {
					s, err := st.store.Get(r, "app")
					if err == nil {
						t.Fatal("no error")
					}
					contains(t, "the error", err.Error(), `"app:bad"`)
					if name == "a type that is not registered" {
						contains(t, "the error", err.Error(), "gob.Register")
					}
					equal(t, "IsNew", s.IsNew, false)
					equal(t, "the other value", s.Values["user"], any("ada"))
					if _, ok := s.Values["bad"]; ok {
						t.Error("there is a value")
					}
					again, err2 := st.store.Get(r, "app")
					if again != s || err2 != err {
						t.Error("the second Get says something else")
					}
					s.Values["more"] = 1
					if err := s.Save(r, w); err != nil {
						t.Errorf("Save: %v", err)
					}
				})
				contains(t, "the data", st.data(), `"app:bad":`+text) // a new version of the program may know it
				b.get(func(w http.ResponseWriter, r *http.Request) {
					s, _ := st.store.Get(r, "app")
					s.Values["bad"] = "good"
					if err := s.Save(r, w); err != nil {
						t.Errorf("Save: %v", err)
					}
				})
				equal(t, "the value that has taken its place", b.look("app")["bad"], any("good"))

				put(t, st, token, "app:bad", text)
				b.get(func(w http.ResponseWriter, r *http.Request) {
					s, _ := st.store.Get(r, "app")
					s.Options.MaxAge = -1
					if err := s.Save(r, w); err != nil {
						t.Errorf("Save: %v", err)
					}
				})
				equal(t, "sessions after the sign-out", len(st.live()), 0)
			})
		})
	}
	t.Run("a key that cannot be read", func(t *testing.T) {
		for _, key := range []string{`app=`, `app=x`, `app={"[]byte":"AA=="}`, `app=null`} {
			st := newSite(t, true)
			b := st.browser()
			b.set("app", "user", "ada")
			put(t, st, b.cookies["__Host-session"], key, `1`)
			b.get(func(_ http.ResponseWriter, r *http.Request) {
				s, err := st.store.Get(r, "app")
				if err == nil || len(s.Values) != 1 {
					t.Errorf("%s: %v, %d values", key, err, len(s.Values))
				}
			})
		}
	})
}

// gobOfUnknownType is a value of the type main.Unknown, made by another program.
const gobOfUnknownType = "KRAADG1haW4uVW5rbm93bn8DAQEHVW5rbm93bgH/gAABAQEBQQEEAAAABv+AAwECAA=="

// put puts a text into the session of a cookie.
func put(t *testing.T, st *site, cookie, key, text string) {
	t.Helper()
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	r.Header.Set("Cookie", "__Host-session="+cookie)
	s, err := st.OpenRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	s.Set(key, json.RawMessage(text))
	if _, err := st.Commit(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func TestAValueThatCannotBeKept(t *testing.T) {
	type unregistered struct{ A int }
	for name, set := range map[string]func(values map[any]any){
		"a type that is not registered": func(values map[any]any) { values["bad"] = unregistered{1} },
		"a function":                    func(values map[any]any) { values["bad"] = func() {} },
		"one in a list":                 func(values map[any]any) { values["bad"] = []any{unregistered{1}} },
		"a key":                         func(values map[any]any) { values[unregistered{1}] = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, within bool) {
				st := newSite(t, within)
				b := st.browser()
				b.set("app", "user", "ada")
				before := st.data()
				b.get(func(w http.ResponseWriter, r *http.Request) {
					s, _ := st.store.Get(r, "app")
					s.Values["more"] = 1
					set(s.Values)
					if err := s.Save(r, w); err == nil {
						t.Error("Save has no error")
					}
				})
				equal(t, "the data", st.data(), before)
			})
		})
	}
}
