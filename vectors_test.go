package session

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The vectors were made with express-session 1.19 in Node.

func TestSignatureVectors(t *testing.T) {
	for _, v := range []struct{ token, secret, cookie string }{
		{"hello", "tobiiscool", "s%3Ahello.DGDUkGlIkCzPz%2BC0B064FNgHdEjox7ch8tOBGslZ5QI"},
		{"QzqhTwCLPpH49y0hC0yWUSdJkzGp1jOe", "keyboard cat", "s%3AQzqhTwCLPpH49y0hC0yWUSdJkzGp1jOe.%2Buw13FMJU4MWD1rqwxTfPrwToQB9vRxTfssL%2BNgJ7PU"},
		{"NEW1", "keyboard cat", "s%3ANEW1.7F%2Fw%2Fsf%2FctYyDvxAxG8FW4BRanc2lZBAkEYgRWBzOR8"},
		{"é☃", "ключ☃", "s%3A%C3%A9%E2%98%83.iNSzwxlfR%2BVneeRPFOTVBW0ju6%2BObSdEL79RGyRcKmQ"},
		{"a.b", "", "s%3Aa.b.aiPJj0Zmp01DpwC5%2BMhYvDnqj4maTJbFqtbi0BbbnLc"},
	} {
		signer := newSigner(Secret(v.secret))
		wire := signer.append([]byte(v.token+"."), []byte(v.token))
		if got := string(appendEscaped([]byte("s%3A"), wire)); got != v.cookie {
			t.Errorf("cookie of %q signed with %q:\n got %s\nwant %s", v.token, v.secret, got, v.cookie)
		}
		if v.secret == "" {
			continue // which is no secret; New refuses it
		}
		m, err := New(&vectorStore{}, &Options{Secrets: []Secret{Secret(v.secret)}, AllowWeakSecrets: true, ExpressCompatible: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, written := range []string{
			v.cookie,
			strings.ReplaceAll(v.cookie, "s%3A", "s:"),
			strings.ReplaceAll(strings.ReplaceAll(v.cookie, "%2B", "%2b"), "%2F", "%2f"),
			`"` + v.cookie + `"`,
		} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", "connect.sid="+written)
			var shown presentation
			m.collect(r, &shown)
			if shown.n != 1 || string(shown.good[0].token()) != v.token {
				t.Errorf("Cookie %s is not the token %q", written, v.token)
			}
		}
		for _, bad := range []string{v.cookie + "%3D", v.cookie[:len(v.cookie)-1], v.cookie + "A", strings.ReplaceAll(v.cookie, "%2B", "-"), "x" + v.cookie} {
			if bad == v.cookie {
				continue
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", "connect.sid="+bad)
			var shown presentation
			if m.collect(r, &shown); shown.n != 0 {
				t.Errorf("Cookie %s is taken for a token", bad)
			}
		}
	}
}

// A vectorStore keeps the last record.
type vectorStore struct{ rec Record }

func (s *vectorStore) Load(context.Context, string) (Record, error) { return Record{}, ErrNotFound }
func (s *vectorStore) Delete(context.Context, string) error         { return nil }
func (s *vectorStore) Save(_ context.Context, rec *Record) (uint64, error) {
	s.rec = *rec
	return rec.Version + 1, nil
}

func TestJSONVectors(t *testing.T) {
	const sid, secret = "NEW1", "keyboard cat"
	const signed = "connect.sid=s%3ANEW1.7F%2Fw%2Fsf%2FctYyDvxAxG8FW4BRanc2lZBAkEYgRWBzOR8"
	for _, v := range []struct {
		name, data, cookie string
		opts               Options
		set                map[string]any
	}{
		{
			name: "plain",
			// Express leaves out "secure" where the option is absent; ours says false.
			data:   `{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":true,"path":"/"},"user":"tj"}`,
			cookie: signed + "; Path=/; HttpOnly",
			opts:   Options{Cookie: Cookie{Secure: InsecureNever, SameSite: http.SameSiteDefaultMode}},
			set:    map[string]any{"user": "tj"},
		},
		{
			name:   "all attributes",
			data:   `{"cookie":{"originalMaxAge":60000,"partitioned":true,"priority":"high","expires":"2030-01-01T00:01:00.000Z","secure":true,"httpOnly":true,"domain":"example.com","path":"/","sameSite":"none"}}`,
			cookie: signed + "; Domain=example.com; Path=/; Expires=Tue, 01 Jan 2030 00:01:00 GMT; HttpOnly; Secure; Partitioned; Priority=High; SameSite=None",
			opts: Options{SaveUninitialized: true, Cookie: Cookie{
				MaxAge: time.Minute, Partitioned: true, Priority: "high", Domain: "example.com", SameSite: http.SameSiteNoneMode,
			}},
		},
		{
			name:   "text is written as JavaScript writes it",
			data:   "{\"cookie\":{\"originalMaxAge\":null,\"expires\":null,\"secure\":false,\"httpOnly\":true,\"path\":\"/\"},\"k\":\"<&>\u2028é💾\\u0001\\n\\\"\"}",
			cookie: signed + "; Path=/; HttpOnly",
			opts:   Options{Cookie: Cookie{Secure: InsecureNever, SameSite: http.SameSiteDefaultMode}},
			set:    map[string]any{"k": "<&>\u2028é💾\x01\n\""},
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			store := &vectorStore{}
			opts := v.opts
			opts.Secrets, opts.AllowWeakSecrets, opts.ExpressCompatible = []Secret{secret}, true, true
			opts.GenerateID = func(*http.Request) string { return sid }
			opts.Now = func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }
			m, err := New(store, &opts)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for key, value := range v.set {
					From(r).Set(key, value)
				}
			})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if got := string(store.rec.Data); got != v.data {
				t.Errorf("data:\n got %s\nwant %s", got, v.data)
			}
			if got := w.Header().Get("Set-Cookie"); got != v.cookie {
				t.Errorf("Set-Cookie:\n got %s\nwant %s", got, v.cookie)
			}
		})
	}
}
