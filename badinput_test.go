package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
)

// Each kind of bad input gets a clear answer and loses nothing. What comes in
// cookies is in identity_test.go.

func TestOptionErrors(t *testing.T) {
	type O = session.Options
	lister := memstore.New(nil)
	for _, test := range []struct {
		name  string
		edit  func(o *O)
		wants []string // what is wrong, and how to mend it
	}{
		{"no secret", func(o *O) { o.Secrets = nil }, []string{"Options.Secrets is empty", "openssl rand -base64 33", "sessionctl secret", "SecretsFromEnv"}},
		{"a short secret", func(o *O) { o.Secrets = []session.Secret{"short"} }, []string{"secret 1 of Options.Secrets has 5 bytes", "at least 32", "openssl", "AllowWeakSecrets"}},
		{"a short old secret", func(o *O) { o.Secrets = []session.Secret{newSecret, "short"} }, []string{"secret 2"}},
		{"an empty secret", func(o *O) { o.Secrets = []session.Secret{""} }, []string{"secret 1 of Options.Secrets is empty", "openssl"}},
		{"an empty secret among weak ones", func(o *O) { o.AllowWeakSecrets = true; o.Secrets = []session.Secret{"a", ""} }, []string{"secret 2 of Options.Secrets is empty"}},
		{"a secret twice", func(o *O) { o.Secrets = []session.Secret{newSecret, oldSecret, newSecret} }, []string{"secret 3 of Options.Secrets is the same as secret 1", "remove one"}},
		{"a name with a space", func(o *O) { o.Cookie.Name = "my session" }, []string{"Cookie.Name", "letters, digits"}},
		{"a name with a semicolon", func(o *O) { o.Cookie.Name = "a;b" }, []string{"Cookie.Name"}},
		{"a name with a newline", func(o *O) { o.Cookie.Name = "a\nb" }, []string{"Cookie.Name"}},
		{"a name that is too long", func(o *O) { o.Cookie.Name = strings.Repeat("a", 3579) }, []string{"at most 3578", "4096"}},
		{"a path without slash", func(o *O) { o.Cookie.Path = "app" }, []string{"Cookie.Path", "begin with /"}},
		{"a path with a semicolon", func(o *O) { o.Cookie.Path = "/;Domain=evil.test" }, []string{"Cookie.Path", "semicolon"}},
		{"a path that is too long", func(o *O) { o.Cookie.Path = "/" + strings.Repeat("a", 1024) }, []string{"Cookie.Path", "1024"}},
		{"a domain with a newline", func(o *O) { o.Cookie.Domain = "a.test\r\nX: y" }, []string{"Cookie.Domain", "not a domain"}},
		{"a domain with a port", func(o *O) { o.Cookie.Domain = "a.test:8080" }, []string{"not a domain"}},
		{"a domain that is a URL", func(o *O) { o.Cookie.Domain = "https://a.test" }, []string{"not a domain"}},
		{"a negative MaxAge", func(o *O) { o.Cookie.MaxAge = -time.Second }, []string{"Cookie.MaxAge", "positive"}},
		{"a MaxAge without unit", func(o *O) { o.Cookie.MaxAge = 3600 }, []string{"Cookie.MaxAge is 3.6µs", "unit"}},
		{"MaxAge and Expires", func(o *O) { o.Cookie.MaxAge = time.Hour; o.Cookie.Expires = time.Now() }, []string{"both set", "keep one"}},
		{"an unknown Secure", func(o *O) { o.Cookie.Secure = 17 }, []string{"Cookie.Secure", "17"}},
		{"an unknown SameSite", func(o *O) { o.Cookie.SameSite = 17 }, []string{"Cookie.SameSite", "17"}},
		{"SameSite None without Secure", func(o *O) { o.Cookie.SameSite = http.SameSiteNoneMode; o.Cookie.Secure = session.InsecureNever }, []string{"only with Secure", "SameSiteAuto"}},
		{"Partitioned without Secure", func(o *O) { o.Cookie.Partitioned = true; o.Cookie.Secure = session.SecureAuto }, []string{"Partitioned", "only with Secure"}},
		{"an unknown Priority", func(o *O) { o.Cookie.Priority = "urgent" }, []string{"Low, Medium or High"}},
		{"__Host- with a domain", func(o *O) { o.Cookie.Name = "__Host-a"; o.Cookie.Domain = "a.test" }, []string{"browsers drop", "no Domain"}},
		{"__Host- with a path", func(o *O) { o.Cookie.Name = "__Host-a"; o.Cookie.Path = "/app" }, []string{"browsers drop", "Path /"}},
		{"__Host- without Secure", func(o *O) { o.Cookie.Name = "__Host-a"; o.Cookie.Secure = session.SecureAuto }, []string{"browsers drop"}},
		{"__host- in other case", func(o *O) { o.Cookie.Name = "__hOsT-a"; o.Cookie.Domain = "a.test" }, []string{"browsers drop"}},
		{"__Secure- without Secure", func(o *O) { o.Cookie.Name = "__Secure-a"; o.Cookie.Secure = session.InsecureNever }, []string{"browsers drop", "SecureAlways"}},
		{"__Host-Http- for scripts", func(o *O) { o.Cookie.Name = "__Host-Http-a"; o.Cookie.AllowScript = true }, []string{"HttpOnly"}},
		{"__Http- for scripts", func(o *O) { o.Cookie.Name = "__Http-a"; o.Cookie.AllowScript = true }, []string{"HttpOnly"}},
		{"a negative idle timeout", func(o *O) { o.IdleTimeout = -1 }, []string{"Options.IdleTimeout", "shortest"}},
		{"an idle timeout without unit", func(o *O) { o.IdleTimeout = 1800 }, []string{"Options.IdleTimeout is 1.8µs", "unit"}},
		{"a renewal timeout without unit", func(o *O) { o.RenewalTimeout = 60 }, []string{"RenewalTimeout"}},
		{"a renewal grace without unit", func(o *O) { o.RenewalGrace = 60 }, []string{"RenewalGrace"}},
		{"a store timeout without unit", func(o *O) { o.StoreTimeout = 5 }, []string{"StoreTimeout"}},
		{"MaxAge and another IdleTimeout", func(o *O) { o.Cookie.MaxAge = time.Hour; o.IdleTimeout = 2 * time.Hour }, []string{"leave IdleTimeout out"}},
		{"an absolute timeout that is too short", func(o *O) { o.IdleTimeout = 2 * time.Hour; o.AbsoluteTimeout = time.Hour }, []string{"AbsoluteTimeout", "shorten"}},
		{"an absolute timeout below MaxAge", func(o *O) { o.Cookie.MaxAge = 2 * time.Hour; o.AbsoluteTimeout = time.Hour }, []string{"AbsoluteTimeout", "shorten"}},
		{"a touch interval as long as the idle timeout", func(o *O) { o.TouchInterval = time.Hour }, []string{"TouchInterval", "shorten"}},
		{"a touch interval longer than MaxAge", func(o *O) { o.Cookie.MaxAge = time.Minute; o.TouchInterval = time.Hour }, []string{"TouchInterval", "shorten"}},
		{"a header that is none", func(o *O) { o.Header = "X Token" }, []string{"Options.Header", "not the name"}},
		{"a header with a newline", func(o *O) { o.Header = "X\r\nY" }, []string{"Options.Header"}},
		{"a header and Rolling", func(o *O) { o.Header = "X-Token"; o.Rolling = true }, []string{"Options.Header", "Rolling"}},
		{"a header and Express", func(o *O) { o.Header = "X-Token"; o.ExpressCompatible = true }, []string{"Options.Header", "ExpressCompatible"}},
		{"renewal with Express", func(o *O) { o.RenewalTimeout = time.Hour; o.ExpressCompatible = true }, []string{"RenewalTimeout", "leave it out"}},
		{"an unknown Unset", func(o *O) { o.Unset = 5 }, []string{"Options.Unset", "UnsetDestroy"}},
		{"an unknown AtLimit", func(o *O) { o.AtLimit = -1 }, []string{"Options.AtLimit", "RefuseNew"}},
		{"a negative size", func(o *O) { o.MaxSize = -1 }, []string{"MaxSize", "negative"}},
		{"a negative limit", func(o *O) { o.MaxPerSubject = -1 }, []string{"MaxPerSubject", "negative"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := session.Options{Secrets: []session.Secret{newSecret}, NoStoreWarning: true}
			test.edit(&o)
			m, err := session.New(lister, &o)
			if err == nil || m != nil {
				t.Fatal("New accepted it")
			}
			for _, want := range append(test.wants, "session: ") {
				contains(t, "error", err.Error(), want)
			}
			for _, secret := range o.Secrets {
				if len(secret) > 8 && strings.Contains(err.Error(), string(secret)) {
					t.Error("the error shows the secret:", err)
				}
			}
		})
	}
	t.Run("a limit with a store that cannot list", func(t *testing.T) {
		_, err := session.New(onlyStore{lister}, &session.Options{Secrets: []session.Secret{newSecret}, MaxPerSubject: 1})
		if err == nil {
			t.Fatal("New accepted it")
		}
		contains(t, "error", err.Error(), "needs a store that can list sessions, which session_test.onlyStore cannot")
	})
	t.Run("no store", func(t *testing.T) {
		_, err := session.New(nil, &session.Options{Secrets: []session.Secret{newSecret}})
		contains(t, "error", fmt.Sprint(err), "memstore.New(nil)")
	})
	t.Run("no options", func(t *testing.T) {
		_, err := session.New(lister, nil)
		contains(t, "error", fmt.Sprint(err), "Options.Secrets is empty")
	})
	t.Run("weak secrets, if allowed", func(t *testing.T) {
		if _, err := session.New(lister, &session.Options{Secrets: []session.Secret{"keyboard cat"}, AllowWeakSecrets: true, NoStoreWarning: true}); err != nil {
			t.Error(err)
		}
	})
	t.Run("options are copied", func(t *testing.T) {
		secrets := []session.Secret{newSecret}
		o := session.Options{Secrets: secrets, NoStoreWarning: true, Logger: slog.New(slog.DiscardHandler)}
		m, err := session.New(lister, &o)
		if err != nil {
			t.Fatal(err)
		}
		secrets[0], o.MaxSize = "changed", 1
		s, _ := m.Open(context.Background(), "")
		s.Set("a", 1)
		if _, err := m.Commit(context.Background(), s); err != nil {
			t.Error(err)
		}
	})
}

