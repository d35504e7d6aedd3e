package sessiontest

import (
	"time"

	"github.com/coatcheck/session"
)

var sweepCases = []testCase{{
	name:  "sweep",
	rule:  "Sweep removes the records that expired before the given time, which may be any, and no others, and returns how many.",
	needs: sweeping,
	run: func(e *env) {
		before := e.now.Truncate(time.Second).Add(2 * time.Hour)
		var swept, kept []session.Record
		for i := range 20 {
			rec := e.recordOf([]string{"", "user-1"}[i%2])
			if i < 12 {
				rec.Expires = before.Add(-time.Duration(i+1) * time.Second)
				e.save(&rec)
				swept = append(swept, rec)
			} else {
				rec.Expires = before.Add(time.Duration(i-12) * time.Second)
				e.save(&rec)
				kept = append(kept, rec)
			}
		}
		e.wantSweep(before, len(swept))
		for _, rec := range swept {
			e.wantMissing(rec.ID)
			e.wantConflict(rec)
		}
		for _, rec := range kept {
			e.wantStored(rec)
		}
		if _, ok := e.store.(session.Lister); ok {
			e.wantList("", kept, 10)
		}
		e.wantSweep(before, 0)
		e.wantSweep(e.now.Add(-time.Hour), 0)
	},
}, {
	name:  "sweep-expired",
	rule:  "Sweep until now removes what has expired and nothing that lives. What the store dropped before by itself does not count.",
	needs: sweeping,
	run: func(e *env) {
		var expired, live []session.Record
		for i := range 8 {
			rec := e.record()
			if i%2 == 0 {
				rec.Expires = e.now.Add(-time.Minute)
				e.save(&rec)
				expired = append(expired, rec)
			} else {
				e.save(&rec)
				live = append(live, rec)
			}
		}
		n := e.sweep(e.now)
		if n < 0 || n > len(expired) {
			e.Errorf("Sweep says that it removed %d records; %d had expired", n, len(expired))
		}
		for _, rec := range expired {
			e.wantMissing(rec.ID)
		}
		for _, rec := range live {
			e.wantStored(rec)
		}
	},
}, {
	name:  "sweep-many",
	rule:  "Sweep removes all that has expired, not one batch of it.",
	needs: sweeping,
	run: func(e *env) {
		swept := e.fill(1100, func(int) session.Record { return e.record() })
		kept := e.record()
		kept.Expires = e.now.Add(10 * time.Hour)
		e.save(&kept)
		e.wantSweep(e.now.Add(2*time.Hour), len(swept))
		e.wantStored(kept)
	},
}, {
	name:  "sweep-extended",
	rule:  "Sweep goes by the Expires that a record has now: one that was saved with a later one stays, one with an earlier one goes.",
	needs: sweeping,
	run: func(e *env) {
		early, middle, late := e.now.Add(time.Hour), e.now.Add(2*time.Hour), e.now.Add(3*time.Hour)
		extended, shortened := e.record(), e.record()
		extended.Expires, shortened.Expires = early, late
		e.save(&extended)
		e.save(&shortened)
		extended.Expires, shortened.Expires = late, early
		e.save(&extended)
		e.save(&shortened)
		e.wantSweep(middle, 1)
		e.wantStored(extended)
		e.wantMissing(shortened.ID)
	},
}, {
	name:  "sweep-spares-touched",
	rule:  "Sweep does not remove a record whose Expires a Touch has moved.",
	needs: sweeping | touching,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		rec.Expires = e.now.Add(3 * time.Hour)
		e.touch(rec.ID, rec.LastSeen, rec.Expires)
		e.wantSweep(e.now.Add(2*time.Hour), 0)
		e.wantStored(rec)
	},
}}

func (e *env) sweep(before time.Time) int {
	e.Helper()
	removed, err := e.store.(session.Sweeper).Sweep(e.ctx, before)
	if err != nil {
		e.Fatalf("Sweep: %v", err)
	}
	return removed
}

func (e *env) wantSweep(before time.Time, want int) {
	e.Helper()
	if got := e.sweep(before); got != want {
		e.Errorf("Sweep returned %d, want %d", got, want)
	}
}
