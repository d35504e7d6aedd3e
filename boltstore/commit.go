package boltstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/bbolt"
)

// maxBatch is how many writes share a transaction at most.
const maxBatch = 1000

// A committer makes writes, and those that come while it waits for the disk
// together in the next transaction. So nobody waits for company, as with
// bbolt's own Batch, and with many writers one wait for the disk serves all.
//
// It is a goroutine while there are writes, because whoever asked for one must
// be able to give up while bbolt waits for its lock or for the disk.
type committer struct {
	db     *bbolt.DB
	bucket []byte

	mu      sync.Mutex
	queue   []*write
	running bool
}

// A write is a change that somebody waits for.
type write struct {
	// change makes it. An error is one of the database: it undoes the whole
	// transaction, with the writes of others. What the caller is to know
	// otherwise, as that there is a conflict, change notes where he finds it.
	change func(t *tables) error
	done   chan error
}

// do returns when the change is on the disk, or ctx is done. In that case the
// change may still be made, and what it notes must not be looked at.
func (c *committer) do(ctx context.Context, change func(t *tables) error) error {
	w := &write{change, make(chan error, 1)}
	c.mu.Lock()
	c.queue = append(c.queue, w)
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()

	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	c.mu.Lock()
	if i := slices.Index(c.queue, w); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
	}
	c.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	default:
		return ctx.Err()
	}
}

// run makes writes until none are left.
func (c *committer) run() {
	for c.more() {
		batch, err := c.commit()
		if errors.Is(err, errUnchanged) {
			err = nil
		}
		if err != nil && batch == nil {
			batch = c.take() // there was no transaction
		}
		for _, w := range batch {
			w.done <- err
		}
	}
}

// errUnchanged spares a transaction that changed nothing the wait for the disk.
var errUnchanged = errors.New("nothing changed")

// commit takes writes and makes them in one transaction. It takes them when the
// transaction has begun, which may take as long as one of the program's own.
func (c *committer) commit() (batch []*write, err error) {
	err = safely(func() error {
		return c.db.Update(func(tx *bbolt.Tx) error {
			batch = c.take()
			t, err := createTables(tx, c.bucket)
			if err != nil {
				return err
			}
			for _, w := range batch {
				if err := w.change(t); err != nil {
					return err
				}
			}
			if !t.changed {
				return errUnchanged
			}
			return nil
		})
	})
	return batch, err
}

// take returns writes that nobody can give up any more.
func (c *committer) take() []*write {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), maxBatch)
	batch := slices.Clone(c.queue[:n])
	c.queue = slices.Delete(c.queue, 0, n)
	return batch
}

// more reports whether there are writes. If not, run ends.
func (c *committer) more() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = len(c.queue) > 0
	if !c.running {
		c.queue = nil
	}
	return c.running
}

// safely makes an error of a panic, as bbolt has them for damaged files: the
// goroutine that panics here serves many, and none of them has done wrong.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in the database: %v", p)
		}
	}()
	return f()
}
