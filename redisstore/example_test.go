package redisstore_test

import (
	"context"
	"log"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/redisstore"
)

// A store on one server; for a cluster, name more addresses of it.
func ExampleNew() {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := redisstore.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, &session.Options{Secrets: session.SecretsFromEnv("SESSION_SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	_ = sessions // sessions.Handler(mux)
}

// Repeated reads from the memory of the process, kept true by the server.
func ExampleNew_clientCache() {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:       []string{"localhost:6379"},
		CacheSizeEachConn: 64 << 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := redisstore.New(client, &redisstore.Options{ClientCache: 10 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	_ = store
}

// Repeated reads from the memory of the process, and the server says what others
// change. What is read is never older than a second.
func ExampleStore_Watch() {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := redisstore.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	cache, err := cachestore.New(store, &cachestore.Options{
		OnLost: func(err error) { log.Print(err) }, // it listens again by itself
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go cache.Run(ctx) // calls store.Watch
	sessions, err := session.New(cache.Store(), &session.Options{Secrets: session.SecretsFromEnv("SESSION_SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	_ = sessions // sessions.Handler(mux)
}

// The master that three sentinels agree on.
func ExampleNew_sentinel() {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
		Sentinel:    rueidis.SentinelOption{MasterSet: "mymaster"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := redisstore.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	_ = store
}

// The logins of an Express application with connect-redis.
func ExampleNew_express() {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := redisstore.New(client, &redisstore.Options{Layout: redisstore.Express})
	if err != nil {
		log.Fatal(err)
	}
	_ = store
}

// A program that starts whether the server is up or not.
func ExampleOpen() {
	store, err := redisstore.Open(func() (rueidis.Client, error) {
		return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}})
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
}

// Any client that can run a command. For go-redis, run is
//
//	func(ctx context.Context, args ...any) (any, error) { return rdb.Do(ctx, args...).Result() }
func ExampleNewDo() {
	var run redisstore.Do = func(ctx context.Context, args ...any) (any, error) {
		return "PONG", nil
	}
	store, err := redisstore.NewDo(run, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Ping(context.Background()); err != nil {
		log.Fatal(err)
	}
}
