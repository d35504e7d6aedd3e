package natstest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/natsstore"
	"github.com/coatcheck/session/sessiontest"
)

// open returns a store in a bucket that is made if it is not there.
func open(t testing.TB, js jetstream.JetStream, opts natsstore.Options) *natsstore.Store {
	t.Helper()
	store := newStore(t, js, opts)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	return store
}

func newStore(t testing.TB, js jetstream.JetStream, opts natsstore.Options) *natsstore.Store {
	t.Helper()
	store, err := natsstore.New(js, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// suite returns the conformance suite on servers. Every store has a bucket of its
// own there, and a connection: to the first server, and those of others in turn to
// the next.
func suite(t *testing.T, nodes []*node) sessiontest.Suite {
	type place struct {
		opts natsstore.Options
		door int
	}
	var places sync.Map // of a store
	var count atomic.Int64
	at := func(t *testing.T, p place) session.Store {
		first := p.door % len(nodes)
		order := append(append([]*node(nil), nodes[first:]...), nodes[:first]...)
		store := open(t, connect(t, order...), p.opts)
		places.Store(store, p)
		return store
	}
	again := func(t *testing.T, store session.Store) session.Store {
		p, _ := places.Load(store)
		next := p.(place)
		next.door++
		return at(t, next)
	}
	return sessiontest.Suite{
		New: func(t *testing.T) session.Store {
			return at(t, place{opts: natsstore.Options{Bucket: fmt.Sprint("b", count.Add(1)), Replicas: len(nodes)}})
		},
		Reopen: again,
		Peer:   again,
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	s := suite(t, []*node{startNode(t, limits{})})
	s.Run(t)
	storefacts.Measure(t, "natsstore", storefacts.Network, s)
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	suite(t, startCluster(t)).Run(t)
}

// The server is killed, and started again with what it had on disk.
func TestConformanceOutage(t *testing.T) {
	t.Parallel()
	n := startNode(t, limits{})
	s := suite(t, []*node{n})
	s.Outage = func(*testing.T, session.Store) func() {
		n.Kill()
		return n.Start
	}
	s.Run(t)
}
