package multistore_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/multistore"
)

// What the operator of one process does.
func ExampleStore_SetPhase() {
	ctx := context.Background()
	oldStore, newStore := memstore.New(nil), memstore.New(nil)
	rec := session.Record{ID: "a session from before", Data: []byte(`{}`), Expires: time.Now().Add(time.Hour)}
	if _, err := oldStore.Save(ctx, &rec); err != nil {
		log.Fatal(err)
	}

	store, err := multistore.New(oldStore, newStore, &multistore.Options{Phase: multistore.OldFirst, Move: "example"})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.SetPhase(ctx, multistore.OldHeld); err != nil { // on every process
		log.Fatal(err)
	}
	report, err := store.Copy(ctx) // on one
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Records, "session,", report.Missing, "copied")
	for _, phase := range []multistore.Phase{multistore.NewHeld, multistore.NewFirst} {
		if err := store.SetPhase(ctx, phase); err != nil { // on every process
			log.Fatal(err)
		}
	}
	_, err = newStore.Load(ctx, rec.ID)
	fmt.Println(store.Phase(), err)
	// Output:
	// 1 session, 1 copied
	// NewFirst <nil>
}
