package memstore

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// epoch is when the clocks of tests start.
var epoch = time.Date(2030, time.March, 1, 12, 0, 0, 0, time.UTC)

// A clock is a time that tests set.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(epoch.UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// small returns a store of few shards, in which records meet each other sooner.
func small(o Options, shards int) *Store {
	if o.MaxSessions == 0 {
		o.MaxSessions = -1
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = -1
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return newStore(o, shards)
}

// check fails the test unless all that the store keeps twice agrees.
func check(t testing.TB, s *Store) {
	t.Helper()
	var sessions, charged int64
	for k := range s.shards {
		sh := &s.shards[k]
		sh.mu.Lock()
		sessions += int64(sh.slots.n)
		charged += checkShard(t, sh)
		sh.mu.Unlock()
	}
	if n, b := s.bounds.sessions.Load(), s.bounds.bytes.Load(); n != sessions || b != charged {
		t.Fatalf("the bounds count %d sessions of %d bytes, the shards hold %d of %d", n, b, sessions, charged)
	}
}

func checkShard(t testing.TB, sh *shard) (charged int64) {
	t.Helper()
	live := 0
	named := map[string]int{}
	perSegment := map[uint32]int{}
	for i := range sh.slots.n {
		s, e := sh.slots.at(i), sh.entry(i)
		charged += e.charge()
		live += e.size()
		perSegment[s.segment] += e.size()
		if got := sh.find(string(e.id()), s.hash); got != i {
			t.Fatalf("slot %d is found as %d", i, got)
		}
		if s.named != (len(e.subject()) > 0) {
			t.Fatalf("slot %d: named is %v, the subject has %d bytes", i, s.named, len(e.subject()))
		}
		q := *sh.queueOf(s)
		if d := q[s.queued]; d.slot != i || d.at() > s.expires {
			t.Fatalf("slot %d is queued as %d at %d, it expires at %d", i, d.slot, d.at(), s.expires)
		}
		if s.named {
			named[string(e.subject())]++
		}
	}
	for subject, want := range named {
		prev, n := none, 0
		for i := sh.firstOf(subject); i != none; i = sh.slots.at(i).next {
			if sh.slots.at(i).prev != prev || string(sh.entry(i).subject()) != subject {
				t.Fatalf("slot %d is in the list of a subject wrongly", i)
			}
			prev = i
			n++
		}
		if n != want {
			t.Fatalf("a subject has %d records and a list of %d", want, n)
		}
	}
	for _, q := range []queue{sh.anonymous, sh.named} {
		for i := range q {
			if i > 0 && q[(i-1)/2].at() > q[i].at() {
				t.Fatalf("the queue is out of order at %d", i)
			}
		}
	}
	if n := len(sh.anonymous) + len(sh.named); n != int(sh.slots.n) || sh.ids.count != n || sh.subjects.count != len(named) {
		t.Fatalf("%d slots, %d queued, %d indexed; %d subjects, %d indexed",
			sh.slots.n, n, sh.ids.count, len(named), sh.subjects.count)
	}
	if sh.arena.live != live {
		t.Fatalf("the arena counts %d live bytes of %d", sh.arena.live, live)
	}
	held := 0
	for n, seg := range sh.arena.segments {
		held += len(seg.buf)
		if seg.live != perSegment[uint32(n)] {
			t.Fatalf("segment %d counts %d live bytes of %d", n, seg.live, perSegment[uint32(n)])
		}
	}
	if held != sh.arena.held {
		t.Fatalf("the arena counts %d held bytes of %d", sh.arena.held, held)
	}
	any, anonymous := min(sh.anonymous.next(), sh.named.next()), sh.anonymous.next()
	if sh.horizon.any.Load() != any || sh.horizon.anonymous.Load() != anonymous {
		t.Fatal("the horizon is not that of the queues")
	}
	return charged
}

// footprint is what the store holds of the heap, in bytes, as it counts it.
func footprint(s *Store) (n int) {
	for k := range s.shards {
		sh := &s.shards[k]
		sh.mu.RLock()
		n += sh.arena.held + cap(sh.arena.segments)*40 + cap(sh.arena.vacant)*4
		n += len(sh.slots.pages)*4096 + cap(sh.slots.pages)*8
		n += (cap(sh.anonymous) + cap(sh.named)) * 12
		n += (cap(sh.ids.cells) + cap(sh.subjects.cells)) * 4
		sh.mu.RUnlock()
	}
	return n
}

// all returns every record, page by page.
func all(t testing.TB, s *Store, subject string, limit int) []session.Record {
	t.Helper()
	var records []session.Record
	q := session.Query{Subject: subject, Limit: limit}
	for range math.MaxInt32 {
		page, next, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit {
			t.Fatalf("a page of %d records, the limit is %d", len(page), limit)
		}
		records = append(records, page...)
		if next == "" {
			break
		}
		q.Cursor = next
	}
	return records
}
