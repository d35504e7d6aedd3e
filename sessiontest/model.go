package sessiontest

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/coatcheck/session"
)

// A model says what a store must answer: it performs random operations on the
// store and on a map, and compares. Nobody else may use its IDs.
type model struct {
	e       *env
	ids     []string
	records map[string]session.Record
	past    map[string][]session.Record // former states of each ID
	saves   int
}

func newModel(e *env, ids int) *model {
	m := &model{e: e, records: make(map[string]session.Record), past: make(map[string][]session.Record)}
	for range ids {
		m.ids = append(m.ids, e.newID())
	}
	return m
}

// step performs one operation.
func (m *model) step() {
	e := m.e
	e.Helper()
	id := m.ids[rand.IntN(len(m.ids))]
	rec, exists := m.records[id]
	switch n := rand.IntN(20); {
	case n < 5:
		m.compare(id)
	case n < 8:
		fresh := e.record()
		fresh.ID = id
		m.save(fresh, !exists)
	case n < 13 && exists:
		m.save(rec, true)
	case n < 15 && len(m.past[id]) > 0:
		old := m.past[id]
		m.save(old[rand.IntN(len(old))], false)
	case n < 17:
		e.delete(id)
		m.forget(id)
	default:
		m.touch(id)
	}
}

func (m *model) compare(id string) {
	m.e.Helper()
	if want, exists := m.records[id]; exists {
		m.e.wantStored(want)
	} else {
		m.e.wantMissing(id)
	}
}

// save saves the record with other content.
func (m *model) save(rec session.Record, ok bool) {
	e := m.e
	e.Helper()
	m.saves++
	e.setSubject(&rec, []string{"", "user-1", "user-2"}[rand.IntN(3)])
	e.setCount(&rec, m.saves)
	rec.Expires = e.now.Add(time.Duration(60+rand.IntN(100)) * time.Minute)
	if !ok {
		e.wantConflict(rec)
		m.compare(rec.ID)
		return
	}
	e.save(&rec)
	m.forget(rec.ID)
	m.records[rec.ID] = rec
}

func (m *model) touch(id string) {
	e := m.e
	e.Helper()
	toucher, ok := e.store.(session.Toucher)
	if !ok {
		return
	}
	lastSeen := e.now.Add(time.Duration(rand.IntN(100)-50) * time.Second)
	expires := e.now.Add(time.Duration(60+rand.IntN(100)) * time.Minute)
	err := toucher.Touch(e.ctx, id, lastSeen, expires)
	rec, exists := m.records[id]
	switch {
	case !exists && errors.Is(err, session.ErrNotFound):
		return
	case !exists:
		e.Fatalf("Touch of a missing record: %v, want ErrNotFound", err)
	case err != nil:
		e.Fatalf("Touch: %v", err)
	}
	if lastSeen.After(rec.LastSeen) {
		rec.LastSeen = lastSeen
	}
	if expires.After(rec.Expires) {
		rec.Expires = expires
	}
	m.records[id] = rec
	m.compare(id)
}

// forget makes the record of the ID, if there is one, a former state.
func (m *model) forget(id string) {
	if rec, exists := m.records[id]; exists {
		m.past[id] = append(m.past[id], rec)
		delete(m.records, id)
	}
}
