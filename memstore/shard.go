package memstore

import (
	"bytes"
	"hash/maphash"
	"sync"
	"time"

	"github.com/coatcheck/session"
)

// A shard keeps the records of some of the hashes behind one lock. What Store
// calls (load, save, touch, delete, list, sweep, dropExpired, tidyIfDue, evict,
// close) takes the lock; all other methods need it to be held.
type shard struct {
	mu      sync.RWMutex
	seed    maphash.Seed
	bounds  *bounds
	horizon *horizon
	closed  bool

	slots    slots
	ids      index // every slot, by its ID
	subjects index // the first slot of every subject
	arena    arena

	anonymous queue // the slots without a subject
	named     queue // the slots with one

	// version counts the saves. A deleted ID that comes back has the same
	// shard, therefore never a version that it had before.
	version uint64
}

// A state is what an operation found.
type state int

const (
	stateLive     state = iota // the record; or done
	stateMissing               // no such record
	stateExpired               // a record that is no longer one
	stateConflict              // not the version asked for
	stateNoRoom                // the store is full; another record may go
	stateRefused               // the shard is full, for which none may go
	stateClosed                // the store is closed
)

func (sh *shard) init(seed maphash.Seed, b *bounds, h *horizon) {
	sh.seed, sh.bounds, sh.horizon = seed, b, h
	sh.arena = newArena()
	sh.publish()
}

// load takes only the read lock, so the requests of one client do not wait for
// each other, nor does anybody while a large record is copied.
func (sh *shard) load(id string, hash uint32, now int64) (session.Record, state) {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if sh.closed {
		return session.Record{}, stateClosed
	}
	i := sh.find(id, hash)
	switch {
	case i == none:
		return session.Record{}, stateMissing
	case sh.slots.at(i).expires < now:
		return session.Record{}, stateExpired
	}
	return sh.record(i, id), stateLive
}

func (sh *shard) save(rec *session.Record, hash uint32, now int64) (version uint64, st state) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return 0, stateClosed
	}
	defer sh.publish()
	sh.tidy(now)

	i := sh.find(rec.ID, hash)
	if i != none && sh.slots.at(i).expires < now {
		sh.remove(i)
		i = none
	}
	switch {
	case i == none && rec.Version != 0,
		i != none && rec.Version != sh.slots.at(i).version:
		return 0, stateConflict
	case i == none && sh.slots.n == maxSlots:
		return 0, stateRefused
	case i == none:
		if !sh.bounds.reserve(1, charge(rec)) {
			return 0, stateNoRoom
		}
		i = sh.insert(rec, hash)
	default:
		if !sh.bounds.reserve(0, charge(rec)-sh.entry(i).charge()) {
			return 0, stateNoRoom
		}
		sh.update(i, rec)
	}
	sh.clean()
	sh.version++
	sh.slots.at(i).version = sh.version
	return sh.version, stateLive
}

func (sh *shard) touch(id string, hash uint32, lastSeen, expires, now int64) state {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return stateClosed
	}
	i := sh.find(id, hash)
	if i == none {
		return stateMissing
	}
	s := sh.slots.at(i)
	if s.expires < now {
		sh.remove(i)
		sh.publish()
		return stateExpired
	}
	s.lastSeen = max(s.lastSeen, lastSeen)
	s.expires = max(s.expires, expires)
	if sh.horizon.any.Load() < now {
		sh.tidy(now)
		sh.publish()
	}
	return stateLive
}

func (sh *shard) delete(id string, hash uint32, now int64) state {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return stateClosed
	}
	defer sh.publish()
	if i := sh.find(id, hash); i != none {
		sh.remove(i)
	}
	sh.tidy(now)
	return stateLive
}

func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range sh.slots.n {
		sh.bounds.release(1, sh.entry(i).charge())
	}
	sh.slots, sh.ids, sh.subjects = slots{}, index{}, index{}
	sh.anonymous, sh.named = nil, nil
	sh.arena = newArena()
	sh.closed = true
	sh.publish()
}

// publish sets the horizon. It belongs at the end of whatever changes a queue.
func (sh *shard) publish() {
	anonymous := sh.anonymous.next()
	sh.horizon.publish(min(anonymous, sh.named.next()), anonymous)
}

// find returns the slot of an ID, or none.
func (sh *shard) find(id string, hash uint32) uint32 {
	return sh.ids.find(hash, func(i uint32) bool {
		return sh.slots.at(i).hash == hash && string(sh.entry(i).id()) == id
	})
}

func (sh *shard) entry(i uint32) entry {
	s := sh.slots.at(i)
	return sh.arena.entry(s.segment, s.offset)
}

func (sh *shard) idHash(i uint32) uint32 { return sh.slots.at(i).hash }

