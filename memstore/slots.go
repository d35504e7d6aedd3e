package memstore

// none is the number of no slot.
const none = ^uint32(0)

// maxSlots is the most records of a shard: an index has 24 bits for a number.
const maxSlots = 1<<24 - 1

// A slot is what a shard knows of one record beside the bytes in its entry. It
// holds no pointer, so the garbage collector does not look at it, and it is 56
// bytes large.
type slot struct {
	version                    uint64
	created, lastSeen, expires int64  // Unix milliseconds
	hash                       uint32 // of the ID
	segment                    uint32 // where the entry is: its segment,
	offset                     uint16 // and its first byte there
	named                      bool   // whether the record has a subject
	queued                     uint32 // position in the queue
	next, prev                 uint32 // neighbours of the same subject, or none
}

// pageSlots slots fill the 4096 bytes that the allocator has a size for.
const pageSlots = 73

// slots are the records of a shard, numbered from zero without gaps: when one
// goes the last takes its number. So a shard that shrinks gives its pages
// back, and a record only ever moves to a lower number, on which listing
// relies. Pages, and not one slice, so that growing copies nothing.
type slots struct {
	pages []*[pageSlots]slot
	n     uint32
}

func (s *slots) at(i uint32) *slot { return &s.pages[i/pageSlots][i%pageSlots] }

// push adds a slot at the end.
func (s *slots) push() uint32 {
	i := s.n
	if i/pageSlots == uint32(len(s.pages)) {
		s.pages = append(s.pages, new([pageSlots]slot))
	}
	s.n++
	return i
}

// pop removes the slot at the end.
func (s *slots) pop() {
	s.n--
	*s.at(s.n) = slot{}
	// One empty page stays, lest a shard that goes up and down by one record
	// allocates each time.
	if last := len(s.pages) - 1; last > 0 && s.n <= uint32(last-1)*pageSlots {
		s.pages[last] = nil
		s.pages = s.pages[:last]
	}
}
