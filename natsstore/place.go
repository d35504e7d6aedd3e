package natsstore

import (
	"context"
	"time"
)

// The index of a subject is a key for each of its records, its place. A place may
// be without its record, but no record is without its place:
//
//   - The place is written before the record.
//   - It is good for longer than the record lives. Whoever would make the record
//     outlive it writes it anew first. Until when it is good, its cover, stands in
//     the record.
//   - Delete, and a save that changes the subject, leave it. A list that comes upon
//     it removes it, if it is not so new that the record may still be on its way.
//     Nobody else does, and it ends by itself.
const (
	// placeLasts is for how much longer than its record a place is good when it
	// is written. A longer time saves writing, a shorter one leaves less behind.
	placeLasts = time.Hour

	// newcomer is how long a place without a record is taken for one whose record
	// is on its way. It allows for clocks that differ.
	newcomer = 5 * time.Minute
)

// places sees to the place of one record while that is written.
type places struct {
	store   *Store
	id      string
	until   int64 // the cover of what was written
	written time.Time
}

// cover returns until when the record that is to be written upon the base has a
// place, and writes that first if need be.
func (p *places) cover(ctx context.Context, base *sighting, v *value) (until int64, err error) {
	switch {
	case v.subject == "":
		return 0, nil
	case base.subject == v.subject && base.cover >= v.expires:
		return base.cover, nil
	case p.until >= v.expires:
		return p.until, nil
	}
	return p.write(ctx, v)
}

func (p *places) write(ctx context.Context, v *value) (until int64, err error) {
	began := p.store.opts.Now()
	end := time.UnixMilli(v.expires).Add(placeLasts)
	key := placeKey(v.subject, p.id)
	var t try
	for {
		_, err := p.store.link.put(ctx, &t, key, nil, nil, nil, p.store.opts.ttl(end))
		if err == nil {
			p.until, p.written = end.UnixMilli(), began
			return p.until, nil
		}
		if err != errNoAnswer {
			return 0, err
		}
		if err := t.pause(ctx, err); err != nil {
			return 0, err
		}
	}
}

// settle is called when the record was written. If that took so long that a list
// may have found the place empty, and removed it, it is written again.
func (p *places) settle(ctx context.Context, v *value) error {
	if p.written.IsZero() || p.store.opts.Now().Sub(p.written) < newcomer/2 {
		return nil
	}
	_, err := p.write(ctx, v)
	return err
}
