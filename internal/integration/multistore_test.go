package integration

import (
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/multistore"
	"github.com/coatcheck/session/redisstore"
	"github.com/coatcheck/session/sessiontest"
	"github.com/coatcheck/session/sqlstore"
)

// A moveTarget is the two servers of a move, one PostgreSQL and one Redis, and which
// of them is the old one.
type moveTarget struct {
	name            string
	postgres, redis *servers.Server
	dsn             string
	redisFirst      bool
	count           atomic.Int64
}

func newMoveTarget(t testing.TB, redisFirst bool) *moveTarget {
	postgres := servers.Postgres(t)
	target := &moveTarget{
		name: "from PostgreSQL to Redis", postgres: postgres.Server, redis: servers.Redis(t, durable...),
		dsn: postgres.NewDatabase(t).DSN, redisFirst: redisFirst,
	}
	if redisFirst {
		target.name = "from Redis to PostgreSQL"
	}
	return target
}

// A movePlace is where the sessions of a site are in the two servers.
type movePlace struct {
	*moveTarget
	table, prefix string
}

func (target *moveTarget) newPlace() movePlace {
	n := target.count.Add(1)
	return movePlace{target, fmt.Sprint("sessions_", n), fmt.Sprint("site-", n, ":")}
}

// stores opens both stores as another process does.
func (p movePlace) stores(t testing.TB) (old, new session.Store) {
	t.Helper()
	return p.storesWith(t, targetOf(sqlstore.Postgres).open(t, p.dsn), rueidisClient(t, p.redis.Addr))
}

func (p movePlace) storesWith(t testing.TB, db *sql.DB, client rueidis.Client) (old, new session.Store) {
	t.Helper()
	old = newSQLStore(t, db, sqlstore.Postgres, &sqlstore.Options{Table: p.table})
	new = newRedisStore(t, client, redisstore.Options{Prefix: p.prefix})
	if p.redisFirst {
		return new, old
	}
	return old, new
}

func (p movePlace) open(t testing.TB, opts multistore.Options) *multistore.Store {
	t.Helper()
	old, new := p.stores(t)
	store, err := multistore.New(old, new, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// withoutSweep hides a method Sweep. Where Redis is the authority there is nothing to
// sweep, as it removes what has expired by itself: Sweep is then for the follower.
type withoutSweep struct {
	session.Store
	session.Toucher
	session.Lister
	session.Pinger
}

// The whole suite in each phase, with each of the servers as the authority and as
// the follower, and with a second process in the same phase or its neighbour.
func TestMoveConformance(t *testing.T) {
	for _, redisFirst := range []bool{false, true} {
		target := newMoveTarget(t, redisFirst)
		for _, phases := range [][2]multistore.Phase{
			{multistore.OldOnly, multistore.OldFirst},
			{multistore.OldFirst, multistore.OldFirst},
			{multistore.NewFirst, multistore.NewFirst},
			{multistore.NewOnly, multistore.NewFirst},
		} {
			t.Run(fmt.Sprintf("%s, %v beside %v", target.name, phases[0], phases[1]), func(t *testing.T) {
				t.Parallel()
				db := targetOf(sqlstore.Postgres).open(t, target.dsn)
				client := rueidisClient(t, target.redis.Addr)
				var places sync.Map // of a store
				at := func(t *testing.T, p movePlace, phase multistore.Phase) session.Store {
					// All with the same two clients, as many more would take their time.
					old, new := p.storesWith(t, db, client)
					both, err := multistore.New(old, new, &multistore.Options{Phase: phase, Move: "test", CompareEvery: 3})
					if err != nil {
						t.Fatal(err)
					}
					var store session.Store = both
					if redisFirst == (phase < multistore.NewHeld) {
						store = &withoutSweep{both, both, both, both}
					}
					places.Store(store, p)
					return store
				}
				of := func(store session.Store) movePlace {
					p, _ := places.Load(store)
					return p.(movePlace)
				}
				suite := sessiontest.Suite{
					New:    func(t *testing.T) session.Store { return at(t, target.newPlace(), phases[0]) },
					Reopen: func(t *testing.T, store session.Store) session.Store { return at(t, of(store), phases[0]) },
					Peer:   func(t *testing.T, store session.Store) session.Store { return at(t, of(store), phases[1]) },
				}
				suite.Run(t)
				if phases[0] == multistore.OldFirst && !redisFirst {
					storefacts.Measure(t, "multistore", storefacts.Network, suite)
				}
			})
		}
	}
}
