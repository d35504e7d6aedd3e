package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/boltstore"
	"go.etcd.io/bbolt"
)

// childDir is the environment variable that makes the test binary write to the
// database in that folder until it is killed.
const childDir = "BOLTSTORE_TEST_CHILD"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := write(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const writers = 4

// write counts a record up for each of some goroutines, printing each number
// when it was saved, and lets others come and go.
func write(dir string) error {
	db, err := bbolt.Open(dir+"/test.db", 0o600, &bbolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	store, err := boltstore.New(db, nil)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := range writers {
		go func() {
			for round := 0; ; round++ {
				if err := writeOne(store, i, round); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func writeOne(store *boltstore.Store, i, round int) error {
	ctx := context.Background()
	rec, err := store.Load(ctx, counterID(i))
	n := 0
	switch {
	case err == nil:
		n, err = number(rec.Data)
	case errors.Is(err, session.ErrNotFound):
		rec, err = session.Record{ID: counterID(i)}, nil
	}
	if err != nil {
		return err
	}
	now := time.Now()
	rec.Data, rec.Subject = counterData(n+1), fmt.Sprint("user-", n%3)
	rec.LastSeen, rec.Expires = now, now.Add(time.Hour)
	if _, err := store.Save(ctx, &rec); err != nil {
		return err
	}
	fmt.Printf("%d %d\n", i, n+1)
	if err := store.Touch(ctx, rec.ID, now, now.Add(2*time.Hour)); err != nil {
		return err
	}
	other := session.Record{ID: fmt.Sprintf("other-%d-%d", i, rand.Uint64()), Subject: "other", Data: []byte("{}"), Expires: now.Add(-time.Minute)}
	if _, err := store.Save(ctx, &other); err != nil {
		return err
	}
	switch round % 8 {
	case 0, 1, 2, 3:
		return store.Delete(ctx, other.ID)
	case 4:
		_, err := store.Sweep(ctx, now)
		return err
	}
	return nil
}

func counterID(i int) string { return fmt.Sprint("counter-", i) }

// counterData is long enough to need pages of its own at times.
func counterData(n int) []byte {
	return fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", n*37%9000))
}

func number(data []byte) (n int, err error) {
	if _, err = fmt.Sscanf(string(data), `{"n":%d,`, &n); err == nil && string(counterData(n)) != string(data) {
		err = errors.New("the data is not as it was saved")
	}
	return n, err
}

func TestWhatWasAcknowledgedSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	acked := [writers]int{}
	kills := 8
	if testing.Short() {
		kills = 3
	}
	for kill := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			once.Do(func() { time.AfterFunc(rand.N(120*time.Millisecond), func() { cmd.Process.Kill() }) })
			var i, n int
			if _, err := fmt.Sscanf(lines.Text()+"\n", "%d %d\n", &i, &n); err == nil {
				acked[i] = max(acked[i], n)
			}
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
			t.Fatalf("the child ended by itself: %v", err)
		}

		db := open(t, dir, nil)
		store := newStore(t, db, nil)
		for i, n := range acked {
			rec, err := store.Load(t.Context(), counterID(i))
			if errors.Is(err, session.ErrNotFound) && n == 0 {
				continue
			}
			if err != nil {
				t.Fatalf("kill %d: the record whose number %d was reported: %v", kill, n, err)
			}
			got, err := number(rec.Data)
			if err != nil || got < n || got > n+1 { // one more than it could report
				t.Fatalf("kill %d: the number is %d, with error %v, after %d was reported", kill, got, err, n)
			}
			acked[i] = got
		}
		wantConsistent(t, db)
		db.Close()
	}
	t.Logf("%d kills; saved by each writer: %v", kills, acked)
}
