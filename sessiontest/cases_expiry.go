package sessiontest

import (
	"errors"
	"time"

	"github.com/coatcheck/session"
)

var expiryCases = []testCase{{
	name: "times",
	rule: "Times are kept to the millisecond, returned in UTC, and may lie in any year that people use.",
	live: true,
	run: func(e *env) {
		for _, ms := range []int{0, 1, 123, 500, 999} {
			frac := time.Duration(ms) * time.Millisecond
			rec := e.record()
			rec.Created = time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC).Add(frac)
			rec.LastSeen = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC).Add(frac)
			rec.Expires = time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC).Add(frac)
			e.save(&rec)
			e.wantStored(rec)
		}
	},
}, {
	name: "zero-times",
	rule: "A Created or LastSeen that is the zero time is returned as the zero time.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		rec.Created, rec.LastSeen = time.Time{}, time.Time{}
		e.save(&rec)
		e.wantStored(rec)
	},
}, {
	name: "not-early",
	rule: "A record is never gone before its Expires.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		rec.Expires = time.Now().UTC().Truncate(time.Millisecond).Add(150 * time.Millisecond)
		version, err := e.store.Save(e.ctx, &rec)
		if err != nil {
			e.Fatalf("Save: %v", err)
		}
		rec.Version = version
		for time.Now().Before(rec.Expires) {
			got, err := e.store.Load(e.ctx, rec.ID)
			left := time.Until(rec.Expires)
			switch {
			case err == nil:
				e.wantSame(got, rec)
			case left > 0:
				e.Fatalf("Load at least %v before Expires: %v", left, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	},
}, {
	name: "expired-whole",
	rule: "A record past its Expires is returned whole or not found; both Save with its version and Save with version zero either succeed or conflict.",
	live: true,
	run: func(e *env) {
		expired := func() session.Record {
			rec := e.recordOf("user-1")
			rec.Expires = e.now.Add(-time.Minute)
			e.save(&rec)
			return rec
		}
		wantWholeOrMissing := func(want session.Record) {
			e.Helper()
			got, err := e.store.Load(e.ctx, want.ID)
			if err == nil {
				e.wantSame(got, want)
			} else if !errors.Is(err, session.ErrNotFound) {
				e.Fatalf("Load of an expired record: %v", err)
			}
		}

		wantWholeOrMissing(expired())

		for _, anew := range []bool{true, false} {
			old := expired()
			rec := old
			if anew {
				rec.Version = 0
			}
			e.setCount(&rec, 1)
			rec.Expires = e.now.Add(time.Hour)
			given := rec
			saved, err := e.store.Save(e.ctx, &given)
			switch {
			case err == nil:
				if saved == old.Version {
					e.Fatalf("Save over an expired record returned its version, %d", saved)
				}
				rec.Version = saved
				e.wantStored(rec)
				e.wantConflict(old)
			case errors.Is(err, session.ErrConflict):
				wantWholeOrMissing(old)
			default:
				e.Fatalf("Save over an expired record: %v", err)
			}
		}

		e.delete(expired().ID)
	},
}, {
	name: "expiry-extend",
	rule: "Save with a later Expires keeps the record until then, not only until its first Expires.",
	live: true,
	run: func(e *env) {
		e.outlives(func(rec *session.Record, expires time.Time) error {
			given := *rec
			given.Expires = expires
			version, err := e.store.Save(e.ctx, &given)
			if err == nil {
				rec.Version, rec.Expires = version, expires
			}
			return err
		})
	},
}, {
	name: "expiry-shorten",
	rule: "Save may move LastSeen and Expires back: it sets what it is given.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		rec.Expires = e.now.Add(100 * time.Hour)
		e.save(&rec)
		rec.Expires = e.now.Add(time.Hour)
		rec.LastSeen = e.now.Add(-time.Hour)
		e.save(&rec)
		e.wantStored(rec)
	},
}}

// outlives saves a record that ends soon, lets extend make it end later, waits
// until it would have ended, and fails if it has. A store too slow for that is
// given more time.
func (e *env) outlives(extend func(rec *session.Record, expires time.Time) error) {
	e.Helper()
	for life := 100 * time.Millisecond; life < 10*time.Second; life *= 2 {
		rec := e.record()
		first := time.Now().UTC().Truncate(time.Millisecond).Add(life)
		rec.Expires = first
		e.save(&rec)
		err := extend(&rec, e.now.Add(time.Hour))
		if !time.Now().Before(first) {
			continue
		}
		if err != nil {
			e.Fatalf("before Expires: %v", err)
		}
		time.Sleep(time.Until(first) + 20*time.Millisecond)
		e.wantStored(rec)
		return
	}
	e.Fatalf("two operations on one record took longer than 5 s")
}
