package besidescs

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/alexedwards/scs/boltstore"
	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/mysqlstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	scsmem "github.com/alexedwards/scs/v2/memstore"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"go.etcd.io/bbolt"

	"github.com/coatcheck/session"
	ourbolt "github.com/coatcheck/session/boltstore"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/memstore"
	ourpgx "github.com/coatcheck/session/pgxstore"
	"github.com/coatcheck/session/redisstore"
	"github.com/coatcheck/session/sqlstore"

	_ "github.com/go-sql-driver/mysql"
	_ "modernc.org/sqlite"
)

// A backend is where sessions are kept, and the store of each library for it.
type backend struct {
	name string

	// server returns the server. Nil where there is none.
	server func(tb testing.TB) *servers.Server

	// ours and theirs return an empty store. Nil where a library has none.
	ours   func(tb testing.TB, at address) session.Store
	theirs func(tb testing.TB, at address) scs.Store

	// turns are the round trips of a load, a save and a touch of ours. If cached
	// is true, a load has none as long as nobody, we neither, changes the record.
	turns  [3]int
	cached bool
}

// An address turns that of the server into the one to use: the same, or that of
// a proxy in front of it.
type address func(string) string

func direct(addr string) string { return addr }

var backends = []backend{
	{
		name: "memory",
		ours: func(testing.TB, address) session.Store {
			return memstore.New(&memstore.Options{MaxSessions: -1, MaxBytes: -1})
		},
		theirs: func(testing.TB, address) scs.Store { return scsmem.NewWithCleanupInterval(0) },
	},
	{
		name: "bbolt",
		ours: func(tb testing.TB, _ address) session.Store {
			store, err := ourbolt.New(openBolt(tb), nil)
			return must(tb, store, err)
		},
		theirs: func(tb testing.TB, _ address) scs.Store { return boltstore.NewWithCleanupInterval(openBolt(tb), 0) },
	},
	{
		name: "SQLite",
		ours: func(tb testing.TB, _ address) session.Store { return ourSQL(tb, openSQLite(tb), sqlstore.SQLite, nil) },
		theirs: func(tb testing.TB, _ address) scs.Store {
			return sqlite3store.NewWithCleanupInterval(withTable(tb, openSQLite(tb), "token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL"), 0)
		},
	},
	{
		name: "PostgreSQL", server: postgres, turns: [3]int{1, 1, 1},
		ours: func(tb testing.TB, at address) session.Store {
			return ourSQL(tb, openPostgres(tb, at), sqlstore.Postgres, nil)
		},
		theirs: func(tb testing.TB, at address) scs.Store {
			return postgresstore.NewWithCleanupInterval(withTable(tb, openPostgres(tb, at), scsPostgres), 0)
		},
	},
	{
		name: "PostgreSQL, a pool of pgx", server: postgres, turns: [3]int{1, 1, 1},
		ours: func(tb testing.TB, at address) session.Store {
			store, err := ourpgx.New(openPool(tb, at), nil)
			must(tb, store, err)
			if err := store.Migrate(tb.Context()); err != nil {
				tb.Fatal(err)
			}
			return store
		},
		theirs: func(tb testing.TB, at address) scs.Store {
			pool := openPool(tb, at)
			withTable(tb, stdlib.OpenDBFromPool(pool), scsPostgres)
			return pgxstore.NewWithCleanupInterval(pool, 0)
		},
	},
	{
		name: "MariaDB", server: mariaDB, turns: [3]int{1, 1, 1},
		ours: func(tb testing.TB, at address) session.Store {
			return ourSQL(tb, openMariaDB(tb, at, ""), sqlstore.MySQL, nil)
		},
		theirs: func(tb testing.TB, at address) scs.Store {
			return mysqlstore.NewWithCleanupInterval(withTable(tb, openMariaDB(tb, at, ""), scsMySQL), 0)
		},
	},
	{
		name: "MariaDB, interpolated", server: mariaDB, turns: [3]int{1, 1, 1},
		ours: func(tb testing.TB, at address) session.Store {
			return ourSQL(tb, openMariaDB(tb, at, "&interpolateParams=true"), sqlstore.MySQL, &sqlstore.Options{NoPrepare: true})
		},
		theirs: func(tb testing.TB, at address) scs.Store {
			return mysqlstore.NewWithCleanupInterval(withTable(tb, openMariaDB(tb, at, "&interpolateParams=true"), scsMySQL), 0)
		},
	},
	{
		name: "Redis", server: servers.SharedRedis, turns: [3]int{1, 1, 1},
		ours: func(tb testing.TB, at address) session.Store { return ourRedis(tb, at, redisstore.Options{}) },
		theirs: func(tb testing.TB, at address) scs.Store {
			client := redis.NewClient(&redis.Options{Addr: at(servers.SharedRedis(tb).Addr)})
			tb.Cleanup(func() { client.Close() })
			return goredisstore.NewWithPrefix(client, "scs:"+tb.Name())
		},
	},
	{
		name: "Redis, client cache", server: servers.SharedRedis, turns: [3]int{1, 1, 1}, cached: true,
		ours: func(tb testing.TB, at address) session.Store {
			return ourRedis(tb, at, redisstore.Options{ClientCache: time.Minute})
		},
	},
}

