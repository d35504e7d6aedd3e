package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/pgxstore"
	"github.com/coatcheck/session/sqlstore"
)

// A pgxWatch notes what a Watch reports.
type pgxWatch struct {
	t  *testing.T
	mu sync.Mutex
	on sync.Cond // of mu: something was reported

	ids  []string // since the last change
	asOf time.Time
	err  error // when it has ended
}

// watchPGX watches a store until the test ends or end is called.
func watchPGX(t *testing.T, store session.Watcher) (end func(), w *pgxWatch) {
	t.Helper()
	w = &pgxWatch{t: t}
	w.on.L = &w.mu
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	note := func(f func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err != nil {
			t.Error("Watch has called back after it has returned")
		}
		f()
		w.on.Broadcast()
	}
	ended.Go(func() {
		err := store.Watch(ctx, 20*time.Millisecond,
			func(id string) { note(func() { w.ids = append(w.ids, id) }) },
			func(asOf time.Time) { note(func() { w.asOf = asOf }) })
		if err == nil {
			t.Error("Watch has returned no error")
		}
		note(func() { w.err = err })
	})
	end = func() { cancel(); ended.Wait() }
	t.Cleanup(end)
	w.current(time.Now())
	return end, w
}

// current waits until everything until then has been reported.
func (w *pgxWatch) current(then time.Time) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && !w.asOf.After(then) {
		w.on.Wait()
	}
	if w.err != nil {
		w.t.Fatal(w.err)
	}
}

// lost waits until the Watch has ended.
func (w *pgxWatch) lost() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil {
		w.on.Wait()
	}
	return w.err
}

// change makes a change, which must be reported before the channel is said to be
// current again, with these IDs and no others.
func (w *pgxWatch) change(name, ids string, change func()) {
	w.t.Helper()
	w.current(time.Now())
	w.mu.Lock()
	w.ids = nil
	w.mu.Unlock()
	change()
	w.current(time.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.ids, " "); got != ids || ids == "" && len(w.ids) == 0 {
		w.t.Errorf("%s: %q was reported, %d calls, want %q", name, got, len(w.ids), ids)
	}
}

func TestPGXWatch(t *testing.T) {
	target := targetOf(sqlstore.Postgres)
	dsn := target.database(t)
	pool := openPool(t, dsn)
	store := newPGXStore(t, pool, &pgxstore.Options{Notify: true})
	other := newSQLStore(t, target.open(t, dsn), target.dialect, nil)
	_, seen := watchPGX(t, store)

	rec := session.Record{ID: "a", Data: []byte("{}"), Expires: now().Add(time.Hour)}
	read := func() {
		for _, id := range []string{"a", "b", "c"} {
			store.Load(t.Context(), id)
		}
	}
	none := func(name string, change func()) {
		t.Helper()
		seen.change(name, "a", func() {
			read()
			change()
			save(t, other, &rec) // so that there is something to report
		})
	}
	one := func(name string, change func()) {
		t.Helper()
		seen.change(name, "a", func() { read(); change() })
	}
	one("made by another", func() { save(t, other, &rec) })
	one("saved by another", func() { save(t, other, &rec) })
	one("saved by this one", func() { save(t, store, &rec) })
	one("touched", func() { other.Touch(t.Context(), "a", now(), now().Add(2*time.Hour)) })
	one("changed twice", func() { save(t, other, &rec); save(t, other, &rec) })
	none("not read by anybody", func() {
		save(t, other, &session.Record{ID: "d", Data: []byte("{}"), Expires: now()})
	})
	one("deleted", func() { other.Delete(t.Context(), "a") })
	rec.Version = 0
	one("made anew", func() { save(t, other, &rec) })
	one("by hand", func() { run(t, pool, `UPDATE sessions SET expires = now() WHERE id = 'a'`) })
	one("swept", func() { other.Sweep(t.Context(), now().Add(3*time.Hour)) })
	rec.Version, rec.Expires = 0, now().Add(time.Hour)
	save(t, other, &rec)
	none("given up", func() {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `UPDATE sessions SET expires = now(); DELETE FROM sessions`); err != nil {
			t.Error(err)
		}
		tx.Rollback(t.Context())
	})
	none("nothing to touch", func() { other.Touch(t.Context(), "b", now(), now()) })
	seen.change("two in a transaction", "a b", func() {
		b := session.Record{ID: "b", Data: []byte("{}"), Expires: now().Add(time.Hour)}
		save(t, other, &b)
		seen.current(time.Now())
		seen.mu.Lock()
		seen.ids = nil
		seen.mu.Unlock()
		read()
		run(t, pool, `BEGIN; UPDATE sessions SET expires = now() WHERE id = 'a'; UPDATE sessions SET expires = now() WHERE id = 'b'; COMMIT`)
	})
	seen.change("truncated", "", func() { run(t, pool, `TRUNCATE sessions`) })
}

