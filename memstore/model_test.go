package memstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// A model is a store as simple as can be. It runs beside a real one and
// compares what both say.
type model struct {
	t       testing.TB
	store   *Store
	clock   *clock
	records map[string]session.Record
}

func newModel(t testing.TB, shards int) *model {
	c := newClock()
	return &model{t: t, clock: c, records: map[string]session.Record{},
		store: small(Options{Now: c.now}, shards)}
}

// get returns the live record with the ID, or the zero one.
func (m *model) get(id string) (r session.Record, ok bool) {
	if m.clock.now().After(m.records[id].Expires) {
		delete(m.records, id)
	}
	r, ok = m.records[id]
	return r, ok
}

func (m *model) load(id string) {
	m.t.Helper()
	got, err := m.store.Load(m.t.Context(), id)
	want, ok := m.get(id)
	if ok != (err == nil) || !ok && !errors.Is(err, session.ErrNotFound) {
		m.t.Fatalf("load: %v, but it is there: %v", err, ok)
	}
	if ok {
		m.compare(got, want)
	}
}

func (m *model) compare(got, want session.Record) {
	m.t.Helper()
	if got.ID != want.ID || got.Subject != want.Subject || got.Version != want.Version || !bytes.Equal(got.Data, want.Data) ||
		!got.Created.Equal(want.Created) || !got.LastSeen.Equal(want.LastSeen) || !got.Expires.Equal(want.Expires) {
		got.Data, want.Data = got.Data[:min(8, len(got.Data))], want.Data[:min(8, len(want.Data))]
		m.t.Fatalf("got  %v\nwant %v", got, want)
	}
}

func (m *model) save(r session.Record) {
	m.t.Helper()
	old, ok := m.get(r.ID)
	v, err := m.store.Save(m.t.Context(), &r)
	if fits := r.Version == old.Version && (r.Version != 0) == ok; fits != (err == nil) {
		m.t.Fatalf("save: %v, but it should fit: %v", err, fits)
	}
	if err != nil {
		if !errors.Is(err, session.ErrConflict) {
			m.t.Fatal(err)
		}
		return
	}
	if v == 0 || v == r.Version || ok && v <= old.Version {
		m.t.Fatalf("version %d after %d", v, old.Version)
	}
	r.Version = v
	r.Data = bytes.Clone(r.Data)
	m.records[r.ID] = r
}

func (m *model) touch(id string, seen, expires time.Time) {
	m.t.Helper()
	r, ok := m.get(id)
	if err := m.store.Touch(m.t.Context(), id, seen, expires); ok != (err == nil) {
		m.t.Fatalf("touch: %v, but it is there: %v", err, ok)
	}
	if !ok {
		return
	}
	if seen.After(r.LastSeen) {
		r.LastSeen = seen
	}
	if expires.After(r.Expires) {
		r.Expires = expires
	}
	m.records[id] = r
}

func (m *model) delete(id string) {
	m.t.Helper()
	if err := m.store.Delete(m.t.Context(), id); err != nil {
		m.t.Fatal(err)
	}
	delete(m.records, id)
}

func (m *model) sweep(before time.Time) {
	m.t.Helper()
	if _, err := m.store.Sweep(m.t.Context(), before); err != nil {
		m.t.Fatal(err)
	}
	for id, r := range m.records {
		if r.Expires.Before(before) {
			delete(m.records, id)
		}
	}
}

func (m *model) list(subject string, limit int) {
	m.t.Helper()
	want := 0
	for id := range m.records {
		if r, ok := m.get(id); ok && (subject == "" || r.Subject == subject) {
			want++
		}
	}
	got := all(m.t, m.store, subject, limit)
	for _, r := range got {
		m.compare(r, m.records[r.ID])
	}
	if len(got) != want {
		m.t.Fatalf("list: %d records, want %d", len(got), want)
	}
}

