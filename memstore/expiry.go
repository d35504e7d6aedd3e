package memstore

import (
	"context"
	"runtime"
	"time"
)

const (
	// tidyWork is how many due records a call looks at besides its own work.
	// It is more than one, so that expired records go faster than new ones
	// come.
	tidyWork = 4

	// sweepBatch is how many due records are looked at in one hold of a lock.
	sweepBatch = 128
)

// Sweep removes the records that expired before the given time, and no others,
// and returns how many. A lock is held for at most 128 records at a time. When
// ctx is done it stops, and returns how many it has removed until then.
func (s *Store) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	// Expiries are whole milliseconds; one is before 10.5 if it is before 11.
	limit := before.Add(time.Millisecond - 1).UnixMilli()
	for i := range s.shards {
		for {
			if err := ctx.Err(); err != nil {
				return removed, failed("sweep", err)
			}
			if s.closed.Load() {
				return removed, failed("sweep", errClosed)
			}
			if s.horizons[i].any.Load() >= limit {
				break
			}
			removed += s.shards[i].sweep(limit)
			// With all processors busy, a request would else wait until the
			// scheduler takes ours away, which is 10 ms.
			runtime.Gosched()
		}
	}
	return removed, nil
}

// sweep removes records that expired before the time, up to a batch of them,
// and returns how many.
func (sh *shard) sweep(before int64) int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.publish()
	return sh.expire(before, sweepBatch)
}

// dropExpired removes the record if it is still there and expired.
func (sh *shard) dropExpired(id string, hash uint32, now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.publish()
	if i := sh.find(id, hash); i != none && sh.slots.at(i).expires < now {
		sh.remove(i)
	}
	sh.tidy(now)
}

// tidyIfDue is tidy for one who does not hold the lock.
func (sh *shard) tidyIfDue(now int64) {
	if sh.horizon.any.Load() >= now {
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.publish()
	sh.tidy(now)
}

// tidy removes a few expired records.
func (sh *shard) tidy(now int64) { sh.expire(now, tidyWork) }

// expire looks at up to work records that are due before the time, removes
// those that have expired, puts off those that were touched, and returns how
// many it has removed.
func (sh *shard) expire(before int64, work int) (removed int) {
	for _, q := range [...]*queue{&sh.anonymous, &sh.named} {
		for ; work > 0 && q.next() < before; work-- {
			first := (*q)[0].slot
			if expires := sh.slots.at(first).expires; expires >= before {
				q.move(&sh.slots, 0, expires)
				continue
			}
			sh.remove(first)
			removed++
		}
	}
	return removed
}

// An evicted record is one that had to go.
type evicted struct{ id, subject string }

// evict removes the record that is nearest to its expiry, but never the one
// with the ID to keep; of the anonymous ones only, if so wished. It tells whom
// it removed if that is asked for.
func (sh *shard) evict(keep string, anonymous, tell bool) (gone evicted, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.publish()

	victim, at := none, int64(never)
	for _, q := range [...]*queue{&sh.anonymous, &sh.named} {
		if anonymous && q == &sh.named {
			break
		}
		sh.freshen(*q)
		if i := sh.soonest(*q, keep); i >= 0 && (*q)[i].at() <= at {
			victim, at = (*q)[i].slot, (*q)[i].at()
		}
	}
	if victim == none {
		return evicted{}, false
	}
	if tell {
		e := sh.entry(victim)
		gone = evicted{id: string(e.id()), subject: string(e.subject())}
	}
	sh.remove(victim)
	return gone, true
}

// freshen puts off the first of the queue until the nearest deadline is a true
// expiry, but not for long: after a batch an old deadline is near enough.
func (sh *shard) freshen(q queue) {
	for range min(sweepBatch, len(q)) {
		expires := sh.slots.at(q[0].slot).expires
		if expires == q[0].at() {
			return
		}
		q.move(&sh.slots, 0, expires)
	}
}

// soonest returns the position of the nearest deadline but that of the ID to
// keep, or -1.
func (sh *shard) soonest(q queue, keep string) int {
	switch {
	case len(q) == 0:
		return -1
	case string(sh.entry(q[0].slot).id()) == keep:
		return q.nearerChild(0)
	}
	return 0
}
