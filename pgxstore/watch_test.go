package pgxstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A listened server is the other end of a Watch's connection, as PostgreSQL is
// with its process 7. It has the trigger, and leaves notifications to the test.
type listened struct {
	mu sync.Mutex
	*pgproto3.Backend
	beats int // how often it was asked to notify the listener itself
	deaf  bool

	calls []string // by the Watch, since they were looked at
	err   error    // when it has ended
}

func (s *listened) serve(conn net.Conn) {
	defer conn.Close()
	if _, err := s.ReceiveStartupMessage(); err != nil {
		return
	}
	s.Send(&pgproto3.AuthenticationOk{})
	s.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	s.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	s.Send(&pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte("1234")})
	for s.ready() {
		msg, err := s.Receive()
		query, ok := msg.(*pgproto3.Query)
		if err != nil || !ok {
			return
		}
		s.answer(query.String)
	}
}

// ready tells the listener that it may ask.
func (s *listened) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf {
		return true
	}
	s.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return s.Flush() == nil
}

func (s *listened) answer(query string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf {
		return
	}
	switch {
	case strings.Contains(query, "pg_backend_pid"):
		s.row([]uint32{pgtype.Int4OID}, "7")
	case strings.Contains(query, "pg_trigger"):
		s.row([]uint32{pgtype.Int8OID, pgtype.BoolOID}, "1", "t")
	case strings.HasPrefix(query, "NOTIFY session_beat_7"):
		s.beats++
		s.done()
	default:
		for range strings.Split(query, ";") {
			s.done()
		}
	}
}

func (s *listened) row(oids []uint32, values ...string) {
	description, row := new(pgproto3.RowDescription), new(pgproto3.DataRow)
	for i, value := range values {
		description.Fields = append(description.Fields, pgproto3.FieldDescription{Name: []byte("c"), DataTypeOID: oids[i]})
		row.Values = append(row.Values, []byte(value))
	}
	s.Send(description)
	s.Send(row)
	s.done()
}

func (s *listened) done() { s.Send(&pgproto3.CommandComplete{CommandTag: []byte("OK")}) }

// notify sends a notification, while the server waits for the listener.
func (s *listened) notify(pid uint32, channel, payload string) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Send(&pgproto3.NotificationResponse{PID: pid, Channel: channel, Payload: payload})
	s.Flush()
}

func (s *listened) call(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, what)
}

// wantCalls compares what the Watch has called since the last time.
func (s *listened) wantCalls(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.calls, ", "); got != strings.Join(want, ", ") {
		t.Errorf("Watch has called %s, want %s", got, strings.Join(want, ", "))
	}
	s.calls = nil
}

func (s *listened) wantBeats(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beats != want {
		t.Errorf("%d notifications were sent to the listener itself, want %d", s.beats, want)
	}
}

// wantEnd looks at how the Watch has ended, or, if want is nil, that it goes on.
func (s *listened) wantEnd(t *testing.T, want error) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(s.err, want) {
		t.Errorf("Watch has returned %v, want %v", s.err, want)
	}
}

// watched runs a test with a Watch.
func watched(t *testing.T, every time.Duration, test func(s *listened, store *Store, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		config, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1/none?sslmode=disable&default_query_exec_mode=simple_protocol")
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		s := &listened{Backend: pgproto3.NewBackend(theirs, theirs)}
		go s.serve(theirs)
		var dials atomic.Int64
		config.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			if dials.Add(1) > 1 {
				return nil, syscall.ECONNREFUSED // pgx asks to cancel what it has given up
			}
			return ours, nil
		}
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		store, err := New(pool, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		ctx, stop := context.WithCancel(t.Context())
		begun := time.Now()
		var ended sync.WaitGroup
		ended.Go(func() {
			err := store.Watch(ctx, every,
				func(id string) { s.call(fmt.Sprintf("changed %q", id)) },
				func(asOf time.Time) { s.call(fmt.Sprint("current ", asOf.Sub(begun))) })
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = err
		})
		defer ended.Wait()
		defer stop()
		test(s, store, stop)
	})
}

// That everything has been reported is not said before the listener's own
// notification has come back, which is behind all others.
func TestWatchIsCurrentByItsOwnNotification(t *testing.T) {
	watched(t, time.Second, func(s *listened, store *Store, _ func()) {
		s.wantBeats(t, 1)
		store.watches.loading("a")
		store.watches.loading("b")
		time.Sleep(10 * time.Millisecond)
		s.notify(99, "session_changes_1", payload("a"))
		s.wantCalls(t, `changed "a"`)
		s.notify(99, "session_beat_7", "1")
		s.notify(7, "session_beat_7", "0")
		s.notify(7, "session_changes_1", "1")
		s.notify(99, "session_changes_2", payload("b"))
		s.notify(99, "session_changes_1", payload("a"))
		s.wantCalls(t)
		s.notify(7, "session_beat_7", "1")
		s.wantCalls(t, "current 0s") // as it was when that was sent
		s.notify(99, "session_changes_1", payload("b"))
		s.wantCalls(t, `changed "b"`)

		time.Sleep(739 * time.Millisecond)
		s.wantBeats(t, 1)
		time.Sleep(time.Millisecond)
		s.wantBeats(t, 2)
		s.notify(7, "session_beat_7", "1")
		s.wantCalls(t)
		s.notify(7, "session_beat_7", "2")
		s.wantCalls(t, "current 750ms")
		s.notify(99, "session_changes_1", "")
		s.wantCalls(t, `changed ""`)
		s.wantEnd(t, nil)
	})
}

func TestWatchEnds(t *testing.T) {
	for _, every := range []time.Duration{time.Second, time.Minute} {
		after := max(5*time.Second, 4*every)
		watched(t, every, func(s *listened, store *Store, _ func()) { // its notification does not come
			time.Sleep(after - time.Millisecond)
			s.wantEnd(t, nil)
			time.Sleep(time.Millisecond)
			s.wantEnd(t, errSilent)
			if len(store.watches.open) != 0 {
				t.Error("a Watch that has ended collects names")
			}
		})
		watched(t, every, func(s *listened, _ *Store, _ func()) {
			s.notify(7, "session_beat_7", "1")
			s.mu.Lock()
			s.deaf = true // it does not even answer
			s.mu.Unlock()
			time.Sleep(every*3/4 + after)
			s.wantEnd(t, errSilent)
		})
	}
	watched(t, time.Second, func(s *listened, _ *Store, stop func()) {
		stop()
		s.wantEnd(t, context.Canceled)
	})
}

// Anybody may notify on the channel of a listener's notifications to itself.
func TestBeatsAreNotForged(t *testing.T) {
	l := listener{pid: 7, channel: "session_changes_1", changed: func(id string) { t.Errorf("%q is reported as changed", id) }}
	for _, test := range []struct {
		n    pgconn.Notification
		want bool
	}{
		{pgconn.Notification{PID: 7, Channel: "session_beat_7", Payload: "1"}, true},
		{pgconn.Notification{PID: 8, Channel: "session_beat_7", Payload: "1"}, false},
		{pgconn.Notification{PID: 7, Channel: "session_changes_1", Payload: "1"}, false},
		{pgconn.Notification{PID: 7, Channel: "session_beat_8", Payload: "1"}, false},
	} {
		if got := l.isBeat(&test.n); got != test.want {
			t.Errorf("%+v: a beat is %v", test.n, got)
		}
	}
}
