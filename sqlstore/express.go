package sqlstore

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/passport"
)

// expressPostgres returns the layout of connect-pg-simple. The column expire
// has no time zone; PostgreSQL converts to and from it by the TimeZone of the
// connection, as it does for that package.
func expressPostgres() (*layout, [numStatements]string) {
	const (
		columns = `''::text, 0::bigint, NULL::timestamptz, NULL::timestamptz, expire::timestamptz, sess::text`
		// The text as UTF-8, whatever the encoding of the database; of its hash
		// 60 bits, which are never zero.
		version = `(('x' || substr(encode(sha256(convert_to(sess::text, 'UTF8')), 'hex'), 1, 15))::bit(60)::bigint | 1)`
		// The operators on json fail where a text has escapes that PostgreSQL
		// cannot unescape, and one such text would spoil the list. Those with
		// any \u pass; List looks at the subject itself.
		subject = `CASE WHEN strpos(sess::text, chr(92) || 'u') > 0 THEN true ` +
			`ELSE sess->'passport'->>'user' = @subject::text END`
	)
	l := express(postgresExpressSchema)
	l.expiry = func(t time.Time) any { return time.Unix(seconds(t), 0).UTC() }
	l.before = func(t time.Time) any { return t.UTC() } // others may have written fractions
	return l, [numStatements]string{
		stmtLoad:     `SELECT ` + columns + ` FROM {table} WHERE sid = @id`,
		stmtLoadMany: `SELECT sid, ` + columns + ` FROM {table} WHERE sid = ANY(@ids)`,
		stmtInsert: `INSERT INTO {table} (sid, sess, expire) VALUES (@id, @data::json, @expires::timestamptz) ` +
			`ON CONFLICT (sid) DO NOTHING`,
		stmtUpdate: `UPDATE {table} SET sess = @data::json, expire = @expires::timestamptz ` +
			`WHERE sid = @id AND ` + version + ` = @old_version`,
		stmtTouch:  `UPDATE {table} SET expire = GREATEST(expire, @expires::timestamptz::timestamp) WHERE sid = @id`,
		stmtDelete: `DELETE FROM {table} WHERE sid = @id`,
		stmtList:   `SELECT sid, ` + columns + ` FROM {table} WHERE sid > @id ORDER BY sid LIMIT @limit`,
		stmtListSubject: `SELECT sid, ` + columns + ` FROM {table} ` +
			`WHERE sid > @id AND ` + subject + ` ORDER BY sid LIMIT @limit`,
		stmtSweep: `DELETE FROM {table} WHERE sid = ANY(ARRAY(` +
			`SELECT sid FROM {table} WHERE expire < @expires::timestamptz LIMIT @limit FOR UPDATE SKIP LOCKED` +
			`)) AND expire < @expires::timestamptz`,
		stmtExists: `SELECT 1 FROM {table} WHERE sid = @id`,
	}
}

var postgresExpressSchema = schema{check: `SELECT sid, sess, expire FROM {table} WHERE 1 = 0`, migrations: [][]string{{
	`CREATE TABLE IF NOT EXISTS {table} (
  "sid" varchar NOT NULL COLLATE "default",
  "sess" json NOT NULL,
  "expire" timestamp(6) NOT NULL,
  CONSTRAINT {name _pkey} PRIMARY KEY ("sid") NOT DEFERRABLE INITIALLY IMMEDIATE
)`,
	`CREATE INDEX IF NOT EXISTS {IDX_ _expire} ON {table} ("expire")`,
}}}

// expressMySQL returns the layout of express-mysql-session.
func expressMySQL() (*layout, [numStatements]string) {
	const (
		columns = `'', 0, NULL, NULL, CAST(expires AS SIGNED) * 1000, data`
		version = `(CAST(CONV(LEFT(SHA2(CONVERT(data USING utf8mb4), 256), 15), 16, 10) AS SIGNED) | 1)`
		// The collation of the column ignores spaces at the end. Save refuses an
		// ID with such; this keeps it from finding the record of another.
		key = `session_id = @id AND LENGTH(session_id) = LENGTH(@id)`
		// As with PostgreSQL, what the server may not be able to read passes.
		subject = `CASE WHEN JSON_VALID(data) AND LOCATE(CONCAT(CHAR(92 USING utf8mb4), 'u'), data) = 0 ` +
			`THEN JSON_UNQUOTE(JSON_EXTRACT(data, '$.passport.user')) = @subject ELSE TRUE END`
	)
	l := express(mysqlExpressSchema)
	l.padded = true
	// The column is unsigned and has 32 bits.
	l.expiry = func(t time.Time) any { return min(max(seconds(t), 0), math.MaxUint32) }
	l.before = l.expiry
	return l, [numStatements]string{
		stmtLoad:   `SELECT ` + columns + ` FROM {table} WHERE ` + key,
		stmtInsert: `INSERT INTO {table} (session_id, expires, data) VALUES (@id, @expires, @data)`,
		stmtUpdate: `UPDATE {table} SET expires = @expires, data = @data WHERE ` + key + ` AND ` + version + ` = @old_version`,
		stmtTouch:  `UPDATE {table} SET expires = GREATEST(expires, @expires) WHERE ` + key,
		stmtDelete: `DELETE FROM {table} WHERE ` + key,
		stmtList:   `SELECT session_id, ` + columns + ` FROM {table} WHERE session_id > @id ORDER BY session_id LIMIT @limit`,
		stmtListSubject: `SELECT session_id, ` + columns + ` FROM {table} ` +
			`WHERE session_id > @id AND ` + subject + ` ORDER BY session_id LIMIT @limit`,
		stmtSweep: `DELETE FROM {table} WHERE session_id > @id AND session_id <= @last_id AND expires < @expires`,
		stmtSweepPage: `SELECT MAX(session_id) FROM (` +
			`SELECT session_id FROM {table} WHERE session_id > @id ORDER BY session_id LIMIT @limit) AS page`,
		stmtExists:    `SELECT 1 FROM {table} WHERE ` + key,
		stmtUnchanged: `SELECT 1 FROM {table} WHERE ` + key + ` AND ` + version + ` = @old_version`,
	}
}

var mysqlExpressSchema = schema{check: `SELECT session_id, expires, data FROM {table} WHERE 1 = 0`, migrations: [][]string{{
	"CREATE TABLE IF NOT EXISTS {table} (\n" +
		"  `session_id` varchar(128) COLLATE utf8mb4_bin NOT NULL,\n" +
		"  `expires` int(11) unsigned NOT NULL,\n" +
		"  `data` mediumtext COLLATE utf8mb4_bin,\n" +
		"  PRIMARY KEY (`session_id`)\n" +
		") ENGINE=InnoDB",
}}}

// express returns what both Express layouts have in common.
func express(schema schema) *layout {
	return &layout{
		schema:  schema,
		express: true,
		key:     func(s string) any { return s },
		time:    func(time.Time) any { return nil },
		data:    func(data []byte) any { return string(data) },
		version: func(rec *session.Record) uint64 { return contentVersion(rec.Data) },
		complete: func(rec *session.Record) {
			rec.Version = contentVersion(rec.Data)
			rec.Subject = passport.Subject(rec.Data)
		},
	}
}

// contentVersion returns the version of a text: 60 bits of its hash, the lowest
// of them set so that it is not zero. The statements compute the same.
func contentVersion(text []byte) uint64 {
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:8])>>4 | 1
}
