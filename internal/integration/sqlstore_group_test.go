package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
	"modernc.org/sqlite"
)

// A watchedSQLite is modernc.org/sqlite with somebody who sees what is about to
// be done and can hold it up or make it fail.
type watchedSQLite struct {
	dsn string

	mu     sync.Mutex
	events []sqliteEvent
	before func(sqliteEvent) error
}

// A sqliteEvent is what is about to be done: "begin", "commit", "rollback", or "exec",
// with the arguments of the statement, and then "affected".
type sqliteEvent struct {
	what string
	args []driver.NamedValue
	ctx  context.Context
}

// id returns the ID of the record that a statement is about.
func (e sqliteEvent) id() string {
	for _, arg := range e.args {
		if id, ok := arg.Value.(string); ok && strings.HasPrefix(id, "id-") {
			return id
		}
	}
	return ""
}

// done is closed when the context of the event is done.
func (e sqliteEvent) done() <-chan struct{} {
	if e.ctx == nil {
		return nil
	}
	return e.ctx.Done()
}

func (w *watchedSQLite) about(e sqliteEvent) error {
	w.mu.Lock()
	if e.what != "affected" {
		w.events = append(w.events, e)
	}
	before := w.before
	w.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(e)
}

// watch forgets what was done and has before called from now on.
func (w *watchedSQLite) watch(before func(sqliteEvent) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events, w.before = nil, before
}

// done returns what was done, in order, and the IDs of the statements.
func (w *watchedSQLite) done() (what []string, ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		what = append(what, e.what)
		if e.what == "exec" {
			ids = append(ids, e.id())
		}
	}
	return what, ids
}

func (w *watchedSQLite) count(what string) int {
	n := 0
	done, _ := w.done()
	for _, have := range done {
		if have == what {
			n++
		}
	}
	return n
}

// A watchedResult is looked at when the statement has been run.
type watchedResult struct {
	driver.Result
	w    *watchedSQLite
	args []driver.NamedValue
}

func (r watchedResult) RowsAffected() (int64, error) {
	if err := r.w.about(sqliteEvent{what: "affected", args: r.args}); err != nil {
		return 0, err
	}
	return r.Result.RowsAffected()
}

func (w *watchedSQLite) Driver() driver.Driver { return &sqlite.Driver{} }

func (w *watchedSQLite) Connect(context.Context) (driver.Conn, error) {
	conn, err := w.Driver().Open(w.dsn)
	if err != nil {
		return nil, err
	}
	return &watchedConn{conn.(sqliteConn), w}, nil
}

// sqliteConn is what a connection of modernc.org/sqlite can do for database/sql.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type watchedConn struct {
	sqliteConn
	w *watchedSQLite
}

func (c *watchedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.w.about(sqliteEvent{what: "begin", ctx: ctx}); err != nil {
		return nil, err
	}
	tx, err := c.sqliteConn.BeginTx(ctx, opts)
	return watchedTx{tx, c.w}, err
}

func (c *watchedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.w.about(sqliteEvent{"exec", args, ctx}); err != nil {
		return nil, err
	}
	res, err := c.sqliteConn.ExecContext(ctx, query, args)
	return watchedResult{res, c.w, args}, err
}

func (c *watchedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.sqliteConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return watchedStmt{stmt.(sqliteStmt), c.w}, nil
}

type sqliteStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type watchedStmt struct {
	sqliteStmt
	w *watchedSQLite
}

func (s watchedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.w.about(sqliteEvent{"exec", args, ctx}); err != nil {
		return nil, err
	}
	res, err := s.sqliteStmt.ExecContext(ctx, args)
	return watchedResult{res, s.w, args}, err
}

type watchedTx struct {
	driver.Tx
	w *watchedSQLite
}

// Commit leaves the transaction as it is when it is made to fail, as a driver
// may, and as SQLite does.
func (tx watchedTx) Commit() error {
	if err := tx.w.about(sqliteEvent{what: "commit"}); err != nil {
		return err
	}
	return tx.Tx.Commit()
}

func (tx watchedTx) Rollback() error {
	if err := tx.w.about(sqliteEvent{what: "rollback"}); err != nil {
		return err
	}
	return tx.Tx.Rollback()
}

