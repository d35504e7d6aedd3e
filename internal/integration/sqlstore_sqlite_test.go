package integration

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
)

func TestSQLiteDSN(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("sub dir", 0o700); err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs("absolute.db")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"plain.db", "sub dir/a?b#c%41&d=e.db", "c:d.db", "ünï☃.db", abs} {
		db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(path))
		if err != nil {
			t.Fatal(err)
		}
		newSQLStore(t, db, sqlstore.SQLite, nil)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%q: the file is not there: %v", path, err)
		}
		for pragma, want := range map[string]string{"journal_mode": "wal", "busy_timeout": "5000", "synchronous": "1"} {
			var got string
			if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%q: %s is %q, want %q (%v)", path, pragma, got, want, err)
			}
		}
		db.Close()
	}
}

// TestSQLiteFull has the setting that the documentation of SQLiteDSN names.
func TestSQLiteFull(t *testing.T) {
	target := targetOf(sqlstore.SQLite)
	var got string
	db := target.open(t, target.database(t)+"&_pragma=synchronous(FULL)")
	if err := db.QueryRow("PRAGMA synchronous").Scan(&got); err != nil || got != "2" {
		t.Errorf("synchronous is %s, want 2, which is FULL (%v)", got, err)
	}
}

// TestSQLiteWithoutSettings has several connections on a file opened without any
// setting: a lock then is an error at once, which the store must get over.
func TestSQLiteWithoutSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	target := targetOf(sqlstore.SQLite)
	// Who waits for the lock asks again now and then, and many may be faster.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		store := newSQLStore(t, target.open(t, "file:"+path), sqlstore.SQLite, nil)
		for n := range 2 {
			wg.Go(func() {
				for i := range 25 {
					rec := session.Record{ID: fmt.Sprintf("%p-%d-%d", store, n, i), Data: []byte("{}"), Expires: now()}
					if _, err := store.Save(ctx, &rec); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// The environment variable that makes the test binary a writer to the database
// whose path it holds.
const writerVariable = "SESSION_TEST_SQLITE_WRITER"

// writeUntilKilled is the process that TestSQLiteKill kills. So many write that
// they share transactions.
func writeUntilKilled(t *testing.T, path string) {
	store := newSQLStore(t, targetOf(sqlstore.SQLite).open(t, sqlstore.SQLiteDSN(path)), sqlstore.SQLite, nil)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				rec := session.Record{
					ID: fmt.Sprintf("%d-%d-%d", os.Getpid(), n, i), Subject: "user",
					Data: fmt.Appendf(nil, `{"n":%d,"fill":%q}`, i, strings.Repeat("x", 2000)), Expires: now().Add(time.Hour),
				}
				save(t, store, &rec)
				rec.Data[1] = 'N'
				save(t, store, &rec)
				mu.Lock()
				os.Stdout.WriteString("saved " + rec.ID + " " + fmt.Sprint(rec.Version) + "\n")
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestSQLiteKill(t *testing.T) {
	if path := os.Getenv(writerVariable); path != "" {
		writeUntilKilled(t, path)
	}
	path := filepath.Join(t.TempDir(), "sessions.db")
	saved := make(map[string]string)
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run=^TestSQLiteKill$")
		child.Env = append(os.Environ(), writerVariable+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		enough := len(saved) + 50 + rand.N(200)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "saved" {
				saved[f[1]] = f[2]
			}
			if len(saved) == enough {
				child.Process.Kill()
			}
		}
		child.Wait()
	}
	if len(saved) < 150 {
		t.Fatalf("only %d records were saved before the kills", len(saved))
	}

	db := targetOf(sqlstore.SQLite).open(t, sqlstore.SQLiteDSN(path))
	store := newSQLStore(t, db, sqlstore.SQLite, nil)
	for id, version := range saved {
		rec, err := store.Load(t.Context(), id)
		if err != nil || fmt.Sprint(rec.Version) != version {
			t.Errorf("a record saved before the kill has version %d, want %s (%v)", rec.Version, version, err)
		}
	}
	var check string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		t.Errorf("integrity_check: %s %v", check, err)
	}
	t.Logf("%d records saved and there", len(saved))
}

// TestSQLiteErrors has the failures of files, and what the store says of them.
func TestSQLiteErrors(t *testing.T) {
	rec := session.Record{ID: "secret-id", Data: []byte(`{"k":"` + strings.Repeat("x", 1<<16) + `"}`), Expires: now()}
	target := targetOf(sqlstore.SQLite)
	for _, test := range []struct {
		name  string
		store func(t *testing.T) *sqlstore.Store
		want  []string // of Save
	}{
		{"no such directory", func(t *testing.T) *sqlstore.Store {
			store, _ := sqlstore.New(target.open(t, sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "none", "x.db"))), sqlstore.SQLite, nil)
			return store
		}, []string{"(14)", "directory exists"}},
		{"not migrated", func(t *testing.T) *sqlstore.Store {
			store, _ := sqlstore.New(target.open(t, target.database(t)), sqlstore.SQLite, nil)
			return store
		}, []string{"no such table", "Store.Migrate"}},
		{"read-only", func(t *testing.T) *sqlstore.Store {
			dsn := target.database(t)
			newSQLStore(t, target.open(t, dsn), sqlstore.SQLite, nil)
			return newSQLStore(t, target.open(t, dsn+"&mode=ro"), sqlstore.SQLite, nil)
		}, []string{"(8)", "write to the file"}},
		{"not a database", func(t *testing.T) *sqlstore.Store {
			path := filepath.Join(t.TempDir(), "x.db")
			if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
			store, _ := sqlstore.New(target.open(t, "file:"+path), sqlstore.SQLite, nil)
			return store
		}, []string{"(26)", "something else"}},
		{"disk full", func(t *testing.T) *sqlstore.Store {
			// max_page_count is SQLite's own limit, and ends the same way.
			store := newSQLStore(t, target.open(t, target.database(t)+"&_pragma=max_page_count(8)"), sqlstore.SQLite, nil)
			return store
		}, []string{"(13)", "make space"}},
		{"closed", func(t *testing.T) *sqlstore.Store {
			db := target.open(t, target.database(t))
			store := newSQLStore(t, db, sqlstore.SQLite, nil)
			db.Close()
			return store
		}, []string{"database is closed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.store(t).Save(t.Context(), &rec)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(test.want, "sqlstore: save: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), rec.ID) {
				t.Errorf("error %q has the ID", err)
			}
		})
	}
}

func TestSQLiteLocked(t *testing.T) {
	target := targetOf(sqlstore.SQLite)
	dsn := target.database(t)
	db := target.open(t, dsn)
	store := newSQLStore(t, db, sqlstore.SQLite, nil)
	tx, err := db.BeginTx(t.Context(), nil) // immediate, by the DSN
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = store.Save(ctx, &session.Record{ID: "a", Data: []byte("{}"), Expires: now()})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*time.Second {
		t.Errorf("Save while the database is locked: %v after %v", err, time.Since(start))
	}
	if _, err := store.Load(t.Context(), "a"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load while the database is locked: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { tx.Rollback() })
	save(t, store, &session.Record{ID: "a", Data: []byte("{}"), Expires: now()})
}
