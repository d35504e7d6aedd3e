package memstore

import (
	"encoding/binary"
	"math/bits"
)

// An entry is the bytes of one record: a header, the ID, the subject, the
// data, and room to spare.
type entry []byte

// The header of an entry: its size and the length of its data (four bytes
// each), the lengths of its ID and subject (one each).
const (
	sizeBytes  = 4
	headerSize = 10
)

// maxData keeps the size of an entry well within its four bytes.
const maxData = 1 << 30

func entrySize(id, subject string, data []byte) int {
	return headerSize + len(id) + len(subject) + len(data)
}

func (e entry) size() int     { return int(binary.LittleEndian.Uint32(e)) }
func (e entry) id() []byte    { return e[headerSize : headerSize+int(e[8])] }
func (e entry) payload() int  { return int(e[8]) + int(e[9]) + e.dataLen() }
func (e entry) dataLen() int  { return int(binary.LittleEndian.Uint32(e[sizeBytes:])) }
func (e entry) charge() int64 { return perRecord + int64(e.payload()) }

func (e entry) subject() []byte {
	from := headerSize + int(e[8])
	return e[from : from+int(e[9])]
}

func (e entry) data() []byte {
	from := headerSize + int(e[8]) + int(e[9])
	return e[from : from+e.dataLen()]
}

// fill writes all but the size.
func (e entry) fill(id, subject string, data []byte) {
	binary.LittleEndian.PutUint32(e[sizeBytes:], uint32(len(data)))
	e[8], e[9] = byte(len(id)), byte(len(subject))
	n := headerSize
	n += copy(e[n:], id)
	n += copy(e[n:], subject)
	copy(e[n:], data)
}

// A segment is a block of memory that entries are written into one after the
// other, and that is given back as a whole.
type segment struct {
	buf  []byte
	used int // bytes written
	live int // bytes of entries that are in use
}

const (
	minSegment = 4 << 10
	maxSegment = 64 << 10 // slot.offset has 16 bits

	// An entry larger than largeEntry has a segment for itself. So at most
	// that much is left over at the end of the others.
	largeEntry = maxSegment / 8

	// tolerableWaste is what a shard may waste before segments are cleaned.
	tolerableWaste = 16 << 10
)

// An arena keeps the entries of a shard. Entries are appended to the open
// segment; the space of freed ones comes back when the rest of their segment
// has been moved elsewhere (see shard.clean). Thereby no more than about a
// quarter is wasted, whatever sizes come and go, which free lists by size
// could not promise.
type arena struct {
	segments []segment
	vacant   []uint32 // numbers in segments that are not in use
	open     uint32   // the segment to append to, or none
	held     int      // bytes of all segments
	live     int      // bytes of all entries in use
}

func newArena() arena { return arena{open: none} }

func (a *arena) entry(segment uint32, offset uint16) entry {
	e := entry(a.segments[segment].buf[offset:])
	return e[:e.size()]
}

// alloc returns a new entry of which only the size is written.
func (a *arena) alloc(size int) (segment uint32, offset uint16, e entry) {
	switch {
	case size > largeEntry:
		segment = a.add(size)
	case a.open != none && a.segments[a.open].used+size <= len(a.segments[a.open].buf):
		segment = a.open
	default:
		a.seal()
		// Segments grow with the shard, so that a small one stays small.
		fair := 1 << bits.Len(uint(a.live/2))
		segment = a.add(min(max(minSegment, fair, size), maxSegment))
		a.open = segment
	}
	s := &a.segments[segment]
	at := s.used
	s.used += size
	s.live += size
	a.live += size
	e = entry(s.buf[at : at+size])
	binary.LittleEndian.PutUint32(e, uint32(size))
	return segment, uint16(at), e
}

// free gives up an entry.
func (a *arena) free(segment uint32, offset uint16) {
	size := a.entry(segment, offset).size()
	s := &a.segments[segment]
	s.live -= size
	a.live -= size
	switch {
	case s.live > 0:
	case segment == a.open && len(s.buf) == minSegment:
		s.used = 0
	default:
		a.drop(segment)
	}
}

// seal closes the open segment.
func (a *arena) seal() {
	if a.open == none {
		return
	}
	was := a.open
	a.open = none
	if a.segments[was].live == 0 {
		a.drop(was)
	}
}

func (a *arena) add(size int) uint32 {
	a.held += size
	s := segment{buf: make([]byte, size)}
	if last := len(a.vacant) - 1; last >= 0 {
		n := a.vacant[last]
		a.vacant = a.vacant[:last]
		a.segments[n] = s
		return n
	}
	a.segments = append(a.segments, s)
	return uint32(len(a.segments) - 1)
}

// drop gives a segment back, with all that is in it.
func (a *arena) drop(n uint32) {
	if n == a.open {
		a.open = none
	}
	a.held -= len(a.segments[n].buf)
	a.live -= a.segments[n].live
	a.segments[n] = segment{}
	if a.held == 0 {
		a.segments, a.vacant = nil, nil
		return
	}
	a.vacant = append(a.vacant, n)
}

// wasted returns how many bytes of a segment nothing can be written to. The
// rest of the open one is no waste yet.
func (a *arena) wasted(n uint32) int {
	s := &a.segments[n]
	if n == a.open {
		return s.used - s.live
	}
	return len(s.buf) - s.live
}

// worst returns the segment to clean, or none if too little is wasted for the
// work of it. What it returns is wasted to an eighth at least, so each byte
// that is moved gains a seventh of a byte or more.
func (a *arena) worst() uint32 {
	waste := a.held - a.live
	if a.open != none {
		waste -= len(a.segments[a.open].buf) - a.segments[a.open].used
	}
	if waste <= tolerableWaste || waste <= a.held/4 {
		return none
	}
	worst, most := none, 0
	for n := range a.segments {
		if w := a.wasted(uint32(n)); w > most && w >= len(a.segments[n].buf)/8 {
			worst, most = uint32(n), w
		}
	}
	return worst
}
