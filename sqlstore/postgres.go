package sqlstore

// IDs, subjects and data are bytea: compared byte by byte whatever the collation
// of the database, not changed by an upgrade of the C library, and any UTF-8 in
// whatever encoding the database has. (COLLATE "C" would do the first two, but
// CockroachDB has no such columns.) The free space of fillfactor is for
// heap-only updates.
var postgresSchema = schema{
	versioned: true,
	check:     nativeCheck,
	migrations: [][]string{{
		`CREATE TABLE IF NOT EXISTS {table} (
  id bytea NOT NULL PRIMARY KEY,
  subject bytea NOT NULL,
  version bigint NOT NULL,
  created timestamptz(3),
  last_seen timestamptz(3),
  expires timestamptz(3) NOT NULL,
  expires_hour integer NOT NULL, -- hours since 1970
  data bytea NOT NULL
) WITH (fillfactor = 70)`,
		`CREATE INDEX IF NOT EXISTS {name _subject_idx} ON {table} (subject, id) WHERE subject <> ''`,
		`CREATE INDEX IF NOT EXISTS {name _expires_idx} ON {table} (expires_hour)`,
	}},
}

// The casts tell the type of an argument that is NULL.
const postgresTouch = `UPDATE {table} SET ` +
	`last_seen = CASE WHEN last_seen IS NULL OR last_seen < @last_seen::timestamptz THEN @last_seen::timestamptz ELSE last_seen END, ` +
	`expires = CASE WHEN expires < @expires::timestamptz THEN @expires::timestamptz ELSE expires END, ` +
	`expires_hour = CASE WHEN expires_hour < @hour::integer THEN @hour::integer ELSE expires_hour END ` +
	`WHERE id = @id`

// The subselect passes over records that somebody is changing, so that sweeping
// waits for nobody. It is an array, so that it runs once. The last condition is
// for a record that was touched after the subselect had seen it.
const postgresSweep = `DELETE FROM {table} WHERE id = ANY(ARRAY(` +
	`SELECT id FROM {table} WHERE expires_hour <= @hour AND expires < @expires LIMIT @limit FOR UPDATE SKIP LOCKED` +
	`)) AND expires < @expires`
