package sessiontest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// A hooked store is a reference whose methods a defect replaces.
type hooked struct {
	load   func(ctx context.Context, id string) (session.Record, error)
	save   func(ctx context.Context, rec *session.Record) (uint64, error)
	delete func(ctx context.Context, id string) error
	touch  func(ctx context.Context, id string, lastSeen, expires time.Time) error
	list   func(ctx context.Context, q session.Query) ([]session.Record, string, error)
	sweep  func(ctx context.Context, before time.Time) (int, error)
	ping   func(ctx context.Context) error
	close  func() error
	reopen func() session.Store
	peer   session.Store
	outage func() (mend func())
}

func hook(r *reference) *hooked {
	return &hooked{
		r.Load, r.Save, r.Delete, r.Touch, r.List, r.Sweep, r.Ping, r.Close,
		func() session.Store { return r.again() }, r.again(), r.outage,
	}
}

func (h *hooked) Load(ctx context.Context, id string) (session.Record, error) { return h.load(ctx, id) }
func (h *hooked) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	return h.save(ctx, rec)
}
func (h *hooked) Delete(ctx context.Context, id string) error { return h.delete(ctx, id) }
func (h *hooked) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	return h.touch(ctx, id, lastSeen, expires)
}
func (h *hooked) List(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	return h.list(ctx, q)
}
func (h *hooked) Sweep(ctx context.Context, before time.Time) (int, error) {
	return h.sweep(ctx, before)
}
func (h *hooked) Ping(ctx context.Context) error { return h.ping(ctx) }
func (h *hooked) Close() error                   { return h.close() }

// A defect is one way to break the contract.
type defect struct {
	name string
	// fails are the cases that must fail, and may those that chance or the
	// scheduler lets fail too. All others must pass, unless the defect cascades:
	// it breaks what most cases rely on.
	fails, may []string
	cascades   bool
	apply      func(r *reference, h *hooked)
}

// TestSuiteBites proves of every defect that the suite finds it, and calls it by
// its name.
func TestSuiteBites(t *testing.T) {
	results := make([]map[string]error, len(defects))
	var wg sync.WaitGroup
	some := make(chan struct{}, 4) // the cases wait more than they work
	for i, d := range defects {
		some <- struct{}{}
		wg.Go(func() {
			results[i] = failures(d.apply)
			<-some
		})
	}
	wg.Wait()

	caught := make(map[string]bool)
	for i, d := range defects {
		for _, name := range d.fails {
			caught[name] = true
		}
		t.Run(d.name, func(t *testing.T) {
			failed := results[i]
			for _, name := range d.fails {
				if failed[name] == nil {
					failed[name] = again(name, d.apply, 20)
				}
				if failed[name] == nil {
					t.Errorf("%s passes, and should not", name)
				} else if !strings.Contains(failed[name].Error(), "the rule: ") {
					t.Errorf("%s does not say its rule", name)
				}
			}
			if d.cascades {
				return
			}
			for name, err := range failed {
				if !slices.Contains(d.fails, name) && !slices.Contains(d.may, name) && again(name, d.apply, 1) != nil {
					t.Errorf("%s should pass: %v", name, err)
				}
			}
		})
	}
	for _, c := range allCases() {
		if !caught[c.name] && c.name != "id-refused" {
			t.Errorf("no defect proves that %s can fail", c.name)
		}
	}
}

// failures runs the whole suite on references with the defect and returns what
// failed.
func failures(apply func(*reference, *hooked)) map[string]error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	failed := make(map[string]error)
	for _, c := range allCases() {
		wg.Go(func() {
			if err := runBroken(c, apply); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[c.name] = err
			}
		})
	}
	wg.Wait()
	return failed
}

func cases(names string) []string { return strings.Fields(names) }

// gap gives others time to come between two steps that should have been one.
func gap() { time.Sleep(50 * time.Microsecond) }

