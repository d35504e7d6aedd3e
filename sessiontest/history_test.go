package sessiontest

import (
	"testing"
	"time"
)

func TestLinearizable(t *testing.T) {
	at := func(called, ending time.Duration, ev event) event {
		ev.called, ev.ending = called, ending
		return ev
	}
	insert := event{op: "save", ok: true, saved: 1, tag: 7}
	update := event{op: "save", ok: true, seen: 1, saved: 2, tag: 8}
	load := func(version uint64, tag int) event { return event{op: "load", ok: true, seen: version, tag: tag} }
	missing := event{op: "load"}
	remove := event{op: "delete", ok: true}

	for _, test := range []struct {
		name   string
		events []event
		want   bool
	}{
		{"nothing", nil, true},
		{"one after another", []event{at(0, 1, insert), at(2, 3, load(1, 7)), at(4, 5, update), at(6, 7, load(2, 8))}, true},
		{"reported in another order", []event{at(2, 3, load(1, 7)), at(0, 1, insert)}, true},
		{"load of what was never saved", []event{at(0, 1, load(1, 7))}, false},
		{"load of other data", []event{at(0, 1, insert), at(2, 3, load(1, 8))}, false},
		{"stale load", []event{at(0, 1, insert), at(2, 3, update), at(4, 5, load(1, 7))}, false},
		{"load of the old during the save", []event{at(0, 1, insert), at(2, 5, update), at(3, 4, load(1, 7))}, true},
		{"load of the new during the save", []event{at(0, 1, insert), at(2, 5, update), at(3, 4, load(2, 8))}, true},
		{"new, then old", []event{at(0, 1, insert), at(2, 9, update), at(3, 4, load(2, 8)), at(5, 6, load(1, 7))}, false},
		{"two winners", []event{at(0, 1, insert), at(2, 5, update), at(2, 5, event{op: "save", ok: true, seen: 1, saved: 3, tag: 9})}, false},
		{"conflict without a reason", []event{at(0, 1, insert), at(2, 3, event{op: "save", seen: 1})}, false},
		{"conflict by a concurrent save", []event{at(0, 1, insert), at(2, 5, update), at(2, 5, event{op: "save", seen: 1})}, true},
		{"save after delete", []event{at(0, 1, insert), at(2, 3, remove), at(4, 5, update)}, false},
		{"save before a concurrent delete", []event{at(0, 1, insert), at(2, 5, remove), at(2, 5, update), at(6, 7, missing)}, true},
		{"save that outlives a delete", []event{at(0, 1, insert), at(2, 5, remove), at(2, 5, update), at(6, 7, load(2, 8))}, false},
		{"touch of what is deleted", []event{at(0, 1, insert), at(2, 3, remove), at(4, 5, event{op: "touch", ok: true})}, false},
		{"touch of what is there", []event{at(0, 1, insert), at(2, 3, event{op: "touch", ok: true})}, true},
		{"touch misses what is there", []event{at(0, 1, insert), at(2, 3, event{op: "touch"})}, false},
		{"version stays", []event{at(0, 1, insert), at(2, 3, event{op: "save", ok: true, seen: 1, saved: 1})}, false},
	} {
		h := newHistory()
		for _, ev := range test.events {
			h.add(ev)
		}
		if got := h.linearizable(); got != test.want {
			t.Errorf("%s: linearizable is %v, want %v\n%s", test.name, got, test.want, h)
		}
	}
}
