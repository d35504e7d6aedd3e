package memstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
)

// rec returns a record that expires so long after the epoch.
func rec(id, subject string, data string, life time.Duration) *session.Record {
	return &session.Record{
		ID: id, Subject: subject, Data: []byte(data),
		Created: epoch, LastSeen: epoch, Expires: epoch.Add(life),
	}
}

func mustSave(t testing.TB, s *Store, r *session.Record) uint64 {
	t.Helper()
	v, err := s.Save(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func has(t testing.TB, s *Store, id string) bool {
	t.Helper()
	_, err := s.Load(t.Context(), id)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func TestRoundTrip(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	tests := []struct {
		name string
		rec  session.Record
	}{
		{"an ordinary record", *rec("id", "23", `{"a":1}`, time.Hour)},
		{"a record without a subject", *rec("id", "", `{}`, time.Hour)},
		{"no data", *rec("id", "", "", time.Hour)},
		{"every byte", *rec("id", "", string(every), time.Hour)},
		{"the longest ID and subject", *rec(strings.Repeat("i", maxID), strings.Repeat("ü", 127)+"s", "d", time.Hour)},
		{"data that just shares a segment", *rec("id", "", strings.Repeat("d", largeEntry-headerSize-2), time.Hour)},
		{"data that just does not", *rec("id", "", strings.Repeat("d", largeEntry-headerSize-1), time.Hour)},
		{"three mebibytes", *rec("id", "s", strings.Repeat("d", 3<<20), time.Hour)},
		{"no creation and no use", session.Record{ID: "id", Data: []byte("d"), Expires: epoch.Add(time.Hour)}},
		{"milliseconds", session.Record{ID: "id", Data: []byte("d"),
			Created: epoch.Add(time.Millisecond), LastSeen: epoch.Add(-time.Millisecond), Expires: epoch.Add(999 * time.Millisecond)}},
		{"an expiry in a distant future", session.Record{ID: "id", Data: []byte("d"), Expires: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(&Options{Now: newClock().now})
			want := tt.rec
			want.Version = mustSave(t, s, &tt.rec)
			got, err := s.Load(t.Context(), want.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != want.ID || got.Subject != want.Subject || !bytes.Equal(got.Data, want.Data) || got.Version != want.Version {
				t.Errorf("got %.200v, want %.200v", got, want)
			}
			if got.Created != want.Created || got.LastSeen != want.LastSeen || got.Expires != want.Expires {
				t.Errorf("times: got %v %v %v", got.Created, got.LastSeen, got.Expires)
			}
			if got.Data == nil {
				t.Error("the data is nil, not empty")
			}
			check(t, s)
		})
	}
}

func TestSaveCompares(t *testing.T) {
	stale := func(r *session.Record, v uint64) { r.Version = v }
	tests := []struct {
		name  string
		setup func(s *Store, r *session.Record)
		want  error
	}{
		{"a new record over none is saved", func(*Store, *session.Record) {}, nil},
		{"a new record over a live one conflicts", func(s *Store, r *session.Record) { mustSave(t, s, r) }, session.ErrConflict},
		{"the version that is there is saved", func(s *Store, r *session.Record) { stale(r, mustSave(t, s, r)) }, nil},
		{"a version before conflicts", func(s *Store, r *session.Record) {
			stale(r, mustSave(t, s, r))
			mustSave(t, s, r)
		}, session.ErrConflict},
		{"a version that never was conflicts", func(s *Store, r *session.Record) { stale(r, mustSave(t, s, r)+1) }, session.ErrConflict},
		{"a deleted record is not brought back", func(s *Store, r *session.Record) {
			stale(r, mustSave(t, s, r))
			s.Delete(t.Context(), r.ID)
		}, session.ErrConflict},
		{"the version of a deleted record does not fit its follower", func(s *Store, r *session.Record) {
			v := mustSave(t, s, r)
			s.Delete(t.Context(), r.ID)
			mustSave(t, s, r)
			stale(r, v)
		}, session.ErrConflict},
		{"a new record over an expired one is saved", func(s *Store, r *session.Record) {
			old := *r
			old.Expires = epoch.Add(-time.Hour)
			mustSave(t, s, &old)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := small(Options{Now: newClock().now}, 1)
			r := rec("id", "s", "data", time.Hour)
			tt.setup(s, r)
			before := s.Len()
			v, err := s.Save(t.Context(), r)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && (v == 0 || v == r.Version) {
				t.Errorf("version %d after %d", v, r.Version)
			}
			if err != nil && s.Len() != before {
				t.Error("a conflict changed the store")
			}
			check(t, s)
		})
	}
}

func TestSaveRefuses(t *testing.T) {
	tests := []struct {
		name string
		rec  *session.Record
		is   error
	}{
		{"no ID", rec("", "", "d", time.Hour), errEmptyID},
		{"an ID that is too long", rec(strings.Repeat("i", maxID+1), "", "d", time.Hour), session.ErrTooLarge},
		{"a subject that is too long", rec("id", strings.Repeat("i", maxSubject+1), "d", time.Hour), session.ErrTooLarge},
		{"more than fits at all", rec("id", "", strings.Repeat("d", 1<<20), time.Hour), session.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(&Options{MaxBytes: 1 << 20})
			if _, err := s.Save(t.Context(), tt.rec); !errors.Is(err, tt.is) {
				t.Errorf("got %v, want %v", err, tt.is)
			}
			if s.Len() != 0 {
				t.Error("it was saved")
			}
		})
	}
}

func TestNobodySharesMemory(t *testing.T) {
	s := New(&Options{Now: newClock().now})
	r := rec("id", "", "before", time.Hour)
	mustSave(t, s, r)
	copy(r.Data, "after!")
	first, _ := s.Load(t.Context(), "id")
	if string(first.Data) != "before" {
		t.Error("the store kept the data of the caller")
	}
	copy(first.Data, "after!")
	_ = append(first.Data, "and more"...)
	second, _ := s.Load(t.Context(), "id")
	if string(second.Data) != "before" {
		t.Error("the store gave its own data away")
	}
	r.Version, r.Data = second.Version, []byte("update")
	mustSave(t, s, r)
	if string(second.Data) != "before" {
		t.Error("a save changed what was loaded")
	}
}

func TestTouch(t *testing.T) {
	tests := []struct {
		name              string
		seen, expires     time.Duration // after the epoch
		wantSeen, wantExp time.Duration
	}{
		{"forward moves both", time.Minute, 2 * time.Hour, time.Minute, 2 * time.Hour},
		{"back moves neither", -time.Minute, time.Minute, 0, time.Hour},
		{"each moves alone", time.Minute, time.Minute, time.Minute, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(&Options{Now: newClock().now})
			r := rec("id", "s", "data", time.Hour)
			v := mustSave(t, s, r)
			if err := s.Touch(t.Context(), "id", epoch.Add(tt.seen), epoch.Add(tt.expires)); err != nil {
				t.Fatal(err)
			}
			got, _ := s.Load(t.Context(), "id")
			if !got.LastSeen.Equal(epoch.Add(tt.wantSeen)) || !got.Expires.Equal(epoch.Add(tt.wantExp)) {
				t.Errorf("last seen %v, expires %v", got.LastSeen, got.Expires)
			}
			if got.Version != v || string(got.Data) != "data" || !got.Created.Equal(epoch) {
				t.Error("touch changed something else")
			}
			check(t, s)
		})
	}
	t.Run("a missing record is not found and not made", func(t *testing.T) {
		s := New(nil)
		if err := s.Touch(t.Context(), "id", epoch, epoch); !errors.Is(err, session.ErrNotFound) || s.Len() != 0 {
			t.Error(err, s.Len())
		}
	})
	t.Run("an expired record is not found and dropped", func(t *testing.T) {
		s := New(&Options{Now: newClock().now})
		mustSave(t, s, rec("id", "", "d", -time.Second))
		if err := s.Touch(t.Context(), "id", epoch, epoch.Add(time.Hour)); !errors.Is(err, session.ErrNotFound) || s.Len() != 0 {
			t.Error(err, s.Len())
		}
	})
}

func TestExpiry(t *testing.T) {
	c := newClock()
	s := New(&Options{Now: c.now})
	mustSave(t, s, rec("id", "", "d", time.Second))
	c.advance(time.Second)
	if !has(t, s, "id") {
		t.Fatal("the record went at its expiry, not after it")
	}
	c.advance(time.Millisecond)
	if has(t, s, "id") {
		t.Fatal("the record outlived its expiry")
	}
	if s.Len() != 0 {
		t.Error("the expired record was not dropped by the load")
	}
}

func TestExpiryFollowsTheClockOfTheSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil)
		mustSave(t, s, &session.Record{ID: "id", Expires: time.Now().Add(time.Minute)})
		time.Sleep(59 * time.Second)
		if !has(t, s, "id") {
			t.Error("gone too early")
		}
		time.Sleep(2 * time.Second)
		if has(t, s, "id") {
			t.Error("there too long")
		}
	})
}

