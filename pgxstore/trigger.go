package pgxstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck/session/sqlstore"
)

// A trigger is what notifies of the changes of a table. Nobody needs a right to
// listen, so a notification must not have the ID of a record, which may be the
// token of a client: it has the first half of its SHA-256, of which nobody finds
// what it was made of, and by which [names] knows it.
type trigger struct {
	table    string // as it is written in SQL
	schema   string // likewise, with a dot, or empty
	name     string // of the table
	idColumn string // as bytes
}

// body is what the function of the trigger does. A channel is called after the
// table's OID, so two tables never share one, whatever search_path says. An empty
// notification is about all records.
const body = `
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_notify('session_changes_' || TG_RELID, '');
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    PERFORM pg_notify('session_changes_' || TG_RELID, encode(substr(sha256({old}), 1, 16), 'hex'));
  END IF;
  IF TG_OP <> 'DELETE' THEN -- PostgreSQL sends what is the same twice only once
    PERFORM pg_notify('session_changes_' || TG_RELID, encode(substr(sha256({new}), 1, 16), 'hex'));
  END IF;
  RETURN NULL;
END
`

// newTrigger returns the trigger for options that sqlstore has checked.
func newTrigger(o *Options) trigger {
	t := trigger{name: o.Table}
	switch {
	case t.name != "":
	case o.Layout == Express:
		t.name = "session"
	default:
		t.name = "sessions"
	}
	if o.Schema != "" {
		t.schema = pgx.Identifier{o.Schema}.Sanitize() + "."
	}
	t.table = t.schema + t.quoted("")
	t.idColumn = "%s.id"
	if o.Layout == Express {
		t.idColumn = "convert_to(%s.sid, 'UTF8')"
	}
	return t
}

// quoted returns the name of the table with the suffix, as it is written in SQL.
func (t trigger) quoted(suffix string) string { return pgx.Identifier{t.name + suffix}.Sanitize() }

// function is the source of the function, which tells a trigger from one of
// another release.
func (t trigger) function() string {
	return strings.NewReplacer(
		"{old}", fmt.Sprintf(t.idColumn, "OLD"),
		"{new}", fmt.Sprintf(t.idColumn, "NEW"),
	).Replace(body)
}

// create is the SQL that creates the trigger, also where there is one.
func (t trigger) create() string {
	return strings.NewReplacer(
		"{function}", t.schema+t.quoted("_changed"),
		"{body}", t.function(),
		"{table}", t.table,
		"{changed}", t.quoted("_changed"),
		"{truncated}", t.quoted("_truncated"),
	).Replace(`CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $function${body}$function$;
DROP TRIGGER IF EXISTS {changed} ON {table};
CREATE TRIGGER {changed} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}();
DROP TRIGGER IF EXISTS {truncated} ON {table};
CREATE TRIGGER {truncated} AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}();
`)
}

// findTrigger finds the table $1, and whether both triggers are there, enabled, and
// have the function $2. The numbers are what pg_trigger has for them: 29 is AFTER
// INSERT OR UPDATE OR DELETE FOR EACH ROW, 32 is AFTER TRUNCATE FOR EACH STATEMENT.
const findTrigger = `SELECT c.oid::bigint, (
  SELECT count(DISTINCT t.tgtype) = 2 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
  WHERE t.tgrelid = c.oid AND t.tgenabled IN ('O', 'A') AND t.tgtype IN (29, 32) AND p.prosrc = $2::text
) FROM pg_class c WHERE c.oid = to_regclass($1::text)`

// find returns the channel on which the changes of the table are notified, and
// whether the trigger is there that does so.
func (t trigger) find(ctx context.Context, db interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (channel string, ok bool, err error) {
	var table int64
	err = db.QueryRow(ctx, findTrigger, t.table, t.function()).Scan(&table, &ok)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", false, nil
	}
	return fmt.Sprint("session_changes_", table), ok, err
}

// Schema returns the SQL that creates the table, and with [Options].Notify the
// trigger, for those who create tables with tools of their own. [Store.Migrate]
// runs the same, and finds nothing to do where this was run.
func Schema(opts *Options) (string, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	schema, err := sqlstore.Schema(sqlstore.Postgres, o.table())
	if err != nil {
		return "", fmt.Errorf("pgxstore: %w", err)
	}
	if o.Notify {
		schema += newTrigger(&o).create()
	}
	return schema, nil
}

// Migrate creates the table, or brings one that an older release created up to
// date, and with [Options].Notify does the same with the trigger. It may be
// called at every start, by several processes at once: where nothing is to be
// done it only looks, and needs no right to change tables.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.table.Migrate(ctx); err != nil || !s.opts.Notify {
		return err
	}
	if err := s.trigger.install(ctx, s.pool); err != nil {
		return fail(ctx, "migrate", err)
	}
	return nil
}

// install creates the trigger, unless it is there.
func (t trigger) install(ctx context.Context, pool *pgxpool.Pool) error {
	if _, ok, err := t.find(ctx, pool); ok || err != nil {
		return err
	}
	// Whoever waits for the lock must see what its holder has done.
	committed := pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	return pgx.BeginTxFunc(ctx, pool, committed, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext($1::text))`, "pgxstore "+t.table); err != nil {
			return err
		}
		if _, ok, err := t.find(ctx, tx); ok || err != nil {
			return err
		}
		_, err := tx.Exec(ctx, t.create())
		return err
	})
}
