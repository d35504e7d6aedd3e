package integration

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
)

// watched returns a cache in front of the store that listens until the test ends.
func watched(t testing.TB, inner session.Store, opts cachestore.Options) *cachestore.Cache {
	t.Helper()
	cache, err := cachestore.New(inner, &opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { cache.Run(ctx) })
	t.Cleanup(ended.Wait)
	t.Cleanup(cancel)
	awaitWatching(t, cache)
	return cache
}

func awaitWatching(t testing.TB, cache *cachestore.Cache) {
	t.Helper()
	for began := time.Now(); !cache.Stats().Watching; time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the cache does not listen")
		}
	}
}