// step does one operation that is chosen by random numbers.
func (m *model) step(r *rand.Rand, ids int) {
	m.t.Helper()
	id := fmt.Sprint("id-", r.IntN(ids))
	life := time.Duration(r.IntN(20_000)-500) * time.Millisecond
	now := m.clock.now()
	switch n := r.IntN(100); {
	case n < 25:
		m.load(id)
	case n < 65:
		old := m.records[id]
		rec := session.Record{ID: id, Created: now, LastSeen: now, Expires: now.Add(life), Version: old.Version}
		if r.IntN(3) > 0 {
			rec.Subject = fmt.Sprint("subject-", r.IntN(1+ids/10))
		}
		rec.Data = bytes.Repeat([]byte{byte(n)}, sizes[r.IntN(len(sizes))]+r.IntN(64))
		switch r.IntN(20) {
		case 0:
			rec.Version += uint64(r.IntN(3))
		case 1:
			rec.Version = 0
		}
		m.save(rec)
	case n < 80:
		m.touch(id, now.Add(life.Truncate(10*time.Millisecond)/10), now.Add(life))
	case n < 92:
		m.delete(id)
	case n < 98:
		m.clock.advance(time.Duration(r.IntN(500)) * time.Millisecond)
	case n < 99:
		m.sweep(now.Add(life / 4))
	default:
		m.list([]string{"", fmt.Sprint("subject-", r.IntN(1+ids/10))}[r.IntN(2)], 1+r.IntN(2*ids))
	}
}

var sizes = []int{0, 10, 100, 300, 300, 1000, 5000, largeEntry - 64, 20_000}

func TestModel(t *testing.T) {
	tests := []struct {
		name        string
		ids, shards int
		steps       int
	}{
		{"three records in one shard", 3, 1, 5_000},
		{"a hundred records in one shard", 100, 1, 20_000},
		{"two thousand records in four shards", 2000, 4, 40_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newModel(t, tt.shards)
			seed := uint64(time.Now().UnixNano())
			t.Log("seed", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			for i := range tt.steps {
				m.step(r, tt.ids)
				if i%500 == 0 {
					check(t, m.store)
				}
			}
			check(t, m.store)
		})
	}
}

// FuzzOperations takes each byte as an operation and a record.
func FuzzOperations(f *testing.F) {
	f.Add([]byte("\x00\x10\x20\x30\x40\x50\x60\x70"))
	f.Add([]byte("save, load, touch, delete, sweep and list"))
	f.Add([]byte("\x25\xc4\x85")) // a new record over one that has expired
	f.Add(bytes.Repeat([]byte{0x11, 0x12, 0x13, 0x31, 0x32, 0x33}, 50))
	f.Fuzz(func(t *testing.T, program []byte) {
		m := newModel(t, 1)
		for i, b := range program[:min(len(program), 1000)] {
			id, now := fmt.Sprint(b&0x0f), m.clock.now()
			switch b >> 4 {
			case 0:
				m.load(id)
			case 1, 2, 3, 4, 5, 6, 7:
				rec := session.Record{ID: id, Expires: now.Add(time.Duration(b) * time.Second), Version: m.records[id].Version}
				if b&0x10 == 0 {
					rec.Subject = fmt.Sprint(b & 3)
				}
				rec.Data = bytes.Repeat([]byte{b}, sizes[i%len(sizes)])
				m.save(rec)
			case 8:
				m.save(session.Record{ID: id, Expires: now.Add(time.Second)})
			case 9:
				m.touch(id, now, now.Add(time.Duration(i)*time.Second))
			case 10, 11:
				m.delete(id)
			case 12:
				m.clock.advance(time.Duration(b&0x0f) * 10 * time.Second)
			case 13:
				m.sweep(now.Add(time.Duration(b&0x0f) * 10 * time.Second))
			case 14:
				m.list("", 1+int(b&0x0f))
			case 15:
				m.list(fmt.Sprint(b&3), 1+int(b&0x0f))
			}
			check(t, m.store)
		}
	})
}
