package sessiontest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coatcheck/session"
)

var listCases = []testCase{{
	name:  "list-all",
	rule:  "List with an empty Subject returns every record, anonymous or not, whole and with its version, and no page exceeds the limit.",
	needs: listing,
	run: func(e *env) {
		e.wantList("", nil, 10)
		var all []session.Record
		for i := range 23 {
			subject := ""
			if i%3 > 0 {
				subject = fmt.Sprintf("user-%d", i%3)
			}
			rec := e.recordOf(subject)
			e.setCount(&rec, i)
			e.save(&rec)
			all = append(all, rec)
			if i == 0 || i == 4 || i == 22 {
				for _, limit := range []int{1, 2, 5, 7, 22, 23, 24, 1000} {
					e.wantList("", all, limit)
				}
			}
		}
		for _, rec := range e.list("", 5) {
			e.setCount(&rec, e.count(rec)+1)
			e.save(&rec)
		}
	},
}, {
	name:  "list-many",
	rule:  "List goes through any number of records; its cursor is empty after the last page.",
	needs: listing,
	run: func(e *env) {
		all := e.fill(700, func(int) session.Record { return e.record() })
		for _, limit := range []int{100, 333} {
			e.wantList("", all, limit)
		}
	},
}, {
	name:  "list-deleted",
	rule:  "List returns no record that was deleted before its first page, and a record that changed as it is now.",
	needs: listing,
	run: func(e *env) {
		var left []session.Record
		for i := range 12 {
			rec := e.recordOf("user-1")
			e.save(&rec)
			switch i % 3 {
			case 0:
				e.delete(rec.ID)
				continue
			case 1:
				e.setCount(&rec, i)
				rec.Expires = rec.Expires.Add(time.Minute)
				e.save(&rec)
			}
			left = append(left, rec)
		}
		e.wantList("", left, 5)
	},
}, {
	name:  "list-subject",
	rule:  "List with a Subject returns the records of that subject: not those of none, nor of one that only begins, looks or matches like it.",
	needs: listing | subjects,
	run: func(e *env) {
		of := make(map[string][]session.Record)
		for _, subject := range append([]string{""}, awkwardSubjects...) {
			for range 2 {
				rec := e.recordOf(subject)
				e.save(&rec)
				of[subject] = append(of[subject], rec)
			}
		}
		for _, subject := range awkwardSubjects {
			e.wantList(subject, of[subject], 1)
			e.wantList(subject, of[subject], 100)
		}
		e.wantList("nobody", nil, 10)
	},
}, {
	name:  "list-subject-pages",
	rule:  "List with a Subject returns all of its records, however many, and none of the others between them.",
	needs: listing | subjects,
	run: func(e *env) {
		of := make(map[string][]session.Record)
		for i := range 40 {
			rec := e.recordOf([]string{"", "a", "b", "a", "ab"}[i%5])
			e.save(&rec)
			of[rec.Subject] = append(of[rec.Subject], rec)
		}
		for _, subject := range []string{"a", "b", "ab"} {
			for _, limit := range []int{1, 3, 7, 8, 15, 16, 17, 100} {
				e.wantList(subject, of[subject], limit)
			}
		}
	},
}, {
	name:  "subject-change",
	rule:  "A record whose subject changed is in the list of the new one only; one whose subject was cleared, or that was deleted, is in none.",
	needs: listing | subjects,
	live:  true,
	run: func(e *env) {
		one, two := "one-"+e.newID(), "two-"+e.newID()
		rec := e.record()
		e.save(&rec)
		for _, subject := range []string{one, two, "", two, one, one} {
			e.setSubject(&rec, subject)
			e.save(&rec)
			for _, s := range []string{one, two} {
				if s == subject {
					e.wantList(s, []session.Record{rec}, 10)
				} else {
					e.wantList(s, nil, 10)
				}
			}
		}
		stale := rec
		e.setCount(&rec, 1)
		e.save(&rec)
		e.setSubject(&stale, two)
		e.wantConflict(stale)
		e.wantList(two, nil, 10)
		e.wantList(one, []session.Record{rec}, 10)
		e.delete(rec.ID)
		e.wantList(one, nil, 10)

		e.setSubject(&rec, two)
		rec.Version = 0
		e.save(&rec)
		e.wantList(one, nil, 10)
		e.wantList(two, []session.Record{rec}, 10)
	},
}, {
	name:  "list-touched",
	rule:  "List returns the times that Touch has moved.",
	needs: listing | subjects | touching,
	live:  true,
	run: func(e *env) {
		rec := e.recordOf("subject-" + e.newID())
		e.save(&rec)
		rec.LastSeen, rec.Expires = e.now.Add(time.Minute), e.now.Add(2*time.Hour)
		e.touch(rec.ID, rec.LastSeen, rec.Expires)
		e.wantList(rec.Subject, []session.Record{rec}, 10)
	},
}, {
	name:  "list-stable",
	rule:  "A record that is in the store from the first page to the last is on one of them, whatever is saved, touched or deleted between the pages.",
	needs: listing,
	run: func(e *env) {
		subjects := []string{""}
		if !e.layout.NoSubject {
			subjects = append(subjects, "user-1")
		}
		for _, subject := range subjects {
			for _, limit := range []int{1, 4, 10} {
				e.listWhileChanging(subject, limit)
			}
		}
	},
}, {
	name:  "no-alias-list",
	rule:  "The caller owns what List returns, as with Load.",
	needs: listing | subjects,
	live:  true,
	run: func(e *env) {
		rec := e.recordOf("subject-" + e.newID())
		e.save(&rec)
		for _, got := range e.list(rec.Subject, 10) {
			scribble(&got)
		}
		e.wantStored(rec)
		e.wantList(rec.Subject, []session.Record{rec}, 10)
	},
}, {
	name:  "list-odd-cursor",
	rule:  "A cursor that no List returned is an error or a place to go on from, never a panic, and List goes on working.",
	needs: listing,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		for _, cursor := range []string{"\x00", "not a cursor", "-1", "99999999999999999999", "%", "'", "😀", "\xff"} {
			e.store.(session.Lister).List(e.ctx, session.Query{Cursor: cursor, Limit: 10})
		}
		e.wantList("", []session.Record{rec}, 10)
	},
}}