func TestCallsDropWhatHasExpired(t *testing.T) {
	const n = 1000
	tests := []struct {
		name string
		call func(s *Store, i int)
	}{
		{"load", func(s *Store, i int) { s.Load(t.Context(), "stays") }},
		{"touch", func(s *Store, i int) { s.Touch(t.Context(), "stays", epoch, epoch) }},
		{"delete", func(s *Store, i int) { s.Delete(t.Context(), "missing") }},
		{"save", func(s *Store, i int) {
			r, _ := s.Load(t.Context(), "stays")
			s.Save(t.Context(), &r)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			s := small(Options{Now: c.now}, 1)
			mustSave(t, s, rec("stays", "s", "d", time.Hour))
			for i := range n {
				mustSave(t, s, rec(fmt.Sprint(i), []string{"", "s"}[i%2], "d", time.Duration(i)*time.Millisecond))
			}
			c.advance(time.Minute)
			for i := range n/tidyWork + 1 {
				tt.call(s, i)
			}
			if s.Len() != 1 || !has(t, s, "stays") {
				t.Errorf("%d records are left", s.Len())
			}
			check(t, s)
		})
	}
}

func TestSweep(t *testing.T) {
	c := newClock()
	s := small(Options{Now: c.now}, 4)
	const n = 2000
	for i := range n {
		r := rec(fmt.Sprint(i), []string{"", "s", "t"}[i%3], "d", time.Duration(1+i)*time.Second)
		mustSave(t, s, r)
		if i%5 == 0 { // touched: queued too early
			s.Touch(t.Context(), r.ID, epoch, epoch.Add(10*n*time.Second))
		}
	}
	// What has expired by the clock of the caller goes, whatever ours says.
	at := epoch.Add(n / 2 * time.Second)
	removed, err := s.Sweep(t.Context(), at)
	want := 0
	for i := range n {
		gone := i%5 != 0 && epoch.Add(time.Duration(1+i)*time.Second).Before(at)
		if gone {
			want++
		}
		if has(t, s, fmt.Sprint(i)) == gone {
			t.Fatalf("record %d: gone should be %v", i, gone)
		}
	}
	if err != nil || removed != want || s.Len() != n-want {
		t.Errorf("removed %d, %v, left %d; want %d", removed, err, s.Len(), want)
	}
	check(t, s)
	if removed, err = s.Sweep(t.Context(), at.Add(time.Nanosecond)); removed != 1 || err != nil {
		t.Errorf("a nanosecond later: %d, %v", removed, err)
	}
}

