package interop

import (
	"context"
	"database/sql"
	"net/url"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/pgxstore"
	"github.com/coatcheck/session/sqlstore"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// A postgresStore is ours: sqlstore or pgxstore.
type postgresStore interface {
	session.Store
	Migrate(context.Context) error
}

func newPostgresStore(t *testing.T, dsn string) postgresStore {
	return newSQLStore(t, "pgx", dsn, sqlstore.Postgres)
}

func newPGXStore(t *testing.T, dsn string) postgresStore {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := pgxstore.New(pool, &pgxstore.Options{Layout: pgxstore.Express, Notify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// openPostgres returns a place on PostgreSQL. The connections of both sides are in
// the time zone; either side creates the table.
func openPostgres(ours func(*testing.T, string) postgresStore, zone string, expressCreates bool) func(*testing.T, time.Duration) place {
	return func(t *testing.T, ttl time.Duration) place {
		db := servers.SharedPostgres(t).NewDatabase(t)
		dsn := db.DSN + "&application_name=ours&timezone=" + url.QueryEscape(zone)
		if !expressCreates {
			if err := ours(t, dsn).Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return place{
			express: map[string]any{
				"kind": "postgres", "url": db.URL + "&application_name=express", "timeZone": zone,
				"ttl": ttl.Seconds(), "createTable": expressCreates,
			},
			ours: func(t *testing.T) session.Store { return ours(t, dsn) },
			rows: &postgresRows{openSQL(t, "pgx", db.DSN+"&timezone=UTC"), zone},
		}
	}
}

func openSQL(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	t.Cleanup(func() { db.Close() })
	return db
}

func newSQLStore(t *testing.T, driver, dsn string, dialect sqlstore.Dialect) *sqlstore.Store {
	t.Helper()
	store, err := sqlstore.New(openSQL(t, driver, dsn), dialect, &sqlstore.Options{Layout: sqlstore.Express})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// postgresRows names the time zone in its statements rather than have it in its
// connection, as both sides do.
type postgresRows struct {
	db   *sql.DB
	zone string
}

func (r *postgresRows) read(t *testing.T, id string) (text string, expires time.Time, ok bool) {
	t.Helper()
	err := r.db.QueryRow(`SELECT sess::text, expire AT TIME ZONE $2 FROM session WHERE sid = $1`, id, r.zone).Scan(&text, &expires)
	if err != nil && err != sql.ErrNoRows {
		t.Fatal(err)
	}
	return text, expires, err == nil
}

func (r *postgresRows) write(t *testing.T, id, text string, expires time.Time) {
	t.Helper()
	execSQL(t, r.db, `INSERT INTO session (sid, sess, expire) VALUES ($1, $2::json, $3::timestamptz AT TIME ZONE $4)
		ON CONFLICT (sid) DO UPDATE SET sess = excluded.sess, expire = excluded.expire`, id, text, expires, r.zone)
}

func (r *postgresRows) follow(t *testing.T, id string) func() []change {
	t.Helper()
	execSQL(t, r.db, `DROP TRIGGER IF EXISTS follow ON session`)
	execSQL(t, r.db, `DROP TABLE IF EXISTS followed`)
	execSQL(t, r.db, `CREATE TABLE followed (n bigserial, before_text text, after_text text, express boolean)`)
	execSQL(t, r.db, `CREATE OR REPLACE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO followed (before_text, after_text, express)
				VALUES (OLD.sess::text, NEW.sess::text, current_setting('application_name') = 'express');
			RETURN NEW;
		END $$`)
	execSQL(t, r.db, `CREATE TRIGGER follow AFTER UPDATE OF sess ON session FOR EACH ROW EXECUTE FUNCTION follow()`)
	return func() []change { return changes(t, r.db) }
}

// changes returns what a trigger has noted.
func changes(t *testing.T, db *sql.DB) (all []change) {
	t.Helper()
	rows, err := db.Query(`SELECT before_text, after_text, express FROM followed ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c change
		if err := rows.Scan(&c.before, &c.after, &c.express); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func execSQL(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}
