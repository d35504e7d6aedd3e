package natstest

import (
	"fmt"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/natsstore"
)

// How many requests each operation is: what the client has sent, by its count.
func TestRequests(t *testing.T) {
	n := startNode(t, limits{})
	js := connect(t, n)
	open(t, js, natsstore.Options{})
	store, other := newStore(t, js, natsstore.Options{}), newStore(t, connect(t, n), natsstore.Options{})
	anonymous, first, again := record("anonymous", ""), record("first", "alice"), record("again", "alice")
	steps := []struct {
		name string
		want uint64
		do   func()
	}{
		{"the first operation looks at the bucket", 2, func() { store.Load(limited(t), "x") }},
		{"load of a missing record", 1, func() { store.Load(limited(t), "x") }},
		{"first save of an anonymous record", 1, func() { save(t, store, &anonymous) }},
		{"first save of a record of a subject writes its place before", 2, func() { save(t, store, &first) }},
		{"load", 1, func() { load(t, store, "first") }},
		{"save", 1, func() { save(t, store, &first) }},
		{"touch reads and writes", 2, func() { touch(t, store, "first", now().Add(61*time.Minute)) }},
		{"touch that moves nothing only reads", 1, func() { store.Touch(limited(t), "first", time.Time{}, time.Time{}) }},
		{"save after a touch by this process", 1, func() { save(t, store, &first) }},
		{"save after a load of what another process touched", 1 + 1, func() {
			touch(t, other, "first", now().Add(62*time.Minute))
			load(t, store, "first")
			save(t, store, &first)
		}},
		{"save of what another process has touched since", 3, func() {
			touch(t, other, "first", now().Add(63*time.Minute))
			save(t, store, &first)
		}},
		{"save of a version that was never seen here reads first", 2, func() {
			rec := load(t, other, "anonymous")
			save(t, other, &rec)
			save(t, store, &rec)
		}},
		{"a conflict is found out", 2, func() {
			rec := first
			save(t, other, &rec)
			store.Save(limited(t), &first)
		}},
		{"touch that outlives the place prolongs that", 3, func() { touch(t, store, "first", now().Add(10*time.Hour)) }},
		{"touch within the next hour", 2, func() { touch(t, store, "first", now().Add(10*time.Hour+50*time.Minute)) }},
		{"another record of the subject", 2, func() { save(t, store, &again) }},
		{"list of a subject is a request for the keys and one for each record", 1 + 2, func() { list(t, store, "alice", 100) }},
		{"list of all looks first how many there are", 2 + 3, func() { list(t, store, "", 100) }},
		{"delete", 1, func() { store.Delete(limited(t), "first") }},
		{"a list asks once more for a place whose record is gone", 1 + 2 + 1, func() { list(t, store, "alice", 100) }},
		{"ping", 1, func() { store.Ping(limited(t)) }},
	}
	conn := js.Conn()
	counts := make(map[string]int)
	for _, step := range steps {
		before := conn.Stats().OutMsgs
		step.do()
		got := conn.Stats().OutMsgs - before
		if got != step.want {
			t.Errorf("%s: %d requests, want %d", step.name, got, step.want)
		}
		counts[step.name] = int(got)
	}
	storefacts.Turns(t, "natsstore", counts["load"], counts["save"], counts["touch reads and writes"])

	// No more for many.
	many := session.Record{Data: []byte(`{}`), Expires: now().Add(time.Hour)}
	for i := range 1200 {
		many.ID = fmt.Sprint("many-", i)
		if _, err := store.Save(limited(t), &many); err != nil {
			t.Fatal(err)
		}
	}
	before := conn.Stats().OutMsgs
	ids := list(t, store, "", 100)
	sent := conn.Stats().OutMsgs - before
	t.Logf("a list of %d records in pages of 100: %d requests", len(ids), sent)
	if len(ids) != 1202 || sent > 1400 {
		t.Errorf("a list of %d records, want 1202, took %d requests", len(ids), sent)
	}
}
