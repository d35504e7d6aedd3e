package integration

import (
	"bytes"
	"context"
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
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/redisstore"
	"github.com/coatcheck/session/sessiontest"
)

// A redisTarget is a way to have a store.
type redisTarget struct {
	name string

	// start starts servers for this test alone.
	start func(t testing.TB) redisPlace
	// open opens a store on them.
	open func(t testing.TB, p redisPlace, opts redisstore.Options) redisStore
}

// A redisStore is a *redisstore.Store or a *redisstore.DoStore.
type redisStore interface {
	session.Store
	session.Toucher
	session.Lister
	session.Pinger
	session.ExpressStore
}

// A redisPlace is where servers are.
type redisPlace struct {
	addrs   []string
	servers []*servers.Server
}

func oneRedis(t testing.TB) redisPlace {
	s := servers.Redis(t)
	return redisPlace{[]string{s.Addr}, []*servers.Server{s}}
}

func redisCluster(t testing.TB) redisPlace {
	c := servers.RedisCluster(t)
	return redisPlace{c.Addrs, c.Nodes}
}

var redisTargets = []redisTarget{
	{"standalone", oneRedis, openRueidis},
	{"cluster", redisCluster, openRueidis},
	{"standalone with a cache", oneRedis, openCached},
	{"cluster with a cache", redisCluster, openCached},
	{"go-redis standalone", oneRedis, openGoRedis},
	{"go-redis cluster", redisCluster, openGoRedisCluster},
}

// rueidisClient returns a client, closed when the test ends.
func rueidisClient(t testing.TB, addrs ...string) rueidis.Client {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addrs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func newRedisStore(t testing.TB, client rueidis.Client, opts redisstore.Options) *redisstore.Store {
	t.Helper()
	store, err := redisstore.New(client, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func openRueidis(t testing.TB, p redisPlace, opts redisstore.Options) redisStore {
	t.Helper()
	return newRedisStore(t, rueidisClient(t, p.addrs...), opts)
}

func openCached(t testing.TB, p redisPlace, opts redisstore.Options) redisStore {
	t.Helper()
	opts.ClientCache = time.Minute
	return openRueidis(t, p, opts)
}

func openGoRedis(t testing.TB, p redisPlace, opts redisstore.Options) redisStore {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: p.addrs[0], ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	return newDoStore(t, rdb, opts)
}

func openGoRedisCluster(t testing.TB, p redisPlace, opts redisstore.Options) redisStore {
	t.Helper()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: p.addrs, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	opts.Masters = func(ctx context.Context) (map[string]redisstore.Do, error) {
		var mu sync.Mutex
		masters := make(map[string]redisstore.Do)
		err := rdb.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			masters[node.Options().Addr] = doOf(node)
			return nil
		})
		return masters, err
	}
	return newDoStore(t, rdb, opts)
}

func doOf(rdb interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}) redisstore.Do {
	return func(ctx context.Context, args ...any) (any, error) { return rdb.Do(ctx, args...).Result() }
}

func newDoStore(t testing.TB, rdb interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}, opts redisstore.Options) redisStore {
	t.Helper()
	store, err := redisstore.NewDo(doOf(rdb), &opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// redisSuite returns the conformance suite for a target. Every store has a prefix
// of its own, with all that a pattern could take amiss.
func redisSuite(t *testing.T, target redisTarget, opts redisstore.Options) sessiontest.Suite {
	place := target.start(t)
	var prefixes sync.Map // of a store
	var count atomic.Int64
	openAt := func(t *testing.T, prefix string) session.Store {
		opts := opts
		opts.Prefix = prefix
		store := target.open(t, place, opts)
		prefixes.Store(store, prefix)
		return store
	}
	again := func(t *testing.T, store session.Store) session.Store {
		prefix, _ := prefixes.Load(store)
		return openAt(t, prefix.(string))
	}
	s := sessiontest.Suite{
		New: func(t *testing.T) session.Store {
			return openAt(t, fmt.Sprintf("a*[b]?\\%d:", count.Add(1)))
		},
		Reopen: again,
	}
	if !strings.Contains(target.name, "cache") {
		// With a cache another process sees a change a moment later.
		s.Peer = again
	}
	if opts.Layout == redisstore.Express {
		s.Layout = sessiontest.Layout{
			NoCreated: true, NoLastSeen: true, ContentVersion: true,
			// From the moment at which the server has it, not from that of the call. On
			// a machine that is busy that may be much later.
			ExpiresPrecision: time.Second + 4*time.Second,
			Data:             withPassport,
		}
	}
	return s
}

// withPassport adds the member in which Passport keeps the subject.
func withPassport(object []byte, subject string) []byte {
	if subject == "" {
		return object
	}
	member := fmt.Appendf(nil, `"passport":{"user":%q}`, subject)
	if inner := bytes.TrimSpace(object[1 : len(object)-1]); len(inner) > 0 {
		member = append(append(member, ','), inner...)
	}
	return append(append([]byte{'{'}, member...), '}')
}

func TestRedisConformance(t *testing.T) {
	for _, target := range redisTargets {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
			suite := redisSuite(t, target, redisstore.Options{})
			suite.Run(t)
			if target.name == "standalone" {
				storefacts.Measure(t, "redisstore", storefacts.Network, suite)
			}
		})
	}
}

func TestRedisConformanceExpress(t *testing.T) {
	for _, target := range redisTargets {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
			redisSuite(t, target, redisstore.Options{Layout: redisstore.Express}).Run(t)
		})
	}
}
