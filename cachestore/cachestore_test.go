package cachestore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

func record(id string, n int) session.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return session.Record{ID: id, Data: fmt.Append(nil, n), Created: now, LastSeen: now, Expires: now.Add(24 * time.Hour)}
}

func save(t testing.TB, s session.Store, rec session.Record) session.Record {
	t.Helper()
	version, err := s.Save(context.Background(), &rec)
	if err != nil {
		t.Fatal(err)
	}
	rec.Version = version
	return rec
}

func want(t testing.TB, s session.Store, id, data string) {
	t.Helper()
	if rec, err := s.Load(context.Background(), id); err != nil || string(rec.Data) != data {
		t.Errorf("Load: %q, %v, want %q", rec.Data, err, data)
	}
}

// bubble runs a test in a time of its own, with a server, a cache that watches it
// or not, and what counts the calls of the server.
func bubble(t *testing.T, opts cachestore.Options, test func(t *testing.T, h *hub, c *cachestore.Cache)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		test(t, h, open(t, h, opts))
	})
}

func TestWithoutChannel(t *testing.T) {
	bubble(t, cachestore.Options{MaxStale: 2 * time.Second}, func(t *testing.T, h *hub, c *cachestore.Cache) {
		s := c.Store()
		rec := save(t, h, record("a", 1))
		want(t, s, "a", "1")
		rec.Data = []byte("2")
		save(t, h, rec) // another process
		time.Sleep(2 * time.Second)
		want(t, s, "a", "1")
		time.Sleep(time.Millisecond)
		want(t, s, "a", "2")
		if got := c.Stats(); got.Hits != 1 || got.Misses != 2 || got.Watching {
			t.Errorf("the counts are %+v", got)
		}
	})
}

func TestChannel(t *testing.T) {
	var lost []error
	opts := cachestore.Options{OnLost: func(err error) { lost = append(lost, err) }}
	bubble(t, opts, func(t *testing.T, h *hub, c *cachestore.Cache) {
		s := watch(t, c).Store()
		rec := save(t, h, record("a", 1))
		change := func(n int) {
			rec.Data = fmt.Append(nil, n)
			rec = save(t, h, rec)
		}
		want(t, s, "a", "1")
		time.Sleep(time.Hour)
		want(t, s, "a", "1")
		if got := c.Stats(); got.Misses != 1 {
			t.Errorf("a record was read again although the channel was there: %+v", got)
		}
		change(2)
		want(t, s, "a", "2")

		h.set(true, false) // the channel goes dead without a sign
		change(3)
		time.Sleep(cachestore.DefaultMaxStale + time.Millisecond)
		want(t, s, "a", "3")
		change(4)
		time.Sleep(cachestore.DefaultMaxStale + time.Millisecond)
		want(t, s, "a", "4")

		h.set(false, true) // it is lost, and another cannot be had
		time.Sleep(time.Second)
		want(t, s, "a", "4")
		h.lose()
		synctest.Wait()
		change(5)
		time.Sleep(cachestore.DefaultMaxStale + time.Millisecond)
		want(t, s, "a", "5")
		if c.Stats().Watching {
			t.Error("the cache thinks that there is a channel")
		}

		change(6)
		h.set(false, false) // and can again; of what it has missed it knows nothing
		time.Sleep(time.Minute)
		synctest.Wait()
		if !c.Stats().Watching {
			t.Error("the cache does not listen again")
		}
		want(t, s, "a", "6")
		time.Sleep(time.Hour)
		want(t, s, "a", "6")
		if len(lost) < 2 || !errors.Is(lost[0], errLost) {
			t.Errorf("OnLost was told %v", lost)
		}
	})
}

// What was read before the channel was there is not vouched for by it.
func TestReadBeforeTheChannel(t *testing.T) {
	bubble(t, cachestore.Options{}, func(t *testing.T, h *hub, c *cachestore.Cache) {
		s := c.Store()
		rec := save(t, h, record("a", 1))
		want(t, s, "a", "1")
		rec.Data = []byte("2")
		save(t, h, rec)
		watch(t, c)
		time.Sleep(cachestore.DefaultMaxStale + time.Millisecond)
		want(t, s, "a", "2")
	})
}

