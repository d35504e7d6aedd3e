// Package sqlstore keeps sessions in a table of SQLite, PostgreSQL or MySQL
// (and of what speaks their language: MariaDB, CockroachDB), through
// database/sql and whatever driver the program has chosen for it.
//
//	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN("sessions.db"))
//	store, err := sqlstore.New(db, sqlstore.SQLite, nil)
//	err = store.Migrate(ctx) // creates the table if there is none
//
// It is tested with modernc.org/sqlite, github.com/jackc/pgx/v5/stdlib and
// github.com/go-sql-driver/mysql. A program that has a pool of pgx uses package
// pgxstore instead, which works on the same table, and faster.
//
// # One statement for each operation
//
// A load is one SELECT and a save one UPDATE or INSERT, each found by the
// primary key. The comparison of versions is a condition of the UPDATE, so it
// is atomic in every isolation level and between processes. New versions are
// random numbers chosen here, so that a save needs no second statement to learn
// its version, and so that a record that was deleted and made anew never has
// the version of the old one again.
//
// SQLite has one writer at a time. Writes that come to a Store while it is
// writing wait for their turn and are then made together, in one transaction,
// which takes a third of the time that they would take one by one, and much less
// where they wait for the disk (see [SQLiteDSN]). A write that comes alone does
// not wait for others. Each has its own result and its own context, and returns
// when the transaction that it is in is committed.
//
// # Expiry
//
// Beside expires, the exact time, a record has expires_hour, the same in whole
// hours since 1970, and the index for [Store.Sweep] is on that. A session in
// use has its expires moved all the time, but its hour only once an hour; so
// most updates change no index, which PostgreSQL turns into heap-only updates
// and which saves SQLite and InnoDB a page write each. Who ends sessions by
// changing expires in SQL by hand ends them at once; they are swept some time
// later.
//
// # Express layouts
//
// With [Options.Layout] set to [Express] the store works on the table of a
// running Express application: that of connect-pg-simple in PostgreSQL, that of
// express-mysql-session in MySQL. See [Express] for what such a table cannot
// hold.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/sqldirect"
)

// A Store keeps sessions in one table. It implements [session.Store],
// [session.Toucher], [session.Lister], [session.Sweeper] and [session.Pinger].
type Store struct {
	db      *sql.DB
	direct  sqldirect.Driver // the short way to db, or nil
	pkg     string           // the package that the program uses, for messages
	answers answers
	dialect Dialect
	table   table
	layout  *layout

	// prepares tells whether statements are prepared once for each connection
	// and kept. mu serialises that; the statements are in the queries.
	prepares bool
	mu       sync.Mutex

	// group is what writes to SQLite go through. Nil for servers, which have
	// better ways to let many write at once.
	group *group
}

var (
	_ session.Store   = (*Store)(nil)
	_ session.Toucher = (*Store)(nil)
	_ session.Lister  = (*Store)(nil)
	_ session.Sweeper = (*Store)(nil)
	_ session.Pinger  = (*Store)(nil)
)

// New returns a store in a table of db. It checks the options and does not
// touch the database: a server that is down now is used when it has come up.
// [Store.Migrate] creates the table. The database remains the caller's: its
// pool settings hold, and the caller closes it.
func New(db *sql.DB, dialect Dialect, opts *Options) (*Store, error) {
	if db == nil {
		return nil, errors.New("sqlstore: the database is nil; open one with sql.Open")
	}
	o, err := opts.check(dialect)
	if err != nil {
		return nil, err
	}
	t := table{dialect: dialect, schema: o.Schema, name: o.Table}
	pkg := "sqlstore"
	direct, ok := db.Driver().(sqldirect.Driver)
	if ok {
		pkg = direct.Package()
	}
	s := &Store{
		db:       db,
		direct:   direct,
		pkg:      pkg,
		answers:  newAnswers(pkg),
		dialect:  dialect,
		table:    t,
		layout:   newLayout(t, o.Layout),
		prepares: dialect.prepares() && !o.NoPrepare,
	}
	if dialect == SQLite {
		s.group = &group{db: db}
	}
	return s, nil
}

