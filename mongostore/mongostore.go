// Package mongostore keeps sessions in a collection of MongoDB, from version 4.4
// on: one server, a replica set, or a sharded cluster.
//
//	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://localhost:27017"))
//	...
//	store, err := mongostore.New(client.Database("app").Collection("sessions"), nil)
//	...
//	err = store.Migrate(ctx) // creates the indexes if they are missing
//	...
//	sessions, err := session.New(store, options)
//
// The client is the caller's, with all its settings; the store opens no connection
// of its own and closes none. It remembers no failure: a server that is down now is
// used when it has come up.
//
// # What is promised
//
// A record is one document, and MongoDB changes a document in one step. The
// comparison of versions is a part of the filter of an update, so it is atomic
// between all processes. Nothing is ever upserted, so that a record which was
// deleted is not brought back.
//
// Whatever the client and the collection are set to, the store reads from the
// primary, and a write is done when a majority of the replica set has it. So what
// Save, Touch and Delete have done outlives the loss of a primary, and later Loads
// of all processes see it, with one exception: a primary that was cut off from the
// others, and has not noticed yet, answers for some seconds with what was there
// before. [Options.Linearizable] rules that out, and costs a round trip between the
// servers for each Load.
//
// When the answer to a write is lost, the driver sends it again, and a replica set
// knows it from its number and does it once (retryWrites, which is on by default).
// So that is no conflict. A server without replicas has no such numbers; there the
// write that was lost is an error, and may have been done.
//
// The operations are not part of a transaction of the caller, also if ctx has one:
// what is saved in a session is saved whether the transaction commits or not.
//
// # Round trips
//
// Load, Save, Touch and Delete are one round trip each, and find their document by
// its _id. So is a page of List. Sweep takes two for each thousand records.
//
// # Expiry
//
// The index on expires has expireAfterSeconds 0: the server removes what has
// expired about once a minute, by its own clock, which must therefore not be ahead.
// There is nothing left for [Store.Sweep] to do then. It is for servers that have
// no such indexes, or where [Options.NoTTL] says that there shall be none; somebody
// has to call it there ([session.Manager.RunSweeper]).
//
// # The collection
//
//	{
//	  _id:      "the ID",
//	  version:  NumberLong(...),
//	  subject:  "23",            // missing if it is empty
//	  created:  ISODate(...),    // missing if it is the zero time, as is lastSeen
//	  lastSeen: ISODate(...),
//	  expires:  ISODate(...),
//	  data:     BinData(0, ...)  // the JSON text, which MongoDB has not to understand
//	}
//
// [Store.Schema] prints its indexes, for those who make them with tools of their
// own. The collection must have no collation, or IDs that differ only in case might
// be one. In a sharded cluster the shard key has to be _id, best {_id: "hashed"}:
// with any other, MongoDB does not see to it that there is only one document with an
// _id.
//
// # connect-mongo
//
// With [Options.Layout] set to [Express] the store works on the collection of a
// running Express application.
package mongostore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/coatcheck/session"
)

// A Store keeps sessions in one collection. It is made by [New] and is safe for
// concurrent use. It implements [session.Store], [session.Toucher],
// [session.Lister], [session.Sweeper] and [session.Pinger].
//
// Its errors begin with "mongostore: " and the operation, and hold neither an ID nor
// a subject. What the server said may quote the document; it is not in the message,
// but in the chain, for errors.As.
type Store struct {
	coll   *mongo.Collection // reads from the primary, writes to the majority
	loads  *mongo.Collection // the same, with the read concern of Load
	layout layout
	opts   Options
}

var _ interface {
	session.Store
	session.Toucher
	session.Lister
	session.Sweeper
	session.Pinger
	session.ExpressStore
} = (*Store)(nil)

// A layout is how a record is laid out in a document, and what depends on that.
type layout interface {
	// record makes a record of a document, and copies what it takes from it.
	record(doc bson.Raw) (session.Record, error)

	// check refuses a record that would not come back as it was.
	check(rec *session.Record) error

	// save returns the version zero if the document is not what the record was.
	save(ctx context.Context, coll *mongo.Collection, rec *session.Record) (version uint64, err error)

	touch(ctx context.Context, coll *mongo.Collection, id string, lastSeen, expires time.Time) (found bool, err error)

	// ofSubject is a filter for the records of a subject, which may let others pass.
	ofSubject(subject string) bson.E

	indexes(ttl bool) []index
}

