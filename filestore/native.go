package filestore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coatcheck/session"
)

// native is the layout [Native]. Writers of a record hold its lock. Readers do
// not (but see readersLock): a rename shows them the old file or the new one.
type native struct{ *folder }

// The 1 is the version of the format. Another format gets another folder, so
// that neither can take the files of the other for damaged ones.
const (
	recordsDir  = "records-v1"
	subjectsDir = "subjects-v1"
)

// path returns the file of the record with the name.
func (n *native) path(name string) string {
	return filepath.Join(n.dir, recordsDir, name[:2], name)
}

// read reads the record with the name. The error wraps fs.ErrNotExist if there
// is none, or is errCorrupt.
func (n *native) read(name string) (session.Record, error) {
	b, _, err := read(n.path(name), fullFile)
	if err != nil {
		return session.Record{}, err
	}
	rec, ok := decodeNative(b)
	if !ok || nameOf(rec.ID) != name {
		return session.Record{}, errCorrupt
	}
	return rec, nil
}

// readHead reads what is known of the record with the name besides its data,
// which may be damaged. The errors are those of read.
func (n *native) readHead(name string) (head, error) {
	f, err := os.Open(n.path(name))
	if err != nil {
		return head{}, err
	}
	defer f.Close()
	return headOf(f, name)
}

func headOf(f *os.File, name string) (head, error) {
	info, err := f.Stat()
	if err != nil {
		return head{}, err
	}
	if !info.Mode().IsRegular() {
		return head{}, errCorrupt
	}
	b := make([]byte, min(fullHead, info.Size()))
	if err := readFull(f, b); err != nil {
		return head{}, err
	}
	h, ok := decodeHead(b, info.Size())
	if !ok || nameOf(h.id) != name {
		return head{}, errCorrupt
	}
	return h, nil
}

// readShared is read for those who do not hold the lock.
func (n *native) readShared(ctx context.Context, name string) (session.Record, error) {
	if !readersLock {
		rec, err := n.read(name)
		if !errors.Is(err, errCorrupt) {
			return rec, err
		}
		// Damaged, or two touches have written while we read. Have a quiet look.
	}
	unlock, err := n.lock(ctx, name)
	if err != nil {
		return session.Record{}, err
	}
	defer unlock()
	return n.read(name)
}

func (n *native) load(ctx context.Context, id string) (session.Record, error) {
	rec, err := n.readShared(ctx, nameOf(id))
	if err != nil {
		return session.Record{}, n.notFound(err)
	}
	return rec, nil
}

func (n *native) save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	if err := checkRecord(rec); err != nil {
		return 0, err
	}
	name := nameOf(rec.ID)
	unlock, err := n.lock(ctx, name)
	if err != nil {
		return 0, err
	}
	defer unlock()

	old, err := n.read(name)
	if err != nil && !isGone(err) {
		return 0, step("read", err)
	}
	if old.Version != rec.Version { // both are zero if there is none
		return 0, session.ErrConflict
	}
	version = newVersion(rec.Version)

	// The marker comes first: if we die before the record is there, a marker
	// without a record does no harm, but a session that is not in its subject's
	// list would survive "log out everywhere". That the marker of an unchanged
	// subject exists and is on the disk, we need not check: it came first, too.
	moved := old.Subject != rec.Subject
	var marked string
	if rec.Subject != "" && moved {
		if marked, err = n.mark(rec.Subject, name); err != nil {
			return 0, err
		}
	}
	if err := n.replace(ctx, name, encodeNative(rec, version), marked); err != nil {
		// Not knowing whether the record is there, we leave the marker to Sweep.
		return 0, err
	}
	if old.Subject != "" && moved {
		n.unmark(old.Subject, name)
	}
	return version, nil
}

// replace writes the file of a record. If marked is not empty it is the folder of
// the record's marker, which must be on the disk before the record is.
//
// The marker's folder is synced after the new file and not before it: a journal
// then has both on the disk with one write, and finds nothing left to do.
func (n *native) replace(ctx context.Context, name string, data []byte, marked string) error {
	path := n.path(name)
	err := n.write(path+tempSuffix, data)
	if errors.Is(err, fs.ErrNotExist) {
		if err := n.mkdir(filepath.Dir(path)); err != nil {
			return err
		}
		err = n.write(path+tempSuffix, data)
	}
	if err == nil && marked != "" {
		err = n.sync(marked)
	}
	if err == nil {
		err = ctx.Err() // the last moment to turn back
	}
	if err != nil {
		os.Remove(path + tempSuffix)
		return err
	}
	return n.rename(path)
}

// newVersion returns a version that no record had before: a random one. A
// counter would begin anew with a record that is made again with the same ID,
// and a clock may go back.
func newVersion(old uint64) uint64 {
	for {
		var b [8]byte
		rand.Read(b[:]) // never fails
		if v := binary.BigEndian.Uint64(b[:]); v != 0 && v != old {
			return v
		}
	}
}