// onlyStore hides the capabilities of a store.
type onlyStore struct{ session.Store }

func TestValuesThatCannotBeEncoded(t *testing.T) {
	circle := map[string]any{}
	circle["self"] = circle
	for name, value := range map[string]any{
		"a function": func() {}, "a channel": make(chan int), "NaN": nan(), "a circle": circle,
		"a marshaler that fails": failing{}, "a marshaler that lies": lying{},
	} {
		t.Run(name, func(t *testing.T) {
			var got error
			st := newSite(t, func(o *session.Options) {
				o.OnError = func(w http.ResponseWriter, _ *http.Request, err error) { got = err; http.Error(w, "sorry", 500) }
			})
			b := st.visitor(map[string]any{"a": 1, "b": 2})
			w := b.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				s.Set("b", 3)
				s.Set("bad", value)
				s.Set("c", 4)
				io.WriteString(w, "page")
			})
			equal(t, "status", w.Code, 500)
			var keyErr *session.KeyError
			if !errors.As(got, &keyErr) || keyErr.Key != "bad" {
				t.Fatal("OnError got", got)
			}
			contains(t, "error", got.Error(), `key "bad"`)
			equal(t, "the session", b.data(), `{"a":1,"b":2}`)
		})
	}
	t.Run("by reference", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			*session.NewKey[float64]("bad").Ref(s) = nan()
			s.Set("a", 2)
		})
		equal(t, "status", w.Code, 500)
		contains(t, "log", st.log.String(), `key \"bad\"`)
		equal(t, "the session", b.data(), `{"a":1}`)
	})
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}

