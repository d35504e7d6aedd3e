package sqlstore

import (
	"net/url"
	"path/filepath"
	"strings"
)

// The data comes last, so that SQLite need not walk over it for the others. It
// is a blob, which no driver and no setting converts.
var sqliteSchema = schema{
	versioned: true,
	check:     nativeCheck,
	migrations: [][]string{{
		`CREATE TABLE IF NOT EXISTS {table} (
  id TEXT NOT NULL PRIMARY KEY,
  subject TEXT NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER, -- milliseconds since 1970, like the next two
  last_seen INTEGER,
  expires INTEGER NOT NULL,
  expires_hour INTEGER NOT NULL, -- hours since 1970
  data BLOB NOT NULL
)`,
		`CREATE INDEX IF NOT EXISTS {name _subject_idx} ON {table} (subject, id) WHERE subject <> ''`,
		`CREATE INDEX IF NOT EXISTS {name _expires_idx} ON {table} (expires_hour)`,
	}},
}

const sqliteSweep = `DELETE FROM {table} WHERE id IN (` +
	`SELECT id FROM {table} WHERE expires_hour <= @hour AND expires < @expires LIMIT @limit)`

// SQLiteDSN returns the data source name that the driver modernc.org/sqlite
// opens the file with as is right for a web server; with other drivers, see
// what they call these settings:
//
//   - busy_timeout 5 s: who finds the database locked waits instead of failing.
//   - journal_mode WAL: readers and the writer do not wait for each other.
//   - synchronous NORMAL: what was saved survives the death of the process, also
//     by kill -9. If the machine loses power the last saves may be undone, but
//     the database stays whole. To wait for the disk on every save, which takes
//     about six times as long (writes that come together share the wait), run
//     PRAGMA synchronous(FULL), for example by appending
//     "&_pragma=synchronous(FULL)".
//   - _txlock immediate: a transaction of the program that will write takes its
//     lock at the start, where waiting for it works.
//
// The path must be that of a file on a local disk, because WAL needs shared
// memory, in a directory where the process may create files. ":memory:" is not
// for a pool of connections, each of which would have a database of its own;
// package memstore keeps sessions in memory.
func SQLiteDSN(path string) string {
	path = filepath.ToSlash(path)
	if filepath.VolumeName(path) != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u := url.URL{Path: path}
	if strings.HasPrefix(path, "/") {
		path = "//" + u.EscapedPath()
	} else {
		path = u.EscapedPath()
	}
	// The driver sorts the settings and the last one holds. 1 is NORMAL, and unlike
	// that word comes before whatever the caller appends.
	return "file:" + path +
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(1)&_txlock=immediate"
}
