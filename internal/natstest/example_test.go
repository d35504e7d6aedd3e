package natstest

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/natsstore"
)

// A store on a server in this process.
func Example() {
	dir, err := os.MkdirTemp("", "nats")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(time.Minute) {
		log.Fatal("the server does not start")
	}

	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	store, err := natsstore.New(js, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	rec := session.Record{ID: "a", Subject: "alice", Data: []byte(`{"theme":"dark"}`), Expires: time.Now().Add(time.Hour)}
	if _, err := store.Save(ctx, &rec); err != nil {
		log.Fatal(err)
	}
	records, _, err := store.List(ctx, session.Query{Subject: "alice", Limit: 10})
	if err != nil {
		log.Fatal(err)
	}
	for _, rec := range records {
		fmt.Println(rec.Subject, string(rec.Data))
	}
	// Output: alice {"theme":"dark"}
}
