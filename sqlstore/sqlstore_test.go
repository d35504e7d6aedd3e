package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var statementNames = [numStatements]string{
	stmtLoad: "load", stmtLoadMany: "load many", stmtInsert: "insert", stmtUpdate: "update", stmtTouch: "touch", stmtDelete: "delete",
	stmtList: "list", stmtListSubject: "list of a subject", stmtSweep: "sweep", stmtSweepPage: "page to sweep",
	stmtExists: "exists", stmtUnchanged: "unchanged",
}

// TestStatements compares every statement with a golden file, which is what to
// read and to run EXPLAIN on.
func TestStatements(t *testing.T) {
	for _, test := range []struct {
		dialect Dialect
		opts    Options
	}{
		{SQLite, Options{}},
		{Postgres, Options{Schema: "web"}},
		{MySQL, Options{Schema: "web"}},
		{Postgres, Options{Layout: Express}},
		{MySQL, Options{Layout: Express}},
	} {
		name := test.dialect.String() + "_" + test.opts.Layout.String()
		t.Run(name, func(t *testing.T) {
			ddl, err := Schema(test.dialect, &test.opts)
			if err != nil {
				t.Fatal(err)
			}
			store, err := New(newDB(t), test.dialect, &test.opts)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			b.WriteString("-- schema\n" + ddl)
			for i := range store.layout.queries {
				q := &store.layout.queries[i]
				if q.text == "" {
					continue
				}
				var params []string
				for _, p := range q.params {
					params = append(params, paramNames[p])
				}
				fmt.Fprintf(&b, "\n-- %s (%s)\n%s;\n", statementNames[i], strings.Join(params, ", "), q.text)
			}
			file := filepath.Join("testdata", name+".sql")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("the statements are not those of %s; see what differs with go test -update and git diff", file)
			}
		})
	}
}

// A failing driver has no database behind it: its connections fail with err.
type failing struct{ err error }

func (f failing) Connect(context.Context) (driver.Conn, error) { return nil, f.err }
func (f failing) Driver() driver.Driver                        { return nil }

func newDB(t *testing.T) *sql.DB {
	db := sql.OpenDB(failing{errors.New("nothing may connect")})
	t.Cleanup(func() { db.Close() })
	return db
}

