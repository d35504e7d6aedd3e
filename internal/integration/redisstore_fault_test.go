package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/redisstore"
)

// durable are the settings of a server that loses nothing by being killed.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// redisRecord returns a record for a test.
func redisRecord(id, subject string) session.Record {
	return session.Record{
		ID: id, Subject: subject, Data: []byte(`{"n":1}`),
		Created: now(), LastSeen: now(), Expires: now().Add(time.Hour),
	}
}

// eventually repeats f until it returns no error, and returns how long that took.
func eventually(t *testing.T, most time.Duration, f func(ctx context.Context) error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := f(ctx)
		cancel()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > most {
			t.Fatalf("after %v: %v", took, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// saveOrFind saves the record, or finds that an attempt before, whose answer got
// lost, has.
func saveOrFind(ctx context.Context, store session.Store, rec *session.Record) error {
	version, err := store.Save(ctx, rec)
	if errors.Is(err, session.ErrConflict) {
		found, loadErr := store.Load(ctx, rec.ID)
		if loadErr == nil && bytes.Equal(found.Data, rec.Data) {
			version, err = found.Version, nil
		}
	}
	if err == nil {
		rec.Version = version
	}
	return err
}

func TestRedisOutage(t *testing.T) {
	for _, target := range []redisTarget{
		{name: "rueidis", open: openRueidis},
		{name: "rueidis with a cache", open: openCached},
		{name: "go-redis", open: openGoRedis},
	} {
		for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
			t.Run(target.name+" "+layout.String(), func(t *testing.T) {
				server := servers.Redis(t, durable...)
				target.start = func(testing.TB) redisPlace {
					return redisPlace{[]string{server.Addr}, []*servers.Server{server}}
				}
				suite := redisSuite(t, target, redisstore.Options{Layout: layout})
				store := suite.New(t)
				rec := redisRecord("id", "")
				save(t, store, &rec)
				server.Kill()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				for op, err := range map[string]error{
					"load":   second(store.Load(ctx, rec.ID)),
					"save":   second(store.Save(ctx, &rec)),
					"delete": store.Delete(ctx, "another"),
					"touch":  store.(session.Toucher).Touch(ctx, rec.ID, now(), now().Add(2*time.Hour)),
					"ping":   store.(session.Pinger).Ping(ctx),
				} {
					if err == nil || errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrConflict) {
						t.Errorf("%s while the server was down: %v", op, err)
					} else if !strings.HasPrefix(err.Error(), "redisstore: "+op) {
						t.Errorf("%s: the error %q does not name the operation", op, err)
					}
				}
				server.Restart()
				got := load(t, store, rec.ID)
				if layout == redisstore.Express {
					// A save is not sent again on another connection: one that the
					// client has not noticed to be dead may fail it.
					eventually(t, 3*time.Second, func(ctx context.Context) error {
						got.Data = []byte(`{"n":2}`)
						return saveOrFind(ctx, store, &got)
					})
					return
				}
				for n := range 10 {
					got.Data = fmt.Appendf(nil, `{"n":%d}`, n)
					save(t, store, &got)
				}
			})
		}
	}
}

// All connections are killed again and again while many operations are under way.
func TestRedisConnectionsKilled(t *testing.T) {
	place := oneRedis(t)
	for _, target := range []redisTarget{{name: "rueidis", open: openRueidis}, {name: "rueidis with a cache", open: openCached}} {
		for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
			t.Run(target.name+" "+layout.String(), func(t *testing.T) {
				store := target.open(t, place, redisstore.Options{Layout: layout, Prefix: t.Name()})
				rec := redisRecord("id", "")
				save(t, store, &rec)
				var stop atomic.Bool
				var working sync.WaitGroup
				for n := range 16 {
					working.Go(func() {
						for i := 0; !stop.Load(); i++ {
							ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
							_, err := store.Load(ctx, rec.ID)
							if err == nil && n%4 == 0 {
								err = store.Touch(ctx, rec.ID, now(), now().Add(time.Hour+time.Duration(i)*time.Second))
							}
							cancel()
							if err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				admin := redis.NewClient(&redis.Options{Addr: place.addrs[0]})
				defer admin.Close()
				killed := int64(0)
				for began := time.Now(); time.Since(began) < time.Second; time.Sleep(5 * time.Millisecond) {
					n, err := admin.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Result()
					if err != nil {
						t.Error(err)
						break
					}
					killed += n
				}
				stop.Store(true)
				working.Wait()
				t.Logf("%d connections were killed", killed)
			})
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Killed and started again between two operations, on whichever of its
// connections the client has them.
func TestRedisConformanceOutage(t *testing.T) {
	server := servers.Redis(t, durable...)
	suite := redisSuite(t, redisTarget{
		start: func(testing.TB) redisPlace { return redisPlace{addrs: []string{server.Addr}} },
		open:  openRueidis,
	}, redisstore.Options{})
	suite.Outage = func(*testing.T, session.Store) func() {
		server.Kill()
		return server.Restart
	}
	suite.Run(t)
}

func TestRedisDownAtStart(t *testing.T) {
	server := servers.Redis(t)
	server.Stop()
	var calls atomic.Int64
	store, err := redisstore.Open(func() (rueidis.Client, error) {
		calls.Add(1)
		return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}})
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	rec := redisRecord("id", "alice")
	for range 2 {
		if _, err := store.Load(t.Context(), rec.ID); err == nil || errors.Is(err, session.ErrNotFound) {
			t.Fatalf("Load while the server was down: %v", err)
		}
	}
	server.Restart()
	save(t, store, &rec)
	load(t, store, rec.ID)
	if n := calls.Load(); n != 3 {
		t.Errorf("the client was made %d times, want 3 attempts of which the last succeeds", n)
	}
	for range 2 {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := store.Load(t.Context(), rec.ID); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load after Close: %v", err)
	}
}

// A server that answers nothing: the deadline holds, also while the client is
// still being made.
func TestRedisPaused(t *testing.T) {
	server := servers.Redis(t)
	unopened, err := redisstore.Open(func() (rueidis.Client, error) {
		return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}})
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unopened.Close()
	place := redisPlace{addrs: []string{server.Addr}}
	rec := redisRecord("id", "alice")
	// With one connection, which is open. While rueidis opens one it notices a
	// deadline at once, but a cancellation only after Dialer.Timeout.
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: place.addrs, PipelineMultiplex: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	stores := map[string]redisStore{
		"rueidis": newRedisStore(t, client, redisstore.Options{}), "not open yet": unopened,
		"cache":    newRedisStore(t, client, redisstore.Options{ClientCache: time.Minute}),
		"many":     openRueidis(t, place, redisstore.Options{}),
		"go-redis": openGoRedis(t, place, redisstore.Options{}),
	}
	save(t, stores["rueidis"], &rec)
	if err := stores["go-redis"].Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	for name, store := range stores {
		for op, f := range map[string]func(ctx context.Context) error{
			"load":   func(ctx context.Context) error { return second(store.Load(ctx, "id")) },
			"save":   func(ctx context.Context) error { return second(store.Save(ctx, &rec)) },
			"touch":  func(ctx context.Context) error { return store.Touch(ctx, "id", now(), now().Add(2*time.Hour)) },
			"delete": func(ctx context.Context) error { return store.Delete(ctx, "other") },
			"ping":   store.Ping,
			"list": func(ctx context.Context) error {
				_, _, err := store.List(ctx, session.Query{Subject: "alice", Limit: 10})
				return err
			},
		} {
			const limit, grace = 60 * time.Millisecond, 3 * time.Second // not heeded, it would be 5 s
			kinds := []error{context.DeadlineExceeded}
			if name != "go-redis" && name != "many" { // go-redis looks at deadlines only
				kinds = append(kinds, context.Canceled)
			}
			for _, kind := range kinds {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				if kind == context.Canceled {
					ctx, cancel = context.WithCancel(t.Context())
					time.AfterFunc(limit, cancel)
				}
				began := time.Now()
				err := f(ctx)
				cancel()
				if took := time.Since(began); took > limit+grace {
					t.Errorf("%s: %s took %v", name, op, took)
				}
				if !errors.Is(err, kind) {
					t.Errorf("%s: %s: the error %v does not wrap %v", name, op, err, kind)
				}
			}
		}
	}
	server.Resume()
	for name, store := range stores {
		eventually(t, 10*time.Second, func(ctx context.Context) error { return store.Ping(ctx) })
		if _, err := store.Load(t.Context(), "other"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedisSentinelFailover(t *testing.T) {
	group := servers.RedisSentinel(t)
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: group.Addrs,
		Sentinel:    rueidis.SentinelOption{MasterSet: group.MasterName},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
		t.Run(layout.String(), func(t *testing.T) {
			suite := redisSuite(t, redisTarget{
				start: func(testing.TB) redisPlace { return redisPlace{} },
				open: func(t testing.TB, _ redisPlace, opts redisstore.Options) redisStore {
					opts.Prefix = layout.String() + opts.Prefix
					return newRedisStore(t, client, opts)
				},
			}, redisstore.Options{Layout: layout})
			suite.Run(t)
		})
	}
	store := newRedisStore(t, client, redisstore.Options{})
	cached := newRedisStore(t, client, redisstore.Options{ClientCache: time.Minute})
	rec := redisRecord("id", "alice")
	save(t, store, &rec)
	load(t, cached, rec.ID)
	time.Sleep(200 * time.Millisecond) // for the replica, see below
	group.Master.Kill()
	began := time.Now()

	// A write that was acknowledged just before may be lost: Redis does not
	// promise otherwise. This one had time to reach the replica.
	took := eventually(t, 20*time.Second, func(ctx context.Context) error {
		rec.Data = []byte(`{"n":2}`)
		return saveOrFind(ctx, store, &rec)
	})
	t.Logf("the first write %v after the master was killed", took)
	if got := load(t, cached, rec.ID); string(got.Data) != `{"n":2}` {
		t.Errorf("the store with a cache loads %s, %v after the failover", got.Data, time.Since(began))
	}
	if records, _, err := store.List(t.Context(), session.Query{Subject: "alice", Limit: 10}); err != nil || len(records) != 1 {
		t.Errorf("List after the failover: %d records, %v", len(records), err)
	}
}

func TestRedisScriptFlush(t *testing.T) {
	place := oneRedis(t)
	for _, target := range []redisTarget{{name: "rueidis", open: openRueidis}, {name: "go-redis", open: openGoRedis}} {
		for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
			t.Run(target.name+" "+layout.String(), func(t *testing.T) {
				admin := rueidisClient(t, place.addrs...)
				flush := func() {
					if err := admin.Do(t.Context(), admin.B().ScriptFlush().Build()).Error(); err != nil {
						t.Fatal(err)
					}
				}
				store := target.open(t, place, redisstore.Options{Layout: layout, Prefix: t.Name() + ":"})
				rec := redisRecord("id", "alice")
				rec.Data = withPassport(rec.Data, "alice")
				for n := range 3 {
					flush()
					save(t, store, &rec)
					flush()
					rec.Data = withPassport(fmt.Appendf(nil, `{"n":%d}`, n+2), "alice")
					if err := store.Touch(t.Context(), rec.ID, now(), now().Add(2*time.Hour)); err != nil {
						t.Fatal(err)
					}
					flush()
					load(t, store, rec.ID)
					flush()
					if records, _, err := store.List(t.Context(), session.Query{Subject: "alice", Limit: 10}); err != nil || len(records) != 1 {
						t.Fatalf("List: %d records, %v", len(records), err)
					}
				}
				flush()
				if err := store.Delete(t.Context(), rec.ID); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// Answers that no server should give are errors, and quote nothing.
func TestRedisErrorsQuoteNothing(t *testing.T) {
	const secret = "s3cr3t-session-id"
	for _, text := range []string{
		"ERR unknown command 'EVALSHA', with args beginning with: '" + secret + "'",
		"ERR something about session:id:" + secret,
	} {
		store, err := redisstore.NewDo(func(context.Context, ...any) (any, error) { return nil, errors.New(text) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		rec := redisRecord(secret, "subject-"+secret)
		ctx := t.Context()
		_, _, listErr := store.List(ctx, session.Query{Subject: rec.Subject, Limit: 1})
		for _, err := range []error{
			second(store.Load(ctx, secret)), second(store.Save(ctx, &rec)), listErr,
			store.Delete(ctx, secret), store.Touch(ctx, secret, now(), now()),
		} {
			if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
				t.Errorf("the error is %v", err)
			}
		}
	}
	for _, reply := range []any{nil, 3.5, int64(7), "odd", []any{}, []any{"a", "b"}, []any{int64(1), []any{nil}}} {
		store, err := redisstore.NewDo(func(context.Context, ...any) (any, error) { return reply, nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		rec := redisRecord(secret, "alice")
		store.Load(t.Context(), secret)
		store.Save(t.Context(), &rec)
		store.Touch(t.Context(), secret, now(), now())
		store.Delete(t.Context(), secret)
		store.List(t.Context(), session.Query{Limit: 1})
		store.List(t.Context(), session.Query{Subject: "alice", Limit: 1})
	}
}