func TestBounds(t *testing.T) {
	const bound = 8
	fill := func(t *testing.T, s *Store, subject string) {
		for i := range bound {
			mustSave(t, s, rec(fmt.Sprint(i), subject, "d", time.Duration(1+i)*time.Minute))
		}
	}
	tests := []struct {
		name    string
		full    Policy
		holds   string // the subject of those that are there
		subject string // of the one more
		want    error
		evicted string // the ID of who goes
	}{
		{"an anonymous one is refused", RefuseNew, "", "", ErrFull, ""},
		{"an anonymous one is refused among named ones", RefuseNew, "s", "", ErrFull, ""},
		{"a named one displaces the anonymous one nearest to its expiry", RefuseNew, "", "s", nil, "0"},
		{"a named one is refused among named ones", RefuseNew, "s", "t", ErrFull, ""},
		{"evicting displaces an anonymous one for an anonymous one", EvictSoonest, "", "", nil, "0"},
		{"evicting displaces a named one for an anonymous one", EvictSoonest, "s", "", nil, "0"},
		{"a policy that is none refuses", Policy(99), "", "", ErrFull, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var gone []string
			s := New(&Options{MaxSessions: bound, Full: tt.full, Now: newClock().now,
				OnEvict: func(id, subject string) { gone = append(gone, id+"/"+subject) }})
			fill(t, s, tt.holds)
			_, err := s.Save(t.Context(), rec("more", tt.subject, "d", time.Hour))
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if has(t, s, "more") != (err == nil) || s.Len() != bound {
				t.Errorf("%d records", s.Len())
			}
			var want []string
			if tt.evicted != "" {
				want = []string{tt.evicted + "/" + tt.holds}
			}
			st := s.Stats()
			if !slices.Equal(gone, want) || int(st.Evicted) != len(want) || int(st.Refused) != 1-len(want) {
				t.Errorf("gone %q, want %q; %+v", gone, want, st)
			}
			check(t, s)
		})
	}
}

