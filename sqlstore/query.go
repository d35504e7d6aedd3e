package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/sqldirect"
)

// A param is an argument of a statement, by what it means. A template names it,
// as @id, and every statement takes of the args what it names.
type param uint8

const (
	argID param = iota
	argSubject
	argVersion
	argOldVersion
	argCreated
	argLastSeen
	argExpires
	argHour
	argData
	argLimit
	argLastID
	argIDs
	numArgs
)

var paramNames = [numArgs]string{
	argID:         "id",
	argSubject:    "subject",
	argVersion:    "version",
	argOldVersion: "old_version",
	argCreated:    "created",
	argLastSeen:   "last_seen",
	argExpires:    "expires",
	argHour:       "hour",
	argData:       "data",
	argLimit:      "limit",
	argLastID:     "last_id",
	argIDs:        "ids",
}

type args [numArgs]any

// A statement is what a query is for.
type statement uint8

const (
	stmtLoad     statement = iota
	stmtLoadMany           // only PostgreSQL, for sqldirect
	stmtInsert
	stmtUpdate
	stmtTouch
	stmtDelete
	stmtList
	stmtListSubject
	stmtSweep
	stmtSweepPage // the last ID of a page; only where sweeping goes by pages
	stmtExists    // whether there is a record with the ID
	stmtUnchanged // whether it still has the old version; only Express in MySQL
	numStatements
)

// A query is a statement in the language of its dialect.
type query struct {
	text   string
	params []param // the arguments, in the order of their placeholders

	stmt atomic.Pointer[sql.Stmt] // once prepared
}

// compile makes a query of a template: {…} is filled by [table.expand], and @…
// names an argument.
func (q *query) compile(t table, template string) {
	var b strings.Builder
	template = t.expand(template)
	for {
		before, rest, ok := strings.Cut(template, "@")
		b.WriteString(before)
		if !ok {
			q.text = b.String()
			return
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
		if end < 0 {
			end = len(rest)
		}
		b.WriteString(q.placeholder(t.dialect, paramNamed(rest[:end])))
		template = rest[end:]
	}
}

// paramNamed returns the argument with a name. The templates are ours, and the
// golden files show every statement that is made of them.
func paramNamed(name string) param { return param(slices.Index(paramNames[:], name)) }

// placeholder returns how the statement refers to the argument: by number, so
// that one argument may be named twice, or in MySQL by position.
func (q *query) placeholder(d Dialect, p param) string {
	if d == MySQL {
		q.params = append(q.params, p)
		return "?"
	}
	n := 0
	for i, have := range q.params {
		if have == p {
			n = i + 1
		}
	}
	if n == 0 {
		q.params = append(q.params, p)
		n = len(q.params)
	}
	if d == SQLite {
		return "?" + strconv.Itoa(n)
	}
	return "$" + strconv.Itoa(n)
}

// args returns the arguments in the order of the placeholders.
func (q *query) args(a *args) []any {
	list := make([]any, len(q.params))
	for i, p := range q.params {
		list[i] = a[p]
	}
	return list
}

// prepared returns the query as a prepared statement, or nil if the store does
// not prepare. A statement is prepared on first use, and a failure is not kept.
func (s *Store) prepared(ctx context.Context, q *query) (*sql.Stmt, error) {
	if !s.prepares {
		return nil, nil
	}
	if stmt := q.stmt.Load(); stmt != nil {
		return stmt, nil
	}
	// The statement is prepared outside the lock: whoever waits for the
	// database must not hold up others whose context ends sooner.
	stmt, err := s.db.PrepareContext(ctx, q.text)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := q.stmt.Load(); first != nil {
		stmt.Close()
		return first, nil
	}
	q.stmt.Store(stmt)
	return stmt, nil
}

// exec runs the query and returns how many rows it affected.
func (s *Store) exec(ctx context.Context, st statement, a *args) (int64, error) {
	q := &s.layout.queries[st]
	var again retrier
	for {
		n, err := s.execOnce(ctx, q, a)
		if !again.worth(ctx, s.dialect, err) {
			return n, err
		}
	}
}

func (s *Store) execOnce(ctx context.Context, q *query, a *args) (int64, error) {
	if s.direct != nil {
		return s.direct.Exec(ctx, q.text, q.args(a))
	}
	stmt, err := s.prepared(ctx, q)
	if err != nil {
		return 0, err
	}
	if s.group == nil {
		return execAlone(ctx, s.db, q, stmt, q.args(a))
	}
	return s.group.exec(&write{
		ctx: ctx, query: q, stmt: stmt, args: q.args(a),
		alone: q == &s.layout.queries[stmtSweep], // it holds the lock for long enough by itself
	})
}

// execAlone runs the query in a transaction of its own.
func execAlone(ctx context.Context, db *sql.DB, q *query, stmt *sql.Stmt, args []any) (int64, error) {
	if stmt != nil {
		return affected(stmt.ExecContext(ctx, args...))
	}
	return affected(db.ExecContext(ctx, q.text, args...))
}

// affected returns how many rows a statement affected.
func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// find reads the record with the ID of rec.
func (s *Store) find(ctx context.Context, rec *session.Record) error {
	key := s.layout.key(rec.ID)
	if s.direct == nil {
		return s.row(ctx, stmtLoad, &args{argID: key}, s.fields(rec)...)
	}
	lookup := sqldirect.Lookup{One: s.layout.queries[stmtLoad].text, Many: s.layout.queries[stmtLoadMany].text}
	var again retrier
	for {
		err := s.direct.Load(ctx, lookup, key, rec)
		if !again.worth(ctx, s.dialect, err) {
			return err
		}
	}
}

// row runs the query and scans its only row.
func (s *Store) row(ctx context.Context, st statement, a *args, dest ...any) error {
	q := &s.layout.queries[st]
	var again retrier
	for {
		err := s.rowOnce(ctx, q, a, dest)
		if !again.worth(ctx, s.dialect, err) {
			return err
		}
	}
}

func (s *Store) rowOnce(ctx context.Context, q *query, a *args, dest []any) error {
	stmt, err := s.prepared(ctx, q)
	if err != nil {
		return err
	}
	if stmt != nil {
		return stmt.QueryRowContext(ctx, q.args(a)...).Scan(dest...)
	}
	return s.db.QueryRowContext(ctx, q.text, q.args(a)...).Scan(dest...)
}

// exists reports whether the query has a row, of one number.
func (s *Store) exists(ctx context.Context, st statement, a *args) (bool, error) {
	var one int
	switch err := s.row(ctx, st, a, &one); err {
	case nil:
		return true, nil
	case sql.ErrNoRows:
		return false, nil
	default:
		return false, err
	}
}

// rows runs the query and calls each for every row, and start before the first
// one, again if it has to begin anew.
func (s *Store) rows(ctx context.Context, st statement, a *args, start func(), each func(scan func(...any) error) error) error {
	q := &s.layout.queries[st]
	var again retrier
	for {
		start()
		err := s.rowsOnce(ctx, q, a, each)
		if !again.worth(ctx, s.dialect, err) {
			return err
		}
	}
}

func (s *Store) rowsOnce(ctx context.Context, q *query, a *args, each func(scan func(...any) error) error) error {
	stmt, err := s.prepared(ctx, q)
	if err != nil {
		return err
	}
	var rows *sql.Rows
	if stmt != nil {
		rows, err = stmt.QueryContext(ctx, q.args(a)...)
	} else {
		rows, err = s.db.QueryContext(ctx, q.text, q.args(a)...)
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
