package pgxstore_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/pgxstore"
)

// Sessions in the database that the program has a pool for anyway.
func ExampleNew() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := pgxstore.New(pool, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, &session.Options{Secrets: session.SecretsFromEnv("SESSION_SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	_ = sessions // sessions.Handler(mux)
}

// Reads from the memory of the process, which the server tells what has changed.
// The pool goes through PgBouncer, the channel to the server itself.
func ExampleStore_Watch() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://app@pgbouncer:6432/app?default_query_exec_mode=exec")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := pgxstore.New(pool, &pgxstore.Options{Notify: true, Listen: "postgres://app@postgres:5432/app"})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	cache, err := cachestore.New(store, nil)
	if err != nil {
		log.Fatal(err)
	}
	go cache.Run(ctx)
	sessions, err := session.New(cache.Store(), &session.Options{Secrets: session.SecretsFromEnv("SESSION_SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	_ = sessions // sessions.Handler(mux)
}

// What creates the table of an Express application, or finds it.
func ExampleSchema() {
	schema, err := pgxstore.Schema(&pgxstore.Options{Layout: pgxstore.Express})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(schema)
	// Output:
	// CREATE TABLE IF NOT EXISTS "session" (
	//   "sid" varchar NOT NULL COLLATE "default",
	//   "sess" json NOT NULL,
	//   "expire" timestamp(6) NOT NULL,
	//   CONSTRAINT "session_pkey" PRIMARY KEY ("sid") NOT DEFERRABLE INITIALLY IMMEDIATE
	// );
	// CREATE INDEX IF NOT EXISTS "IDX_session_expire" ON "session" ("expire");
}
