// Package filestore keeps session records as files: one folder, one file a
// record, no server and no dependency.
//
// It is for one machine. Any number of goroutines and processes may use a
// folder at the same time, and a process may be killed at any moment: a record
// is always either the old one or the new one, and the compare-and-swap of Save
// holds across processes. That rests on file locks and on atomic renames of a
// local file system, so a folder on NFS, SMB or another network file system is
// not supported.
//
// There are two layouts. [Native] is the one to use. [Express] reads and writes
// the files of the Node package session-file-store 1.5, so that a Go and an
// Express process share live logins; what it cannot keep is said there.
//
// A store starts no goroutine and keeps no file open. Somebody has to call
// Sweep now and then, else expired records stay on the disk for ever.
package filestore

import (
	"context"
	"time"

	"github.com/coatcheck/session"
)

// A Store keeps records in a folder. It is made by [New] and is safe for
// concurrent use. It implements [session.Store], [session.Toucher],
// [session.Lister], [session.Sweeper] and [session.Pinger].
//
// Its errors begin with "filestore: " and the operation, and hold neither an ID
// nor a subject nor a file name. The cause can be asked for, so
// errors.Is(err, syscall.ENOSPC) tells a full disk. After such an error the old
// record is whole.
type Store struct {
	folder *folder
	layout layout
}

var (
	_ session.Store   = (*Store)(nil)
	_ session.Toucher = (*Store)(nil)
	_ session.Lister  = (*Store)(nil)
	_ session.Sweeper = (*Store)(nil)
	_ session.Pinger  = (*Store)(nil)
)

// A layout is a way to lay records out in a folder: native or express. Its
// methods are those of [Store]; what they return is wrapped there.
type layout interface {
	load(ctx context.Context, id string) (session.Record, error)
	save(ctx context.Context, rec *session.Record) (version uint64, err error)
	delete(ctx context.Context, id string) error
	touch(ctx context.Context, id string, lastSeen, expires time.Time) error
	list(ctx context.Context, q session.Query) (records []session.Record, next string, err error)
	sweep(ctx context.Context, before time.Time) (removed int, err error)
}

// Load returns the record with the ID, expired or not, or an error that wraps
// [session.ErrNotFound]. A file that is damaged (torn by a loss of power, say)
// is not found either; no part of it is ever returned.
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	if err := ctx.Err(); err != nil {
		return session.Record{}, opError("load", err)
	}
	rec, err := s.layout.load(ctx, id)
	if err != nil {
		return session.Record{}, opError("load", err)
	}
	return rec, nil
}

// Save stores rec if the store still holds what the caller has seen; see
// [session.Store]. When it has returned, the record is on the disk, unless
// [Options.NoSync] is set. Data of more than 64 MiB is an error that wraps
// [session.ErrTooLarge].
func (s *Store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, opError("save", err)
	}
	version, err = s.layout.save(ctx, rec)
	if err != nil {
		return 0, opError("save", err)
	}
	return version, nil
}

// Delete removes the record; that there is none is not an error. When it has
// returned, a loss of power does not bring the record back, unless
// [Options.NoSync] is set.
func (s *Store) Delete(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return opError("delete", err)
	}
	return opError("delete", s.layout.delete(ctx, id))
}

// Touch moves LastSeen and Expires of the record forward. A loss of power may
// take the last touches back, but nothing else of the record.
func (s *Store) Touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	if err := ctx.Err(); err != nil {
		return opError("touch", err)
	}
	return opError("touch", s.layout.touch(ctx, id, lastSeen, expires))
}

// List returns a page of records in an order without meaning. A cursor tells
// nothing about an ID or a subject.
func (s *Store) List(ctx context.Context, q session.Query) (records []session.Record, next string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", opError("list", err)
	}
	if err := checkQuery(q); err != nil {
		return nil, "", opError("list", err)
	}
	records, next, err = s.layout.list(ctx, q)
	if err != nil {
		return nil, "", opError("list", err)
	}
	return records, next, nil
}

// Sweep removes the records that expired before the given time, and what
// crashes left behind: half-written and damaged files and stale index entries,
// which it does not count. It reads the head of every record and locks one
// record at a time, so that nobody waits long for it. Several processes may
// sweep at the same time. A file that it cannot read or remove does not keep it
// from the others; the first such error is returned together with the count.
func (s *Store) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, opError("sweep", err)
	}
	removed, err = s.layout.sweep(ctx, before)
	return removed, opError("sweep", err)
}

// Ping reports whether the folder is there and can be written to, by writing a
// file of a few bytes in it and removing it again.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return opError("ping", err)
	}
	if err := s.folder.present(); err != nil {
		return opError("ping", err)
	}
	return opError("ping", s.folder.probe(ctx))
}

// Close does nothing and returns nil: a Store holds nothing between two calls.
// It is there so that programs can treat all stores alike.
func (s *Store) Close() error { return nil }

// ExpressLayout reports whether the files are those of session-file-store, in
// which a record must be a session as express-session writes it. The manager
// asks for it.
func (s *Store) ExpressLayout() bool {
	_, ok := s.layout.(*express)
	return ok
}