// ExpressLayout reports whether the store works on the table of an Express
// application. The manager asks, because such a table takes only what Express
// understands.
func (s *Store) ExpressLayout() bool { return s.layout.express }

// Close releases the prepared statements of the store. It does not close the
// database. The store must not be used any more.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for i := range s.layout.queries {
		if stmt := s.layout.queries[i].stmt.Swap(nil); stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return s.fail(context.Background(), "close", err)
	}
	return nil
}

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	rec := session.Record{ID: id}
	err := s.find(ctx, &rec)
	if errors.Is(err, sql.ErrNoRows) {
		return session.Record{}, s.answers.notFound
	}
	if err != nil {
		return session.Record{}, s.fail(ctx, "load", err)
	}
	s.layout.complete(&rec)
	return rec, nil
}

// Save implements [session.Store].
func (s *Store) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	if err := s.checkRecord(rec); err != nil {
		return 0, err
	}
	version := s.layout.version(rec)
	a := args{
		argID:         s.layout.key(rec.ID),
		argSubject:    s.layout.key(rec.Subject),
		argVersion:    int64(version),
		argOldVersion: int64(rec.Version),
		argCreated:    s.layout.time(rec.Created),
		argLastSeen:   s.layout.time(rec.LastSeen),
		argExpires:    s.layout.expiry(rec.Expires),
		argHour:       hour(rec.Expires),
		argData:       s.layout.data(rec.Data),
	}
	st := stmtUpdate
	if rec.Version == 0 {
		st = stmtInsert
	}
	n, err := s.exec(ctx, st, &a)
	switch {
	case err != nil && rec.Version == 0 && s.dialect.fault(err).duplicate:
		return 0, s.answers.conflict
	case err != nil:
		return 0, s.fail(ctx, "save", err)
	case n == 1:
		return version, nil
	case version != rec.Version:
		return 0, s.answers.conflict
	}

	// The version is that of the content and the content is what it was, so
	// that MySQL, which counts changed rows, may have found nothing to change.
	found, err := s.exists(ctx, stmtUnchanged, &a)
	switch {
	case err != nil:
		return 0, s.fail(ctx, "save", err)
	case !found:
		return 0, s.answers.conflict
	}
	return version, nil
}

// checkRecord refuses what a server might cut short instead of refusing it.
func (s *Store) checkRecord(rec *session.Record) error {
	switch {
	case rec.ID == "" || len(rec.ID) > maxID:
		return fmt.Errorf("%s: save: the ID has %d bytes, not 1 to %d", s.pkg, len(rec.ID), maxID)
	case s.layout.padded && strings.HasSuffix(rec.ID, " "):
		return errors.New("sqlstore: save: the ID ends with a space, which the column of express-mysql-session ignores")
	case len(rec.Subject) > maxSubject:
		return fmt.Errorf("%s: save: the subject has %d bytes, more than %d", s.pkg, len(rec.Subject), maxSubject)
	case s.dialect.maxData() > 0 && len(rec.Data) > s.dialect.maxData():
		return fmt.Errorf("sqlstore: save: the data has %d bytes, more than the column takes: %w", len(rec.Data), session.ErrTooLarge)
	}
	return nil
}

// The widths of the columns.
const (
	maxID      = 128
	maxSubject = 255
)

// newVersion returns a random version that is not zero, not the old one, and
// fits a signed column.
func newVersion(old uint64) uint64 {
	for {
		if v := rand.Uint64() >> 1; v != 0 && v != old {
			return v
		}
	}
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id string) error {
	if _, err := s.exec(ctx, stmtDelete, &args{argID: s.layout.key(id)}); err != nil {
		return s.fail(ctx, "delete", err)
	}
	return nil
}

