package filestore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// touched saves a record and touches it, so that the two times in its file
// differ, and returns it with the older and with the newer times.
func touched(t *testing.T, s *Store) (older, newer session.Record) {
	t.Helper()
	rec := sample("the-record")
	save(t, s, rec)
	older = load(t, s, rec.ID)
	if err := s.Touch(ctx, rec.ID, rec.LastSeen.Add(time.Second), rec.Expires.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	return older, load(t, s, rec.ID)
}

func TestFileCutOffAnywhereIsNoRecord(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		s := open(t, t.TempDir(), opts)
		_, rec := touched(t, s)
		path := pathOf(s, rec.ID)
		whole := readFile(t, path)
		for n := range whole {
			writeFile(t, path, whole[:n])
			wantNotFound(t, s, rec.ID)
			// As after a loss of power: the length is right, the end is zero.
			writeFile(t, path, append(bytes.Clone(whole[:n]), make([]byte, len(whole)-n)...))
			wantNotFound(t, s, rec.ID)
		}
		writeFile(t, path, append(bytes.Clone(whole), 'x'))
		wantNotFound(t, s, rec.ID)
	})
}

func TestByteChangedAnywhereIsNoRecordOrTheRecord(t *testing.T) {
	s := open(t, t.TempDir(), noSync)
	older, newer := touched(t, s)
	path := pathOf(s, newer.ID)
	whole := readFile(t, path)
	survived := 0
	for i := range whole {
		for _, flip := range []byte{0x01, 0x20, 0x80, 0xff} {
			torn := bytes.Clone(whole)
			torn[i] ^= flip
			writeFile(t, path, torn)
			rec, err := s.Load(ctx, newer.ID)
			if errors.Is(err, session.ErrNotFound) {
				continue
			}
			if err != nil {
				t.Fatalf("byte %d: %v", i, err)
			}
			survived++
			want := newer
			if rec.Expires.Equal(older.Expires) {
				want = older
			}
			wantRecord(t, rec, want)
		}
	}
	// A touch that is torn leaves the times from before it.
	if want := 2 * timesLen * 4; survived != want {
		t.Errorf("%d changes left a record, want %d: those in one of the two times", survived, want)
	}
}

func TestDamagedRecordCountsAsAbsent(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		damaged := func(t *testing.T) (*Store, *session.Record) {
			s := open(t, t.TempDir(), opts)
			rec := sample("the-record")
			save(t, s, rec)
			path := pathOf(s, rec.ID)
			writeFile(t, path, readFile(t, path)[:40])
			return s, rec
		}
		t.Run("for a Save of a version", func(t *testing.T) {
			s, rec := damaged(t)
			if _, err := s.Save(ctx, rec); !errors.Is(err, session.ErrConflict) {
				t.Fatalf("Save gave %v, want ErrConflict", err)
			}
		})
		t.Run("for a Save of a new record, which mends it", func(t *testing.T) {
			s, rec := damaged(t)
			rec.Version = 0
			save(t, s, rec)
			load(t, s, rec.ID)
		})
		t.Run("for Touch", func(t *testing.T) {
			s, rec := damaged(t)
			if err := s.Touch(ctx, rec.ID, now, now.Add(time.Hour)); !errors.Is(err, session.ErrNotFound) {
				t.Fatalf("Touch gave %v, want ErrNotFound", err)
			}
		})
		t.Run("for List", func(t *testing.T) {
			s, _ := damaged(t)
			for _, subject := range []string{"", "user-23"} {
				recs, next, err := s.List(ctx, session.Query{Subject: subject, Limit: 10})
				if len(recs) != 0 || next != "" || err != nil {
					t.Fatalf("List gave %v, %q, %v, want nothing", recs, next, err)
				}
			}
		})
		t.Run("for Delete, which removes it", func(t *testing.T) {
			s, rec := damaged(t)
			if err := s.Delete(ctx, rec.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(pathOf(s, rec.ID)); !os.IsNotExist(err) {
				t.Fatal("the file is still there")
			}
		})
		t.Run("for Sweep, which removes it without counting it", func(t *testing.T) {
			s, _ := damaged(t)
			sweep(t, s, time.Now().Add(2*time.Hour), 0)
			if left := files(t, s.folder.dir); len(left) != 0 {
				t.Fatalf("%d files are left", len(left))
			}
		})
	})
}

func TestSweepRemovesLeftOverTemporaryFiles(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		s := open(t, t.TempDir(), opts)
		rec := sample("the-record")
		save(t, s, rec)
		before := load(t, s, rec.ID)
		writeFile(t, pathOf(s, rec.ID)+tempSuffix, []byte("half a rec"))
		writeFile(t, filepath.Join(filepath.Dir(pathOf(s, rec.ID)), "README.tmp"), []byte("not ours"))
		wantRecord(t, load(t, s, rec.ID), before)
		sweep(t, s, now, 0)
		wantRecord(t, load(t, s, rec.ID), before)
		if _, err := os.Stat(pathOf(s, rec.ID) + tempSuffix); !os.IsNotExist(err) {
			t.Error("the temporary file is still there")
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(pathOf(s, rec.ID)), "README.tmp")); err != nil {
			t.Error("a file that is not ours was removed")
		}
	})
}

func TestTouchChangesTwentyBytesInPlace(t *testing.T) {
	s := open(t, t.TempDir(), noSync)
	rec := sample("the-record")
	save(t, s, rec)
	path := pathOf(s, rec.ID)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		before := readFile(t, path)
		later := rec.Expires.Add(time.Duration(i+1) * time.Second)
		if err := s.Touch(ctx, rec.ID, rec.LastSeen, later); err != nil {
			t.Fatal(err)
		}
		after := readFile(t, path)
		at := timesAt
		if i%2 == 0 { // the second is the older one at first
			at += timesLen
		}
		if !bytes.Equal(before[:at], after[:at]) || !bytes.Equal(before[at+timesLen:], after[at+timesLen:]) {
			t.Fatalf("touch %d changed more than the older times", i)
		}
		want := *rec
		want.Expires = later
		wantRecord(t, load(t, s, rec.ID), want)
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(info, now) {
		t.Error("the file was replaced")
	}
}
