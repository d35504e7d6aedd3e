package natstest

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/natsstore"
	"github.com/coatcheck/session/sessiontest"
)

func BenchmarkStore(b *testing.B) {
	for _, test := range []struct {
		name    string
		nodes   int
		storage jetstream.StorageType
	}{
		{"alone on disk", 1, jetstream.FileStorage},
		{"alone in memory", 1, jetstream.MemoryStorage},
		{"three on disk", 3, jetstream.FileStorage},
	} {
		b.Run(test.name, func(b *testing.B) {
			js := connect(b, startNodes(b, limits{}, test.nodes)...)
			count := 0
			sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
				count++
				return open(b, js, natsstore.Options{Bucket: fmt.Sprint("b", count), Replicas: test.nodes, Storage: test.storage})
			})
		})
	}
}

// What it costs that reads go to the leader, against a direct get.
func BenchmarkRead(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		servers := startNodes(b, limits{}, nodes)
		store := open(b, connect(b, servers...), natsstore.Options{Replicas: nodes})
		rec := record("id", "")
		save(b, store, &rec)
		stream, err := connect(b, servers...).Stream(limited(b), "KV_sessions")
		if err != nil {
			b.Fatal(err)
		}
		subject := messages(b, connect(b, servers...), "sessions")[0].Subject
		for i, n := range servers {
			at := fmt.Sprintf("%d replicas, asking n%d", nodes, i+1)
			if n.config.Name == stream.CachedInfo().Cluster.Leader {
				at += " which leads"
			}
			js := connect(b, n)
			mine := newStore(b, js, natsstore.Options{Replicas: nodes})
			b.Run(at+"/leader", func(b *testing.B) {
				for b.Loop() {
					if _, err := mine.Load(b.Context(), "id"); err != nil {
						b.Fatal(err)
					}
				}
			})
			direct, err := js.Stream(limited(b), "KV_sessions")
			if err != nil {
				b.Fatal(err)
			}
			b.Run(at+"/direct", func(b *testing.B) {
				for b.Loop() {
					if _, err := direct.GetLastMsgForSubject(b.Context(), subject); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
