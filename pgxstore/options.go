package pgxstore

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck/session/sqlstore"
)

// Options configure a [Store]. The zero value is right for most programs.
type Options struct {
	// Table and Schema are where the sessions are, and Layout is how they are
	// laid out there: [Native] by default. They are those of [sqlstore.Options],
	// with the same defaults.
	Table, Schema string
	Layout        Layout

	// NoCoalesce has every Load sent by itself, with the context of its caller.
	// It is for programs whose hooks of the pool (PrepareConn, BeforeAcquire) or
	// tracers must see that context: loads that are sent together have one of
	// their own, without values.
	NoCoalesce bool

	// Notify has [Store.Migrate] install, and [Schema] print, the trigger that
	// [Store.Watch] needs. It notifies of every change of the table, whoever
	// makes it: also sqlstore, Express, and SQL by hand. The price is that
	// PostgreSQL lets transactions that notify commit only one after another.
	// Without it a trigger that is there remains. CockroachDB has neither
	// LISTEN nor NOTIFY.
	Notify bool

	// Listen is the connection string of the connection on which [Store.Watch]
	// listens. It is needed where the pool goes through PgBouncer or its like,
	// and must lead to the server itself, and to the one that the pool writes
	// to. The default is that of the pool. The pool's BeforeConnect and
	// AfterConnect are called in either case.
	Listen string
}

// A Layout is how a record is laid out in the table; see [sqlstore.Layout].
type Layout = sqlstore.Layout

// The layouts: that of this module, and that of connect-pg-simple, to share the
// logins of an Express application. See [sqlstore.Express] for what the latter
// has no place for.
const (
	Native  = sqlstore.Native
	Express = sqlstore.Express
)

// table returns the options of sqlstore.
func (o *Options) table() *sqlstore.Options {
	return &sqlstore.Options{Table: o.Table, Schema: o.Schema, Layout: o.Layout}
}

// listen returns where Watch connects to, or nil for where the pool does.
func (o *Options) listen() (*pgx.ConnConfig, error) {
	if o.Listen == "" {
		return nil, nil
	}
	config, err := pgx.ParseConfig(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("pgxstore: Options.Listen: %w", err)
	}
	return config, nil
}
