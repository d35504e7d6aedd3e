package pgxstore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck/session"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// newPool returns a pool whose server nobody can connect to.
func newPool(t *testing.T, params string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1:1/none?" + params)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func newStore(t *testing.T, pool *pgxpool.Pool, opts *Options) *Store {
	t.Helper()
	store, err := New(pool, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// TestSchema compares what Schema prints with a golden file. The statements that
// read and write are those of sqlstore, and in its golden files.
func TestSchema(t *testing.T) {
	for name, opts := range map[string]*Options{
		"native":  {Notify: true, Schema: "web"},
		"express": {Notify: true, Layout: Express},
	} {
		got, err := Schema(opts)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".sql")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the schema is not that of %s; see what differs with go test -update and git diff", file)
		}
	}
	plain, err := Schema(nil)
	if err != nil || strings.Contains(plain, "TRIGGER") {
		t.Errorf("without Options.Notify the schema is %s, %v", plain, err)
	}
}

func TestNewRefuses(t *testing.T) {
	pool := newPool(t, "")
	for _, test := range []struct {
		name string
		pool *pgxpool.Pool
		opts *Options
		want string
	}{
		{"no pool", nil, nil, "pgxpool.New"},
		{"an unknown layout", pool, &Options{Layout: 9}, "Options.Layout"},
		{"a dot", pool, &Options{Table: "web.sessions"}, "set Options.Schema"},
		{"a quote", pool, &Options{Table: `a"; DROP TABLE users; --`}, "Options.Table"},
		{"a long name", pool, &Options{Table: strings.Repeat("a", 51)}, "51 bytes"},
		{"no connection string", pool, &Options{Listen: "postgres://:x:/"}, "Options.Listen"},
	} {
		_, err := New(test.pool, test.opts)
		if err == nil || !strings.HasPrefix(err.Error(), "pgxstore: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
	if _, err := Schema(&Options{Table: "web.sessions"}); err == nil || !strings.HasPrefix(err.Error(), "pgxstore: ") {
		t.Errorf("Schema of a table with a dot: %v", err)
	}
}

func TestErrorsNameThePackage(t *testing.T) {
	store := newStore(t, newPool(t, ""), &Options{Notify: true})
	rec := session.Record{ID: "geheim", Data: []byte("{}")}
	_, load := store.Load(t.Context(), rec.ID)
	_, save := store.Save(t.Context(), &rec)
	_, _, list := store.List(t.Context(), session.Query{Limit: 1})
	_, sweep := store.Sweep(t.Context(), rec.Expires)
	_, _, limit := store.List(t.Context(), session.Query{})
	_, id := store.Save(t.Context(), &session.Record{})
	done, cancel := context.WithCancel(t.Context())
	cancel()
	watch := func(ctx context.Context) error { return store.Watch(ctx, 1, nil, nil) }
	for _, test := range []struct {
		op   string
		err  error
		want error
	}{
		{"load", load, syscall.ECONNREFUSED},
		{"save", save, syscall.ECONNREFUSED},
		{"save", id, nil},
		{"delete", store.Delete(t.Context(), rec.ID), syscall.ECONNREFUSED},
		{"touch", store.Touch(t.Context(), rec.ID, rec.LastSeen, rec.Expires), syscall.ECONNREFUSED},
		{"list", list, syscall.ECONNREFUSED},
		{"list", limit, nil},
		{"sweep", sweep, syscall.ECONNREFUSED},
		{"ping", store.Ping(t.Context()), syscall.ECONNREFUSED},
		{"migrate", store.Migrate(t.Context()), syscall.ECONNREFUSED},
		{"migrate", store.Migrate(done), context.Canceled},
		{"watch", watch(t.Context()), syscall.ECONNREFUSED},
		{"watch", watch(done), context.Canceled},
		{"watch", store.Watch(t.Context(), 0, nil, nil), errEvery},
	} {
		if test.err == nil || !strings.HasPrefix(test.err.Error(), "pgxstore: "+test.op+": ") ||
			test.want != nil && !errors.Is(test.err, test.want) || strings.Contains(test.err.Error(), rec.ID) {
			t.Errorf("%s: %v, want one that wraps %v", test.op, test.err, test.want)
		}
	}
	pool := newPool(t, "")
	store = newStore(t, pool, nil)
	pool.Close()
	if _, err := store.Load(t.Context(), rec.ID); err == nil || !strings.Contains(err.Error(), "pgxpool.Pool") {
		t.Errorf("Load from a pool that is closed: %v", err)
	}
}

func TestLimit(t *testing.T) {
	for conns, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 7: 3, 8: 4, 100: 4} {
		d := newDirect(newPool(t, fmt.Sprint("pool_max_conns=", conns)), true)
		if d.loads.limit != want {
			t.Errorf("with %d connections %d requests are under way at most, want %d", conns, d.loads.limit, want)
		}
	}
}

// A pooler whose server is gone takes every connection and drops it at the first
// statement. Many tries would only add to its troubles.
func TestNewConnectionsAreNotTriedAgain(t *testing.T) {
	var connected atomic.Int64
	config, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1/none?sslmode=disable&pool_max_conns=20")
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			s := pgproto3.NewBackend(theirs, theirs)
			if msg, err := s.ReceiveStartupMessage(); err != nil {
				return
			} else if _, cancels := msg.(*pgproto3.CancelRequest); cancels {
				return
			}
			connected.Add(1)
			s.Send(&pgproto3.AuthenticationOk{})
			s.Send(&pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte("1234")})
			s.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			if s.Flush() == nil {
				s.Receive()
			}
		}()
		return ours, nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	_, err = newStore(t, pool, nil).Load(t.Context(), "a")
	if got := connected.Load(); err == nil || !lost(err) || got != 1 {
		t.Errorf("Load tried %d connections: %v", got, err)
	}
}

func TestLost(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"the server has closed the connection", fmt.Errorf("receive: %w", io.ErrUnexpectedEOF), true},
		{"the connection was reset", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{"the pool had closed it", fmt.Errorf("exec: %w", net.ErrClosed), true},
		{"the server shuts down", &pgconn.PgError{Code: "57P01", SeverityUnlocalized: "FATAL"}, true},
		{"the statement is wrong", &pgconn.PgError{Code: "42P01", SeverityUnlocalized: "ERROR"}, false},
		{"time is up", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, false},
		{"the context is done", context.Canceled, false},
		{"nothing", nil, false},
		{"something else", errors.New("no idea"), false},
	} {
		if got := lost(test.err); got != test.want {
			t.Errorf("%s: lost is %v", test.name, got)
		}
	}
}