func TestBoundsMore(t *testing.T) {
	t.Run("an expired record makes room under any policy", func(t *testing.T) {
		c := newClock()
		s := New(&Options{MaxSessions: 2, Now: c.now})
		mustSave(t, s, rec("a", "s", "d", time.Minute))
		mustSave(t, s, rec("b", "s", "d", time.Hour))
		c.advance(2 * time.Minute)
		mustSave(t, s, rec("c", "", "d", time.Hour))
		if has(t, s, "a") || !has(t, s, "b") || s.Stats().Evicted != 0 {
			t.Error("the wrong one went")
		}
	})
	t.Run("one that was touched is not the nearest to its expiry", func(t *testing.T) {
		s := small(Options{MaxSessions: 2, Now: newClock().now}, 1)
		mustSave(t, s, rec("a", "", "d", time.Minute))
		mustSave(t, s, rec("b", "", "d", 2*time.Minute))
		s.Touch(t.Context(), "a", epoch, epoch.Add(time.Hour))
		mustSave(t, s, rec("c", "s", "d", time.Hour))
		if !has(t, s, "a") || has(t, s, "b") {
			t.Error("the touched one went")
		}
	})
	t.Run("a record never makes room for itself", func(t *testing.T) {
		s := small(Options{MaxBytes: 3000, Full: EvictSoonest, Now: newClock().now}, 1)
		r := rec("a", "", "d", time.Minute)
		r.Version = mustSave(t, s, r)
		mustSave(t, s, rec("b", "", strings.Repeat("d", 1000), time.Hour))
		r.Data = make([]byte, 2500)
		mustSave(t, s, r)
		if !has(t, s, "a") || has(t, s, "b") {
			t.Error("the wrong one went")
		}
		check(t, s)
	})
	t.Run("a record that logs in when the store is full does not displace itself", func(t *testing.T) {
		s := small(Options{MaxBytes: 3 * (perRecord + 2), Now: newClock().now}, 1)
		for _, id := range []string{"a", "b", "c"} {
			mustSave(t, s, rec(id, "", "d", time.Duration(id[0])*time.Second))
		}
		r, _ := s.Load(t.Context(), "a")
		r.Subject = "s"
		mustSave(t, s, &r)
		if !has(t, s, "a") || has(t, s, "b") {
			t.Error("the wrong one went")
		}
		check(t, s)
	})
	t.Run("a large record displaces as many as it takes", func(t *testing.T) {
		s := New(&Options{MaxBytes: 100 * (perRecord + 100), Now: newClock().now})
		for i := range 100 {
			mustSave(t, s, rec(fmt.Sprintf("%02d", i), "", strings.Repeat("d", 98), time.Duration(1+i)*time.Minute))
		}
		mustSave(t, s, rec("large", "s", strings.Repeat("d", 50*(perRecord+100)-perRecord-6), time.Hour))
		if s.Len() != 51 || has(t, s, "49") || !has(t, s, "50") {
			t.Errorf("%d records", s.Len())
		}
		check(t, s)
	})
	t.Run("a conflict displaces nobody", func(t *testing.T) {
		s := New(&Options{MaxSessions: 1, Full: EvictSoonest, Now: newClock().now})
		mustSave(t, s, rec("a", "", "d", time.Minute))
		r := rec("b", "", "d", time.Minute)
		r.Version = 7
		if _, err := s.Save(t.Context(), r); !errors.Is(err, session.ErrConflict) || !has(t, s, "a") {
			t.Error(err)
		}
	})
	t.Run("a change of the same size is saved in a full store", func(t *testing.T) {
		s := New(&Options{MaxSessions: 1, MaxBytes: perRecord + 2, Now: newClock().now})
		r := rec("a", "", "d", time.Minute)
		r.Version = mustSave(t, s, r)
		r.Data = []byte("e")
		mustSave(t, s, r)
	})
}

