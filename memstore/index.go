package memstore

// An index finds slots by a hash: a table with open addressing and linear
// probing. A cell is the top eight bits of the hash and 24 bits of slot number
// plus one, so it takes four bytes, and of 256 cells that belong to others one
// makes us look at the slot in vain. A cell of zero is empty.
//
// The index does not know the hashes of its slots; who changes it brings a
// function that does.
type index struct {
	cells []uint32
	count int
}

const minCells = 8

func cellOf(hash, slot uint32) uint32 { return hash&^maxSlots | (slot + 1) }

func slotOf(cell uint32) uint32 { return cell&maxSlots - 1 }

// find returns the first slot with that hash for which match holds, or none.
func (x *index) find(hash uint32, match func(slot uint32) bool) uint32 {
	if x.count == 0 {
		return none
	}
	mask := uint32(len(x.cells) - 1)
	for p := hash & mask; ; p = (p + 1) & mask {
		cell := x.cells[p]
		if cell == 0 {
			return none
		}
		if (cell^hash)&^maxSlots == 0 && match(slotOf(cell)) {
			return slotOf(cell)
		}
	}
}

// insert adds a slot that is not in the index.
func (x *index) insert(hash, slot uint32, hashOf func(slot uint32) uint32) {
	if x.count+1 > len(x.cells)/8*7 {
		x.resize(max(minCells, 2*len(x.cells)), hashOf)
	}
	x.put(hash, slot)
	x.count++
}

func (x *index) put(hash, slot uint32) {
	mask := uint32(len(x.cells) - 1)
	p := hash & mask
	for x.cells[p] != 0 {
		p = (p + 1) & mask
	}
	x.cells[p] = cellOf(hash, slot)
}

// replace gives the cell of the slot from to the slot to of the same hash.
func (x *index) replace(hash, from, to uint32) {
	x.cells[x.position(hash, from)] = cellOf(hash, to)
}

// remove takes a slot that is in the index out of it.
func (x *index) remove(hash, slot uint32, hashOf func(slot uint32) uint32) {
	mask := uint32(len(x.cells) - 1)
	hole := x.position(hash, slot)
	// Whoever would no longer be found from its home across the hole moves
	// into it, so there are no tombstones that pile up.
	for p := (hole + 1) & mask; x.cells[p] != 0; p = (p + 1) & mask {
		home := hashOf(slotOf(x.cells[p])) & mask
		if (p-home)&mask >= (p-hole)&mask {
			x.cells[hole] = x.cells[p]
			hole = p
		}
	}
	x.cells[hole] = 0
	x.count--
	if len(x.cells) > minCells && x.count < len(x.cells)/8 {
		x.resize(len(x.cells)/2, hashOf)
	}
}

// position returns where the cell of a slot is that is in the index.
func (x *index) position(hash, slot uint32) uint32 {
	mask := uint32(len(x.cells) - 1)
	want := cellOf(hash, slot)
	p := hash & mask
	for x.cells[p] != want {
		p = (p + 1) & mask
	}
	return p
}

func (x *index) resize(size int, hashOf func(slot uint32) uint32) {
	old := x.cells
	x.cells = make([]uint32, size)
	for _, cell := range old {
		if cell != 0 {
			x.put(hashOf(slotOf(cell)), slotOf(cell))
		}
	}
}