var defects = []defect{
	// Save and Load.
	{name: "missing record is another error", fails: cases("load-missing"), cascades: true, apply: func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			if errors.Is(err, session.ErrNotFound) {
				err = errors.New("load: no such record")
			}
			return rec, err
		}
	}},
	{name: "missing record is an empty record", fails: cases("load-missing"), cascades: true, apply: func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			if errors.Is(err, session.ErrNotFound) {
				err = nil
			}
			return rec, err
		}
	}},
	{name: "created is lost on update", fails: cases("round-trip"), cascades: true, apply: changeSaved(func(old, rec *session.Record) {
		if old != nil {
			rec.Created = old.Created.Add(time.Hour)
		}
	})},
	{name: "version is zero", fails: cases("version-never-zero"), cascades: true, apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			_, err := r.Save(ctx, rec)
			return 0, err
		}
	}},
	{name: "unchanged save keeps its version", fails: cases("save-changes-version"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			old, err := r.Load(ctx, rec.ID)
			if err == nil && old.Version == rec.Version && old.Subject == rec.Subject && bytes.Equal(old.Data, rec.Data) &&
				old.Expires.Equal(rec.Expires) && old.LastSeen.Equal(rec.LastSeen) && old.Created.Equal(rec.Created) {
				return old.Version, nil
			}
			return r.Save(ctx, rec)
		}
	}},
	{name: "insert overwrites", fails: cases("insert-exists concurrent-insert concurrent-mixed linearizable"), apply: saveAnyway(func(old, rec *session.Record) bool {
		return old != nil && rec.Version == 0
	}), may: cases("expired-whole")},
	{name: "stale save overwrites", fails: cases("save-stale recreated-id-has-fresh-version subject-change peer-sees concurrent-save concurrent-cas concurrent-mixed linearizable touch-then-save"),
		may: cases("expired-whole"), apply: saveAnyway(func(old, rec *session.Record) bool { return old != nil && rec.Version != 0 })},
	{name: "save resurrects", fails: cases("save-deleted concurrent-save-delete concurrent-mixed linearizable sweep"),
		may: cases("reopen peer-sees"), apply: saveAnyway(func(old, rec *session.Record) bool { return old == nil })},
	{name: "compare and set are two steps", fails: cases("concurrent-insert concurrent-save concurrent-cas concurrent-save-delete linearizable"),
		apply: func(r *reference, h *hooked) {
			h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
				old, err := r.Load(ctx, rec.ID)
				if err != nil && !errors.Is(err, session.ErrNotFound) {
					return r.Save(ctx, rec)
				}
				if old.Version != rec.Version {
					return 0, fmt.Errorf("save: %w", session.ErrConflict)
				}
				gap()
				r.mu.Lock()
				defer r.mu.Unlock()
				return r.put(*rec), nil
			}
		}},
	{name: "versions begin again with each record", fails: cases("recreated-id-has-fresh-version"), may: cases("concurrent-mixed"),
		apply: func(r *reference, h *hooked) {
			h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
				if err := r.lock(ctx); err != nil {
					return r.Save(ctx, rec)
				}
				r.version = r.records[rec.ID].Version
				r.mu.Unlock()
				return r.Save(ctx, rec)
			}
		}},
	{name: "conflict is another error", fails: cases("insert-exists save-stale save-deleted"), cascades: true, apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			version, err := r.Save(ctx, rec)
			if errors.Is(err, session.ErrConflict) {
				err = errors.New("save: conflict")
			}
			return version, err
		}
	}},
	{name: "refused save moves the expiry", fails: cases("insert-exists save-stale"), may: cases("concurrent-mixed linearizable expired-whole reopen"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			version, err := r.Save(ctx, rec)
			if errors.Is(err, session.ErrConflict) {
				r.change(rec.ID, func(old *session.Record) { old.Expires = rec.Expires })
			}
			return version, err
		}
	}},
	{name: "delete of nothing fails", fails: cases("delete-missing id-case concurrent-mixed list-stable linearizable"), apply: func(r *reference, h *hooked) {
		h.delete = func(ctx context.Context, id string) error {
			if _, err := r.Load(ctx, id); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			return r.Delete(ctx, id)
		}
	}},
	{name: "delete takes the subject's other sessions too", fails: cases("delete-gone"), may: cases("list-stable list-deleted concurrent-mixed ctx-cancelled ctx-deadline"), apply: func(r *reference, h *hooked) {
		h.delete = func(ctx context.Context, id string) error {
			rec, err := r.Load(ctx, id)
			if err == nil && rec.Subject != "" {
				_, err := r.sweepWhere(ctx, func(other session.Record) bool { return other.Subject == rec.Subject })
				return err
			}
			return r.Delete(ctx, id)
		}
	}},
	{name: "save keeps the caller's slice", fails: cases("no-alias-save"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			version, err := r.Save(ctx, rec)
			if err == nil {
				r.change(rec.ID, func(kept *session.Record) { kept.Data = rec.Data })
			}
			return version, err
		}
	}},
	{name: "save sets the caller's version", fails: cases("no-alias-save"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			version, err := r.Save(ctx, rec)
			if err == nil {
				rec.Version = version
			}
			return version, err
		}
	}},
	{name: "load returns the store's slice", fails: cases("no-alias-load"), apply: func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			r.change(id, func(kept *session.Record) { rec.Data = kept.Data })
			return rec, err
		}
	}},

	// Data.
	{name: "JSON is compacted", fails: cases("binary-values binary-values-update"), apply: changeSaved(func(_, rec *session.Record) {
		var b bytes.Buffer
		if json.Compact(&b, rec.Data) == nil {
			rec.Data = b.Bytes()
		}
	})},
	{name: "JSON passes through a decoder", fails: cases("binary-values binary-values-update"), may: cases("large errors-keep-secrets"), apply: changeSaved(func(_, rec *session.Record) {
		var v any
		if json.Unmarshal(rec.Data, &v) == nil {
			rec.Data, _ = json.Marshal(v)
		}
	})},
	{name: "shorter data keeps the end of longer", fails: cases("binary-values-update"), cascades: true, apply: changeSaved(func(old, rec *session.Record) {
		if old != nil && len(old.Data) > len(rec.Data) {
			rec.Data = append(bytes.Clone(rec.Data), old.Data[len(rec.Data):]...)
		}
	})},
	{name: "only objects are data", fails: cases("binary-values binary-values-update pointer-record"), apply: changeSaved(func(_, rec *session.Record) {
		if rec.Data[0] == '[' {
			rec.Data = []byte("{}")
		}
	})},
	{name: "data is cut at 64 KiB", fails: cases("large"), apply: changeSaved(func(_, rec *session.Record) {
		rec.Data = rec.Data[:min(len(rec.Data), 1<<16-1)]
	})},
	{name: "too large is another error", fails: cases("large"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			if len(rec.Data) > 1<<16 {
				return 0, errors.New("save: packet too big")
			}
			return r.Save(ctx, rec)
		}
	}},

	// IDs and subjects.
	{name: "IDs are compared without case", fails: cases("id-alphabet id-case"), apply: changeID(strings.ToLower)},
	{name: "IDs end before trailing spaces", fails: cases("id-alphabet id-case"), apply: changeID(func(id string) string { return "x" + strings.TrimRight(id, " ") })},
	{name: "IDs are cut at 127 bytes", fails: cases("id-alphabet id-case"), apply: changeID(func(id string) string { return id[:min(len(id), 127)] })},
	{name: "subject stays as first saved", fails: cases("subject subject-change concurrent-mixed"), may: cases("save-stale"), apply: changeSaved(func(old, rec *session.Record) {
		if old != nil {
			rec.Subject = old.Subject
		}
	})},
	{name: "subject cannot be cleared", fails: cases("subject subject-change concurrent-mixed"), apply: changeSaved(func(old, rec *session.Record) {
		if old != nil && rec.Subject == "" {
			rec.Subject = old.Subject
		}
	})},

	// Times.
	{name: "times are whole seconds", fails: cases("times"), cascades: true, apply: changeSaved(func(_, rec *session.Record) {
		rec.Created, rec.LastSeen, rec.Expires = rec.Created.Truncate(time.Second), rec.LastSeen.Truncate(time.Second), rec.Expires.Truncate(time.Second)
	})},
	{name: "times are 32 bits", fails: cases("times"), may: cases("zero-times touch-monotonic"), apply: changeSaved(func(_, rec *session.Record) {
		if last := time.Unix(1<<31-1, 0).UTC(); rec.Expires.After(last) {
			rec.Expires = last
		}
	})},
	{name: "times are local", fails: cases("times round-trip"), cascades: true, apply: changeLoaded(func(rec *session.Record) {
		rec.Created = rec.Created.In(time.FixedZone("here", 3600))
	})},
	{name: "zero time is 1970", fails: cases("zero-times"), apply: changeLoaded(func(rec *session.Record) {
		if rec.Created.IsZero() {
			rec.Created = time.Unix(0, 0).UTC()
		}
	})},
	{name: "record goes 100 ms early", fails: cases("not-early"), apply: dropWhen(func(rec session.Record) time.Time {
		return rec.Expires.Add(-100 * time.Millisecond)
	})},
	{name: "expired record loses its data", fails: cases("expired-whole"), may: cases("touch-expired not-early"), apply: changeLoaded(func(rec *session.Record) {
		if rec.Expires.Before(time.Now()) {
			rec.Data = nil
		}
	})},
	{name: "first save sets the timer", fails: cases("expiry-extend expired-whole"), apply: timers(false, true)},
	{name: "touch does not move the timer", fails: cases("touch-outlives"), may: cases("touch-expired"), apply: timers(true, false)},
	{name: "save never moves the expiry back", fails: cases("expiry-shorten sweep-extended touch-then-save concurrent-mixed"), apply: changeSaved(func(old, rec *session.Record) {
		if old != nil {
			rec.Expires = later(rec.Expires, old.Expires)
		}
	})},

	// Touch.
	{name: "touch moves the expiry only", fails: cases("touch touch-monotonic touch-expired list-touched concurrent-touch concurrent-mixed reopen peer-sees"), apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, _, expires time.Time) error {
			return r.Touch(ctx, id, time.Time{}, expires)
		}
	}},
	{name: "touch moves back", fails: cases("touch-monotonic concurrent-mixed"), may: cases("concurrent-touch"), apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			err := r.Touch(ctx, id, lastSeen, expires)
			if err == nil {
				r.change(id, func(rec *session.Record) { rec.LastSeen, rec.Expires = lastSeen, expires })
			}
			return err
		}
	}},
	{name: "touch compares and sets in two steps", fails: cases("concurrent-touch"), apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			rec, err := r.Load(ctx, id)
			if err != nil {
				return r.Touch(ctx, id, lastSeen, expires)
			}
			gap()
			r.change(id, func(kept *session.Record) {
				kept.LastSeen, kept.Expires = later(rec.LastSeen, lastSeen), later(rec.Expires, expires)
			})
			return nil
		}
	}, may: cases("linearizable")},
	{name: "touch rewrites the record", fails: cases("concurrent-touch-save"), may: cases("concurrent-touch linearizable"), apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			rec, err := r.Load(ctx, id)
			if err != nil {
				return r.Touch(ctx, id, lastSeen, expires)
			}
			gap()
			rec.LastSeen, rec.Expires = later(rec.LastSeen, lastSeen), later(rec.Expires, expires)
			r.change(id, func(kept *session.Record) { *kept = rec })
			return nil
		}
	}},
	{name: "touch changes the version", fails: cases("touch touch-then-save"), cascades: true, apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			err := r.Touch(ctx, id, lastSeen, expires)
			r.change(id, func(rec *session.Record) { r.version++; rec.Version = r.version })
			return err
		}
	}},
	{name: "touch recreates", fails: cases("touch-missing concurrent-touch-delete concurrent-mixed linearizable"), apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			err := r.Touch(ctx, id, lastSeen, expires)
			if !errors.Is(err, session.ErrNotFound) {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.put(session.Record{ID: id, Data: []byte(`{}`), LastSeen: lastSeen, Expires: expires})
			return nil
		}
	}},
	{name: "touch recreates what is deleted meanwhile", fails: cases("concurrent-touch-delete"), may: cases("linearizable concurrent-touch concurrent-touch-save"), apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			rec, err := r.Load(ctx, id)
			if err != nil {
				return r.Touch(ctx, id, lastSeen, expires)
			}
			gap()
			r.mu.Lock()
			defer r.mu.Unlock()
			if now, ok := r.records[id]; ok {
				rec = now
			}
			rec.LastSeen, rec.Expires = later(rec.LastSeen, lastSeen), later(rec.Expires, expires)
			r.records[id] = rec
			return nil
		}
	}},
	{name: "touch of nothing succeeds", fails: cases("touch-missing concurrent-mixed linearizable"), apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			if err := r.Touch(ctx, id, lastSeen, expires); !errors.Is(err, session.ErrNotFound) {
				return err
			}
			return nil
		}
	}},
	{name: "touch of an expired record halves it", fails: cases("touch-expired"), apply: func(r *reference, h *hooked) {
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			r.change(id, func(rec *session.Record) {
				if rec.Expires.Before(time.Now()) {
					rec.Subject = ""
				}
			})
			return r.Touch(ctx, id, lastSeen, expires)
		}
	}},

	// List.
	{name: "list leaves anonymous records out", fails: cases("list-all list-many list-stable list-odd-cursor concurrent-list sweep"), apply: func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			return r.listWhere(ctx, q, func(rec session.Record) bool {
				return rec.Subject != "" && (q.Subject == "" || rec.Subject == q.Subject)
			})
		}
	}},
	{name: "list skips a record between pages", fails: cases("list-all list-many list-deleted list-subject list-subject-pages list-stable concurrent-list"), apply: func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			page, next, err := r.List(ctx, q)
			if next != "" {
				q.Cursor, q.Limit = next, 1
				if skipped, _, err := r.List(ctx, q); err == nil && len(skipped) > 0 {
					next = skipped[0].ID
				}
			}
			return page, next, err
		}
	}},
	{name: "list has one page", fails: cases("list-all list-many list-deleted list-subject list-subject-pages list-stable concurrent-list"), apply: func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			page, _, err := r.List(ctx, q)
			return page, "", err
		}
	}},
	{name: "list exceeds the limit", fails: cases("list-all"), cascades: true, apply: func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			q.Limit++
			return r.List(ctx, q)
		}
	}},
	{name: "list goes by position", fails: cases("list-stable"), may: cases("concurrent-list"), apply: func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			offset := 0
			fmt.Sscanf(q.Cursor, "%d", &offset)
			offset = max(offset, 0)
			limit := q.Limit
			q.Cursor, q.Limit = "", 1<<30
			all, _, err := r.List(ctx, q)
			if err != nil {
				return nil, "", err
			}
			all = all[min(offset, len(all)):]
			if len(all) <= limit {
				return all, "", nil
			}
			return all[:limit], fmt.Sprint(offset + limit), nil
		}
	}},
	{name: "list has no versions", fails: cases("list-all list-many list-deleted list-subject list-subject-pages subject-change list-touched no-alias-list list-odd-cursor peer-sees concurrent-list sweep"),
		apply: changeListed(func(rec *session.Record) { rec.Version = 0 }), may: cases("list-stable")},
	{name: "list returns the store's slice", fails: cases("no-alias-list"), apply: func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			page, next, err := r.List(ctx, q)
			for i := range page {
				r.change(page[i].ID, func(kept *session.Record) { page[i].Data = kept.Data })
			}
			return page, next, err
		}
	}},
	{name: "list matches the beginning of a subject", fails: cases("list-subject list-subject-pages"), apply: listSubject(strings.HasPrefix)},
	{name: "list compares subjects without case", fails: cases("list-subject"), apply: listSubject(strings.EqualFold)},
	{name: "list matches a pattern", fails: cases("list-subject"), apply: listSubject(func(subject, asked string) bool {
		return subject == asked || subject != "" && strings.HasSuffix(asked, "%") && strings.HasPrefix(subject, strings.TrimSuffix(asked, "%"))
	})},
	{name: "list of a subject keeps those that left it", fails: cases("subject-change"), apply: func(r *reference, h *hooked) {
		var mu sync.Mutex
		once := make(map[[2]string]bool)
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			version, err := r.Save(ctx, rec)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				once[[2]string{rec.ID, rec.Subject}] = true
			}
			return version, err
		}
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			mu.Lock()
			defer mu.Unlock()
			return r.listWhere(ctx, q, func(rec session.Record) bool {
				return q.Subject == "" || once[[2]string{rec.ID, q.Subject}]
			})
		}
	}},
	{name: "list shows what is deleted", fails: cases("list-deleted subject-change peer-sees"), may: cases("list-stable concurrent-list"), apply: func(r *reference, h *hooked) {
		var mu sync.Mutex
		gone := make(map[string]session.Record)
		h.delete = func(ctx context.Context, id string) error {
			if rec, err := r.Load(ctx, id); err == nil {
				mu.Lock()
				gone[id] = rec
				mu.Unlock()
			}
			return r.Delete(ctx, id)
		}
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			page, next, err := r.List(ctx, q)
			mu.Lock()
			defer mu.Unlock()
			for _, rec := range gone {
				if len(page) < q.Limit && (q.Subject == "" || q.Subject == rec.Subject) {
					page = append(page, rec)
				}
			}
			return page, next, err
		}
	}},
	{name: "list panics at an odd cursor", fails: cases("list-odd-cursor errors-keep-secrets errors-name-operation"), apply: func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			if q.Cursor != "" && len(q.Cursor) != 43 {
				panic("odd cursor")
			}
			return r.List(ctx, q)
		}
	}},
	{name: "list does not see a touch", fails: cases("list-touched"), may: cases("peer-sees list-stable concurrent-list"), apply: func(r *reference, h *hooked) {
		var mu sync.Mutex
		saved := make(map[string]session.Record)
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			version, err := r.Save(ctx, rec)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				saved[rec.ID] = *rec
			}
			return version, err
		}
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			page, next, err := r.List(ctx, q)
			mu.Lock()
			defer mu.Unlock()
			for i, rec := range page {
				page[i].LastSeen, page[i].Expires = saved[rec.ID].LastSeen, saved[rec.ID].Expires
			}
			return page, next, err
		}
	}},

	// Sweep.
	{name: "sweep removes all", fails: cases("sweep sweep-expired sweep-many sweep-extended sweep-spares-touched"), may: cases("ctx-cancelled ctx-deadline"), apply: func(r *reference, h *hooked) {
		h.sweep = func(ctx context.Context, _ time.Time) (int, error) {
			return r.sweepWhere(ctx, func(session.Record) bool { return true })
		}
	}},
	{name: "sweep removes what expires at that moment", fails: cases("sweep"), apply: func(r *reference, h *hooked) {
		h.sweep = func(ctx context.Context, before time.Time) (int, error) {
			return r.sweepWhere(ctx, func(rec session.Record) bool { return !rec.Expires.After(before) })
		}
	}},
	{name: "sweep removes nothing", fails: cases("sweep sweep-expired sweep-many sweep-extended"), apply: func(r *reference, h *hooked) {
		h.sweep = func(ctx context.Context, _ time.Time) (int, error) {
			return r.sweepWhere(ctx, func(session.Record) bool { return false })
		}
	}},
	{name: "sweep counts wrongly", fails: cases("sweep sweep-expired sweep-many sweep-extended sweep-spares-touched"), apply: func(r *reference, h *hooked) {
		h.sweep = func(ctx context.Context, before time.Time) (int, error) {
			n, err := r.Sweep(ctx, before)
			return n + 1, err
		}
	}},
	{name: "sweep does one batch", fails: cases("sweep-many"), apply: func(r *reference, h *hooked) {
		h.sweep = func(ctx context.Context, before time.Time) (int, error) {
			n := 0
			return r.sweepWhere(ctx, func(rec session.Record) bool {
				if !rec.Expires.Before(before) || n == 100 {
					return false
				}
				n++
				return true
			})
		}
	}},
	{name: "sweep goes by the first expiry", fails: cases("sweep-extended"), apply: sweepByIndex(false, true)},
	{name: "sweep does not see a touch", fails: cases("sweep-spares-touched"), apply: sweepByIndex(true, false)},

	// Context and errors.
	{name: "context is ignored", fails: cases("ctx-cancelled ctx-deadline"), apply: func(r *reference, h *hooked) {
		h.delete = func(ctx context.Context, id string) error { return r.Delete(context.WithoutCancel(ctx), id) }
	}},
	{name: "cancellation is another error", fails: cases("ctx-cancelled ctx-cancelled-midway"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			if ctx.Err() == nil {
				gap()
				time.Sleep(100 * time.Microsecond)
			}
			version, err := r.Save(ctx, rec)
			if errors.Is(err, context.Canceled) {
				err = errors.New("save: operation was interrupted")
			}
			return version, err
		}
	}},
	{name: "deadline is another error", fails: cases("ctx-deadline"), apply: func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			if errors.Is(err, context.DeadlineExceeded) {
				err = errors.New("load: i/o timeout")
			}
			return rec, err
		}
	}},
	{name: "cancelled load says not found", fails: cases("ctx-cancelled ctx-deadline"), apply: func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			if err != nil && ctx.Err() != nil {
				err = fmt.Errorf("load: %w: %w", session.ErrNotFound, err)
			}
			return rec, err
		}
	}},
	{name: "cancelled save writes half", fails: cases("ctx-cancelled ctx-deadline"), may: cases("ctx-cancelled-midway"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			version, err := r.Save(ctx, rec)
			if ctx.Err() != nil {
				r.change(rec.ID, func(kept *session.Record) { kept.Data = bytes.Clone(rec.Data) })
			}
			return version, err
		}
	}},
	{name: "cancelled save forgets the version", fails: cases("ctx-cancelled-midway"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			if ctx.Err() == nil {
				gap()
				time.Sleep(100 * time.Microsecond)
				if err := ctx.Err(); err != nil {
					r.change(rec.ID, func(kept *session.Record) { kept.Data, kept.LastSeen = bytes.Clone(rec.Data), rec.LastSeen })
				}
			}
			return r.Save(ctx, rec)
		}
	}},
	{name: "error contains the ID", fails: cases("errors-keep-secrets"), apply: changeError(func(rec *session.Record, err error) error {
		return fmt.Errorf("save %q: %w", rec.ID, err)
	})},
	{name: "error contains the subject", fails: cases("errors-keep-secrets"), apply: changeError(func(rec *session.Record, err error) error {
		return fmt.Errorf("save of %s: %w", rec.Subject, err)
	})},
	{name: "error contains the data", fails: cases("errors-keep-secrets"), apply: changeError(func(rec *session.Record, err error) error {
		return fmt.Errorf("save %s: %w", rec.Data, err)
	})},
	{name: "error does not name the operation", fails: cases("errors-name-operation"), apply: func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			if errors.Is(err, session.ErrNotFound) {
				err = session.ErrNotFound
			}
			return rec, err
		}
	}},

	// Life.
	{name: "ping fails", fails: cases("ping"), apply: func(r *reference, h *hooked) {
		h.ping = func(ctx context.Context) error {
			if err := r.Ping(ctx); err != nil {
				return err
			}
			return errors.New("ping: unexpected answer")
		}
	}},
	{name: "second close fails", fails: cases("close-idempotent"), apply: func(r *reference, h *hooked) {
		once := make(chan struct{}, 1)
		h.close = func() error {
			select {
			case once <- struct{}{}:
				return nil
			default:
				return errors.New("close: closed already")
			}
		}
	}},
	{name: "second close panics", fails: cases("close-idempotent"), apply: func(r *reference, h *hooked) {
		closed := make(chan struct{})
		h.close = func() error { close(closed); return nil }
	}},
	{name: "nothing outlives the store", fails: cases("reopen"), apply: func(r *reference, h *hooked) {
		h.reopen = func() session.Store {
			fresh := newReference()
			fresh.version = r.version
			return fresh
		}
	}},
	{name: "versions begin again with the store", fails: cases("reopen-fresh-version"), apply: func(r *reference, h *hooked) {
		h.reopen = func() session.Store {
			r.version = 0
			return r.again()
		}
	}},
	{name: "processes cache", fails: cases("peer-sees"), apply: func(r *reference, h *hooked) {
		other := hook(r)
		var mu sync.Mutex
		cache := make(map[string]session.Record)
		other.load = func(ctx context.Context, id string) (session.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			if rec, ok := cache[id]; ok {
				return rec, nil
			}
			rec, err := r.Load(ctx, id)
			if err == nil {
				cache[id] = rec
			}
			return rec, err
		}
		h.peer = other
	}},
	{name: "outage looks like a missing record", fails: cases("outage"), apply: func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			if errors.Is(err, errDown) {
				err = fmt.Errorf("load: %w", session.ErrNotFound)
			}
			return rec, err
		}
	}},
	{name: "failure is remembered", fails: cases("outage"), apply: func(r *reference, h *hooked) {
		var mu sync.Mutex
		var first error
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			if first != nil {
				return session.Record{}, first
			}
			rec, err := r.Load(ctx, id)
			if errors.Is(err, errDown) {
				first = err
			}
			return rec, err
		}
	}},

	// Concurrency.
	{name: "save writes version and data in two steps", fails: cases("linearizable"), may: cases("concurrent-save concurrent-cas concurrent-save-delete concurrent-insert"), apply: func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			old, err := r.Load(ctx, rec.ID)
			first := *rec
			if err == nil {
				first.Data = old.Data
			} else {
				first.Data = []byte(`{"n":-1}`)
			}
			version, err := r.Save(ctx, &first)
			if err == nil {
				gap()
				r.change(rec.ID, func(kept *session.Record) {
					if kept.Version == version {
						kept.Data = bytes.Clone(rec.Data)
					}
				})
			}
			return version, err
		}
	}},
	{name: "list misses what others push aside", fails: cases("concurrent-list"), may: cases("list-stable"), apply: func(r *reference, h *hooked) {
		var mu sync.Mutex
		deletes := 0
		h.delete = func(ctx context.Context, id string) error {
			mu.Lock()
			deletes++
			mu.Unlock()
			return r.Delete(ctx, id)
		}
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			mu.Lock()
			before := deletes
			mu.Unlock()
			page, next, err := r.List(ctx, q)
			gap()
			mu.Lock()
			defer mu.Unlock()
			if deletes > before && len(page) > 0 {
				page = page[1:]
			}
			return page, next, err
		}
	}},
}

