// Package redisstore keeps sessions in Redis, from version 6 on, or in Valkey:
// one server, a cluster, or a master under Sentinel.
//
//	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}})
//	store, err := redisstore.New(client, nil)
//
// The client is the caller's, with all its settings; the store opens no
// connection of its own and closes none. [Open] is for programs that must start
// while the server is down. [NewDo] takes any other client, go-redis for one, as
// a function that runs a command.
//
// # Round trips
//
// Load, Save and Touch are one round trip each. Two things add to that, because
// the index of a subject is in another slot of a cluster than the record: the
// first Save of a record with a subject is two where keys cannot be changed
// together (in a cluster, and with [NewDo]); and about once an hour of a
// session's use, when its place in the index has to be prolonged, Touch is three
// (and Save, in a cluster). Delete of a record with a subject is two.
//
// With [Options.ClientCache], or with a cachestore in front, a repeated Load is
// none at all.
//
// # Two caches
//
// Options.ClientCache is the cache of the client. The server tracks what was read,
// and when a network falls silent, it takes the client some seconds to notice.
//
// Package cachestore has a bound on what it returns, a second by default, whatever
// happens to the server or the network, and [Store.Watch] tells it what changes
// meanwhile. It takes a connection to each master, on which every change of any
// record is reported to every process. Use one or the other.
//
// # What Redis promises
//
// The comparison of versions and the change are one script, so they are atomic
// between all clients of a master. Replication is asynchronous: a master that
// dies takes with it the writes of the last moments, acknowledged or not, and a
// replica that is promoted knows nothing of them. Sessions that must not be lost
// this way belong into a database; or use WAIT and min-replicas-to-write, and
// know that these narrow the gap and do not close it.
//
// A server that evicts keys (maxmemory-policy) ends sessions early. Let it evict
// none, or only those of other programs (a server of its own is best).
//
// # Expiry
//
// Every key that the store writes has a time to live, so the server drops what
// has expired, and the store has no Sweep: there would be nothing to do. The
// time to live is the time from now to Record.Expires by the clock of the
// program, so clocks of servers do not matter.
package redisstore

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
)

// A Store keeps sessions in Redis by way of a client of rueidis. It implements
// [session.Store], [session.Toucher], [session.Lister], [session.Pinger] and
// [session.Watcher], and is safe for concurrent use.
type Store struct {
	common
	client func(ctx context.Context) (*rueidisLink, error)
	close  func() error
}

// A DoStore keeps sessions in Redis by way of a function. It does what a [Store]
// does, but tells nothing of changes, as a function cannot listen. It is safe for
// concurrent use.
type DoStore struct{ common }

// common is what stores have in common.
type common struct {
	link   func(ctx context.Context) (link, error)
	layout layout
	opts   Options
	writes *writes // nil without Options.ClientCache
}

type store interface {
	session.Store
	session.Toucher
	session.Lister
	session.Pinger
	session.ExpressStore
}

var (
	_ store           = (*Store)(nil)
	_ store           = (*DoStore)(nil)
	_ session.Watcher = (*Store)(nil)
)

// A layout is how a record is laid out, and how it is read and written so.
type layout interface {
	// key returns the key of the record with the ID, and id the ID of the
	// record with the key, which begins with the prefix of all such keys.
	key(id string) string
	id(key string) string
	prefix() string

	// read is the command that reads the record at a key, and parse makes of its
	// reply the record with the ID. There is none where found is false.
	read(key string) command
	parse(id string, reply any) (rec session.Record, found bool, err error)

	load(ctx context.Context, l link, id string) (rec session.Record, found bool, err error)
	save(ctx context.Context, l link, rec *session.Record) (version uint64, err error)
	touch(ctx context.Context, l link, id string, lastSeen, expires time.Time) (found bool, err error)
	delete(ctx context.Context, l link, id string) error
	listSubject(ctx context.Context, l link, q session.Query) ([]session.Record, string, error)
}

// New returns a store that uses the client, which remains the caller's. It
// checks the options and sends nothing to the server. Nil options are the zero
// ones.
//
// The client must read from masters, as it does by default: replicas are behind.
// Without a deadline it repeats reads, and writes that are safe to repeat, until
// the server is back (ClientOption.DisableRetry); the manager sets a deadline.
func New(client rueidis.Client, opts *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: the client is nil; make one with rueidis.NewClient")
	}
	l := newRueidisLink(client)
	return newStore(opts, func(context.Context) (*rueidisLink, error) { return l, nil }, func() error { return nil })
}

func newStore(opts *Options, client func(context.Context) (*rueidisLink, error), close func() error) (*Store, error) {
	c, err := newCommon(opts, func(ctx context.Context) (link, error) {
		l, err := client(ctx)
		return l, err
	})
	if err != nil {
		return nil, err
	}
	return &Store{c, client, close}, nil
}

// NewDo returns a store that runs its commands with a function. See [Do].
// Options.ClientCache needs [New] or [Open].
//
// Such a store is no [session.Watcher]. A cachestore in front of one is within its
// bound all the same, but serves only bursts of requests. For more, let a client
// of rueidis listen for it, which then has one connection to each master:
//
//	type store struct {
//		*redisstore.DoStore // reads and writes with go-redis
//		session.Watcher     // a redisstore.Store with the same Options
//	}
func NewDo(do Do, opts *Options) (*DoStore, error) {
	if do == nil {
		return nil, errors.New("redisstore: the function is nil; it has to run a command, as redis.Client.Do of go-redis does")
	}
	if opts != nil && opts.ClientCache != 0 {
		return nil, errors.New("redisstore: Options.ClientCache needs a rueidis client: use redisstore.New")
	}
	var masters func(context.Context) (map[string]Do, error)
	if opts != nil {
		masters = opts.Masters
	}
	c, err := newCommon(opts, func(context.Context) (link, error) { return doLink{do, masters}, nil })
	if err != nil {
		return nil, err
	}
	return &DoStore{c}, nil
}

