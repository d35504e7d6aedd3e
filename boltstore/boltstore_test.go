package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/boltstore"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

var now = time.Now().UTC().Truncate(time.Millisecond)

func record(id string) *session.Record {
	return &session.Record{ID: id, Subject: "user-1", Data: []byte(`{"n":0}`), Created: now, LastSeen: now, Expires: now.Add(time.Hour)}
}

func save(t testing.TB, s *boltstore.Store, rec *session.Record) {
	t.Helper()
	version, err := s.Save(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	rec.Version = version
}

func TestNew(t *testing.T) {
	if _, err := boltstore.New(nil, nil); err == nil {
		t.Error("a nil database was taken")
	}
	dir := t.TempDir()
	db := open(t, dir, nil)
	foreign := func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("settings"))
		if err != nil {
			return err
		}
		return b.Put([]byte("theme"), []byte("dark"))
	}
	if err := db.Update(foreign); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.New(db, &boltstore.Options{Bucket: "settings"}); err == nil {
		t.Error("a bucket that holds something else was taken")
	}

	one, two := newStore(t, db, nil), newStore(t, db, &boltstore.Options{Bucket: "admin"})
	save(t, one, record("a"))
	if _, err := two.Load(t.Context(), "a"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a record of another bucket: %v", err)
	}
	db.Close()
	if err := one.Ping(t.Context()); !errors.Is(err, berrors.ErrDatabaseNotOpen) {
		t.Errorf("Ping of a closed database: %v", err)
	}
	if _, err := one.Save(t.Context(), record("b")); !errors.Is(err, berrors.ErrDatabaseNotOpen) {
		t.Errorf("Save to a closed database: %v", err)
	}

	readOnly := open(t, dir, &bbolt.Options{ReadOnly: true})
	if _, err := boltstore.New(readOnly, &boltstore.Options{Bucket: "new"}); !errors.Is(err, berrors.ErrDatabaseReadOnly) {
		t.Errorf("a new bucket in a database that is read only: %v", err)
	}
	reader := newStore(t, readOnly, nil)
	if _, err := reader.Load(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := reader.Delete(t.Context(), "a"); !errors.Is(err, berrors.ErrDatabaseReadOnly) {
		t.Errorf("Delete in a database that is read only: %v", err)
	}
}

// Who deletes the bucket signs everybody out, and nothing else breaks.
func TestDeletedBucket(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	s := newStore(t, db, nil)
	rec := record("a")
	save(t, s, rec)
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("sessions")) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), "a"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load: %v", err)
	}
	for _, subject := range []string{"", "user-1"} {
		if recs, _, err := s.List(t.Context(), session.Query{Subject: subject, Limit: 1}); len(recs) > 0 || err != nil {
			t.Errorf("List: %v, %v", recs, err)
		}
	}
	if n, err := s.Sweep(t.Context(), now); n != 0 || err != nil {
		t.Errorf("Sweep: %d, %v", n, err)
	}
	if _, err := s.Save(t.Context(), rec); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Save of a record that is gone: %v", err)
	}
	save(t, s, record("b"))
}

func TestWhoWaitsForTheProgramsOwnTransactionCanGiveUp(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	s := newStore(t, db, nil)
	rec := record("a")
	save(t, s, rec)
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()

	for op, f := range map[string]func(ctx context.Context) error{
		"save":   func(ctx context.Context) error { _, err := s.Save(ctx, record("b")); return err },
		"touch":  func(ctx context.Context) error { return s.Touch(ctx, "a", now, now.Add(2*time.Hour)) },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "a") },
		"sweep":  func(ctx context.Context) error { _, err := s.Sweep(ctx, now.Add(3*time.Hour)); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", op, err)
		}
		cancel()
	}
	if got, err := s.Load(t.Context(), "a"); err != nil || got.Version != rec.Version { // reading waits for nobody
		t.Errorf("Load: %v", err)
	}
	saved := make(chan error)
	go func() { _, err := s.Save(t.Context(), record("c")); saved <- err }()
	time.Sleep(10 * time.Millisecond)
	tx.Rollback()
	if err := <-saved; err != nil {
		t.Error(err)
	}
	// Those that gave up before their transaction began have left no trace.
	if _, err := s.Load(t.Context(), "b"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("what gave up was saved: %v", err)
	}
	if got, err := s.Load(t.Context(), "a"); err != nil || !got.Expires.Equal(rec.Expires) {
		t.Errorf("what gave up changed the record to %v, %v", got, err)
	}
}

