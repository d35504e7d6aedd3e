package filestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// A counter is the data of the records of these tests. Its parts tell whether
// it is whole: N times the letter, and a checksum of all.
type counter struct {
	N        int               `json:"n"`
	Pad      string            `json:"pad"`
	Sum      uint32            `json:"sum"`
	Passport map[string]string `json:"passport"`
}

func counterData(n int) []byte {
	c := counter{N: n, Pad: strings.Repeat("x", n*37%9000), Passport: map[string]string{"user": "churner"}}
	c.Sum = crc32.ChecksumIEEE(fmt.Appendf(nil, "%d %s", c.N, c.Pad))
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}

// parseCounter returns the number in the data, or an error if it is not what
// counterData made.
func parseCounter(data []byte) (int, error) {
	var c counter
	if err := json.Unmarshal(data, &c); err != nil {
		return 0, err
	}
	if string(counterData(c.N)) != string(data) {
		return 0, errors.New("the data is not as it was saved")
	}
	return c.N, nil
}

// addOne counts the record with the ID up, against whoever does so too.
func addOne(s *Store, id string) (n int, err error) {
	for {
		rec, err := s.Load(ctx, id)
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			return 0, err
		}
		n := 0
		if err == nil {
			if n, err = parseCounter(rec.Data); err != nil {
				return 0, err
			}
		}
		rec.ID, rec.Subject, rec.Data = id, "churner", counterData(n+1)
		rec.LastSeen = time.Now()
		rec.Expires = rec.LastSeen.Add(time.Hour)
		if _, err = s.Save(ctx, &rec); err == nil {
			return n + 1, nil
		}
		if !errors.Is(err, session.ErrConflict) {
			return 0, err
		}
	}
}

// churnID returns one of the few IDs that the children quarrel about.
func churnID(i int) string { return fmt.Sprintf("churned-record-%02d", i) }

const churnIDs = 5

// churn is a child that counts records up, printing what was saved, touches
// them, and saves and deletes others, until it is killed.
func churn(dir string, opts *Options) error {
	s, err := New(dir, opts)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		id := churnID(rand.N(churnIDs))
		n, err := addOne(s, id)
		if err != nil {
			return err
		}
		fmt.Println(id, n)
		if err := s.Touch(ctx, id, time.Now(), time.Now().Add(2*time.Hour)); err != nil {
			return err
		}
		other := sample(fmt.Sprintf("passing-%d-%d", i, rand.Uint64()))
		if _, err := s.Save(ctx, other); err != nil {
			return err
		}
		if i%2 == 0 {
			if err := s.Delete(ctx, other.ID); err != nil {
				return err
			}
		}
	}
}

// increment is a child that counts one record up so many times.
func increment(dir string, opts *Options) error {
	s, err := New(dir, opts)
	if err != nil {
		return err
	}
	for range increments {
		if _, err := addOne(s, "counted"); err != nil {
			return err
		}
	}
	return nil
}

const increments = 150

func TestProcessesThatAreKilledLeaveWholeRecords(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		dir := t.TempDir()
		acked := map[string]map[int]bool{} // what was reported as saved, by ID
		kills := 0
		for round := range 12 {
			o := *opts
			o.NoSync = round%2 == 0
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 2 {
				cmd, out := startChild(t, "churn", dir, o)
				kills++
				wg.Go(func() {
					if !out.Scan() {
						t.Error("the child said nothing")
						return
					}
					time.AfterFunc(rand.N(60*time.Millisecond), func() { cmd.Process.Kill() })
					for ok := true; ok; ok = out.Scan() {
						var id string
						var n int
						if _, err := fmt.Sscan(out.Text(), &id, &n); err != nil {
							continue // it was killed while it printed
						}
						mu.Lock()
						if acked[id] == nil {
							acked[id] = map[int]bool{}
						}
						if acked[id][n] {
							t.Errorf("two processes saved number %d of one record", n)
						}
						acked[id][n] = true
						mu.Unlock()
					}
					cmd.Wait()
				})
			}
			wg.Wait()
			s := open(t, dir, opts)
			for i := range churnIDs {
				rec, err := s.Load(ctx, churnID(i))
				if errors.Is(err, session.ErrNotFound) && len(acked[churnID(i)]) == 0 {
					continue
				}
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				n, err := parseCounter(rec.Data)
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				// Every save counts up by one. A child that was killed may have
				// saved one more than it could report.
				if known := len(acked[rec.ID]); n < known || n > known+kills {
					t.Fatalf("round %d: the number is %d after %d reported saves and %d kills", round, n, known, kills)
				}
			}
		}
		s := open(t, dir, opts)
		sweep(t, s, now.Add(-time.Hour), 0)
		listed := map[string]bool{}
		for _, subject := range []string{"churner", "user-23"} {
			q := session.Query{Subject: subject, Limit: 7}
			for {
				recs, next, err := s.List(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				for _, rec := range recs {
					listed[rec.ID] = true
				}
				if q.Cursor = next; next == "" {
					break
				}
			}
		}
		records, markers := 0, 0
		for _, path := range files(t, dir) {
			if strings.HasSuffix(path, tempSuffix) {
				t.Errorf("a temporary file is left after Sweep")
			}
			if strings.HasPrefix(path, subjectsDir) {
				markers++
			} else {
				records++
			}
		}
		if records != len(listed) {
			t.Errorf("%d records are there, but %d are listed by subject", records, len(listed))
		}
		if opts.Layout == Native && markers != records {
			t.Errorf("%d markers for %d records after Sweep", markers, records)
		}
		t.Logf("%d kills, %d records at the end", kills, records)
	})
}

func TestProcessesCountExactly(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		dir := t.TempDir()
		var wg sync.WaitGroup
		for range 2 {
			cmd, out := startChild(t, "increment", dir, *opts)
			wg.Go(func() {
				for out.Scan() {
				}
				if err := cmd.Wait(); err != nil {
					t.Errorf("the child failed: %v", err)
				}
			})
		}
		// And two stores and two goroutines in this process.
		for range 2 {
			s := open(t, dir, opts)
			for range 2 {
				wg.Go(func() {
					for range increments / 2 {
						if _, err := addOne(s, "counted"); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		wg.Wait()
		n, err := parseCounter(load(t, open(t, dir, opts), "counted").Data)
		if want := 4 * increments; n != want || err != nil {
			t.Fatalf("counted to %d with error %v, want %d", n, err, want)
		}
	})
}
