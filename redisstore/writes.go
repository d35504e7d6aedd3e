package redisstore

import (
	"hash/maphash"
	"sync/atomic"
)

// writes counts what this store has written, so that it does not read it from
// the cache as it was before: the message of the server that a key has changed
// may arrive a moment after the reply to the change.
//
// The count is part of the command by which a record is read, in an argument
// that does not matter. A cache knows a reply by its command, so after a write
// the record is read by a command that it does not know, once.
//
// IDs share counts, by a hash. A write so makes a few other records be read
// anew, which is all.
type writes struct{ counts [1 << 16]atomic.Uint32 }

var writesSeed = maphash.MakeSeed()

func (w *writes) add(id string) { w.count(id).Add(1) }

func (w *writes) count(id string) *atomic.Uint32 {
	return &w.counts[maphash.String(writesSeed, id)%uint64(len(w.counts))]
}

// wholeValue is the end of a range that ends beyond the end of any value: they
// have less than 2^29 bytes.
const wholeValue = 1 << 30

// end returns such an end that differs after every write.
func (w *writes) end(id string) int64 {
	return wholeValue + int64(w.count(id).Load()%wholeValue)
}