// A change that is reported while a record is read makes what was read stale,
// whether somebody has read it again since or not.
func TestChangeDuringRead(t *testing.T) {
	for _, byOther := range []bool{true, false} {
		for _, readAgain := range []bool{true, false} {
			h, faults := newHub(t), new(sessiontest.Faults)
			c := watch(t, open(t, struct {
				session.Store
				session.Watcher
			}{faults.Wrap(h), h}, cachestore.Options{MaxStale: time.Hour}))
			s := c.Store()
			rec := save(t, h, record("a", 1))

			read, release := make(chan struct{}), make(chan struct{})
			faults.After("load", func(context.Context) error { // it has read, and is slow to return
				close(read)
				<-release
				return nil
			})
			loaded := make(chan error)
			go func() { _, err := s.Load(context.Background(), "a"); loaded <- err }()
			<-read
			faults.Reset()
			rec.Data = []byte("2")
			if byOther {
				save(t, h, rec)
			} else {
				save(t, s, rec)
			}
			if readAgain {
				want(t, s, "a", "2") // and is in the cache now
			}
			close(release)
			if err := <-loaded; err != nil {
				t.Fatal(err)
			}
			want(t, s, "a", "2")
		}
	}
}

func TestReturnedRecordsBelongToTheCaller(t *testing.T) {
	s := open(t, memstore.New(nil), cachestore.Options{MaxStale: time.Hour}).Store()
	save(t, s, record("a", 1))
	for range 3 { // from the store, and then from the cache
		rec, err := s.Load(t.Context(), "a")
		if err != nil || string(rec.Data) != "1" {
			t.Fatalf("Load: %q, %v", rec.Data, err)
		}
		rec.Data[0] = 'x'
	}
}

func TestConflictForgets(t *testing.T) {
	inner := memstore.New(nil)
	s := open(t, inner, cachestore.Options{MaxStale: time.Hour}).Store()
	rec := save(t, inner, record("a", 1))
	want(t, s, "a", "1")
	other := rec
	other.Data = []byte("2")
	save(t, inner, other)
	want(t, s, "a", "1") // stale, as nothing has told it
	if _, err := s.Save(t.Context(), &rec); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Save of a stale record: %v", err)
	}
	want(t, s, "a", "2")

	// As long as an error leaves open whether it has happened.
	faults := new(sessiontest.Faults)
	s = open(t, faults.Wrap(inner), cachestore.Options{MaxStale: time.Hour}).Store()
	want(t, s, "a", "2")
	faults.LoseAnswer("delete", errLost)
	if err := s.Delete(t.Context(), "a"); !errors.Is(err, errLost) {
		t.Error(err)
	}
	if _, err := s.Load(t.Context(), "a"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load of a record that may have been deleted: %v", err)
	}
}

func TestAbsenceIsNotRemembered(t *testing.T) {
	inner := memstore.New(nil)
	s := open(t, inner, cachestore.Options{MaxStale: time.Hour}).Store()
	if _, err := s.Load(t.Context(), "a"); !errors.Is(err, session.ErrNotFound) {
		t.Fatal(err)
	}
	save(t, inner, record("a", 1))
	want(t, s, "a", "1")
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(sessiontest.Faults)
		inner := faults.Wrap(memstore.New(nil))
		s := open(t, inner, cachestore.Options{}).Store()
		save(t, inner, record("a", 1))
		want(t, s, "a", "1")
		faults.Fail("load", errLost)
		want(t, s, "a", "1")
		time.Sleep(cachestore.DefaultMaxStale + time.Millisecond)
		if _, err := s.Load(t.Context(), "a"); !errors.Is(err, errLost) {
			t.Errorf("Load while the store is down: %v", err)
		}
		faults.Reset()
		want(t, s, "a", "1")
	})
}

func TestBounds(t *testing.T) {
	inner := memstore.New(nil)
	for i := range 3000 {
		rec := record(fmt.Sprint(i), 0)
		rec.Data = []byte(strings.Repeat("x", i%1000))
		save(t, inner, rec)
	}
	for _, opts := range []cachestore.Options{
		{MaxRecords: 10}, {MaxRecords: 1}, {MaxRecords: 2000}, {MaxBytes: 20_000}, {MaxBytes: 1 << 20}, {MaxBytes: 1},
	} {
		opts.MaxStale = time.Hour
		c := open(t, inner, opts)
		s := c.Store()
		for range 2 {
			for i := range 3000 {
				if rec, err := s.Load(t.Context(), fmt.Sprint(i)); err != nil || len(rec.Data) != i%1000 {
					t.Fatalf("%+v: Load: %d bytes, %v", opts, len(rec.Data), err)
				}
			}
		}
		got := c.Stats()
		if opts.MaxRecords > 0 && (got.Records > opts.MaxRecords || got.Records < opts.MaxRecords*8/10) ||
			opts.MaxBytes > 0 && (got.Bytes > opts.MaxBytes || opts.MaxBytes > 1 && got.Bytes < opts.MaxBytes*8/10) {
			t.Errorf("%+v: %+v", opts, got)
		}
	}

	// What was used last stays.
	c := open(t, inner, cachestore.Options{MaxRecords: 3, MaxStale: time.Hour})
	for _, id := range []string{"1", "2", "3", "1", "4", "1", "5"} {
		want(t, c.Store(), id, strings.Repeat("x", int(id[0]-'0')))
	}
	if got := c.Stats(); got.Hits != 2 || got.Evicted != 2 || got.Records != 3 {
		t.Errorf("the counts are %+v", got)
	}
}

