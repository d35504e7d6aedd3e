package memstore

import (
	"math"
	"sync/atomic"

	"github.com/coatcheck/session"
)

// perRecord is what a record costs beside its ID, subject and data: its slot,
// the header of its entry, its places in the index and the queue.
const perRecord = 96

// charge is what a record counts toward Options.MaxBytes.
func charge(rec *session.Record) int64 {
	return perRecord + int64(len(rec.ID)) + int64(len(rec.Subject)) + int64(len(rec.Data))
}

// bounds count what all shards hold together, and keep it below the limits.
// A negative limit is none.
type bounds struct {
	maxSessions, maxBytes int64
	sessions, bytes       atomic.Int64
	evicted, refused      atomic.Uint64
}

// fits reports whether one record of that charge can be held at all.
func (b *bounds) fits(bytes int64) bool { return b.maxBytes < 0 || bytes <= b.maxBytes }

// reserve counts so many sessions and bytes more, unless that passes a limit.
// What shrinks is never refused.
func (b *bounds) reserve(sessions, bytes int64) bool {
	if !add(&b.sessions, sessions, b.maxSessions) {
		return false
	}
	if !add(&b.bytes, bytes, b.maxBytes) {
		b.sessions.Add(-sessions)
		return false
	}
	return true
}

// release takes back what reserve has counted.
func (b *bounds) release(sessions, bytes int64) {
	b.sessions.Add(-sessions)
	b.bytes.Add(-bytes)
}

func add(n *atomic.Int64, delta, limit int64) bool {
	if delta <= 0 || limit < 0 {
		if delta != 0 {
			n.Add(delta)
		}
		return true
	}
	for {
		old := n.Load()
		if old+delta > limit {
			return false
		}
		if n.CompareAndSwap(old, old+delta) {
			return true
		}
	}
}

// A horizon tells without a lock when the next record of a shard may expire,
// in Unix milliseconds: never too late, but too early for a record that was
// touched since it was queued. The horizons of all shards lie side by side, so
// that looking through them for the nearest is quick.
type horizon struct {
	any       atomic.Int64
	anonymous atomic.Int64
}

const never = math.MaxInt64

func (h *horizon) publish(any, anonymous int64) {
	// Most changes do not change the horizon; not writing then leaves the
	// cache line shared.
	if h.any.Load() != any {
		h.any.Store(any)
	}
	if h.anonymous.Load() != anonymous {
		h.anonymous.Store(anonymous)
	}
}

// makeRoom lets at least one record go for the sake of rec, or returns false
// if the policy allows none. It never lets rec itself go. No lock may be held.
func (s *Store) makeRoom(rec *session.Record, now int64) bool {
	for i := range s.horizons {
		if s.horizons[i].any.Load() < now && s.shards[i].sweep(now) > 0 {
			return true
		}
	}
	anonymous := s.full != EvictSoonest
	if anonymous && rec.Subject == "" {
		return false
	}

	// The shard with the nearest horizon comes first. Where that turns out to
	// have nobody to let go, any other will do.
	nearest, at := 0, int64(never)
	for i := range s.horizons {
		if h := s.horizons[i].at(anonymous); h < at {
			nearest, at = i, h
		}
	}
	for i := range s.shards {
		k := (nearest + i) & (len(s.shards) - 1)
		if s.horizons[k].at(anonymous) == never {
			continue
		}
		gone, ok := s.shards[k].evict(rec.ID, anonymous, s.onEvict != nil)
		if ok {
			s.bounds.evicted.Add(1)
			if s.onEvict != nil {
				s.onEvict(gone.id, gone.subject)
			}
			return true
		}
	}
	return false
}

func (h *horizon) at(anonymous bool) int64 {
	if anonymous {
		return h.anonymous.Load()
	}
	return h.any.Load()
}
