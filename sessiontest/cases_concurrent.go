package sessiontest

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck/session"
)

var concurrentCases = []testCase{{
	name: "concurrent-insert",
	rule: "Of several Saves of a new ID at once exactly one succeeds; the others wrap ErrConflict.",
	live: true,
	run: func(e *env) {
		for range e.rounds(30) {
			id := e.newID()
			var won wins
			e.parallel(6, func(e *env, i int) {
				rec := e.record()
				rec.ID = id
				e.setCount(&rec, i)
				if e.trySave(&rec) {
					won.add(rec)
				}
			})
			if len(won.recs) != 1 {
				e.Fatalf("%d of 6 inserts of one ID succeeded, want 1", len(won.recs))
			}
			e.wantStored(won.recs[0])
		}
	},
}, {
	name: "concurrent-save",
	rule: "Of several Saves of one version at once exactly one succeeds; the others wrap ErrConflict.",
	live: true,
	run: func(e *env) {
		base := e.record()
		e.save(&base)
		for n := range e.rounds(30) {
			var won wins
			e.parallel(6, func(e *env, i int) {
				rec := base
				e.setCount(&rec, 10*n+i+1)
				if e.trySave(&rec) {
					won.add(rec)
				}
			})
			if len(won.recs) != 1 {
				e.Fatalf("%d of 6 Saves of version %d succeeded, want 1", len(won.recs), base.Version)
			}
			base = won.recs[0]
			e.wantStored(base)
		}
	},
}, {
	name: "concurrent-cas",
	rule: "Load, change and Save, repeated on conflict, loses no update, however many do it at once.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		var total atomic.Int64
		e.parallel(4, func(e *env, _ int) {
			for range e.rounds(40) {
				e.increment(rec.ID)
				total.Add(1)
			}
		})
		if got := e.count(e.load(rec.ID)); got != int(total.Load()) {
			e.Errorf("after %d increments the count is %d", total.Load(), got)
		}
	},
}, {
	name: "concurrent-save-delete",
	rule: "Once a record is deleted no Save of those who loaded it before, however close, brings it back.",
	live: true,
	run: func(e *env) {
		for range e.rounds(40) {
			rec := e.record()
			e.save(&rec)
			e.parallel(4, func(e *env, i int) {
				if i == 0 {
					pause()
					pause()
					e.delete(rec.ID)
					return
				}
				for n := range 5 {
					got, err := e.store.Load(e.ctx, rec.ID)
					if errors.Is(err, session.ErrNotFound) {
						return
					} else if err != nil {
						e.Fatalf("Load: %v", err)
					}
					e.setCount(&got, 10*i+n)
					pause()
					e.trySave(&got)
				}
			})
			e.wantMissing(rec.ID)
		}
	},
}, {
	name:  "concurrent-touch-delete",
	rule:  "Once a record is deleted no Touch, however close, brings it back.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		for range e.rounds(40) {
			rec := e.record()
			e.save(&rec)
			e.parallel(4, func(e *env, i int) {
				if i == 0 {
					pause()
					pause()
					e.delete(rec.ID)
					return
				}
				for n := range 5 {
					pause()
					e.tryTouch(rec.ID, n)
				}
			})
			e.wantMissing(rec.ID)
		}
	},
}, {
	name:  "concurrent-touch-save",
	rule:  "Touch neither makes a Save conflict nor sets its data back, however close they are.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		var done atomic.Bool
		e.parallel(4, func(e *env, i int) {
			if i > 0 {
				for n := 0; !done.Load(); n++ {
					pause()
					e.tryTouch(rec.ID, n)
				}
				return
			}
			defer done.Store(true)
			for n := range e.rounds(60) {
				e.setCount(&rec, n+1)
				e.save(&rec)
				pause()
				got := e.load(rec.ID)
				if got.Version != rec.Version || e.count(got) != n+1 {
					e.Fatalf("after Save of %d as version %d, Load returns %d as version %d", n+1, rec.Version, e.count(got), got.Version)
				}
			}
		})
		if got := e.load(rec.ID); got.Version != rec.Version || string(got.Data) != string(rec.Data) {
			e.Errorf("in the end the record is version %d with %s, want %d with %s",
				got.Version, excerpt(got.Data), rec.Version, excerpt(rec.Data))
		}
	},
}, {
	name:  "concurrent-touch",
	rule:  "Of several Touches at once the latest times remain.",
	needs: touching,
	live:  true,
	run: func(e *env) {
		for range e.rounds(20) {
			rec := e.record()
			e.save(&rec)
			e.parallel(6, func(e *env, i int) { e.tryTouch(rec.ID, i) })
			rec.LastSeen, rec.Expires = touchTimes(e, 5)
			e.wantStored(rec)
		}
	},
}, {
	name:  "concurrent-list",
	rule:  "A record that stays is on some page of every listing, and every record listed is whole, while others save and delete.",
	needs: listing,
	run: func(e *env) {
		var staying []session.Record
		for range 10 {
			rec := e.record()
			e.save(&rec)
			staying = append(staying, rec)
		}
		var done atomic.Bool
		e.parallel(3, func(e *env, i int) {
			if i > 0 {
				for !done.Load() {
					rec := e.record()
					e.save(&rec)
					e.delete(rec.ID)
				}
				return
			}
			defer done.Store(true)
			for range e.rounds(20) {
				missing := make(map[string]session.Record)
				for _, rec := range staying {
					missing[rec.ID] = rec
				}
				for _, got := range e.list("", 4) {
					if want, ok := missing[got.ID]; ok {
						e.wantSame(got, want)
					} else if len(got.Data) == 0 || got.Expires.IsZero() || got.Version == 0 {
						e.Fatalf("List returned half a record")
					}
					delete(missing, got.ID)
				}
				if len(missing) > 0 {
					e.Fatalf("List lacks %d of %d records that stayed", len(missing), len(staying))
				}
			}
		})
	},
}, {
	name: "concurrent-mixed",
	rule: "A thousand random operations have each the result that the contract gives them, while others work on other records.",
	live: true,
	run: func(e *env) {
		e.parallel(4, func(e *env, _ int) {
			m := newModel(e, 5)
			for range e.rounds(250) {
				m.step()
			}
		})
	},
}, {
	name: "linearizable",
	rule: "Operations on one record at once have results as if they had happened one after another, each between its call and its return.",
	live: true,
	run: func(e *env) {
		for range e.rounds(25) {
			h, id := newHistory(), e.newID()
			e.parallel(4, func(e *env, i int) { h.perform(e, id, 8) })
			if e.Failed() {
				return
			}
			if !h.linearizable() {
				e.Fatalf("no order explains these operations on one record:\n%s", h.String())
			}
		}
	},
}}