// change changes a stored record in place.
func (r *reference) change(id string, f func(rec *session.Record)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec, ok := r.records[id]; ok {
		f(&rec)
		r.records[id] = rec
	}
}

// changeSaved stores something else than what is given. Old is what is replaced.
func changeSaved(f func(old, rec *session.Record)) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			changed := *rec
			if old, err := r.Load(context.WithoutCancel(ctx), rec.ID); err == nil {
				f(&old, &changed)
			} else {
				f(nil, &changed)
			}
			return r.Save(ctx, &changed)
		}
	}
}

func changeLoaded(f func(rec *session.Record)) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			if err == nil {
				f(&rec)
			}
			return rec, err
		}
	}
}

func changeListed(f func(rec *session.Record)) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			page, next, err := r.List(ctx, q)
			for i := range page {
				f(&page[i])
			}
			return page, next, err
		}
	}
}

func changeError(f func(rec *session.Record, err error) error) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			version, err := r.Save(ctx, rec)
			if err != nil {
				err = f(rec, err)
			}
			return version, err
		}
	}
}

// saveAnyway saves without comparing where when says so.
func saveAnyway(when func(old, rec *session.Record) bool) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			if err := r.lock(ctx); err != nil {
				return 0, fmt.Errorf("save: %w", err)
			}
			var old *session.Record
			if rec, ok := r.records[rec.ID]; ok {
				old = &rec
			}
			if when(old, rec) {
				defer r.mu.Unlock()
				return r.put(*rec), nil
			}
			r.mu.Unlock()
			return r.Save(ctx, rec)
		}
	}
}