// record copies a record out. The caller has the ID or makes a copy of it.
func (sh *shard) record(i uint32, id string) session.Record {
	s := sh.slots.at(i)
	e := sh.entry(i)
	return session.Record{
		ID:       id,
		Subject:  string(e.subject()),
		Data:     bytes.Clone(e.data()),
		Version:  s.version,
		Created:  time.UnixMilli(s.created).UTC(),
		LastSeen: time.UnixMilli(s.lastSeen).UTC(),
		Expires:  time.UnixMilli(s.expires).UTC(),
	}
}

// queueOf returns the queue that a slot is in.
func (sh *shard) queueOf(s *slot) *queue {
	if s.named {
		return &sh.named
	}
	return &sh.anonymous
}

// insert adds a record whose ID is not in the shard.
func (sh *shard) insert(rec *session.Record, hash uint32) uint32 {
	i := sh.slots.push()
	s := sh.slots.at(i)
	*s = slot{
		created:  rec.Created.UnixMilli(),
		lastSeen: rec.LastSeen.UnixMilli(),
		expires:  rec.Expires.UnixMilli(),
		hash:     hash,
		named:    rec.Subject != "",
		next:     none,
		prev:     none,
	}
	sh.write(s, rec, entrySize(rec.ID, rec.Subject, rec.Data))
	sh.ids.insert(hash, i, sh.idHash)
	sh.link(i)
	sh.queueOf(s).push(&sh.slots, s.expires, i)
	return i
}

// update gives a slot what rec says, which is of the same ID.
func (sh *shard) update(i uint32, rec *session.Record) {
	s := sh.slots.at(i)
	s.created = rec.Created.UnixMilli()
	s.lastSeen = rec.LastSeen.UnixMilli()
	s.expires = rec.Expires.UnixMilli()

	moves := string(sh.entry(i).subject()) != rec.Subject
	if moves {
		sh.unlink(i)
	}
	sh.rewrite(s, rec)
	if moves {
		sh.queueOf(s).remove(&sh.slots, int(s.queued))
		s.named = rec.Subject != ""
		sh.link(i)
		sh.queueOf(s).push(&sh.slots, s.expires, i)
	} else if q := sh.queueOf(s); s.expires < (*q)[s.queued].at() {
		q.move(&sh.slots, int(s.queued), s.expires)
	}
}

// rewrite puts rec into the entry of its slot if it fits there without wasting
// more than a quarter of it, and into a new one if not.
func (sh *shard) rewrite(s *slot, rec *session.Record) {
	e := sh.arena.entry(s.segment, s.offset)
	need, has := entrySize(rec.ID, rec.Subject, rec.Data), e.size()
	if need <= has && has-need <= max(64, has/4) {
		e.fill(rec.ID, rec.Subject, rec.Data)
		return
	}
	sh.arena.free(s.segment, s.offset)
	if need > has {
		// What has grown once will grow again.
		need += need / 8
	}
	sh.write(s, rec, need)
}

// write puts rec into a new entry of that size.
func (sh *shard) write(s *slot, rec *session.Record, size int) {
	segment, offset, e := sh.arena.alloc(size)
	e.fill(rec.ID, rec.Subject, rec.Data)
	s.segment, s.offset = segment, offset
}

// remove takes a record out of the shard. The last slot takes its number.
func (sh *shard) remove(i uint32) {
	s := sh.slots.at(i)
	sh.bounds.release(1, sh.entry(i).charge())
	sh.queueOf(s).remove(&sh.slots, int(s.queued))
	sh.unlink(i)
	sh.ids.remove(s.hash, i, sh.idHash)
	sh.arena.free(s.segment, s.offset)

	if last := sh.slots.n - 1; i != last {
		*s = *sh.slots.at(last)
		sh.ids.replace(s.hash, last, i)
		(*sh.queueOf(s))[s.queued].slot = i
		sh.relink(last, i)
	}
	sh.slots.pop()
	sh.clean()
}

// clean moves what is alive out of the segment that wastes most, if the arena
// says that it is worth it, and gives the segment back: at most 64 KiB are
// moved. An entry does not know its slot, but its ID leads there; if not, or
// the slot has another entry, it is dead.
func (sh *shard) clean() {
	from := sh.arena.worst()
	if from == none {
		return
	}
	if from == sh.arena.open {
		sh.arena.seal()
	}
	used := sh.arena.segments[from].used
	for at := 0; at < used; {
		e := sh.arena.entry(from, uint16(at))
		_, hash := hashes(maphash.Bytes(sh.seed, e.id()))
		i := sh.ids.find(hash, func(i uint32) bool {
			s := sh.slots.at(i)
			return s.segment == from && int(s.offset) == at
		})
		if i != none {
			size := headerSize + e.payload()
			segment, offset, to := sh.arena.alloc(size)
			copy(to[sizeBytes:], e[sizeBytes:size])
			s := sh.slots.at(i)
			s.segment, s.offset = segment, offset
		}
		at += e.size()
	}
	sh.arena.drop(from)
}
