package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/redis/go-redis/v9"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/redisstore"
	"github.com/coatcheck/session/sessiontest"
)

// All on one server, scs's store for go-redis among them.
func BenchmarkRedis(b *testing.B) {
	server := servers.Redis(b)
	place := redisPlace{addrs: []string{server.Addr}}
	for _, contender := range []struct {
		name string
		open func(t testing.TB, p redisPlace, opts redisstore.Options) session.Store
	}{
		{"rueidis", func(t testing.TB, p redisPlace, opts redisstore.Options) session.Store {
			return openRueidis(t, p, opts)
		}},
		{"rueidis with a cache", func(t testing.TB, p redisPlace, opts redisstore.Options) session.Store { return openCached(t, p, opts) }},
		{"rueidis behind cachestore", func(t testing.TB, p redisPlace, opts redisstore.Options) session.Store {
			return watched(t, openWatched(t, p, opts), cachestore.Options{}).Store()
		}},
		{"go-redis", func(t testing.TB, p redisPlace, opts redisstore.Options) session.Store {
			return openGoRedis(t, p, opts)
		}},
		{"scs goredisstore", openSCS},
	} {
		b.Run(contender.name, func(b *testing.B) {
			var count int
			sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
				count++
				return contender.open(b, place, redisstore.Options{Prefix: fmt.Sprint(contender.name, count, ":")})
			})
		})
	}
}

// An scsStore is scs's store, as far as a benchmark needs it. It compares nothing
// and has no index, and scs extends a life by writing the session again, which it
// has in memory.
type scsStore struct {
	store *goredisstore.RedisStore
	data  sync.Map // what was written last, by ID
}

func openSCS(t testing.TB, p redisPlace, opts redisstore.Options) session.Store {
	rdb := redis.NewClient(&redis.Options{Addr: p.addrs[0]})
	t.Cleanup(func() { rdb.Close() })
	return &scsStore{store: goredisstore.NewWithPrefix(rdb, opts.Prefix)}
}

func (s *scsStore) Load(ctx context.Context, id string) (session.Record, error) {
	data, found, err := s.store.FindCtx(ctx, id)
	if err == nil && !found {
		err = session.ErrNotFound
	}
	return session.Record{ID: id, Data: data, Version: 1}, err
}

func (s *scsStore) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	if rec.Version == 0 {
		s.data.Store(rec.ID, rec.Data)
	}
	return 1, s.store.CommitCtx(ctx, rec.ID, rec.Data, rec.Expires)
}

func (s *scsStore) Touch(ctx context.Context, id string, _, expires time.Time) error {
	data, _ := s.data.Load(id)
	return s.store.CommitCtx(ctx, id, data.([]byte), expires)
}

func (s *scsStore) Delete(ctx context.Context, id string) error { return s.store.DeleteCtx(ctx, id) }
