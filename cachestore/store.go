package cachestore

import (
	"context"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/abilities"
)

// Store returns the store that reads through the cache. It has those of the
// interfaces [session.Toucher], [session.Lister], [session.Sweeper] and
// [session.Pinger] that the inner store has, and no others, because a manager
// goes by them; and it hands on what the inner store says as a [session.Warner] or
// [session.ExpressStore]. All that it returns have one cache. Who has opened the
// inner store closes it.
func (c *Cache) Store() session.Store {
	var touch session.Toucher
	if t, ok := c.inner.(session.Toucher); ok {
		touch = touchThrough{c, t}
	}
	list, _ := c.inner.(session.Lister)
	var sweep session.Sweeper
	if w, ok := c.inner.(session.Sweeper); ok {
		sweep = sweepThrough{c, w}
	}
	ping, _ := c.inner.(session.Pinger)
	return abilities.Join(store{c}, touch, list, sweep, ping)
}

type store struct{ cache *Cache }

func (s store) Load(ctx context.Context, id string) (session.Record, error) {
	return s.cache.load(ctx, id)
}

func (s store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	id := rec.ID
	defer s.cache.forget(id)
	return s.cache.inner.Save(ctx, rec)
}

func (s store) Delete(ctx context.Context, id string) error {
	defer s.cache.forget(id)
	return s.cache.inner.Delete(ctx, id)
}

func (s store) Warning() string     { return abilities.Warning(s.cache.inner) }
func (s store) ExpressLayout() bool { return abilities.ExpressLayout(s.cache.inner) }
func (s store) KeepsParcels() bool  { return false } // New has refused it

type touchThrough struct {
	cache   *Cache
	toucher session.Toucher
}

func (s touchThrough) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	defer s.cache.forget(id)
	return s.toucher.Touch(ctx, id, lastSeen, expires)
}

type sweepThrough struct {
	cache   *Cache
	sweeper session.Sweeper
}

func (s sweepThrough) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	defer s.cache.forgetExpired(before)
	return s.sweeper.Sweep(ctx, before)
}