func TestPGXWatchExpress(t *testing.T) {
	pool := openPool(t, servers.SharedPostgres(t).NewDatabase(t).DSN)
	store := newPGXStore(t, pool, &pgxstore.Options{Layout: pgxstore.Express, Notify: true})
	_, seen := watchPGX(t, store)
	const id = "Grüße ☃"
	for _, statement := range []string{
		`INSERT INTO session (sess, expire, sid) SELECT '{}', now(), '` + id + `' ON CONFLICT (sid) DO UPDATE SET sess = '{}', expire = now()`,
		`INSERT INTO session (sess, expire, sid) SELECT '{}', now(), '` + id + `' ON CONFLICT (sid) DO UPDATE SET sess = '{}', expire = now()`,
		`UPDATE session SET expire = now() WHERE sid = '` + id + `'`,
		`DELETE FROM session WHERE sid = '` + id + `'`,
	} {
		seen.change(statement, id, func() {
			store.Load(t.Context(), id)
			run(t, pool, statement)
		})
	}
}

// A slowLoad is a tracer that calls between when a load has its answer and has
// not returned yet.
type slowLoad struct{ between func() }

func (l *slowLoad) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, l, strings.HasPrefix(data.SQL, "SELECT subject"))
}

func (l *slowLoad) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if ctx.Value(l) == true {
		l.between()
	}
}

// TestPGXWatchChangeDuringLoad changes a record while the answer to a load of it is
// on its way. What the load brings is outdated, so the change must be reported.
func TestPGXWatchChangeDuringLoad(t *testing.T) {
	dsn := servers.SharedPostgres(t).NewDatabase(t).DSN
	slow := &slowLoad{func() {}}
	store := newPGXStore(t, openPool(t, dsn, func(c *pgxpool.Config) { c.ConnConfig.Tracer = slow }), &pgxstore.Options{Notify: true})
	other := newPGXStore(t, openPool(t, dsn), nil)
	rec := session.Record{ID: "a", Data: []byte("{}"), Expires: now().Add(time.Hour)}
	save(t, other, &rec)
	_, seen := watchPGX(t, store)
	seen.change("during a load", "a", func() {
		slow.between = func() {
			save(t, other, &rec)
			seen.current(time.Now())
		}
		if got := load(t, store, rec.ID); got.Version == rec.Version {
			t.Error("the load has seen the change")
		}
	})
}

// TestPGXNotificationsKeepSecrets listens as anybody may.
func TestPGXNotificationsKeepSecrets(t *testing.T) {
	for _, layout := range []pgxstore.Layout{pgxstore.Native, pgxstore.Express} {
		dsn := servers.SharedPostgres(t).NewDatabase(t).DSN
		pool := openPool(t, dsn)
		store := newPGXStore(t, pool, &pgxstore.Options{Layout: layout, Notify: true})
		table := map[pgxstore.Layout]string{pgxstore.Native: "sessions", pgxstore.Express: "session"}[layout]
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		var channel string
		if err := conn.QueryRow(t.Context(), `SELECT 'session_changes_' || $1::regclass::oid`, table).Scan(&channel); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `LISTEN `+channel); err != nil {
			t.Fatal(err)
		}
		const id = "token-of-a-client"
		rec := session.Record{ID: id, Subject: "subject", Data: []byte(`{"passport":{"user":"subject"}}`), Expires: now().Add(time.Hour)}
		save(t, store, &rec)
		n, err := conn.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(id))
		if want := hex.EncodeToString(sum[:16]); n.Payload != want {
			t.Errorf("%s: the notification has %q, want %q", layout, n.Payload, want)
		}
	}
}

