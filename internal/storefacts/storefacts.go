// Package storefacts finds out by trying what a store can do, for the table of
// docs/stores.md. The tests of stores call it beside the conformance suite, and
// scripts/test compares the table with what they have found:
//
//	suite.Run(t)
//	storefacts.Measure(t, "sqlstore PostgreSQL", storefacts.Network, suite)
//
// The facts of a run are left in the folder that the environment variable
// SESSION_STORE_FACTS names, one file for each call. Without it they are found
// out all the same, so that the test is always the same, and forgotten.
package storefacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sessiontest"
)

// Folder is the environment variable that names the folder for the facts.
const Folder = "SESSION_STORE_FACTS"

// Facts are what was found out of one store. A field that is nil was not
// measured by this call: Measure and Turns fill different ones.
type Facts struct {
	Store string

	Shared         *Reach // whether others see a record, and how far away they may be
	Survives       *bool  // a record is there after the program was started again
	Lists          *bool  // by subject, and all
	Revokes        *bool  // whoever deletes a record ends the session for everybody
	CompareAndSwap *Swap  // of those who save the same version at once one succeeds
	Touches        *bool  // life is extended without the data being written
	Sweeps         *bool  // expired records are removed when asked

	// Round trips to the server of one load, one save and one touch.
	Load, Save, Touch *int
}

// A Reach is how far away those may be with whom a store is shared.
type Reach string

const (
	Process Reach = "no"
	Machine Reach = "one machine"
	Network Reach = "yes"
)

// A Swap is among whom the comparison of Save holds.
type Swap string

const (
	NoSwap         Swap = "no"
	SwapInProcess  Swap = "in one process"
	SwapEverywhere Swap = "yes"
)

// Measure finds out what the store of a conformance suite can do, and reports
// it under the name that the table has for the store. That a peer sees a record
// is found out; where such a peer may be, the caller knows.
func Measure(t *testing.T, store string, reach Reach, s sessiontest.Suite) {
	t.Helper()
	t.Run("facts", func(t *testing.T) { report(t, probe(t, store, reach, s)) })
}

// Turns reports how many round trips to the server were counted.
func Turns(t *testing.T, store string, load, save, touch int) {
	t.Helper()
	report(t, Facts{Store: store, Load: &load, Save: &save, Touch: &touch})
}

func report(t *testing.T, f Facts) {
	t.Helper()
	dir := os.Getenv(Folder)
	if dir == "" || t.Failed() {
		return
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.NewReplacer("/", "_", " ", "_").Replace(t.Name()+" "+f.Store) + ".json"
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func probe(t *testing.T, name string, reach Reach, s sessiontest.Suite) Facts {
	f := Facts{Store: name}
	ctx := t.Context()
	store := s.New(t)
	other := store // as another process has it, if there can be one
	if s.Peer != nil {
		other = s.Peer(t, store)
	}
	rec := record(s.Layout, "1")
	rec.Version = save(t, store, rec)

	_, err := other.Load(ctx, rec.ID)
	if s.Peer == nil || err != nil {
		reach = Process
	}
	f.Shared = &reach

	f.CompareAndSwap = swaps(t, s.Layout, store, other, rec.Version)

	f.Lists = fact(lists(t, other, rec))

	toucher, ok := store.(session.Toucher)
	f.Touches = fact(ok && toucher.Touch(ctx, rec.ID, rec.LastSeen.Add(time.Minute), rec.Expires.Add(time.Minute)) == nil)

	if s.Reopen != nil {
		store = s.Reopen(t, store)
		if other, err = store, nil; s.Peer != nil {
			other = s.Peer(t, store)
		}
		_, err = store.Load(ctx, rec.ID)
	}
	f.Survives = fact(s.Reopen != nil && err == nil)

	_, _ = other.Load(ctx, rec.ID) // who has read it may have a copy
	if err := store.Delete(ctx, rec.ID); err != nil {
		t.Fatal(err)
	}
	f.Revokes = fact(false)
	for began := time.Now(); !*f.Revokes && time.Since(began) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
		_, err = other.Load(ctx, rec.ID) // a cache may need a moment
		f.Revokes = fact(errors.Is(err, session.ErrNotFound))
	}

	f.Sweeps = fact(false)
	if sweeper, ok := store.(session.Sweeper); ok {
		old := record(s.Layout, "4")
		save(t, store, old)
		n, err := sweeper.Sweep(ctx, old.Expires.Add(time.Hour))
		f.Sweeps = fact(n == 1 && err == nil)
	}
	return f
}

func fact(b bool) *bool { return &b }

// swaps lets many save the same version at once, in several rounds: in this process
// alone, and then with another. It begins with the version that the record has.
func swaps(t *testing.T, l sessiontest.Layout, store, other session.Store, version uint64) *Swap {
	const savers, rounds = 8, 40
	found := SwapEverywhere
	for i, peers := range [][2]session.Store{{store, store}, {store, other}} {
		for round := range rounds {
			versions := make([]uint64, savers)
			var wg sync.WaitGroup
			start := make(chan struct{})
			for n := range savers {
				rec := record(l, fmt.Sprintf("[%d,%d,%d]", i, round, n))
				rec.Version = version
				wg.Go(func() {
					<-start
					v, err := peers[n%2].Save(t.Context(), &rec)
					if err != nil && !errors.Is(err, session.ErrConflict) {
						t.Error(err)
					}
					versions[n] = v
				})
			}
			close(start)
			wg.Wait()
			won := 0
			for _, v := range versions {
				if v != 0 {
					won++
				}
			}
			if won > 1 && i == 0 {
				found = NoSwap
				return &found
			}
			if won > 1 {
				found = SwapInProcess
				return &found
			}
			rec, err := store.Load(t.Context(), record(l, "").ID)
			if err != nil {
				t.Fatal(err)
			}
			version = rec.Version
		}
	}
	return &found
}

func record(l sessiontest.Layout, value string) session.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	rec := session.Record{
		ID: "facts", Subject: "alice", Data: []byte(`{"v":` + value + `}`),
		Created: now, LastSeen: now, Expires: now.Add(24 * time.Hour),
	}
	if l.Data != nil {
		rec.Data = l.Data(rec.Data, rec.Subject)
	}
	if l.NoSubject {
		rec.Subject = ""
	}
	return rec
}

func save(t *testing.T, store session.Store, rec session.Record) (version uint64) {
	t.Helper()
	version, err := store.Save(t.Context(), &rec)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// lists reports whether the store finds the record by its subject.
func lists(t *testing.T, store session.Store, rec session.Record) bool {
	lister, ok := store.(session.Lister)
	if !ok || rec.Subject == "" {
		return false
	}
	q := session.Query{Subject: rec.Subject, Limit: 10}
	for {
		page, next, err := lister.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range page {
			if found.ID == rec.ID {
				return true
			}
		}
		if next == "" {
			return false
		}
		q.Cursor = next
	}
}