// wins collects the records that a race of Saves has stored.
type wins struct {
	mu   sync.Mutex
	recs []session.Record
}

func (w *wins) add(rec session.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recs = append(w.recs, rec)
}

// trySave saves the record and notes its version, or reports a conflict.
func (e *env) trySave(rec *session.Record) bool {
	e.Helper()
	given := *rec
	version, err := e.store.Save(e.ctx, &given)
	if err == nil {
		rec.Version = version
		return true
	}
	if !errors.Is(err, session.ErrConflict) {
		e.Fatalf("Save: error %q does not wrap ErrConflict", err)
	}
	return false
}

// tryTouch moves the times of the record to the nth step, or reports that it is
// missing.
func (e *env) tryTouch(id string, n int) bool {
	e.Helper()
	lastSeen, expires := touchTimes(e, n)
	err := e.store.(session.Toucher).Touch(e.ctx, id, lastSeen, expires)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		e.Fatalf("Touch: error %q does not wrap ErrNotFound", err)
	}
	return err == nil
}

func touchTimes(e *env, n int) (lastSeen, expires time.Time) {
	step := time.Duration(n) * time.Second
	return e.now.Add(step), e.now.Add(2*time.Hour + step)
}

// increment adds one to the count of the record, as often as conflicts demand.
func (e *env) increment(id string) {
	e.Helper()
	for {
		rec := e.load(id)
		e.setCount(&rec, e.count(rec)+1)
		pause()
		if e.trySave(&rec) {
			return
		}
	}
}

// pause lets others come between, at a different place each time: without it a
// store in memory has done with one goroutine before the next has begun.
func pause() { time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond) }
