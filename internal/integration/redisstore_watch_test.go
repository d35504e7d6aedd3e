package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/redisstore"
)

// A watchedStore is one that a cache can be in front of.
type watchedStore interface {
	redisStore
	session.Watcher
}

func openWatched(t testing.TB, p redisPlace, opts redisstore.Options) watchedStore {
	t.Helper()
	return newRedisStore(t, rueidisClient(t, p.addrs...), opts)
}

// openWatchedGoRedis reads and writes with go-redis, and lets rueidis listen.
func openWatchedGoRedis(t testing.TB, p redisPlace, opts redisstore.Options) watchedStore {
	t.Helper()
	return struct {
		redisStore
		session.Watcher
	}{openGoRedis(t, p, opts), openWatched(t, p, opts)}
}

func forEachWatched(t *testing.T, f func(t *testing.T, place redisPlace, layout redisstore.Layout)) {
	for name, start := range map[string]func(testing.TB) redisPlace{"standalone": oneRedis, "cluster": redisCluster} {
		place := start(t)
		for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
			t.Run(name+" "+layout.String(), func(t *testing.T) { f(t, place, layout) })
		}
	}
}

// The whole suite with a cache in front of the store, for one process, and for
// two of which each must know what the other did.
func TestRedisWatchConformance(t *testing.T) {
	t.Parallel()
	forEachWatched(t, func(t *testing.T, place redisPlace, layout redisstore.Layout) {
		t.Parallel()
		for _, processes := range []string{"one process", "two processes"} {
			t.Run(processes, func(t *testing.T) {
				target := redisTarget{
					start: func(testing.TB) redisPlace { return place },
					open: func(t testing.TB, p redisPlace, opts redisstore.Options) redisStore {
						opts.Prefix = processes + layout.String() + opts.Prefix
						return openWatched(t, p, opts)
					},
				}
				plain := redisSuite(t, target, redisstore.Options{Layout: layout})
				suite := plain
				if processes == "one process" {
					suite.New = func(t *testing.T) session.Store {
						return watched(t, plain.New(t), cachestore.Options{}).Store()
					}
					suite.Reopen, suite.Peer = nil, nil
				} else {
					suite = cachedProcesses(plain)
				}
				suite.Run(t)
				if processes == "two processes" && layout == redisstore.Native && len(place.addrs) == 1 {
					storefacts.Measure(t, "cachestore", storefacts.Network, suite)
				}
			})
		}
	})
}

