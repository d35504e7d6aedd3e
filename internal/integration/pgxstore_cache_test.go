package integration

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/pgxstore"
)

// cached returns a cache as a process has it, with a pool and a store of its own.
func cached(t *testing.T, dsn string, opts pgxstore.Options, cacheOpts cachestore.Options) *cachestore.Cache {
	t.Helper()
	opts.Notify = true
	return watched(t, newPGXStore(t, openPool(t, dsn), &opts), cacheOpts)
}

// A change of one process is seen by the cache of another within milliseconds,
// long before what it has is too old.
func TestPGXCacheInvalidation(t *testing.T) {
	for _, layout := range []pgxstore.Layout{pgxstore.Native, pgxstore.Express} {
		t.Run(layout.String(), func(t *testing.T) {
			dsn := servers.SharedPostgres(t).NewDatabase(t).DSN
			opts, cacheOpts := pgxstore.Options{Layout: layout}, cachestore.Options{MaxStale: time.Hour}
			reader := cached(t, dsn, opts, cacheOpts)
			writer := cached(t, dsn, opts, cacheOpts)
			rec := session.Record{ID: "a", Data: []byte(`{}`), Expires: now().Add(time.Hour)}
			save(t, writer.Store(), &rec)
			var took []time.Duration
			for n := range 200 {
				load(t, reader.Store(), rec.ID)
				load(t, reader.Store(), rec.ID)
				rec.Data = fmt.Appendf(nil, `{"n":%d}`, n)
				save(t, writer.Store(), &rec)
				saved := time.Now()
				for string(load(t, reader.Store(), rec.ID).Data) != string(rec.Data) {
					if time.Since(saved) > time.Minute {
						t.Fatal("a change of another process is not seen")
					}
				}
				took = append(took, time.Since(saved))
			}
			if hits := reader.Stats().Hits; hits < 100 {
				t.Errorf("the cache was hit only %d times", hits)
			}
			slices.Sort(took)
			t.Logf("seen after %v (median), %v (1 in 100), %v (slowest)", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		})
	}
}

// keepsBound changes the record and reads it from the cache until it is seen. No
// read that begins when the bound has passed since the change may return what was
// there before.
func keepsBound(t *testing.T, cache *cachestore.Cache, writer session.Store, rec *session.Record, maxStale time.Duration) {
	t.Helper()
	rec.Data = fmt.Appendf(nil, `{"n":%d}`, time.Now().UnixNano())
	save(t, writer, rec)
	saved := time.Now()
	for {
		begun := time.Now()
		if string(load(t, cache.Store(), rec.ID).Data) == string(rec.Data) {
			t.Logf("seen after %v", time.Since(saved))
			return
		}
		if late := begun.Sub(saved); late > maxStale {
			t.Fatalf("a read that began %v after the change does not see it", late)
		}
	}
}

// The server ends the connection of the channel over and over.
func TestPGXCacheConnectionLost(t *testing.T) {
	const maxStale = 500 * time.Millisecond
	dsn := servers.SharedPostgres(t).NewDatabase(t).DSN
	lost := make(chan error, 100)
	cache := cached(t, dsn, pgxstore.Options{}, cachestore.Options{MaxStale: maxStale, OnLost: func(err error) { lost <- err }})
	pool := openPool(t, dsn)
	writer := newPGXStore(t, pool, nil)
	rec := session.Record{ID: "a", Data: []byte(`{}`), Expires: now().Add(time.Hour)}
	save(t, writer, &rec)
	for range 10 {
		awaitWatching(t, cache)
		load(t, cache.Store(), rec.ID)
		terminate(t, pool)
		keepsBound(t, cache, writer, &rec, maxStale)
		<-lost
	}
}

// The channel goes dead without a sign: nothing comes through its connection any
// more, and nothing ends it. The pool's connections are well.
func TestPGXCacheChannelSilent(t *testing.T) {
	const maxStale = 500 * time.Millisecond
	postgres := servers.SharedPostgres(t)
	db := postgres.NewDatabase(t)
	wire := newWire(t, postgres.Addr)
	listen := fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", wire.addr, db.Name)
	lost := make(chan error, 100)
	cache := cached(t, db.DSN, pgxstore.Options{Listen: listen}, cachestore.Options{MaxStale: maxStale, OnLost: func(err error) { lost <- err }})
	writer := newPGXStore(t, openPool(t, db.DSN), nil)
	rec := session.Record{ID: "a", Data: []byte(`{}`), Expires: now().Add(time.Hour)}
	save(t, writer, &rec)
	load(t, cache.Store(), rec.ID)
	wire.silence()
	for range 5 {
		keepsBound(t, cache, writer, &rec, maxStale)
	}
	t.Log(<-lost) // it has given that connection up
	wire.mend()
	awaitWatching(t, cache)
	keepsBound(t, cache, writer, &rec, maxStale)
}

// The whole server says nothing any more. The cache has nothing to read from, and
// must not go on with what it has.
func TestPGXCacheServerSilent(t *testing.T) {
	const maxStale = 500 * time.Millisecond
	server := servers.Postgres(t)
	dsn := server.NewDatabase(t).DSN
	cache := cached(t, dsn, pgxstore.Options{}, cachestore.Options{MaxStale: maxStale})
	writer := newPGXStore(t, openPool(t, dsn), nil)
	rec := session.Record{ID: "a", Data: []byte(`{}`), Expires: now().Add(time.Hour)}
	save(t, writer, &rec)
	load(t, cache.Store(), rec.ID)
	server.Pause()
	paused := time.Now()
	for {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := cache.Store().Load(ctx, rec.ID)
		cancel()
		if err != nil {
			t.Logf("nothing is read %v after the server fell silent: %v", time.Since(paused), err)
			break
		}
		if late := begun.Sub(paused); late > maxStale {
			t.Fatalf("%v after the server fell silent the cache still answers", late)
		}
	}
	server.Resume()
	keepsBound(t, cache, writer, &rec, maxStale)
	awaitWatching(t, cache)
}

// A wire leads to a server, until nothing comes through any more.
type wire struct {
	addr   string
	mu     sync.Mutex
	silent chan struct{} // closed while nothing comes through
}

func newWire(t *testing.T, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String(), silent: make(chan struct{})}
	done := make(chan struct{})
	var copies sync.WaitGroup
	t.Cleanup(copies.Wait)
	t.Cleanup(func() { close(done); l.Close() })
	carry := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			select {
			case <-w.cut():
				<-done // what was on its way, and the end of the connection, stays here
				return
			default:
			}
			if n > 0 {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	copies.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			copies.Go(func() { carry(client, server) })
			copies.Go(func() { carry(server, client) })
			copies.Go(func() { <-done; client.Close(); server.Close() })
		}
	})
	return w
}

func (w *wire) cut() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silent
}

func (w *wire) silence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.silent)
}

// mend lets new connections through again.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = make(chan struct{})
}
