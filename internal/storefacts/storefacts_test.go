package storefacts_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/bytestore"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

// careless overwrites, and can do nothing but what it must.
type careless struct{ inner *memstore.Store }

func (s careless) Load(ctx context.Context, id string) (session.Record, error) {
	return s.inner.Load(ctx, id)
}

func (s careless) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	next := *rec
	next.Version = 0
	if now, err := s.inner.Load(ctx, rec.ID); err == nil {
		next.Version = now.Version
	}
	return s.inner.Save(ctx, &next)
}

func (s careless) Delete(ctx context.Context, id string) error { return nil }

// backend is a server that only keeps bytes, and takes its time to answer.
type backend struct{ values sync.Map }

func (b *backend) Get(_ context.Context, key string) ([]byte, error) {
	value, _ := b.values.Load(key)
	text, _ := value.([]byte)
	time.Sleep(time.Millisecond)
	return text, nil
}

func (b *backend) Set(_ context.Context, key string, value []byte, _ time.Time) error {
	b.values.Store(key, value)
	return nil
}

func (b *backend) Delete(_ context.Context, key string) error {
	b.values.Delete(key)
	return nil
}

func TestMeasure(t *testing.T) {
	shared := new(backend)
	same := func(_ *testing.T, store session.Store) session.Store { return store }
	for _, test := range []struct {
		name  string
		reach storefacts.Reach
		suite sessiontest.Suite
		want  string
	}{
		{
			name:  "a store that can do all",
			reach: storefacts.Network,
			suite: sessiontest.Suite{
				New:    func(*testing.T) session.Store { return memstore.New(nil) },
				Peer:   same,
				Reopen: same,
			},
			want: `{"Store":"x","Shared":"yes","Survives":true,"Lists":true,"Revokes":true,"CompareAndSwap":"yes","Touches":true,"Sweeps":true,"Load":null,"Save":null,"Touch":null}`,
		},
		{
			name:  "a store of one process that keeps no promise",
			reach: storefacts.Network,
			suite: sessiontest.Suite{
				New: func(*testing.T) session.Store { return careless{memstore.New(nil)} },
			},
			want: `{"Store":"x","Shared":"no","Survives":false,"Lists":false,"Revokes":false,"CompareAndSwap":"no","Touches":false,"Sweeps":false,"Load":null,"Save":null,"Touch":null}`,
		},
		{
			name:  "a store that compares in one process only",
			reach: storefacts.Network,
			suite: sessiontest.Suite{
				New:  func(*testing.T) session.Store { return bytestore.New("x", shared) },
				Peer: func(*testing.T, session.Store) session.Store { return bytestore.New("x", shared) },
			},
			want: `{"Store":"x","Shared":"yes","Survives":false,"Lists":false,"Revokes":true,"CompareAndSwap":"in one process","Touches":true,"Sweeps":false,"Load":null,"Save":null,"Touch":null}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv(storefacts.Folder, dir)
			storefacts.Measure(t, "x", test.reach, test.suite)
			storefacts.Turns(t, "x", 1, 2, 3)
			files, err := filepath.Glob(filepath.Join(dir, "*.json"))
			if err != nil || len(files) != 2 {
				t.Fatal(files, err)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var f storefacts.Facts
				if err := json.Unmarshal(text, &f); err != nil {
					t.Fatal(err)
				}
				if f.Load != nil {
					if *f.Load != 1 || *f.Save != 2 || *f.Touch != 3 || f.Shared != nil {
						t.Errorf("the turns are %s", text)
					}
				} else if string(text) != test.want {
					t.Errorf("got  %s\nwant %s", text, test.want)
				}
			}
		})
	}
}
