package sqlstore

import (
	"errors"
	"fmt"
)

// Options configure a [Store]. The zero value is right for most programs.
type Options struct {
	// Table is the name of the table, of at most 50 ASCII letters, digits,
	// '_', '-' and '$'. It is quoted, so upper and lower case differ where
	// the database makes a difference. The default is "sessions"; for
	// [Express] it is that of the Node package, "session" in PostgreSQL and
	// "sessions" in MySQL.
	Table string

	// Schema is where the table is, a schema in PostgreSQL, a database in
	// MySQL; SQLite has none. It must exist. By default it is what the
	// connection has chosen: its search_path, its database.
	Schema string

	// Layout is how a record is laid out in the table: [Native] by default.
	Layout Layout

	// NoPrepare stops the store from preparing its statements, for proxies
	// that cannot keep prepared statements. It does that for SQLite and MySQL,
	// where it saves time. It never does for PostgreSQL, whose driver pgx
	// prepares on its own and is configured by its own DSN: behind PgBouncer in
	// transaction mode it needs default_query_exec_mode=exec.
	NoPrepare bool
}

// A Layout is how a record is laid out in the table.
type Layout uint8

const (
	// Native is the layout of this package, which holds everything.
	Native Layout = iota

	// Express is the table of an Express application, to share its logins: in
	// PostgreSQL that of connect-pg-simple 10, in MySQL that of
	// express-mysql-session 3. It needs [session.Options.ExpressCompatible].
	//
	// Such a table holds a session's ID, its JSON text, kept byte for byte, and
	// when it expires, in whole seconds, which are rounded up. So:
	//
	//   - Created and LastSeen are zero when loaded.
	//   - Subject is what Passport keeps in the text, the string or number in
	//     passport.user; that of a saved record is ignored. List by subject
	//     reads the whole table.
	//   - Version is taken from a hash of the text, which the server computes
	//     too when it compares. A Save of the text that is in the table already
	//     therefore does not change the version, and a text that was changed
	//     twice and is back at what it was is not a conflict. The hash is
	//     SHA-256, for FIPS's sake; it detects changes and secures nothing.
	//   - Express does not compare: its saves overwrite, and they bring back a
	//     session that was deleted here.
	//
	// connect-pg-simple keeps the time of expiry without a time zone, in that
	// of the connection. All programs that share the table must have the same
	// TimeZone, and it is best without summer time. The column sess must be of
	// type json, as that package creates it: jsonb does not keep the text.
	Express
)

// String returns the name of the layout.
func (l Layout) String() string {
	switch l {
	case Native:
		return "native"
	case Express:
		return "express"
	}
	return fmt.Sprintf("Layout(%d)", uint8(l))
}

// check returns the options with their defaults, or what is wrong with them.
func (o *Options) check(dialect Dialect) (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	switch dialect {
	case SQLite, Postgres, MySQL:
	default:
		return opts, errors.New("sqlstore: the dialect must be sqlstore.SQLite, sqlstore.Postgres or sqlstore.MySQL")
	}
	switch {
	case opts.Layout > Express:
		return opts, errors.New("sqlstore: Options.Layout must be sqlstore.Native or sqlstore.Express")
	case opts.Layout == Express && dialect == SQLite:
		return opts, errors.New("sqlstore: Options.Layout: there is no Express layout for SQLite, only for PostgreSQL and MySQL")
	case opts.Schema != "" && dialect == SQLite:
		return opts, errors.New("sqlstore: Options.Schema: SQLite has no schemas; open the file that the table is to be in")
	}
	if opts.Table == "" {
		opts.Table = "sessions"
		if opts.Layout == Express && dialect == Postgres {
			opts.Table = "session"
		}
	}
	if err := checkName("Table", opts.Table); err != nil {
		return opts, err
	}
	if opts.Schema != "" {
		if err := checkName("Schema", opts.Schema); err != nil {
			return opts, err
		}
	}
	return opts, nil
}

// maxName leaves space for what the names of indexes have in addition: beyond
// 63 bytes PostgreSQL cuts names short, and two might become one.
const maxName = 50

// checkName allows what is plain in every database. Names are quoted all the
// same; but what needs more than this is more often a mistake than a name.
func checkName(field, name string) error {
	if len(name) > maxName {
		return fmt.Errorf("sqlstore: Options.%s has %d bytes, more than %d", field, len(name), maxName)
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '$':
		case c == '.':
			return fmt.Errorf("sqlstore: Options.%s %q has a dot; for a table in a schema set Options.Schema and Options.Table", field, name)
		default:
			return fmt.Errorf("sqlstore: Options.%s %q may have only ASCII letters, digits, '_', '-' and '$'", field, name)
		}
	}
	return nil
}
