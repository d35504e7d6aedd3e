package filestore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// childMode is the environment variable that makes the test binary do one of
// the children instead of the tests: what another process does to the folder.
const childMode = "FILESTORE_TEST_CHILD"

var children = map[string]func(dir string, opts *Options) error{
	"churn":     churn,
	"increment": increment,
}

func TestMain(m *testing.M) {
	child := children[os.Getenv(childMode)]
	if child == nil {
		os.Exit(m.Run())
	}
	opts := &Options{NoSync: os.Args[2] == "nosync"}
	if os.Args[3] == "express" {
		opts.Layout = Express
	}
	if err := child(os.Args[1], opts); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startChild starts a child and returns it and what it prints.
func startChild(t *testing.T, mode, dir string, opts Options) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	sync, layout := "sync", "native"
	if opts.NoSync {
		sync = "nosync"
	}
	if opts.Layout == Express {
		layout = "express"
	}
	cmd := exec.Command(os.Args[0], dir, sync, layout)
	cmd.Env = append(os.Environ(), childMode+"="+mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

var ctx = context.Background()

func open(t testing.TB, dir string, opts *Options) *Store {
	t.Helper()
	s, err := New(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var noSync = &Options{NoSync: true}

// both runs a test for each layout.
func both(t *testing.T, test func(t *testing.T, opts *Options)) {
	t.Run("native", func(t *testing.T) { test(t, &Options{NoSync: true}) })
	t.Run("express", func(t *testing.T) { test(t, &Options{NoSync: true, Layout: Express}) })
}

var now = time.Date(2026, 11, 23, 10, 0, 0, 123e6, time.UTC)

// sample is a record with all fields, as layout native keeps it.
func sample(id string) *session.Record {
	return &session.Record{
		ID:       id,
		Subject:  "user-23",
		Data:     []byte(`{"cookie":{"originalMaxAge":60000},"passport":{"user":"user-23"},"n":1}`),
		Created:  now.Add(-time.Hour),
		LastSeen: now,
		Expires:  now.Add(time.Minute),
	}
}

func save(t testing.TB, s *Store, rec *session.Record) {
	t.Helper()
	version, err := s.Save(ctx, rec)
	if err != nil {
		t.Fatal(err)
	}
	rec.Version = version
}

func load(t testing.TB, s *Store, id string) session.Record {
	t.Helper()
	rec, err := s.Load(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func wantNotFound(t testing.TB, s *Store, id string) {
	t.Helper()
	if rec, err := s.Load(ctx, id); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Load gave %+v and error %v, want ErrNotFound", rec, err)
	}
}

func wantRecord(t testing.TB, got, want session.Record) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("the record is\n%+v, want\n%+v", got, want)
	}
}

func sweep(t testing.TB, s *Store, before time.Time, want int) {
	t.Helper()
	if n, err := s.Sweep(ctx, before); n != want || err != nil {
		t.Fatalf("Sweep removed %d with error %v, want %d", n, err, want)
	}
}

// files returns the paths of the files below dir, but for the locks.
func files(t testing.TB, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == locksDir {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() {
			paths = append(paths, strings.TrimPrefix(path, dir+string(filepath.Separator)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// pathOf returns the file of a record in either layout.
func pathOf(s *Store, id string) string {
	if n, ok := s.layout.(*native); ok {
		return n.path(nameOf(id))
	}
	return s.layout.(*express).path(id)
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
