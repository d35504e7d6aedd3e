package session

import (
	"context"
	"time"
)

// A Store keeps records. It has no policy, speaks no HTTP and decides nothing
// by its own clock, with one exception: it may drop a record at any time after
// Record.Expires, and never before.
//
// The comments of this file are the contract; sessiontest.TestStore is its
// executable copy and is what an author of a store runs.
//
// Record.Expires is never the zero time. IDs and subjects are as [Record] says;
// what a store does with others is its own affair, as long as it does not panic.
//
// All methods are safe for concurrent use. All honour ctx: when it is done they
// return soon, with an error for which errors.Is(err, ctx.Err()) holds and which
// is neither ErrNotFound nor ErrConflict, and leave the record as it was or as it
// was meant to become, never in between; a server may get there a moment after
// the call has returned.
//
// An expired record counts as either present or absent. Times that are returned
// are in UTC. Errors name the operation and never contain an ID, a token or data. A store
// does not log, does not panic, and does not remember a failure: a server that
// was down and comes up is used.
type Store interface {
	// Load returns the record with the ID, or an error that wraps
	// [ErrNotFound]. A record past its Expires may be returned whole or not
	// found. The caller owns the returned Data: no later operation changes it,
	// and changing it changes nothing in the store.
	Load(ctx context.Context, id string) (Record, error)

	// Save stores rec if the record in the store is still the one that the
	// caller has seen, and returns the version it has now, which is never zero
	// and differs from rec.Version (unless the layout takes it from the data and
	// that is the same):
	//
	//   - rec.Version zero means that the ID must not be in the store;
	//   - any other means that the ID must be in the store with that version.
	//
	// If that does not hold it changes nothing and returns an error that wraps
	// [ErrConflict]. So a record that was deleted is never brought back by a
	// Save of somebody who loaded it before. The comparison and the change are
	// one atomic step, also between processes.
	//
	// When Save has returned without an error the record is as durable as the
	// store makes any record, and every later Load in any process sees it. Save
	// neither changes rec nor keeps it or its Data. A record that the store cannot take for
	// its size is an error that wraps [ErrTooLarge], never cut short.
	Save(ctx context.Context, rec *Record) (version uint64, err error)

	// Delete removes the record. That there is none is not an error.
	Delete(ctx context.Context, id string) error
}

// The interfaces below are capabilities that a store may have besides. Where
// the configuration of a manager needs one that its store lacks, [New] says so.

// A Toucher extends the life of a record without rewriting it.
type Toucher interface {
	// Touch moves Expires of the record forward to the given time, and LastSeen
	// where the layout keeps it. It never moves either back, never changes Data, Subject, Created
	// or Version, and never creates a record: a missing one is an error that
	// wraps [ErrNotFound].
	Touch(ctx context.Context, id string, lastSeen, expires time.Time) error
}

// A Query selects records for [Lister].
type Query struct {
	// Subject selects the records of one subject; empty selects all records.
	Subject string

	// Cursor is where to go on: empty at first, then what List returned.
	Cursor string

	// Limit is the most records to return, at least 1.
	Limit int
}

// A Lister enumerates records.
type Lister interface {
	// List returns at most q.Limit records and the cursor of the next page,
	// which is empty after the last one. The caller owns the records. A page may
	// hold fewer records than the limit, even none, and not be the last. A record
	// that is in the store from the first page to the last is on at least one of
	// them, whatever else is saved or deleted meanwhile; it may be on several.
	// There is no order, and expired records may be among them. A cursor is good
	// for the query that it came from and need not outlive the process; one that
	// the store has not made, and a limit below 1, are errors.
	List(ctx context.Context, q Query) (records []Record, next string, err error)
}

// A Sweeper removes expired records.
type Sweeper interface {
	// Sweep removes all records whose Expires is before the given time, whatever
	// the store's own clock says, and no others, and returns how many those
	// were. It works in batches, so that nobody waits long for it.
	Sweep(ctx context.Context, before time.Time) (removed int, err error)
}

// A Pinger tells whether the store can be reached.
type Pinger interface {
	Ping(ctx context.Context) error
}

// A Watcher tells what others change, so that copies of records in memory can be
// kept current; cachestore does so.
type Watcher interface {
	// Watch listens, until ctx is done or the channel is lost, and then returns
	// an error. One that wraps [errors.ErrUnsupported] says that it is of no use
	// to call it again: it cannot work as the store is configured.
	//
	// It calls changed with the ID of every record that was saved, touched or
	// deleted by anybody. It may leave out what this Store has done itself and
	// returned no error for, the removal of records that had expired, and records
	// that were not loaded from this Store since Watch was called, of which nobody
	// has a copy to keep current. The empty ID says that any record may have
	// changed.
	//
	// It calls current, at first when it listens and then at least once in
	// every given time, with a time since which nothing can have escaped:
	// whatever was changed between the first such time and this one has been
	// reported. So a channel that went dead without a sign is noticed by what
	// does not come.
	//
	// It makes these calls one after another, and none after it has returned.
	Watch(ctx context.Context, every time.Duration, changed func(id string), current func(asOf time.Time)) error
}

// A store may also have a method Close() error, which is called when nobody uses
// the store any more; that it is called again is not an error.

// A Warner is a store of which whoever runs the program must know something: that
// its records vanish, or what it cannot promise. [New] logs the sentence once,
// unless Options.NoStoreWarning is set or it is empty.
type Warner interface {
	Warning() string
}

// A ParcelStore is a store that may keep its records with the clients, who send
// them along with their tokens. [New] refuses the options that cannot be kept
// then, and the manager gives the calls of such a store the [Parcels] of the
// client in their context. What wraps a store passes this on.
type ParcelStore interface {
	KeepsParcels() bool
}

// An ExpressStore is a store that may lay its records out as a Node store does.
// [New] then asks for Options.ExpressCompatible, without which Express could not
// read them.
type ExpressStore interface {
	ExpressLayout() bool
}
