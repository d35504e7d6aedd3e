package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"
	"sync"
)

// maxGroup is how many writes share a transaction at most. Beyond that little is
// gained, and whoever else wants to write, in this process or in another one,
// waits until the transaction ends.
const maxGroup = 128

// A group lets writes to SQLite that come together share a transaction. SQLite
// has one writer at a time, and beginning and committing cost more than the
// change between them: locks, the pages that are written, and with synchronous
// FULL the wait for the disk.
//
// One of the callers has the turn. He makes the changes of those who have come
// while somebody else had it together with his own, and then passes the turn on
// to the one who has waited longest. So nobody waits for company, who has none
// writes as if there were no groups, and there are no goroutines but those of
// the callers.
//
// Waiting here, in order, is also better than in SQLite, which lets writers
// sleep and try again: some have no luck for a hundred times as long.
type group struct {
	db *sql.DB

	mu    sync.Mutex
	taken bool     // whether somebody has the turn
	queue []*write // those who wait for it, or for being done by him who has it
}

// A write is a statement that changes something, and its caller.
type write struct {
	ctx   context.Context
	query *query
	stmt  *sql.Stmt // nil if the store does not prepare
	args  []any

	// alone says that the statement gets a transaction of its own: it is a long
	// one, or a transaction that it shared has failed.
	alone bool

	// left says that the caller has given up. It is guarded by group.mu.
	left bool

	// wake tells the caller to go on. It has room for one, so that nobody waits
	// for a caller who has left.
	wake chan reason

	// What became of the statement, if the caller is woken because it is done.
	rows int64
	err  error
}

// A reason is why a caller is woken.
type reason uint8

const (
	hasTurn reason = iota // it is his turn
	isDone                // somebody else has run his statement
)

// exec runs the statement and returns how many rows it affected. If the context
// is done while somebody else runs it, the change may be made all the same.
func (g *group) exec(w *write) (int64, error) {
	if g.enter(w) {
		return g.lead(w)
	}
	var why reason
	select {
	case why = <-w.wake:
	case <-w.ctx.Done():
		g.leave(w)
		select {
		case why = <-w.wake:
		default:
			return 0, w.ctx.Err()
		}
	}
	if why == isDone {
		return w.rows, w.err
	}
	return g.lead(w)
}

// enter takes the turn if nobody has it, and else a place at the end of the
// queue.
func (g *group) enter(w *write) (turn bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.taken {
		g.taken = true
		return true
	}
	// Who gives up leaves at once, also while somebody else runs the statement.
	// From then on the data that he came with is his own again.
	for i, arg := range w.args {
		if data, ok := arg.([]byte); ok {
			w.args[i] = append([]byte{}, data...)
		}
	}
	w.wake = make(chan reason, 1)
	g.queue = append(g.queue, w)
	return false
}

// leave takes one who gives up off the queue. He may have been woken before.
func (g *group) leave(w *write) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.left = true
	if i := slices.Index(g.queue, w); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	}
}

// pass gives the turn to the one who has waited longest: one of those who are
// back because the transaction that they were in has failed, or else the first
// of the queue.
func (g *group) pass(back []*write) {
	g.mu.Lock()
	defer g.mu.Unlock()
	back = slices.DeleteFunc(back, func(w *write) bool { return w.left })
	g.queue = slices.Insert(g.queue, 0, back...)
	if len(g.queue) == 0 {
		g.taken = false
		return
	}
	next := g.queue[0]
	g.queue = slices.Delete(g.queue, 0, 1)
	next.wake <- hasTurn
}

// company takes those off the queue who may join a transaction, in order, and
// no more than most.
func (g *group) company(most int) []*write {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for n < min(most, len(g.queue)) && !g.queue[n].alone {
		n++
	}
	company := slices.Clone(g.queue[:n])
	g.queue = slices.Delete(g.queue, 0, n)
	return company
}

