package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
)

func ExampleFaults() {
	faults := new(Faults)
	store := faults.Wrap(newReference())

	faults.Fail("load", errors.New("the server is down"))
	_, err := store.Load(context.Background(), "id")
	fmt.Println(err)
	fmt.Println(faults.Calls() == Calls{Load: 1})
	// Output:
	// the server is down
	// true
}

// callAll calls every operation that the store has, on a record of its own.
func callAll(ctx context.Context, store session.Store) map[string]error {
	rec := session.Record{ID: "id", Data: []byte(`{}`), Expires: time.Now().Add(time.Hour)}
	errs := make(map[string]error)
	_, errs["save"] = store.Save(ctx, &rec)
	_, errs["load"] = store.Load(ctx, rec.ID)
	if s, ok := store.(session.Toucher); ok {
		errs["touch"] = s.Touch(ctx, rec.ID, rec.Expires, rec.Expires)
	}
	if s, ok := store.(session.Lister); ok {
		_, _, errs["list"] = s.List(ctx, session.Query{Limit: 1})
	}
	if s, ok := store.(session.Sweeper); ok {
		_, errs["sweep"] = s.Sweep(ctx, rec.Created)
	}
	if s, ok := store.(session.Pinger); ok {
		errs["ping"] = s.Ping(ctx)
	}
	errs["delete"] = store.Delete(ctx, rec.ID)
	return errs
}

func TestFaultsCountsCalls(t *testing.T) {
	var faults Faults
	for op, err := range callAll(t.Context(), faults.Wrap(newReference())) {
		if err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	want := Calls{1, 1, 1, 1, 1, 1, 1}
	if got := faults.Calls(); got != want || got.Total() != 7 {
		t.Errorf("calls are %+v, want %+v", got, want)
	}
	if got := faults.ResetCalls(); got != want {
		t.Errorf("ResetCalls returned %+v, want %+v", got, want)
	}
	if got := faults.Calls(); got != (Calls{}) {
		t.Errorf("calls after ResetCalls are %+v", got)
	}
}

func TestFaultsFail(t *testing.T) {
	for op := range callAll(t.Context(), newReference()) {
		for name, order := range map[string]func(*Faults, string, error){"Fail": (*Faults).Fail, "LoseAnswer": (*Faults).LoseAnswer} {
			faults, r, fault := new(Faults), newReference(), errors.New("fault")
			store := faults.Wrap(r)
			order(faults, op, fault)
			if errs := callAll(t.Context(), store); errs[op] != fault {
				t.Errorf("%s(%q): %s returned %v", name, op, op, errs[op])
			}
			if happened := r.version > 0; op == "save" && happened != (name == "LoseAnswer") {
				t.Errorf("%s: that the save happened is %v", name, happened)
			}
			order(faults, op, nil)
			if errs := callAll(t.Context(), store); errs[op] != nil {
				t.Errorf("%s(%q, nil): %s returned %v", name, op, op, errs[op])
			}
			order(faults, op, fault)
			faults.Reset()
			if errs := callAll(t.Context(), store); errs[op] != nil {
				t.Errorf("after Reset, %s returned %v", op, errs[op])
			}
		}
	}
}

func TestFaultsUnknownOperation(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a fault of an operation that no store has is accepted")
		}
	}()
	new(Faults).Fail("insert", errDown)
}

func TestFaultsBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults Faults
		store := faults.Wrap(newReference())
		arrived, release := faults.Block("delete")
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- store.Delete(t.Context(), "id") }()
		}
		<-arrived
		<-arrived
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("a blocked operation returned")
		default:
		}
		release()
		release()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := store.Delete(t.Context(), "id"); err != nil {
			t.Error(err)
		}
	})
}

func TestFaultsWaitForContext(t *testing.T) {
	for name, order := range map[string]func(*Faults){
		"Block": func(f *Faults) { f.Block("load") },
		"Delay": func(f *Faults) { f.Delay("load", time.Hour) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var faults Faults
			order(&faults)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := faults.Wrap(newReference()).Load(ctx, "id"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestFaultsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults Faults
		faults.Delay("load", time.Second)
		began := time.Now()
		faults.Wrap(newReference()).Load(t.Context(), "id")
		if took := time.Since(began); took != time.Second {
			t.Errorf("Load took %v", took)
		}
	})
}

// TestFaultsWrapKeepsCapabilities wraps a store of every set of capabilities.
func TestFaultsWrapKeepsCapabilities(t *testing.T) {
	const optional = touching | listing | sweeping | pinging
	seen := make(map[ability]bool)
	for _, store := range capabilitySets(newReference()) {
		var faults Faults
		want := Suite{}.abilities(store) & optional
		wrapped := faults.Wrap(store)
		if got := (Suite{}).abilities(wrapped) & optional; got != want {
			t.Errorf("a wrapped store has %s\nwant %s", got.report(), want.report())
		}
		for op, err := range callAll(t.Context(), wrapped) {
			if err != nil {
				t.Errorf("%s: %v", op, err)
			}
		}
		seen[want] = true
	}
	if len(seen) != 16 {
		t.Errorf("%d sets were tested, want 16", len(seen))
	}
}

func TestFaultsWrapSaysWhereTheRecordsAre(t *testing.T) {
	for _, want := range []bool{false, true} {
		var faults Faults
		store := faults.Wrap(struct {
			session.Store
			keeper
		}{newReference(), keeper(want)})
		if got := store.(session.ParcelStore).KeepsParcels(); got != want {
			t.Errorf("KeepsParcels of a wrapped store is %v, want %v", got, want)
		}
	}
}

type keeper bool

func (k keeper) KeepsParcels() bool { return bool(k) }

func capabilitySets(r *reference) []session.Store {
	type (
		s = session.Store
		t = session.Toucher
		l = session.Lister
		w = session.Sweeper
		p = session.Pinger
	)
	return []session.Store{
		r,
		struct{ s }{r},
		struct {
			s
			t
		}{r, r},
		struct {
			s
			l
		}{r, r},
		struct {
			s
			w
		}{r, r},
		struct {
			s
			p
		}{r, r},
		struct {
			s
			t
			l
		}{r, r, r},
		struct {
			s
			t
			w
		}{r, r, r},
		struct {
			s
			t
			p
		}{r, r, r},
		struct {
			s
			l
			w
		}{r, r, r},
		struct {
			s
			l
			p
		}{r, r, r},
		struct {
			s
			w
			p
		}{r, r, r},
		struct {
			s
			t
			l
			w
		}{r, r, r, r},
		struct {
			s
			t
			l
			p
		}{r, r, r, r},
		struct {
			s
			t
			w
			p
		}{r, r, r, r},
		struct {
			s
			l
			w
			p
		}{r, r, r, r},
	}
}

func TestFaultyStoreKeepsContract(t *testing.T) {
	t.Parallel()
	TestStore(t, func(t *testing.T) session.Store { return new(Faults).Wrap(newReference()) })
}