func must[T any](tb testing.TB, v T, err error) T {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func openBolt(tb testing.TB) *bbolt.DB {
	tb.Helper()
	db, err := bbolt.Open(filepath.Join(tb.TempDir(), "sessions.db"), 0o600, nil)
	tb.Cleanup(func() { db.Close() })
	return must(tb, db, err)
}

func openSQL(tb testing.TB, driver, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(driver, dsn)
	must(tb, db, err)
	tb.Cleanup(func() { db.Close() })
	return db
}

func openSQLite(tb testing.TB) *sql.DB {
	return openSQL(tb, "sqlite", sqlstore.SQLiteDSN(filepath.Join(tb.TempDir(), "sessions.db")))
}

func postgres(tb testing.TB) *servers.Server { return servers.SharedPostgres(tb).Server }

func openPostgres(tb testing.TB, at address) *sql.DB {
	return openSQL(tb, "pgx", at(servers.SharedPostgres(tb).NewDatabase(tb).DSN))
}

func openPool(tb testing.TB, at address) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), at(servers.SharedPostgres(tb).NewDatabase(tb).DSN))
	must(tb, pool, err)
	tb.Cleanup(pool.Close)
	return pool
}

func mariaDB(tb testing.TB) *servers.Server { return servers.SharedMariaDB(tb).Server }

// scs needs parseTime.
func openMariaDB(tb testing.TB, at address, params string) *sql.DB {
	return openSQL(tb, "mysql", at(servers.SharedMariaDB(tb).NewDatabase(tb).DSN)+"?parseTime=true"+params)
}

func ourSQL(tb testing.TB, db *sql.DB, d sqlstore.Dialect, opts *sqlstore.Options) session.Store {
	tb.Helper()
	store, err := sqlstore.New(db, d, opts)
	must(tb, store, err)
	if err := store.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return store
}

func ourRedis(tb testing.TB, at address, opts redisstore.Options) session.Store {
	tb.Helper()
	quiet := rueidis.ClientOption{InitAddress: []string{at(servers.SharedRedis(tb).Addr)}}
	quiet.Dialer.KeepAlive = time.Hour // no pings, which would count
	client, err := rueidis.NewClient(quiet)
	must(tb, client, err)
	tb.Cleanup(client.Close)
	opts.Prefix = "ours:" + tb.Name() + ":"
	store, err := redisstore.New(client, &opts)
	return must(tb, store, err)
}

const (
	scsPostgres = "token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL"
	scsMySQL    = "token CHAR(43) PRIMARY KEY, data BLOB NOT NULL, expiry TIMESTAMP(6) NOT NULL"
)

// withTable makes the table that scs's documentation asks for.
func withTable(tb testing.TB, db *sql.DB, columns string) *sql.DB {
	tb.Helper()
	for _, statement := range []string{
		"CREATE TABLE sessions (" + columns + ")",
		"CREATE INDEX sessions_expiry_idx ON sessions (expiry)",
	} {
		if _, err := db.Exec(statement); err != nil {
			tb.Fatal(err)
		}
	}
	return db
}
