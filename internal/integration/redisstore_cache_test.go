package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/redisstore"
)

// seen waits until the store loads data, and returns how long that took.
func seen(t *testing.T, store redisStore, id, data string, since time.Time, most time.Duration) time.Duration {
	t.Helper()
	for {
		rec, err := store.Load(t.Context(), id)
		took := time.Since(since)
		if err == nil && string(rec.Data) == data || errors.Is(err, session.ErrNotFound) && data == "" {
			return took
		}
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			t.Fatal(err)
		}
		if took > most {
			t.Fatalf("after %v the cache still has %s, %v", took, rec.Data, err)
		}
	}
}

func forEachCachePlace(t *testing.T, f func(t *testing.T, place redisPlace, layout redisstore.Layout)) {
	for name, start := range map[string]func(testing.TB) redisPlace{"standalone": oneRedis, "cluster": redisCluster} {
		place := start(t)
		for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
			t.Run(name+" "+layout.String(), func(t *testing.T) { f(t, place, layout) })
		}
	}
}

// What another process changes is seen within milliseconds; what this one changes,
// by its next Load.
func TestRedisCacheInvalidation(t *testing.T) {
	forEachCachePlace(t, func(t *testing.T, place redisPlace, layout redisstore.Layout) {
		opts := redisstore.Options{Layout: layout, Prefix: t.Name()}
		writer, reader := openRueidis(t, place, opts), openCached(t, place, opts)
		const rounds, most = 200, 2 * time.Second
		var took []time.Duration
		for n := range rounds {
			rec := redisRecord(fmt.Sprint("id", n), "")
			save(t, writer, &rec)
			load(t, reader, rec.ID)
			load(t, reader, rec.ID)

			rec.Data = []byte(`{"n":"other"}`)
			save(t, writer, &rec)
			took = append(took, seen(t, reader, rec.ID, string(rec.Data), time.Now(), most))

			own := load(t, reader, rec.ID)
			own.Data = []byte(`{"n":"own"}`)
			save(t, reader, &own)
			if got := load(t, reader, rec.ID); string(got.Data) != string(own.Data) {
				t.Fatalf("after its own Save the store loads %s", got.Data)
			}
			later := own.Expires.Add(time.Hour)
			if err := reader.Touch(t.Context(), rec.ID, later, later); err != nil {
				t.Fatal(err)
			}
			if got := load(t, reader, rec.ID); got.Expires.Before(later) {
				t.Fatalf("after its own Touch the store loads %v, want %v", got.Expires, later)
			}
			if n%2 == 0 {
				if err := reader.Delete(t.Context(), rec.ID); err != nil {
					t.Fatal(err)
				}
				if _, err := reader.Load(t.Context(), rec.ID); !errors.Is(err, session.ErrNotFound) {
					t.Fatalf("after its own Delete: %v", err)
				}
			} else {
				if err := writer.Delete(t.Context(), rec.ID); err != nil {
					t.Fatal(err)
				}
				took = append(took, seen(t, reader, rec.ID, "", time.Now(), most))
			}
			// That there is none is cached too, and must be forgotten too.
			rec.Version, rec.Data = 0, []byte(`{"n":"anew"}`)
			save(t, writer, &rec)
			took = append(took, seen(t, reader, rec.ID, string(rec.Data), time.Now(), most))
		}
		slices.Sort(took)
		t.Logf("a change of another process is seen after %v (median), %v (1 in 100), %v (slowest)",
			took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	})
}

// After a conflict the reload must not come from what was outdated.
func TestRedisCacheConflict(t *testing.T) {
	forEachCachePlace(t, func(t *testing.T, place redisPlace, layout redisstore.Layout) {
		opts := redisstore.Options{Layout: layout, Prefix: t.Name()}
		writer, reader := openRueidis(t, place, opts), openCached(t, place, opts)
		rec := redisRecord("id", "")
		save(t, writer, &rec)
		for n := range 300 {
			stale := load(t, reader, rec.ID)
			rec.Data = fmt.Appendf(nil, `{"n":%d}`, n+2)
			save(t, writer, &rec)
			stale.Data = []byte(`{"n":"stale"}`)
			if _, err := reader.Save(t.Context(), &stale); !errors.Is(err, session.ErrConflict) {
				t.Fatalf("Save of a stale record: %v", err)
			}
			if got := load(t, reader, rec.ID); string(got.Data) != string(rec.Data) {
				t.Fatalf("after a conflict the store loads %s, want %s", got.Data, rec.Data)
			}
		}
	})
}

// When the connection of the invalidations is gone, so is what they were for.
func TestRedisCacheConnectionLost(t *testing.T) {
	server := servers.Redis(t, durable...)
	place := redisPlace{addrs: []string{server.Addr}}
	for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
		opts := redisstore.Options{Layout: layout, Prefix: t.Name() + layout.String()}
		reader := openCached(t, place, opts)
		rec := redisRecord("id", "")
		save(t, openRueidis(t, place, opts), &rec)

		t.Run(layout.String()+" killed by the server", func(t *testing.T) {
			for n := range 20 {
				load(t, reader, rec.ID)
				load(t, reader, rec.ID)
				if !kill(t, server.Addr) {
					t.Fatal("no connection had tracking on")
				}
				writer := openRueidis(t, place, opts)
				rec = load(t, writer, rec.ID)
				rec.Data = fmt.Appendf(nil, `{"n":"killed %d"}`, n)
				save(t, writer, &rec)
				took := seen(t, reader, rec.ID, string(rec.Data), time.Now(), time.Second)
				if n == 0 {
					t.Logf("seen after %v", took)
				}
			}
		})
		t.Run(layout.String()+" server restarted", func(t *testing.T) {
			load(t, reader, rec.ID)
			server.Kill()
			began := time.Now()
			for {
				// Nothing says any more that what the cache has is so.
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				_, err := reader.Load(ctx, rec.ID)
				cancel()
				if err != nil {
					break
				}
				if took := time.Since(began); took > time.Second {
					t.Fatalf("%v after the server was killed the cache still answers", took)
				}
			}
			t.Logf("the cache answered no more %v after the server was killed", time.Since(began))
			server.Restart()
			writer := openRueidis(t, place, opts)
			rec = load(t, writer, rec.ID)
			rec.Data = []byte(`{"n":"restarted"}`)
			save(t, writer, &rec)
			seen(t, reader, rec.ID, string(rec.Data), time.Now(), time.Second)
		})
	}
}

