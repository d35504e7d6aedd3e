package sqlstore

import (
	"time"

	"github.com/coatcheck/session"
)

// A layout is what a table looks like: its statements, and how the fields of a
// record become arguments. Columns become fields in the same way everywhere, as
// every SELECT of records has the same columns; see [Store.fields].
type layout struct {
	queries [numStatements]query
	schema  schema

	express  bool
	padded   bool                         // whether IDs are compared without spaces at their end
	key      func(string) any             // an ID or a subject
	time     func(time.Time) any          // nil for the zero time
	expiry   func(time.Time) any          // as exactly as the layout keeps it
	before   func(time.Time) any          // what Sweep compares Expires with
	data     func([]byte) any             // never nil, which would be NULL
	version  func(*session.Record) uint64 // the version that a save gives
	complete func(*session.Record)        // fills what no column has
}

func newLayout(t table, kind Layout) *layout {
	var l *layout
	var templates [numStatements]string
	switch {
	case kind == Native:
		l, templates = native(t.dialect)
	case t.dialect == Postgres:
		l, templates = expressPostgres()
	default:
		l, templates = expressMySQL()
	}
	for i := range templates {
		l.queries[i].compile(t, templates[i])
	}
	return l
}
