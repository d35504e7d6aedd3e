package pgxstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// patience is how long the server may take for an answer that Watch waits for, if
// the interval is not longer.
const patience = 5 * time.Second

var (
	errPooler = fmt.Errorf("the connection leads through PgBouncer or another pooler, where notifications get lost: "+
		"set Options.Listen to the server itself: %w", errors.ErrUnsupported)
	errSilent = errors.New("the server has not answered in time")
	errEvery  = errors.New("the interval must be positive")
)

// Watch implements [session.Watcher]. It listens on a connection of its own,
// beside those of the pool, to what the trigger notifies that [Store.Migrate]
// installs with [Options].Notify, whoever has installed it. It reports the IDs of
// records that were loaded through this Store since Watch was called and were
// saved, touched or deleted afterwards by anybody, this Store included.
//
// At least once in every given time it notifies itself. PostgreSQL delivers
// notifications in the order of their commits, so when that one has come all
// earlier ones have; and that the trigger is still there is looked at each time.
// That is a transaction, which does not wait for the disk: some five in a second
// for each process that has a cachestore with the default MaxStale.
//
// Several may watch at the same time. An error that the trigger is missing, and
// one that wraps [errors.ErrUnsupported] because of a pooler, stay until somebody
// does what they say; all others may pass.
func (s *Store) Watch(ctx context.Context, every time.Duration, changed func(id string), current func(asOf time.Time)) error {
	if every <= 0 {
		return fail(ctx, "watch", errEvery)
	}
	n := s.watches.begin()
	defer s.watches.end(n)
	l := listener{trigger: s.trigger, patience: max(patience, 4*every), names: n, changed: changed}
	if err := l.connect(ctx, s.listenConfig()); err != nil {
		return fail(ctx, "watch", err)
	}
	defer l.close()
	for {
		asOf := time.Now()
		if err := l.beat(ctx); err != nil {
			return fail(ctx, "watch", err)
		}
		if n.forgotten() {
			changed("")
		}
		current(asOf)
		// The rest of the time is for the next answer to come.
		if err := l.listen(ctx, asOf.Add(every*3/4)); err != nil {
			return fail(ctx, "watch", err)
		}
	}
}

// A listener is the connection of a Watch.
type listener struct {
	trigger  trigger
	patience time.Duration
	names    *names
	changed  func(id string)

	conn    *pgx.Conn
	pid     uint32 // of the server's process
	channel string // of the table
	beats   int
}

// beatChannel is the channel of a listener's notifications to itself. It has one
// of its own, so that a listener does not have to read those of the others.
func (l *listener) beatChannel() string { return fmt.Sprint("session_beat_", l.pid) }

// connect begins to listen.
func (l *listener) connect(ctx context.Context, open func(context.Context) (*pgx.Conn, error)) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.patience, errSilent)
	defer cancel()
	if l.conn, err = open(ctx); err != nil {
		return cause(ctx, err)
	}
	defer func() {
		if err != nil {
			l.close()
			err = cause(ctx, err)
		}
	}()
	if err := l.conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&l.pid); err != nil {
		return err
	}
	if l.pid != l.conn.PgConn().PID() {
		return errPooler
	}
	if l.channel, err = l.findChannel(ctx); err != nil {
		return err
	}
	// The notifications to itself need not wait for the disk.
	_, err = l.conn.Exec(ctx, fmt.Sprintf(`SET synchronous_commit = off; LISTEN %s; LISTEN %s`, l.channel, l.beatChannel()))
	return err
}

// findChannel returns the channel of the table, if it has the trigger.
func (l *listener) findChannel(ctx context.Context) (string, error) {
	channel, ok, err := l.trigger.find(ctx, l.conn)
	switch {
	case err != nil:
		return "", err
	case channel == "":
		return "", fmt.Errorf("there is no table %s that the role may see: call Store.Migrate", l.trigger.table)
	case !ok:
		return "", fmt.Errorf("the table %s has not the trigger of this release: set Options.Notify and call Store.Migrate", l.trigger.table)
	}
	return channel, nil
}

// beat returns when all notifications of what was committed before it was called
// have come, and nothing has changed about the trigger.
func (l *listener) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.patience, errSilent)
	defer cancel()
	channel, err := l.findChannel(ctx)
	if err != nil {
		return cause(ctx, err)
	}
	if channel != l.channel {
		return fmt.Errorf("the table %s was replaced by another", l.trigger.table)
	}
	l.beats++
	payload := strconv.Itoa(l.beats)
	if _, err := l.conn.Exec(ctx, fmt.Sprintf(`NOTIFY %s, '%s'`, l.beatChannel(), payload)); err != nil {
		return cause(ctx, err)
	}
	for {
		n, err := l.conn.WaitForNotification(ctx)
		if err != nil {
			return cause(ctx, err)
		}
		if l.isBeat(n) && n.Payload == payload {
			return nil
		}
		l.report(n)
	}
}

// listen reports changes until the given time.
func (l *listener) listen(ctx context.Context, until time.Time) error {
	timed, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		n, err := l.conn.WaitForNotification(timed)
		switch {
		case err == nil:
			l.report(n)
		case timed.Err() != nil && !l.conn.IsClosed():
			return ctx.Err()
		default:
			return err
		}
	}
}

// isBeat reports whether a notification comes from this listener. Anybody may
// notify on its channel, but not in the name of its process.
func (l *listener) isBeat(n *pgconn.Notification) bool {
	return n.Channel == l.beatChannel() && n.PID == l.pid
}

func (l *listener) report(n *pgconn.Notification) {
	if n.Channel != l.channel {
		return
	}
	if n.Payload == "" {
		l.changed("")
	} else if id, ok := l.names.take(n.Payload); ok {
		l.changed(id)
	}
}

// close closes the connection, and tells the server if that is possible at once.
func (l *listener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	l.conn.Close(ctx)
}

// cause returns why ctx is done, if that is why err came.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && context.Cause(ctx) == errSilent {
		return errSilent
	}
	return err
}

// listenConfig returns what opens the connection of a Watch: as the pool opens
// its own, to where [Options].Listen says.
func (s *Store) listenConfig() func(ctx context.Context) (*pgx.Conn, error) {
	pool := s.pool.Config()
	config := pool.ConnConfig
	if s.listen != nil {
		config = s.listen.Copy()
	}
	config.OnNotification = nil // pgx's own, by which WaitForNotification works
	config.Tracer = nil
	// Whoever waits for a notification for a while and gives up has nothing to
	// cancel on the server.
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
	}
	return func(ctx context.Context) (*pgx.Conn, error) {
		if pool.BeforeConnect != nil {
			if err := pool.BeforeConnect(ctx, config); err != nil {
				return nil, err
			}
		}
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil || pool.AfterConnect == nil {
			return conn, err
		}
		if err := pool.AfterConnect(ctx, conn); err != nil {
			conn.Close(ctx)
			return nil, err
		}
		return conn, nil
	}
}
