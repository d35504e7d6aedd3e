package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
)

// A schema is how a table comes to be. Migration n brings a table of version n
// to version n+1; one that was in a release is not changed any more. Every
// statement may be run again, because MySQL cannot undo those that were run
// before one failed.
type schema struct {
	// versioned tells whether the version is kept, in a table beside it with
	// the suffix _schema. Those of Express have none: they are others' tables.
	versioned  bool
	migrations [][]string

	// check fails where the table that the first statement found is not what
	// it would have created.
	check string
}

const (
	createVersions = `CREATE TABLE IF NOT EXISTS {table _schema} (version integer NOT NULL PRIMARY KEY)`
	readVersion    = `SELECT COALESCE(MAX(version), 0) FROM {table _schema}`
)

// recordVersion returns the statement that ends a migration.
func recordVersion(d Dialect, version int) string {
	if d == MySQL {
		return fmt.Sprintf(`INSERT IGNORE INTO {table _schema} (version) VALUES (%d)`, version)
	}
	return fmt.Sprintf(`INSERT INTO {table _schema} (version) VALUES (%d) ON CONFLICT (version) DO NOTHING`, version)
}

// Schema returns the SQL that creates the table, for those who create tables
// with tools of their own. [Store.Migrate] runs the same, and finds nothing to
// do where this was run. Where the table exists it changes nothing.
func Schema(dialect Dialect, opts *Options) (string, error) {
	o, err := opts.check(dialect)
	if err != nil {
		return "", err
	}
	t := table{dialect: dialect, schema: o.Schema, name: o.Table}
	sc := newLayout(t, o.Layout).schema
	var statements []string
	if sc.versioned {
		statements = append(statements, createVersions)
	}
	for i, migration := range sc.migrations {
		statements = append(statements, migration...)
		if sc.versioned {
			statements = append(statements, recordVersion(dialect, i+1))
		}
	}
	return t.expand(strings.Join(statements, ";\n")) + ";\n", nil
}

// A refusal is a reason not to migrate.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// Migrate creates the table, or brings one that an older release created up to
// date. It may be called at every start, by several processes at once: where
// nothing is to be done it only reads the version, and needs no right to change
// tables.
func (s *Store) Migrate(ctx context.Context) error {
	var again retrier
	for {
		err := s.migrate(ctx)
		if again.worth(ctx, s.dialect, err) {
			continue
		}
		if err == nil {
			return nil
		}
		var refused *refusal
		if errors.As(err, &refused) {
			return fmt.Errorf("%s: migrate: %w", s.pkg, refused)
		}
		return s.fail(ctx, "migrate", err)
	}
}

func (s *Store) migrate(ctx context.Context) error {
	if s.layout.schema.versioned {
		// An error is most often that there is no such table yet. Whatever
		// else it is will be seen below.
		if version, err := s.schemaVersion(ctx, s.db); err == nil && version >= len(s.layout.schema.migrations) {
			return s.checkVersion(version)
		}
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	lock := newMigrationLock(s.table)
	if err = lock.acquire(ctx, conn); err == nil {
		err = s.migrateLocked(ctx, conn)
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, lock.commit)
	}
	if err != nil {
		// The connection must not go back to the pool with the lock or with an
		// open transaction, also when ctx is done.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if _, failed := conn.ExecContext(ctx, lock.rollback); failed != nil {
			conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}
	return err
}

// migrateLocked runs the statements that nobody else has run by now.
func (s *Store) migrateLocked(ctx context.Context, conn *sql.Conn) error {
	sc := s.layout.schema
	exec := func(template string) error {
		_, err := conn.ExecContext(ctx, s.table.expand(template))
		return err
	}
	version := 0
	if sc.versioned {
		if err := exec(createVersions); err != nil {
			return err
		}
		var err error
		if version, err = s.schemaVersion(ctx, conn); err != nil {
			return err
		}
		if version > len(sc.migrations) {
			return s.checkVersion(version)
		}
	}
	for ; version < len(sc.migrations); version++ {
		for i, statement := range sc.migrations[version] {
			if err := exec(statement); err != nil {
				return err
			}
			if version > 0 || i > 0 {
				continue
			}
			if err := exec(sc.check); err != nil {
				if !s.dialect.fault(err).column {
					return err
				}
				return &refusal{"the table " + s.table.quoted("") + " exists and is not one of this layout: " +
					"set Options.Table to another name, or Options.Layout to the layout that it has"}
			}
		}
		if sc.versioned {
			if err := exec(recordVersion(s.dialect, version+1)); err != nil {
				return err
			}
		}
	}
	return nil
}

// schemaVersion reads the version of the table.
func (s *Store) schemaVersion(ctx context.Context, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (version int, err error) {
	err = db.QueryRowContext(ctx, s.table.expand(readVersion)).Scan(&version)
	return version, err
}

// checkVersion refuses a table that a later release has migrated.
func (s *Store) checkVersion(version int) error {
	known := len(s.layout.schema.migrations)
	if version <= known {
		return nil
	}
	return &refusal{fmt.Sprintf("the table %s has version %d, and this release knows none beyond %d: upgrade the program",
		s.table.quoted(""), version, known)}
}

// A migrationLock keeps all but one process from migrating a table. With SQLite
// and PostgreSQL it is a transaction; MySQL has none for changes of tables.
type migrationLock struct {
	begin            string
	lock             string // a SELECT of 1
	commit, rollback string
}

func newMigrationLock(t table) migrationLock {
	h := fnv.New64a()
	fmt.Fprintf(h, "sqlstore %q %q", t.schema, t.name)
	switch t.dialect {
	case Postgres:
		lock := fmt.Sprintf("SELECT 1 FROM (SELECT pg_advisory_xact_lock(%d)) AS l", int64(h.Sum64()))
		return migrationLock{begin: "BEGIN", lock: lock, commit: "COMMIT", rollback: "ROLLBACK"}
	case MySQL:
		name := fmt.Sprintf("'sqlstore-%016x'", h.Sum64())
		release := "DO RELEASE_LOCK(" + name + ")"
		return migrationLock{lock: "SELECT GET_LOCK(" + name + ", 60)", commit: release, rollback: release}
	default:
		return migrationLock{begin: "BEGIN IMMEDIATE", commit: "COMMIT", rollback: "ROLLBACK"}
	}
}

func (l migrationLock) acquire(ctx context.Context, conn *sql.Conn) error {
	if l.begin != "" {
		if _, err := conn.ExecContext(ctx, l.begin); err != nil {
			return err
		}
	}
	if l.lock == "" {
		return nil
	}
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, l.lock).Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return &refusal{"another process has been migrating the table for 60 s"}
	}
	return nil
}
