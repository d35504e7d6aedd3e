package session_test

import (
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// Express has two settings: the maxAge of the cookie, and the ttl of the store for
// sessions whose cookie has none. So both must be told here.
func TestExpressLivesWithAndWithoutMaxAge(t *testing.T) {
	st := expressSite(t, func(o *session.Options) {
		o.Cookie.MaxAge, o.IdleTimeout = 2*time.Hour, 3*time.Hour
	})
	for cookie, want := range map[string]time.Duration{
		`{"originalMaxAge":7200000,"expires":"2026-03-01T13:00:00.000Z"}`: 2 * time.Hour,
		`{"originalMaxAge":60000,"expires":"2026-03-01T13:00:00.000Z"}`:   time.Minute,
		`{"originalMaxAge":null,"expires":null}`:                          3 * time.Hour,
		`{"originalMaxAge":false,"expires":false}`:                        3 * time.Hour,
		`{}`: 3 * time.Hour,
	} {
		s := st.plantID("planted", `{"cookie":`+cookie+`}`)
		s.Set("n", 1)
		st.commitData(s)
		if got := s.Expires().Sub(st.clock.Now()); got != want {
			t.Errorf("with cookie %s the session lives %v, want %v", cookie, got, want)
		}
		s.Destroy()
		if _, err := st.Commit(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}
