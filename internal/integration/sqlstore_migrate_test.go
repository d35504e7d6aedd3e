package integration

import (
	"strings"
	"sync"
	"testing"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
)

func TestSQLMigrateAtOnce(t *testing.T) {
	forEachSQL(t, func(t *testing.T, target sqlTarget) {
		for _, layout := range []sqlstore.Layout{sqlstore.Native, sqlstore.Express} {
			if layout == sqlstore.Express && target.dialect == sqlstore.SQLite {
				continue
			}
			dsn := target.database(t)
			opts := &sqlstore.Options{Layout: layout}
			var wg sync.WaitGroup
			for range 8 {
				store, err := sqlstore.New(target.open(t, dsn), target.dialect, opts)
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					for range 2 {
						if err := store.Migrate(t.Context()); err != nil {
							t.Error(err)
						}
					}
					if err := store.Ping(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	})
}

// TestSQLSchema runs what Schema prints, one statement after another, twice.
func TestSQLSchema(t *testing.T) {
	forEachSQL(t, func(t *testing.T, target sqlTarget) {
		opts := &sqlstore.Options{Table: "Odd-name$"}
		ddl, err := sqlstore.Schema(target.dialect, opts)
		if err != nil {
			t.Fatal(err)
		}
		db := target.open(t, target.database(t))
		for range 2 {
			for statement := range strings.SplitSeq(strings.TrimSuffix(ddl, ";\n"), ";\n") {
				if _, err := db.Exec(statement); err != nil {
					t.Fatalf("%v in %s", err, statement)
				}
			}
		}
		store := newSQLStore(t, db, target.dialect, opts)
		rec := session.Record{ID: "a", Data: []byte("{}"), Expires: now()}
		save(t, store, &rec)
		load(t, store, "a")
	})
}

func TestSQLMigrateRefuses(t *testing.T) {
	forEachSQL(t, func(t *testing.T, target sqlTarget) {
		db := target.open(t, target.database(t))
		if _, err := db.Exec(`CREATE TABLE foreign_table (session_id varchar(20), expires integer)`); err != nil {
			t.Fatal(err)
		}
		store, err := sqlstore.New(db, target.dialect, &sqlstore.Options{Table: "foreign_table"})
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "Options.Table") {
			t.Errorf("Migrate of a table of somebody else: %v", err)
		}

		store = newSQLStore(t, db, target.dialect, nil)
		if _, err := db.Exec(`INSERT INTO sessions_schema (version) VALUES (99)`); err != nil {
			t.Fatal(err)
		}
		if err := store.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "upgrade the program") {
			t.Errorf("Migrate of a table of a later release: %v", err)
		}
		// All connections are fit for use after the refusals.
		for range 20 {
			if err := store.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
