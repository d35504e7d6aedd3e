package integration

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/sessiontest"
	"github.com/coatcheck/session/sqlstore"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// A sqlTarget is a kind of database that the tests of sqlstore run on.
type sqlTarget struct {
	name    string
	dialect sqlstore.Dialect
	driver  string

	// fact is the row of the table of docs/stores.md, and reach who shares it.
	fact  string
	reach storefacts.Reach

	// database returns the DSN of a new, empty database.
	database func(tb testing.TB) string
	// server starts a server for this test alone. Nil where there is none.
	server func(tb testing.TB) sqlServer
}

// A sqlServer is a server of one test.
type sqlServer struct {
	*servers.Server
	database func(tb testing.TB) string
}

var sqlTargets = []sqlTarget{
	{
		name: "sqlite", dialect: sqlstore.SQLite, driver: "sqlite",
		fact: "sqlstore SQLite", reach: storefacts.Machine,
		database: func(tb testing.TB) string {
			return sqlstore.SQLiteDSN(filepath.Join(tb.TempDir(), "sessions.db"))
		},
	},
	{
		name: "postgres", dialect: sqlstore.Postgres, driver: "pgx",
		fact: "sqlstore PostgreSQL", reach: storefacts.Network,
		database: func(tb testing.TB) string { return servers.SharedPostgres(tb).NewDatabase(tb).DSN },
		server: func(tb testing.TB) sqlServer {
			// The default of the tests loses the last commits when it is killed.
			s := servers.Postgres(tb)
			return sqlServer{s.Server, func(tb testing.TB) string { return s.NewDatabase(tb).DSN }}
		},
	},
	{
		name: "mariadb", dialect: sqlstore.MySQL, driver: "mysql",
		fact: "sqlstore MariaDB", reach: storefacts.Network,
		database: func(tb testing.TB) string { return servers.SharedMariaDB(tb).NewDatabase(tb).DSN },
		server: func(tb testing.TB) sqlServer {
			s := servers.MariaDB(tb)
			return sqlServer{s.Server, func(tb testing.TB) string { return s.NewDatabase(tb).DSN }}
		},
	},
}

func targetOf(d sqlstore.Dialect) sqlTarget {
	for _, target := range sqlTargets {
		if target.dialect == d {
			return target
		}
	}
	panic("no target has the dialect " + d.String())
}

func forEachSQL(t *testing.T, f func(t *testing.T, target sqlTarget)) {
	for _, target := range sqlTargets {
		t.Run(target.name, func(t *testing.T) { f(t, target) })
	}
}

func (target sqlTarget) open(tb testing.TB, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(target.driver, dsn)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	tb.Cleanup(func() { db.Close() })
	return db
}

// withParams appends parameters to a DSN.
func withParams(dsn, params string) string {
	switch {
	case params == "":
		return dsn
	case strings.Contains(dsn, "?"):
		return dsn + "&" + params
	}
	return dsn + "?" + params
}

// newSQLStore returns a store in db whose table is there.
func newSQLStore(tb testing.TB, db *sql.DB, d sqlstore.Dialect, opts *sqlstore.Options) *sqlstore.Store {
	tb.Helper()
	store, err := sqlstore.New(db, d, opts)
	if err != nil {
		tb.Fatal(err)
	}
	if err := store.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return store
}

// save saves rec, which becomes what is in the store.
func save(tb testing.TB, store session.Store, rec *session.Record) {
	tb.Helper()
	version, err := store.Save(tb.Context(), rec)
	if err != nil {
		tb.Fatal(err)
	}
	rec.Version = version
}