// What another process changes is seen within milliseconds, whoever that is. The
// cache would keep it for an hour.
func TestRedisWatchSeen(t *testing.T) {
	forEachWatched(t, func(t *testing.T, place redisPlace, layout redisstore.Layout) {
		for name, open := range map[string]func(testing.TB, redisPlace, redisstore.Options) watchedStore{
			"rueidis": openWatched, "go-redis": openWatchedGoRedis,
		} {
			if name == "go-redis" && len(place.addrs) > 1 {
				continue // its client for clusters needs nothing else of the test
			}
			t.Run(name, func(t *testing.T) {
				opts := redisstore.Options{Layout: layout, Prefix: t.Name() + ":"}
				cache := watched(t, open(t, place, opts), cachestore.Options{MaxStale: time.Hour})
				reader, writer := cache.Store(), openRueidis(t, place, opts)
				admin := redisAdmin{t, rueidisClient(t, place.addrs...)}
				keyOf := func(id string) string {
					if layout == redisstore.Native {
						return opts.Prefix + "id:" + id
					}
					return opts.Prefix + id
				}
				var took []time.Duration
				for n := range 100 {
					rec := redisRecord(fmt.Sprint("id", n), "alice")
					save(t, writer, &rec)
					change := func(what string, change func(), ok func(session.Record, error) bool) {
						t.Helper()
						// Twice, as the report of the change before may forget the first.
						reader.Load(t.Context(), rec.ID)
						reader.Load(t.Context(), rec.ID)
						change()
						began := time.Now()
						for got, err := reader.Load(t.Context(), rec.ID); !ok(got, err); got, err = reader.Load(t.Context(), rec.ID) {
							if time.Since(began) > 5*time.Second {
								t.Fatalf("%s: the cache still has %+v, %v", what, got, err)
							}
						}
						took = append(took, time.Since(began))
					}
					has := func(data string) func(session.Record, error) bool {
						return func(rec session.Record, err error) bool { return err == nil && string(rec.Data) == data }
					}
					gone := func(_ session.Record, err error) bool { return errors.Is(err, session.ErrNotFound) }

					change("save", func() { rec.Data = []byte(`{"n":2}`); save(t, writer, &rec) }, has(`{"n":2}`))
					later := rec.Expires.Add(time.Hour)
					change("touch", func() {
						if err := writer.Touch(t.Context(), rec.ID, later, later); err != nil {
							t.Fatal(err)
						}
					}, func(rec session.Record, err error) bool { return err == nil && !rec.Expires.Before(later) })
					change("own save", func() {
						own := load(t, reader, rec.ID)
						own.Data = []byte(`{"n":3}`)
						save(t, reader, &own)
					}, has(`{"n":3}`))
					if layout == redisstore.Express {
						// As connect-redis writes.
						change("SET", func() { admin.do("SET", keyOf(rec.ID), `{"n":4}`, "EX", "3600") }, has(`{"n":4}`))
						change("EXPIRE", func() { admin.do("EXPIRE", keyOf(rec.ID), "9000") },
							func(rec session.Record, err error) bool { return err == nil && time.Until(rec.Expires) > 2*time.Hour })
						change("DEL", func() { admin.do("DEL", keyOf(rec.ID)) }, gone)
						change("SET anew", func() { admin.do("SET", keyOf(rec.ID), `{"n":5}`, "EX", "3600") }, has(`{"n":5}`))
						change("PEXPIRE", func() { admin.do("PEXPIRE", keyOf(rec.ID), "1") }, gone)
						took = took[:len(took)-1] // the server takes its time to remove what has expired
						continue
					}
					switch n % 3 {
					case 0:
						change("delete", func() {
							if err := writer.Delete(t.Context(), rec.ID); err != nil {
								t.Fatal(err)
							}
						}, gone)
					case 1:
						change("an operator's DEL", func() { admin.do("DEL", keyOf(rec.ID)) }, gone)
					case 2:
						change("FLUSHALL", func() {
							for _, node := range admin.client.Nodes() {
								if err := node.Do(t.Context(), node.B().Flushall().Build()).Error(); err != nil {
									t.Fatal(err)
								}
							}
						}, gone)
					}
				}
				slices.Sort(took)
				t.Logf("a change is seen after %v (median), %v (1 in 100), %v (slowest); %+v",
					took[len(took)/2], took[len(took)*99/100], took[len(took)-1], cache.Stats())
				if stats := cache.Stats(); stats.Lost > 0 || stats.Hits < uint64(len(took)) {
					t.Errorf("the channel was lost, or the cache of no use: %+v", stats)
				}
			})
		}
	})
}

