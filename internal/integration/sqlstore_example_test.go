package integration

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
)

// A store in a file, with the driver modernc.org/sqlite.
func Example_sqlstore() {
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(filepath.Join(dir, "sessions.db")))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store, err := sqlstore.New(db, sqlstore.SQLite, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
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
