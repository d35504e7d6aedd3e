package mongostore_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/mongostore"
)

// Sessions in a collection, whose indexes are made at the start.
func ExampleNew() {
	ctx := context.Background()
	client, err := mongo.Connect(options.Client().ApplyURI(os.Getenv("MONGODB_URL")))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Disconnect(ctx)
	store, err := mongostore.New(client.Database("app").Collection("sessions"), nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, &session.Options{Secrets: session.SecretsFromEnv("SESSION_SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":8080", sessions.Handler(http.DefaultServeMux)))
}

// The logins of an Express application with connect-mongo.
func ExampleNew_express() {
	client, err := mongo.Connect(options.Client().ApplyURI(os.Getenv("MONGODB_URL")))
	if err != nil {
		log.Fatal(err)
	}
	store, err := mongostore.New(client.Database("app").Collection("sessions"), &mongostore.Options{Layout: mongostore.Express})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, &session.Options{
		ExpressCompatible: true,
		Secrets:           session.SecretsFromEnv("SESSION_SECRET"),
		IdleTimeout:       14 * 24 * time.Hour, // the ttl of connect-mongo
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = sessions // sessions.Handler(mux)
}

// For a server without TTL indexes, as FerretDB 1: the program removes what has
// expired.
func ExampleOptions() {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://localhost:27017"))
	if err != nil {
		log.Fatal(err)
	}
	store, err := mongostore.New(client.Database("app").Collection("sessions"), &mongostore.Options{NoTTL: true})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, &session.Options{Secrets: session.SecretsFromEnv("SESSION_SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	go sessions.RunSweeper(context.Background(), 5*time.Minute)
}

func ExampleStore_Schema() {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://localhost:27017")) // which need not run for this
	if err != nil {
		log.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	store, err := mongostore.New(client.Database("app").Collection("sessions"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(store.Schema())
	// Output:
	// db.getCollection("sessions").createIndex({expires: 1}, {name: "expires_1", expireAfterSeconds: 0})
	// db.getCollection("sessions").createIndex({subject: 1, _id: 1}, {name: "subject_1__id_1"})
}
