package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/pgxstore"
	"github.com/coatcheck/session/sessiontest"
	"github.com/coatcheck/session/sqlstore"
)

// openPool opens a pool of eight connections, unless the DSN says otherwise.
func openPool(tb testing.TB, dsn string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	tb.Helper()
	if !strings.Contains(dsn, "pool_max_conns") {
		dsn = withParams(dsn, "pool_max_conns=8")
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range change {
		f(config)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// newPGXStore returns a store in the pool whose table is there.
func newPGXStore(tb testing.TB, pool *pgxpool.Pool, opts *pgxstore.Options) *pgxstore.Store {
	tb.Helper()
	store, err := pgxstore.New(pool, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	if err := store.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return store
}

// pgxSuite returns the conformance suite in the database of the DSN, with a table
// for every case. server may be nil; otherwise its outages are tested.
func pgxSuite(dsn string, opts pgxstore.Options, server *servers.Server) sessiontest.Suite {
	var tables atomic.Int64
	var places sync.Map // the tables of stores
	openAt := func(t *testing.T, table string) session.Store {
		opts := opts
		opts.Table = table
		store := newPGXStore(t, openPool(t, dsn), &opts)
		places.Store(store, table)
		return store
	}
	again := func(t *testing.T, store session.Store) session.Store {
		table, _ := places.Load(store)
		return openAt(t, table.(string))
	}
	s := sessiontest.Suite{
		New: func(t *testing.T) session.Store { return openAt(t, fmt.Sprint("sessions_", tables.Add(1))) },
		Reopen: func(t *testing.T, store session.Store) session.Store {
			if err := store.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
			return again(t, store)
		},
		Peer: again,
	}
	if server != nil {
		s.Outage = func(t *testing.T, store session.Store) func() {
			server.Kill()
			return server.Restart
		}
	}
	if opts.Layout == pgxstore.Express {
		s.Layout = expressLayout(sqlstore.Postgres)
	}
	return s
}

func TestPGXConformance(t *testing.T) {
	for _, layout := range []pgxstore.Layout{pgxstore.Native, pgxstore.Express} {
		t.Run(layout.String(), func(t *testing.T) {
			t.Parallel()
			server := servers.Postgres(t)
			suite := pgxSuite(server.NewDatabase(t).DSN, pgxstore.Options{Layout: layout}, server.Server)
			suite.Run(t)
			if layout == pgxstore.Native {
				storefacts.Measure(t, "pgxstore", storefacts.Network, suite)
			}
		})
	}
}

// The settings of the pool and of the server that change how a statement travels,
// or what may come back.
func TestPGXConformanceVariants(t *testing.T) {
	if testing.Short() {
		t.Skip("several runs of the suite")
	}
	for _, v := range []struct {
		name   string
		params string
		opts   pgxstore.Options
	}{
		{"exec mode", "default_query_exec_mode=exec", pgxstore.Options{}},
		{"simple protocol", "default_query_exec_mode=simple_protocol", pgxstore.Options{}},
		{"descriptions cached", "default_query_exec_mode=cache_describe", pgxstore.Options{}},
		{"described every time", "default_query_exec_mode=describe_exec", pgxstore.Options{}},
		{"serializable", "default_transaction_isolation=serializable", pgxstore.Options{}},
		{"one connection", "pool_max_conns=1", pgxstore.Options{}},
		{"every load alone", "", pgxstore.Options{NoCoalesce: true}},
		{"express, exec mode", "default_query_exec_mode=exec&timezone=Asia%2FTokyo", pgxstore.Options{Layout: pgxstore.Express, Notify: true}},
		{"express, simple protocol", "default_query_exec_mode=simple_protocol&timezone=America%2FNew_York", pgxstore.Options{Layout: pgxstore.Express}},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			dsn := servers.SharedPostgres(t).NewDatabase(t).DSN
			pgxSuite(withParams(dsn, v.params), v.opts, nil).Run(t)
		})
	}
}

// TestPGXPgBouncer runs the suite through PgBouncer in transaction mode, in the
// modes of pgx that the documentation names.
func TestPGXPgBouncer(t *testing.T) {
	for _, v := range []struct {
		mode string
		opts pgxstore.Options
	}{
		{"exec", pgxstore.Options{Notify: true}},
		{"simple_protocol", pgxstore.Options{}},
		{"cache_describe", pgxstore.Options{}},
		{"exec", pgxstore.Options{Layout: pgxstore.Express, Notify: true}},
	} {
		t.Run(v.mode+" "+v.opts.Layout.String(), func(t *testing.T) {
			t.Parallel()
			dsn := servers.PGBouncer(t, servers.SharedPostgres(t)).NewDatabase(t).DSN
			pgxSuite(withParams(dsn, "default_query_exec_mode="+v.mode), v.opts, nil).Run(t)
		})
	}
}

// TestPGXServerComesUp makes a store while the server is down.
func TestPGXServerComesUp(t *testing.T) {
	server := servers.Postgres(t)
	dsn := server.NewDatabase(t).DSN
	server.Stop()
	store, err := pgxstore.New(openPool(t, dsn), &pgxstore.Options{Notify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Migrate while the server is down: %v", err)
	}
	if _, err := store.Load(t.Context(), "a"); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load while the server is down: %v", err)
	}
	server.Restart()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec := session.Record{ID: "a", Data: []byte("{}"), Expires: now()}
	save(t, store, &rec)
	load(t, store, "a")
}

// TestPGXRestart has a server that is restarted while the pool has connections to
// it. No load notices, alone or with others.
func TestPGXRestart(t *testing.T) {
	server := servers.Postgres(t)
	pool := openPool(t, server.NewDatabase(t).DSN)
	store := newPGXStore(t, pool, nil)
	rec := session.Record{ID: "a", Data: []byte("{}"), Expires: now().Add(time.Hour)}
	save(t, store, &rec)
	acquire := func() *pgxpool.Conn {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for name, end := range map[string]func(){"stopped": server.Stop, "killed": server.Kill} {
		for _, callers := range []int{1, 100} {
			conns := make([]*pgxpool.Conn, pool.Config().MaxConns)
			for i := range conns {
				conns[i] = acquire()
			}
			for i, conn := range conns { // load over each of them
				conn.Release()
				load(t, store, rec.ID)
				conns[i] = acquire()
			}
			end()
			server.Restart()
			for _, conn := range conns {
				conn.Release() // and looks as good as it did
			}
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					if _, err := store.Load(t.Context(), rec.ID); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			wg.Wait()
		}
	}
}

// TestPGXBesideSQLStore has both stores on one table.
func TestPGXBesideSQLStore(t *testing.T) {
	for _, layout := range []pgxstore.Layout{pgxstore.Native, pgxstore.Express} {
		t.Run(layout.String(), func(t *testing.T) {
			target := targetOf(sqlstore.Postgres)
			dsn := target.database(t)
			// Each migrates what the other has migrated.
			theirs := newSQLStore(t, target.open(t, dsn), target.dialect, &sqlstore.Options{Layout: layout})
			ours := newPGXStore(t, openPool(t, dsn), &pgxstore.Options{Layout: layout, Notify: true})
			if err := theirs.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, pair := range [][2]session.Store{{ours, theirs}, {theirs, ours}} {
				a, b := pair[0], pair[1]
				rec := session.Record{
					ID: fmt.Sprintf("%T", a), Subject: "7", Data: []byte(`{"n":1,"passport":{"user":7}}`),
					Created: now(), LastSeen: now(), Expires: now().Truncate(time.Second).Add(time.Hour),
				}
				save(t, a, &rec)
				got := load(t, b, rec.ID)
				if want := load(t, a, rec.ID); fmt.Sprint(got) != fmt.Sprint(want) || got.Version != rec.Version {
					t.Errorf("%T saved and loads %v; %T loads %v", a, want, b, got)
				}
				if _, err := b.Save(t.Context(), &session.Record{ID: rec.ID, Data: []byte("{}"), Expires: rec.Expires}); !errors.Is(err, session.ErrConflict) {
					t.Errorf("%T makes anew what %T has saved: %v", b, a, err)
				}
				got.Data = []byte(`{"n":2,"passport":{"user":7}}`)
				save(t, b, &got)
				rec.Data = []byte(`{"n":3}`)
				if _, err := a.Save(t.Context(), &rec); !errors.Is(err, session.ErrConflict) {
					t.Errorf("%T saves over what %T has saved: %v", a, b, err)
				}
				if err := a.(session.Toucher).Touch(t.Context(), rec.ID, now(), rec.Expires.Add(time.Hour)); err != nil {
					t.Error(err)
				}
				if touched := load(t, b, rec.ID); !touched.Expires.Equal(rec.Expires.Add(time.Hour)) {
					t.Errorf("%T does not see the touch of %T: %v", b, a, touched.Expires)
				}
				list, _, err := b.(session.Lister).List(t.Context(), session.Query{Subject: "7", Limit: 10})
				if err != nil || len(list) != 1 || list[0].ID != rec.ID {
					t.Errorf("%T lists %v, %v", b, list, err)
				}
				if err := b.Delete(t.Context(), rec.ID); err != nil {
					t.Error(err)
				}
				if _, err := a.Save(t.Context(), &rec); !errors.Is(err, session.ErrConflict) {
					t.Errorf("%T brings back what %T has deleted: %v", a, b, err)
				}
			}
		})
	}
}

// TestPGXMigrate creates the table and the trigger several times at once, and
// mends a trigger that is not as it should be.
func TestPGXMigrate(t *testing.T) {
	for _, layout := range []pgxstore.Layout{pgxstore.Native, pgxstore.Express} {
		t.Run(layout.String(), func(t *testing.T) {
			opts := &pgxstore.Options{Layout: layout, Notify: true, Table: "Odd-name$", Schema: "web"}
			pool := openPool(t, servers.SharedPostgres(t).NewDatabase(t).DSN)
			run(t, pool, `CREATE SCHEMA web`)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					store, err := pgxstore.New(pool, opts)
					if err != nil {
						t.Error(err)
						return
					}
					defer store.Close()
					for range 2 {
						if err := store.Migrate(t.Context()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			for _, harm := range []string{
				``,
				`DROP TRIGGER "Odd-name$_changed" ON web."Odd-name$"`,
				`DROP TRIGGER "Odd-name$_truncated" ON web."Odd-name$"`,
				`ALTER TABLE web."Odd-name$" DISABLE TRIGGER USER`,
				`CREATE OR REPLACE FUNCTION web."Odd-name$_changed"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
			} {
				run(t, pool, harm)
				_, seen := watchPGX(t, newPGXStore(t, pool, opts))
				seen.change("TRUNCATE", "", func() { run(t, pool, `TRUNCATE web."Odd-name$"`) })
			}
			// What Schema prints does the same, also where all is there.
			ddl, err := pgxstore.Schema(opts)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				run(t, pool, ddl)
			}
			if err := newPGXStore(t, pool, opts).Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPGXMigrateNeedsNoRights migrates as a role that may not change tables, when
// there is nothing to do.
func TestPGXMigrateNeedsNoRights(t *testing.T) {
	dsn := servers.SharedPostgres(t).NewDatabase(t).DSN
	pool := openPool(t, dsn)
	opts := &pgxstore.Options{Notify: true}
	newPGXStore(t, pool, opts)
	role := fmt.Sprint("app_", time.Now().UnixNano())
	run(t, pool, `CREATE ROLE `+role+` LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO `+role+`; GRANT SELECT ON sessions_schema TO `+role)
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	store := newPGXStore(t, openPool(t, strings.Replace(dsn, "postgres@", role+"@", 1)), opts)
	_, seen := watchPGX(t, store)
	rec := session.Record{ID: "a", Data: []byte("{}"), Expires: now().Add(time.Hour)}
	store.Load(t.Context(), rec.ID)
	seen.change("a role without rights", "a", func() { save(t, store, &rec) })

	run(t, pool, `DROP TRIGGER sessions_changed ON sessions`)
	if err := store.Migrate(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "pgxstore: migrate: ") {
		t.Errorf("Migrate without the right to create what is missing: %v", err)
	}
}

// run runs statements without arguments.
func run(tb testing.TB, pool *pgxpool.Pool, statements string) {
	tb.Helper()
	if _, err := pool.Exec(tb.Context(), statements); err != nil {
		tb.Fatal(err)
	}
}