func TestSweepForgets(t *testing.T) {
	s := open(t, memstore.New(nil), cachestore.Options{MaxStale: time.Hour}).Store()
	save(t, s, record("a", 1))
	want(t, s, "a", "1")
	if n, err := s.(session.Sweeper).Sweep(t.Context(), time.Now().Add(48*time.Hour)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := s.Load(t.Context(), "a"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load of a record that was swept: %v", err)
	}
}

type warner struct{ session.Store }

func (warner) Warning() string     { return "mind the gap" }
func (warner) ExpressLayout() bool { return true }

// mute is a store whose channel cannot be had.
type mute struct {
	session.Store
	why error
}

func (m mute) Watch(context.Context, time.Duration, func(string), func(time.Time)) error {
	return m.why
}

type withClients struct{ session.Store }

func (withClients) KeepsParcels() bool { return true }

func TestCapabilities(t *testing.T) {
	inner := memstore.New(nil)
	for _, test := range []struct {
		has   [4]bool
		inner session.Store
	}{
		{[4]bool{false, false, false, false}, struct {
			session.Store
		}{inner}},
		{[4]bool{true, false, false, false}, struct {
			session.Store
			session.Toucher
		}{inner, inner}},
		{[4]bool{false, true, false, false}, struct {
			session.Store
			session.Lister
		}{inner, inner}},
		{[4]bool{true, true, false, false}, struct {
			session.Store
			session.Toucher
			session.Lister
		}{inner, inner, inner}},
		{[4]bool{false, false, true, false}, struct {
			session.Store
			session.Sweeper
		}{inner, inner}},
		{[4]bool{true, false, true, false}, struct {
			session.Store
			session.Toucher
			session.Sweeper
		}{inner, inner, inner}},
		{[4]bool{false, true, true, false}, struct {
			session.Store
			session.Lister
			session.Sweeper
		}{inner, inner, inner}},
		{[4]bool{true, true, true, false}, struct {
			session.Store
			session.Toucher
			session.Lister
			session.Sweeper
		}{inner, inner, inner, inner}},
		{[4]bool{false, false, false, true}, struct {
			session.Store
			session.Pinger
		}{inner, inner}},
		{[4]bool{true, false, false, true}, struct {
			session.Store
			session.Toucher
			session.Pinger
		}{inner, inner, inner}},
		{[4]bool{false, true, false, true}, struct {
			session.Store
			session.Lister
			session.Pinger
		}{inner, inner, inner}},
		{[4]bool{true, true, false, true}, struct {
			session.Store
			session.Toucher
			session.Lister
			session.Pinger
		}{inner, inner, inner, inner}},
		{[4]bool{false, false, true, true}, struct {
			session.Store
			session.Sweeper
			session.Pinger
		}{inner, inner, inner}},
		{[4]bool{true, false, true, true}, struct {
			session.Store
			session.Toucher
			session.Sweeper
			session.Pinger
		}{inner, inner, inner, inner}},
		{[4]bool{false, true, true, true}, struct {
			session.Store
			session.Lister
			session.Sweeper
			session.Pinger
		}{inner, inner, inner, inner}},
		{[4]bool{true, true, true, true}, struct {
			session.Store
			session.Toucher
			session.Lister
			session.Sweeper
			session.Pinger
		}{inner, inner, inner, inner, inner}},
	} {
		s := open(t, test.inner, cachestore.Options{}).Store()
		var got [4]bool
		_, got[0] = s.(session.Toucher)
		_, got[1] = s.(session.Lister)
		_, got[2] = s.(session.Sweeper)
		_, got[3] = s.(session.Pinger)
		if got != test.has {
			t.Errorf("the cache can %v, its store %v", got, test.has)
		}
	}
	for _, test := range []struct {
		inner   session.Store
		warning string
		express bool
	}{{inner, inner.Warning(), false}, {warner{inner}, "mind the gap", true}, {struct{ session.Store }{inner}, "", false}} {
		s := open(t, test.inner, cachestore.Options{}).Store()
		if got := s.(session.Warner).Warning(); got != test.warning {
			t.Errorf("the warning is %q, want %q", got, test.warning)
		}
		if got := s.(session.ExpressStore).ExpressLayout(); got != test.express {
			t.Errorf("ExpressLayout is %v", got)
		}
	}
	if err := open(t, inner, cachestore.Options{}).Run(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Run on a store without a channel: %v", err)
	}
	configured := fmt.Errorf("not as it is configured: %w", errors.ErrUnsupported)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := open(t, mute{inner, configured}, cachestore.Options{}).Run(ctx); !errors.Is(err, configured) {
		t.Errorf("Run on a store that cannot have a channel: %v", err)
	}
	for _, test := range []struct {
		inner session.Store
		opts  cachestore.Options
	}{{nil, cachestore.Options{}}, {withClients{inner}, cachestore.Options{}}, {inner, cachestore.Options{MaxStale: -1}}, {inner, cachestore.Options{MaxRecords: -1}}, {inner, cachestore.Options{MaxBytes: -1}}} {
		if _, err := cachestore.New(test.inner, &test.opts); err == nil {
			t.Errorf("New took %+v", test)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	bubble(t, cachestore.Options{}, func(t *testing.T, h *hub, c *cachestore.Cache) {
		for _, refuse := range []bool{false, true} { // while it listens, and while it waits to
			h.set(false, refuse)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			if err := c.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Hour {
				t.Errorf("Run returned %v after %v", err, time.Since(began))
			}
			if c.Stats().Watching {
				t.Error("the cache thinks that there is a channel")
			}
		}
	})
}

// Some processes count and read while channels die, with a sign and without. No
// read is older than the bound.
func TestStalenessBound(t *testing.T) {
	const maxStale = 20 * time.Millisecond
	const slack = 5 * time.Millisecond // between the moment of a read and our look at the clock: none in theory
	h := newHub(t)
	type ack struct {
		n  int
		at time.Time
	}
	var mu sync.Mutex
	acks := []ack{{0, time.Now()}}
	// known is the number that had been acknowledged at a time.
	known := func(at time.Time) int {
		mu.Lock()
		defer mu.Unlock()
		for i := len(acks) - 1; i >= 0; i-- {
			if !acks[i].at.After(at) {
				return acks[i].n
			}
		}
		return -1
	}
	save(t, h, record("a", 0))
	var stop atomic.Bool
	var wg sync.WaitGroup
	var reads, hits uint64
	for range 3 {
		c := watch(t, open(t, h, cachestore.Options{MaxStale: maxStale}))
		s := c.Store()
		wg.Go(func() { // a writer
			for !stop.Load() {
				time.Sleep(rand.N(2 * time.Millisecond))
				rec, err := s.Load(context.Background(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				fmt.Sscan(string(rec.Data), &n)
				rec.Data = fmt.Append(nil, n+1)
				if _, err := s.Save(context.Background(), &rec); err == nil {
					mu.Lock()
					acks = append(acks, ack{n + 1, time.Now()})
					mu.Unlock()
				}
			}
		})
		wg.Go(func() { // a reader
			for !stop.Load() {
				began := time.Now()
				rec, err := s.Load(context.Background(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				fmt.Sscan(string(rec.Data), &n)
				if least := known(began.Add(-maxStale - slack)); n < least {
					t.Errorf("a read gives %d, but %d was acknowledged longer ago than the bound", n, least)
				}
				time.Sleep(rand.N(200 * time.Microsecond))
			}
			mu.Lock()
			defer mu.Unlock()
			stats := c.Stats()
			reads, hits = reads+stats.Hits+stats.Misses, hits+stats.Hits
		})
	}
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for range rounds {
		time.Sleep(rand.N(40 * time.Millisecond))
		switch rand.IntN(4) {
		case 0:
			h.set(true, false)
		case 1:
			h.set(false, false)
		case 2:
			h.lose()
		case 3:
			h.set(false, true)
			h.lose()
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d changes, %d reads, of which %d from the cache", acks[len(acks)-1].n, reads, hits)
	if hits == 0 {
		t.Error("the cache was not used")
	}
}
