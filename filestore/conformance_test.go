package filestore_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/filestore"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/sessiontest"
)

func TestConformance(t *testing.T) {
	for _, test := range []struct {
		name   string
		opts   filestore.Options
		layout sessiontest.Layout
	}{
		{"native", filestore.Options{NoSync: true}, sessiontest.Layout{}},
		{"native, waiting for the disk", filestore.Options{}, sessiontest.Layout{}},
		{"express", filestore.Options{NoSync: true, Layout: filestore.Express}, expressLayout},
	} {
		t.Run(test.name, func(t *testing.T) {
			if testing.Short() && !test.opts.NoSync {
				t.Skip("thousands of fsyncs; run without -short")
			}
			t.Parallel()
			dirs := map[session.Store]string{}
			open := func(t *testing.T, dir string) session.Store {
				store, err := filestore.New(dir, &test.opts)
				if err != nil {
					t.Fatal(err)
				}
				dirs[store] = dir
				return store
			}
			suite := sessiontest.Suite{
				New:    func(t *testing.T) session.Store { return open(t, t.TempDir()) },
				Reopen: func(t *testing.T, store session.Store) session.Store { return open(t, dirs[store]) },
				Peer:   func(t *testing.T, store session.Store) session.Store { return open(t, dirs[store]) },
				Layout: test.layout,
			}
			suite.Run(t)
			if test.opts.Layout == filestore.Native && !test.opts.NoSync {
				storefacts.Measure(t, "filestore", storefacts.Machine, suite)
			}
		})
	}
}

// expressLayout is what the suite must know about layout Express.
var expressLayout = sessiontest.Layout{
	NoCreated:  true,
	NoLastSeen: true,
	Data: func(object []byte, subject string) []byte {
		if subject == "" {
			return object
		}
		user, err := json.Marshal(subject)
		if err != nil {
			panic(err)
		}
		end := bytes.LastIndexByte(object, '}')
		comma := ""
		if bytes.ContainsRune(object, ':') {
			comma = ","
		}
		return []byte(string(object[:end]) + comma + `"passport":{"user":` + string(user) + `}` + string(object[end:]))
	},
	ValidID: func(id string) bool {
		return !strings.HasPrefix(id, ".") && !strings.ContainsAny(id, `/\`) && utf8.ValidString(id)
	},
}

func BenchmarkStore(b *testing.B) {
	for _, test := range []struct {
		name string
		opts filestore.Options
	}{
		{"native", filestore.Options{}},
		{"native-nosync", filestore.Options{NoSync: true}},
		{"express", filestore.Options{Layout: filestore.Express}},
	} {
		b.Run(test.name, func(b *testing.B) {
			sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
				store, err := filestore.New(b.TempDir(), &test.opts)
				if err != nil {
					b.Fatal(err)
				}
				return store
			})
		})
	}
}
