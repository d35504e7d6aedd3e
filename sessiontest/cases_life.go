package sessiontest

import (
	"context"
	"errors"
	"time"

	"github.com/coatcheck/session"
)

var lifeCases = []testCase{{
	name:  "ping",
	rule:  "Ping of a store that works is no error and changes nothing.",
	needs: pinging,
	live:  true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		for range 2 {
			if err := e.store.(session.Pinger).Ping(e.ctx); err != nil {
				e.Fatalf("Ping: %v", err)
			}
		}
		e.wantStored(rec)
	},
}, {
	name:  "close-idempotent",
	rule:  "Close may be called again, also at the same time, and is then no error.",
	needs: closing,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		closer := e.store.(interface{ Close() error })
		e.parallel(3, func(e *env, _ int) {
			if err := closer.Close(); err != nil {
				e.Errorf("Close: %v", err)
			}
		})
		if err := closer.Close(); err != nil {
			e.Errorf("Close again: %v", err)
		}
	},
}, {
	name:  "reopen",
	rule:  "What Save, Touch and Delete did outlives the store, versions too.",
	needs: reopening,
	run: func(e *env) {
		first, second, gone := e.recordOf("user-1"), e.record(), e.record()
		e.save(&first)
		e.save(&second)
		e.save(&gone)
		stale := first
		e.setCount(&first, 1)
		e.save(&first)
		if t, ok := e.store.(session.Toucher); ok {
			second.LastSeen, second.Expires = e.now.Add(time.Minute), e.now.Add(2*time.Hour)
			if err := t.Touch(e.ctx, second.ID, second.LastSeen, second.Expires); err != nil {
				e.Fatalf("Touch: %v", err)
			}
		}
		e.delete(gone.ID)

		e.store = e.reopen(e.store)
		e.wantStored(first)
		e.wantStored(second)
		e.wantMissing(gone.ID)
		e.wantConflict(stale)
		e.wantConflict(gone)
		if _, ok := e.store.(session.Lister); ok {
			e.wantList("", []session.Record{first, second}, 1)
		}
		e.setCount(&first, 2)
		e.save(&first)
		e.wantStored(first)
	},
}, {
	name:  "reopen-fresh-version",
	rule:  "A record made anew under a deleted ID has none of the versions of its predecessor, also when the program was restarted between.",
	needs: reopening,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		old := rec
		e.delete(rec.ID)
		e.store = e.reopen(e.store)
		rec.Version = 0
		e.setCount(&rec, 1)
		e.save(&rec)
		e.setCount(&old, 2)
		e.wantConflict(old)
		e.wantStored(rec)
	},
}, {
	name:  "peer-sees",
	rule:  "What Save, Touch and Delete did when they have returned, every process sees.",
	needs: peering,
	run: func(e *env) {
		for n := range e.rounds(20) {
			here, there := *e, *e
			there.store = e.peer
			if n%2 == 1 {
				here, there = there, here
			}
			rec := e.recordOf("user-1")
			here.save(&rec)
			there.wantStored(rec)
			stale := rec
			e.setCount(&rec, n+1)
			there.save(&rec)
			here.wantStored(rec)
			here.wantConflict(stale)
			if _, ok := e.store.(session.Toucher); ok {
				rec.LastSeen, rec.Expires = e.now.Add(time.Minute), e.now.Add(2*time.Hour)
				here.touch(rec.ID, rec.LastSeen, rec.Expires)
				there.wantStored(rec)
			}
			if _, ok := e.store.(session.Lister); ok && !e.layout.NoSubject {
				there.wantList("user-1", []session.Record{rec}, 10)
			}
			here.delete(rec.ID)
			there.wantMissing(rec.ID)
			there.wantConflict(rec)
		}
	},
}, {
	name:  "outage",
	rule:  "While the server is down every method returns an error that says nothing about the record, and once it is up again the store is used as before.",
	needs: outages,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		mend := e.outage(e.store)

		ctx, cancel := context.WithTimeout(e.ctx, soon)
		defer cancel()
		changed := rec
		e.setCount(&changed, 1)
		_, loadErr := e.store.Load(ctx, rec.ID)
		_, saveErr := e.store.Save(ctx, &changed)
		failures := map[string]error{"Load": loadErr, "Save": saveErr, "Delete": e.store.Delete(ctx, e.newID())}
		if p, ok := e.store.(session.Pinger); ok {
			failures["Ping"] = p.Ping(ctx)
		}
		for op, err := range failures {
			if err == nil || errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrConflict) {
				e.Errorf("%s while the server was down: %v", op, err)
			}
		}

		mend()
		e.wantStored(rec)
		e.setCount(&rec, 2)
		e.save(&rec)
		e.wantStored(rec)
	},
}}