// mostPages is how many pages a listing of a case may have. A page may be empty,
// but not all.
const mostPages = 20_000

// pages calls f for every page of a listing.
func (e *env) pages(subject string, limit int, f func(page []session.Record)) {
	e.Helper()
	q := session.Query{Subject: subject, Limit: limit}
	for range mostPages {
		page, next, err := e.store.(session.Lister).List(e.ctx, q)
		if err != nil {
			e.Fatalf("List: %v", err)
		}
		if len(page) > limit {
			e.Fatalf("List returned %d records, more than the limit of %d", len(page), limit)
		}
		f(page)
		if next == "" {
			return
		}
		q.Cursor = next
	}
	e.Fatalf("List did not end after %d pages", mostPages)
}

func (e *env) list(subject string, limit int) []session.Record {
	e.Helper()
	var all []session.Record
	e.pages(subject, limit, func(page []session.Record) { all = append(all, page...) })
	return all
}

// wantList fails unless the listing has exactly these records, each at least
// once.
func (e *env) wantList(subject string, want []session.Record, limit int) {
	e.Helper()
	missing := make(map[string]session.Record, len(want))
	for _, rec := range want {
		missing[rec.ID] = rec
	}
	known := maps.Clone(missing)
	for _, got := range e.list(subject, limit) {
		rec, ok := known[got.ID]
		if !ok {
			e.Fatalf("List of subject %q returned a record of subject %q that it should not have", subject, got.Subject)
		}
		if d := e.diff(got, rec); d != "" {
			e.Fatalf("a listed record: %s", d)
		}
		delete(missing, got.ID)
	}
	if len(missing) > 0 {
		e.Fatalf("List of subject %q with limit %d lacks %d of %d records", subject, limit, len(missing), len(want))
	}
}

// listWhileChanging lists while it deletes, saves, adds and touches records
// between the pages, and fails if it misses one that stayed.
func (e *env) listWhileChanging(subject string, limit int) {
	e.Helper()
	const kinds = 4 // of what happens to a record: nothing, save, touch, delete
	var all []session.Record
	for range 40 {
		rec := e.recordOf(subject)
		e.save(&rec)
		all = append(all, rec)
	}
	staying := make(map[string]bool)
	for i, rec := range all {
		if i%kinds != kinds-1 {
			staying[rec.ID] = true
		}
	}

	step := 0
	change := func() {
		for range max(limit, 2) {
			if step == len(all) {
				return
			}
			rec := &all[step]
			switch step % kinds {
			case 1:
				rec.LastSeen, rec.Expires = e.now.Add(time.Minute), e.now.Add(2*time.Hour)
				e.save(rec)
			case 2:
				if t, ok := e.store.(session.Toucher); ok {
					if err := t.Touch(e.ctx, rec.ID, e.now.Add(time.Minute), e.now.Add(2*time.Hour)); err != nil {
						e.Fatalf("Touch: %v", err)
					}
				}
			case 3:
				e.delete(rec.ID)
			}
			step++
		}
		added := e.recordOf(subject)
		e.save(&added)
	}
	e.pages(subject, limit, func(page []session.Record) {
		for _, rec := range page {
			delete(staying, rec.ID)
		}
		change()
	})
	if len(staying) > 0 {
		e.Errorf("with subject %q and limit %d, %d records that stayed in the store were on no page", subject, limit, len(staying))
	}

	for _, rec := range slices.Concat(all, e.list(subject, 100)) {
		e.delete(rec.ID)
	}
}
