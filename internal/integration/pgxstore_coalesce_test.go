package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/pgxstore"
)

// trips counts round trips: what pgx writes to a connection before it waits for
// the answer is one Write.
type trips struct{ atomic.Int64 }

func (n *trips) count(config *pgxpool.Config) {
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &countedConn{conn, n}, err
	}
}

type countedConn struct {
	net.Conn
	trips *trips
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.trips.Add(1)
	return c.Conn.Write(b)
}

// TestPGXRoundTrips counts what each operation takes when it is alone, on a
// connection that has run it before.
func TestPGXRoundTrips(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "exec", "simple_protocol"} {
		for _, layout := range []pgxstore.Layout{pgxstore.Native, pgxstore.Express} {
			var n trips
			dsn := withParams(servers.SharedPostgres(t).NewDatabase(t).DSN, "pool_max_conns=1&default_query_exec_mode="+mode)
			store := newPGXStore(t, openPool(t, dsn, n.count), &pgxstore.Options{Layout: layout})
			rec := session.Record{ID: "a", Data: []byte(`{}`), Expires: now().Add(time.Hour)}
			ops := []struct {
				name string
				run  func() error
			}{
				{"insert", func() (err error) { rec.Version, err = store.Save(t.Context(), &rec); return err }},
				{"load", func() error { _, err := store.Load(t.Context(), rec.ID); return err }},
				{"save", func() (err error) { rec.Version, err = store.Save(t.Context(), &rec); return err }},
				{"touch", func() error { return store.Touch(t.Context(), rec.ID, now(), now()) }},
				{"delete", func() error { rec.Version = 0; return store.Delete(t.Context(), rec.ID) }},
			}
			turns := map[string]int{}
			for round := range 3 {
				for _, op := range ops {
					n.Store(0)
					if err := op.run(); err != nil {
						t.Fatal(err)
					}
					turns[op.name] = int(n.Load())
					if round > 0 && turns[op.name] != 1 {
						t.Errorf("%s, %s: %s took %d round trips", mode, layout, op.name, turns[op.name])
					}
				}
			}
			if mode == "cache_statement" && layout == pgxstore.Native {
				storefacts.Turns(t, "pgxstore", turns["load"], turns["save"], turns["touch"])
			}
		}
	}
}

// A jam is a table that nobody can read until it is ended.
type jam struct {
	t    *testing.T
	pool *pgxpool.Pool
	tx   pgx.Tx
}

// newJam returns a jam of the table of stores in the database.
func newJam(t *testing.T, dsn string) *jam {
	t.Helper()
	j := &jam{t: t, pool: openPool(t, dsn)}
	var err error
	if j.tx, err = j.pool.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.tx.Rollback(context.Background()) })
	if _, err := j.tx.Exec(t.Context(), `LOCK TABLE sessions`); err != nil {
		t.Fatal(err)
	}
	return j
}