type failing struct{}

func (failing) MarshalJSON() ([]byte, error) { return nil, errDown }

type lying struct{}

func (lying) MarshalJSON() ([]byte, error) { return []byte(`1},"cookie":{"path":"/evil"`), nil }

// seed writes a record with the data for a fresh browser, past all checks.
func (st *site) seed(data string) *browser {
	st.t.Helper()
	b := st.visitor(map[string]any{"planted": true})
	st.replant(b, data)
	return b
}

func (st *site) replant(b *browser, data string) {
	st.t.Helper()
	var id string
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { id = s.ID() })
	rec, err := st.store.Load(context.Background(), id)
	if err != nil {
		st.t.Fatal(err)
	}
	rec.Data = []byte(data)
	if _, err := st.store.Save(context.Background(), &rec); err != nil {
		st.t.Fatal(err)
	}
}

func TestRecordsThatDoNotDecode(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":                             "",
		"space":                               "  \n",
		"a brace":                             "{",
		"a brace and space":                   "{ ",
		"a torn record":                       `{"name":"23","cart":[1,2`,
		"a torn string":                       `{"name":"2`,
		"a torn escape":                       `{"name":"\`,
		"a torn key":                          `{"na`,
		"no colon":                            `{"name"}`,
		"no value":                            `{"name":}`,
		"a comma at the end":                  `{"name":1,}`,
		"two objects":                         `{"name":1}{"name":2}`,
		"rubbish at the end":                  `{"name":1}x`,
		"rubbish":                             "\x00\x01\x02\xff",
		"gob":                                 "\r\x7f\x04\x01\x02\xff\x80",
		"a string":                            `"name"`,
		"a number":                            `7`,
		"null":                                `null`,
		"an array":                            `[]`,
		"an unknown array":                    `["moved","x"]`,
		"a pointer to rubbish":                `["renewed","x","y","z"]`,
		"a pointer without end":               `["renewed","x"]`,
		"a pointer whose token is not base64": `["renewed","99999999999999","abc","***"]`,
		"a pointer with a number":             `["retired",99999999999999]`,
		"deep nesting that does not end":      `{"a":` + strings.Repeat("[", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			b := st.seed(data)
			st.kinds()
			w := b.clone().get(read)
			equal(t, "status", w.Code, 200)
			equal(t, "body", w.Body.String(), "count 0")
			contains(t, "the cookie is cleared", w.Header().Get("Set-Cookie"), "1970")
			equal(t, "events", st.kinds(), "corrupt")
			contains(t, "log", st.log.String(), "not a JSON object")
			w = b.get(write)
			equal(t, "status of a write", w.Code, 200)
			equal(t, "the new session", b.data(), `{"count":1}`)
		})
	}
}

