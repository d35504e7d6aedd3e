package natstest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/natsstore"
)

// A lossyWire is how a client reaches its server. It can be made to lose what the
// server answers from the next write on.
type lossyWire struct {
	losing, deaf atomic.Bool
	swallowed    atomic.Bool // whether a message of a key was lost
	mu           sync.Mutex
	open         []net.Conn
}

// Dial is for nats.SetCustomDialer.
func (w *lossyWire) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, c)
	return &lossyConn{c, w}, nil
}

type lossyConn struct {
	net.Conn
	wire *lossyWire
}

func (c *lossyConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.wire.deaf.Load() {
			return n, err
		}
		if bytes.Contains(b[:n], []byte("$KV.")) {
			c.wire.swallowed.Store(true)
		}
	}
}

// Write looks for the verb of messages with headers: reads have none.
func (c *lossyConn) Write(b []byte) (int, error) {
	if c.wire.losing.Load() && bytes.Contains(b, []byte("HPUB ")) {
		c.wire.deaf.Store(true)
	}
	return c.Conn.Write(b)
}

// lose loses all answers from the next write on, and mend breaks the connections of
// this time and lets new ones work.
func (w *lossyWire) lose() { w.losing.Store(true) }

func (w *lossyWire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		c.Close()
	}
	w.open = nil
	w.losing.Store(false)
	w.deaf.Store(false)
}

func forEachPlace(t *testing.T, f func(t *testing.T, nodes []*node)) {
	t.Run("a server alone", func(t *testing.T) { f(t, []*node{startNode(t, limits{})}) })
	t.Run("a cluster", func(t *testing.T) { f(t, startCluster(t)) })
}

// loseAnswer calls write with a store whose server gets what is written, and whose
// answer does not come. Once it is there, meanwhile is called; then the store can
// hear again.
func loseAnswer(t *testing.T, nodes []*node, bucket string, write func(store *natsstore.Store) error, meanwhile func(other *natsstore.Store)) error {
	t.Helper()
	opts := natsstore.Options{Bucket: bucket, Replicas: len(nodes)}
	wire := new(lossyWire)
	store := open(t, connectWith(t, nodes, nats.SetCustomDialer(wire)), opts)
	admin := connect(t, nodes...)
	other := newStore(t, admin, opts)
	// What it saves, it has seen, so that the first thing it does is the write.
	for _, id := range []string{"id", "other"} {
		store.Load(limited(t), id)
	}
	before := lastSequence(t, admin, bucket)
	wire.lose()
	done := make(chan error)
	go func() { done <- write(store) }()
	waitUntil(t, func(context.Context) error {
		if lastSequence(t, admin, bucket) == before {
			return errors.New("nothing was written")
		}
		return nil
	})
	if meanwhile != nil {
		meanwhile(other)
	}
	wire.mend()
	return <-done
}

