package natsstore_test

import (
	"context"
	"log"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/natsstore"
)

// A program that starts whether the servers are up or not.
func ExampleNew() {
	conn, err := nats.Connect("nats://n1:4222,nats://n2:4222,nats://n3:4222",
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	store, err := natsstore.New(js, &natsstore.Options{Replicas: 3})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, &session.Options{Secrets: session.SecretsFromEnv("SESSION_SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	_ = sessions // sessions.Handler(mux)
}

// Repeated reads from the memory of the process.
func ExampleStore_Watch() {
	conn, err := nats.Connect(nats.DefaultURL)
	if err != nil {
		log.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	store, err := natsstore.New(js, nil)
	if err != nil {
		log.Fatal(err)
	}
	cache, err := cachestore.New(store, nil)
	if err != nil {
		log.Fatal(err)
	}
	go cache.Run(context.Background()) // it calls store.Watch
	_ = cache.Store()                  // for session.New
}

// A bucket with a place and a limit, made by hand.
func ExampleSchema() {
	conn, err := nats.Connect(nats.DefaultURL)
	if err != nil {
		log.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	config, err := natsstore.Schema(&natsstore.Options{Bucket: "sessions", Replicas: 3})
	if err != nil {
		log.Fatal(err)
	}
	config.MaxBytes = 10 << 30
	config.Placement = &jetstream.Placement{Tags: []string{"ssd"}}
	if _, err := js.CreateStream(context.Background(), config); err != nil {
		log.Fatal(err)
	}
}
