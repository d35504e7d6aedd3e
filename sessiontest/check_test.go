package sessiontest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/coatcheck/session"
)

func TestCheckStore(t *testing.T) {
	t.Parallel()
	r := newReference()
	other := session.Record{ID: "somebody's", Data: []byte(`{}`)}
	if _, err := r.Save(t.Context(), &other); err != nil {
		t.Fatal(err)
	}
	if err := CheckStore(t.Context(), r); err != nil {
		t.Error(err)
	}
	if len(r.records) != 1 {
		t.Errorf("%d records are left, want the one that was there", len(r.records))
	}
}

func TestCheckStoreNeitherListsAllNorSweeps(t *testing.T) {
	t.Parallel()
	h := hook(newReference())
	var faults Faults
	list := h.list
	h.list = func(ctx context.Context, q session.Query) ([]session.Record, string, error) {
		if q.Subject == "" && ctx.Err() == nil {
			t.Error("List of all")
		}
		return list(ctx, q)
	}
	faults.Before("sweep", func(ctx context.Context) error {
		if ctx.Err() == nil {
			t.Error("Sweep")
		}
		return nil
	})
	if err := CheckStore(t.Context(), faults.Wrap(h)); err != nil {
		t.Error(err)
	}
}

func TestCheckStoreFindsDefect(t *testing.T) {
	t.Parallel()
	r := newReference()
	h := hook(r)
	saveAnyway(func(old, _ *session.Record) bool { return old == nil })(r, h)
	err := CheckStore(t.Context(), h)
	if err == nil || !strings.Contains(err.Error(), "save-deleted: the rule: Save of a record that was deleted") {
		t.Errorf("a store that resurrects: %v", err)
	}
	if len(r.records) != 0 {
		t.Errorf("%d records are left", len(r.records))
	}
}

func TestCheckStoreStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var faults Faults
	r := newReference()
	faults.After("save", func(context.Context) error { cancel(); return nil })
	if err := CheckStore(ctx, faults.Wrap(r)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one that wraps context.Canceled", err)
	}
	if len(r.records) != 0 {
		t.Errorf("%d records are left", len(r.records))
	}
}

func TestCheckStoreDown(t *testing.T) {
	t.Parallel()
	r := newReference()
	r.outage()
	err := CheckStore(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "may be left: reference: delete: server is down") {
		t.Errorf("a store that is down: %v", err)
	}
}
