package multistore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"sync"
	"time"

	"github.com/coatcheck/session"
)

// A Report is what [Store.Check] and [Store.Copy] found. Expired records do not
// count.
type Report struct {
	Records   int // records of the authority
	Missing   int // those that the follower lacked
	Different int // those that it had otherwise
	Extra     int // records that only the follower had: they have ended
	Failed    int // those of the above that Copy could not put right
}

// Differences is the sum of what the follower had otherwise than the authority.
func (r Report) Differences() int { return r.Missing + r.Different + r.Extra }

var errNoFollower = errors.New("multistore: in the phases OldOnly and NewOnly there is nothing to compare")

// Check reads both stores and reports how they differ. In the held phases the
// report is exact. In others, a record that is being written may count.
func (s *Store) Check(ctx context.Context) (Report, error) {
	r, leave, err := s.both(ctx, "check")
	if err != nil {
		return Report{}, err
	}
	defer leave()
	return s.walk(ctx, r, "check", func(string) error { return nil })
}

// Copy makes the follower like the authority, and reports how it differed. If it
// returns no error in a held phase, then they are alike. It can be called in all
// phases but OldOnly and NewOnly, and again after an error; it goes on with other
// records if one cannot be copied.
func (s *Store) Copy(ctx context.Context) (Report, error) {
	r, leave, err := s.both(ctx, "copy")
	if err != nil {
		return Report{}, err
	}
	defer leave()
	var mu sync.Mutex
	var first error
	failed := 0
	report, err := s.walk(ctx, r, "copy", func(id string) error {
		_, err := align(ctx, r, id)
		if err != nil && ctx.Err() == nil {
			mu.Lock()
			defer mu.Unlock()
			failed++
			if first == nil {
				first = r.follower.failed("copy", err)
			}
			return nil
		}
		return err
	})
	report.Failed = failed
	switch {
	case err != nil:
		return report, err
	case failed > 0:
		return report, fmt.Errorf("multistore: copy: %d records were not copied; the first: %w", failed, first)
	}
	return report, s.recordCopy(ctx, r)
}

// both lets a call pass that needs both stores.
func (s *Store) both(ctx context.Context, op string) (r roles, leave func(), err error) {
	r, leave, err = s.read(ctx, op)
	if err == nil && (r.phase == OldOnly || r.phase == NewOnly) {
		leave()
		return r, nil, errNoFollower
	}
	return r, leave, err
}

// pageSize is how many records walk asks a store for at once.
const pageSize = 500

// A mark stands for an ID, and an imprint for the rest of a record, so that one store
// can be in memory while the other is read.
type (
	mark    [16]byte
	imprint struct {
		content                    uint64
		created, lastSeen, expires int64
	}
)

func markOf(id string) mark {
	sum := sha256.Sum256([]byte(id))
	return mark(sum[:])
}

var seed = maphash.MakeSeed()

func imprintOf(rec *session.Record) imprint {
	return imprint{
		content:  maphash.String(seed, rec.Subject) ^ bits.RotateLeft64(maphash.Bytes(seed, rec.Data), 1),
		created:  rec.Created.UnixMilli(),
		lastSeen: rec.LastSeen.UnixMilli(),
		expires:  rec.Expires.UnixMilli(),
	}
}

// like is alike, but for the content a guess that errs once in 2^64 times.
func (a imprint) like(b imprint) bool {
	near := func(a, b int64) bool { return near(time.UnixMilli(a), time.UnixMilli(b)) }
	zero := time.Time{}.UnixMilli()
	return a.content == b.content && near(a.expires, b.expires) &&
		(a.created == zero || b.created == zero || near(a.created, b.created)) &&
		(a.lastSeen == zero || b.lastSeen == zero || near(a.lastSeen, b.lastSeen))
}

// atOnce is how many records walk looks at at the same time. Each takes some round
// trips.
const atOnce = 16

