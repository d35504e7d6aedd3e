package sessiontest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coatcheck/session"
)

// A reference is the simplest store that keeps the contract: a map and a mutex.
// Several share a disk, as processes do.
type reference struct{ *disk }

type disk struct {
	mu      sync.Mutex
	records map[string]session.Record
	version uint64
	down    bool
}

func newReference() *reference {
	return &reference{&disk{records: make(map[string]session.Record)}}
}

var errDown = errors.New("server is down")

// lock begins an operation.
func (r *reference) lock(ctx context.Context) error {
	r.mu.Lock()
	err := ctx.Err()
	if err == nil && r.down {
		err = errDown
	}
	if err != nil {
		r.mu.Unlock()
	}
	return err
}

func (r *reference) Load(ctx context.Context, id string) (session.Record, error) {
	if err := r.lock(ctx); err != nil {
		return session.Record{}, fmt.Errorf("reference: load: %w", err)
	}
	defer r.mu.Unlock()
	rec, ok := r.records[id]
	if !ok {
		return session.Record{}, fmt.Errorf("reference: load: %w", session.ErrNotFound)
	}
	rec.Data = bytes.Clone(rec.Data)
	return rec, nil
}

func (r *reference) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	if err := r.lock(ctx); err != nil {
		return 0, fmt.Errorf("reference: save: %w", err)
	}
	defer r.mu.Unlock()
	if r.records[rec.ID].Version != rec.Version {
		return 0, fmt.Errorf("reference: save: %w", session.ErrConflict)
	}
	return r.put(*rec), nil
}

// put stores the record unconditionally and returns its version.
func (r *reference) put(rec session.Record) uint64 {
	r.version++
	rec.Version = r.version
	rec.Data = bytes.Clone(rec.Data)
	r.records[rec.ID] = rec
	return rec.Version
}

func (r *reference) Delete(ctx context.Context, id string) error {
	if err := r.lock(ctx); err != nil {
		return fmt.Errorf("reference: delete: %w", err)
	}
	defer r.mu.Unlock()
	delete(r.records, id)
	return nil
}

func (r *reference) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	if err := r.lock(ctx); err != nil {
		return fmt.Errorf("reference: touch: %w", err)
	}
	defer r.mu.Unlock()
	rec, ok := r.records[id]
	if !ok {
		return fmt.Errorf("reference: touch: %w", session.ErrNotFound)
	}
	rec.LastSeen, rec.Expires = later(rec.LastSeen, lastSeen), later(rec.Expires, expires)
	r.records[id] = rec
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (r *reference) List(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	return r.listWhere(ctx, q, func(rec session.Record) bool {
		return q.Subject == "" || rec.Subject == q.Subject
	})
}

// listWhere lists in the order of the IDs; the cursor is the last one.
func (r *reference) listWhere(ctx context.Context, q session.Query, keep func(session.Record) bool) ([]session.Record, string, error) {
	if err := r.lock(ctx); err != nil {
		return nil, "", fmt.Errorf("reference: list: %w", err)
	}
	defer r.mu.Unlock()
	var page []session.Record
	for _, rec := range slices.SortedFunc(maps.Values(r.records), byID) {
		if rec.ID <= q.Cursor || !keep(rec) {
			continue
		}
		if len(page) == q.Limit {
			return page, page[len(page)-1].ID, nil
		}
		rec.Data = bytes.Clone(rec.Data)
		page = append(page, rec)
	}
	return page, "", nil
}

func byID(a, b session.Record) int { return cmp.Compare(a.ID, b.ID) }

func (r *reference) Sweep(ctx context.Context, before time.Time) (int, error) {
	return r.sweepWhere(ctx, func(rec session.Record) bool { return rec.Expires.Before(before) })
}

func (r *reference) sweepWhere(ctx context.Context, goes func(session.Record) bool) (int, error) {
	if err := r.lock(ctx); err != nil {
		return 0, fmt.Errorf("reference: sweep: %w", err)
	}
	defer r.mu.Unlock()
	n := len(r.records)
	maps.DeleteFunc(r.records, func(_ string, rec session.Record) bool { return goes(rec) })
	return n - len(r.records), nil
}

func (r *reference) Ping(ctx context.Context) error {
	if err := r.lock(ctx); err != nil {
		return fmt.Errorf("reference: ping: %w", err)
	}
	r.mu.Unlock()
	return nil
}

func (r *reference) Close() error { return nil }

// again opens the disk of the reference once more.
func (r *reference) again() *reference { return &reference{r.disk} }

// outage makes the disk fail.
func (r *reference) outage() (mend func()) {
	set := func(down bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.down = down
	}
	set(true)
	return func() { set(false) }
}