// A groupTest is a store that is watched, in a bubble of synctest.
type groupTest struct {
	*testing.T
	*watchedSQLite
	db    *sql.DB
	store *sqlstore.Store

	release func() // of occupy
}

// inGroups runs f with the ways to run a statement.
func inGroups(t *testing.T, f func(t *groupTest)) {
	for _, opts := range []sqlstore.Options{{}, {NoPrepare: true}} {
		t.Run(fmt.Sprintf("NoPrepare %v", opts.NoPrepare), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sessions.db")
			synctest.Test(t, func(t *testing.T) {
				w := &watchedSQLite{dsn: sqlstore.SQLiteDSN(path)}
				db := sql.OpenDB(w)
				t.Cleanup(func() { db.Close() })
				f(&groupTest{T: t, watchedSQLite: w, db: db, store: newSQLStore(t, db, sqlstore.SQLite, &opts)})
			})
		})
	}
}

// occupy has one write under way, held up before its statement until release is
// called. Whoever comes meanwhile waits for his turn. After that the next events
// are watched by before.
func (t *groupTest) occupy(before func(sqliteEvent) error) {
	t.Helper()
	hold := make(chan struct{})
	t.watch(func(sqliteEvent) error {
		<-hold
		return nil
	})
	first := t.save("id-first", 0)
	synctest.Wait()
	t.release = func() {
		t.watch(before)
		close(hold)
		first.must(t, nil)
	}
}

// A writer is a call of the store.
type writer struct {
	id     string
	cancel context.CancelFunc
	ended  chan error
}

// must waits for the end of the call, which must be this one: nil, or an error
// that is in the chain.
func (w *writer) must(t *groupTest, want error) {
	t.Helper()
	if err := <-w.ended; !errors.Is(err, want) || (want == nil && err != nil) {
		t.Errorf("%s: %v, want %v", w.id, err, want)
	}
}

// call makes a call of the store and waits until it waits itself, so that calls
// come in order.
func (t *groupTest) call(id string, f func(ctx context.Context) error) *writer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{id, cancel, make(chan error, 1)}
	go func() { w.ended <- f(ctx) }()
	synctest.Wait()
	return w
}

func (t *groupTest) save(id string, version uint64) *writer {
	return t.call(id, func(ctx context.Context) error {
		_, err := t.store.Save(ctx, record(id, version))
		return err
	})
}

func (t *groupTest) touch(id string) *writer {
	return t.call(id, func(ctx context.Context) error {
		return t.store.Touch(ctx, id, time.Now(), time.Now().Add(2*time.Hour))
	})
}

func (t *groupTest) delete(id string) *writer {
	return t.call(id, func(ctx context.Context) error { return t.store.Delete(ctx, id) })
}

func record(id string, version uint64) *session.Record {
	return &session.Record{ID: id, Version: version, Data: []byte(`{"of":"` + id + `"}`), Expires: now().Add(time.Hour)}
}

// there reports whether the record is in the store, whole.
func (t *groupTest) there(id string) bool {
	t.Helper()
	rec, err := t.store.Load(t.Context(), id)
	if err == nil && string(rec.Data) != string(record(id, 0).Data) {
		t.Errorf("%s has the data %s", id, rec.Data)
	}
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		t.Error(err)
	}
	return err == nil
}

// TestSQLiteGroup has writes of all kinds in one transaction, of which some find
// what they did not expect.
func TestSQLiteGroup(t *testing.T) {
	inGroups(t, func(t *groupTest) {
		old, gone := record("id-old", 0), record("id-gone", 0)
		save(t, t.store, old)
		save(t, t.store, gone)
		t.occupy(nil)
		calls := []struct {
			*writer
			want error
		}{
			{t.save("id-new", 0), nil},
			{t.save("id-old", old.Version), nil},
			{t.save("id-old", old.Version), session.ErrConflict}, // the one before has changed it
			{t.save("id-never", 23), session.ErrConflict},
			{t.save("id-new", 0), session.ErrConflict},
			{t.touch("id-new"), nil},
			{t.touch("id-never"), session.ErrNotFound},
			{t.delete("id-gone"), nil},
			{t.touch("id-gone"), session.ErrNotFound},
			{t.delete("id-never"), nil},
		}
		if t.count("exec") != 1 {
			t.Errorf("%d statements are under way, want 1", t.count("exec"))
		}
		t.release()
		for _, call := range calls {
			call.must(t, call.want)
		}
		what, ids := t.done()
		if want := "begin" + strings.Repeat(" exec", 10) + " commit"; strings.Join(what, " ") != want {
			t.Errorf("done: %q, want %s", what, want)
		}
		want := []string{"id-new", "id-old", "id-old", "id-never", "id-new", "id-new", "id-never", "id-gone", "id-gone", "id-never"}
		if !slices.Equal(ids, want) {
			t.Errorf("the order is %q, want %q", ids, want)
		}
		for id, want := range map[string]bool{"id-first": true, "id-new": true, "id-old": true, "id-gone": false, "id-never": false} {
			if t.there(id) != want {
				t.Errorf("%s: %v, want %v", id, !want, want)
			}
		}
	})
}

