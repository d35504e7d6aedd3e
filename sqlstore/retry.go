package sqlstore

import (
	"context"
	"math/rand/v2"
	"time"
)

// retryFor is how long an operation is tried again when it has no deadline of
// its own.
const retryFor = 5 * time.Second

// A retrier decides whether a statement is run again: after a deadlock, a
// serialization failure or a locked file, of which the server says that it has
// changed nothing, and after nothing else.
type retrier struct {
	since time.Time
	wait  time.Duration
}

// worth reports whether the statement that ended with err should be run again,
// and waits until it should.
func (r *retrier) worth(ctx context.Context, d Dialect, err error) bool {
	if err == nil || ctx.Err() != nil || !d.fault(err).retry {
		return false
	}
	if r.wait == 0 {
		r.since, r.wait = time.Now(), time.Millisecond
	} else if _, limited := ctx.Deadline(); !limited && time.Since(r.since) > retryFor {
		return false
	}
	// At random, so that those who met do not meet again.
	timer := time.NewTimer(r.wait/2 + rand.N(r.wait))
	defer timer.Stop()
	r.wait = min(2*r.wait, 100*time.Millisecond)
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