// walk lists the follower and then the authority, looks again at what seems to
// differ, and calls found with the ID of what does, for several at the same time.
func (s *Store) walk(ctx context.Context, r roles, op string, found func(id string) error) (report Report, err error) {
	now := s.opts.Now()

	// What the follower has and the authority has not shown yet.
	left := make(map[mark]imprint)
	err = pages(ctx, r.follower, op, func(rec *session.Record) error {
		if !rec.Expires.Before(now) && !s.isRecord(rec.ID) {
			left[markOf(rec.ID)] = imprintOf(rec)
		}
		return nil
	})
	if err != nil {
		return report, err
	}

	l := newLooker(ctx)
	defer l.cancel(nil)
	look := func(id string) error {
		err := l.do(func(ctx context.Context) error {
			what, err := difference(ctx, r, id, now)
			if err == nil && what != (Report{}) {
				err = found(id)
			}
			if err != nil {
				return fmt.Errorf("multistore: %s: %w", op, err)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			report.Missing += what.Missing
			report.Different += what.Different
			report.Extra += what.Extra
			return nil
		})
		if err != nil {
			return fmt.Errorf("multistore: %s: %w", op, err)
		}
		return nil
	}
	seen := make(map[mark]bool) // a listing may return a record twice
	records := 0
	err = pages(ctx, r.authority, op, func(rec *session.Record) error {
		m := markOf(rec.ID)
		has, ok := left[m]
		delete(left, m)
		if seen[m] || rec.Expires.Before(now) || s.isRecord(rec.ID) {
			return nil
		}
		seen[m] = true
		records++
		if ok && imprintOf(rec).like(has) {
			return nil
		}
		return look(rec.ID)
	})
	if err == nil && len(left) > 0 {
		err = pages(ctx, r.follower, op, func(rec *session.Record) error {
			m := markOf(rec.ID)
			if _, ok := left[m]; !ok {
				return nil
			}
			delete(left, m)
			return look(rec.ID)
		})
	}
	if failed := l.wait(); failed != nil {
		err = failed
	}
	report.Records = records
	return report, err
}

// A looker does several things at the same time, until one of them fails.
type looker struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	room    chan struct{}
	running sync.WaitGroup
	mu      sync.Mutex
	failed  error // the first time
}

func newLooker(ctx context.Context) *looker {
	l := &looker{room: make(chan struct{}, atOnce)}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	return l
}

// do returns when f has begun, or an error if it will not.
func (l *looker) do(f func(ctx context.Context) error) error {
	select {
	case l.room <- struct{}{}:
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
	l.running.Go(func() {
		defer func() { <-l.room }()
		if err := f(l.ctx); err != nil {
			l.mu.Lock()
			if l.failed == nil {
				l.failed = err
			}
			l.mu.Unlock()
			l.cancel(err)
		}
	})
	return nil
}

// wait returns the first error when all have ended.
func (l *looker) wait() error {
	l.running.Wait()
	return l.failed
}

// difference returns a report of one record: how it differs, if it does. The follower is
// read first, as in align.
func difference(ctx context.Context, r roles, id string, now time.Time) (what Report, err error) {
	has, err := find(ctx, r.follower, id)
	if err != nil {
		return what, err
	}
	want, err := find(ctx, r.authority, id)
	if err != nil {
		return what, err
	}
	switch {
	case want.Version == 0 && has.Version == 0, want.Version != 0 && want.Expires.Before(now):
	case want.Version == 0:
		what.Extra = 1
	case has.Version == 0:
		what.Missing = 1
	case !alike(want, has):
		what.Different = 1
	}
	return what, nil
}

// pages calls f with every record of a store.
func pages(ctx context.Context, s *side, op string, f func(*session.Record) error) error {
	q := session.Query{Limit: pageSize}
	for {
		recs, next, err := s.store.List(ctx, q)
		if err != nil {
			return s.failed(op, err)
		}
		for i := range recs {
			if err := f(&recs[i]); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		q.Cursor = next
	}
}
