package sessiontest

import (
	"bytes"
	"time"

	"github.com/coatcheck/session"
)

var saveCases = []testCase{{
	name: "load-missing",
	rule: "Load of an ID that is not in the store is an error that wraps ErrNotFound.",
	live: true,
	run: func(e *env) {
		e.wantMissing(e.newID())
	},
}, {
	name: "round-trip",
	rule: "Load returns every field as it was saved.",
	live: true,
	run: func(e *env) {
		first, second := e.recordOf("user-1"), e.record()
		e.save(&first)
		e.save(&second)
		e.wantStored(first)
		e.wantStored(second)

		e.setCount(&first, 1)
		first.Created = first.Created.Add(time.Second)
		first.LastSeen = first.LastSeen.Add(time.Second)
		first.Expires = first.Expires.Add(time.Second)
		e.save(&first)
		e.wantStored(first)
		e.wantStored(second)
	},
}, {
	name: "version-never-zero",
	rule: "Save returns the version that the record has now, which is not zero, and Load returns the same.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		for n := range 5 {
			e.setCount(&rec, n)
			e.save(&rec)
			if rec.Version == 0 {
				e.Fatalf("Save number %d returned version 0", n+1)
			}
			if got := e.load(rec.ID).Version; got != rec.Version {
				e.Fatalf("Load returns version %d after Save returned %d", got, rec.Version)
			}
		}
	},
}, {
	name: "save-changes-version",
	rule: "Every Save gives the record a version that it did not have before, also one that changes nothing.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		seen := make(map[uint64]bool)
		for n := range 20 {
			if !e.layout.ContentVersion {
				n /= 2 // every other Save repeats what is there
			}
			e.setCount(&rec, n)
			e.save(&rec)
			if seen[rec.Version] {
				e.Fatalf("Save returned version %d, which the record had before", rec.Version)
			}
			seen[rec.Version] = true
		}
	},
}, {
	name: "insert-exists",
	rule: "Save with version zero of an ID that is in the store wraps ErrConflict and changes nothing.",
	live: true,
	run: func(e *env) {
		rec := e.recordOf("user-1")
		e.save(&rec)
		other := e.recordOf("user-2")
		other.ID = rec.ID
		e.setCount(&other, 1)
		other.Expires = rec.Expires.Add(time.Hour)
		e.wantConflict(other)
		e.wantStored(rec)
	},
}, {
	name: "save-stale",
	rule: "Save with a version that the record no longer has wraps ErrConflict and changes nothing.",
	live: true,
	run: func(e *env) {
		rec := e.recordOf("user-1")
		e.save(&rec)
		stale := rec
		e.setCount(&rec, 1)
		e.save(&rec)

		e.setSubject(&stale, "user-2")
		e.setCount(&stale, 2)
		stale.Expires = stale.Expires.Add(time.Hour)
		e.wantConflict(stale)
		e.wantStored(rec)

		stale.Version = rec.Version + 1
		e.wantConflict(stale)
		stale.Version = ^rec.Version
		e.wantConflict(stale)
		e.wantStored(rec)
	},
}, {
	name: "save-deleted",
	rule: "Save of a record that was deleted since it was loaded wraps ErrConflict and does not bring it back.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		e.delete(rec.ID)
		e.setCount(&rec, 1)
		e.wantConflict(rec)
		e.wantMissing(rec.ID)

		never := e.record()
		never.Version = 1
		e.wantConflict(never)
		e.wantMissing(never.ID)
	},
}, {
	name: "recreated-id-has-fresh-version",
	rule: "A record made anew under a deleted ID has none of the versions of its predecessor, so whoever loaded that one cannot overwrite it.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		var old []session.Record
		for n := range 3 {
			e.setCount(&rec, n)
			e.save(&rec)
			old = append(old, rec)
		}
		e.delete(rec.ID)

		rec.Version = 0
		for n := range 3 {
			e.setCount(&rec, 10+n)
			e.save(&rec)
			for _, stale := range old {
				e.wantConflict(stale)
			}
			e.wantStored(rec)
		}
	},
}, {
	name: "delete-missing",
	rule: "Delete of an ID that is not in the store is not an error.",
	live: true,
	run: func(e *env) {
		e.delete(e.newID())
		rec := e.record()
		e.save(&rec)
		e.delete(rec.ID)
		e.delete(rec.ID)
	},
}, {
	name: "delete-gone",
	rule: "After Delete the record, and no other, is not found, and its ID is free.",
	live: true,
	run: func(e *env) {
		rec, other := e.recordOf("user-1"), e.recordOf("user-1")
		e.save(&rec)
		e.save(&other)
		e.delete(rec.ID)
		e.wantMissing(rec.ID)
		e.wantStored(other)

		rec.Version = 0
		e.setCount(&rec, 1)
		e.save(&rec)
		e.wantStored(rec)
	},
}, {
	name: "no-alias-save",
	rule: "Save keeps neither rec nor rec.Data: what the caller does to them later does not reach the store.",
	live: true,
	run: func(e *env) {
		want := e.recordOf("user-1")
		given := want
		given.Data = bytes.Clone(want.Data)
		version, err := e.store.Save(e.ctx, &given)
		if err != nil {
			e.Fatalf("Save: %v", err)
		}
		if !bytes.Equal(given.Data, want.Data) || given.Version != 0 || given.ID != want.ID {
			e.Errorf("Save changed the record that it was given")
		}
		want.Version = version
		scribble(&given)
		e.wantStored(want)

		given = want
		given.Data = bytes.Clone(want.Data)
		if want.Version, err = e.store.Save(e.ctx, &given); err != nil {
			e.Fatalf("Save: %v", err)
		}
		scribble(&given)
		e.wantStored(want)
	},
}, {
	name: "no-alias-load",
	rule: "The caller owns what Load returns: changing it changes nothing in the store, and no later operation changes it.",
	live: true,
	run: func(e *env) {
		rec := e.recordOf("user-1")
		e.save(&rec)
		first, second := e.load(rec.ID), e.load(rec.ID)
		scribble(&first)
		e.wantSame(second, rec)
		e.wantStored(rec)

		kept, want := e.load(rec.ID), rec
		for n := range 5 {
			e.setCount(&rec, n+1)
			e.save(&rec)
		}
		e.delete(rec.ID)
		e.wantSame(kept, want)
	},
}}

// scribble overwrites everything that a record holds.
func scribble(rec *session.Record) {
	full := rec.Data[:cap(rec.Data)]
	for i := range full {
		full[i] = '!'
	}
	*rec = session.Record{ID: "scribbled", Data: full, Version: ^rec.Version}
}
