package session

import (
	"context"
	"sync"
	"time"
)

// A storeContext bounds the calls to the store of one step. It costs nothing
// until somebody waits on it, which a store in memory never does: its timer is
// only made by the first call of Done.
type storeContext struct {
	parent   context.Context
	deadline time.Time
	detached bool // go on when parent is cancelled

	mu     sync.Mutex
	timed  context.Context
	cancel context.CancelFunc
}

// start makes c a child of parent that ends after the timeout.
func (c *storeContext) start(parent context.Context, timeout time.Duration, detached bool) {
	c.parent = parent
	c.detached = detached
	c.deadline = time.Now().Add(timeout)
	if d, ok := parent.Deadline(); ok && !detached && d.Before(c.deadline) {
		c.deadline = d
	}
}

// stop releases the timer, if there is one.
func (c *storeContext) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

func (c *storeContext) Deadline() (time.Time, bool) { return c.deadline, true }
func (c *storeContext) Value(key any) any           { return c.parent.Value(key) }

func (c *storeContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		parent := c.parent
		if c.detached {
			parent = context.WithoutCancel(parent)
		}
		c.timed, c.cancel = context.WithDeadline(parent, c.deadline)
	}
	return c.timed.Done()
}

func (c *storeContext) Err() error {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	switch {
	case timed != nil:
		return timed.Err()
	case !c.detached && c.parent.Err() != nil:
		return c.parent.Err()
	case time.Until(c.deadline) <= 0: // which reads one clock where time.Now reads two
		return context.DeadlineExceeded
	}
	return nil
}
