package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/multistore"
	"github.com/coatcheck/session/redisstore"
	"github.com/coatcheck/session/sqlstore"
)

// roundTrips are how many round trips to the server each operation takes. The
// records have a subject, but for anonymous ones.
type roundTrips struct {
	insert, load, again, save, conflict, touch, list, delete int
	insertAnonymous, deleteAnonymous                         int
}

// TestRoundTrips counts what a network would make slow. Connections are open and
// statements prepared by then.
func TestRoundTrips(t *testing.T) {
	for _, row := range []struct {
		name string
		open func(t *testing.T) (session.Store, turns)
		want roundTrips

		// fact is the row of the table of docs/stores.md, for the usual settings.
		fact string
	}{
		{
			"PostgreSQL", sqlThrough(sqlstore.Postgres, "", sqlstore.Options{}),
			roundTrips{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "sqlstore PostgreSQL",
		},
		{
			"PostgreSQL, as behind a pooler", sqlThrough(sqlstore.Postgres, "default_query_exec_mode=exec", sqlstore.Options{}),
			roundTrips{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "",
		},
		{
			"PostgreSQL, Express", sqlThrough(sqlstore.Postgres, "", sqlstore.Options{Layout: sqlstore.Express}),
			roundTrips{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "",
		},
		{
			"MariaDB", sqlThrough(sqlstore.MySQL, "", sqlstore.Options{}),
			roundTrips{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "sqlstore MariaDB",
		},
		{
			"MariaDB, interpolated", sqlThrough(sqlstore.MySQL, "interpolateParams=true", sqlstore.Options{NoPrepare: true}),
			roundTrips{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "",
		},
		{
			"MariaDB, neither prepared nor interpolated", sqlThrough(sqlstore.MySQL, "", sqlstore.Options{NoPrepare: true}),
			roundTrips{2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, "",
		},
		{
			"MariaDB, Express", sqlThrough(sqlstore.MySQL, "", sqlstore.Options{Layout: sqlstore.Express}),
			roundTrips{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "",
		},
		{
			"Redis", redisThrough(redisstore.Options{}),
			roundTrips{1, 1, 1, 1, 1, 1, 2, 2, 1, 1}, "redisstore",
		},
		{
			"Redis with a cache", redisThrough(redisstore.Options{ClientCache: time.Minute}),
			roundTrips{1, 1, 0, 1, 1, 1, 2, 2, 1, 1}, "",
		},
		{
			"Redis by go-redis", goRedisThrough,
			roundTrips{2, 1, 1, 1, 1, 1, 2, 2, 1, 1}, "",
		},
		{
			"Redis, Express", redisThrough(redisstore.Options{Layout: redisstore.Express}),
			roundTrips{1, 1, 1, 1, 1, 1, 2, 1, 1, 1}, "",
		},
		{
			"Redis, Express, with a cache", redisThrough(redisstore.Options{Layout: redisstore.Express, ClientCache: time.Minute}),
			roundTrips{1, 1, 0, 1, 1, 1, 2, 1, 1, 1}, "",
		},
		{
			"cachestore", cacheThrough,
			roundTrips{1, 1, 0, 1, 1, 1, 2, 2, 1, 1}, "cachestore",
		},
		{
			"multistore", multiThrough,
			roundTrips{6, 1, 1, 4, 1, 2, 1, 3, 6, 2}, "multistore",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			store, proxy := row.open(t)
			countRoundTrips(t, store, proxy, "first")
			got := countRoundTrips(t, store, proxy, "second")
			if got != row.want {
				t.Errorf("round trips are\n%+v, want\n%+v", got, row.want)
			}
			if row.fact != "" {
				load := got.load
				if row.fact == "cachestore" {
					load = got.again // of what it has
				}
				storefacts.Turns(t, row.fact, load, got.save, got.touch)
			}
		})
	}
}

// turns counts the round trips of what f does.
type turns interface{ Count(f func()) int }

// sum counts those to two servers.
type sum [2]turns

func (s sum) Count(f func()) int {
	var inner int
	outer := s[0].Count(func() { inner = s[1].Count(f) })
	return outer + inner
}

// countRoundTrips walks a record through its life.
func countRoundTrips(t *testing.T, store session.Store, proxy turns, id string) (got roundTrips) {
	t.Helper()
	ctx := t.Context()
	count := func(trips *int, want error, f func() error) {
		t.Helper()
		var err error
		*trips = proxy.Count(func() { err = f() })
		if !errors.Is(err, want) || (want == nil && err != nil) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	record := func(id, subject string) session.Record {
		return session.Record{
			ID: id, Subject: subject, Data: withPassport([]byte(`{"n":1}`), subject),
			Created: now(), LastSeen: now(), Expires: now().Add(time.Hour),
		}
	}
	saved := func(rec *session.Record) func() error {
		return func() (err error) {
			rec.Version, err = store.Save(ctx, rec)
			return err
		}
	}
	load := func() error { return second(store.Load(ctx, id)) }

	anonymous, rec := record("anonymous-"+id, ""), record(id, "alice")
	count(&got.insertAnonymous, nil, saved(&anonymous))
	count(&got.insert, nil, saved(&rec))
	count(&got.load, nil, load)
	count(&got.again, nil, load)
	stale := rec
	rec.Data = withPassport([]byte(`{"n":2}`), "alice")
	count(&got.save, nil, saved(&rec))
	stale.Data = withPassport([]byte(`{"n":3}`), "alice")
	count(&got.conflict, session.ErrConflict, saved(&stale))
	count(&got.touch, nil, func() error {
		return store.(session.Toucher).Touch(ctx, id, now().Add(time.Minute), rec.Expires.Add(time.Minute))
	})
	count(&got.list, nil, func() error {
		records, _, err := store.(session.Lister).List(ctx, session.Query{Subject: "alice", Limit: 10})
		if err == nil && len(records) != 1 {
			err = fmt.Errorf("%d records", len(records))
		}
		return err
	})
	count(&got.deleteAnonymous, nil, func() error { return store.Delete(ctx, anonymous.ID) })
	count(&got.delete, nil, func() error { return store.Delete(ctx, id) })
	return got
}

// sqlThrough opens a store in a new database through a proxy.
func sqlThrough(d sqlstore.Dialect, params string, opts sqlstore.Options) func(t *testing.T) (session.Store, turns) {
	return func(t *testing.T) (session.Store, turns) {
		target := targetOf(d)
		addr := ""
		if d == sqlstore.Postgres {
			addr = servers.SharedPostgres(t).Addr
		} else {
			addr = servers.SharedMariaDB(t).Addr
		}
		proxy := servers.Proxy(t, addr)
		db := target.open(t, proxy.Through(withParams(target.database(t), params)))
		return newSQLStore(t, db, d, &opts), proxy
	}
}

// redisThrough opens a store on a new server through a proxy.
func redisThrough(opts redisstore.Options) func(t *testing.T) (session.Store, turns) {
	return func(t *testing.T) (session.Store, turns) {
		proxy := servers.Proxy(t, servers.Redis(t).Addr)
		return newRedisStore(t, quietClient(t, proxy.Addr), opts), proxy
	}
}

// quietClient sends nothing of its own accord.
func quietClient(t *testing.T, addr string) rueidis.Client {
	t.Helper()
	quiet := rueidis.ClientOption{InitAddress: []string{addr}, PipelineMultiplex: -1, ForceSingleClient: true}
	quiet.Dialer.KeepAlive = time.Hour // no pings
	client, err := rueidis.NewClient(quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func goRedisThrough(t *testing.T) (session.Store, turns) {
	proxy := servers.Proxy(t, servers.Redis(t).Addr)
	return openGoRedis(t, redisPlace{addrs: []string{proxy.Addr}}, redisstore.Options{}), proxy
}

// cacheThrough opens a cache in front of Redis, which tells it what changes on a
// connection that is not counted.
func cacheThrough(t *testing.T) (session.Store, turns) {
	server := servers.Redis(t)
	proxy := servers.Proxy(t, server.Addr)
	tapped := newTap(t, struct {
		redisStore
		session.Watcher
	}{
		newRedisStore(t, quietClient(t, proxy.Addr), redisstore.Options{}),
		openWatched(t, redisPlace{addrs: []string{server.Addr}}, redisstore.Options{}),
	})
	cache := watched(t, tapped, cachestore.Options{MaxStale: time.Hour})
	return cache.Store(), settled{proxy, tapped}
}

// settled counts those of a store with a cache, which then is told of the change
// before anything else is done.
type settled struct {
	turns
	tap *tap
}

func (s settled) Count(f func()) int {
	defer s.tap.await()
	return s.turns.Count(f)
}

// multiThrough opens both stores of a move in the phase in which both are in use.
func multiThrough(t *testing.T) (session.Store, turns) {
	old, from := sqlThrough(sqlstore.Postgres, "", sqlstore.Options{})(t)
	new, to := redisThrough(redisstore.Options{})(t)
	store, err := multistore.New(old, new, &multistore.Options{Phase: multistore.OldFirst})
	if err != nil {
		t.Fatal(err)
	}
	return store, sum{from, to}
}
