package byo

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/mysqlstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/postgresstore"
	redigostore "github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2/memstore"
	_ "github.com/go-sql-driver/mysql"
	fibermemory "github.com/gofiber/storage/memory/v2"
	fiberpostgres "github.com/gofiber/storage/postgres/v3"
	fiberredis "github.com/gofiber/storage/redis/v3"
	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	goredis "github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/fiberstore"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/scsstore"
	"github.com/coatcheck/session/sessiontest"
)

// An origin is a place in which stores of others keep things.
type origin struct {
	server *servers.Server // nil where there is none
	empty  func()          // removes all that is kept
	open   func() any      // opens a store of scs, or a driver of fiber
}

// origins are all that are tested, by their names: the module and what is behind.
var origins = []struct {
	name  string
	start func(t *testing.T) origin
	// layout says what it cannot keep.
	layout sessiontest.Layout
}{
	{name: "scs memstore", start: func(t *testing.T) origin {
		var store *memstore.MemStore
		empty := func() { store = memstore.NewWithCleanupInterval(0) }
		return origin{empty: empty, open: func() any { return store }}
	}},
	{name: "scs sqlite3store", start: func(t *testing.T) origin {
		db := openSQL(t, "sqlite", filepath.Join(t.TempDir(), "scs.db")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)")
		db.SetMaxOpenConns(1)
		mustExec(t, db, "CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL)")
		return origin{
			empty: func() { mustExec(t, db, "DELETE FROM sessions") },
			open:  func() any { return sqlite3store.NewWithCleanupInterval(db, 0) },
		}
	}},
	{name: "scs postgresstore", start: func(t *testing.T) origin {
		server := servers.Postgres(t)
		db := openSQL(t, "pgx", server.NewDatabase(t).DSN)
		mustExec(t, db, scsPostgres)
		return origin{
			server: server.Server,
			empty:  func() { mustExec(t, db, "TRUNCATE sessions") },
			open:   func() any { return postgresstore.NewWithCleanupInterval(db, 0) },
		}
	}},
	{name: "scs pgxstore", start: func(t *testing.T) origin {
		server := servers.Postgres(t)
		pool := openPool(t, server.NewDatabase(t).DSN)
		mustPool(t, pool, scsPostgres)
		return origin{
			server: server.Server,
			empty:  func() { mustPool(t, pool, "TRUNCATE sessions") },
			open:   func() any { return pgxstore.NewWithCleanupInterval(pool, 0) },
		}
	}},
	{name: "scs mysqlstore", start: func(t *testing.T) origin {
		server := servers.MariaDB(t)
		db := openSQL(t, "mysql", server.NewDatabase(t).DSN)
		// Wider than in scs's README: see docs/migrate-scs.md.
		mustExec(t, db, "CREATE TABLE sessions (token VARBINARY(128) PRIMARY KEY, data LONGBLOB NOT NULL, expiry DATETIME(6) NOT NULL)")
		return origin{
			server: server.Server,
			empty:  func() { mustExec(t, db, "DELETE FROM sessions") },
			open:   func() any { return mysqlstore.NewWithCleanupInterval(db, 0) },
		}
	}},
	{name: "scs goredisstore", start: func(t *testing.T) origin {
		server := servers.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
		client := openRedis(t, server)
		return origin{server: server, empty: flush(t, client), open: func() any { return goredisstore.New(client) }}
	}},
	{name: "scs redisstore", start: func(t *testing.T) origin {
		server := servers.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
		pool := &redis.Pool{
			MaxIdle: 4, IdleTimeout: time.Minute,
			Dial:         func() (redis.Conn, error) { return redis.Dial("tcp", server.Addr) },
			TestOnBorrow: func(c redis.Conn, _ time.Time) error { _, err := c.Do("PING"); return err },
		}
		t.Cleanup(func() { pool.Close() })
		return origin{server: server, empty: flush(t, openRedis(t, server)), open: func() any { return redigostore.New(pool) }}
	}},

	{name: "fiber memory", start: func(t *testing.T) origin {
		var driver *fibermemory.Storage
		empty := func() {
			fresh := fibermemory.New()
			t.Cleanup(func() { fresh.Close() })
			driver = fresh
		}
		return origin{empty: empty, open: func() any { return driver }}
	}},
	{name: "fiber redis", start: func(t *testing.T) origin {
		server := servers.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
		client := openRedis(t, server)
		return origin{server: server, empty: flush(t, client), open: func() any { return fiberredis.NewFromConnection(client) }}
	}},
	{name: "fiber postgres", start: func(t *testing.T) origin {
		server := servers.Postgres(t)
		pool := openPool(t, server.NewDatabase(t).DSN)
		driver := fiberpostgres.New(fiberpostgres.Config{DB: pool})
		return origin{
			server: server.Server,
			empty:  func() { mustPool(t, pool, "TRUNCATE fiber_storage") },
			open:   func() any { return driver },
		}
	}, layout: sessiontest.Layout{
		ValidID: func(id string) bool { return utf8.RuneCountInString(id) <= 64 }, // the column k is VARCHAR(64)
	}},
}

