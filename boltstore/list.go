package boltstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"

	"github.com/coatcheck/session"
)

// checkEvery is after how many records List looks at its context.
const checkEvery = 256

// List returns a page of records in the order of their IDs. It sees the database
// at one moment; a record of a subject is found by an index.
func (s *Store) List(ctx context.Context, q session.Query) (records []session.Record, next string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", failed("list", err)
	}
	if q.Limit < 1 {
		return nil, "", failed("list", errors.New("the limit must be at least 1"))
	}
	if len(q.Subject) > maxSubject {
		return nil, "", nil
	}
	after, err := parseCursor(q.Cursor)
	if err != nil {
		return nil, "", failed("list", err)
	}
	err = s.view(func(t *tables) error {
		records, next, err = t.list(ctx, q, after)
		return err
	})
	if err != nil {
		return nil, "", failed("list", err)
	}
	return records, next, nil
}

// list goes through the IDs of all records, or of one subject, after an ID.
func (t *tables) list(ctx context.Context, q session.Query, after []byte) (records []session.Record, next string, err error) {
	ids, prefix := t.table(metas), []byte(nil)
	if q.Subject != "" {
		ids, prefix = t.table(subjects), subjectKey(q.Subject, nil)
	}
	if ids == nil {
		return nil, "", nil
	}
	start := append(bytes.Clone(prefix), after...)
	c := ids.Cursor()
	key, _ := c.Seek(start)
	if len(after) > 0 && bytes.Equal(key, start) {
		key, _ = c.Next()
	}
	for ; bytes.HasPrefix(key, prefix) && key != nil; key, _ = c.Next() {
		if len(records) == q.Limit {
			return records, cursorAfter(records[q.Limit-1].ID), nil
		}
		rec, err := t.record(key[len(prefix):])
		switch {
		case errors.Is(err, session.ErrNotFound) || errors.Is(err, errDamaged):
			continue // it must not keep us from the others
		case err != nil:
			return nil, "", err
		case q.Subject != "" && rec.Subject != q.Subject:
			continue
		}
		records = append(records, rec)
		if len(records)%checkEvery == 0 && ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
	}
	return records, "", nil
}

// A cursor is the ID of the last record of a page.
func cursorAfter(id string) string { return base64.RawURLEncoding.EncodeToString([]byte(id)) }

func parseCursor(cursor string) ([]byte, error) {
	id, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(id) > maxID {
		return nil, errors.New("the cursor is not one that List returned")
	}
	return id, nil
}