func (n *native) delete(ctx context.Context, id string) error {
	name := nameOf(id)
	unlock, err := n.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	h, err := n.readHead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// Whatever else is wrong with the file, it can be removed.
	if err := n.remove(n.path(name)); err != nil {
		return err
	}
	if h.subject != "" {
		n.unmark(h.subject, name)
	}
	return nil
}

func (n *native) touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	name := nameOf(id)
	unlock, err := n.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := os.OpenFile(n.path(name), os.O_RDWR, 0)
	if err != nil {
		return n.notFound(err)
	}
	defer f.Close()
	h, err := headOf(f, name)
	if err != nil {
		return n.notFound(err)
	}
	t := h.times.forward(times{lastSeen.UnixMilli(), expires.UnixMilli()})
	if t == h.times {
		return nil
	}
	// No fsync: see Store.Touch. And no rename: these 20 bytes have their own
	// checksum and a twin that stays.
	if _, err := f.WriteAt(t.encode(h.version), int64(timesAt+h.oldTimes*timesLen)); err != nil {
		return step("write", err)
	}
	return nil
}

func (n *native) list(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	if q.Subject != "" {
		return n.listSubject(ctx, q)
	}
	var records []session.Record
	first := 0
	if q.Cursor != "" {
		first = int(firstByte(q.Cursor))
	}
	for i := first; i < 256; i++ {
		inFolder, err := n.namesLocked(ctx, i)
		if err != nil {
			return nil, "", err
		}
		for _, name := range inFolder {
			if !isName(name) || name <= q.Cursor {
				continue
			}
			if len(records) == q.Limit {
				return records, nameOf(records[len(records)-1].ID), nil
			}
			records, err = n.appendRecord(ctx, records, name, "")
			if err != nil {
				return nil, "", err
			}
		}
	}
	return records, "", n.present()
}

// namesLocked returns the names in the folder i of records. It holds the lock
// of the records in it, because some file systems do not list a file that is
// replaced while they list its folder.
func (n *native) namesLocked(ctx context.Context, i int) ([]string, error) {
	stripe := fmt.Sprintf("%02x", i)
	unlock, err := n.lock(ctx, stripe)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return names(filepath.Join(n.dir, recordsDir, stripe))
}

// appendRecord appends the record with the name, if there is one and it has the
// subject; an empty subject is any.
func (n *native) appendRecord(ctx context.Context, records []session.Record, name, subject string) ([]session.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rec, err := n.readShared(ctx, name)
	switch {
	case err == nil:
		if subject == "" || rec.Subject == subject {
			records = append(records, rec)
		}
		return records, nil
	case isGone(err):
		return records, nil
	}
	// Leaving it out would be a session that nobody can revoke.
	return nil, step("read", err)
}

func (n *native) sweep(ctx context.Context, before time.Time) (removed int, err error) {
	limit := firstMilli(before)
	if err := n.present(); err != nil {
		return 0, err
	}
	var failed error
	for i := range 256 {
		inFolder, err := names(filepath.Join(n.dir, recordsDir, fmt.Sprintf("%02x", i)))
		if err != nil {
			return removed, err
		}
		for _, name := range inFolder {
			if ctx.Err() != nil {
				return removed, ctx.Err()
			}
			expired, err := n.sweepFile(ctx, name, limit)
			if expired {
				removed++
			}
			if failed == nil {
				failed = err
			}
		}
	}
	if err := n.sweepMarkers(ctx); failed == nil {
		failed = err
	}
	return removed, failed
}

// sweepFile removes a file of a records folder if it is of no use any more, and
// reports whether it was a record that expired before the limit.
func (n *native) sweepFile(ctx context.Context, file string, limit int64) (expired bool, err error) {
	name, temp := strings.CutSuffix(file, tempSuffix)
	if !isName(name) {
		return false, nil // not ours
	}
	if !temp && !readersLock {
		h, err := n.readHead(name)
		if err == nil && h.times.expires >= limit && n.marked(h.subject, name) {
			return false, nil // the usual case, without the lock
		}
	}
	unlock, err := n.lock(ctx, name)
	if err != nil {
		return false, err
	}
	defer unlock()
	path := n.path(file)
	if temp {
		return false, discard(path)
	}
	h, err := n.readHead(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, errCorrupt):
		// Nobody can load it, and under the lock nobody is writing it.
		return false, discard(path)
	case err != nil:
		return false, step("read", err)
	case h.times.expires >= limit:
		if n.marked(h.subject, name) {
			return false, nil
		}
		// The index was lost, by NoSync or a backup that has no empty files.
		dir, err := n.mark(h.subject, name)
		if err == nil {
			err = n.sync(dir)
		}
		return false, err
	}
	if err := discard(path); err != nil {
		return false, err
	}
	if h.subject != "" {
		n.unmark(h.subject, name)
	}
	return true, nil
}
