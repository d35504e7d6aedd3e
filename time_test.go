package session_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

func TestTimeouts(t *testing.T) {
	type step struct {
		after time.Duration
		alive bool
	}
	with := func(f func(s *session.Session)) page {
		return func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23"); f(s) }
	}
	for _, test := range []struct {
		name  string
		edit  func(o *session.Options)
		begin page
		steps []step
	}{
		{"idle: an hour by default", nil, nil, []step{{time.Hour - time.Millisecond, true}, {time.Hour, false}}},
		{"idle: counted from the last use", nil, nil, []step{{50 * time.Minute, true}, {50 * time.Minute, true}, {time.Hour, false}}},
		{"idle: by the option", func(o *session.Options) { o.IdleTimeout = time.Minute }, nil, []step{{59 * time.Second, true}, {time.Minute, false}}},
		{"idle: by the session", nil, with(func(s *session.Session) { s.SetIdleTimeout(time.Minute) }), []step{{59 * time.Second, true}, {time.Minute, false}}},
		{"idle: longer by the session", nil, with(func(s *session.Session) { s.SetIdleTimeout(3 * time.Hour) }), []step{{2 * time.Hour, true}, {3 * time.Hour, false}}},
		{"absolute: a day by default", nil, nil, append(repeat(47, step{30 * time.Minute, true}), step{30 * time.Minute, false})},
		{"absolute: by the option", func(o *session.Options) { o.AbsoluteTimeout = 2 * time.Hour }, nil, []step{{50 * time.Minute, true}, {50 * time.Minute, true}, {20 * time.Minute, false}}},
		{"absolute: by the session", nil, with(func(s *session.Session) { s.SetAbsoluteTimeout(80 * time.Minute) }), []step{{50 * time.Minute, true}, {30 * time.Minute, false}}},
		{"absolute: never", func(o *session.Options) { o.AbsoluteTimeout = -1 }, nil, repeat(100, step{59 * time.Minute, true})},
		{"MaxAge in place of both", func(o *session.Options) { o.Cookie.MaxAge = 48 * time.Hour }, nil, []step{{40 * time.Hour, true}, {8 * time.Hour, false}}},
		{"SetMaxAge in place of both", nil, with(func(s *session.Session) { s.SetMaxAge(48 * time.Hour) }), []step{{40 * time.Hour, true}, {8 * time.Hour, false}}},
		{"SetMaxAge shorter than the idle timeout", nil, with(func(s *session.Session) { s.SetMaxAge(time.Minute) }), []step{{59 * time.Second, true}, {time.Minute, false}}},
		{"SetExpires", nil, with(func(s *session.Session) { s.SetExpires(time.Date(2026, 3, 1, 12, 10, 0, 0, time.UTC)) }), []step{{9 * time.Minute, true}, {10 * time.Minute, false}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) {
				if test.edit != nil {
					test.edit(o)
				}
			})
			b := st.browser()
			if test.begin == nil {
				test.begin = with(func(*session.Session) {})
			}
			b.get(test.begin)
			for i, step := range test.steps {
				st.clock.advance(step.after)
				alive := b.clone().subject() == "23"
				if alive != step.alive {
					t.Fatalf("step %d: alive %v, want %v", i+1, alive, step.alive)
				}
			}
		})
	}
}

func repeat[T any](n int, v ...T) []T {
	var all []T
	for range n {
		all = append(all, v...)
	}
	return all
}

func TestANegativeMaxAgeEndsTheSession(t *testing.T) {
	for name, p := range map[string]page{
		"SetMaxAge":  func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetMaxAge(-1) },
		"SetExpires": func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetExpires(time.Unix(0, 0)) },
		"SetExpires at once": func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.SetExpires(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		},
	} {
		st := newSite(t)
		b := st.signedIn("23")
		old := b.clone()
		contains(t, name+": Set-Cookie", b.get(p).Header().Get("Set-Cookie"), "1970")
		equal(t, name+": the session", old.data(), "none")
		equal(t, name+": records", len(st.records()), 0)
	}
}

func TestExpiredSessions(t *testing.T) {
	st := newSite(t)
	b := st.signedIn("23")
	st.clock.advance(23 * time.Hour)
	st.kinds()
	w := b.get(read)
	contains(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "1970")
	equal(t, "events", st.kinds(), "unknown") // the store in memory has dropped it
	t.Run("in a store that keeps them", func(t *testing.T) {
		st := siteOver(t, memstore.New(&memstore.Options{Now: func() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }}))
		b := st.signedIn("23")
		st.clock.advance(time.Hour)
		st.kinds()
		w := b.clone().get(read)
		contains(t, "Set-Cookie", w.Header().Get("Set-Cookie"), "1970")
		equal(t, "events", st.kinds(), "expired")
		equal(t, "sessions", st.live(), 0)
		st.clock.advance(-time.Minute)
		equal(t, "the session before its end", b.data(), `{"name":"23"}`)
	})
}