// changeID stores records under another key.
func changeID(key func(id string) string) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, key(id))
			rec.ID = id
			return rec, err
		}
		h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
			keyed := *rec
			keyed.ID = key(rec.ID)
			version, err := r.Save(ctx, &keyed)
			if err == nil {
				r.change(keyed.ID, func(kept *session.Record) { kept.ID = rec.ID })
			}
			return version, err
		}
		h.delete = func(ctx context.Context, id string) error { return r.Delete(ctx, key(id)) }
		h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
			return r.Touch(ctx, key(id), lastSeen, expires)
		}
		h.reopen = func() session.Store {
			again := hook(r.again())
			changeID(key)(r, again)
			return again
		}
		h.peer = h
	}
}

// dropWhen drops records by the clock.
func dropWhen(end func(rec session.Record) time.Time) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		h.load = func(ctx context.Context, id string) (session.Record, error) {
			rec, err := r.Load(ctx, id)
			if err == nil && time.Now().After(end(rec)) {
				return session.Record{}, fmt.Errorf("load: %w", session.ErrNotFound)
			}
			return rec, err
		}
	}
}

// An expiryIndex keeps the expiry of records a second time.
type expiryIndex struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (x *expiryIndex) set(id string, expires time.Time, again bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.at[id]; !ok || again {
		x.at[id] = expires
	}
}

