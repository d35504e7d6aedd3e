package natstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/natsstore"
)

const (
	recordSubjects = "$KV.sessions.r."
	placeSubjects  = "$KV.sessions.s."
)

// ends returns when the server removes what is in the bucket, by subjects that
// begin so. It is an error if something stays.
func ends(t testing.TB, js jetstream.JetStream, prefix string) map[string]time.Time {
	t.Helper()
	at := map[string]time.Time{}
	for _, m := range messages(t, js, "sessions") {
		ttl, err := time.ParseDuration(m.Header.Get("Nats-TTL"))
		if err != nil || ttl < time.Second {
			t.Errorf("a message has the time to live %q", m.Header.Get("Nats-TTL"))
		}
		if strings.HasPrefix(m.Subject, prefix) {
			at[m.Subject] = m.Time.Add(ttl)
		}
	}
	return at
}

// Nothing is immortal, no record is removed before it ends, and no place before its
// record.
func TestTimesToLive(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	store := open(t, js, natsstore.Options{})
	check := func(when string, recs ...session.Record) {
		t.Helper()
		latest := time.Time{}
		for subject, end := range ends(t, js, recordSubjects) {
			for _, rec := range recs {
				if !strings.HasSuffix(subject, "."+rec.ID) {
					continue
				}
				if left := end.Sub(rec.Expires); left < time.Minute-time.Second || left > time.Minute+5*time.Second {
					t.Errorf("%s: the record %s goes %v after it ends, want a minute", when, rec.ID, left)
				}
				if rec.Subject != "" && end.After(latest) {
					latest = end
				}
			}
		}
		for subject, end := range ends(t, js, placeSubjects) {
			for _, rec := range recs {
				if rec.Subject != "" && strings.HasSuffix(subject, "."+rec.ID) && end.Before(rec.Expires.Add(time.Minute)) {
					t.Errorf("%s: the place of %s goes before its record", when, rec.ID)
				}
			}
		}
	}
	short, long, anonymous := record("short", "alice"), record("long", "alice"), record("anonymous", "")
	long.Expires = now().Add(100 * time.Hour)
	anonymous.Expires = now().AddDate(1, 0, 0)
	for _, rec := range []*session.Record{&short, &long, &anonymous} {
		save(t, store, rec)
	}
	check("after the first save", short, long, anonymous)
	for n := range 8 {
		short.Expires = short.Expires.Add(time.Duration(n) * 17 * time.Minute)
		if n%2 == 0 {
			save(t, store, &short)
		} else {
			touch(t, store, "short", short.Expires)
		}
		check(fmt.Sprint("prolonged ", n), short, long, anonymous)
	}
	short.Expires = now().Add(time.Minute)
	save(t, store, &short)
	check("shortened", short, long, anonymous)
	if err := store.Delete(limited(t), "short"); err != nil {
		t.Fatal(err)
	}
	check("deleted", long, anonymous)
}

// The server removes what has had its time: the marker of a deletion is the
// shortest.
func TestTheServerRemovesWhatHasExpired(t *testing.T) {
	t.Parallel()
	js := connect(t, startNode(t, limits{}))
	store := open(t, js, natsstore.Options{})
	rec := record("id", "")
	save(t, store, &rec)
	if err := store.Delete(limited(t), "id"); err != nil {
		t.Fatal(err)
	}
	if n := len(messages(t, js, "sessions")); n != 1 {
		t.Fatalf("%d messages, want one marker", n)
	}
	waitUntil(t, func(context.Context) error {
		if n := len(messages(t, js, "sessions")); n != 0 {
			return fmt.Errorf("%d messages are left", n)
		}
		return nil
	})
	// And whoever loaded it before still cannot bring it back.
	if _, err := store.Save(limited(t), &rec); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Save: %v", err)
	}
}

// places counts the places that are no markers.
func places(t testing.TB, js jetstream.JetStream) (n int) {
	t.Helper()
	for _, m := range messages(t, js, "sessions") {
		if strings.HasPrefix(m.Subject, placeSubjects) && m.Header.Get("KV-Operation") == "" {
			n++
		}
	}
	return n
}

func TestIndexRepairsItself(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	store := open(t, js, natsstore.Options{})
	stays, leaves, goes := record("stays", "alice"), record("leaves", "alice"), record("goes", "alice")
	for _, rec := range []*session.Record{&stays, &leaves, &goes} {
		save(t, store, rec)
	}
	leaves.Subject = "bob"
	save(t, store, &leaves)
	if err := store.Delete(limited(t), "goes"); err != nil {
		t.Fatal(err)
	}
	wantList(t, store, "alice", "stays")
	wantList(t, store, "bob", "leaves")
	if n := places(t, js); n != 4 {
		t.Errorf("%d places, want 4: what is new may be on its way", n)
	}

	// Ten minutes later nothing is on its way any more.
	tenMinutesLater := withClock(t, js, "sessions", later(10*time.Minute))
	wantList(t, tenMinutesLater, "alice", "stays")
	if n := places(t, js); n != 2 {
		t.Errorf("%d places, want the 2 that have a record", n)
	}
	wantList(t, tenMinutesLater, "bob", "leaves")

	// What is saved under the same ID again has its place again.
	anew := record("goes", "alice")
	save(t, store, &anew)
	leaves.Subject = "alice"
	save(t, store, &leaves)
	wantList(t, tenMinutesLater, "alice", "goes", "leaves", "stays")
	wantList(t, tenMinutesLater, "bob")
}