func TestRecordsThatDecode(t *testing.T) {
	num := session.NewKey[int]("n")
	for name, test := range map[string]struct{ data, after string }{
		"space everywhere":   {" {\n\t\"n\" : 1 , \"x\" : [ 1 , 2 ] } ", `{"n":2,"x":[ 1 , 2 ]}`},
		"an escaped key":     {`{"\u006e":1}`, `{"\u006e":2}`},
		"a key twice":        {`{"n":1,"n":9}`, `{"n":2,"n":2}`},
		"huge numbers":       {`{"big":123456789012345678901234567890,"e":1E400,"n":1}`, `{"big":123456789012345678901234567890,"e":1E400,"n":2}`},
		"number texts":       {`{"a":1.0,"b":1e2,"c":-0,"n":1}`, `{"a":1.0,"b":1e2,"c":-0,"n":2}`},
		"key order":          {`{"z":1,"n":1,"a":1}`, `{"z":1,"n":2,"a":1}`},
		"__proto__":          {`{"__proto__":{"admin":true},"n":1}`, `{"__proto__":{"admin":true},"n":2}`},
		"an empty key":       {`{"":5,"n":1}`, `{"":5,"n":2}`},
		"deep nesting":       {`{"deep":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"n":1}`, `{"deep":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"n":2}`},
		"brackets in string": {`{"s":"}]{[\"","n":1}`, `{"s":"}]{[\"","n":2}`},
		"U+2028":             {"{\"s\":\"\u2028\",\"n\":1}", "{\"s\":\"\u2028\",\"n\":2}"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			b := st.seed(test.data)
			w := b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
				n, ok := num.Get(s)
				equal(t, "the value", fmt.Sprint(n, ok), "1 true")
				num.Set(s, n+1)
			})
			equal(t, "status", w.Code, 200)
			equal(t, "the record", string(st.records()[0].Data), test.after)
		})
	}
}

