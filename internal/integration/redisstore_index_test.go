package integration

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/redisstore"
)

// A redisAdmin looks at a server past the store.
type redisAdmin struct {
	t      *testing.T
	client rueidis.Client
}

func (a redisAdmin) do(words ...string) rueidis.RedisResult {
	a.t.Helper()
	// The key, if there is one, comes second.
	c := a.client.B().Arbitrary(words[0])
	if len(words) > 1 {
		c = c.Keys(words[1]).Args(words[2:]...)
	}
	r := a.client.Do(a.t.Context(), c.Build())
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		a.t.Fatalf("%s: %v", words[0], err)
	}
	return r
}

func (a redisAdmin) int(words ...string) int64 {
	a.t.Helper()
	n, err := a.do(words...).AsInt64()
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

func (a redisAdmin) text(words ...string) string {
	a.t.Helper()
	s, err := a.do(words...).ToString()
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// keys returns all keys of all masters.
func (a redisAdmin) keys() (keys []string) {
	a.t.Helper()
	for _, node := range a.client.Nodes() {
		cursor := uint64(0)
		for {
			e, err := node.Do(a.t.Context(), node.B().Scan().Cursor(cursor).Count(1000).Build()).AsScanEntry()
			if err != nil {
				a.t.Fatal(err)
			}
			keys = append(keys, e.Elements...)
			if cursor = e.Cursor; cursor == 0 {
				break
			}
		}
	}
	return keys
}

func listAll(t *testing.T, store session.Lister, subject string, limit int) (ids []string) {
	t.Helper()
	q := session.Query{Subject: subject, Limit: limit}
	for {
		page, next, err := store.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range page {
			ids = append(ids, rec.ID)
		}
		if next == "" {
			slices.Sort(ids)
			return slices.Compact(ids)
		}
		q.Cursor = next
	}
}

func forEachIndexPlace(t *testing.T, f func(t *testing.T, place redisPlace, target redisTarget)) {
	for _, target := range redisTargets {
		switch target.name {
		case "standalone", "cluster", "go-redis standalone":
			place := target.start(t)
			t.Run(target.name, func(t *testing.T) { f(t, place, target) })
		}
	}
}

// Nothing is immortal, and an index lives as long as its longest record.
func TestRedisTimeToLive(t *testing.T) {
	forEachIndexPlace(t, func(t *testing.T, place redisPlace, target redisTarget) {
		store := target.open(t, place, redisstore.Options{})
		admin := redisAdmin{t, rueidisClient(t, place.addrs...)}
		check := func(what string) {
			t.Helper()
			keys := admin.keys()
			if len(keys) == 0 {
				t.Fatal("there are no keys")
			}
			for _, key := range keys {
				if ttl := admin.int("PTTL", key); ttl < 0 {
					t.Errorf("%s: the key %s never expires (%d)", what, key, ttl)
				}
			}
		}
		agree := func(rec session.Record) {
			t.Helper()
			left := time.Until(rec.Expires)
			if ttl := time.Duration(admin.int("PTTL", "session:id:"+rec.ID)) * time.Millisecond; (ttl - left).Abs() > 200*time.Millisecond {
				t.Errorf("the server lets the record live for %v, want %v", ttl, left)
			}
			if rec.Subject != "" {
				if ttl := time.Duration(admin.int("PTTL", "session:subject:"+rec.Subject)) * time.Millisecond; ttl < left {
					t.Errorf("the index lives for %v, its record for %v", ttl, left)
				}
			}
		}
		short, long := redisRecord("short", "alice"), redisRecord("long", "alice")
		long.Expires = now().Add(100 * time.Hour)
		save(t, store, &long)
		save(t, store, &short)
		check("insert")
		agree(short)
		agree(long)
		for n := range 6 {
			short.Expires = short.Expires.Add(time.Duration(n) * 20 * time.Hour)
			if n%2 == 0 {
				save(t, store, &short)
			} else if err := store.Touch(t.Context(), short.ID, now(), short.Expires); err != nil {
				t.Fatal(err)
			}
			agree(short)
			check("prolong")
		}
		anonymous := redisRecord("anonymous", "")
		save(t, store, &anonymous)
		for _, subject := range []string{"bob", "", "alice"} {
			anonymous.Subject = subject
			save(t, store, &anonymous)
			agree(anonymous)
			check("change subject")
		}
		if got, want := listAll(t, store, "alice", 1), []string{"anonymous", "long", "short"}; !slices.Equal(got, want) {
			t.Errorf("alice has %v, want %v", got, want)
		}
	})
}

// A place whose record is gone is removed, but not one whose record may be about
// to come.
func TestRedisIndexRepairs(t *testing.T) {
	forEachIndexPlace(t, func(t *testing.T, place redisPlace, target redisTarget) {
		var offset atomic.Int64
		store := target.open(t, place, redisstore.Options{Now: func() time.Time {
			return time.Now().Add(time.Duration(offset.Load()))
		}})
		admin := redisAdmin{t, rueidisClient(t, place.addrs...)}
		const index = "session:subject:alice"
		var want []string
		for n := range 20 {
			rec := redisRecord(fmt.Sprint("id", n), "alice")
			rec.Expires = now().Add(1000 * time.Hour)
			save(t, store, &rec)
			if n%2 == 0 {
				admin.int("DEL", "session:id:"+rec.ID)
			} else {
				want = append(want, rec.ID)
			}
		}
		slices.Sort(want)
		for _, limit := range []int{1, 3, 100} {
			if got := listAll(t, store, "alice", limit); !slices.Equal(got, want) {
				t.Fatalf("with limit %d the list is %v, want %v", limit, got, want)
			}
		}
		if n := admin.int("ZCARD", index); n != 20 {
			t.Errorf("the index has %d places, want 20: they are too new to be removed", n)
		}
		offset.Store(int64(10 * time.Minute))
		listAll(t, store, "alice", 3)
		if n := admin.int("ZCARD", index); n != 10 {
			t.Errorf("the index has %d places, want the 10 with records", n)
		}

		// Delete leaves no place behind.
		if err := store.Delete(t.Context(), want[0]); err != nil {
			t.Fatal(err)
		}
		if n := admin.int("ZCARD", index); n != 9 {
			t.Errorf("after Delete the index has %d places, want 9", n)
		}

		// What is lost comes back with use: an hour later.
		admin.int("DEL", index)
		for _, id := range want[1:] {
			rec := load(t, store, id)
			if err := store.Touch(t.Context(), id, rec.LastSeen, rec.Expires.Add(30*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		if got := listAll(t, store, "alice", 100); len(got) != 0 {
			t.Errorf("after half an hour the list is %v, want nothing yet", got)
		}
		for n, id := range want[1:] {
			rec := load(t, store, id)
			rec.Expires = rec.Expires.Add(time.Hour)
			if n%2 == 0 {
				save(t, store, &rec)
			} else if err := store.Touch(t.Context(), id, rec.LastSeen, rec.Expires); err != nil {
				t.Fatal(err)
			}
		}
		if got := listAll(t, store, "alice", 2); !slices.Equal(got, want[1:]) {
			t.Errorf("after an hour the list is %v, want %v", got, want[1:])
		}

		// Places that are good no longer go with the next one that is written.
		offset.Store(int64(2000 * time.Hour))
		rec := redisRecord("later", "alice")
		rec.Expires = now().Add(2001 * time.Hour)
		save(t, store, &rec)
		if n := admin.int("ZCARD", index); n != 1 {
			t.Errorf("the index has %d places, want only the new one", n)
		}
	})
}

// Many records with one score, and one that is deleted and made anew.
func TestRedisIndexSameMoment(t *testing.T) {
	forEachIndexPlace(t, func(t *testing.T, place redisPlace, target redisTarget) {
		fixed := time.Now()
		store := target.open(t, place, redisstore.Options{Now: func() time.Time { return fixed }})
		admin := redisAdmin{t, rueidisClient(t, place.addrs...)}
		var want []string
		for n := range 30 {
			rec := redisRecord(fmt.Sprintf("id%02d", n), "alice")
			rec.Expires = fixed.UTC().Truncate(time.Minute).Add(time.Hour)
			save(t, store, &rec)
			want = append(want, rec.ID)
		}
		for limit := range 33 {
			if got := listAll(t, store, "alice", limit+1); !slices.Equal(got, want) {
				t.Fatalf("with limit %d the list is %v", limit+1, got)
			}
		}
		score := func() float64 {
			s, err := strconv.ParseFloat(admin.text("ZSCORE", "session:subject:alice", "id00"), 64)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		before := score()
		admin.int("DEL", "session:id:id00")
		rec := redisRecord("id00", "alice")
		rec.Expires = fixed.UTC().Truncate(time.Minute).Add(time.Hour)
		save(t, store, &rec)
		if after := score(); after <= before {
			t.Errorf("the score was %v and is %v: whoever removes the old place removes the new one", before, after)
		}
	})
}

// Places that a list removes may be of the same moment as those where it goes on.
func TestRedisIndexSameMomentRepairs(t *testing.T) {
	forEachIndexPlace(t, func(t *testing.T, place redisPlace, target redisTarget) {
		written := time.Now()
		open := func(now time.Time) redisStore {
			return target.open(t, place, redisstore.Options{Now: func() time.Time { return now }})
		}
		early, late := open(written), open(written.Add(10*time.Minute))
		admin := redisAdmin{t, rueidisClient(t, place.addrs...)}
		for limit := range 12 {
			for _, keep := range []int{2, 3, 11} { // one record of so many stays
				subject := fmt.Sprint("alice", limit, "-", keep)
				var want []string
				for n := range 11 {
					rec := redisRecord(fmt.Sprintf("%s-%02d", subject, n), subject)
					rec.Expires = written.UTC().Truncate(time.Minute).Add(time.Hour)
					save(t, early, &rec)
					if n%keep == keep-1 {
						want = append(want, rec.ID)
					} else {
						admin.int("DEL", "session:id:"+rec.ID)
					}
				}
				if got := listAll(t, late, subject, limit+1); !slices.Equal(got, want) {
					t.Errorf("with limit %d, one of %d kept, the list is %v, want %v", limit+1, keep, got, want)
				}
				if n := admin.int("ZCARD", "session:subject:"+subject); n != int64(len(want)) {
					t.Errorf("with limit %d, one of %d kept, the index has %d places, want %d", limit+1, keep, n, len(want))
				}
			}
		}
	})
}

// Whatever happens at once, no record is without its place.
func TestRedisIndexConcurrent(t *testing.T) {
	forEachIndexPlace(t, func(t *testing.T, place redisPlace, target redisTarget) {
		var wg sync.WaitGroup
		stop := time.Now().Add(700 * time.Millisecond)
		for g := range 6 {
			store := target.open(t, place, redisstore.Options{})
			wg.Go(func() {
				for n := 0; time.Now().Before(stop); n++ {
					id, subject := fmt.Sprint("id", (n+g)%9), fmt.Sprint("user", n%2)
					rec, err := store.Load(t.Context(), id)
					if err != nil {
						rec = redisRecord(id, subject)
					}
					rec.Subject = subject
					rec.Expires = rec.Expires.Add(time.Duration(n%7) * 13 * time.Minute)
					switch n % 5 {
					case 0:
						store.Delete(t.Context(), id)
					case 1:
						store.Touch(t.Context(), id, rec.LastSeen, rec.Expires.Add(2*time.Hour))
					case 2:
						store.List(t.Context(), session.Query{Subject: subject, Limit: 3})
					default:
						store.Save(t.Context(), &rec)
					}
				}
			})
		}
		wg.Wait()
		store := target.open(t, place, redisstore.Options{})
		of := make(map[string][]string)
		q := session.Query{Limit: 100}
		page, _, err := store.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range page {
			of[rec.Subject] = append(of[rec.Subject], rec.ID)
		}
		if target.name != "cluster" && len(page) == 0 {
			t.Error("nothing is left to look at")
		}
		for subject, ids := range of {
			got := listAll(t, store, subject, 2)
			for _, id := range ids {
				if !slices.Contains(got, id) {
					t.Errorf("%s is of %s, and not in the list %v", id, subject, got)
				}
			}
		}
	})
}

// A cluster is listed from all masters, whatever the prefix, and one node of it
// does not pass for all.
func TestRedisListCluster(t *testing.T) {
	place := redisCluster(t)
	for _, prefix := range []string{"", "{tag}:", "{}:"} {
		opts := redisstore.Options{Prefix: prefix}
		store := openRueidis(t, place, opts)
		for n := range 50 {
			rec := redisRecord(fmt.Sprint("id", n), "alice")
			save(t, store, &rec)
		}
		for name, s := range map[string]redisStore{"rueidis": store, "go-redis": openGoRedisCluster(t, place, opts)} {
			if got := len(listAll(t, s, "", 7)); got != 50 {
				t.Errorf("%s, prefix %q: the list has %d records, want 50", name, prefix, got)
			}
			if got := len(listAll(t, s, "alice", 7)); got != 50 {
				t.Errorf("%s, prefix %q: the list of the subject has %d records, want 50", name, prefix, got)
			}
		}
	}
	one := openGoRedis(t, redisPlace{addrs: place.addrs[:1]}, redisstore.Options{})
	if page, _, err := one.List(t.Context(), session.Query{Limit: 100}); err == nil {
		t.Errorf("List of one node of a cluster returned %d records and no error", len(page))
	}
	store := openRueidis(t, place, redisstore.Options{})
	if _, _, err := store.List(t.Context(), session.Query{Limit: 1, Cursor: "0..bm9uZTo2Mzc5"}); err == nil {
		t.Error("List took the cursor of a node that there is not")
	}
}
