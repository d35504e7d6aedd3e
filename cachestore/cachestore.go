// Package cachestore keeps records that are read often in memory, in front of any
// store.
//
//	cache, err := cachestore.New(inner, nil)
//	...
//	go cache.Run(ctx) // where the inner store is a session.Watcher
//	sessions, err := session.New(cache.Store(), options)
//
// # How stale a record may be
//
// A read may return a record as it was up to [Options.MaxStale] ago, by default a
// second, and never older: a session that was revoked in one process lives that
// much longer in another. This is a bound, not the rule. While Run is listening
// to the inner store, changes of other processes are seen as fast as that tells
// of them, in milliseconds. When the channel is lost, or went dead without a
// sign, a record is used for MaxStale after it was read and then read again.
//
// So without a channel, with Run not called or a store that is no
// [session.Watcher], the cache serves only bursts of requests of one client.
//
// Writes of this process are seen at once, in this process. And it does not go
// back: what one read has returned, or something newer, is what reads that begin
// later return. Another process may still return what was there before, within
// the bound.
//
// # What it does not change
//
// Save, Touch, Delete, List and Sweep are those of the inner store. A
// compare-and-swap never trusts the cache: who saves on the ground of a stale
// record gets a conflict, upon which the record is forgotten, so that what the
// caller loads next is fresh. That a record does not exist is not remembered.
// If the inner store is down, reads fail as soon as the record at hand is older
// than the bound.
//
// # Memory
//
// The cache is bounded in records and in bytes; what was not read for longest
// goes first. A record that was written is forgotten, and the next read brings it
// again: so what the inner store rounds or leaves out is the same, cached or not.
//
// Nothing runs in the background but Run, which ends when its context does.
package cachestore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/abilities"
)

// The settings where Options names none.
const (
	DefaultMaxStale   = time.Second
	DefaultMaxRecords = 100_000
	DefaultMaxBytes   = 64 << 20
)

// Options are the settings of a Cache. The zero value is the recommended one.
type Options struct {
	// MaxStale is how old what a read returns may be. Zero means
	// [DefaultMaxStale].
	MaxStale time.Duration

	// MaxRecords is the most records to hold. Zero means [DefaultMaxRecords].
	MaxRecords int

	// MaxBytes is the most memory to use: IDs, subjects, data and 250 bytes a
	// record. Zero means [DefaultMaxBytes]. A record that would take an eighth
	// of its part of the cache, which has up to 16, is not kept.
	MaxBytes int64

	// OnLost, if not nil, is told by Run why the channel was lost.
	OnLost func(error)
}

// A Cache is what is in memory of a store. It is made by [New] and is safe for
// concurrent use.
type Cache struct {
	inner    session.Store
	opts     Options
	seed     maphash.Seed
	shards   []shard
	channel  atomic.Pointer[channel]
	channels atomic.Uint64 // how many there were
	counters counters
}

// New returns an empty cache for the store. Nil options are the zero ones.
func New(inner session.Store, opts *Options) (*Cache, error) {
	if inner == nil {
		return nil, errors.New("cachestore: the inner store is nil")
	}
	if abilities.KeepsParcels(inner) {
		return nil, fmt.Errorf("cachestore: %T keeps its records with the clients, so that there is nothing to keep in memory; use it without a cache", inner)
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxStale < 0 || o.MaxRecords < 0 || o.MaxBytes < 0 {
		return nil, errors.New("cachestore: MaxStale, MaxRecords and MaxBytes must not be negative")
	}
	if o.MaxStale == 0 {
		o.MaxStale = DefaultMaxStale
	}
	if o.MaxRecords == 0 {
		o.MaxRecords = DefaultMaxRecords
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	c := &Cache{inner: inner, opts: o, seed: maphash.MakeSeed()}
	n := 16
	if o.MaxRecords < 1000 || o.MaxBytes < 1<<20 {
		n = 1 // parts of it would be too small to be filled evenly
	}
	c.shards = make([]shard, n)
	for i := range c.shards {
		c.shards[i].init(o.MaxRecords/n, o.MaxBytes/int64(n), &c.counters)
	}
	c.channel.Store(new(channel))
	return c, nil
}

func (c *Cache) shard(id string) *shard {
	return &c.shards[maphash.String(c.seed, id)%uint64(len(c.shards))]
}

// load returns a record of the cache that is fresh enough, or that of the store.
func (c *Cache) load(ctx context.Context, id string) (session.Record, error) {
	if err := ctx.Err(); err != nil {
		return session.Record{}, fmt.Errorf("cachestore: load: %w", err)
	}
	now, ch, sh := time.Now(), c.channel.Load(), c.shard(id)
	if e := sh.get(id); e != nil && age(now, ch.freshness(e)) <= c.opts.MaxStale {
		c.counters.hits.Add(1)
		rec := e.rec
		rec.Data = slices.Clone(rec.Data)
		return rec, nil
	}
	c.counters.misses.Add(1)
	f := sh.begin(id)
	read := time.Now() // in the order of the flights, as now may not be
	rec, err := c.inner.Load(ctx, id)
	if err != nil {
		sh.end(id, f, nil)
		return session.Record{}, err
	}
	// What is kept must be ours: the caller may do with the record what he likes.
	kept := rec
	kept.Data = slices.Clone(rec.Data)
	sh.end(id, f, &entry{rec: kept, read: read, channel: ch.number})
	return rec, nil
}

// forget is called after a write, also one that failed, as it may have happened.
func (c *Cache) forget(id string) { c.shard(id).drop(id) }

// forgetExpired is called after a Sweep: what it removed must not be found.
func (c *Cache) forgetExpired(before time.Time) {
	for i := range c.shards {
		c.shards[i].dropExpired(before)
	}
}

// age is how long ago t was. Two clocks are asked: one of them does not run while
// the machine sleeps, and the other can be set back.
func age(now, t time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

type counters struct {
	hits, misses, changes, evicted, lost atomic.Uint64
}

// Stats are what a cache has counted.
type Stats struct {
	Hits     uint64 // reads that the cache answered
	Misses   uint64 // reads that went to the store
	Changes  uint64 // changes that the channel reported
	Evicted  uint64 // records that went to make room
	Lost     uint64 // times that the channel was lost, or could not be had
	Records  int    // records held
	Bytes    int64  // what they count toward Options.MaxBytes
	Watching bool   // whether the channel reports changes
}

// Stats returns the counts of this moment.
func (c *Cache) Stats() Stats {
	stats := Stats{
		Hits:     c.counters.hits.Load(),
		Misses:   c.counters.misses.Load(),
		Changes:  c.counters.changes.Load(),
		Evicted:  c.counters.evicted.Load(),
		Lost:     c.counters.lost.Load(),
		Watching: age(time.Now(), c.channel.Load().asOf) <= c.opts.MaxStale,
	}
	for i := range c.shards {
		records, bytes := c.shards[i].size()
		stats.Records += records
		stats.Bytes += bytes
	}
	return stats
}
