package interop

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/sqlstore"

	_ "github.com/go-sql-driver/mysql"
)

// openMySQL returns a place on MariaDB, whose connections of ours are in another
// time zone than those of Express: the layout must not care.
func openMySQL(expressCreates bool) func(*testing.T, time.Duration) place {
	return func(t *testing.T, ttl time.Duration) place {
		db := servers.SharedMariaDB(t).NewDatabase(t)
		admin := openSQL(t, "mysql", db.DSN)
		// A user of its own, so that a trigger can tell who writes.
		execSQL(t, admin, `CREATE USER IF NOT EXISTS express@'127.0.0.1'`)
		execSQL(t, admin, `GRANT ALL ON `+db.Name+`.* TO express@'127.0.0.1'`)
		dsn := db.DSN + "?time_zone=%27%2B09:00%27"
		if !expressCreates {
			if err := newSQLStore(t, "mysql", dsn, sqlstore.MySQL).Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return place{
			express: map[string]any{
				"kind": "mysql", "url": strings.Replace(db.URL, "root@", "express@", 1), "ttl": ttl.Seconds(), "createTable": expressCreates,
			},
			ours: func(t *testing.T) session.Store { return newSQLStore(t, "mysql", dsn, sqlstore.MySQL) },
			rows: &mysqlRows{admin},
		}
	}
}

type mysqlRows struct{ db *sql.DB }

func (r *mysqlRows) read(t *testing.T, id string) (text string, expires time.Time, ok bool) {
	t.Helper()
	var seconds int64
	err := r.db.QueryRow("SELECT data, expires FROM sessions WHERE session_id = ?", id).Scan(&text, &seconds)
	if err != nil && err != sql.ErrNoRows {
		t.Fatal(err)
	}
	return text, time.Unix(seconds, 0), err == nil
}

func (r *mysqlRows) write(t *testing.T, id, text string, expires time.Time) {
	t.Helper()
	execSQL(t, r.db, "REPLACE INTO sessions (session_id, data, expires) VALUES (?, ?, ?)", id, text, expires.Unix())
}

func (r *mysqlRows) follow(t *testing.T, _ string) func() []change {
	t.Helper()
	execSQL(t, r.db, `DROP TRIGGER IF EXISTS follow`)
	execSQL(t, r.db, `DROP TABLE IF EXISTS followed`)
	execSQL(t, r.db, `CREATE TABLE followed (n bigint AUTO_INCREMENT PRIMARY KEY, before_text mediumtext, after_text mediumtext,
		express boolean) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`)
	execSQL(t, r.db, `CREATE TRIGGER follow AFTER UPDATE ON sessions FOR EACH ROW
		INSERT INTO followed (before_text, after_text, express) VALUES (OLD.data, NEW.data, USER() LIKE 'express@%')`)
	return func() []change { return changes(t, r.db) }
}
