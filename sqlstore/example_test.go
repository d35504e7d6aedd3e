package sqlstore_test

import (
	"context"
	"database/sql"
	"log"
	"os"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
)

// A table in the program's own database. The driver is the program's, too:
//
//	import _ "github.com/jackc/pgx/v5/stdlib"
func ExampleNew() {
	ctx := context.Background()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.Postgres, nil)
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
	go sessions.RunSweeper(ctx, 5*time.Minute) // removes what has expired
}

// An embedded database, in a file, by modernc.org/sqlite:
//
//	import _ "modernc.org/sqlite"
func ExampleSQLiteDSN() {
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN("sessions.db"))
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.SQLite, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
}
