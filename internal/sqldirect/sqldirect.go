// Package sqldirect is the short way from sqlstore to a database, beside the one
// through database/sql. pgxstore is sqlstore on a pool of pgx: every statement,
// layout, migration and error is the same, and what runs for every request goes
// to the pool directly.
package sqldirect

import (
	"context"
	"database/sql/driver"

	"github.com/coatcheck/session"
)

// A Driver is the driver of a sql.DB of which sqlstore makes use besides.
// sqlstore looks for it in what DB.Driver returns.
type Driver interface {
	driver.Driver

	// Package is the name of the package that the program uses. The messages of
	// errors begin with it.
	Package() string

	// Exec runs a statement and returns how many rows it affected.
	Exec(ctx context.Context, query string, args []any) (affected int64, err error)

	// Load reads the record with the key into the fields of rec that have
	// columns. If there is none the error is sql.ErrNoRows.
	Load(ctx context.Context, lookup Lookup, key any, rec *session.Record) error
}

// A Lookup is how records are found by their keys. Both statements select the
// columns subject, version, created, last_seen, expires and data, in this order,
// of which created and last_seen may be NULL.
type Lookup struct {
	One  string // by the key $1
	Many string // by any of the keys in the array $1, with the ID as the first column
}