// What was changed before a time is reported before the claim of that time, while
// many write.
func TestRedisWatchCurrent(t *testing.T) {
	for name, start := range map[string]func(testing.TB) redisPlace{
		"standalone": oneRedis,
		"standalone with threads": func(t testing.TB) redisPlace {
			s := servers.Redis(t, "--io-threads", "4", "--io-threads-do-reads", "yes")
			return redisPlace{[]string{s.Addr}, []*servers.Server{s}}
		},
		"cluster": redisCluster,
	} {
		t.Run(name, func(t *testing.T) {
			place := start(t)
			var mu sync.Mutex
			pending := map[string]time.Time{} // written, and when that was known
			reported := map[string]bool{}
			var stop atomic.Bool
			var writers sync.WaitGroup
			for w := range 8 {
				store := openRueidis(t, place, redisstore.Options{})
				writers.Go(func() {
					for n := 0; !stop.Load(); n++ {
						rec := redisRecord(fmt.Sprint(w, "-", n), "")
						if _, err := store.Save(context.Background(), &rec); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						pending[rec.ID] = time.Now()
						mu.Unlock()
					}
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var claims, checked int
			var since time.Time
			err := openWatched(t, place, redisstore.Options{}).Watch(ctx, time.Microsecond,
				func(id string) {
					mu.Lock()
					defer mu.Unlock()
					reported[id] = true
				},
				func(asOf time.Time) {
					mu.Lock()
					defer mu.Unlock()
					if claims++; claims == 1 {
						since = asOf
					}
					for id, at := range pending {
						if !at.Before(asOf) {
							continue
						}
						if !at.Before(since.Add(time.Second)) || reported[id] {
							checked++
							if !reported[id] {
								t.Errorf("a change %v before the time of a claim was not reported", asOf.Sub(at))
							}
						}
						delete(pending, id)
						delete(reported, id)
					}
					if time.Since(since) > 4*time.Second && checked >= 1000 && claims >= 50 {
						cancel()
					}
				})
			stop.Store(true)
			writers.Wait()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%d claims of %d changes, and Watch returned %v", claims, checked, err)
			}
			t.Logf("%d claims of %d changes", claims, checked)
		})
	}
}

// Watch reports the IDs of records, whatever is in them, and nothing else that is
// in the server.
func TestRedisWatchReports(t *testing.T) {
	forEachWatched(t, func(t *testing.T, place redisPlace, layout redisstore.Layout) {
		opts := redisstore.Options{Layout: layout, Prefix: "p*[" + t.Name() + "]:"}
		store := openWatched(t, place, opts)
		admin := redisAdmin{t, rueidisClient(t, place.addrs...)}
		var mu sync.Mutex
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		listening := make(chan struct{}, 1)
		tap := newTap(t, store)
		ended := make(chan error, 1)
		go func() {
			ended <- tap.Watch(ctx, 0, func(id string) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, id)
			}, func(time.Time) {
				select {
				case listening <- struct{}{}:
				default:
				}
			})
		}()
		<-listening
		want := func(what string, want ...string) {
			t.Helper()
			tap.await()
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, want) {
				t.Errorf("%s: reported %q, want %q", what, got, want)
			}
			got = nil
		}
		for _, id := range []string{"id", "id:id", "subject:alice", "Ünï*[x]?\\{y} z", strings.Repeat("x", 128), opts.Prefix} {
			rec := redisRecord(id, "alice")
			save(t, store, &rec)
			want("save", id)
			if err := store.Touch(t.Context(), id, now(), now().Add(9*time.Hour)); err != nil {
				t.Fatal(err)
			}
			want("touch", id)
			listAll(t, store, "alice", 1)
			load(t, store, id)
			want("reads")
			if err := store.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			want("delete", id)
			store.Delete(t.Context(), id)
			want("delete of nothing")
		}
		for _, key := range []string{"another", strings.TrimSuffix(opts.Prefix, ":"), "p" + opts.Prefix} {
			admin.do("SET", key, "x", "EX", "60")
		}
		want("keys of others")
		if err := admin.client.Do(ctx, admin.client.B().Flushall().Build()).Error(); err != nil {
			t.Fatal(err)
		}
		want("FLUSHALL of a node", "")
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "redisstore: watch: ") {
			t.Errorf("Watch returned %v", err)
		}
	})
}

