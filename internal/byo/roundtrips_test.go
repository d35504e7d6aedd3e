package byo

import (
	"testing"
	"time"

	"github.com/alexedwards/scs/postgresstore"
	fiberpostgres "github.com/gofiber/storage/postgres/v3"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
)

// What the adapters make of stores that cannot compare: they read before they
// write. Connections are open and statements prepared by then.
func TestRoundTrips(t *testing.T) {
	server := servers.SharedPostgres(t)
	for _, row := range []struct {
		name string
		open func(t *testing.T, dsn string) any
	}{
		{"scsstore", func(t *testing.T, dsn string) any {
			db := openSQL(t, "pgx", dsn)
			db.SetMaxOpenConns(1)
			mustExec(t, db, scsPostgres)
			return postgresstore.NewWithCleanupInterval(db, 0)
		}},
		{"fiberstore", func(t *testing.T, dsn string) any {
			return fiberpostgres.New(fiberpostgres.Config{DB: openPool(t, dsn+"&pool_max_conns=1")})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			proxy := servers.Proxy(t, server.Addr)
			store := asOurs(t, row.open(t, proxy.Through(server.NewDatabase(t).DSN)))
			rec := session.Record{ID: "a", Data: []byte("{}"), Expires: time.Now().Add(time.Hour)}
			var load, save, touch int
			for range 2 {
				count := func(do func() error) int {
					t.Helper()
					var err error
					turns := proxy.Count(func() { err = do() })
					if err != nil {
						t.Fatal(err)
					}
					return turns
				}
				save = count(func() (err error) {
					rec.Version, err = store.Save(t.Context(), &rec)
					return err
				})
				load = count(func() error {
					_, err := store.Load(t.Context(), rec.ID)
					return err
				})
				touch = count(func() error {
					return store.(session.Toucher).Touch(t.Context(), rec.ID, time.Now(), rec.Expires.Add(time.Minute))
				})
			}
			if load != 1 || save != 2 || touch != 2 {
				t.Errorf("load, save and touch are %d, %d and %d round trips, want 1, 2 and 2", load, save, touch)
			}
			storefacts.Turns(t, row.name, load, save, touch)
		})
	}
}