// Somebody saves while others, for whom all places are old, remove those that are
// empty. In the end each record is in its list.
func TestNoRecordIsWithoutItsPlace(t *testing.T) {
	n := startNode(t, limits{})
	js := connect(t, n)
	store := open(t, js, natsstore.Options{})
	const rounds, records = 30, 6
	// One that took longer than the listers allow is none of those of which this is
	// the test.
	saveQuickly := func(rec *session.Record) {
		for range 100 {
			began := time.Now()
			save(t, store, rec)
			if time.Since(began) < 40*time.Millisecond {
				return
			}
			if err := store.Delete(limited(t), rec.ID); err != nil {
				t.Error(err)
			}
			rec.Version = 0
		}
		t.Errorf("no save took less than 40 ms")
	}
	for round := range rounds {
		subject := fmt.Sprint("subject-", round)
		var saving, listing sync.WaitGroup
		done := make(chan struct{})
		for range 2 {
			// To them every place is older than what may be on its way, but for the
			// moment that it takes to write the record.
			lister := withClock(t, js, "sessions", later(5*time.Minute-50*time.Millisecond))
			listing.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						list(t, lister, subject, 10)
					}
				}
			})
		}
		for i := range records {
			saving.Go(func() {
				rec := record(fmt.Sprintf("%d-%d", round, i), subject)
				saveQuickly(&rec)
				if i%2 == 0 {
					if err := store.Delete(limited(t), rec.ID); err != nil {
						t.Error(err)
					}
					time.Sleep(60 * time.Millisecond)
					rec.Version = 0
					saveQuickly(&rec)
				}
			})
		}
		saving.Wait()
		close(done)
		listing.Wait()
		if got := list(t, store, subject, 10); len(got) != records {
			t.Fatalf("round %d: the list has %q, want %d records", round, got, records)
		}
	}
}

// Whoever takes so long to write a record that a list may have removed its place
// writes that again.
func TestSlowSaveWritesThePlaceAgain(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	store := open(t, js, natsstore.Options{})
	rec := record("quick", "alice")
	save(t, store, &rec)
	calls := 0
	slow := withClock(t, js, "sessions", func() time.Time {
		calls++
		return time.Now().Add(time.Duration(calls) * 2 * time.Minute)
	})
	load(t, slow, "quick")
	before := lastSequence(t, js, "sessions")
	rec = record("slow", "alice")
	save(t, slow, &rec)
	all := messages(t, js, "sessions")
	last := all[len(all)-1]
	if wrote := last.Sequence - before; wrote != 3 || !strings.HasPrefix(last.Subject, placeSubjects) {
		t.Errorf("%d messages were written, the last at %s; want place, record, place", wrote, last.Subject)
	}
}

// Lists of more than a server is asked for at once.
func TestListOfMany(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	store := open(t, js, natsstore.Options{})
	const many = 1300
	var saving sync.WaitGroup
	for w := range 8 {
		saving.Go(func() {
			for i := w; i < many; i += 8 {
				rec := record(fmt.Sprint(i), []string{"busy", "busy", "busy", ""}[i%4])
				if _, err := store.Save(context.Background(), &rec); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	saving.Wait()
	for subject, want := range map[string]int{"": many, "busy": many * 3 / 4} {
		for _, limit := range []int{33, 1000, 5000} {
			if ids := list(t, store, subject, limit); len(ids) != want {
				t.Errorf("subject %q with limit %d: %d records, want %d", subject, limit, len(ids), want)
			}
		}
		// Whatever parts the keys, in the middle of a list as at its beginning.
		for _, begin := range []string{"0:0:0", "1:0:", "2:0:"} {
			seen, cursor := 0, begin
			for cursor != "" {
				page, next, err := store.List(limited(t), session.Query{Subject: subject, Limit: 1000, Cursor: cursor})
				if err != nil {
					t.Fatal(err)
				}
				seen, cursor = seen+len(page), next
			}
			if seen != want {
				t.Errorf("subject %q from cursor %q on: %d records, want %d", subject, begin, seen, want)
			}
		}
	}
}

// What is in the bucket and not of this package spoils no list.
func TestSomethingElseInTheBucket(t *testing.T) {
	js := connect(t, startNode(t, limits{}))
	store := open(t, js, natsstore.Options{})
	rec := record("id", "alice")
	save(t, store, &rec)
	other := record("other", "alice")
	save(t, store, &other)
	ctx := limited(t)
	kv, err := js.KeyValue(ctx, "sessions")
	if err != nil {
		t.Fatal(err)
	}
	var key string
	for _, m := range messages(t, js, "sessions") {
		if strings.HasPrefix(m.Subject, recordSubjects) && strings.HasSuffix(m.Subject, ".other") {
			key = strings.TrimPrefix(m.Subject, "$KV.sessions.")
		}
	}
	for _, key := range []string{key, "r.x", "r.0.0.0.x", "settings", "s.x"} {
		if _, err := kv.PutString(ctx, key, "something else"); err != nil {
			t.Fatal(err)
		}
	}
	wantList(t, store, "", "id")
	wantList(t, store, "alice", "id")
	if _, err := store.Load(ctx, "other"); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load of something else: %v", err)
	}
	if _, err := store.Save(ctx, &other); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Save over something else: %v", err)
	}
	// Who removes a record with other clients ends the session.
	if err := store.Delete(ctx, "other"); err != nil {
		t.Error(err)
	}
	wantList(t, store, "alice", "id")
}