const scsPostgres = "CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)"

func openSQL(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func mustExec(t *testing.T, db *sql.DB, text string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func openPool(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func mustPool(t *testing.T, pool *pgxpool.Pool, text string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func openRedis(t *testing.T, server *servers.Server) *goredis.Client {
	// After as many failed dials as PoolSize says, by default ten a processor, it
	// refuses for up to a second, also when the server is there again.
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, PoolSize: 100})
	t.Cleanup(func() { client.Close() })
	return client
}

func flush(t *testing.T, client *goredis.Client) func() {
	return func() {
		t.Helper()
		if err := client.FlushDB(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// asOurs makes a store of ours of one of scs or of fiber, with all that it can do.
func asOurs(t *testing.T, theirs any) session.Store {
	t.Helper()
	switch s := theirs.(type) {
	case scsstore.IterableContextSource:
		return scsstore.NewIterableContext(s)
	case scsstore.IterableSource:
		return scsstore.NewIterable(s)
	case scsstore.Source:
		return scsstore.New(s)
	case fiberstore.Source:
		return fiberstore.New(s)
	}
	t.Fatalf("%T is neither", theirs)
	return nil
}

// Every store of scs and every driver of fiber passes the whole suite, but for
// what needs a comparison between processes: there is no Peer.
func TestConformance(t *testing.T) {
	for _, o := range origins {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			place := o.start(t)
			var mu sync.Mutex // of theirs
			theirs := make(map[session.Store]any)
			open := func(t *testing.T, of any) session.Store {
				store := asOurs(t, of)
				mu.Lock()
				defer mu.Unlock()
				theirs[store] = of
				return store
			}
			suite := sessiontest.Suite{
				New: func(t *testing.T) session.Store {
					place.empty()
					return open(t, place.open())
				},
				Layout: o.layout,
			}
			if place.server != nil {
				// What is in the server outlives the store, and what opened it.
				suite.Reopen = func(t *testing.T, _ session.Store) session.Store { return open(t, place.open()) }
				suite.Outage = func(*testing.T, session.Store) func() {
					place.server.Stop()
					return place.server.Restart
				}
			}
			suite.Run(t)
			if row, ok := facts[o.name]; ok {
				// With another process, as a site may have it, whatever becomes of that.
				suite.Peer = func(t *testing.T, _ session.Store) session.Store { return open(t, place.open()) }
				storefacts.Measure(t, row, storefacts.Network, suite)
			}
		})
	}
}

// facts are the rows of the table of docs/stores.md: what the adapters make of one
// store each.
var facts = map[string]string{
	"scs postgresstore": "scsstore",
	"fiber postgres":    "fiberstore",
}

// A manager says what such a store cannot promise, and refuses what needs a list
// of one that has none.
func TestWhatIsSaidAtTheStart(t *testing.T) {
	for _, o := range origins {
		if o.name != "scs memstore" && o.name != "fiber memory" {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			place := o.start(t)
			place.empty()
			store := asOurs(t, place.open())
			if w, ok := store.(session.Warner); !ok || w.Warning() == "" {
				t.Error("it says nothing")
			}
			_, err := session.New(store, &session.Options{
				Secrets: []session.Secret{testSecret}, MaxPerSubject: 1, NoStoreWarning: true,
			})
			if _, lists := store.(session.Lister); (err == nil) != lists {
				t.Errorf("a limit by subject on a store that lists (%v): %v", lists, err)
			}
		})
	}
}

const testSecret = session.Secret("a secret of a test, of 32 bytes or more")