func (x *expiryIndex) get(rec session.Record) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if expires, ok := x.at[rec.ID]; ok {
		return expires
	}
	return rec.Expires
}

// index keeps an expiryIndex that an update or a touch may forget.
func index(h *hooked, saves, touches bool) *expiryIndex {
	x := &expiryIndex{at: make(map[string]time.Time)}
	save, touch := h.save, h.touch
	h.save = func(ctx context.Context, rec *session.Record) (uint64, error) {
		version, err := save(ctx, rec)
		if err == nil {
			x.set(rec.ID, rec.Expires, saves || rec.Version == 0)
		}
		return version, err
	}
	h.touch = func(ctx context.Context, id string, lastSeen, expires time.Time) error {
		err := touch(ctx, id, lastSeen, expires)
		if err == nil {
			x.set(id, later(expires, x.get(session.Record{ID: id})), touches)
		}
		return err
	}
	return x
}

func timers(saves, touches bool) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		dropWhen(index(h, saves, touches).get)(r, h)
	}
}

func sweepByIndex(saves, touches bool) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		x := index(h, saves, touches)
		h.sweep = func(ctx context.Context, before time.Time) (int, error) {
			return r.sweepWhere(ctx, func(rec session.Record) bool { return x.get(rec).Before(before) })
		}
	}
}