func TestSQLiteGroupOfOne(t *testing.T) {
	inGroups(t, func(t *groupTest) {
		t.watch(nil)
		t.save("id-a", 0).must(t, nil)
		t.touch("id-a").must(t, nil)
		t.delete("id-a").must(t, nil)
		if what, _ := t.done(); !slices.Equal(what, []string{"exec", "exec", "exec"}) {
			t.Errorf("done: %q, want three statements and no transaction around them", what)
		}
	})
}

// TestSQLiteGroupSize has so many writes that they do not fit into two.
func TestSQLiteGroupSize(t *testing.T) {
	inGroups(t, func(t *groupTest) {
		t.occupy(nil)
		var writers []*writer
		for i := range 300 {
			writers = append(writers, t.save(fmt.Sprintf("id-%03d", i), 0))
		}
		t.release()
		for _, w := range writers {
			w.must(t, nil)
		}
		what, ids := t.done()
		begun, inGroup, largest := 0, 0, 0
		for _, w := range what {
			switch w {
			case "begin":
				begun++
				inGroup = 0
			case "exec":
				inGroup++
				largest = max(largest, inGroup)
			}
		}
		if begun != 3 || largest != 128 {
			t.Errorf("300 writes were %d transactions, the largest of %d; want 3 of at most 128", begun, largest)
		}
		if !slices.IsSorted(ids) {
			t.Errorf("not in the order in which they came: %q", ids)
		}
	})
}

// TestSQLiteGroupJoin has a write that comes when the transaction is under way.
func TestSQLiteGroupJoin(t *testing.T) {
	inGroups(t, func(t *groupTest) {
		hold := make(chan struct{})
		t.occupy(func(e sqliteEvent) error {
			if e.what == "exec" && e.id() == "id-b" {
				<-hold
			}
			return nil
		})
		a, b := t.save("id-a", 0), t.save("id-b", 0)
		t.release()
		synctest.Wait()
		late := t.touch("id-a")
		close(hold)
		for _, w := range []*writer{a, b, late} {
			w.must(t, nil)
		}
		if what, _ := t.done(); strings.Join(what, " ") != "begin exec exec exec commit" {
			t.Errorf("done: %q, want one transaction of three", what)
		}
	})
}

// TestSQLiteGroupSweep: a sweep takes its time, and nobody else's.
func TestSQLiteGroupSweep(t *testing.T) {
	inGroups(t, func(t *groupTest) {
		t.occupy(nil)
		writers := []*writer{t.save("id-a", 0), t.save("id-b", 0)}
		writers = append(writers, t.call("", func(ctx context.Context) error {
			_, err := t.store.Sweep(ctx, now())
			return err
		}))
		writers = append(writers, t.save("id-c", 0), t.save("id-d", 0))
		t.release()
		for _, w := range writers {
			w.must(t, nil)
		}
		if what, _ := t.done(); strings.Join(what, " ") != "begin exec exec commit exec begin exec exec commit" {
			t.Errorf("done: %q, want the sweep between two transactions", what)
		}
	})
}

