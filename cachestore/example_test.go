package cachestore_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/memstore"
)

// A cache in front of a store that stands for a database.
func ExampleNew() {
	ctx := context.Background()
	database := memstore.New(nil)
	cache, err := cachestore.New(database, &cachestore.Options{MaxStale: 2 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	store := cache.Store() // for session.New

	rec := session.Record{ID: "a", Data: []byte(`{}`), Expires: time.Now().Add(time.Hour)}
	if _, err := store.Save(ctx, &rec); err != nil {
		log.Fatal(err)
	}
	for range 3 {
		if _, err := store.Load(ctx, "a"); err != nil {
			log.Fatal(err)
		}
	}
	stats := cache.Stats()
	fmt.Println(stats.Hits, "hits,", stats.Misses, "miss")
	// Output: 2 hits, 1 miss
}
