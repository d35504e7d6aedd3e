package sqlstore

import (
	"time"

	"github.com/coatcheck/session"
)

// native returns the layout of this package. Its statements are nearly the same
// in all dialects; the CASE of touch is there because the dialects do not agree
// on what the greatest of a time and NULL is.
func native(d Dialect) (*layout, [numStatements]string) {
	l := &layout{
		key:      func(s string) any { return s },
		time:     millis,
		expiry:   func(t time.Time) any { return t.UnixMilli() },
		data:     blob,
		version:  func(rec *session.Record) uint64 { return newVersion(rec.Version) },
		complete: func(*session.Record) {},
	}
	templates := [numStatements]string{
		stmtLoad: `SELECT subject, version, created, last_seen, expires, data FROM {table} WHERE id = @id`,
		stmtInsert: `INSERT INTO {table} (id, subject, version, created, last_seen, expires, expires_hour, data) ` +
			`VALUES (@id, @subject, @version, @created, @last_seen, @expires, @hour, @data)`,
		stmtUpdate: `UPDATE {table} SET subject = @subject, version = @version, created = @created, ` +
			`last_seen = @last_seen, expires = @expires, expires_hour = @hour, data = @data ` +
			`WHERE id = @id AND version = @old_version`,
		stmtTouch: `UPDATE {table} SET ` +
			`last_seen = CASE WHEN last_seen IS NULL OR last_seen < @last_seen THEN @last_seen ELSE last_seen END, ` +
			`expires = CASE WHEN expires < @expires THEN @expires ELSE expires END, ` +
			`expires_hour = CASE WHEN expires_hour < @hour THEN @hour ELSE expires_hour END ` +
			`WHERE id = @id`,
		stmtDelete: `DELETE FROM {table} WHERE id = @id`,
		stmtList: `SELECT id, subject, version, created, last_seen, expires, data FROM {table} ` +
			`WHERE id > @id ORDER BY id LIMIT @limit`,
		// The second condition lets the planner use the partial index.
		stmtListSubject: `SELECT id, subject, version, created, last_seen, expires, data FROM {table} ` +
			`WHERE subject = @subject AND subject <> '' AND id > @id ORDER BY id LIMIT @limit`,
		stmtExists: `SELECT 1 FROM {table} WHERE id = @id`,
	}
	switch d {
	case SQLite:
		l.schema = sqliteSchema
		templates[stmtInsert] += ` ON CONFLICT (id) DO NOTHING`
		templates[stmtSweep] = sqliteSweep
	case Postgres:
		l.schema = postgresSchema
		l.key = func(s string) any { return []byte(s) }
		l.time = timestamp
		l.expiry = func(t time.Time) any { return t.UTC().Truncate(time.Millisecond) }
		templates[stmtLoadMany] = `SELECT id, subject, version, created, last_seen, expires, data FROM {table} WHERE id = ANY(@ids)`
		templates[stmtTouch] = postgresTouch
		templates[stmtInsert] += ` ON CONFLICT (id) DO NOTHING`
		templates[stmtSweep] = postgresSweep
	case MySQL:
		// A plain INSERT: INSERT IGNORE would also pass over values that do not
		// fit, and with ON DUPLICATE KEY UPDATE the count of rows depends on a
		// setting of the connection. That the key is taken is an error, which
		// Save knows.
		l.schema = mysqlSchema
		templates[stmtSweep] = mysqlSweep
	}
	l.before = l.expiry
	return l, templates
}

// nativeCheck selects every column of the layout.
const nativeCheck = `SELECT id, subject, version, created, last_seen, expires, expires_hour, data FROM {table} WHERE 1 = 0`

// blob returns data as an argument.
func blob(data []byte) any {
	if data == nil {
		return []byte{}
	}
	return data
}
