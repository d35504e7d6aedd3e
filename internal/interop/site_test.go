package interop

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

var (
	passportKey = session.NewKey[struct{ User json.RawMessage }]("passport")
	flashKey    = session.NewKey[map[string][]string]("flash")
	messagesKey = session.NewKey[[]string]("messages")
)

// names are the users of node/users.js by their IDs in JSON.
var names = map[string]string{`7`: "ada", `"7"`: "seven", `"tj"`: "tj"}

// startSite starts our side, with the routes of node/app.js, and returns its URL.
func startSite(t *testing.T, store session.Store, opts session.Options) string {
	t.Helper()
	server := httptest.NewServer(newManager(t, store, opts).Handler(routes()))
	t.Cleanup(server.Close)
	return server.URL
}

// newManager makes a manager that must have no reason to log anything.
func newManager(t *testing.T, store session.Store, opts session.Options) *session.Manager {
	t.Helper()
	log := new(safeBuffer)
	opts.Logger = slog.New(slog.NewTextHandler(log, nil))
	m, err := session.New(store, &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text := log.String(); text != "" {
			t.Errorf("our side complained:\n%s", text)
		}
	})
	return m
}

func routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(s *session.Session, r *http.Request)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s := session.From(r)
			f(s, r)
			_ = json.NewEncoder(w).Encode(viewOf(s))
		})
	}
	handle("GET /view", func(*session.Session, *http.Request) {})
	handle("POST /login", func(s *session.Session, r *http.Request) {
		var form struct{ Username string }
		_ = json.NewDecoder(r.Body).Decode(&form)
		for id, name := range names {
			if name == form.Username {
				s.SetSubject(strings.Trim(id, `"`))
			}
		}
	})
	handle("POST /logout", func(s *session.Session, _ *http.Request) { s.SetSubject("") })
	handle("POST /destroy", func(s *session.Session, _ *http.Request) { s.Destroy() })
	handle("POST /regenerate", func(s *session.Session, _ *http.Request) { s.Regenerate() })
	handle("POST /renew", func(s *session.Session, _ *http.Request) { s.RenewID() })
	handle("POST /set", func(s *session.Session, r *http.Request) {
		var values map[string]json.RawMessage
		_ = json.NewDecoder(r.Body).Decode(&values)
		for key, value := range values {
			s.Set(key, value)
		}
	})
	handle("POST /delete", func(s *session.Session, r *http.Request) { s.Delete(r.URL.Query().Get("key")) })
	handle("POST /add", func(s *session.Session, r *http.Request) {
		key := session.NewKey[int](r.URL.Query().Get("key"), session.Sum)
		n, _ := key.Get(s)
		key.Set(s, n+1)
	})
	handle("POST /maxage", func(s *session.Session, r *http.Request) {
		var body struct{ MS int64 }
		text, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(text, &body)
		s.SetMaxAge(time.Duration(body.MS) * time.Millisecond)
	})
	return mux
}

// viewOf is the page of a session.
func viewOf(s *session.Session) map[string]any {
	var data strings.Builder
	data.WriteByte('{')
	for i, key := range s.Keys() {
		if i > 0 {
			data.WriteByte(',')
		}
		raw, _ := session.Get[json.RawMessage](s, key)
		data.WriteString(`"` + key + `":` + string(raw))
	}
	data.WriteByte('}')
	view := map[string]any{"id": s.ID(), "data": data.String(), "subject": s.Subject()}
	if passport, ok := passportKey.Get(s); ok {
		view["name"] = names[string(passport.User)]
	}
	if period, ok := s.OriginalMaxAge(); ok {
		view["maxAge"] = period.Milliseconds()
	}
	flash, _ := flashKey.Get(s)
	messages, _ := messagesKey.Get(s)
	flashes := append(append(flash["error"], flash["info"]...), messages...)
	view["flashes"] = strings.Join(flashes, "|")
	return view
}