// load loads the record that must be in the store.
func load(tb testing.TB, store session.Store, id string) session.Record {
	tb.Helper()
	rec, err := store.Load(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

// now is the time as stores keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// sqlSuite returns the conformance suite for a target. params are further
// parameters of the DSN. server may be nil; otherwise its outages are tested.
// Databases of a server are slow to make, so every case has a table instead.
func sqlSuite(t *testing.T, target sqlTarget, opts sqlstore.Options, params string, server *sqlServer) sessiontest.Suite {
	type place struct{ dsn, table string }
	var places sync.Map // of a store
	var tables atomic.Int64
	database := sync.OnceValue(func() string {
		if server != nil {
			return server.database(t)
		}
		return target.database(t)
	})
	openAt := func(t *testing.T, p place) session.Store {
		opts := opts
		opts.Table = p.table
		var store session.Store = newSQLStore(t, target.open(t, p.dsn), target.dialect, &opts)
		places.Store(store, p)
		return store
	}
	again := func(t *testing.T, store session.Store) session.Store {
		p, _ := places.Load(store)
		return openAt(t, p.(place))
	}
	s := sessiontest.Suite{
		New: func(t *testing.T) session.Store {
			if target.server == nil {
				return openAt(t, place{withParams(target.database(t), params), ""})
			}
			return openAt(t, place{withParams(database(), params), fmt.Sprint("sessions_", tables.Add(1))})
		},
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
	if opts.Layout == sqlstore.Express {
		s.Layout = expressLayout(target.dialect)
	}
	return s
}

func expressLayout(d sqlstore.Dialect) sessiontest.Layout {
	l := sessiontest.Layout{
		NoCreated: true, NoLastSeen: true, ContentVersion: true,
		ExpiresPrecision: time.Second,
		Data: func(object []byte, subject string) []byte {
			if subject == "" {
				return object
			}
			member := fmt.Appendf(nil, `"passport":{"user":%q}`, subject)
			if inner := bytes.TrimSpace(object[1 : len(object)-1]); len(inner) > 0 {
				member = append(append(member, ','), inner...)
			}
			return append(append([]byte{'{'}, member...), '}')
		},
	}
	if d == sqlstore.MySQL {
		l.ValidID = func(id string) bool { return !strings.HasSuffix(id, " ") }
	}
	return l
}

func TestSQLConformance(t *testing.T) {
	forEachSQL(t, func(t *testing.T, target sqlTarget) {
		t.Parallel()
		var server *sqlServer
		if target.server != nil {
			s := target.server(t)
			server = &s
		}
		suite := sqlSuite(t, target, sqlstore.Options{}, "", server)
		suite.Run(t)
		storefacts.Measure(t, target.fact, target.reach, suite)
	})
}

func TestSQLConformanceExpress(t *testing.T) {
	for _, d := range []sqlstore.Dialect{sqlstore.Postgres, sqlstore.MySQL} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			opts := sqlstore.Options{Layout: sqlstore.Express}
			sqlSuite(t, targetOf(d), opts, "", nil).Run(t)
		})
	}
}

// The settings of drivers and servers that change how a statement travels or
// what a count of rows means.
func TestSQLConformanceVariants(t *testing.T) {
	if testing.Short() {
		t.Skip("several runs of the suite")
	}
	variants := []struct {
		name    string
		dialect sqlstore.Dialect
		params  string
		opts    sqlstore.Options
	}{
		{"sqlite without prepared statements", sqlstore.SQLite, "", sqlstore.Options{NoPrepare: true}},
		{"pgx exec mode", sqlstore.Postgres, "default_query_exec_mode=exec", sqlstore.Options{}},
		{"pgx simple protocol", sqlstore.Postgres, "default_query_exec_mode=simple_protocol", sqlstore.Options{}},
		{"postgres serializable", sqlstore.Postgres, "default_transaction_isolation=serializable", sqlstore.Options{}},
		{"mysql interpolated", sqlstore.MySQL, "interpolateParams=true", sqlstore.Options{NoPrepare: true}},
		{"mysql found rows", sqlstore.MySQL, "clientFoundRows=true&parseTime=true&loc=Asia%2FTokyo", sqlstore.Options{}},
		{"mysql lax mode", sqlstore.MySQL, "sql_mode=''&charset=latin1", sqlstore.Options{}},
		{"express postgres exec mode", sqlstore.Postgres, "default_query_exec_mode=exec&timezone=Asia%2FTokyo", sqlstore.Options{Layout: sqlstore.Express}},
		{"express postgres simple protocol", sqlstore.Postgres, "default_query_exec_mode=simple_protocol&timezone=America%2FNew_York", sqlstore.Options{Layout: sqlstore.Express}},
		{"express mysql interpolated", sqlstore.MySQL, "interpolateParams=true", sqlstore.Options{Layout: sqlstore.Express, NoPrepare: true}},
		{"express mysql found rows", sqlstore.MySQL, "clientFoundRows=true&parseTime=true", sqlstore.Options{Layout: sqlstore.Express}},
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			sqlSuite(t, targetOf(v.dialect), v.opts, v.params, nil).Run(t)
		})
	}
}

func BenchmarkSQL(b *testing.B) {
	for _, v := range []struct {
		name    string
		dialect sqlstore.Dialect
		params  string
		opts    sqlstore.Options
	}{
		{"sqlite", sqlstore.SQLite, "", sqlstore.Options{}},
		{"sqlite-full", sqlstore.SQLite, "_pragma=synchronous(FULL)", sqlstore.Options{}},
		{"sqlite-noprepare", sqlstore.SQLite, "", sqlstore.Options{NoPrepare: true}},
		{"postgres", sqlstore.Postgres, "", sqlstore.Options{}},
		{"postgres-exec", sqlstore.Postgres, "default_query_exec_mode=exec", sqlstore.Options{}},
		{"mariadb", sqlstore.MySQL, "", sqlstore.Options{}},
		{"mariadb-interpolate", sqlstore.MySQL, "interpolateParams=true", sqlstore.Options{NoPrepare: true}},
		{"mariadb-noprepare", sqlstore.MySQL, "", sqlstore.Options{NoPrepare: true}},
	} {
		target := targetOf(v.dialect)
		b.Run(v.name, func(b *testing.B) {
			sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
				db := target.open(b, withParams(target.database(b), v.params))
				return newSQLStore(b, db, target.dialect, &v.opts)
			})
		})
	}
}
