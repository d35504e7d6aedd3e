package memstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

func TestConcurrentSavesLoseNothing(t *testing.T) {
	s := New(&Options{Now: newClock().now})
	const workers, each = 8, 500
	mustSave(t, s, rec("counter", "", string(make([]byte, 8)), time.Hour))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				r, err := s.Load(t.Context(), "counter")
				if err != nil {
					t.Error(err)
					return
				}
				binary.LittleEndian.PutUint64(r.Data, binary.LittleEndian.Uint64(r.Data)+1)
				switch _, err := s.Save(t.Context(), &r); {
				case err == nil:
					done++
				case !errors.Is(err, session.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	r, _ := s.Load(t.Context(), "counter")
	if n := binary.LittleEndian.Uint64(r.Data); n != workers*each {
		t.Errorf("%d increments of %d are left", n, workers*each)
	}
}

// TestConcurrentEverything looks for races, for torn records, and for bounds
// that do not hold.
func TestConcurrentEverything(t *testing.T) {
	c := newClock()
	const most = 200
	s := New(&Options{MaxSessions: most, MaxBytes: 200_000, Full: EvictSoonest, Now: c.now,
		OnEvict: func(id, subject string) {
			if !strings.HasPrefix(id, "id-") {
				t.Error("evicted what nobody saved")
			}
		}})
	whole := func(r session.Record) {
		if len(r.Data) == 0 || strings.Count(string(r.Data), string(r.Data[:1])) != len(r.Data) {
			t.Error("a torn record")
		}
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 0))
			for range 3000 {
				id := fmt.Sprint("id-", r.IntN(2*most))
				switch r.IntN(12) {
				case 0, 1, 2, 3, 4:
					old, _ := s.Load(t.Context(), id)
					data := strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(1200))
					n := rec(id, []string{"", "s", "t"}[r.IntN(3)], data, time.Duration(r.IntN(100))*time.Second)
					n.Version = old.Version
					s.Save(t.Context(), n)
				case 5, 6, 7:
					if rec, err := s.Load(t.Context(), id); err == nil {
						whole(rec)
					}
				case 8:
					s.Touch(t.Context(), id, c.now(), c.now().Add(time.Minute))
				case 9:
					s.Delete(t.Context(), id)
				case 10:
					c.advance(10 * time.Millisecond)
					s.Sweep(t.Context(), c.now())
				case 11:
					page, _, err := s.List(t.Context(), session.Query{Subject: []string{"", "s"}[r.IntN(2)], Limit: 50})
					if err != nil {
						t.Error(err)
					}
					for _, rec := range page {
						whole(rec)
					}
				}
				if n := s.Len(); n > most {
					t.Errorf("%d records", n)
				}
			}
		})
	}
	wg.Wait()
	check(t, s)
}

func TestCloseWhileInUse(t *testing.T) {
	s := New(nil)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				_, err := s.Save(t.Context(), &session.Record{
					ID: fmt.Sprint(worker, "-", i), Data: []byte("d"), Expires: time.Now().Add(time.Hour)})
				if errors.Is(err, errClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if i == 1000 && worker == 0 {
					s.Close()
				}
			}
		})
	}
	wg.Wait()
	check(t, s)
	if s.Len() != 0 {
		t.Errorf("%d records are left", s.Len())
	}
}