func TestWritesAtOnceShareATransaction(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	s := newStore(t, db, nil)
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := s.Save(context.Background(), record(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	transaction := tx.ID()
	tx.Rollback()
	wg.Wait()
	err = db.View(func(tx *bbolt.Tx) error {
		if made := tx.ID() - transaction + 1; made > 3 {
			t.Errorf("%d transactions for %d writes", made, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	wantConsistent(t, db)
}

func TestWhatChangesNothingWritesNothing(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	s := newStore(t, db, nil)
	rec := record("a")
	save(t, s, rec)
	before := pagesWritten(db)
	stale := *rec
	stale.Version++
	if _, err := s.Save(t.Context(), &stale); !errors.Is(err, session.ErrConflict) {
		t.Error(err)
	}
	if err := s.Touch(t.Context(), "a", rec.LastSeen, rec.Expires); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "missing"); err != nil {
		t.Error(err)
	}
	if n, err := s.Sweep(t.Context(), now); n != 0 || err != nil {
		t.Error(n, err)
	}
	if wrote := pagesWritten(db) - before; wrote != 0 {
		t.Errorf("%d pages were written", wrote)
	}
}

func pagesWritten(db *bbolt.DB) int64 {
	stats := db.Stats()
	return stats.TxStats.GetWrite()
}

// The one sweep that finds an entry of the index too early puts it right.
func TestSweepMovesWhatWasTouched(t *testing.T) {
	db := open(t, t.TempDir(), &bbolt.Options{NoSync: true})
	s := newStore(t, db, nil)
	const n = 1200 // more than two batches
	for i := range n {
		id := fmt.Sprint(i)
		save(t, s, record(id))
		if i%3 > 0 {
			if err := s.Touch(t.Context(), id, now, now.Add(3*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		before time.Duration
		want   int
	}{{2 * time.Hour, n / 3}, {2 * time.Hour, 0}, {3 * time.Hour, 0}, {3*time.Hour + time.Microsecond, n - n/3}} {
		if got, err := s.Sweep(t.Context(), now.Add(test.before)); got != test.want || err != nil {
			t.Errorf("Sweep(%v) = %d, %v, want %d", test.before, got, err, test.want)
		}
		wantConsistent(t, db)
	}
}

func TestDamagedRecordHarmsNoOther(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	s := newStore(t, db, nil)
	save(t, s, record("damaged"))
	save(t, s, record("whole"))
	if err := db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("sessions")).Bucket([]byte("meta")).Put([]byte("damaged"), []byte("?"))
	}); err != nil {
		t.Fatal(err)
	}
	var failures atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if i%2 == 0 {
				if _, err := s.Save(t.Context(), record(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			} else if err := s.Touch(t.Context(), "damaged", now, now.Add(time.Duration(i)*time.Hour)); err != nil {
				failures.Add(1)
			}
		})
	}
	wg.Wait()
	if failures.Load() != 10 {
		t.Errorf("%d of 10 touches of a damaged record failed", failures.Load())
	}
	if _, err := s.Load(t.Context(), "damaged"); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load of a damaged record: %v", err)
	}
	if recs, _, err := s.List(t.Context(), session.Query{Subject: "user-1", Limit: 100}); len(recs) != 11 || err != nil {
		t.Errorf("List returned %d records and %v", len(recs), err)
	}
	if n, err := s.Sweep(t.Context(), now.Add(2*time.Hour)); n != 11 || err != nil {
		t.Errorf("Sweep: %d, %v", n, err)
	}
	if err := s.Delete(t.Context(), "damaged"); err != nil {
		t.Error(err)
	}
	if _, err := s.Load(t.Context(), "damaged"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load of a deleted record: %v", err)
	}
}

func TestLimits(t *testing.T) {
	s := newStore(t, open(t, t.TempDir(), nil), nil)
	large := record("a")
	large.Data = make([]byte, 64<<20+1)
	if _, err := s.Save(t.Context(), large); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("65 MiB of data: %v", err)
	}
	for _, id := range []string{"", strings.Repeat("x", 129)} {
		rec := record(id)
		if _, err := s.Save(t.Context(), rec); err == nil {
			t.Errorf("an ID of %d bytes was saved", len(id))
		}
		if _, err := s.Load(t.Context(), id); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Load of an ID of %d bytes: %v", len(id), err)
		}
		if err := s.Touch(t.Context(), id, now, now); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Touch of an ID of %d bytes: %v", len(id), err)
		}
		if err := s.Delete(t.Context(), id); err != nil {
			t.Errorf("Delete of an ID of %d bytes: %v", len(id), err)
		}
	}
	for _, q := range []session.Query{{}, {Limit: -1}, {Limit: 1, Cursor: "???"}} {
		if _, _, err := s.List(t.Context(), q); err == nil {
			t.Errorf("List took the query %+v", q)
		}
	}
}

// What was loaded stays as it is while the file is written over and grows, which
// moves its memory map.
func TestLoadedRecordsAreNoMemoryOfTheDatabase(t *testing.T) {
	db := open(t, t.TempDir(), &bbolt.Options{NoSync: true})
	s := newStore(t, db, nil)
	save(t, s, record("a"))
	fill := func(size int) {
		for i := range 200 {
			other := record(fmt.Sprint(i))
			if old, err := s.Load(t.Context(), other.ID); err == nil {
				other.Version = old.Version
			}
			other.Data = []byte(strings.Repeat("x", size))
			save(t, s, other)
		}
	}
	fill(100) // bbolt copies small buckets by itself
	got, err := s.Load(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	listed, _, err := s.List(t.Context(), session.Query{Subject: "user-1", Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	fill(20_000)
	db.Close() // whoever reads its memory now dies
	for _, r := range append(listed, got) {
		if r.Subject != "user-1" || r.ID == "a" && string(r.Data) != `{"n":0}` || r.ID != "a" && len(r.Data) != 100 {
			t.Errorf("the record became %+v", r)
		}
	}
}

func TestNoGoroutineRemains(t *testing.T) {
	s := newStore(t, open(t, t.TempDir(), nil), nil)
	before := runtime.NumGoroutine()
	for i := range 20 {
		save(t, s, record(fmt.Sprint(i)))
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
