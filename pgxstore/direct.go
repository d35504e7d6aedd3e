package pgxstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/sqldirect"
)

// A direct is the way from sqlstore to the pool. Load and Exec go to the pool
// itself, everything else by way of database/sql, whose connections are the
// pool's too.
type direct struct {
	driver.Driver
	pool     *pgxpool.Pool
	maxConns int        // of the pool
	loads    *coalescer // nil if every load is sent alone
}

// newDirect returns the way to the pool. Half of its connections, and four at
// most, carry loads at the same time if loads are coalesced: with more under way
// fewer would share one, and writes find connections.
func newDirect(pool *pgxpool.Pool, coalesce bool) *direct {
	d := &direct{Driver: stdlib.GetDefaultDriver(), pool: pool, maxConns: int(pool.Config().MaxConns)}
	if coalesce {
		d.loads = &coalescer{send: d.send, limit: min(max(d.maxConns/2, 1), 4)}
	}
	return d
}

var _ sqldirect.Driver = (*direct)(nil)

// open returns a sql.DB whose driver is d.
func (d *direct) open() *sql.DB {
	db := sql.OpenDB(connector{stdlib.GetPoolConnector(d.pool), d})
	db.SetMaxIdleConns(0) // it is the pool that keeps them
	return db
}

// A connector is one of connections of the pool.
type connector struct {
	driver.Connector
	direct *direct
}

func (c connector) Driver() driver.Driver { return c.direct }

func (d *direct) Package() string { return "pgxstore" }

// Exec runs the statement again only if nothing of it was sent: otherwise nobody
// knows whether it has happened.
func (d *direct) Exec(ctx context.Context, query string, args []any) (affected int64, err error) {
	err = d.run(ctx, pgconn.SafeToRetry, func(conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, query, args...)
		affected = tag.RowsAffected()
		return err
	})
	return affected, err
}

func (d *direct) Load(ctx context.Context, lookup sqldirect.Lookup, key any, rec *session.Record) error {
	l := &load{lookup: lookup, key: key, rec: session.Record{ID: rec.ID}}
	if d.loads == nil {
		d.send(ctx, []*load{l})
	} else if err := d.loads.do(ctx, l); err != nil {
		return err
	}
	*rec = l.rec
	return l.err
}

// send reads the records of the loads, in one round trip. A load can be run again
// whenever its connection is lost, so those that a server leaves behind when it is
// restarted are seen by nobody.
func (d *direct) send(ctx context.Context, loads []*load) {
	read := d.many
	if len(loads) == 1 {
		read = d.one
	}
	if err := d.run(ctx, lost, func(conn *pgx.Conn) error { return read(ctx, conn, loads) }); err != nil {
		for _, l := range loads {
			l.err = err
		}
	}
}

// one reads the record of the only load.
func (d *direct) one(ctx context.Context, conn *pgx.Conn, loads []*load) error {
	l := loads[0]
	var c columns
	err := conn.QueryRow(ctx, l.lookup.One, l.key).Scan(c.dest()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return sql.ErrNoRows
	}
	if err != nil {
		return err
	}
	return c.record(&l.rec)
}

func (d *direct) many(ctx context.Context, conn *pgx.Conn, loads []*load) error {
	byID := make(map[string][]*load, len(loads))
	for _, l := range loads {
		l.err = sql.ErrNoRows
		byID[l.rec.ID] = append(byID[l.rec.ID], l)
	}
	rows, err := conn.Query(ctx, loads[0].lookup.Many, keys(loads))
	if err != nil {
		return err
	}
	defer rows.Close()
	var id raw
	var c columns
	dest := append([]any{&id}, c.dest()...)
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		for i, l := range byID[string(id)] {
			if err := c.record(&l.rec); err != nil {
				return err
			}
			if i > 0 {
				l.rec.Data = slices.Clone(l.rec.Data) // every caller owns his
			}
			l.err = nil
		}
	}
	return rows.Err()
}

// run calls f with a connection of the pool, and again with another while again
// says so of its error. It does so only where a connection fails that has worked
// before: where new ones fail there is more amiss than that some were left behind.
func (d *direct) run(ctx context.Context, again func(error) bool, f func(*pgx.Conn) error) error {
	for tries := d.maxConns; ; tries-- {
		worked, err := d.runOnce(ctx, f)
		if !worked || tries <= 0 || ctx.Err() != nil || !again(err) {
			return err
		}
	}
}

// hasWorked marks connections over which the server has answered.
const hasWorked = "github.com/coatcheck/session/pgxstore"

// runOnce reports whether the connection had worked before.
func (d *direct) runOnce(ctx context.Context, f func(*pgx.Conn) error) (worked bool, err error) {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	marks := conn.Conn().PgConn().CustomData()
	_, worked = marks[hasWorked]
	if err = f(conn.Conn()); !lost(err) {
		marks[hasWorked] = true
	}
	return worked, err
}

// lost reports whether err is the end of a connection that there was.
func lost(err error) bool {
	if err == nil {
		return false
	}
	var (
		connect *pgconn.ConnectError
		server  *pgconn.PgError
		network net.Error
	)
	switch {
	case errors.As(err, &connect):
		return false
	case pgconn.SafeToRetry(err):
		return true
	case errors.As(err, &server):
		return server.SeverityUnlocalized == "FATAL"
	case errors.As(err, &network):
		return !network.Timeout()
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// keys returns the keys of the loads as an array of their type.
func keys(loads []*load) any {
	if _, ok := loads[0].key.(string); ok {
		return keysOf[string](loads)
	}
	return keysOf[[]byte](loads)
}

func keysOf[K any](loads []*load) []K {
	list := make([]K, len(loads))
	for i, l := range loads {
		list[i] = l.key.(K)
	}
	return list
}

// columns receives those of a record; see [sqldirect.Lookup].
type columns struct {
	subject                    text
	version                    int64
	created, lastSeen, expires pgtype.Timestamptz
	data                       []byte
}

func (c *columns) dest() []any {
	return []any{&c.subject, &c.version, &c.created, &c.lastSeen, &c.expires, &c.data}
}

func (c *columns) record(rec *session.Record) error {
	for _, t := range []pgtype.Timestamptz{c.created, c.lastSeen, c.expires} {
		if t.InfinityModifier != pgtype.Finite {
			return fmt.Errorf("the column holds no time (%v)", t.InfinityModifier)
		}
	}
	rec.Subject, rec.Version, rec.Data = string(c.subject), uint64(c.version), c.data
	rec.Created, rec.LastSeen, rec.Expires = moment(c.created), moment(c.lastSeen), moment(c.expires)
	return nil
}

// moment returns the time as records have it: the zero time for NULL.
func moment(t pgtype.Timestamptz) time.Time { return t.Time.UTC().Truncate(time.Millisecond) }

// A text receives a column of type bytea or text.
type text string

func (t *text) ScanBytes(src []byte) error {
	*t = text(src)
	return nil
}

// A raw does so too, without a copy: it is good until the next row is read.
type raw []byte

func (r *raw) ScanBytes(src []byte) error {
	*r = src
	return nil
}
