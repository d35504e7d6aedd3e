package integration

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/sqlstore"
)

// TestSQLServerComesUp makes a store while the server is down.
func TestSQLServerComesUp(t *testing.T) {
	forEachSQL(t, func(t *testing.T, target sqlTarget) {
		if target.server == nil {
			return // a file is always up
		}
		server := target.server(t)
		dsn := server.database(t)
		server.Stop()
		store, err := sqlstore.New(target.open(t, dsn), target.dialect, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("Migrate while the server is down: %v", err)
		}
		if _, err := store.Load(t.Context(), "a"); err == nil || errors.Is(err, session.ErrNotFound) {
			t.Errorf("Load while the server is down: %v", err)
		}
		server.Restart()
		if err := store.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		save(t, store, &session.Record{ID: "a", Data: []byte("{}"), Expires: now()})
	})
}

// TestSQLContention saves and sweeps the same few records at once.
func TestSQLContention(t *testing.T) {
	forEachSQL(t, func(t *testing.T, target sqlTarget) {
		store := newSQLStore(t, target.open(t, target.database(t)), target.dialect, nil)
		var wg sync.WaitGroup
		for n := range 4 {
			wg.Go(func() {
				for i := range 40 {
					rec := session.Record{ID: fmt.Sprint("id-", (i+n)%7), Data: []byte("{}"), Expires: now().Add(-time.Hour)}
					if old, err := store.Load(t.Context(), rec.ID); err == nil {
						rec.Version = old.Version
					} else if !errors.Is(err, session.ErrNotFound) {
						t.Error(err)
					}
					if _, err := store.Save(t.Context(), &rec); err != nil && !errors.Is(err, session.ErrConflict) {
						t.Error(err)
					}
					if _, err := store.Sweep(t.Context(), now()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestSQLLockWaitTimeout has a server that gives up a statement, which changed
// nothing, while the store still has time.
func TestSQLLockWaitTimeout(t *testing.T) {
	target := targetOf(sqlstore.MySQL)
	db := target.open(t, withParams(target.database(t), "innodb_lock_wait_timeout=1"))
	store := newSQLStore(t, db, target.dialect, nil)
	rec := session.Record{ID: "a", Data: []byte("{}"), Expires: now().Add(time.Hour)}
	save(t, store, &rec)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SELECT id FROM sessions WHERE id = 'a' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(1500*time.Millisecond, func() { tx.Rollback() })
	start := time.Now()
	save(t, store, &rec)
	if took := time.Since(start); took < time.Second {
		t.Errorf("Save took %v and met no lock", took)
	}
}

// TestSQLPgBouncer runs the suite through PgBouncer in transaction mode, with the
// DSN that the documentation names.
func TestSQLPgBouncer(t *testing.T) {
	target := targetOf(sqlstore.Postgres)
	bouncer := servers.PGBouncer(t, servers.SharedPostgres(t))
	target.database = func(tb testing.TB) string { return bouncer.NewDatabase(tb).DSN }
	sqlSuite(t, target, sqlstore.Options{}, "default_query_exec_mode=exec", nil).Run(t)
}

// TestSQLHeapOnlyUpdates checks that an ordinary touch or save changes no index.
func TestSQLHeapOnlyUpdates(t *testing.T) {
	target := targetOf(sqlstore.Postgres)
	db := target.open(t, target.database(t))
	store := newSQLStore(t, db, target.dialect, nil)
	start := now().Truncate(time.Hour)
	recs := make([]session.Record, 50)
	for i := range recs {
		recs[i] = session.Record{
			ID: fmt.Sprint("id-", i), Subject: fmt.Sprint("user-", i), Data: []byte(`{"a":"` + strings.Repeat("x", 300) + `"}`),
			Created: start, LastSeen: start, Expires: start.Add(24 * time.Hour),
		}
		save(t, store, &recs[i])
	}
	const rounds = 20
	for n := range rounds {
		for i := range recs {
			rec := &recs[i]
			rec.LastSeen, rec.Expires = rec.LastSeen.Add(time.Minute), rec.Expires.Add(time.Minute)
			if n%2 == 0 {
				save(t, store, rec)
			} else if err := store.Touch(t.Context(), rec.ID, rec.LastSeen, rec.Expires); err != nil {
				t.Fatal(err)
			}
		}
	}
	var updates, hot int
	for range 100 { // the statistics come late
		err := db.QueryRow(`SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'`).Scan(&updates, &hot)
		if err != nil {
			t.Fatal(err)
		}
		if updates == rounds*len(recs) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d of %d updates were heap-only", hot, updates)
	if updates != rounds*len(recs) || hot < updates*9/10 {
		t.Errorf("%d of %d updates were heap-only, want nine of ten", hot, updates)
	}
}

// TestSQLErrorsKeepValues has values that the server refuses, and quotes.
func TestSQLErrorsKeepValues(t *testing.T) {
	const secret = "geheimnis"
	for _, d := range []sqlstore.Dialect{sqlstore.Postgres, sqlstore.MySQL} {
		target := targetOf(d)
		for _, params := range []string{"", map[sqlstore.Dialect]string{
			sqlstore.Postgres: "default_query_exec_mode=simple_protocol", sqlstore.MySQL: "interpolateParams=true"}[d]} {
			db := target.open(t, withParams(target.database(t), params))
			store := newSQLStore(t, db, d, &sqlstore.Options{Layout: sqlstore.Express, NoPrepare: params != ""})
			for _, rec := range []session.Record{
				{ID: secret, Data: []byte(`{"` + secret)},
				{ID: secret + "\xff", Data: []byte(`{}`)},
				{ID: secret, Data: []byte("{\"" + secret + "\xff\"}")},
				{ID: secret + "\x00", Data: []byte(`{"` + secret + "\x00")},
			} {
				_, err := store.Save(t.Context(), &rec)
				t.Logf("%s: %v", d, err)
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("%s: error %q quotes the session", d, err)
				}
			}
		}
	}
}
