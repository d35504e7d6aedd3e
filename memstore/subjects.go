package memstore

import "hash/maphash"

// The records of a subject in one shard are a list through their slots, whose
// first one is in an index by subject. So however many sessions a subject has,
// adding and removing one is the same work.

func (sh *shard) subjectHash(i uint32) uint32 {
	_, hash := hashes(maphash.Bytes(sh.seed, sh.entry(i).subject()))
	return hash
}

// firstOf returns the first slot of a subject, or none.
func (sh *shard) firstOf(subject string) uint32 {
	_, hash := hashes(maphash.String(sh.seed, subject))
	return sh.subjects.find(hash, func(i uint32) bool {
		return string(sh.entry(i).subject()) == subject
	})
}

// link adds a slot to the list of the subject that its entry names.
func (sh *shard) link(i uint32) {
	s := sh.slots.at(i)
	if !s.named {
		return
	}
	hash := sh.subjectHash(i)
	subject := sh.entry(i).subject()
	first := sh.subjects.find(hash, func(k uint32) bool {
		return string(sh.entry(k).subject()) == string(subject)
	})
	s.prev, s.next = none, first
	if first == none {
		sh.subjects.insert(hash, i, sh.subjectHash)
		return
	}
	sh.slots.at(first).prev = i
	sh.subjects.replace(hash, first, i)
}

// unlink takes a slot out of its list, for which its entry must still name the
// subject.
func (sh *shard) unlink(i uint32) {
	s := sh.slots.at(i)
	if !s.named {
		return
	}
	if s.next != none {
		sh.slots.at(s.next).prev = s.prev
	}
	switch {
	case s.prev != none:
		sh.slots.at(s.prev).next = s.next
	case s.next != none:
		sh.subjects.replace(sh.subjectHash(i), i, s.next)
	default:
		sh.subjects.remove(sh.subjectHash(i), i, sh.subjectHash)
	}
	s.next, s.prev = none, none
}

// relink tells the neighbours of a slot that its number is to, no longer from.
func (sh *shard) relink(from, to uint32) {
	s := sh.slots.at(to)
	if !s.named {
		return
	}
	if s.next != none {
		sh.slots.at(s.next).prev = to
	}
	if s.prev != none {
		sh.slots.at(s.prev).next = to
	} else {
		sh.subjects.replace(sh.subjectHash(to), from, to)
	}
}