// What stands in the member "cookie" decides where cookies go and how long
// sessions live, so nobody may get at it as a key of his own.
func TestTheReservedKey(t *testing.T) {
	t.Run("is refused under its name", func(t *testing.T) {
		st := newSite(t)
		b := st.visitor(map[string]any{"a": 1})
		w := b.get(set("cookie", map[string]any{"path": "/evil"}))
		equal(t, "status", w.Code, 500)
		contains(t, "log", st.log.String(), "reserved")
		equal(t, "the session", b.data(), `{"a":1}`)
		defer func() { contains(t, "panic of NewKey", fmt.Sprint(recover()), "reserved") }()
		session.NewKey[int]("cookie")
	})
	t.Run("is the same when it is written with escapes", func(t *testing.T) {
		st := newSite(t)
		b := st.seed(`{"\u0063ookie":{"path":"/app","originalMaxAge":60000},"a":1}`)
		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			equal(t, "keys", fmt.Sprint(s.Keys()), "[a]")
			equal(t, "path", s.Cookie().Path, "/app")
			if _, ok := session.Get[any](s, "cookie"); ok {
				t.Error("it can be read")
			}
			s.Delete("cookie")
			s.Clear()
		})
		equal(t, "the record", string(st.records()[0].Data), `{"\u0063ookie":{"originalMaxAge":60000,"path":"/app"}}`)
	})
}

func TestHostileAttributesInAStore(t *testing.T) {
	for name, data := range map[string]string{
		"a domain with a newline":   `{"cookie":{"domain":"a.test\r\nSet-Cookie: evil=1"}}`,
		"a domain with attributes":  `{"cookie":{"domain":"a.test; Path=/x; SameSite=None"}}`,
		"a path with a newline":     `{"cookie":{"path":"/\nX: y"}}`,
		"a path with attributes":    `{"cookie":{"path":"/; Domain=evil.test"}}`,
		"a priority of rubbish":     `{"cookie":{"priority":"High; Domain=evil.test"}}`,
		"a SameSite of rubbish":     `{"cookie":{"sameSite":"None; Domain=evil.test"}}`,
		"attributes of other kinds": `{"cookie":{"domain":5,"path":[],"priority":{},"sameSite":7,"secure":"x; Domain=evil","httpOnly":[1],"partitioned":"x"}}`,
		"ages of rubbish":           `{"cookie":{"originalMaxAge":"soon","idleTimeout":"x","absoluteTimeout":[],"issued":{}}}`,
		"ages that are not numbers": `{"cookie":{"originalMaxAge":nan,"idleTimeout":inf,"absoluteTimeout":-inf,"issued":nan}}`,
		"no object":                 `{"cookie":"path=/"}`,
		"null":                      `{"cookie":null}`,
		"a torn one":                `{"cookie":{"domain":}}`,
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) { o.Rolling = true })
			b := st.seed(data)
			for _, p := range []page{read, write, renewID, destroy} {
				w := b.clone().get(p)
				for _, line := range w.Header()["Set-Cookie"] {
					if strings.ContainsAny(line, "\r\n") || strings.Contains(strings.ToLower(line), "evil") || strings.Count(line, "Path=") > 1 || strings.Count(line, "SameSite=") > 1 {
						t.Errorf("Set-Cookie: %q", line)
					}
				}
			}
		})
	}
	t.Run("huge ages do not overflow", func(t *testing.T) {
		for _, age := range []string{"1e300", "9223372036854775807", "9223372036854.7"} {
			st := newSite(t)
			b := st.seed(`{"cookie":{"originalMaxAge":` + age + `,"idleTimeout":` + age + `,"absoluteTimeout":` + age + `},"a":1}`)
			equal(t, "status", b.get(set("b", 2)).Code, 200)
			equal(t, "the session", b.data(), `{"a":1,"b":2}`)
		}
	})
}

