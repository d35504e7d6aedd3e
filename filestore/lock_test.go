package filestore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

func TestWaitingForALockEndsWithTheContext(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		dir := t.TempDir()
		s, other := open(t, dir, opts), open(t, dir, opts)
		rec := sample("the-record")
		save(t, s, rec)
		before := load(t, s, rec.ID)
		for name, holder := range map[string]*Store{"of this store": s, "of another store": other} {
			t.Run(name, func(t *testing.T) {
				unlock, err := holder.folder.lock(ctx, nameOf(rec.ID))
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					unlock()
					wantRecord(t, load(t, s, rec.ID), before)
				}()
				short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
				begin := time.Now()
				_, err = s.Save(short, rec)
				for _, err := range []error{err, s.Touch(short, rec.ID, now, now.Add(time.Hour)), s.Delete(short, rec.ID)} {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("the error is %v, want DeadlineExceeded", err)
					}
				}
				if waited := time.Since(begin); waited > 5*time.Second {
					t.Errorf("waited %v", waited)
				}
				if !readersLock {
					wantRecord(t, load(t, s, rec.ID), before) // readers do not wait
				}
			})
		}
	})
}

func TestLockGoesToTheNextInLine(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, noSync), open(t, dir, noSync)
	name := nameOf("x")
	unlock, err := a.folder.lock(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	for _, s := range []*Store{a, b} {
		go func() {
			unlock, err := s.folder.lock(ctx, name)
			if err == nil {
				unlock()
			}
			got <- err
		}()
	}
	select {
	case <-got:
		t.Fatal("two hold one lock")
	case <-time.After(10 * time.Millisecond):
	}
	unlock()
	for range 2 {
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	}
}

func TestCursorMustBeOne(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		s := open(t, t.TempDir(), opts)
		for _, q := range []session.Query{{Limit: 0}, {Limit: 1, Cursor: "../../x"}} {
			if _, _, err := s.List(ctx, q); err == nil {
				t.Errorf("List takes %+v", q)
			}
		}
	})
}