func TestList(t *testing.T) {
	s := small(Options{Now: newClock().now}, 4)
	const n = 1000
	for i := range n {
		mustSave(t, s, rec(fmt.Sprint(i), []string{"", "s", "t", "u"}[i%4], "d", time.Hour))
	}
	mustSave(t, s, rec("expired", "s", "d", -time.Second))
	for _, limit := range []int{1, 3, 64, 100, n, 10 * n} {
		for subject, want := range map[string]int{"": n, "s": n / 4, "nobody": 0} {
			seen := map[string]bool{}
			for _, r := range all(t, s, subject, limit) {
				if seen[r.ID] || subject != "" && r.Subject != subject {
					t.Fatalf("limit %d: %q is wrong", limit, r.ID)
				}
				seen[r.ID] = true
			}
			if len(seen) != want {
				t.Errorf("limit %d, subject %q: %d records, want %d", limit, subject, len(seen), want)
			}
		}
	}
}

func TestListMissesNobodyWhileOthersComeAndGo(t *testing.T) {
	for _, subject := range []string{"", "s"} {
		s := small(Options{Now: newClock().now}, 2)
		const n = 600
		for i := range n {
			mustSave(t, s, rec(fmt.Sprint(i), "s", "d", time.Hour))
		}
		seen := map[string]bool{}
		q := session.Query{Subject: subject, Limit: 7}
		for page := 0; ; page++ {
			records, next, err := s.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				seen[r.ID] = true
			}
			if next == "" {
				break
			}
			q.Cursor = next
			// Those of odd numbers go, from both ends, and strangers come.
			for i := 1 + 6*page; i < 1+6*page+6 && i < n; i += 2 {
				s.Delete(t.Context(), fmt.Sprint(i))
				s.Delete(t.Context(), fmt.Sprint(n-i))
			}
			if page < 50 {
				mustSave(t, s, rec(fmt.Sprint("stranger", page), "s", "d", time.Hour))
			}
		}
		for i := 0; i < n; i += 2 {
			if !seen[fmt.Sprint(i)] {
				t.Errorf("subject %q: %d was there all the time and not listed", subject, i)
			}
		}
		check(t, s)
	}
}

