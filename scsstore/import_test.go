package scsstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/scsstore"
)

// scsRow is a row as scs's GobCodec writes it.
func scsRow(deadline time.Time, values map[string]any) []byte {
	row := &struct {
		Deadline time.Time
		Values   map[string]any
	}{deadline, values}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(&row); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// signedInByScs puts a session in a store and returns its cookie.
func signedInByScs(src *source, values map[string]any) *http.Cookie {
	later := time.Now().Add(time.Hour)
	_ = src.Commit(scsToken, scsRow(later, values), later)
	return &http.Cookie{Name: "session", Value: scsToken}
}

const scsToken = "wcYQ7fv2pVnpzGEgWAKYtDYGxMsUfqIkHZd3XhKe1aU"

func requestOf(cookie string) *http.Request {
	r := httptest.NewRequest("GET", "https://example.test/", nil)
	r.Header.Set("Cookie", cookie)
	return r
}

// importOne puts a row in a store and imports it.
func importOne(t *testing.T, values map[string]any, opts *scsstore.ImportOptions) (*session.Imported, error) {
	t.Helper()
	src := newSource()
	_ = src.Commit(scsToken, scsRow(time.Now().Add(time.Hour), values), time.Now().Add(time.Hour))
	return scsstore.NewImporter(src, opts).Load(t.Context(), requestOf("session="+scsToken))
}

type (
	user struct {
		Name string
		Seen time.Time
		Tags []string
	}
	hidden struct {
		Name   string
		Secret string `json:"-"`
	}
	color  int
	uuid   [4]byte
	opaque struct{ n int }
	shape  interface{ Area() float64 }
	square struct{ Side float64 }
	room   struct{ Floor shape }
)

func (u uuid) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%x", u[:]), nil }
func (u *uuid) UnmarshalText(text []byte) error {
	_, err := hex.Decode(u[:], text)
	return err
}

func (o opaque) GobEncode() ([]byte, error) { return []byte{byte(o.n)}, nil }
func (o *opaque) GobDecode(b []byte) error  { o.n = int(b[0]); return nil }
func (s square) Area() float64              { return s.Side * s.Side }

// registered tells gob of the types, as the old program did.
func registered() {
	for _, v := range []any{user{}, hidden{}, color(0), uuid{}, opaque{}, square{}, room{}, time.Time{}, &big.Int{},
		map[string]any{}, map[string]int{}, map[int]string{}, []any{}, [2]int{}, complex(0, 0), []string{}} {
		gob.Register(v)
	}
}

func TestWhatScsKeepsBecomesJSON(t *testing.T) {
	registered()
	at := time.Date(2026, 5, 4, 3, 2, 1, 987654321, time.FixedZone("", 3600))
	for name, row := range map[string]struct {
		value any
		want  string // JSON; empty for what must be refused
		text  string // what the error says
	}{
		"a text":                        {"é\u2028<", `"é\u2028\u003c"`, ""},
		"an int":                        {int(-5), `-5`, ""},
		"an int64 that floats have not": {int64(math.MaxInt64), `9223372036854775807`, ""},
		"a uint64":                      {uint64(math.MaxUint64), `18446744073709551615`, ""},
		"a float":                       {0.1, `0.1`, ""},
		"a bool":                        {true, `true`, ""},
		"bytes":                         {[]byte{0, 255}, `"AP8="`, ""},
		"a time with its zone":          {at, `"2026-05-04T03:02:01.987654321+01:00"`, ""},
		"a struct":                      {user{Name: "ada", Seen: at, Tags: []string{"a"}}, `{"Name":"ada","Seen":"2026-05-04T03:02:01.987654321+01:00","Tags":["a"]}`, ""},
		"a pointer to one":              {&user{Name: "ada"}, `{"Name":"ada","Seen":"0001-01-01T00:00:00Z","Tags":null}`, ""},
		"a named number":                {color(3), `3`, ""},
		"what makes its own text":       {uuid{1, 2, 3, 4}, `"01020304"`, ""},
		"a big number":                  {big.NewInt(1 << 60), `1152921504606846976`, ""},
		"a map by number":               {map[int]string{1: "a"}, `{"1":"a"}`, ""},
		"an array":                      {[2]int{1, 2}, `[1,2]`, ""},
		"a map of anything plain":       {map[string]any{"n": 5, "s": "x", "l": []string{"y"}}, `{"l":["y"],"n":5,"s":"x"}`, ""},

		"not a number":                         {math.NaN(), "", `under "k" (float64): JSON has no number for it`},
		"infinity in a map":                    {map[string]any{"x": math.Inf(1)}, "", "JSON has no number for it"},
		"a complex number":                     {complex(1, 2), "", `under "k" (complex128)`},
		"a field that JSON leaves out":         {hidden{"ada", "x"}, "", "JSON would change the string at .Secret"},
		"what only gob can write":              {opaque{7}, "", "JSON would change the scsstore_test.opaque"},
		"an interface that JSON cannot make":   {room{square{2}}, "", "JSON cannot bring back a scsstore_test.shape"},
		"a time where anything may stand":      {map[string]any{"at": at}, "", "JSON would change the time.Time at []"},
		"a struct where anything may stand":    {[]any{user{Name: "ada"}}, "", "JSON would change the scsstore_test.user at []"},
		"a great number where anything stands": {map[string]any{"n": int64(1<<53 + 1)}, "", "JSON would change the int64 at []"},
		"a text that is not UTF-8":             {"\xff", "", "JSON would change the string"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := importOne(t, map[string]any{"k": row.value}, nil)
			if row.want == "" {
				if err == nil || errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), row.text) {
					t.Errorf("got %v, want an error with %q", err, row.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(got.Values["k"])
			if err != nil || string(text) != row.want {
				t.Errorf("got %s, %v, want %s", text, err, row.want)
			}
		})
	}
}

func TestSubjectOfAnScsSession(t *testing.T) {
	registered()
	for name, row := range map[string]struct {
		value any
		want  string
		fails bool
	}{
		"a text":                  {"ada", "ada", false},
		"an int":                  {23, "23", false},
		"a uint32":                {uint32(math.MaxUint32), "4294967295", false},
		"a named number":          {color(3), "3", false},
		"what makes its own text": {uuid{1, 2, 3, 4}, "01020304", false},
		"the zero value":          {0, "", false},
		"an empty text":           {"", "", false},
		"a struct":                {user{Name: "ada"}, "", true},
		"a float":                 {1.5, "", true},
	} {
		got, err := importOne(t, map[string]any{"uid": row.value, "x": 1}, &scsstore.ImportOptions{SubjectKey: "uid"})
		switch {
		case row.fails:
			if err == nil || !strings.Contains(err.Error(), `SubjectKey "uid"`) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || got.Subject != row.want || len(got.Values) != 2:
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	got, err := importOne(t, map[string]any{"x": 1}, &scsstore.ImportOptions{SubjectKey: "uid"})
	if err != nil || got.Subject != "" {
		t.Errorf("without the key: %+v, %v", got, err)
	}
}

func TestConvertChangesWhatIsImported(t *testing.T) {
	registered()
	values := map[string]any{"cookie": "consent", "at": map[string]any{"t": time.Unix(1, 0)}, "user": user{Name: "ada"}}
	got, err := importOne(t, values, &scsstore.ImportOptions{
		SubjectKey: "uid",
		Convert: func(values map[string]any) error {
			values["consent"], values["uid"] = values["cookie"], values["user"].(user).Name
			delete(values, "cookie")
			delete(values, "at")
			return nil
		},
	})
	if err != nil || got.Subject != "ada" || got.Values["consent"] != "consent" || len(got.Values) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	own := errors.New("not this one")
	if _, err := importOne(t, values, &scsstore.ImportOptions{Convert: func(map[string]any) error { return own }}); !errors.Is(err, own) {
		t.Error("an error of Convert became", err)
	}
}

func TestRememberMeIsKept(t *testing.T) {
	got, err := importOne(t, map[string]any{"__rememberMe": true, "a": 1}, nil)
	if err != nil || got.MaxAge <= 59*time.Minute || got.MaxAge > time.Hour || len(got.Values) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = importOne(t, map[string]any{"__rememberMe": false, "a": 1}, nil)
	if err != nil || got.MaxAge != 0 || len(got.Values) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// jsonCodec is an scs.Codec of somebody's own.
type jsonCodec struct{}

func (jsonCodec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	return json.Marshal(map[string]any{"d": deadline, "v": values})
}

func (jsonCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	var row struct {
		D time.Time
		V map[string]any
	}
	err := json.Unmarshal(b, &row)
	return row.D, row.V, err
}

func TestWhereAnScsSessionIsLookedFor(t *testing.T) {
	deadline := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	sum := sha256.Sum256([]byte(scsToken))
	hashed := base64.RawURLEncoding.EncodeToString(sum[:])
	own, _ := jsonCodec{}.Encode(deadline, map[string]any{"a": "x"})
	gobbed := scsRow(deadline, map[string]any{"a": "x"})
	for name, row := range map[string]struct {
		key     string
		text    []byte
		opts    *scsstore.ImportOptions
		cookie  string
		context bool
		want    string // "ok", "none", "no token" or "error"
	}{
		"as scs has it by default":              {scsToken, gobbed, nil, "session=" + scsToken, false, "ok"},
		"in a store with contexts":              {scsToken, gobbed, nil, "session=" + scsToken, true, "ok"},
		"by the hash of its token":              {hashed, gobbed, &scsstore.ImportOptions{HashTokenInStore: true}, "session=" + scsToken, false, "ok"},
		"by the token where hashes are":         {hashed, gobbed, nil, "session=" + scsToken, false, "none"},
		"by a hash where hashes are":            {hashed, gobbed, &scsstore.ImportOptions{HashTokenInStore: true}, "session=" + hashed, false, "none"},
		"in a codec of somebody's own":          {scsToken, own, &scsstore.ImportOptions{Codec: jsonCodec{}}, "session=" + scsToken, false, "ok"},
		"in another cookie":                     {scsToken, gobbed, &scsstore.ImportOptions{Cookie: http.Cookie{Name: "sid"}}, "session=x; sid=" + scsToken, false, "ok"},
		"in the first of two cookies, as scs":   {scsToken, gobbed, nil, "session=" + scsToken + "; session=" + hashed, false, "ok"},
		"another token":                         {scsToken, gobbed, nil, "session=" + hashed, false, "none"},
		"a row whose deadline has passed":       {scsToken, scsRow(time.Now().Add(-time.Second), nil), nil, "session=" + scsToken, false, "none"},
		"a row that does not decode":            {scsToken, []byte("gob?"), nil, "session=" + scsToken, false, "error"},
		"a cookie too short for one of scs":     {scsToken, gobbed, nil, "session=" + scsToken[1:], false, "no token"},
		"a cookie of letters that it has not":   {scsToken, gobbed, nil, "session=" + strings.Repeat("+", 43), false, "no token"},
		"a cookie that is half a megabyte long": {scsToken, gobbed, nil, "session=" + strings.Repeat("x", 1<<19), false, "no token"},
		"no cookie":                             {scsToken, gobbed, nil, "", false, "no token"},
		"a session of ours in the same store":   {scsToken, nil, nil, "session=" + scsToken, false, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			src := newSource()
			if row.text != nil {
				_ = src.Commit(row.key, row.text, time.Now().Add(time.Hour))
			}
			var of scsstore.Source = src
			if row.context {
				of = ctxSource{src}
			}
			i := scsstore.NewImporter(of, row.opts)
			r := requestOf(row.cookie)
			if row.want == "no token" {
				if got := i.Token(r); got != "" {
					t.Errorf("the token is %q", got)
				}
				return
			}
			got, err := i.Load(t.Context(), r)
			switch row.want {
			case "ok":
				if err != nil || got.Values["a"] != "x" || !got.Expires.Equal(deadline) {
					t.Fatalf("%+v, %v", got, err)
				}
				if err := got.Delete(t.Context()); err != nil || len(src.values) != 0 {
					t.Errorf("after Delete %d rows are left, %v", len(src.values), err)
				}
			case "none":
				if !errors.Is(err, session.ErrNotFound) {
					t.Error(err)
				}
			default:
				if err == nil || errors.Is(err, session.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
}

func TestErrorsOfAnImportAreWrappedAndNotPrinted(t *testing.T) {
	src := newSource()
	i := scsstore.NewImporter(src, nil)
	_ = src.Commit(scsToken, scsRow(time.Now().Add(time.Hour), nil), time.Now().Add(time.Hour))
	imported, err := i.Load(t.Context(), requestOf("session="+scsToken))
	if err != nil {
		t.Fatal(err)
	}
	src.fail = errors.New("no such host while looking for " + scsToken)
	_, loadErr := i.Load(t.Context(), requestOf("session="+scsToken))
	_, checkErr := i.Check(t.Context())
	for op, err := range map[string]error{"import": loadErr, "import: delete": imported.Delete(t.Context()), "check": checkErr} {
		if !errors.Is(err, src.fail) || !strings.HasPrefix(err.Error(), "scsstore: "+op+": ") || strings.Contains(err.Error(), scsToken) {
			t.Errorf("%s: %v", op, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scsstore.NewImporter(ctxSource{newSource()}, nil).Load(ctx, requestOf("session="+scsToken)); !errors.Is(err, context.Canceled) {
		t.Error("a cancelled import:", err)
	}
}

func TestCheckFindsWhatCannotBeImported(t *testing.T) {
	registered()
	src := newSource()
	later := time.Now().Add(time.Hour)
	for key, values := range map[string]map[string]any{
		"good": {"a": 1}, "also good": {"uid": "ada"},
		"bad": {"h": hidden{"a", "b"}}, "bad alike": {"h": hidden{"c", "d"}}, "bad otherwise": {"uid": 1.5},
	} {
		_ = src.Commit(key, scsRow(later, values), later)
	}
	_ = src.Commit("over", scsRow(time.Now().Add(-time.Hour), map[string]any{"h": hidden{"a", "b"}}), later)
	store := scsstore.New(src)
	if _, err := store.Save(t.Context(), &session.Record{ID: "ours", Data: []byte("{}"), Expires: later}); err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]scsstore.Source{"without contexts": src, "with contexts": ctxSource{src}} {
		n, err := scsstore.NewImporter(of, &scsstore.ImportOptions{SubjectKey: "uid"}).Check(t.Context())
		if n != 2 || err == nil || strings.Count(err.Error(), "\n") != 1 ||
			!strings.Contains(err.Error(), `under "h"`) || !strings.Contains(err.Error(), `"uid"`) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if len(src.values) != 7 {
		t.Errorf("%d rows are left", len(src.values))
	}
	if _, err := scsstore.NewImporter(struct{ scsstore.Source }{src}, nil).Check(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// What a handler reads is what the old program has put there.
func TestAnScsSessionGoesOn(t *testing.T) {
	registered()
	src := newSource()
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	want := user{Name: "ada", Seen: at, Tags: []string{"a", "b"}}
	later := time.Now().Add(time.Hour)
	_ = src.Commit(scsToken, scsRow(later, map[string]any{"uid": 23, "user": want, "raw": []byte{0, 255}}), later)
	sessions, err := session.New(memstore.New(nil), &session.Options{
		Secrets:        []session.Secret{"a secret of a test, of 32 bytes or more"},
		Import:         scsstore.NewImporter(src, &scsstore.ImportOptions{SubjectKey: "uid"}),
		Logger:         slog.New(slog.DiscardHandler),
		NoStoreWarning: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	sessions.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		got, _ := session.Get[user](s, "user")
		uid, _ := session.Get[int](s, "uid")
		raw, _ := session.Get[[]byte](s, "raw")
		if s.Subject() != "23" || uid != 23 || !reflect.DeepEqual(got, want) || string(raw) != "\x00\xff" {
			t.Errorf("%q %d %+v %q", s.Subject(), uid, got, raw)
		}
	})).ServeHTTP(w, requestOf("session="+scsToken))
	if set := w.Header()["Set-Cookie"]; len(set) != 2 || !strings.HasPrefix(set[1], "session=; Path=/; ") {
		t.Errorf("Set-Cookie: %q", set)
	}
	if len(src.values) != 0 {
		t.Error("the old row is still there")
	}
}
