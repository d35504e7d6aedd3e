package multistore

import (
	"context"
	"errors"
	"slices"

	"github.com/coatcheck/session"
)

// List lists the authority. A listing must begin again when the other store has
// become the authority since it began.
func (s *Store) List(ctx context.Context, q session.Query) (records []session.Record, next string, err error) {
	r, leave, err := s.read(ctx, "list")
	if err != nil {
		return nil, "", err
	}
	defer leave()
	a := r.authority
	if q.Cursor != "" {
		name, cursor, ok := cutCursor(q.Cursor)
		switch {
		case !ok:
			return nil, "", errors.New("multistore: list: the cursor is not one that List returned")
		case name != a.name:
			return nil, "", errors.New("multistore: list: the cursor is of the store that was the authority before; begin again")
		}
		q.Cursor = cursor
	}
	records, next, err = a.store.List(ctx, q)
	if err != nil {
		return nil, "", a.failed("list", err)
	}
	records = slices.DeleteFunc(records, func(rec session.Record) bool { return s.isRecord(rec.ID) })
	for i := range records {
		records[i].Version = a.outward(records[i].Version)
	}
	if next != "" {
		next = a.name + ":" + next
	}
	return records, next, nil
}

// cutCursor returns the name of the store and the cursor of it.
func cutCursor(cursor string) (name, rest string, ok bool) {
	for _, name := range []string{"old:", "new:"} {
		if len(cursor) > len(name) && cursor[:len(name)] == name {
			return name[:len(name)-1], cursor[len(name):], true
		}
	}
	return "", "", false
}