func lastSequence(t *testing.T, js jetstream.JetStream, bucket string) uint64 {
	t.Helper()
	stream, err := js.Stream(limited(t), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

// A write that has happened is not done twice, and is no conflict with itself.
func TestLostAnswer(t *testing.T) {
	forEachPlace(t, func(t *testing.T, nodes []*node) {
		opts := natsstore.Options{Bucket: "sessions", Replicas: len(nodes)}
		store := open(t, connect(t, nodes...), opts)
		rec := record("id", "")
		save(t, store, &rec)

		t.Run("a save has happened", func(t *testing.T) {
			rec.Data = []byte(`{"n":2}`)
			var version uint64
			err := loseAnswer(t, nodes, "sessions", func(store *natsstore.Store) (err error) {
				version, err = store.Save(limited(t), &rec)
				return err
			}, nil)
			got := load(t, store, "id")
			if err != nil || version != got.Version || string(got.Data) != `{"n":2}` {
				t.Errorf("Save returned version %d, %v; there is version %d with %s", version, err, got.Version, got.Data)
			}
			rec = got
		})
		t.Run("a save has happened, and was touched since", func(t *testing.T) {
			rec.Data = []byte(`{"n":3}`)
			var version uint64
			err := loseAnswer(t, nodes, "sessions", func(store *natsstore.Store) (err error) {
				version, err = store.Save(limited(t), &rec)
				return err
			}, func(other *natsstore.Store) { touch(t, other, "id", now().Add(2*time.Hour)) })
			got := load(t, store, "id")
			if err != nil || version != got.Version || string(got.Data) != `{"n":3}` {
				t.Errorf("Save returned version %d, %v; there is version %d with %s", version, err, got.Version, got.Data)
			}
			rec = got
		})
		t.Run("a first save has happened", func(t *testing.T) {
			first := record("other", "")
			var version uint64
			err := loseAnswer(t, nodes, "sessions", func(store *natsstore.Store) (err error) {
				version, err = store.Save(limited(t), &first)
				return err
			}, nil)
			if got := load(t, store, "other"); err != nil || version != got.Version {
				t.Errorf("Save returned version %d, %v; there is version %d", version, err, got.Version)
			}
		})
		for name, change := range map[string]func(other *natsstore.Store){
			"saved": func(other *natsstore.Store) {
				rec := load(t, other, "id")
				save(t, other, &rec)
			},
			"deleted": func(other *natsstore.Store) {
				if err := other.Delete(limited(t), "id"); err != nil {
					t.Error(err)
				}
			},
			"made anew": func(other *natsstore.Store) {
				if err := other.Delete(limited(t), "id"); err != nil {
					t.Error(err)
				}
				anew := record("id", "")
				save(t, other, &anew)
			},
		} {
			t.Run("nobody knows whether a save has happened that was "+name+" since", func(t *testing.T) {
				if err := store.Delete(limited(t), "id"); err != nil {
					t.Fatal(err)
				}
				rec := record("id", "")
				save(t, store, &rec)
				var after session.Record
				var missing error
				err := loseAnswer(t, nodes, "sessions", func(s *natsstore.Store) (err error) {
					load(t, store, "id")
					_, err = s.Save(limited(t), &rec)
					return err
				}, func(other *natsstore.Store) {
					change(other)
					after, missing = other.Load(limited(t), "id")
				})
				if err == nil || errors.Is(err, session.ErrConflict) || errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), "the answer was lost") {
					t.Errorf("Save: %v", err)
				}
				got, err := store.Load(limited(t), "id")
				if got.Version != after.Version || errors.Is(err, session.ErrNotFound) != errors.Is(missing, session.ErrNotFound) {
					t.Errorf("there is version %d, %v; want %d, %v", got.Version, err, after.Version, missing)
				}
			})
		}
		t.Run("a touch and a deletion have happened", func(t *testing.T) {
			rec := record("touched", "")
			save(t, store, &rec)
			expires := now().Add(5 * time.Hour)
			if err := loseAnswer(t, nodes, "sessions", func(store *natsstore.Store) error {
				return store.Touch(limited(t), "touched", now(), expires)
			}, nil); err != nil {
				t.Error(err)
			}
			got := load(t, store, "touched")
			if got.Version != rec.Version || !got.Expires.Equal(expires) {
				t.Errorf("version %d until %v, want %d until %v", got.Version, got.Expires, rec.Version, expires)
			}
			if err := loseAnswer(t, nodes, "sessions", func(store *natsstore.Store) error {
				return store.Delete(limited(t), "touched")
			}, nil); err != nil {
				t.Error(err)
			}
			if _, err := store.Load(limited(t), "touched"); !errors.Is(err, session.ErrNotFound) {
				t.Error(err)
			}
		})
	})
}

// What nobody waits for any more is not sent when the connection is back.
func TestNothingIsSentLater(t *testing.T) {
	n := startNode(t, limits{})
	js := connect(t, n)
	store := open(t, js, natsstore.Options{})
	rec := record("id", "alice")
	save(t, store, &rec)
	n.Kill()
	waitUntil(t, func(context.Context) error {
		if js.Conn().IsConnected() {
			return errors.New("the client has not noticed")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	rec.Data = []byte(`{"n":2}`)
	for op, err := range map[string]error{
		"save":   second(store.Save(ctx, &rec)),
		"touch":  store.Touch(ctx, "id", now(), now().Add(2*time.Hour)),
		"delete": store.Delete(ctx, "id"),
	} {
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "natsstore: "+op) {
			t.Errorf("%s: %v", op, err)
		}
	}
	n.Start()
	got := load(t, store, "id")
	if got.Version != rec.Version || string(got.Data) != `{"n":1}` {
		t.Errorf("the record is version %d with %s", got.Version, got.Data)
	}
	if last := lastSequence(t, js, "sessions"); last != rec.Version {
		t.Errorf("the last message has the sequence %d, want %d", last, rec.Version)
	}
}