// TestPGXWatchForged has others notify on the channels, as anybody may.
func TestPGXWatchForged(t *testing.T) {
	pool := openPool(t, servers.SharedPostgres(t).NewDatabase(t).DSN)
	store := newPGXStore(t, pool, &pgxstore.Options{Notify: true})
	_, seen := watchPGX(t, store)
	var channel string
	if err := pool.QueryRow(t.Context(), `SELECT 'session_changes_' || 'sessions'::regclass::oid`).Scan(&channel); err != nil {
		t.Fatal(err)
	}
	rec := session.Record{ID: "a", Data: []byte("{}"), Expires: now().Add(time.Hour)}
	seen.change("forged", "a", func() {
		store.Load(t.Context(), "a")
		for _, payload := range []string{"x", "a", strings.Repeat("ab", 16), strings.Repeat("0", 7999), "1", "2"} {
			run(t, pool, fmt.Sprintf(`SELECT pg_notify('%s', '%s')`, channel, payload))
			run(t, pool, fmt.Sprintf(`SELECT pg_notify('session_beat_' || pid, '%s') FROM pg_stat_activity`, payload))
		}
		save(t, store, &rec)
	})
}

// TestPGXWatchForgets loads so many records during a Watch that they cannot all be
// remembered. (That a load was given up at once makes no difference to that.)
func TestPGXWatchForgets(t *testing.T) {
	pool := openPool(t, servers.SharedPostgres(t).NewDatabase(t).DSN)
	store := newPGXStore(t, pool, &pgxstore.Options{Notify: true})
	_, seen := watchPGX(t, store)
	store.Load(t.Context(), "the first")
	given, up := context.WithCancel(t.Context())
	up()
	seen.change("too many", "", func() {
		for i := range 1 << 18 {
			store.Load(given, fmt.Sprint(i))
		}
		save(t, store, &session.Record{ID: "the first", Data: []byte("{}"), Expires: now().Add(time.Hour)})
	})
}

