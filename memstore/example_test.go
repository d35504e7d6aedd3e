package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
)

// A small store that tells who had to go.
func ExampleNew() {
	ctx := context.Background()
	store := memstore.New(&memstore.Options{
		MaxSessions: 1,
		OnEvict:     func(id, subject string) { fmt.Println("evicted an anonymous session") },
	})
	defer store.Close()

	expires := time.Now().Add(time.Hour)
	store.Save(ctx, &session.Record{ID: "visitor", Data: []byte(`{}`), Expires: expires})
	_, err := store.Save(ctx, &session.Record{ID: "another", Data: []byte(`{}`), Expires: expires})
	fmt.Println(errors.Is(err, memstore.ErrFull))
	_, err = store.Save(ctx, &session.Record{ID: "login", Subject: "23", Data: []byte(`{}`), Expires: expires})
	fmt.Println(err, store.Len())
	// Output:
	// true
	// evicted an anonymous session
	// <nil> 1
}