// lead uses the turn that w has, and passes it on.
func (g *group) lead(w *write) (int64, error) {
	if !w.alone {
		if others := g.company(maxGroup - 1); len(others) > 0 {
			return g.together(w, others)
		}
	}
	defer g.pass(nil)
	return execAlone(w.ctx, g.db, w.query, w.stmt, w.args)
}

// together runs the statement of w, who has the turn, and those of others in one
// transaction, and passes the turn on.
func (g *group) together(w *write, others []*write) (int64, error) {
	t := &transaction{group: g, leader: w, others: others}
	defer func() { g.pass(t.others) }()
	err := t.run(w.ctx)
	switch {
	case err == nil:
	case w.ctx.Err() != nil:
		// That concerns nobody else: they are back and go on without him.
		return 0, err
	case SQLite.fault(err).retry:
		// They have all waited for the same lock. How often to try again is for
		// each to decide; see retrier.
		w.rows, w.err = 0, err
		for _, other := range t.others {
			other.rows, other.err = 0, err
		}
	default:
		// One of the statements failed, or what would fail for any of them. That
		// is not for us to tell apart: each runs alone and gets his own error.
		for _, other := range t.others {
			other.alone = true
		}
		return execAlone(w.ctx, g.db, w.query, w.stmt, w.args)
	}
	for _, other := range t.others {
		other.wake <- isDone
	}
	t.others = nil
	return w.rows, w.err
}

// A transaction is one of several writes.
type transaction struct {
	group  *group
	leader *write
	others []*write

	tx    *sql.Tx
	bound map[*sql.Stmt]*sql.Stmt // the prepared statements, as this transaction has them
}

// run runs the statements, also of those who come meanwhile, and commits. With
// an error nothing has changed. It gives up when ctx, the leader's, is done.
func (t *transaction) run(ctx context.Context) error {
	conn, err := t.group.db.Conn(ctx)
	if err != nil {
		return err
	}
	err = t.runOn(ctx, conn)
	// Not deferred: after a panic of the driver it would wait for ever, and so
	// would all who wait for their turn.
	conn.Close()
	return err
}

func (t *transaction) runOn(ctx context.Context, conn *sql.Conn) (err error) {
	if t.tx, err = conn.BeginTx(ctx, nil); err != nil {
		return err
	}
	if err := t.execAll(ctx); err != nil {
		t.tx.Rollback()
		return err
	}
	if err := t.tx.Commit(); err != nil {
		// For database/sql the transaction is over. For SQLite, where readers can
		// keep one from committing, it is not, unless the driver sees to it.
		conn.Raw(func(any) error { return driver.ErrBadConn })
		return err
	}
	return nil
}

// execAll runs the statements. One that fails does not change anything and leaves
// the transaction as it was, but for some failures SQLite rolls it back, and not
// every driver can tell; so the first failure is the end of it.
func (t *transaction) execAll(ctx context.Context) error {
	if err := t.exec(ctx, t.leader); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if i == len(t.others) {
			t.others = append(t.others, t.group.company(maxGroup-1-len(t.others))...)
			if i == len(t.others) {
				return nil
			}
		}
		w := t.others[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.err = w.ctx.Err(); w.err != nil {
			continue
		}
		// The leader's statement has waited for the lock of the database, so this
		// one takes microseconds. To watch a context meanwhile would cost a driver
		// about as much.
		if err := t.exec(context.WithoutCancel(w.ctx), w); err != nil {
			return err
		}
	}
}

func (t *transaction) exec(ctx context.Context, w *write) error {
	var res sql.Result
	var err error
	if w.stmt == nil {
		res, err = t.tx.ExecContext(ctx, w.query.text, w.args...)
	} else {
		stmt := t.bound[w.stmt]
		if stmt == nil {
			stmt = t.tx.StmtContext(ctx, w.stmt)
			if t.bound == nil {
				t.bound = make(map[*sql.Stmt]*sql.Stmt)
			}
			t.bound[w.stmt] = stmt
		}
		res, err = stmt.ExecContext(ctx, w.args...)
	}
	w.rows, err = affected(res, err)
	return err
}
