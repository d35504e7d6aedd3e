package memstore

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestMemoryIsGivenBack(t *testing.T) {
	const n = 8_000
	data := make([]byte, 40_000)
	even := func(*rand.Rand) int { return 300 }
	mixed := func(r *rand.Rand) int { return r.IntN(2000) }
	large := func(r *rand.Rand) int { return r.IntN(10) * r.IntN(10) * r.IntN(400) }
	c := newClock()
	s := small(Options{Now: c.now}, 8)
	r := rand.New(rand.NewPCG(1, 2))
	subject := func(i int) string { return []string{"", "s", fmt.Sprint(i)}[i%3] }
	live := map[string]uint64{}

	// wasteful fails if the store holds more than it may for what is in it.
	wasteful := func(what string) {
		t.Helper()
		check(t, s)
		perShard := tolerableWaste + maxSegment + 3*4096
		allowed := int(s.Stats().Bytes)*3/2 + len(s.shards)*perShard
		if got := footprint(s); got > allowed {
			t.Errorf("%s: %d records of %d bytes take %d bytes, allowed are %d", what, s.Len(), s.Stats().Bytes, got, allowed)
		}
	}
	for cycle, size := range []func(*rand.Rand) int{even, mixed, large, even, mixed} {
		for i := range n {
			id := fmt.Sprint(cycle, "-", i)
			live[id] = mustSave(t, s, rec(id, subject(i), string(data[:size(r)]), time.Hour+time.Duration(cycle)*time.Hour))
		}
		wasteful(fmt.Sprint("cycle ", cycle, ", filled"))
		i := 0
		for id, version := range live {
			switch i++; i % 3 {
			case 0:
				s.Delete(t.Context(), id)
				delete(live, id)
			case 1:
				r := rec(id, subject(i), string(data[:size(r)]), time.Hour+time.Duration(cycle)*time.Hour)
				r.Version = version
				live[id] = mustSave(t, s, r)
			}
		}
		wasteful(fmt.Sprint("cycle ", cycle, ", changed"))
		if cycle%2 == 1 {
			c.advance(time.Hour)
			s.Sweep(t.Context(), c.now())
			for id := range live {
				if !has(t, s, id) {
					delete(live, id)
				}
			}
			wasteful(fmt.Sprint("cycle ", cycle, ", swept"))
		}
	}
	for id := range live {
		s.Delete(t.Context(), id)
	}
	// A page, a segment, and the smallest tables of a shard stay.
	if got, most := footprint(s), len(s.shards)*4*4096; s.Len() != 0 || got > most {
		t.Errorf("the empty store holds %d bytes, allowed are %d", got, most)
	}
}

func TestUpdatesOfChangingSizeTakeNoMore(t *testing.T) {
	s := New(&Options{Now: newClock().now})
	const n = 500
	versions := make([]uint64, n)
	r := rand.New(rand.NewPCG(3, 4))
	most := 0
	for round := range 200 {
		for i := range n {
			rec := rec(fmt.Sprint(i), "", string(make([]byte, r.IntN(1500))), time.Hour)
			rec.Version = versions[i]
			versions[i] = mustSave(t, s, rec)
		}
		if got := footprint(s); round < 20 {
			most = max(most, got)
		} else if got > most*5/4 {
			t.Fatalf("after %d rounds the store holds %d bytes, before it were at most %d", round, got, most)
		}
	}
	check(t, s)
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := New(&Options{Now: newClock().now})
	data := string(make([]byte, 300))
	anonymous, named := rec("anonymous", "", data, time.Hour), rec("named", "somebody", data, time.Hour)
	anonymous.Version, named.Version = mustSave(t, s, anonymous), mustSave(t, s, named)
	ctx := t.Context()
	n := 0
	tests := []struct {
		name string
		want float64
		call func()
	}{
		{"load of an anonymous record", 1, func() { s.Load(ctx, "anonymous") }},
		{"load of a named record", 2, func() { s.Load(ctx, "named") }},
		{"load of a missing record", 0, func() { s.Load(ctx, "missing") }},
		{"save of the same size", 0, func() { named.Version, _ = s.Save(ctx, named) }},
		{"save of about the same size", 0, func() {
			n++
			anonymous.Data = anonymous.Data[:300-n%20]
			anonymous.Version, _ = s.Save(ctx, anonymous)
		}},
		{"save that conflicts", 0, func() { s.Save(ctx, &anonymousCopy) }},
		{"touch", 0, func() { s.Touch(ctx, "named", epoch.Add(time.Minute), epoch.Add(time.Hour)) }},
		{"delete of a missing record", 0, func() { s.Delete(ctx, "missing") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := testing.AllocsPerRun(1000, tt.call); got != tt.want {
				t.Errorf("%v allocations, want %v", got, tt.want)
			}
		})
	}
	if named.Version == 0 || anonymous.Version == 0 {
		t.Error("the saves failed")
	}
}

// anonymousCopy is a record that is in the store already.
var anonymousCopy = *rec("anonymous", "", "", time.Hour)
