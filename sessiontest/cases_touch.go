package sessiontest

import (
	"errors"
	"time"

	"github.com/coatcheck/session"
)

var touchCases = []testCase{{
	name:  "touch",
	rule:  "Touch moves LastSeen and Expires forward to the given times and changes neither Data, Subject, Created nor Version, nor any other record.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		rec, other := e.recordOf("user-1"), e.recordOf("user-1")
		e.save(&rec)
		e.save(&other)
		for n := range 3 {
			step := time.Duration(n+1)*time.Minute + 7*time.Millisecond
			rec.LastSeen, rec.Expires = e.now.Add(step), e.now.Add(time.Hour+step)
			e.touch(rec.ID, rec.LastSeen, rec.Expires)
			e.wantStored(rec)
		}
		e.wantStored(other)
	},
}, {
	name:  "touch-monotonic",
	rule:  "Touch moves neither LastSeen nor Expires back, each for itself.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		early, late := -30*time.Minute, 10*time.Minute

		e.touch(rec.ID, rec.LastSeen.Add(early), rec.Expires.Add(early))
		e.wantStored(rec)

		e.touch(rec.ID, rec.LastSeen.Add(early), rec.Expires.Add(late))
		rec.Expires = rec.Expires.Add(late)
		e.wantStored(rec)

		e.touch(rec.ID, rec.LastSeen.Add(late), rec.Expires.Add(early))
		rec.LastSeen = rec.LastSeen.Add(late)
		e.wantStored(rec)

		e.touch(rec.ID, rec.LastSeen, rec.Expires)
		e.wantStored(rec)

		e.touch(rec.ID, time.Time{}, time.Time{})
		e.wantStored(rec)
	},
}, {
	name:  "touch-missing",
	rule:  "Touch of a missing or deleted record wraps ErrNotFound and creates nothing.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		wantRefused := func(id string) {
			e.Helper()
			err := e.store.(session.Toucher).Touch(e.ctx, id, e.now, e.now.Add(time.Hour))
			if err == nil {
				e.Errorf("Touch of a missing record succeeded")
			} else if !errors.Is(err, session.ErrNotFound) {
				e.Errorf("Touch of a missing record: error %q does not wrap ErrNotFound", err)
			}
			e.wantMissing(id)
		}
		wantRefused(e.newID())
		rec := e.record()
		e.save(&rec)
		e.delete(rec.ID)
		wantRefused(rec.ID)

		rec.Version = 0
		e.save(&rec)
		e.wantStored(rec)
	},
}, {
	name:  "touch-then-save",
	rule:  "Touch leaves the version, so that a Save of somebody who loaded the record before succeeds.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		e.touch(rec.ID, e.now, rec.Expires.Add(time.Hour))
		e.setCount(&rec, 1)
		e.save(&rec)
		e.wantStored(rec)

		stale := rec
		e.setCount(&rec, 2)
		e.save(&rec)
		e.touch(rec.ID, e.now.Add(time.Second), rec.Expires.Add(time.Hour))
		e.wantConflict(stale)
	},
}, {
	name:  "touch-outlives",
	rule:  "A touched record is kept until its new Expires, not only until its first.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		e.outlives(func(rec *session.Record, expires time.Time) error {
			err := e.store.(session.Toucher).Touch(e.ctx, rec.ID, rec.LastSeen, expires)
			if err == nil {
				rec.Expires = expires
			}
			return err
		})
	},
}, {
	name:  "touch-expired",
	rule:  "An expired record counts as either present or absent: Touch extends it whole or wraps ErrNotFound.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		rec := e.recordOf("user-1")
		rec.Expires = e.now.Add(-time.Minute)
		e.save(&rec)
		expires := e.now.Add(time.Hour)
		err := e.store.(session.Toucher).Touch(e.ctx, rec.ID, e.now, expires)
		switch {
		case err == nil:
			rec.LastSeen, rec.Expires = e.now, expires
			e.wantStored(rec)
		case !errors.Is(err, session.ErrNotFound):
			e.Fatalf("Touch of an expired record: %v", err)
		default:
			if got, err := e.store.Load(e.ctx, rec.ID); err == nil {
				e.wantSame(got, rec)
			}
		}
	},
}}
