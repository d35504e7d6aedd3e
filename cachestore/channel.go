package cachestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck/session"
)

// A channel is what is known of the inner store's reports at a moment. The zero
// value is one that reports nothing.
type channel struct {
	number uint64    // differs from that of every other channel
	asOf   time.Time // all changes until then have been reported
}

// freshness returns when a record was surely as it is in the cache: when it was
// read, or, if the channel has been reporting since before that, as long as
// everything has been reported.
func (ch *channel) freshness(e *entry) time.Time {
	if ch.number != 0 && e.channel == ch.number && ch.asOf.After(e.read) {
		return ch.asOf
	}
	return e.read
}

// How long Run waits before it listens again.
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

// Run listens to the changes that the inner store reports, and listens again
// when the channel was lost, until ctx is done. It returns ctx's error, or at
// once an error that wraps [errors.ErrUnsupported] if the inner store is no
// [session.Watcher], or says that it cannot be one as it is configured. It is to
// be called once; several do no harm and no good.
func (c *Cache) Run(ctx context.Context) error {
	watcher, ok := c.inner.(session.Watcher)
	if !ok {
		return fmt.Errorf("cachestore: watch: %T does not report changes: %w", c.inner, errors.ErrUnsupported)
	}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		listened, err := c.watch(ctx, watcher)
		if ctx.Err() != nil {
			return fmt.Errorf("cachestore: watch: %w", ctx.Err())
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("cachestore: watch: %w", err)
		}
		c.counters.lost.Add(1)
		if c.opts.OnLost != nil {
			c.opts.OnLost(fmt.Errorf("cachestore: watch: %w", err))
		}
		if listened {
			pause = minPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// watch listens to one channel until it is lost, and reports whether it ever
// worked.
func (c *Cache) watch(ctx context.Context, watcher session.Watcher) (listened bool, err error) {
	number := c.channels.Add(1)
	defer c.channel.Store(new(channel))
	err = watcher.Watch(ctx, c.opts.MaxStale/4,
		func(id string) {
			c.counters.changes.Add(1)
			if id != "" {
				c.forget(id)
				return
			}
			for i := range c.shards {
				c.shards[i].dropAll()
			}
		},
		func(asOf time.Time) {
			listened = true
			c.channel.Store(&channel{number, asOf})
		})
	if err == nil {
		err = errors.New("the store stopped to report changes")
	}
	return listened, err
}