// wait waits until so many requests are stuck on the server, and so many loads
// wait in the program.
func (j *jam) wait(requests, loads int) {
	j.t.Helper()
	for {
		var stuck int
		err := j.pool.QueryRow(j.t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sessions'::regclass`).Scan(&stuck)
		if err != nil {
			j.t.Fatal(err)
		}
		waiting := 0
		for _, goroutine := range bytes.Split(stacks(), []byte("\n\n")) {
			header, frames, _ := bytes.Cut(goroutine, []byte("\n"))
			if bytes.Contains(header, []byte("[select")) && bytes.HasPrefix(frames, []byte("github.com/coatcheck/session/pgxstore.(*coalescer).do(")) {
				waiting++
			}
		}
		if stuck == requests && waiting == loads {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	for {
		if n := runtime.Stack(buf, true); n < len(buf) {
			return buf[:n]
		}
		buf = make([]byte, 2*len(buf))
	}
}

func (j *jam) end() {
	j.t.Helper()
	if err := j.tx.Commit(j.t.Context()); err != nil {
		j.t.Fatal(err)
	}
}

// A coalescing store has records a0, a1 and so on in a database of its own, and
// eight connections, of which loads use four at a time.
func newCoalescing(t *testing.T, opts *pgxstore.Options, records int) (store *pgxstore.Store, n *trips, dsn string) {
	t.Helper()
	n = new(trips)
	dsn = withParams(servers.SharedPostgres(t).NewDatabase(t).DSN, "default_query_exec_mode=exec")
	pool := openPool(t, dsn, n.count)
	store = newPGXStore(t, pool, opts)
	for i := range records {
		rec := session.Record{ID: fmt.Sprint("a", i), Subject: fmt.Sprint("of a", i), Data: fmt.Appendf(nil, `{"n":%d}`, i), Expires: now().Add(time.Hour)}
		save(t, store, &rec)
	}
	var conns []*pgxpool.Conn
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		conn.Release()
	}
	n.Store(0)
	return store, n, dsn
}

// TestPGXLoadsJoin counts the round trips of many loads at once, when four of them
// are on their way for a while.
func TestPGXLoadsJoin(t *testing.T) {
	for _, test := range []struct {
		name string
		opts pgxstore.Options
		most int64
		trip int64
	}{
		{"together", pgxstore.Options{}, 4, 5},
		{"alone", pgxstore.Options{NoCoalesce: true}, 8, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, n, dsn := newCoalescing(t, &test.opts, 40)
			j := newJam(t, dsn)
			var wg sync.WaitGroup
			begin := func(i int) {
				wg.Go(func() {
					// Some of the records are not there, and some are read by several.
					id := fmt.Sprint("a", i%50)
					rec, err := store.Load(t.Context(), id)
					switch {
					case i%50 >= 40:
						if !errors.Is(err, session.ErrNotFound) {
							t.Errorf("Load of a record that is not there: %v", err)
						}
					case err != nil || rec.ID != id || rec.Subject != "of "+id || string(rec.Data) != fmt.Sprintf(`{"n":%d}`, i%50):
						t.Errorf("Load of %s: %v, %v", id, rec, err)
					}
					clear(rec.Data) // it is the caller's; the race detector sees whether it is another's, too
				})
			}
			for i := range 4 {
				begin(i)
				j.wait(i+1, 0)
			}
			for i := 4; i < 100; i++ {
				begin(i)
			}
			if test.opts.NoCoalesce {
				j.wait(int(test.most), 0)
			} else {
				j.wait(int(test.most), 96)
			}
			j.end()
			wg.Wait()
			if got := n.Load(); got != test.trip {
				t.Errorf("100 loads took %d round trips, want %d", got, test.trip)
			}
			load(t, store, "a1")
			if got := n.Load(); got != test.trip+1 {
				t.Errorf("a load alone took %d round trips", got-test.trip)
			}
		})
	}
}

// TestPGXLoadGivenUp has callers who give up, before their load was sent and
// afterwards, and others who do not.
func TestPGXLoadGivenUp(t *testing.T) {
	store, _, dsn := newCoalescing(t, nil, 20)
	goroutines := runtime.NumGoroutine()
	for _, sent := range []bool{false, true} {
		j := newJam(t, dsn)
		ctx, giveUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		begin := func(ctx context.Context, i int) <-chan error {
			done := make(chan error, 1)
			wg.Go(func() {
				_, err := store.Load(ctx, fmt.Sprint("a", i))
				done <- err
			})
			return done
		}
		var stay, leave []<-chan error
		for i := range 3 {
			stay = append(stay, begin(t.Context(), i))
			j.wait(i+1, 0)
		}
		first, over := context.WithCancel(t.Context())
		gone := begin(first, 3)
		j.wait(4, 0)
		for i := range 10 {
			stay = append(stay, begin(t.Context(), i))
			leave = append(leave, begin(ctx, i+10))
		}
		j.wait(4, 20)
		if sent {
			over() // its request ends, and the next one is sent, of those who wait
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Errorf("Load that was given up: %v", err)
			}
			j.wait(4, 20)
		}
		giveUp()
		for _, done := range leave {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Load that was given up: %v", err)
			}
		}
		j.wait(4, 10)
		j.end()
		for _, done := range stay {
			if err := <-done; err != nil {
				t.Errorf("Load beside others that were given up: %v", err)
			}
		}
		over()
		wg.Wait()
		j.pool.Close()
	}
	// What the store has started ends by itself. pgx closes connections whose
	// request was given up in the background, and the pool makes new ones.
	for runtime.NumGoroutine() > goroutines {
		time.Sleep(time.Millisecond)
	}
}

// TestPGXLoadsFailTogether has a request that fails for all of its loads.
func TestPGXLoadsFailTogether(t *testing.T) {
	store, _, dsn := newCoalescing(t, nil, 20)
	j := newJam(t, dsn)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := store.Load(t.Context(), fmt.Sprint("a", i))
			if err == nil || errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), "42P01") || !strings.Contains(err.Error(), "pgxstore.Schema") {
				t.Errorf("Load from a table that is gone: %v", err)
			}
		})
	}
	j.wait(4, 16)
	if _, err := j.tx.Exec(t.Context(), `ALTER TABLE sessions RENAME TO gone`); err != nil {
		t.Fatal(err)
	}
	j.end()
	wg.Wait()
	run(t, j.pool, `ALTER TABLE gone RENAME TO sessions`)
	load(t, store, "a1") // the failure is not remembered
}

// TestPGXLoadSeesOwnSave has many who load what they have just saved, while many
// others load, too.
func TestPGXLoadSeesOwnSave(t *testing.T) {
	store, n, _ := newCoalescing(t, nil, 10)
	stop := make(chan struct{})
	var others, savers sync.WaitGroup
	var loads atomic.Int64
	for i := range 50 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := store.Load(t.Context(), fmt.Sprint("a", i%10)); err != nil {
						t.Error(err)
					}
					loads.Add(1)
				}
			}
		})
	}
	for i := range 10 {
		savers.Go(func() {
			rec, err := store.Load(t.Context(), fmt.Sprint("a", i))
			for range 100 {
				if err == nil {
					rec.Version, err = store.Save(t.Context(), &rec)
				}
				saved := rec.Version
				if err == nil {
					rec, err = store.Load(t.Context(), rec.ID)
				}
				if err != nil || rec.Version != saved {
					t.Errorf("Load has version %d after a Save of version %d, %v", rec.Version, saved, err)
					return
				}
				loads.Add(1)
			}
		})
	}
	savers.Wait()
	close(stop)
	others.Wait()
	if took := n.Load(); took >= loads.Load() {
		t.Errorf("%d loads took %d round trips", loads.Load(), took)
	} else {
		t.Logf("%d loads and 1000 saves took %d round trips", loads.Load(), took)
	}
}
