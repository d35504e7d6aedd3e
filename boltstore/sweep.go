package boltstore

import (
	"bytes"
	"context"
	"time"
)

// sweepBatch is how many records one transaction of Sweep looks at: some
// milliseconds, for which nobody else can write.
const sweepBatch = 500

// Sweep removes the records that expired before the given time. It looks only at
// those whose time in the index has come. Where none has, it writes nothing and
// takes no lock. If it is interrupted it returns how many are gone, with the
// error.
func (s *Store) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	limit := before.UnixMilli()
	if !before.Equal(time.UnixMilli(limit)) {
		limit++ // what expired within that millisecond expired before
	}
	for {
		if err := ctx.Err(); err != nil {
			return removed, failed("sweep", err)
		}
		due := false
		err := s.view(func(t *tables) error {
			due = len(t.due(limit, 1)) > 0
			return nil
		})
		if err != nil {
			return removed, failed("sweep", err)
		}
		if !due {
			return removed, nil
		}
		n := 0
		err = s.writes.do(ctx, func(t *tables) (err error) {
			n, err = t.sweep(limit)
			return err
		})
		if err != nil {
			return removed, failed("sweep", err)
		}
		removed += n
	}
}

// due returns copies of up to most keys of the expiry index that lie before the
// limit.
func (t *tables) due(limit int64, most int) (keys [][]byte) {
	table := t.table(expiry)
	if table == nil {
		return nil
	}
	c := table.Cursor()
	for key, _ := c.First(); key != nil && len(keys) < most; key, _ = c.Next() {
		if due, _ := parseExpiryKey(key); due >= limit {
			break
		}
		keys = append(keys, bytes.Clone(key))
	}
	return keys
}

// sweep removes the records of one batch that have expired, and moves the others
// to where they belong in the index.
func (t *tables) sweep(limit int64) (removed int, err error) {
	for _, key := range t.due(limit, sweepBatch) {
		t.changed = true
		due, id := parseExpiryKey(key)
		m, err := t.meta(id)
		switch {
		case err != nil || m.due != due:
			// A leftover, or a record that we cannot read: let it be.
			err = t.table(expiry).Delete(key)
		case m.expires < limit:
			removed++
			_, err = t.remove(id)
		default:
			m.due = m.expires
			if err = t.table(expiry).Delete(key); err == nil {
				err = t.table(expiry).Put(expiryKey(m.due, id), nil)
			}
			if err == nil {
				err = t.table(metas).Put(bytes.Clone(id), m.encode())
			}
		}
		if err != nil {
			return 0, err
		}
	}
	return removed, nil
}