func TestTouchIsThrottled(t *testing.T) {
	for _, test := range []struct {
		name  string
		edit  func(o *session.Options)
		every time.Duration // between requests
		want  int           // touches by 60 requests
	}{
		{"five minutes at most by default", nil, time.Minute, 12},
		{"a tenth of a short idle timeout", func(o *session.Options) { o.IdleTimeout = 10 * time.Minute }, 30 * time.Second, 30},
		{"by the option", func(o *session.Options) { o.TouchInterval = 20 * time.Minute }, time.Minute, 3},
		{"each time", func(o *session.Options) { o.TouchInterval = -1 }, time.Second, 60},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newSite(t, func(o *session.Options) {
				if test.edit != nil {
					test.edit(o)
				}
			})
			b := st.signedIn("23")
			st.faults.ResetCalls()
			for range 60 {
				st.clock.advance(test.every)
				b.get(read)
			}
			st.checkCalls("60 requests", sessiontest.Calls{Load: 60, Touch: test.want})
			equal(t, "the session", b.data(), `{"name":"23"}`)
		})
	}
	t.Run("never so far that a session in use could end", func(t *testing.T) {
		st := newSite(t, func(o *session.Options) { o.TouchInterval = 30 * time.Minute })
		b := st.browser()
		b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			s.SetSubject("23")
			s.SetIdleTimeout(10 * time.Minute)
		})
		for range 20 {
			st.clock.advance(4 * time.Minute)
			b.get(read)
		}
		equal(t, "the subject", b.subject(), "23")
	})
}

func TestTouchOnlyMovesForward(t *testing.T) {
	stores := map[string]func(session.Store) session.Store{
		"with Touch":    func(s session.Store) session.Store { return s },
		"without Touch": func(s session.Store) session.Store { return onlyStore{s} },
	}
	for name, wrap := range stores {
		t.Run(name, func(t *testing.T) {
			inner := memstore.New(&memstore.Options{Now: func() time.Time { return time.Time{} }})
			st := siteOver(t, wrap(inner), func(o *session.Options) { o.TouchInterval = -1 })
			b := st.signedIn("23")
			record := func() session.Record {
				recs, _, err := inner.List(t.Context(), session.Query{Limit: 9})
				if err != nil || len(recs) != 1 {
					t.Fatal(recs, err)
				}
				return recs[0]
			}
			before := record()
			st.clock.advance(-10 * time.Minute) // the clock of another server
			b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Touch() })
			equal(t, "Expires after a touch in the past", record().Expires, before.Expires)
			st.clock.advance(20 * time.Minute)
			b.get(read)
			after := record()
			equal(t, "Expires after a touch", after.Expires, before.Expires.Add(10*time.Minute))
			equal(t, "LastSeen after a touch", after.LastSeen, before.LastSeen.Add(10*time.Minute))
			equal(t, "Data after a touch", string(after.Data), string(before.Data))
			equal(t, "Created after a touch", after.Created, before.Created)
		})
	}
}

func TestOptionsLoweredLater(t *testing.T) {
	st := newSite(t, func(o *session.Options) { o.IdleTimeout = 12 * time.Hour; o.AbsoluteTimeout = 24 * time.Hour })
	idle, used := st.signedIn("1"), st.signedIn("2")
	for range 6 {
		st.clock.advance(time.Hour / 2)
		used.get(read)
	}
	lower := st.again(func(o *session.Options) { o.IdleTimeout = time.Hour; o.AbsoluteTimeout = 4 * time.Hour })
	idle.st, used.st = lower, lower
	equal(t, "one that was not used for three hours", idle.subject(), "none")
	equal(t, "one in use", used.subject(), "2")
	equal(t, "sessions", lower.live(), 1)
	st.clock.advance(time.Hour - time.Minute)
	used.get(read)
	equal(t, "just before the new absolute timeout", used.subject(), "2")
	st.clock.advance(time.Minute)
	equal(t, "after it", used.subject(), "none")
}

func TestTheClockGoesBackwards(t *testing.T) {
	st := newSite(t)
	b := st.signedIn("23")
	st.clock.advance(-2 * time.Hour)
	equal(t, "read", b.data(), `{"name":"23"}`)
	equal(t, "write", b.get(set("a", 1)).Code, 200)
	equal(t, "the session", b.data(), `{"a":1,"name":"23"}`)
}

func TestSetSubjectRestartsTheAbsoluteTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		p    page
		want string
	}{
		"SetSubject":            {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetSubject("23") }, "23"},
		"RenewID does not":      {renewID, "none"},
		"a write does not":      {set("x", 1), "none"},
		"SetMaxAge(0) does not": {func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetMaxAge(0) }, "none"},
	} {
		st := newSite(t, func(o *session.Options) { o.AbsoluteTimeout = 2 * time.Hour })
		b := st.signedIn("23")
		st.clock.advance(50 * time.Minute)
		b.get(read)
		st.clock.advance(50 * time.Minute)
		b.get(test.p)
		st.clock.advance(30 * time.Minute)
		equal(t, name, b.subject(), test.want)
	}
}

func TestExpiresOfASession(t *testing.T) {
	st := newSite(t)
	b := st.browser()
	now := st.clock.Now()
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		equal(t, "of a new one", s.Expires(), now.Add(time.Hour))
		_, ok := s.MaxAge()
		equal(t, "MaxAge of the browser session", ok, false)
		s.SetIdleTimeout(2 * time.Hour)
		equal(t, "with another timeout", s.Expires(), now.Add(2*time.Hour))
	})
	b.get(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		equal(t, "of a stored one", s.Expires(), now.Add(2*time.Hour))
	})
}
