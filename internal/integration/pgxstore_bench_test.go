package integration

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	scspgx "github.com/alexedwards/scs/pgxstore"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/pgxstore"
	"github.com/coatcheck/session/sessiontest"
	"github.com/coatcheck/session/sqlstore"
)

// The ways to PostgreSQL that are measured on one server, each with eight
// connections.
var pgxContenders = []struct {
	name string
	open func(b *testing.B) session.Store
}{
	{"pgxstore", func(b *testing.B) session.Store { return benchPGX(b, "", nil) }},
	{"pgxstore-alone", func(b *testing.B) session.Store { return benchPGX(b, "", &pgxstore.Options{NoCoalesce: true}) }},
	{"pgxstore-exec", func(b *testing.B) session.Store { return benchPGX(b, "default_query_exec_mode=exec", nil) }},
	{"pgxstore-notify", func(b *testing.B) session.Store { return benchPGX(b, "", &pgxstore.Options{Notify: true}) }},
	{"sqlstore", func(b *testing.B) session.Store {
		target := targetOf(sqlstore.Postgres)
		return newSQLStore(b, target.open(b, target.database(b)), target.dialect, nil)
	}},
	{"scs", func(b *testing.B) session.Store {
		pool := openPool(b, servers.SharedPostgres(b).NewDatabase(b).DSN)
		run(b, pool, `CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
			CREATE INDEX sessions_expiry_idx ON sessions (expiry)`)
		return scsCalls{scspgx.NewWithCleanupInterval(pool, 0)}
	}},
}

func benchPGX(b *testing.B, params string, opts *pgxstore.Options) session.Store {
	return newPGXStore(b, openPool(b, withParams(servers.SharedPostgres(b).NewDatabase(b).DSN, params)), opts)
}

// scsCalls are the calls that scs itself makes of its store: it saves without
// comparing, and to touch is to save.
type scsCalls struct{ store *scspgx.PostgresStore }

func (s scsCalls) Load(_ context.Context, id string) (session.Record, error) {
	data, found, err := s.store.Find(id)
	if err == nil && !found {
		err = session.ErrNotFound
	}
	return session.Record{ID: id, Data: data}, err
}

func (s scsCalls) Save(_ context.Context, rec *session.Record) (uint64, error) {
	return 1, s.store.Commit(rec.ID, rec.Data, rec.Expires)
}

func (s scsCalls) Delete(_ context.Context, id string) error { return s.store.Delete(id) }

func BenchmarkPGX(b *testing.B) {
	for _, c := range pgxContenders {
		b.Run(c.name, func(b *testing.B) { sessiontest.BenchmarkStore(b, c.open) })
	}
}

// BenchmarkPGXLoads loads records of 300 bytes from many goroutines at once.
func BenchmarkPGXLoads(b *testing.B) {
	for _, c := range pgxContenders {
		for _, callers := range []int{4, 16, 64, 256} {
			b.Run(fmt.Sprint(c.name, "/", callers), func(b *testing.B) {
				store := c.open(b)
				const records = 500
				for i := range records {
					rec := session.Record{
						ID: fmt.Sprintf("record-%036d", i), Subject: "user-1", Data: []byte(`{"pad":"` + strings.Repeat("x", 290) + `"}`),
						Created: now(), LastSeen: now(), Expires: now().Add(time.Hour),
					}
					save(b, store, &rec)
				}
				var n atomic.Int64
				b.ReportAllocs()
				b.SetParallelism(max(callers/runtime.GOMAXPROCS(0), 1))
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := store.Load(context.Background(), fmt.Sprintf("record-%036d", n.Add(1)%records)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