func TestListRefuses(t *testing.T) {
	s := New(nil)
	tests := []struct {
		name string
		q    session.Query
		want error
	}{
		{"no limit", session.Query{}, errLimit},
		{"a cursor of words", session.Query{Cursor: "some.where", Limit: 1}, errCursor},
		{"a cursor of one number", session.Query{Cursor: "1", Limit: 1}, errCursor},
		{"a cursor beyond the shards", session.Query{Cursor: "256.1", Limit: 1}, errCursor},
		{"a cursor of three numbers", session.Query{Cursor: "1.1.1", Limit: 1}, errCursor},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := s.List(t.Context(), tt.q); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// operations are all methods that take a context.
func operations(s *Store) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"load":   func(ctx context.Context) error { _, err := s.Load(ctx, "secret-id"); return err },
		"save":   func(ctx context.Context) error { _, err := s.Save(ctx, rec("other", "", "", time.Hour)); return err },
		"touch":  func(ctx context.Context) error { return s.Touch(ctx, "secret-id", epoch, epoch.Add(2*time.Hour)) },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "secret-id") },
		"list":   func(ctx context.Context) error { _, _, err := s.List(ctx, session.Query{Limit: 1}); return err },
		"sweep":  func(ctx context.Context) error { _, err := s.Sweep(ctx, epoch.Add(9*time.Hour)); return err },
		"ping":   s.Ping,
	}
}

func TestContext(t *testing.T) {
	s := New(&Options{Now: newClock().now})
	mustSave(t, s, rec("secret-id", "", "d", time.Hour))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancelLate()
	for op, call := range operations(s) {
		for _, ctx := range []context.Context{cancelled, late} {
			err := call(ctx)
			if !errors.Is(err, ctx.Err()) || !strings.HasPrefix(err.Error(), "memstore: "+op+": ") {
				t.Errorf("%s: %v", op, err)
			}
		}
	}
	if r, err := s.Load(t.Context(), "secret-id"); err != nil || !r.Expires.Equal(epoch.Add(time.Hour)) || s.Len() != 1 {
		t.Error("a cancelled call changed the store")
	}
}

func TestClose(t *testing.T) {
	s := New(&Options{Now: newClock().now})
	for i := range 100 {
		mustSave(t, s, rec(fmt.Sprint("secret-id", i), "", "d", time.Hour))
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for op, call := range operations(s) {
		err := call(t.Context())
		if !errors.Is(err, errClosed) || !strings.HasPrefix(err.Error(), "memstore: "+op+": ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", op, err)
		}
	}
	if s.Len() != 0 || footprint(s) != 0 || s.Stats().Bytes != 0 {
		t.Errorf("%d records, %d bytes are left", s.Len(), footprint(s))
	}
}

func TestZeroIsADefaultAndNegativeNoBound(t *testing.T) {
	tests := []struct {
		name            string
		opts            *Options
		sessions, bytes int64
		shards          int
	}{
		{"nil options", nil, DefaultMaxSessions, DefaultMaxBytes, 256},
		{"zero options", &Options{}, DefaultMaxSessions, DefaultMaxBytes, 256},
		{"no bounds", &Options{MaxSessions: -1, MaxBytes: -5}, -1, -5, 1024},
		{"one session", &Options{MaxSessions: 1, MaxBytes: 1}, 1, 1, 16},
		{"ten million", &Options{MaxSessions: 1e7}, 1e7, DefaultMaxBytes, 1024},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(tt.opts)
			if s.bounds.maxSessions != tt.sessions || s.bounds.maxBytes != tt.bytes || len(s.shards) != tt.shards {
				t.Errorf("%d sessions, %d bytes, %d shards", s.bounds.maxSessions, s.bounds.maxBytes, len(s.shards))
			}
		})
	}
	if !strings.Contains(New(nil).Warning(), "vanish") {
		t.Error("the store does not warn that sessions vanish")
	}
}
