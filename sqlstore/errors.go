package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/coatcheck/session"
)

// answers are the errors that callers branch on. They come without anything that
// varies.
type answers struct{ notFound, touchNotFound, conflict error }

func newAnswers(pkg string) answers {
	return answers{
		notFound:      fmt.Errorf("%s: load: %w", pkg, session.ErrNotFound),
		touchNotFound: fmt.Errorf("%s: touch: %w", pkg, session.ErrNotFound),
		conflict:      fmt.Errorf("%s: save: %w", pkg, session.ErrConflict),
	}
}

// An opError is the failure of an operation. What the database said may quote
// the values of the statement, which are IDs, subjects and data. So the message
// has only what [Dialect.fault] found fit to be shown. The error itself is in
// the chain, for errors.As; who prints that one prints what it says.
type opError struct {
	pkg   string
	op    string
	shown string
	hint  string
	chain []error
}

func (e *opError) Error() string {
	msg := e.pkg + ": " + e.op + ": " + e.shown
	if e.hint != "" {
		msg += "; " + e.hint
	}
	return msg
}

func (e *opError) Unwrap() []error { return e.chain }

// fail returns the error of an operation for what the database said.
func (s *Store) fail(ctx context.Context, op string, err error) error {
	f := s.dialect.fault(err)
	e := &opError{pkg: s.pkg, op: op, shown: f.shown, hint: f.hint, chain: []error{err}}
	if f.missing {
		e.hint = "create the table " + s.table.quoted("") + " with Store.Migrate or the SQL of " + s.pkg + ".Schema"
	}
	if f.tooLarge {
		e.chain = append(e.chain, session.ErrTooLarge)
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		// Drivers have their own words for it.
		e.shown, e.hint = ctxErr.Error(), ""
		e.chain = append(e.chain, ctxErr)
	}
	return e
}

// A fault is what the store knows about an error of the database.
type fault struct {
	shown string // what may be shown of it
	hint  string // how to mend it

	retry     bool // nothing was changed, and trying again may help
	duplicate bool // the primary key is taken
	tooLarge  bool // a value is too large
	missing   bool // there is no such table
	column    bool // there is no such column
}

// unshown stands for what may quote values.
const unshown = "an error that may quote the session and is not shown here (errors.As finds it)"

// fault classifies an error. Drivers are recognised by what their errors can do
// and say, as this package must not import them.
func (d Dialect) fault(err error) fault {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault{shown: "the context of the operation is done"}
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, sql.ErrTxDone):
		return fault{shown: err.Error()}
	case err.Error() == "sql: database is closed":
		return fault{shown: err.Error(), hint: "the program has called Close of the sql.DB that the store uses"}
	case err.Error() == "sql: statement is closed":
		return fault{shown: "the store is closed"}
	case err.Error() == "closed pool":
		return fault{shown: err.Error(), hint: "the program has called Close of the pgxpool.Pool that the store uses"}
	}
	var f fault
	switch d {
	case SQLite:
		f = sqliteFault(err)
	case Postgres:
		f = postgresFault(err)
	case MySQL:
		f = mysqlFault(err)
	}
	if f.shown != "" {
		return f
	}
	f.shown = unshown
	if isNetwork(err) {
		f.shown = err.Error()
	}
	return f
}

// isNetwork reports whether err is about the connection and not about what was
// sent over it.
func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed)
}

// The result codes of SQLite that matter here.
const (
	sqliteError    = 1
	sqliteBusy     = 5
	sqliteLocked   = 6
	sqliteReadonly = 8
	sqliteIOErr    = 10
	sqliteCorrupt  = 11
	sqliteFull     = 13
	sqliteCantOpen = 14
	sqliteTooBig   = 18
	sqliteNotADB   = 26
)