func TestWrongTypes(t *testing.T) {
	st := newSite(t)
	b := st.seed(`{"n":"text","s":5,"b":1,"null":null,"o":{"x":"y"},"f":1.5,"big":99999999999999999999}`)
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		for what, ok := range map[string]bool{
			"int of text":     has[int](s, "n"),
			"string of int":   has[string](s, "s"),
			"bool of int":     has[bool](s, "b"),
			"int of fraction": has[int](s, "f"),
			"int too large":   has[int](s, "big"),
			"int8 too large":  has[int8](s, "big"),
			"struct":          has[struct{ X int }](s, "o"),
			"time":            has[time.Time](s, "n"),
			"slice":           has[[]int](s, "o"),
			"missing":         has[int](s, "missing"),
			// Express sets a user to null to sign him out; he must not be user 0.
			"int of null":    has[int](s, "null"),
			"string of null": has[string](s, "null"),
			"bool of null":   has[bool](s, "null"),
			"float of null":  has[float64](s, "null"),
			"struct of null": has[struct{ X int }](s, "null"),
			"array of null":  has[[1]int](s, "null"),
		} {
			if ok {
				t.Errorf("%s is there", what)
			}
		}
		for what, ok := range map[string]bool{
			"pointer of null": has[*int](s, "null"), "any of null": has[any](s, "null"), "map of null": has[map[string]int](s, "null"),
			"float of int": has[float64](s, "s"), "any of text": has[any](s, "n"),
		} {
			if !ok {
				t.Errorf("%s is not there", what)
			}
		}
		equal(t, "Err", s.Err(), nil)
	})
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		*session.NewKey[int]("n").Ref(s) += 0
	})
	contains(t, "a reference to another type that nobody changes", b.data(), `"n":"text"`)
	b.get(set("n", 7))
	contains(t, "the session", b.data(), `"n":7`)
}

func has[T any](s *session.Session, key string) bool {
	v, ok := session.Get[T](s, key)
	var zero T
	if !ok && fmt.Sprint(v) != fmt.Sprint(zero) {
		panic(fmt.Sprint("not ok, and yet a value: ", v))
	}
	return ok
}

func TestSessionsOverTheLimit(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.MaxSize = 1000 })
	b := st.visitor(map[string]any{"a": 1})
	var got error
	w := b.get(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		s.Set("long", strings.Repeat("x", 2000))
		got = s.Save()
		io.WriteString(w, "page")
	})
	equal(t, "status", w.Code, 500)
	if !errors.Is(got, session.ErrTooLarge) {
		t.Error("Save:", got)
	}
	contains(t, "error", fmt.Sprint(got), "it has 2017 bytes, Options.MaxSize is 1000; keep large things elsewhere")
	equal(t, "the session", b.data(), `{"a":1}`)
	equal(t, "a session of just the limit", b.get(set("long", strings.Repeat("x", 1000-len(`{"a":1,"long":""}`)))).Code, 200)
	equal(t, "status of a new one over the limit", st.browser().get(set("long", strings.Repeat("x", 2000))).Code, 500)
	equal(t, "sessions", st.live(), 1)
}