// Where it cannot listen, Watch says why, and leaves nothing behind.
func TestRedisWatchRefuses(t *testing.T) {
	server := servers.Redis(t)
	admin := redisAdmin{t, rueidisClient(t, server.Addr)}
	admin.do("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-client|tracking")
	admin.do("ACL", "SETUSER", "weak", "on", ">secret", "~*", "+@all", "-ping")
	open := func(option rueidis.ClientOption, opts redisstore.Options) *redisstore.Store {
		option.InitAddress = []string{server.Addr}
		client, err := rueidis.NewClient(option)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return newRedisStore(t, client, opts)
	}
	for _, test := range []struct {
		name  string
		store *redisstore.Store
		want  string
	}{
		{"with a client cache", open(rueidis.ClientOption{}, redisstore.Options{ClientCache: time.Second}), "ClientCache"},
		{"with RESP2", open(rueidis.ClientOption{AlwaysRESP2: true, DisableCache: true}, redisstore.Options{}), "RESP2"},
		{"without the permission to track", open(rueidis.ClientOption{Username: "app", Password: "secret", DisableCache: true}, redisstore.Options{}), "NOPERM"},
		{"without the permission to ask", open(rueidis.ClientOption{Username: "weak", Password: "secret"}, redisstore.Options{}), "NOPERM"},
	} {
		err := test.store.Watch(t.Context(), time.Second, func(string) {}, func(time.Time) { t.Errorf("%s: Watch claims to know something", test.name) })
		if err == nil || !strings.HasPrefix(err.Error(), "redisstore: watch: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		if errors.Is(err, errors.ErrUnsupported) != (test.want == "ClientCache") {
			t.Errorf("%s: it would not be called again, or in vain: %v", test.name, err)
		}
		// The channel is lost for good, and a cache says so at once.
		if test.want == "ClientCache" {
			cache, err := cachestore.New(test.store, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := cache.Run(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: Run returned %v", test.name, err)
			}
		}
	}
	if n := trackers(t, server.Addr); n != 0 {
		t.Errorf("%d connections are listening", n)
	}
}

// trackers returns how many connections listen.
func trackers(t testing.TB, addr string) (n int) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	list, err := rdb.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(list) {
		_, flags, _ := strings.Cut(line, " flags=")
		if flags, _, _ := strings.Cut(flags, " "); strings.Contains(flags, "B") {
			n++
		}
	}
	return n
}

// Watch ends when its context does, whatever the server does, calls nobody after
// that, and gives back what it took.
func TestRedisWatchEnds(t *testing.T) {
	server := servers.Redis(t)
	// Without a pool that is large enough for two, who does not give back its
	// connection is noticed.
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, BlockingPoolSize: 1, PipelineMultiplex: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	store := newRedisStore(t, client, redisstore.Options{})
	writer := openRueidis(t, redisPlace{addrs: []string{server.Addr}}, redisstore.Options{})
	for _, paused := range []bool{false, true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		var returned atomic.Bool
		var late atomic.Int64 // calls since ctx has ended
		listening := make(chan struct{}, 1)
		ended := make(chan error, 1)
		go func() {
			err := store.Watch(ctx, 10*time.Millisecond, func(string) {
				// So that one is under way when ctx ends. A whole buffer of them may follow.
				if ctx.Err() == nil || late.Add(1) < 10 {
					time.Sleep(time.Millisecond)
				}
				if returned.Load() {
					t.Error("a call of changed when Watch has returned")
				}
			}, func(time.Time) {
				if returned.Load() {
					t.Error("a call of current when Watch has returned")
				}
				select {
				case listening <- struct{}{}:
				default:
				}
			})
			returned.Store(true)
			ended <- err
		}()
		<-listening
		var writing sync.WaitGroup
		if paused {
			server.Pause()
		} else {
			if n := trackers(t, server.Addr); n != 1 {
				t.Errorf("%d connections are listening, want 1", n)
			}
			for w := range 4 {
				writing.Go(func() {
					for n := 0; !returned.Load() || n%100 > 0; n++ {
						rec := redisRecord(fmt.Sprint(w, n, now().UnixNano()), "")
						if _, err := writer.Save(context.Background(), &rec); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			time.Sleep(50 * time.Millisecond)
		}
		began := time.Now()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch returned %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Watch ended after %v", took)
		}
		writing.Wait()
		if paused {
			server.Resume()
		}
		eventually(t, 10*time.Second, func(context.Context) error {
			if n := trackers(t, server.Addr); n != 0 {
				return fmt.Errorf("%d connections are listening", n)
			}
			return nil
		})
	}

	// A server that answers nothing from the beginning.
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := store.Watch(ctx, time.Second, func(string) {}, func(time.Time) {}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
		t.Errorf("Watch returned %v after %v", err, time.Since(began))
	}
	server.Resume()

	// One that is not there, or is there no more.
	server.Kill()
	if err := store.Watch(t.Context(), time.Second, func(string) {}, func(time.Time) {}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Watch of a server that is down: %v", err)
	}
	server.Restart()
	opened, err := redisstore.Open(func() (rueidis.Client, error) {
		return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}})
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = opened.Watch(t.Context(), time.Millisecond, func(string) {}, func(time.Time) { opened.Close() })
	if err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Watch of a store that was closed: %v", err)
	}
}
