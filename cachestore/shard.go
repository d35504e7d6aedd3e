package cachestore

import (
	"sync"
	"time"

	"github.com/coatcheck/session"
)

// A shard is a part of the cache, with a lock of its own.
type shard struct {
	mu       sync.Mutex
	entries  map[string]*entry
	flights  map[string]*flight
	ring     entry // its next was used last, its prev longest ago
	bytes    int64
	maxBytes int64
	maxCount int
	counters *counters
}

// An entry is a record in the cache. Who has it may read it: it is never changed,
// but for its place in the ring.
type entry struct {
	rec        session.Record
	read       time.Time // before the store was asked
	channel    uint64    // which was reporting then, or 0
	next, prev *entry
}

// overhead is what an entry takes besides ID, subject and data.
const overhead = 250

func (e *entry) size() int64 {
	return int64(len(e.rec.ID) + len(e.rec.Subject) + len(e.rec.Data) + overhead)
}

// A flight is one or more reads of a record that are under way. If the record
// changes meanwhile, nobody can tell whether they have seen that, and what they
// bring is not kept. So it is if reads bring different things: the one that comes
// last need not be the later one, and readers would see the record go back.
type flight struct {
	reads   int
	changed bool
	told    bool   // some read has returned since the first of these began, and
	brought *entry // this is what it brought, or nil if that was no record
}

// brings tells the flight what a read has returned.
func (f *flight) brings(e *entry) {
	if f.told && !sameRecord(f.brought, e) {
		f.changed = true
	}
	f.told, f.brought = true, e
}

// sameRecord reports whether two reads have found the same: a record that was
// neither saved nor touched between them, or none. Where the store reckons Expires
// from the time that is left, it is a little different with each read.
func sameRecord(a, b *entry) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.rec.Version == b.rec.Version && a.rec.LastSeen.Equal(b.rec.LastSeen) &&
		a.rec.Expires.Sub(b.rec.Expires).Abs() < time.Second
}

func (s *shard) init(maxCount int, maxBytes int64, counters *counters) {
	s.entries, s.flights = make(map[string]*entry), make(map[string]*flight)
	s.maxCount, s.maxBytes, s.counters = maxCount, maxBytes, counters
	s.ring.next, s.ring.prev = &s.ring, &s.ring
}

// get returns what there is of the ID, or nil.
func (s *shard) get(id string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e != nil {
		e.unlink()
		s.link(e)
	}
	return e
}

// begin and end enclose a read of the store. What end is given is kept, unless
// the record has changed since begin. No entry means that it is not there any
// more, or who knows.
func (s *shard) begin(id string) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[id]
	if f == nil || f.changed { // later reads do see the change
		f = new(flight)
		s.flights[id] = f
	}
	f.reads++
	return f
}

func (s *shard) end(id string, f *flight, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.reads--
	old, last := s.entries[id], s.flights[id]
	if last != nil {
		last.brings(e)
		if last.reads == 0 {
			delete(s.flights, id)
		}
	}
	if f.changed { // and if what was kept since is older, who knows
		if old != nil && !sameRecord(old, e) {
			s.remove(old)
		}
		return
	}
	if e != nil && old != nil && old.read.After(e.read) {
		return
	}
	s.remove(old)
	if e == nil || e.size() > s.maxBytes/8 {
		return
	}
	s.entries[id] = e
	s.bytes += e.size()
	s.link(e)
	for len(s.entries) > s.maxCount || s.bytes > s.maxBytes {
		s.remove(s.ring.prev)
		s.counters.evicted.Add(1)
	}
}

// drop forgets a record, and what reads of it that are under way will bring.
func (s *shard) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[id]; f != nil {
		f.changed = true
	}
	s.remove(s.entries[id])
}

func (s *shard) dropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.flights {
		f.changed = true
	}
	clear(s.entries)
	s.bytes, s.ring.next, s.ring.prev = 0, &s.ring, &s.ring
}

func (s *shard) dropExpired(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.flights {
		f.changed = true
	}
	for _, e := range s.entries {
		if e.rec.Expires.Before(before) {
			s.remove(e)
		}
	}
}

func (s *shard) size() (records int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries), s.bytes
}

func (s *shard) remove(e *entry) {
	if e == nil {
		return
	}
	e.unlink()
	delete(s.entries, e.rec.ID)
	s.bytes -= e.size()
}

func (e *entry) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

func (s *shard) link(e *entry) {
	e.next, e.prev = s.ring.next, &s.ring
	e.next.prev, e.prev.next = e, e
}
