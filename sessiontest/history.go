package sessiontest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coatcheck/session"
)

// A history is what several goroutines did with one record, and what they were
// told. The state of the record is its version, zero while it is missing.
type history struct {
	began  time.Time
	mu     sync.Mutex
	events []event
}

func newHistory() *history { return &history{began: time.Now()} }

// An event is one operation of a history.
type event struct {
	op             string // "load", "save", "touch" or "delete"
	ok             bool   // load and touch: it was found; save: no conflict
	seen, saved    uint64 // the version given to a save or returned by a load; that returned by a save
	tag            int    // the content that a save stored or a load found
	called, ending time.Duration
}

// mostEvents is as many as the bits of a set in linearizable.
const mostEvents = 64

// perform does random operations on the ID and adds them to the history.
func (h *history) perform(e *env, id string, operations int) {
	var last session.Record // as this goroutine saw it
	for range operations {
		pause()
		ev := event{called: time.Since(h.began)}
		switch n := rand.IntN(10); {
		case n < 3:
			ev.op = "load"
			rec, err := e.store.Load(e.ctx, id)
			ev.ending = time.Since(h.began)
			ev.ok = err == nil
			if err != nil && !errors.Is(err, session.ErrNotFound) {
				e.Fatalf("Load: %v", err)
			}
			if ev.ok {
				ev.seen, ev.tag = rec.Version, e.count(rec)
			}
			last = rec
		case n < 7:
			ev.op, ev.seen, ev.tag = "save", last.Version, rand.IntN(1<<30)
			rec := e.record()
			rec.ID, rec.Version = id, last.Version
			e.setCount(&rec, ev.tag)
			ev.ok = e.trySave(&rec)
			ev.ending = time.Since(h.began)
			if ev.ok {
				ev.saved, last = rec.Version, rec
			} else {
				last = session.Record{}
			}
		case n < 8:
			ev.op, ev.ok = "delete", true
			e.delete(id)
			ev.ending = time.Since(h.began)
		default:
			if _, ok := e.store.(session.Toucher); !ok {
				continue
			}
			ev.op = "touch"
			ev.ok = e.tryTouch(id, n)
			ev.ending = time.Since(h.began)
		}
		h.add(ev)
	}
}

func (h *history) add(ev event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, ev)
}

// A state is what a record is between two operations.
type state struct {
	version uint64
	tag     int
}

// after returns the state that the event makes of s, and whether the event could
// have ended as it did there.
func (ev event) after(s state) (state, bool) {
	exists := s.version != 0
	switch ev.op {
	case "load":
		return s, ev.ok == exists && (!exists || ev.seen == s.version && ev.tag == s.tag)
	case "touch":
		return s, ev.ok == exists
	case "delete":
		return state{}, true
	}
	if !ev.ok {
		return s, ev.seen != s.version
	}
	return state{ev.saved, ev.tag}, ev.seen == s.version && ev.saved != 0 && ev.saved != s.version
}

// linearizable reports whether there is an order of the events in which each
// could have ended as it did, and in which none comes before one that had ended
// when it was called. It tries all, and remembers dead ends.
func (h *history) linearizable() bool {
	events := slices.SortedFunc(slices.Values(h.events), func(a, b event) int { return cmp.Compare(a.called, b.called) })
	if len(events) > mostEvents {
		panic("sessiontest: history too long")
	}
	type place struct {
		done uint64 // the set of events that have happened
		state
	}
	dead := make(map[place]bool)
	var search func(p place) bool
	search = func(p place) bool {
		if dead[p] {
			return false
		}
		first, complete := time.Duration(1<<63-1), true
		for i, ev := range events {
			if p.done&(1<<i) == 0 {
				first, complete = min(first, ev.ending), false
			}
		}
		if complete {
			return true
		}
		for i, ev := range events {
			if p.done&(1<<i) != 0 || ev.called > first {
				continue
			}
			if next, ok := ev.after(p.state); ok && search(place{p.done | 1<<i, next}) {
				return true
			}
		}
		dead[p] = true
		return false
	}
	return search(place{})
}

func (h *history) String() string {
	var b strings.Builder
	for _, ev := range h.events {
		fmt.Fprintf(&b, "%v to %v: %s", ev.called, ev.ending, ev.op)
		if ev.op == "save" {
			fmt.Fprintf(&b, " %d as version %d", ev.tag, ev.seen)
		}
		switch {
		case !ev.ok && ev.op == "save":
			b.WriteString(": conflict")
		case !ev.ok:
			b.WriteString(": not found")
		case ev.op == "save":
			fmt.Fprintf(&b, ": now %d", ev.saved)
		case ev.op == "load":
			fmt.Fprintf(&b, ": %d, version %d", ev.tag, ev.seen)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