func TestBadArguments(t *testing.T) {
	for name, test := range map[string]struct {
		p    page
		want string
	}{
		"a key that is not UTF-8": {set("a\xff", 1), "not UTF-8"},
		"a subject that is too long": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.SetSubject(strings.Repeat("x", 256))
		}, "a subject is"},
		"a subject with a newline":      {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("a\nb") }, "a subject is"},
		"a subject that is not UTF-8":   {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("a\xff") }, "a subject is"},
		"SetMaxAge without unit":        {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetMaxAge(60) }, "unit"},
		"SetIdleTimeout without unit":   {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetIdleTimeout(60) }, "unit"},
		"a negative SetAbsoluteTimeout": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetAbsoluteTimeout(-time.Hour) }, "SetAbsoluteTimeout"},
		"SetCookie with a bad domain": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			c := s.Cookie()
			c.Domain = "a; b"
			s.SetCookie(c)
		}, "not a domain"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t)
			b := st.signedIn("23")
			equal(t, "status", b.get(test.p).Code, 500)
			contains(t, "log", st.log.String(), test.want)
			equal(t, "the session", b.data(), `{"name":"23"}`)
			equal(t, "the subject", b.subject(), "23")
		})
	}
	t.Run("a sign-out holds, whatever else is wrong", func(t *testing.T) {
		st := newSite(t)
		b := st.signedIn("23")
		w := b.clone().get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy(); s.Set("x", 1) })
		equal(t, "status", w.Code, 500)
		contains(t, "log", st.log.String(), "was destroyed")
		equal(t, "the session", b.data(), "none")
	})
	for _, rules := range [][]session.Merge{{session.Merge(9)}, {session.Sum, session.Max}} {
		func() {
			defer func() { contains(t, "panic of NewKey", fmt.Sprint(recover()), "give one of") }()
			session.NewKey[int]("n", rules...)
		}()
	}
}

type id string

func TestRuleThatDoesNotFit(t *testing.T) {
	for _, test := range []struct {
		name  string
		make  func()
		panic string
	}{
		{"a sum of texts", func() { session.NewKey[string]("n", session.Sum) }, "for numbers"},
		{"the greatest of structs", func() { session.NewKey[struct{ N int }]("n", session.Max) }, "for numbers"},
		{"a sum of slices", func() { session.NewKey[[]int]("n", session.Sum) }, "for numbers"},
		{"a union of numbers", func() { session.NewKey[int]("n", session.Union) }, "for slices"},
		{"a union of maps", func() { session.NewKey[map[string]bool]("n", session.Union) }, "for slices"},
		{"a sum of a type that is a text", func() { session.NewKey[id]("n", session.Sum) }, "session_test.id"},
		{"a sum of a named number", func() { session.NewKey[time.Duration]("n", session.Sum) }, ""},
		{"a sum of a pointer to a number", func() { session.NewKey[*float64]("n", session.Sum) }, ""},
		{"the greatest of numbers as texts", func() { session.NewKey[json.Number]("n", session.Max) }, ""},
		{"the greatest of a type that encodes itself", func() { session.NewKey[*big.Int]("n", session.Max) }, ""},
		{"a sum of whatever it may be", func() { session.NewKey[any]("n", session.Sum) }, ""},
		{"a union of texts", func() { session.NewKey[[]string]("n", session.Union) }, ""},
		{"the last write of anything", func() { session.NewKey[struct{}]("n", session.LastWrite) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer func() {
				got := recover()
				if test.panic == "" && got != nil || test.panic != "" && !strings.Contains(fmt.Sprint(got), test.panic) {
					t.Errorf("panic %v, want %q", got, test.panic)
				}
			}()
			test.make()
		})
	}
}
