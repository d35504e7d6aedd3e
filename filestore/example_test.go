package filestore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/filestore"
)

// Sessions in a folder, which is made if it is not there. What one process has
// saved, the next one finds.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	folder := filepath.Join(dir, "sessions")
	for run := range 2 {
		store, err := filestore.New(folder, nil)
		if err != nil {
			log.Fatal(err)
		}
		sessions, err := session.New(store, &session.Options{
			Secrets: []session.Secret{"a secret of at least 32 bytes, from a file"},
		})
		if err != nil {
			log.Fatal(err)
		}
		if run == 0 {
			s, err := sessions.Open(ctx, "")
			if err != nil {
				log.Fatal(err)
			}
			s.SetSubject("23")
			if _, err := sessions.Commit(ctx, s); err != nil {
				log.Fatal(err)
			}
			continue
		}
		for rec, err := range sessions.List(ctx, "23") {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println("signed in for", time.Until(rec.Expires).Round(time.Hour))
		}
	}
	// Output: signed in for 1h0m0s
}
