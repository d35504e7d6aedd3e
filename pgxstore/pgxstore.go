// Package pgxstore keeps sessions in PostgreSQL through a pool of pgx.
//
//	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
//	store, err := pgxstore.New(pool, nil)
//	err = store.Migrate(ctx) // creates the table if there is none
//
// It is sqlstore on another way to the server: table, layouts, statements,
// migrations and errors are those of sqlstore with sqlstore.Postgres, and both
// work on one table at the same time. So a program that has a pool uses this
// package, one that has a sql.DB uses sqlstore, and whoever changes from one to
// the other changes only the call of New.
//
// # Round trips
//
// Load, Save, Touch and Delete are one statement and one round trip each, on a
// connection that has prepared the statement; pgx does that at its first use. The
// pool adds one where it asks a connection that was idle for over a second whether
// it is still there, unless ShouldPing of its configuration says otherwise. A Load
// that meets a connection which the server has closed goes on with another, so
// loads do not need to be asked first.
//
// # Loads that come together
//
// A Load that comes alone is sent at once. While as many are under way as may be
// at a time, which are half the connections of the pool and four at most, those
// that come meanwhile wait for one of these to return and are then sent together,
// in one statement, up to a hundred of them. So nobody waits for company; the
// busier the program, the more loads share a round trip; and loads leave
// connections for writes. A Load never joins a statement that was sent before it
// began, so it sees every Save that had returned. Each caller may give up by
// itself. The statement of several loads runs on a goroutine, which ends with the
// last of those who wait.
//
// Such a statement has a context of its own, without the values of those of its
// callers: see [Options].NoCoalesce.
//
// Writes are sent one by one. In one transaction many would cost less, but each
// would wait for the locks of all: whoever holds the record of one session would
// hold up the others.
//
// # PgBouncer
//
// Behind PgBouncer in transaction mode, and other poolers that cannot keep
// prepared statements, set default_query_exec_mode in the connection string of the
// pool to exec, simple_protocol or cache_describe. The first is the best choice:
// one round trip, and nothing that is kept on a connection. All five modes of pgx
// work on connections to the server itself, and the default, cache_statement, is
// the fastest there.
//
// # Changes that others make
//
// A Store is a [session.Watcher], so that cachestore can keep records in memory
// and learn within milliseconds what other processes change:
//
//	store, err := pgxstore.New(pool, &pgxstore.Options{Notify: true})
//	err = store.Migrate(ctx) // installs the trigger, too
//	cache, err := cachestore.New(store, nil)
//	go cache.Run(ctx)
//	sessions, err := session.New(cache.Store(), options)
//
// The changes come from a trigger by way of NOTIFY and LISTEN: see
// [Options].Notify for its price, and [Store.Watch]. A notification names a record
// by a hash of its ID, because whoever may connect to the database may listen, and
// an ID may be the token of a client. LISTEN does not work through PgBouncer in
// transaction mode, and through no pooler here: see [Options].Listen.
package pgxstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
)

// A Store keeps sessions in one table of PostgreSQL. It implements
// [session.Store], [session.Toucher], [session.Lister], [session.Sweeper],
// [session.Pinger] and [session.Watcher], and is safe for concurrent use.
type Store struct {
	table   *sqlstore.Store
	db      *sql.DB // the pool, as table sees it
	pool    *pgxpool.Pool
	opts    Options
	trigger trigger
	listen  *pgx.ConnConfig // of Options.Listen, or nil
	watches watches
}

var _ interface {
	session.Store
	session.Toucher
	session.Lister
	session.Sweeper
	session.Pinger
	session.Watcher
	session.ExpressStore
} = (*Store)(nil)

// New returns a store in a table of the pool's database. It checks the options and
// does not touch the database: a server that is down now is used when it has come
// up. [Store.Migrate] creates the table. The pool remains the caller's: its settings
// hold, and the caller closes it. A goroutine belongs to the store until
// [Store.Close].
func New(pool *pgxpool.Pool, opts *Options) (*Store, error) {
	if pool == nil {
		return nil, errors.New("pgxstore: the pool is nil; make one with pgxpool.New")
	}
	s := &Store{pool: pool}
	if opts != nil {
		s.opts = *opts
	}
	var err error
	if s.listen, err = s.opts.listen(); err != nil {
		return nil, err
	}
	s.trigger = newTrigger(&s.opts)
	s.db = newDirect(pool, !s.opts.NoCoalesce).open()
	if s.table, err = sqlstore.New(s.db, sqlstore.Postgres, s.opts.table()); err != nil {
		s.db.Close()
		return nil, fmt.Errorf("pgxstore: %w", err)
	}
	return s, nil
}

// Close ends the goroutine that belongs to a store. It does not close the pool.
// The store must not be used any more.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fail(context.Background(), "close", err)
	}
	return nil
}

// ExpressLayout reports whether the store works on the table of an Express
// application. The manager asks, because such a table takes only what Express
// understands.
func (s *Store) ExpressLayout() bool { return s.table.ExpressLayout() }

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	s.watches.loading(id)
	return s.table.Load(ctx, id)
}

// Save implements [session.Store].
func (s *Store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	return s.table.Save(ctx, rec)
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id string) error { return s.table.Delete(ctx, id) }

// Touch implements [session.Toucher].
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	return s.table.Touch(ctx, id, lastSeen, expires)
}

// List implements [session.Lister]. The cursor is the ID of the last record.
func (s *Store) List(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	return s.table.List(ctx, q)
}

// Sweep implements [session.Sweeper]. When it fails it returns how many records
// it had removed until then. Several processes may sweep at once.
func (s *Store) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	return s.table.Sweep(ctx, before)
}

// Ping implements [session.Pinger]. It reads from the table, so it fails also
// where the server is there and the table is not, or is not readable.
func (s *Store) Ping(ctx context.Context) error { return s.table.Ping(ctx) }

// fail returns the error of an operation that has nothing to do with records: what
// the server says of those quotes them, and sqlstore looks after that.
func fail(ctx context.Context, op string, err error) error {
	if done := ctx.Err(); done != nil && !errors.Is(err, done) {
		err = fmt.Errorf("%w (%w)", done, err)
	}
	return fmt.Errorf("pgxstore: %s: %w", op, err)
}
