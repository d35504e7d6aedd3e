// Package natsstore keeps sessions in a key-value bucket of NATS JetStream, on
// servers from version 2.11 on.
//
//	conn, err := nats.Connect("nats://localhost:4222", nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
//	js, err := jetstream.New(conn)
//	store, err := natsstore.New(js, &natsstore.Options{Replicas: 3})
//	err = store.Migrate(ctx) // makes the bucket if there is none
//
// The connection is the caller's, with all its settings, and the store closes
// nothing. With the two options above a program starts while the servers are
// down, and goes on when they are back, however long that takes.
//
// # Round trips
//
// A load is one request. So is a save: the revision of a key is the version of
// its record, and JetStream compares and sets. Three things add to that. The
// first save of a record with a subject is two, because its place in the index
// of the subject is written first; about once an hour of a session's use that
// place is prolonged, which is one more. A touch is two, a read and a write. And
// a save upon a touch that another process has made is three: it finds out.
// Delete is one. The first request of a store is preceded by one that looks at
// the bucket.
//
// JetStream has no way to change a part of a value, so a touch writes the record
// anew. It keeps the version, and is never a conflict for those who save.
//
// # What NATS promises
//
// A write is acknowledged when most of the replicas have it, and so outlives the
// loss of a server where there are three. It is on their disks some time later:
// the server's setting sync_interval is two minutes, and only with "always" does
// a write outlive a loss of power of all at once.
//
// All reads go to the leader of the bucket, whatever the bucket allows. The
// short way, which clients take by default (allow_direct), asks any replica, and
// those are behind: of reads right after a write, every fourth found the value
// from before on three replicas. That must not be with sessions, a sign-out
// would not hold. On one server the leader costs nothing more; on three, two to
// three times as much.
//
// There is one exception that a client cannot mend. A leader that is cut off from
// the others takes no writes any more, but for up to twenty seconds, until it
// knows, it answers reads of those clients that are cut off with it.
//
// While a leader is elected, in some seconds after the loss of one, and while the
// connection is down, operations wait, and try again, as long as their context
// lets them. That is StoreTimeout of the manager. With one that never ends they
// wait for ever.
//
// # Where the answer is lost
//
// A write whose answer does not come is sent again. As it is conditional, it
// cannot happen twice, and it is recognised if it has happened: each carries a
// random number. (The header Nats-Msg-Id serves that purpose in a cluster only; a
// server alone compares first.) If somebody else has saved the record since,
// nobody can know, and the error says so; it is no conflict.
//
// # Expiry
//
// All that is written has a time to live, so the server removes what has expired,
// and the store has no Sweep: there would be nothing to do. It is reckoned from
// the clock of the program, and a minute is added, for servers whose clocks
// differ.
//
// # What is in the bucket
//
//	r.ID           one line of text that holds all but the data, and the data, byte for byte
//	s.HASH.ID      nothing; a place in the index of the subject with this SHA-256
//
// Letters, digits, - and _ of an ID stand for themselves, other bytes are =XX.
// What the line holds is said in value.go. A bucket must be the store's
// own. Who may subscribe to $KV.BUCKET.> reads everything, and with raw IDs the
// tokens too; servers that trace show subjects, and so IDs.
//
// Where an account restricts what a program may publish to, it needs, for the
// bucket "sessions": $KV.sessions.>, $JS.API.STREAM.MSG.GET.KV_sessions and
// $JS.API.STREAM.INFO.KV_sessions; STREAM.CREATE and UPDATE for Migrate;
// $JS.API.CONSUMER.CREATE.KV_sessions.> for Watch.
//
// # In front of it
//
// The store is a [session.Watcher]: package cachestore keeps in memory what is
// read often, and sees others' changes in milliseconds.
package natsstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
)

// A Store keeps sessions in a bucket. It is made by [New], is safe for concurrent
// use, and implements [session.Store], [session.Toucher], [session.Lister],
// [session.Pinger] and [session.Watcher].
//
// Its errors begin with "natsstore: " and the operation, and hold neither an ID
// nor a subject nor data.
type Store struct {
	opts    Options
	link    *link
	seen    sightings
	checked atomic.Bool // the bucket is as it must be
}

var _ interface {
	session.Store
	session.Toucher
	session.Lister
	session.Pinger
	session.Watcher
} = (*Store)(nil)

// New returns a store in the bucket that the options name. It checks them and
// sends nothing: the first operation looks at the bucket. Nil options are the zero
// ones.
//
// A JetStream with a domain or an API prefix is fine.
func New(js jetstream.JetStream, opts *Options) (*Store, error) {
	if js == nil {
		return nil, errors.New("natsstore: the JetStream is nil; make one with jetstream.New")
	}
	o, err := opts.check()
	if err != nil {
		return nil, err
	}
	return &Store{opts: o, link: newLink(js, o.Bucket)}, nil
}

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	rec, err := s.load(ctx, id)
	if err != nil {
		return session.Record{}, fail(ctx, "load", err)
	}
	return rec, nil
}

func (s *Store) load(ctx context.Context, id string) (rec session.Record, err error) {
	if err := s.begin(ctx); err != nil {
		return rec, err
	}
	if !isID(id) {
		return rec, session.ErrNotFound
	}
	held, err := s.read(ctx, recordKey(id))
	switch {
	case err != nil:
		return rec, err
	case !held.exists:
		return rec, session.ErrNotFound
	}
	s.seen.note(held.sighting())
	return held.record(id), nil
}

// Save implements [session.Store]. A record that is larger than the servers or
// the bucket take is an error that wraps [session.ErrTooLarge]; max_payload of a
// server is a megabyte unless it is told otherwise.
func (s *Store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	err = check(rec)
	if err == nil {
		err = s.begin(ctx)
	}
	if err == nil {
		version, err = s.save(ctx, rec)
	}
	if err != nil {
		return 0, fail(ctx, "save", err)
	}
	return version, nil
}

// Touch implements [session.Toucher]. One that moves nothing writes nothing.
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	err := s.begin(ctx)
	if err == nil && !isID(id) {
		err = session.ErrNotFound
	}
	if err == nil {
		err = s.touch(ctx, id, lastSeen, expires)
	}
	return fail(ctx, "touch", err)
}

// Delete implements [session.Store]. For some seconds a marker remains, that
// tells watchers.
func (s *Store) Delete(ctx context.Context, id string) error {
	err := s.begin(ctx)
	if err == nil && isID(id) {
		err = s.remove(ctx, recordKey(id), nil, markerLife)
	}
	return fail(ctx, "delete", err)
}

// Ping reports whether the bucket can be reached and is as the store needs it.
func (s *Store) Ping(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		err = s.inspect(ctx)
	}
	return fail(ctx, "ping", err)
}

// begin looks at the bucket, if this store has not seen it to be fine before.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil || s.checked.Load() {
		return err
	}
	return s.inspect(ctx)
}

// What a record may measure, as [session.Record] says.
const (
	maxID      = 128
	maxSubject = 255
)

// isID reports whether there can be a record with the ID.
func isID(id string) bool { return id != "" && len(id) <= maxID }

// check refuses a record that would not come back as it was.
func check(rec *session.Record) error {
	switch {
	case !isID(rec.ID):
		return fmt.Errorf("the ID has %d bytes; it must have 1 to %d", len(rec.ID), maxID)
	case len(rec.Subject) > maxSubject:
		return fmt.Errorf("the subject has %d bytes; at most %d are possible", len(rec.Subject), maxSubject)
	case hasLineBreak(rec.Subject):
		return errors.New("the subject has a line break")
	}
	return nil
}