func listSubject(match func(subject, asked string) bool) func(*reference, *hooked) {
	return func(r *reference, h *hooked) {
		h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
			return r.listWhere(ctx, q, func(rec session.Record) bool {
				return q.Subject == "" || match(rec.Subject, q.Subject)
			})
		}
	}
}

// runBroken runs one case on a reference with the defect.
func runBroken(c testCase, apply func(*reference, *hooked)) error {
	r := newReference()
	h := hook(r)
	apply(r, h)
	rec := new(recorder)
	e, cancel := newEnv(context.Background(), rec, h, Layout{})
	defer cancel()
	e.thrift = 2
	e.peer = h.peer
	if c.needs&peering == 0 {
		e.peer = nil // so that every operation goes through the defect
	}
	e.reopen = func(session.Store) session.Store { return h.reopen() }
	e.outage = func(session.Store) func() { return h.outage() }
	return rec.run(c, e)
}

// again runs a case alone, up to the given number of times, until it fails. All
// defects together keep a small machine so busy that a race may not happen, or
// a deadline pass that has nothing to do with the defect.
func again(name string, apply func(*reference, *hooked), times int) (err error) {
	for _, c := range allCases() {
		for range times {
			if c.name == name && err == nil {
				err = runBroken(c, apply)
			}
		}
	}
	return err
}