// TestPGXWatchEnds has everything that makes Watch return.
func TestPGXWatchEnds(t *testing.T) {
	server := servers.Postgres(t)
	for _, test := range []struct {
		name string
		end  func(t *testing.T, pool *pgxpool.Pool, stop func())
		want string
		is   error
	}{
		{"the context is done", func(t *testing.T, pool *pgxpool.Pool, stop func()) { stop() }, "", context.Canceled},
		{"the connection is ended by the server", func(t *testing.T, pool *pgxpool.Pool, stop func()) { terminate(t, pool) }, "57P01", nil},
		{"the trigger is dropped", func(t *testing.T, pool *pgxpool.Pool, stop func()) {
			run(t, pool, `DROP TRIGGER sessions_changed ON sessions`)
		}, "Options.Notify", nil},
		{"the trigger for TRUNCATE is dropped", func(t *testing.T, pool *pgxpool.Pool, stop func()) {
			run(t, pool, `DROP TRIGGER sessions_truncated ON sessions`)
		}, "Options.Notify", nil},
		{"the trigger is disabled", func(t *testing.T, pool *pgxpool.Pool, stop func()) {
			run(t, pool, `ALTER TABLE sessions DISABLE TRIGGER ALL`)
		}, "Options.Notify", nil},
		{"the function is another", func(t *testing.T, pool *pgxpool.Pool, stop func()) {
			run(t, pool, `CREATE OR REPLACE FUNCTION sessions_changed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
		}, "Options.Notify", nil},
		{"the table is dropped", func(t *testing.T, pool *pgxpool.Pool, stop func()) { run(t, pool, `DROP TABLE sessions`) }, "Store.Migrate", nil},
		{"the table is another", func(t *testing.T, pool *pgxpool.Pool, stop func()) {
			schema, err := pgxstore.Schema(&pgxstore.Options{Notify: true})
			if err != nil {
				t.Fatal(err)
			}
			run(t, pool, `DROP TABLE sessions, sessions_schema;`+schema)
		}, "replaced", nil},
		{"the server is stopped", func(t *testing.T, pool *pgxpool.Pool, stop func()) { t.Cleanup(server.Restart); server.Stop() }, "", nil},
		{"the server is killed", func(t *testing.T, pool *pgxpool.Pool, stop func()) { t.Cleanup(server.Restart); server.Kill() }, "", nil},
		{"the server says nothing any more", func(t *testing.T, pool *pgxpool.Pool, stop func()) { t.Cleanup(server.Resume); server.Pause() }, "in time", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool := openPool(t, server.NewDatabase(t).DSN)
			stop, seen := watchPGX(t, newPGXStore(t, pool, &pgxstore.Options{Notify: true}))
			test.end(t, pool, stop)
			err := seen.lost()
			if !strings.HasPrefix(err.Error(), "pgxstore: watch: ") || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("Watch returned %v", err)
			}
			t.Log(err)
		})
	}
}

// terminate ends the connections that listen.
func terminate(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var n int
	err := pool.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND (query LIKE 'NOTIFY session_beat%' OR query LIKE '%pg_trigger%') AND pid <> pg_backend_pid()`).Scan(&n)
	if err != nil || n == 0 {
		t.Fatalf("%d connections listened, %v", n, err)
	}
}

// TestPGXWatchRefused has everything that keeps Watch from beginning.
func TestPGXWatchRefused(t *testing.T) {
	postgres := servers.SharedPostgres(t)
	bouncer := servers.PGBouncer(t, postgres)
	db := bouncer.NewDatabase(t)
	through := withParams(db.DSN, "default_query_exec_mode=exec")
	refused := func(store *pgxstore.Store) error {
		return store.Watch(t.Context(), time.Second, func(string) { t.Error("changed") }, func(time.Time) { t.Error("current") })
	}
	store := newPGXStore(t, openPool(t, through), nil)
	if err := refused(store); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "Options.Listen") {
		t.Errorf("Watch through PgBouncer: %v", err)
	}
	direct := &pgxstore.Options{Listen: postgres.DSN(db.Name)}
	store = newPGXStore(t, openPool(t, through), direct)
	if err := refused(store); err == nil || !strings.Contains(err.Error(), "Options.Notify") {
		t.Errorf("Watch without the trigger: %v", err)
	}
	missing, err := pgxstore.New(openPool(t, through), &pgxstore.Options{Listen: direct.Listen, Table: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer missing.Close()
	if err := refused(missing); err == nil || !strings.Contains(err.Error(), "Store.Migrate") {
		t.Errorf("Watch without the table: %v", err)
	}

	direct.Notify = true
	store = newPGXStore(t, openPool(t, through), direct) // the writes go through PgBouncer, the trigger too
	_, seen := watchPGX(t, store)
	seen.change("through PgBouncer", "a", func() {
		store.Load(t.Context(), "a")
		save(t, store, &session.Record{ID: "a", Data: []byte("{}"), Expires: now()})
	})
}

// TestPGXWatchHooks has a pool whose connections need its hooks, and a handler of
// notifications that is not ours.
func TestPGXWatchHooks(t *testing.T) {
	pool := openPool(t, servers.SharedPostgres(t).NewDatabase(t).DSN, func(c *pgxpool.Config) {
		name := c.ConnConfig.Database
		c.ConnConfig.Database = "none"
		c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error { c.Database = name; return nil }
		c.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS hooked; SET search_path = hooked`)
			return err
		}
		c.ConnConfig.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { t.Error("a notification went to the handler of the pool") }
	})
	store := newPGXStore(t, pool, &pgxstore.Options{Notify: true})
	_, seen := watchPGX(t, store)
	seen.change("hooked", "a", func() {
		store.Load(t.Context(), "a")
		run(t, pool, `INSERT INTO hooked.sessions SELECT 'a', '', 1, now(), now(), now(), 0, '{}'`)
	})
}

// The suite on processes that each have a cache.
func TestPGXCacheConformance(t *testing.T) {
	for _, layout := range []pgxstore.Layout{pgxstore.Native, pgxstore.Express} {
		t.Run(layout.String(), func(t *testing.T) {
			t.Parallel()
			dsn := servers.SharedPostgres(t).NewDatabase(t).DSN
			cachedProcesses(pgxSuite(dsn, pgxstore.Options{Layout: layout, Notify: true}, nil)).Run(t)
		})
	}
}
