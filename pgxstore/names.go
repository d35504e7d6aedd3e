package pgxstore

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// A name is what a notification calls a record: the first half of the SHA-256 of
// its ID.
type name [sha256.Size / 2]byte

func nameOf(id string) name {
	sum := sha256.Sum256([]byte(id))
	return name(sum[:])
}

// maxNames is how many IDs are remembered for a Watch, which takes some 25 MB.
const maxNames = 1 << 18

// names are the IDs that were loaded during a Watch and have not been reported as
// changed since. Whoever watches can have copies of these and of no others, so
// these are what a notification must be put back into.
//
// When there are too many, all are forgotten, and that is reported as a change of
// any record. Nobody needs to be asked which copies there are still.
type names struct {
	max int

	mu     sync.Mutex
	ids    map[name]string
	forgot bool // since forgotten was called
}

// add notes an ID. It must be called before the record is read: what is changed
// before the name is known was changed before the read, which sees it.
func (n *names) add(key name, id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.ids) >= n.max {
		clear(n.ids)
		n.forgot = true
	}
	if n.ids == nil {
		n.ids = make(map[name]string)
	}
	n.ids[key] = id
}

// take returns the ID with the name, in hexadecimal, and forgets it: who reads the
// record again notes it again. It returns false if nobody can have a copy.
func (n *names) take(text string) (id string, ok bool) {
	var key name
	if len(text) != hex.EncodedLen(len(key)) {
		return "", false // anybody may notify, of anything
	}
	if _, err := hex.Decode(key[:], []byte(text)); err != nil {
		return "", false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	id, ok = n.ids[key]
	delete(n.ids, key)
	return id, ok
}

// forgotten reports whether IDs were forgotten without take since it was last
// called.
func (n *names) forgotten() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	forgot := n.forgot
	n.forgot = false
	return forgot
}

// watches are the names of all Watches that go on.
type watches struct {
	mu   sync.RWMutex
	open map[*names]bool
}

func (w *watches) begin() *names {
	n := &names{max: maxNames}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = make(map[*names]bool)
	}
	w.open[n] = true
	return n
}

func (w *watches) end(n *names) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, n)
}

// loading is called before a record is read.
func (w *watches) loading(id string) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.open) == 0 {
		return
	}
	key := nameOf(id)
	for n := range w.open {
		n.add(key, id)
	}
}
