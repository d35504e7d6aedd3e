package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Options configure a [Store]. The zero value is right for most programs.
type Options struct {
	// Prefix begins all keys of the store. The default is "session:", and for
	// [Express] "sess:", as in connect-redis. A store must have its prefix for
	// itself, and none may begin with that of another.
	//
	// A prefix with a hash tag, as "{session}:", keeps all keys in one slot of a
	// cluster. That is seldom wanted: one node then has all the work.
	Prefix string

	// Layout is how a record is laid out: [Native] by default.
	Layout Layout

	// ClientCache, if not zero, lets the client keep the records that it loads in
	// the memory of the process for up to that long. The server tells it what has
	// changed, by way of client tracking. So a repeated Load costs no round trip,
	// and a change that another process makes is seen as soon as the server's
	// message arrives: usually in less than a millisecond, but not, as without
	// ClientCache, by every Load that begins after the change. What this store
	// itself has changed is always seen by its own Loads. A Save that was based
	// on something outdated is a conflict, as ever, and the Load after it asks
	// the server.
	//
	// When the connection is lost, what came through it is forgotten at once.
	// When a network falls silent without an end of the connection, it takes
	// the client some seconds to notice (ClientOption.Dialer.KeepAlive and
	// ConnWriteTimeout); ClientCache bounds that too. Ten seconds are a good
	// value. Who must see every revocation at once leaves it zero.
	//
	// It takes effect with a rueidis client that has not been told
	// DisableCache. The memory for it is ClientOption.CacheSizeEachConn. For the
	// [Express] layout the server must be Redis 7 or newer, on an older one
	// every Load goes to the server; and Expires is then by the server's clock.
	ClientCache time.Duration

	// Masters returns a function for every master of a cluster, by its address.
	// A store made with [NewDo] needs it to list all records of a cluster, or of
	// whatever has the keys on several servers. Other stores ignore it.
	Masters func(ctx context.Context) (map[string]Do, error)

	// Now tells the time, from which the time to live of a key is reckoned. Give
	// it the clock of the manager if that is not the default, [time.Now].
	Now func() time.Time
}

// A Layout is how a record is laid out in Redis.
type Layout uint8

const (
	// Native is the layout of this package, which holds everything: a string for
	// each record, and a sorted set for each subject.
	Native Layout = iota

	// Express is that of connect-redis (7 to 10), to share the logins of an
	// Express application. It needs [session.Options.ExpressCompatible].
	//
	// Such a key holds the session's JSON text, kept byte for byte, and expires
	// after whole seconds, rounded up. So:
	//
	//   - Created and LastSeen are zero when loaded. Touch moves only the expiry,
	//     and never back, which Express does.
	//   - Subject is what Passport keeps in the text, the string or number in
	//     passport.user; that of a saved record is ignored. List by subject reads
	//     all records.
	//   - Version is 64 bits of the SHA-1 of the text, which the server computes
	//     too when it compares. It detects changes and secures nothing. A Save of
	//     the text that is there already does not change it, and a text that was
	//     changed twice and is back at what it was is not a conflict.
	//   - Express does not compare: its saves overwrite, and they bring back a
	//     session that was deleted here.
	//   - A key without expiry, which connect-redis writes with disableTTL, is
	//     loaded as one that expires in the year 9999, and gets an expiry when it
	//     is saved.
	//
	// Of connect-redis's options, prefix is Options.Prefix, and serializer must
	// write JSON.
	Express
)

// String returns the name of the layout.
func (l Layout) String() string {
	switch l {
	case Native:
		return "native"
	case Express:
		return "express"
	}
	return fmt.Sprintf("Layout(%d)", uint8(l))
}

// check returns the options with their defaults, or what is wrong with them.
func (o *Options) check() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	switch {
	case opts.Layout > Express:
		return opts, errors.New("redisstore: Options.Layout must be redisstore.Native or redisstore.Express")
	case opts.ClientCache < 0:
		return opts, errors.New("redisstore: Options.ClientCache is negative; zero is without a cache")
	case opts.ClientCache > 0 && opts.ClientCache < time.Millisecond:
		return opts, errors.New("redisstore: Options.ClientCache is less than a millisecond; ten seconds are a good value")
	}
	if opts.Prefix == "" {
		opts.Prefix = "session:"
		if opts.Layout == Express {
			opts.Prefix = "sess:"
		}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return opts, nil
}

// oneSlot reports whether all keys are in one slot of a cluster.
func (o *Options) oneSlot() bool {
	_, tag, _ := strings.Cut(o.Prefix, "{")
	return strings.Index(tag, "}") > 0
}

// ttl returns the time from now to expires in the unit, rounded up so that no
// record ends early, or 0 if there is none left. The most that it returns is
// more than a life, and less than a server refuses.
func (o *Options) ttl(expires time.Time, unit time.Duration) int64 {
	const most = 1000 * 365 * 24 * 60 * 60 * 1000
	// Milliseconds, because a time.Duration ends after 292 years.
	now := o.Now()
	ms := min(expires.UnixMilli()-now.UnixMilli(), most)
	if ms <= 0 {
		return 0
	}
	perUnit := int64(unit / time.Millisecond)
	return (ms + perUnit - 1) / perUnit
}
