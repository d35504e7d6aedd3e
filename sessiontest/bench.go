package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// BenchmarkStore measures the operations of a store with records of 300 bytes and
// of 4 KB: one after another, and on 500 records from several goroutines at once:
// "parallel" is GOMAXPROCS of them, and the writes have rows with about 16 and 64
// besides, which show what a store gains by letting writes share the wait for its
// disk or server. It calls newStore for every measurement; the store must be empty.
//
//	func BenchmarkStore(b *testing.B) {
//		sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
//			return mystore.New(b.TempDir())
//		})
//	}
func BenchmarkStore(b *testing.B, newStore func(b *testing.B) session.Store) {
	for _, size := range []int{300, 4 << 10} {
		for _, op := range benchmarks {
			b.Run(fmt.Sprintf("%s/%d", op.name, size), func(b *testing.B) {
				x := newBench(b, newStore, size)
				if _, ok := x.store.(session.Toucher); !ok && op.touches {
					b.Skip("the store has no Touch")
				}
				x.run(b, op)
			})
		}
	}
}

// A benchmark is one thing to measure: run is called with the number of the
// record, and the number of the call.
type benchmark struct {
	name    string
	at      concurrency
	touches bool
	run     func(x *bench, record int, call uint64) error
}

// A concurrency is how many goroutines call at once: about so many, or one for
// the zero value.
type concurrency int

const (
	alone    concurrency = 0
	parallel concurrency = -1 // GOMAXPROCS
)

var benchmarks = []benchmark{
	{"load", alone, false, (*bench).load},
	{"save", alone, false, (*bench).save},
	{"touch", alone, true, (*bench).touch},
	{"insert", alone, false, (*bench).insert},
	{"load-parallel", parallel, false, (*bench).load},
	{"save-parallel", parallel, false, (*bench).save},
	{"touch-parallel", parallel, true, (*bench).touch},
	{"insert-parallel", parallel, false, (*bench).insert},
	{"save-by-16", 16, false, (*bench).save},
	{"touch-by-16", 16, true, (*bench).touch},
	{"insert-by-16", 16, false, (*bench).insert},
	{"save-by-64", 64, false, (*bench).save},
	{"touch-by-64", 64, true, (*bench).touch},
	{"insert-by-64", 64, false, (*bench).insert},
}

// benchRecords is how many records are in the store when measuring begins.
const benchRecords = 500

// A bench is the store and the records of one measurement.
type bench struct {
	ctx      context.Context
	store    session.Store
	pattern  session.Record
	versions [benchRecords]atomic.Uint64
}

func newBench(b *testing.B, newStore func(b *testing.B) session.Store, size int) *bench {
	b.Helper()
	const frame = len(`{"pad":""}`)
	now := time.Now().UTC().Truncate(time.Millisecond)
	x := &bench{
		ctx:   context.Background(),
		store: newStore(b),
		pattern: session.Record{
			Subject:  "user-1",
			Data:     fmt.Appendf(nil, `{"pad":"%s"}`, pad(size-frame)),
			Created:  now,
			LastSeen: now,
			Expires:  now.Add(24 * time.Hour),
		},
	}
	for i := range x.versions {
		rec := x.pattern
		rec.ID = benchID(i)
		version, err := x.store.Save(x.ctx, &rec)
		if err != nil {
			b.Fatalf("Save: %v", err)
		}
		x.versions[i].Store(version)
	}
	return x
}

// benchID returns an ID of the default length that differs from those of inserts.
func benchID(record int) string { return fmt.Sprintf("record-%036d", record) }

func (x *bench) run(b *testing.B, op benchmark) {
	b.ReportAllocs()
	var calls atomic.Uint64
	one := func() error {
		call := calls.Add(1)
		return op.run(x, int(call%benchRecords), call)
	}
	if op.at != alone {
		if op.at != parallel {
			procs := runtime.GOMAXPROCS(0)
			b.SetParallelism((int(op.at) + procs - 1) / procs)
		}
		b.ResetTimer() // b.Loop does it for the others
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := one(); err != nil {
					b.Error(err)
					return
				}
			}
		})
		return
	}
	for b.Loop() {
		if err := one(); err != nil {
			b.Fatal(err)
		}
	}
}

func (x *bench) load(record int, _ uint64) error {
	_, err := x.store.Load(x.ctx, benchID(record))
	return err
}

// save saves the version that it knows. Whoever comes second to a record learns
// the version that it has.
func (x *bench) save(record int, _ uint64) error {
	rec := x.pattern
	rec.ID, rec.Version = benchID(record), x.versions[record].Load()
	version, err := x.store.Save(x.ctx, &rec)
	if errors.Is(err, session.ErrConflict) {
		rec, err = x.store.Load(x.ctx, rec.ID)
		version = rec.Version
	}
	if err == nil {
		x.versions[record].Store(version)
	}
	return err
}

func (x *bench) touch(record int, call uint64) error {
	step := time.Duration(call) * time.Millisecond
	return x.store.(session.Toucher).Touch(x.ctx, benchID(record), x.pattern.LastSeen.Add(step), x.pattern.Expires.Add(step))
}

func (x *bench) insert(_ int, call uint64) error {
	rec := x.pattern
	rec.ID = fmt.Sprintf("insert-%036d", call)
	_, err := x.store.Save(x.ctx, &rec)
	return err
}
