package boltstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/boltstore"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/sessiontest"
	"go.etcd.io/bbolt"
)

// open opens the database in a folder, and closes it when the test ends.
func open(t testing.TB, dir string, opts *bbolt.Options) *bbolt.DB {
	t.Helper()
	o := *bbolt.DefaultOptions
	if opts != nil {
		o = *opts
	}
	o.Timeout = 10 * time.Second
	db, err := bbolt.Open(filepath.Join(dir, "test.db"), 0o600, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newStore(t testing.TB, db *bbolt.DB, opts *boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.New(db, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	for _, test := range []struct {
		name string
		opts bbolt.Options
	}{
		{"without waiting for the disk", bbolt.Options{NoSync: true, FreelistType: bbolt.FreelistMapType}},
		{"waiting for the disk", bbolt.Options{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if testing.Short() && !test.opts.NoSync {
				t.Skip("thousands of fsyncs; run without -short")
			}
			t.Parallel()
			type place struct {
				dir string
				db  *bbolt.DB
			}
			places := map[session.Store]place{}
			at := func(t *testing.T, p place) session.Store {
				s := newStore(t, p.db, nil)
				places[s] = p
				return s
			}
			suite := sessiontest.Suite{
				New: func(t *testing.T) session.Store {
					dir := t.TempDir()
					return at(t, place{dir, open(t, dir, &test.opts)})
				},
				Reopen: func(t *testing.T, store session.Store) session.Store {
					p := places[store]
					p.db.Close()
					p.db = open(t, p.dir, &test.opts)
					return at(t, p)
				},
				// Another process cannot open the file; another store in this one can.
				Peer: func(t *testing.T, store session.Store) session.Store { return at(t, places[store]) },
			}
			suite.Run(t)
			if !test.opts.NoSync {
				storefacts.Measure(t, "boltstore", storefacts.Process, suite)
			}
		})
	}
}

func BenchmarkStore(b *testing.B) {
	for _, test := range []struct {
		name string
		opts *bbolt.Options
	}{
		{"sync", nil},
		{"nosync", &bbolt.Options{NoSync: true}},
	} {
		b.Run(test.name, func(b *testing.B) {
			sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
				return newStore(b, open(b, b.TempDir(), test.opts), nil)
			})
		})
	}
}
