package memstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// benchID is an ID as the manager makes it: 43 characters.
func benchID(i int) string {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(i))
	sum := sha256.Sum256(b[:])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// filled returns a store of n sessions of 300 bytes, and their IDs.
func filled(b *testing.B, n int, o *Options) (*Store, []string) {
	s := New(o)
	ids := make([]string, n)
	r := &session.Record{Data: make([]byte, 300)}
	now := time.Now()
	for i := range ids {
		ids[i] = benchID(i)
		r.ID = ids[i]
		r.Created, r.LastSeen = now, now
		r.Expires = now.Add(time.Hour + time.Duration(i)*time.Millisecond)
		if _, err := s.Save(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	return s, ids
}

var benchSizes = []int{10_000, 1_000_000}

func BenchmarkLoad(b *testing.B) {
	for _, n := range benchSizes {
		s, ids := filled(b, n, nil)
		b.Run(fmt.Sprint("records=", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Load(b.Context(), ids[rand.IntN(n)]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("parallel/records=", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Load(b.Context(), ids[rand.IntN(n)]); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkSave(b *testing.B) {
	for _, n := range benchSizes {
		s, ids := filled(b, n, nil)
		versions := make([]uint64, n)
		for i := range versions {
			r, _ := s.Load(b.Context(), ids[i])
			versions[i] = r.Version
		}
		r := &session.Record{Data: make([]byte, 300), Expires: time.Now().Add(2 * time.Hour)}
		b.Run(fmt.Sprint("update/records=", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				i := rand.IntN(n)
				r.ID, r.Version = ids[i], versions[i]
				v, err := s.Save(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				versions[i] = v
			}
		})
		b.Run(fmt.Sprint("insert and delete/records=", n), func(b *testing.B) {
			b.ReportAllocs()
			r.Version = 0
			for b.Loop() {
				i := rand.IntN(n)
				r.ID = ids[i]
				if err := s.Delete(b.Context(), r.ID); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Save(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("evict/records=100000", func(b *testing.B) {
		s, _ := filled(b, 100_000, &Options{MaxSessions: 100_000, Full: EvictSoonest})
		r := &session.Record{Data: make([]byte, 300), Expires: time.Now().Add(2 * time.Hour)}
		b.ReportAllocs()
		for i := 100_000; b.Loop(); i++ {
			r.ID = benchID(i)
			if _, err := s.Save(b.Context(), r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkTouch(b *testing.B) {
	for _, n := range benchSizes {
		s, ids := filled(b, n, nil)
		now := time.Now()
		b.Run(fmt.Sprint("records=", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				at := now.Add(time.Duration(i) * time.Microsecond)
				if err := s.Touch(b.Context(), ids[rand.IntN(n)], at, at.Add(3*time.Hour)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkList(b *testing.B) {
	s := New(nil)
	r := &session.Record{Data: make([]byte, 300), Expires: time.Now().Add(time.Hour)}
	for i := range 100_000 {
		r.ID, r.Subject = benchID(i), fmt.Sprint(i/5)
		if _, err := s.Save(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	for name, q := range map[string]session.Query{
		"one subject":    {Subject: "7", Limit: 100},
		"a page of 1000": {Limit: 1000},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.List(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMillion measures a store of a million sessions of 300 bytes: what
// one takes of the heap, what one collection costs, what part of the processor
// time of reads and writes goes to the collector, and how slow the slowest
// saves are while it fills and the slowest loads while half of it expires and
// is swept. Only these metrics mean something, not the time of an iteration. A
// machine that does other things too shows in the slowest call of all, hence
// the one in ten thousand beside it.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	// One string, so that the collector has nothing to do but the store.
	var all strings.Builder
	all.Grow(n * 43)
	for i := range n {
		all.WriteString(benchID(i))
	}
	id := func(i int) string { return all.String()[i*43 : (i+1)*43] }
	took := make([]time.Duration, 0, 10*n)

	for b.Loop() {
		var offset atomic.Int64
		start := time.Now()
		s := New(&Options{Now: func() time.Time { return start.Add(time.Duration(offset.Load())) }})
		before := heap()
		r := &session.Record{Data: make([]byte, 300), Created: start, LastSeen: start}
		took = took[:0]
		for i := range n {
			r.ID = id(i)
			r.Expires = start.Add(time.Hour + time.Duration(i%7919)*time.Second)
			t := time.Now()
			if _, err := s.Save(b.Context(), r); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(t))
		}
		reportSlowest(b, "save", took)
		b.ReportMetric(float64(heap()-before)/n, "B/session")

		const collections = 5
		cpu := gcCPU()
		for range collections {
			runtime.GC()
		}
		b.ReportMetric((gcCPU()-cpu)/collections*1e3, "GC-cpu-ms")

		share := gcShare(func() {
			for range n {
				got, err := s.Load(b.Context(), id(rand.IntN(n)))
				if err != nil {
					b.Fatal(err)
				}
				if _, err = s.Save(b.Context(), &got); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.ReportMetric(share*100, "GC-%")

		offset.Store(int64(time.Hour + 7919/2*time.Second))
		stop := make(chan struct{})
		took = took[:0]
		var wg sync.WaitGroup
		wg.Go(func() {
			for len(took) < cap(took) {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(n)
				t := time.Now()
				s.Load(b.Context(), id(i))
				took = append(took, time.Since(t))
			}
		})
		t := time.Now()
		if _, err := s.Sweep(b.Context(), s.now()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(t).Milliseconds()), "sweep-ms")
		close(stop)
		wg.Wait()
		reportSlowest(b, "load", took)
		b.ReportMetric(float64(heap()-before)/float64(s.Len()), "B/session-half-full")
	}
}

func reportSlowest(b *testing.B, op string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "slowest-"+op+"-us")
	b.ReportMetric(float64(took[len(took)-1-len(took)/10_000].Microseconds()), "slowest-"+op+"-in-10k-us")
}

// heap returns the bytes of live objects.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// gcCPU returns the seconds of processor time that the collector has used.
func gcCPU() float64 { return cpuSeconds("/cpu/classes/gc/total:cpu-seconds") }

func cpuSeconds(name string) float64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}

// gcShare returns which part of the processor time of f went to the collector.
func gcShare(f func()) float64 {
	runtime.GC() // the metrics are brought up to date by a collection
	gc, user := gcCPU(), cpuSeconds("/cpu/classes/user:cpu-seconds")
	f()
	runtime.GC()
	gc, user = gcCPU()-gc, cpuSeconds("/cpu/classes/user:cpu-seconds")-user
	return gc / (gc + user)
}