// New returns a store in the collection, which need not exist yet. It checks the
// options and sends nothing to the server. Nil options are the zero ones.
//
// The read preference and the concerns of the collection are replaced, as the
// package comment says. The client must not be connected directly to a secondary
// (directConnection), which answers reads whatever they prefer.
func New(coll *mongo.Collection, opts *Options) (*Store, error) {
	if coll == nil {
		return nil, errors.New("mongostore: the collection is nil; it is client.Database(...).Collection(...)")
	}
	o, err := opts.check()
	if err != nil {
		return nil, err
	}
	s := &Store{opts: o, layout: native{}}
	if o.Layout == Express {
		s.layout = express{}
	}
	s.coll = coll.Clone(options.Collection().
		SetReadPreference(readpref.Primary()).
		SetReadConcern(readconcern.Local()).
		SetWriteConcern(writeconcern.Majority()).
		// The client's own may write strings and times as it likes.
		SetRegistry(bson.NewRegistry()))
	s.loads = s.coll
	if o.Linearizable {
		s.loads = s.coll.Clone(options.Collection().SetReadConcern(readconcern.Linearizable()))
	}
	return s, nil
}

// ExpressLayout reports whether the store works on the collection of an Express
// application. The manager asks, because Express must be able to read it.
func (s *Store) ExpressLayout() bool { return s.opts.Layout == Express }

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	ctx, err := begin(ctx)
	if err != nil {
		return session.Record{}, fail(ctx, "load", err)
	}
	doc, err := s.loads.FindOne(ctx, byID(id)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return session.Record{}, errLoadMissing
	}
	if err != nil {
		return session.Record{}, fail(ctx, "load", err)
	}
	rec, err := s.layout.record(doc)
	if err != nil {
		return session.Record{}, fail(ctx, "load", err)
	}
	return rec, nil
}

// Save implements [session.Store]. In the [Express] layout it is two round trips,
// unless the record is new.
func (s *Store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	ctx, err = begin(ctx)
	if err != nil {
		return 0, fail(ctx, "save", err)
	}
	if err := checkRecord(rec); err != nil {
		return 0, fail(ctx, "save", err)
	}
	if err := s.layout.check(rec); err != nil {
		return 0, fail(ctx, "save", err)
	}
	version, err = s.layout.save(ctx, s.coll, rec)
	switch {
	case err != nil && rec.Version == 0 && isTaken(err):
		return 0, errConflict
	case err != nil:
		return 0, fail(ctx, "save", err)
	case version == 0:
		return 0, errConflict
	}
	return version, nil
}

// Touch implements [session.Toucher].
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	ctx, err := begin(ctx)
	if err != nil {
		return fail(ctx, "touch", err)
	}
	found, err := s.layout.touch(ctx, s.coll, id, lastSeen, expires)
	switch {
	case err != nil:
		return fail(ctx, "touch", err)
	case !found:
		return errTouchMissing
	}
	return nil
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id string) error {
	ctx, err := begin(ctx)
	if err != nil {
		return fail(ctx, "delete", err)
	}
	if _, err := s.coll.DeleteOne(ctx, byID(id)); err != nil {
		return fail(ctx, "delete", err)
	}
	return nil
}

// Ping implements [session.Pinger]. It reads from the collection, so it fails also
// where there is no primary, or no right to read.
func (s *Store) Ping(ctx context.Context) error {
	ctx, err := begin(ctx)
	if err != nil {
		return fail(ctx, "ping", err)
	}
	err = s.coll.FindOne(ctx, byID("")).Err()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return fail(ctx, "ping", err)
	}
	return nil
}

// begin returns the context of an operation, unless it is done already: ctx without
// the transaction, or the session of MongoDB, that the caller may have in it.
func begin(ctx context.Context) (context.Context, error) {
	if err := ctx.Err(); err != nil {
		return ctx, err
	}
	if mongo.SessionFromContext(ctx) != nil {
		ctx = mongo.NewSessionContext(ctx, nil)
	}
	return ctx, nil
}

func byID(id string) bson.D { return bson.D{{Key: "_id", Value: id}} }

// What a record may measure, as [session.Record] says.
const (
	maxID      = 128
	maxSubject = 255
)

func checkRecord(rec *session.Record) error {
	switch {
	case rec.ID == "" || len(rec.ID) > maxID:
		return ownError(fmt.Sprintf("the ID has %d bytes; it must have 1 to %d", len(rec.ID), maxID))
	case len(rec.Subject) > maxSubject:
		return ownError(fmt.Sprintf("the subject has %d bytes; at most %d are possible", len(rec.Subject), maxSubject))
	}
	return nil
}

// newVersion returns a version that was never in use. It is random and not counted,
// so that a record which is made anew has none of those before. It fits a signed
// number, as BSON has no other.
func newVersion(old uint64) uint64 {
	for {
		if v := rand.Uint64() >> 1; v != 0 && v != old {
			return v
		}
	}
}