// Touch implements [session.Toucher].
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	a := args{
		argID:       s.layout.key(id),
		argLastSeen: s.layout.time(lastSeen),
		argExpires:  s.layout.expiry(expires),
		argHour:     hour(expires),
	}
	n, err := s.exec(ctx, stmtTouch, &a)
	if err != nil {
		return s.fail(ctx, "touch", err)
	}
	if n == 1 {
		return nil
	}
	if s.dialect == MySQL {
		// MySQL counts the rows that changed, and a touch that is behind the
		// record changes nothing.
		found, err := s.exists(ctx, stmtExists, &a)
		if err != nil {
			return s.fail(ctx, "touch", err)
		}
		if found {
			return nil
		}
	}
	return s.answers.touchNotFound
}

// List implements [session.Lister]. The cursor is the ID of the last record.
func (s *Store) List(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	if q.Limit < 1 {
		return nil, "", fmt.Errorf("%s: list: the limit is %d, not at least 1", s.pkg, q.Limit)
	}
	a := args{
		argID:      s.layout.key(q.Cursor),
		argSubject: s.layout.key(q.Subject),
		argLimit:   int64(q.Limit),
	}
	st := stmtList
	if q.Subject != "" {
		st = stmtListSubject
	}
	var records []session.Record
	var last string
	found := 0
	err := s.rows(ctx, st, &a,
		func() { records, last, found = nil, "", 0 },
		func(scan func(...any) error) error {
			var rec session.Record
			if err := scan(append([]any{&rec.ID}, s.fields(&rec)...)...); err != nil {
				return err
			}
			s.layout.complete(&rec)
			last = rec.ID
			found++
			// The condition of an Express layout lets more pass than it should.
			if q.Subject == "" || rec.Subject == q.Subject {
				records = append(records, rec)
			}
			return nil
		})
	if err != nil {
		return nil, "", s.fail(ctx, "list", err)
	}
	if found < q.Limit {
		last = ""
	}
	return records, last, nil
}

// sweepBatch is how many records one statement of Sweep removes at most: a
// statement holds its locks, in SQLite that of the whole database, until its
// end.
const sweepBatch = 500

// Sweep implements [session.Sweeper]. When it fails it returns how many records
// it had removed until then. Several processes may sweep at once.
func (s *Store) Sweep(ctx context.Context, before time.Time) (int, error) {
	// No record expires between two milliseconds.
	before = before.Add(time.Millisecond - 1).Truncate(time.Millisecond)
	a := args{
		argExpires: s.layout.before(before),
		argHour:    hour(before),
		argLimit:   int64(sweepBatch),
	}
	removed := 0
	if s.layout.queries[stmtSweepPage].text != "" {
		return s.sweepPages(ctx, &a)
	}
	for {
		n, err := s.exec(ctx, stmtSweep, &a)
		if err != nil {
			return removed, s.fail(ctx, "sweep", err)
		}
		removed += int(n)
		if n < sweepBatch {
			return removed, nil
		}
	}
}

// sweepPages sweeps a table that has no index for it, page by page in the order
// of the primary key: a DELETE without an index would lock every record that it
// looks at, which are all.
func (s *Store) sweepPages(ctx context.Context, a *args) (int, error) {
	removed := 0
	for a[argID] = ""; ; a[argID] = a[argLastID] {
		var last sql.NullString
		if err := s.row(ctx, stmtSweepPage, a, &last); err != nil {
			return removed, s.fail(ctx, "sweep", err)
		}
		if !last.Valid {
			return removed, nil
		}
		a[argLastID] = last.String
		n, err := s.exec(ctx, stmtSweep, a)
		if err != nil {
			return removed, s.fail(ctx, "sweep", err)
		}
		removed += int(n)
	}
}

// Ping implements [session.Pinger]. It reads from the table, so it fails also
// where the server is there and the table is not, or is not readable.
func (s *Store) Ping(ctx context.Context) error {
	if _, err := s.exists(ctx, stmtExists, &args{argID: s.layout.key("")}); err != nil {
		return s.fail(ctx, "ping", err)
	}
	return nil
}

// fields are the destinations of the columns that every SELECT of records has.
func (s *Store) fields(rec *session.Record) []any {
	return []any{
		&rec.Subject, (*signed)(&rec.Version),
		(*moment)(&rec.Created), (*moment)(&rec.LastSeen), (*moment)(&rec.Expires),
		&rec.Data,
	}
}