func newCommon(opts *Options, link func(context.Context) (link, error)) (common, error) {
	o, err := opts.check()
	if err != nil {
		return common{}, err
	}
	c := common{link: link, opts: o}
	if o.ClientCache > 0 {
		c.writes = new(writes)
	}
	if o.Layout == Express {
		c.layout = &express{opts: o, writes: c.writes}
	} else {
		c.layout = &native{opts: o, writes: c.writes}
	}
	return c, nil
}

// ExpressLayout reports whether the store works on the keys of an Express
// application. The manager asks, because Express must be able to read them.
func (c *common) ExpressLayout() bool { return c.opts.Layout == Express }

// Close closes the client that a store made with [Open] has opened. The client
// of any other store is the caller's, and Close does nothing.
func (s *Store) Close() error { return s.close() }

// Load implements [session.Store].
func (c *common) Load(ctx context.Context, id string) (session.Record, error) {
	l, err := c.begin(ctx)
	if err != nil {
		return session.Record{}, fail(ctx, "load", err, id)
	}
	rec, found, err := c.layout.load(ctx, l, id)
	switch {
	case err != nil:
		return session.Record{}, fail(ctx, "load", err, id)
	case !found:
		return session.Record{}, errLoadMissing
	}
	return rec, nil
}

// Save implements [session.Store].
func (c *common) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	if err := checkRecord(rec); err != nil {
		return 0, err
	}
	l, err := c.begin(ctx)
	if err != nil {
		return 0, fail(ctx, "save", err, rec.ID, rec.Subject)
	}
	defer c.wrote(rec.ID)
	version, err = c.layout.save(ctx, l, rec)
	switch {
	case err != nil:
		return 0, fail(ctx, "save", err, rec.ID, rec.Subject)
	case version == 0:
		return 0, errConflict
	}
	return version, nil
}

// Touch implements [session.Toucher].
func (c *common) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	l, err := c.begin(ctx)
	if err != nil {
		return fail(ctx, "touch", err, id)
	}
	defer c.wrote(id)
	found, err := c.layout.touch(ctx, l, id, lastSeen, expires)
	switch {
	case err != nil:
		return fail(ctx, "touch", err, id)
	case !found:
		return errTouchMissing
	}
	return nil
}

// Delete implements [session.Store].
func (c *common) Delete(ctx context.Context, id string) error {
	l, err := c.begin(ctx)
	if err != nil {
		return fail(ctx, "delete", err, id)
	}
	defer c.wrote(id)
	if err := c.layout.delete(ctx, l, id); err != nil {
		return fail(ctx, "delete", err, id)
	}
	return nil
}

// Ping implements [session.Pinger]. In a cluster it asks one node.
func (c *common) Ping(ctx context.Context) error {
	l, err := c.begin(ctx)
	if err != nil {
		return fail(ctx, "ping", err)
	}
	if _, err := l.do(ctx, command{words: []string{"PING"}}); err != nil {
		return fail(ctx, "ping", err)
	}
	return nil
}

// List implements [session.Lister].
//
// With a subject it reads the index of that subject, a page at a time, and
// removes from it what is no longer there; in the [Express] layout, which has no
// index, it reads all records. Without a subject it goes through all keys of all
// masters with SCAN. Such a list must be begun anew when a master fails over,
// restarts or hands slots over on the way: no cursor outlives that, and records
// may be missed.
func (c *common) List(ctx context.Context, q session.Query) (records []session.Record, next string, err error) {
	if q.Limit < 1 {
		return nil, "", errLimit
	}
	l, err := c.begin(ctx)
	if err == nil {
		if q.Subject != "" {
			records, next, err = c.layout.listSubject(ctx, l, q)
		} else {
			records, next, err = scan(ctx, l, c.layout, q)
		}
	}
	if err != nil {
		return nil, "", fail(ctx, "list", err, q.Subject, c.opts.Prefix)
	}
	return records, next, nil
}

// begin returns the way to the servers, unless ctx is done already: not every
// client looks.
func (c *common) begin(ctx context.Context) (link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.link(ctx)
}

// wrote sees to it that this store does not read from its cache what was there
// before it wrote.
func (c *common) wrote(id string) {
	if c.writes != nil {
		c.writes.add(id)
	}
}

// What a record may measure, as [session.Record] says, and what a server takes
// unless it is told otherwise (proto-max-bulk-len).
const (
	maxID      = 128
	maxSubject = 255
	maxValue   = 512<<20 - 1<<10
)

// checkRecord refuses what would not come back as it was.
func checkRecord(rec *session.Record) error {
	switch {
	case rec.ID == "":
		return errEmptyID
	case len(rec.ID) > maxID, len(rec.Subject) > maxSubject, len(rec.Data) > maxValue:
		return errTooLarge
	case strings.Contains(rec.Subject, endOfSubject):
		return errSubject
	}
	return nil
}
