package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coatcheck/session"
)

// markers returns how many markers there are.
func markers(t *testing.T, s *Store) (n int) {
	t.Helper()
	for _, path := range files(t, s.folder.dir) {
		if strings.HasPrefix(path, subjectsDir) {
			n++
		}
	}
	return n
}

// subjectOf returns how many records the list of a subject has.
func subjectOf(t *testing.T, s *Store, subject string) int {
	t.Helper()
	recs, _, err := s.List(ctx, session.Query{Subject: subject, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(recs)
}

func TestSubjectIndexFollowsTheRecord(t *testing.T) {
	s := open(t, t.TempDir(), noSync)
	rec := sample("the-record")
	for _, subject := range []string{"", "ann", "ann", "bob", ""} {
		rec.Subject = subject
		save(t, s, rec)
		want := 1
		if subject == "" {
			want = 0
		}
		if n := markers(t, s); n != want {
			t.Errorf("%d markers for the subject %q, want %d", n, subject, want)
		}
		for _, other := range []string{"ann", "bob"} {
			if n := subjectOf(t, s, other); (n == 1) != (other == subject) {
				t.Errorf("%d records of %q while the subject is %q", n, other, subject)
			}
		}
	}
	rec.Subject = "ann"
	save(t, s, rec)
	if err := s.Delete(ctx, rec.ID); err != nil {
		t.Fatal(err)
	}
	if n := markers(t, s); n != 0 {
		t.Errorf("%d markers after Delete", n)
	}
}

// TestTheMarkerIsOnTheDiskFirst looks at the files when folders are synced: what
// is there then is what a loss of power leaves.
func TestTheMarkerIsOnTheDiskFirst(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	n := s.layout.(*native)
	rec := sample("the-record")
	name := nameOf(rec.ID)
	save(t, s, rec) // so that all folders are there
	rec.Subject = ""
	save(t, s, rec)

	var synced []string
	var fail error
	n.syncFolder = func(path string) error {
		subject := ""
		if old, err := n.read(name); err == nil {
			subject = old.Subject
		}
		temp := "no temporary file"
		if _, err := os.Stat(n.path(name) + tempSuffix); err == nil {
			temp = "a temporary file"
		}
		synced = append(synced, fmt.Sprintf("%s: subject %q, marked %v, %s",
			filepath.Base(filepath.Dir(path)), subject, n.marked("user-23", name), temp))
		return fail
	}
	check := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(synced, want) {
			t.Errorf("%s synced %q, want %q", what, synced, want)
		}
		synced = nil
	}

	rec.Subject = "user-23"
	fail = syscall.EIO
	if _, err := s.Save(ctx, rec); !errors.Is(err, fail) {
		t.Errorf("Save with a folder that cannot be synced: %v", err)
	}
	check("a Save that failed", `subjects-v1: subject "", marked true, a temporary file`)
	if got := load(t, s, rec.ID); got.Version != rec.Version || got.Subject != "" {
		t.Errorf("after a Save that failed the record is %+v", got)
	}
	if _, err := os.Stat(n.path(name) + tempSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a Save that failed leaves a temporary file: %v", err)
	}

	fail = nil
	save(t, s, rec)
	check("a Save with a new subject",
		`subjects-v1: subject "", marked true, a temporary file`, `records-v1: subject "user-23", marked true, no temporary file`)
	save(t, s, rec)
	check("a Save with the same subject", `records-v1: subject "user-23", marked true, no temporary file`)
	if err := s.Delete(ctx, rec.ID); err != nil {
		t.Fatal(err)
	}
	check("a Delete", `records-v1: subject "", marked true, no temporary file`)
}

func TestSweepMendsTheSubjectIndex(t *testing.T) {
	s := open(t, t.TempDir(), noSync)
	n := s.layout.(*native)
	rec := sample("the-record")
	save(t, s, rec)

	// As if a process had died before it wrote a record, or after it changed the
	// subject of another one.
	if _, err := n.mark("user-23", nameOf("never written")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.mark("the subject before", nameOf(rec.ID)); err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]int{"user-23": 1, "the subject before": 0} {
		if got := subjectOf(t, s, subject); got != want {
			t.Errorf("%d records of %q, want %d", got, subject, want)
		}
	}
	sweep(t, s, now, 0)
	if got := markers(t, s); got != 1 {
		t.Errorf("%d markers after Sweep, want 1", got)
	}

	// As if a backup had left the empty files out.
	if err := os.RemoveAll(n.dir + "/" + subjectsDir); err != nil {
		t.Fatal(err)
	}
	sweep(t, s, now, 0)
	if got := subjectOf(t, s, "user-23"); got != 1 {
		t.Errorf("%d records after Sweep, want 1", got)
	}
}

func TestNamesAreSafeOnEveryFileSystem(t *testing.T) {
	s := open(t, t.TempDir(), noSync)
	ids := []string{"a", "A", "con", "NUL", "../../evil", "/", ".", "..", "a b", "é", "e\u0301", strings.Repeat("x", 128), strings.Repeat("X", 128)}
	for _, id := range ids {
		save(t, s, sample(id))
	}
	for _, id := range ids {
		if rec := load(t, s, id); rec.ID != id {
			t.Errorf("%q loads %q", id, rec.ID)
		}
	}
	for _, path := range files(t, s.folder.dir) {
		if strings.ToLower(path) != path || len(path) > 255 {
			t.Errorf("the path %q is not safe", path)
		}
	}
}