// kill ends all connections that have tracking on, but for those of other tests,
// and reports whether there were any.
func kill(t *testing.T, addr string) (any bool) {
	t.Helper()
	admin, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true, PipelineMultiplex: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	list, err := admin.Do(t.Context(), admin.B().Arbitrary("CLIENT", "LIST").Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(list) {
		fields := make(map[string]string)
		for _, f := range strings.Fields(line) {
			name, value, _ := strings.Cut(f, "=")
			fields[name] = value
		}
		if strings.Contains(fields["flags"], "t") {
			n, err := admin.Do(t.Context(), admin.B().Arbitrary("CLIENT", "KILL", "ID", fields["id"]).Build()).AsInt64()
			any = any || err == nil && n == 1
		}
	}
	return any
}

// Without tracking the option does no harm.
func TestRedisCacheWithoutTracking(t *testing.T) {
	server := servers.Redis(t)
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	place := redisPlace{addrs: []string{server.Addr}}
	for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
		opts := redisstore.Options{Layout: layout}
		writer := openRueidis(t, place, opts)
		opts.ClientCache = time.Minute
		reader := newRedisStore(t, client, opts)
		rec := redisRecord("id", "")
		for n := range 5 {
			rec.Data = fmt.Appendf(nil, `{"n":%d}`, n)
			save(t, writer, &rec)
			if got := load(t, reader, rec.ID); string(got.Data) != string(rec.Data) {
				t.Fatalf("the store loads %s", got.Data)
			}
		}
	}
}

// Who gives up a Load does not fail those that wait for the same reply.
func TestRedisCacheGivenUp(t *testing.T) {
	server := servers.Redis(t)
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, PipelineMultiplex: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	store := newRedisStore(t, client, redisstore.Options{ClientCache: time.Minute})
	rec := redisRecord("id", "")
	save(t, store, &rec)
	server.Pause()
	results := make(chan error, 2)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { results <- second(store.Load(ctx, rec.ID)) }()
	time.Sleep(50 * time.Millisecond)
	waiting := make(chan error, 1)
	go func() { waiting <- second(store.Load(t.Context(), rec.ID)) }()
	time.Sleep(50 * time.Millisecond)
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("the Load that was given up: %v", err)
	}
	time.Sleep(50 * time.Millisecond)
	server.Resume()
	if err := <-waiting; err != nil {
		t.Errorf("the Load that was not given up: %v", err)
	}
}
