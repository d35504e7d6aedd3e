package integration

import (
	"context"
	"fmt"
	"log"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/mongostore"
)

// inExample asks for a server where there is no test.
type inExample struct{ testing.TB }

func (inExample) Helper()           {}
func (inExample) Fatal(args ...any) { log.Fatal(args...) }

// A store in a collection. The server of this example has no TTL indexes, hence
// NoTTL, and a program would run Manager.RunSweeper.
func Example_mongostore() {
	ctx := context.Background()
	client, err := mongo.Connect(options.Client().ApplyURI(servers.SharedMongo(inExample{}).NewDatabase().URL))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Disconnect(ctx)
	store, err := mongostore.New(client.Database("example").Collection("sessions"), &mongostore.Options{NoTTL: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}

	rec := session.Record{ID: "an-id", Subject: "23", Data: []byte(`{"views":1}`), Expires: time.Now().Add(time.Hour)}
	if _, err := store.Save(ctx, &rec); err != nil {
		log.Fatal(err)
	}
	got, err := store.Load(ctx, "an-id")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %s\n", got.Subject, got.Data)
	// Output: 23 {"views":1}
}