func TestNewRefuses(t *testing.T) {
	db := newDB(t)
	for _, test := range []struct {
		name    string
		db      *sql.DB
		dialect Dialect
		opts    *Options
		want    string
	}{
		{"no database", nil, SQLite, nil, "sql.Open"},
		{"no dialect", db, 0, nil, "sqlstore.Postgres"},
		{"an unknown dialect", db, 9, nil, "sqlstore.Postgres"},
		{"an unknown layout", db, MySQL, &Options{Layout: 9}, "Options.Layout"},
		{"Express in SQLite", db, SQLite, &Options{Layout: Express}, "no Express layout"},
		{"a schema in SQLite", db, SQLite, &Options{Schema: "main"}, "Options.Schema"},
		{"a dot", db, Postgres, &Options{Table: "web.sessions"}, "set Options.Schema"},
		{"a quote", db, Postgres, &Options{Table: `a"; DROP TABLE users; --`}, "Options.Table"},
		{"a backtick", db, MySQL, &Options{Table: "a`b"}, "Options.Table"},
		{"a brace, which templates use", db, MySQL, &Options{Table: "{table}"}, "Options.Table"},
		{"an at sign, which templates use", db, MySQL, &Options{Table: "@id"}, "Options.Table"},
		{"a letter that is not ASCII", db, MySQL, &Options{Table: "ſessions"}, "Options.Table"},
		{"a schema with a quote", db, MySQL, &Options{Schema: "'"}, "Options.Schema"},
		{"a long name", db, Postgres, &Options{Table: strings.Repeat("a", 51)}, "51 bytes"},
	} {
		_, err := New(test.db, test.dialect, test.opts)
		if err == nil || !strings.HasPrefix(err.Error(), "sqlstore: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
		if test.db == nil {
			continue
		}
		if _, schemaErr := Schema(test.dialect, test.opts); fmt.Sprint(schemaErr) != fmt.Sprint(err) {
			t.Errorf("%s: Schema says %v", test.name, schemaErr)
		}
	}
}

func TestSaveRefuses(t *testing.T) {
	for _, test := range []struct {
		name     string
		dialect  Dialect
		rec      session.Record
		tooLarge bool
	}{
		{"no ID", SQLite, session.Record{}, false},
		{"a long ID", MySQL, session.Record{ID: strings.Repeat("a", 129)}, false},
		{"a long subject", MySQL, session.Record{ID: "a", Subject: strings.Repeat("a", 256)}, false},
		{"large data", MySQL, session.Record{ID: "a", Data: make([]byte, 1<<24)}, true},
	} {
		store, err := New(newDB(t), test.dialect, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.Save(t.Context(), &test.rec)
		if err == nil || errors.Is(err, session.ErrTooLarge) != test.tooLarge || strings.Contains(err.Error(), "connect") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

type sqliteErr struct{ code int }

func (e sqliteErr) Error() string { return fmt.Sprintf("what SQLite says (%d)", e.code) }
func (e sqliteErr) Code() int     { return e.code }

type stateErr string

func (e stateErr) Error() string    { return `ERROR: something about "geheimnis"` }
func (e stateErr) SQLState() string { return string(e) }

func TestFault(t *testing.T) {
	const secret = "geheimnis"
	for _, test := range []struct {
		dialect Dialect
		err     error
		want    fault // without shown and hint
		shows   bool
	}{
		{SQLite, sqliteErr{5}, fault{retry: true}, true},
		{SQLite, sqliteErr{5 | 1<<8}, fault{retry: true}, true},
		{SQLite, errors.New("database is locked"), fault{retry: true}, true},
		{SQLite, sqliteErr{18}, fault{tooLarge: true}, true},
		{SQLite, errors.New("SQL logic error: no such table: x"), fault{}, true},
		{SQLite, errors.New(`sql: Scan error: converting "geheimnis"`), fault{}, false},
		{Postgres, stateErr("40001"), fault{retry: true}, true},
		{Postgres, fmt.Errorf("wrapped: %w", stateErr("40P01")), fault{retry: true}, true},
		{Postgres, stateErr("40003"), fault{}, true}, // may have happened
		{Postgres, stateErr("23505"), fault{}, false},
		{Postgres, stateErr("22P02"), fault{}, false},
		{Postgres, stateErr("42P01"), fault{missing: true}, true},
		{Postgres, stateErr("54000"), fault{tooLarge: true}, true},
		{Postgres, errors.New("cannot encode geheimnis"), fault{}, false},
		{MySQL, errors.New("Error 1213 (40001): Deadlock found"), fault{retry: true}, true},
		{MySQL, errors.New("Error 1205: Lock wait timeout"), fault{retry: true}, true},
		{MySQL, errors.New("Error 1062 (23000): Duplicate entry 'geheimnis' for key"), fault{duplicate: true}, false},
		{MySQL, errors.New("Error 1366 (HY000): Incorrect string value: 'geheimnis'"), fault{}, false},
		{MySQL, errors.New("Error 1406 (22001): Data too long for column 'data'"), fault{tooLarge: true}, false},
		{MySQL, errors.New("Error 12: geheimnis"), fault{}, false},
		{MySQL, errors.New("Error geheimnis"), fault{}, false},
		{MySQL, errors.New("packet for query is too large. Try adjusting"), fault{tooLarge: true}, true},
		{MySQL, context.Canceled, fault{}, false},
	} {
		f := test.dialect.fault(test.err)
		shown := f.shown
		f.shown, f.hint = "", ""
		if f != test.want || (shown == test.err.Error()) != test.shows {
			t.Errorf("%s, %q: %+v, shows %q", test.dialect, test.err, f, shown)
		}
		if !test.shows && strings.Contains(shown, secret) {
			t.Errorf("%s, %q: shows %q", test.dialect, test.err, shown)
		}
	}
}

// TestErrorChain looks for the driver's error and for that of the context.
func TestErrorChain(t *testing.T) {
	db := sql.OpenDB(failing{stateErr("23505")})
	defer db.Close()
	store, err := New(db, Postgres, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	_, err = store.Load(ctx, "a")
	var state stateErr
	if !errors.As(err, &state) || errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "geheimnis") {
		t.Errorf("Load: %v", err)
	}
	cancel()
	for op, err := range map[string]error{
		"delete": store.Delete(ctx, "a"), "ping": store.Ping(ctx), "migrate": store.Migrate(ctx),
		"touch": store.Touch(ctx, "a", time.Time{}, time.Time{}),
	} {
		if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "sqlstore: "+op+": ") {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, test := range []struct {
		t             time.Time
		hour, seconds int64
	}{
		{time.Unix(0, 0), 0, 0},
		{time.Unix(0, 1e6), 0, 1},
		{time.Unix(3599, 999e6), 0, 3600},
		{time.Unix(3600, 0), 1, 3600},
		{time.Unix(-1, 999e6), -1, 0},
		{time.Unix(-3600, 0), -1, -3600},
		{time.Unix(-3601, 0), -2, -3601},
	} {
		if got := hour(test.t); got != test.hour {
			t.Errorf("hour of %v: %v, want %d", test.t, got, test.hour)
		}
		if got := seconds(test.t); got != test.seconds {
			t.Errorf("seconds of %v: %v, want %d", test.t, got, test.seconds)
		}
	}
}

func TestSQLiteDSN(t *testing.T) {
	const params = "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(1)&_txlock=immediate"
	for path, want := range map[string]string{
		"sessions.db":      "file:sessions.db",
		"a b/c?d#e%f.db":   "file:a%20b/c%3Fd%23e%25f.db",
		"/var/lib/x/s.db":  "file:///var/lib/x/s.db",
		"../data/sessions": "file:../data/sessions",
	} {
		if got := SQLiteDSN(path); got != want+params {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
}