// TestSQLiteGroupFailures has a statement that fails among others, which undoes
// the statement or the whole transaction.
func TestSQLiteGroupFailures(t *testing.T) {
	for _, how := range []string{"ABORT", "ROLLBACK"} {
		t.Run(how, func(t *testing.T) {
			inGroups(t, func(t *groupTest) {
				for _, event := range []string{"INSERT", "UPDATE"} {
					if _, err := t.db.Exec(`CREATE TRIGGER no_` + event + ` AFTER ` + event + ` ON sessions WHEN new.id GLOB 'id-bad*' ` +
						`BEGIN SELECT RAISE(` + how + `, 'no such thing here'); END`); err != nil {
						t.Fatal(err)
					}
				}
				for _, order := range []string{"good bad good", "bad good good", "good good bad", "bad good bad"} {
					t.occupy(nil)
					var writers []*writer
					for i, word := range strings.Fields(order) {
						writers = append(writers, t.save(fmt.Sprint("id-", word, i), 0))
					}
					t.release()
					for _, w := range writers {
						bad := strings.Contains(w.id, "bad")
						err := <-w.ended
						if (err != nil) != bad || (bad && !strings.Contains(err.Error(), "no such thing here")) {
							t.Errorf("%s: %s: %v", order, w.id, err)
						}
						if t.there(w.id) == bad {
							t.Errorf("%s: whether %s is there: %v", order, w.id, bad)
						}
						t.delete(w.id).must(t, nil)
					}
					t.delete("id-first").must(t, nil)
				}
			})
		})
	}
}

