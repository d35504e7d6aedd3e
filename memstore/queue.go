package memstore

// A deadline is when a slot must be looked at, in Unix milliseconds. Its two
// halves stand apart because together they would pad it from 12 bytes to 16.
type deadline struct {
	high int32
	low  uint32
	slot uint32
}

func newDeadline(at int64, slot uint32) deadline {
	return deadline{high: int32(at >> 32), low: uint32(at), slot: slot}
}

func (d deadline) at() int64 { return int64(d.high)<<32 | int64(d.low) }

// A queue holds deadlines, the nearest first: a binary heap in which every
// slot knows its position. A deadline is never later than the expiry of its
// slot, but may be earlier: touching a record leaves it alone, and who finds
// it due too early puts it off. So a touch costs nothing here.
type queue []deadline

// next returns the nearest deadline, or never.
func (q queue) next() int64 {
	if len(q) == 0 {
		return never
	}
	return q[0].at()
}

func (q *queue) push(slots *slots, at int64, slot uint32) {
	*q = append(*q, newDeadline(at, slot))
	q.up(slots, len(*q)-1)
}

func (q *queue) remove(slots *slots, i int) {
	h := *q
	last := len(h) - 1
	moved := h[last]
	h = h[:last]
	if cap(h) > 64 && len(h) < cap(h)/4 {
		h = append(make(queue, 0, cap(h)/2), h...)
	}
	*q = h
	if i == last {
		return
	}
	h[i] = moved
	q.up(slots, i)
	q.down(slots, int(slots.at(moved.slot).queued))
}

// move gives the deadline at i another time.
func (q queue) move(slots *slots, i int, at int64) {
	slot := q[i].slot
	q[i] = newDeadline(at, slot)
	q.up(slots, i)
	q.down(slots, int(slots.at(slot).queued))
}

func (q queue) up(slots *slots, i int) {
	d := q[i]
	at := d.at()
	for i > 0 {
		parent := (i - 1) / 2
		if q[parent].at() <= at {
			break
		}
		q.set(slots, i, q[parent])
		i = parent
	}
	q.set(slots, i, d)
}

func (q queue) down(slots *slots, i int) {
	d := q[i]
	at := d.at()
	for {
		child := q.nearerChild(i)
		if child < 0 || q[child].at() >= at {
			break
		}
		q.set(slots, i, q[child])
		i = child
	}
	q.set(slots, i, d)
}

// nearerChild returns which child of i has the nearer deadline, or -1 if i has
// no children.
func (q queue) nearerChild(i int) int {
	left := 2*i + 1
	switch {
	case left >= len(q):
		return -1
	case left+1 < len(q) && q[left+1].at() < q[left].at():
		return left + 1
	}
	return left
}

func (q queue) set(slots *slots, i int, d deadline) {
	q[i] = d
	slots.at(d.slot).queued = uint32(i)
}