// sqliteFault knows the errors of modernc.org/sqlite by their code, and those of
// other drivers by the words of SQLite, which the drivers pass on. SQLite quotes
// names in them, never values.
func sqliteFault(err error) fault {
	text := err.Error()
	code := 0
	var coded interface{ Code() int }
	switch {
	case errors.As(err, &coded):
		code = coded.Code() & 0xff // without the extension
	case strings.HasPrefix(text, "sql: "):
		return fault{} // database/sql quotes values when it converts them
	case strings.Contains(text, "database is locked"):
		code = sqliteBusy
	case strings.Contains(text, "table is locked"):
		code = sqliteLocked
	}
	f := fault{shown: text}
	switch code {
	case sqliteError:
		f.missing = strings.Contains(text, "no such table")
		f.column = strings.Contains(text, "no such column")
	case sqliteBusy, sqliteLocked:
		f.retry = true
		f.hint = "another connection holds the lock of the database: end its transaction, and open the file with the settings of sqlstore.SQLiteDSN"
	case sqliteReadonly:
		f.hint = "let the process write to the file and to its directory"
	case sqliteIOErr:
		f.hint = "see whether the disk is full or broken, and whether it is a local one"
	case sqliteCorrupt:
		f.hint = "the database is damaged: restore it, or save what is left with the command .recover of sqlite3"
	case sqliteFull:
		f.hint = "make space on the disk, or raise PRAGMA max_page_count"
	case sqliteCantOpen:
		f.hint = "see whether the directory exists and the process may read the file and create others beside it"
	case sqliteTooBig:
		f.tooLarge = true
	case sqliteNotADB:
		f.hint = "the file is something else, or is encrypted"
	}
	return f
}

// postgresFault knows the errors of the server by their SQLSTATE, which those of
// pgx and lib/pq can tell. Only the classes are shown whose messages quote names
// and not values.
func postgresFault(err error) fault {
	var server interface{ SQLState() string }
	if !errors.As(err, &server) {
		return fault{}
	}
	state := server.SQLState()
	f := fault{shown: "SQLSTATE " + state + ", with a message that may quote the session and is not shown here"}
	if len(state) == 5 {
		switch state[:2] {
		case "08", "25", "26", "28", "3D", "40", "42", "53", "54", "55", "57", "58":
			f.shown = err.Error()
		}
	}
	switch state {
	case "40001", "40P01": // serialization failure, deadlock
		f.retry = true
	case "42P01":
		f.missing = true
	case "42703":
		f.column = true
	case "3F000", "3D000":
		f.hint = "create the schema or the database, or correct the DSN or Options.Schema"
	case "42501":
		f.hint = "grant the role SELECT, INSERT, UPDATE and DELETE on the table"
	case "25006":
		f.hint = "the server is a standby or read-only: connect to the primary, for example with target_session_attrs=read-write"
	case "53300":
		f.hint = "lower SetMaxOpenConns of the sql.DB or MaxConns of the pgxpool.Pool, or raise max_connections of the server"
	case "53100":
		f.hint = "make space on the server's disk"
	case "26000", "42P05":
		f.hint = "behind a pooler such as PgBouncer, add default_query_exec_mode=exec to the DSN of pgx"
	case "54000":
		f.tooLarge = true
	}
	return f
}

// mysqlFault knows the errors of github.com/go-sql-driver/mysql by their text:
// they are structs without methods that would tell more.
func mysqlFault(err error) fault {
	text := err.Error()
	if strings.HasPrefix(text, "packet for query is too large") {
		return fault{shown: text, tooLarge: true}
	}
	if text == "invalid connection" {
		return fault{shown: text}
	}
	digits, ok := strings.CutPrefix(text, "Error ")
	if !ok {
		return fault{}
	}
	if i := strings.IndexAny(digits, " :("); i >= 0 {
		digits = digits[:i]
	}
	number, numErr := strconv.Atoi(digits)
	if numErr != nil {
		return fault{}
	}
	f := fault{shown: "error " + digits + ", with a message that may quote the session and is not shown here"}
	switch number {
	case 1062:
		f.duplicate = true
		return f
	case 1105, 1153: // the first is anything, also this
		f.tooLarge = strings.Contains(text, "max_allowed_packet")
		if f.tooLarge {
			f.shown, f.hint = text, "raise max_allowed_packet of the server"
		}
		return f
	case 1406: // the column is too narrow, whose name is quoted
		f.tooLarge = true
		return f
	case 1205, 1213: // lock wait timeout, deadlock
		f.retry = true
	case 1146:
		f.missing = true
	case 1054:
		f.column = true
	case 1040:
		f.hint = "lower SetMaxOpenConns of the sql.DB, or raise max_connections of the server"
	case 1142, 1143:
		f.hint = "grant the user SELECT, INSERT, UPDATE and DELETE on the table"
	case 1290, 1792, 1836:
		f.hint = "the server is a replica or read-only: connect to the primary"
	case 1461:
		f.hint = "raise max_prepared_stmt_count of the server, lower SetMaxOpenConns of the sql.DB, or set Options.NoPrepare"
	case 1021, 1114:
		f.hint = "make space on the server's disk"
	case 1044, 1045, 1046, 1049, 1064, 1072, 1129, 1130, 1227, 1243, 1295:
		// About names, rights and syntax.
	default:
		return f
	}
	f.shown = text
	return f
}