// TestSQLiteGroupDoesNotCommit has a transaction that is not committed, where
// the driver leaves it open.
func TestSQLiteGroupDoesNotCommit(t *testing.T) {
	for _, row := range []struct{ name, err string }{
		{"for good", "disk I/O error"},
		{"because of a reader", "database is locked"},
	} {
		t.Run(row.name, func(t *testing.T) {
			inGroups(t, func(t *groupTest) {
				failed := false
				t.occupy(func(e sqliteEvent) error {
					if e.what != "commit" || failed {
						return nil
					}
					failed = true
					return errors.New(row.err)
				})
				writers := []*writer{t.save("id-a", 0), t.save("id-b", 0), t.save("id-c", 0)}
				t.release()
				for _, w := range writers {
					w.must(t, nil)
					if !t.there(w.id) {
						t.Errorf("%s is not there", w.id)
					}
				}
				if what, _ := t.done(); !failed || t.count("exec") != 6 {
					t.Errorf("done: %q, want a transaction of three, and the three again", what)
				}
				// No connection is left in a transaction.
				for range 10 {
					if _, err := t.db.Exec("BEGIN; COMMIT"); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestSQLiteGroupCancelled has callers who give up at each moment.
func TestSQLiteGroupCancelled(t *testing.T) {
	// atEvent has a transaction of a, b and c held up at an event, and calls f.
	atEvent := func(t *groupTest, at sqliteEvent, f func(a, b, c *writer)) {
		t.Helper()
		hold, held := make(chan struct{}), false
		t.occupy(func(e sqliteEvent) error {
			if held || e.what != at.what || (at.what == "exec" && e.id() != at.args[0].Value) {
				return nil
			}
			held = true
			select {
			case <-hold:
				return nil
			case <-e.done(): // as a driver does it
				return e.ctx.Err()
			}
		})
		a, b, c := t.save("id-a", 0), t.save("id-b", 0), t.save("id-c", 0)
		t.release()
		synctest.Wait()
		f(a, b, c)
		synctest.Wait()
		if len(a.ended)+len(b.ended)+len(c.ended) == 0 {
			t.Error("the one who gave up waits")
		}
		select {
		case <-hold:
		default:
			close(hold)
		}
	}
	exec := func(id string) sqliteEvent { return sqliteEvent{what: "exec", args: []driver.NamedValue{{Value: id}}} }

	t.Run("before his turn", func(t *testing.T) {
		inGroups(t, func(t *groupTest) {
			t.occupy(nil)
			a, b, c := t.save("id-a", 0), t.save("id-b", 0), t.save("id-c", 0)
			b.cancel()
			b.must(t, context.Canceled)
			t.release()
			a.must(t, nil)
			c.must(t, nil)
			if t.there("id-b") {
				t.Error("what he gave up was saved")
			}
			if what, _ := t.done(); strings.Join(what, " ") != "begin exec exec commit" {
				t.Errorf("done: %q, want one transaction of two", what)
			}
		})
	})
	t.Run("the only one who waits", func(t *testing.T) {
		inGroups(t, func(t *groupTest) {
			t.occupy(nil)
			a := t.save("id-a", 0)
			a.cancel()
			a.must(t, context.Canceled)
			t.release()
			t.save("id-b", 0).must(t, nil)
			if t.there("id-a") {
				t.Error("what he gave up was saved")
			}
		})
	})
	t.Run("the moment that he gets the turn", func(t *testing.T) {
		inGroups(t, func(t *groupTest) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that he does not run before he has it
			for range 20 {
				var a *writer
				t.occupy(func(e sqliteEvent) error {
					if e.what == "affected" && e.id() == "id-first" {
						a.cancel()
					}
					return nil
				})
				a = t.save("id-a", 0)
				b := t.save("id-b", 0)
				t.release()
				a.must(t, context.Canceled)
				b.must(t, nil)
				if t.there("id-a") {
					t.Error("what he gave up was saved")
				}
				t.delete("id-first").must(t, nil)
				t.delete("id-b").must(t, nil)
			}
		})
	})
	t.Run("the one who leads, while he waits for the lock", func(t *testing.T) {
		for _, at := range []sqliteEvent{{what: "begin"}, exec("id-a")} {
			inGroups(t, func(t *groupTest) {
				atEvent(t, at, func(a, b, c *writer) {
					d := t.save("id-d", 0)
					a.cancel()
					a.must(t, context.Canceled)
					for _, w := range []*writer{b, c, d} {
						w.must(t, nil)
					}
					a.ended <- nil
				})
				_, ids := t.done()
				if want := []string{"id-b", "id-c", "id-d"}; !slices.Equal(ids[len(ids)-3:], want) {
					t.Errorf("the order was %q, want %q", ids, want)
				}
				if t.there("id-a") {
					t.Error("what he gave up was saved")
				}
				if n := t.count("commit"); n != 1 {
					t.Errorf("%d transactions were committed, want the one of the two others", n)
				}
			})
		}
	})
	t.Run("the one who leads, when it is somebody else's statement", func(t *testing.T) {
		inGroups(t, func(t *groupTest) {
			hold := make(chan struct{})
			t.occupy(func(e sqliteEvent) error {
				if e.what == "exec" && e.id() == "id-b" {
					<-hold
				}
				return nil
			})
			a, b, c := t.save("id-a", 0), t.save("id-b", 0), t.save("id-c", 0)
			t.release()
			synctest.Wait()
			a.cancel()
			close(hold)
			a.must(t, context.Canceled)
			b.must(t, nil)
			c.must(t, nil)
			if t.there("id-a") {
				t.Error("what he gave up was saved")
			}
		})
	})
	t.Run("the one who leads, while it is committed", func(t *testing.T) {
		inGroups(t, func(t *groupTest) {
			hold := make(chan struct{})
			t.occupy(func(e sqliteEvent) error {
				if e.what == "commit" {
					<-hold
				}
				return nil
			})
			a, b, c := t.save("id-a", 0), t.save("id-b", 0), t.save("id-c", 0)
			t.release()
			synctest.Wait()
			a.cancel()
			close(hold)
			// The driver may commit or roll back, but what is said must be so.
			err := <-a.ended
			if there := t.there("id-a"); there != (err == nil) || (err != nil && !errors.Is(err, context.Canceled)) {
				t.Errorf("his call ended with %v, and whether the record is there: %v", err, there)
			}
			b.must(t, nil)
			c.must(t, nil)
			if !t.there("id-b") || !t.there("id-c") {
				t.Error("the others are not there")
			}
		})
	})
	t.Run("another one, before his statement", func(t *testing.T) {
		for _, at := range []sqliteEvent{{what: "begin"}, exec("id-a")} {
			inGroups(t, func(t *groupTest) {
				var a, b, c *writer
				atEvent(t, at, func(x, y, z *writer) {
					a, b, c = x, y, z
					b.cancel()
					b.must(t, context.Canceled)
					b.ended <- nil
				})
				a.must(t, nil)
				c.must(t, nil)
				if t.there("id-b") {
					t.Error("what he gave up was saved")
				}
			})
		}
	})
	t.Run("another one, during his statement or later", func(t *testing.T) {
		for _, at := range []sqliteEvent{exec("id-b"), {what: "commit"}} {
			inGroups(t, func(t *groupTest) {
				var a, b, c *writer
				atEvent(t, at, func(x, y, z *writer) {
					a, b, c = x, y, z
					b.cancel()
					b.must(t, context.Canceled)
					b.ended <- nil
				})
				a.must(t, nil)
				c.must(t, nil)
				if !t.there("id-b") {
					t.Error("his change was made and is gone")
				}
			})
		}
	})
	t.Run("all of them", func(t *testing.T) {
		inGroups(t, func(t *groupTest) {
			atEvent(t, sqliteEvent{what: "begin"}, func(a, b, c *writer) {
				for _, w := range []*writer{c, b, a} {
					w.cancel()
					w.must(t, context.Canceled)
				}
				a.ended <- nil
			})
			t.save("id-d", 0).must(t, nil)
		})
	})
}

// TestSQLiteGroupTakesItsOwnData: who has given up may use his data again, also
// while somebody else is saving it.
func TestSQLiteGroupTakesItsOwnData(t *testing.T) {
	inGroups(t, func(t *groupTest) {
		hold := make(chan struct{})
		t.occupy(func(e sqliteEvent) error {
			if e.what == "exec" && e.id() == "id-b" {
				<-hold
			}
			return nil
		})
		a, rec := t.save("id-a", 0), record("id-b", 0)
		b := t.call("id-b", func(ctx context.Context) error {
			_, err := t.store.Save(ctx, rec)
			return err
		})
		t.release()
		synctest.Wait()
		b.cancel()
		b.must(t, context.Canceled)
		for i := range rec.Data {
			rec.Data[i] = 'x'
		}
		close(hold)
		a.must(t, nil)
		if !t.there("id-b") {
			t.Error("his change was under way and is gone")
		}
	})
}

// TestSQLiteGroupPanic: a driver that panics takes nobody else's turn.
func TestSQLiteGroupPanic(t *testing.T) {
	inGroups(t, func(t *groupTest) {
		panicked := false
		t.occupy(func(e sqliteEvent) error {
			if e.what == "begin" && !panicked {
				panicked = true
				panic("the driver panics")
			}
			return nil
		})
		a := t.call("id-a", func(ctx context.Context) (err error) {
			defer func() { err = fmt.Errorf("%v", recover()) }()
			_, err = t.store.Save(ctx, record("id-a", 0))
			return err
		})
		b, c := t.save("id-b", 0), t.save("id-c", 0)
		t.release()
		if err := <-a.ended; err == nil || err.Error() != "the driver panics" {
			t.Errorf("the panic did not come through: %v", err)
		}
		b.must(t, nil)
		c.must(t, nil)
	})
}

// TestSQLiteGroupStress has many writers on two stores of one file, who read
// what they have written.
func TestSQLiteGroupStress(t *testing.T) {
	target := targetOf(sqlstore.SQLite)
	dsn := target.database(t)
	var wg sync.WaitGroup
	for s := range 2 {
		store := newSQLStore(t, target.open(t, dsn), sqlstore.SQLite, nil)
		for n := range 24 {
			wg.Go(func() {
				rec := record(fmt.Sprintf("id-%d-%d", s, n), 0)
				for i := range 30 {
					ctx, cancel := context.WithCancel(t.Context())
					if i%5 == 4 {
						// Somebody who gives up, at any moment; what he wanted is not known to
						// have happened, or not to.
						go cancel()
						store.Touch(ctx, rec.ID, now(), now())
						cancel()
						continue
					}
					rec.Data = fmt.Appendf(nil, `{"n":%d}`, i)
					version, err := store.Save(ctx, rec)
					if err != nil {
						t.Error(err)
					}
					got, err := store.Load(ctx, rec.ID)
					if err != nil || got.Version != version || string(got.Data) != string(rec.Data) {
						t.Errorf("read %s of version %d after %s of version %d was saved (%v)", got.Data, got.Version, rec.Data, version, err)
					}
					if _, err := store.Save(ctx, rec); !errors.Is(err, session.ErrConflict) {
						t.Errorf("saved again with the old version: %v", err)
					}
					rec.Version = version
					cancel()
				}
				if err := store.Delete(t.Context(), rec.ID); err != nil {
					t.Error(err)
				}
				if _, err := store.Load(t.Context(), rec.ID); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("after it was deleted: %v", err)
				}
			})
		}
	}
	wg.Wait()
}
