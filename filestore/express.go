package filestore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coatcheck/session"
)

// express is the layout [Express].
type express struct {
	*folder
	ttl time.Duration
}

// expressSuffix is session-file-store's fileExtension.
const expressSuffix = ".json"

// maxWrap is at most how many bytes encodeExpress adds to the data.
const maxWrap = 256

// path returns the file of the record with the ID.
func (x *express) path(id string) string { return filepath.Join(x.dir, id+expressSuffix) }

// isSafe reports whether an ID can be a file name. Session-file-store does not
// ask: there "../../x" is a file outside of the folder.
func isSafe(id string) bool {
	bad := func(r rune) bool {
		return r == '/' || r == '\\' || unicode.IsControl(r) ||
			runtime.GOOS == "windows" && strings.ContainsRune(`:*?"<>|`, r)
	}
	return id != "" && len(id) <= maxID && id[0] != '.' && utf8.ValidString(id) &&
		!strings.ContainsFunc(id, bad) && filepath.IsLocal(id+expressSuffix)
}

// A found is a record and the file it was read from. Of a damaged one there is
// only the info.
type found struct {
	rec  session.Record
	file expressFile
	body []byte
	info fs.FileInfo
}

// read reads the record with the ID. The error wraps fs.ErrNotExist if there is
// none, or is errCorrupt.
func (x *express) read(id string) (found, error) {
	b, info, err := read(x.path(id), maxData+maxWrap)
	if err != nil {
		return found{info: info}, err
	}
	e, ok := decodeExpress(b, x.ttl)
	if !ok {
		return found{info: info}, errCorrupt
	}
	rec := session.Record{
		ID:      id,
		Subject: e.subject,
		Data:    slices.Clone(e.data),
		Version: expressVersion(e.data, info),
		Expires: fromMillis(e.expires()),
	}
	return found{rec, e, b, info}, nil
}

// expressVersion returns the version of a file: a hash of the session, without
// "__lastAccess", and of the modification time. The time is there for those who
// write the same session twice. It is taken in microseconds, because not all
// systems can set it more exactly, and Touch has to.
func expressVersion(data []byte, info fs.FileInfo) uint64 {
	h := sha256.New()
	h.Write(data)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(info.ModTime().UnixMicro())))
	return max(1, binary.BigEndian.Uint64(h.Sum(nil)))
}

// readShared is read for those who do not hold the lock.
func (x *express) readShared(ctx context.Context, id string) (found, error) {
	if readersLock {
		unlock, err := x.lock(ctx, nameOf(id))
		if err != nil {
			return found{}, err
		}
		defer unlock()
	}
	return x.read(id)
}

func (x *express) load(ctx context.Context, id string) (session.Record, error) {
	if !isSafe(id) {
		return session.Record{}, session.ErrNotFound
	}
	f, err := x.readShared(ctx, id)
	if err != nil {
		return session.Record{}, x.notFound(err)
	}
	return f.rec, nil
}

func (x *express) save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	if err := checkRecord(rec); err != nil {
		return 0, err
	}
	if !isSafe(rec.ID) {
		return 0, errors.New("the ID cannot be a file name, as layout Express needs it; use IDs like those of express-session, or layout Native")
	}
	body, err := encodeExpress(rec, x.ttl)
	if err != nil {
		return 0, err
	}
	e, _ := decodeExpress(body, x.ttl)
	unlock, err := x.lock(ctx, nameOf(rec.ID))
	if err != nil {
		return 0, err
	}
	defer unlock()

	old, err := x.read(rec.ID)
	if err != nil && !isGone(err) {
		return 0, step("read", err)
	}
	if old.rec.Version != rec.Version { // both are zero if there is none
		return 0, session.ErrConflict
	}
	// A new modification time, so that the version differs even if the session
	// does not. Some file systems know only every second one of them.
	temp := x.path(rec.ID) + tempSuffix
	when := time.Now()
	for _, later := range []time.Duration{0, time.Microsecond, time.Second, 2 * time.Second} {
		info, err := x.writeAt(temp, body, when.Add(later))
		if err != nil {
			return 0, err
		}
		if version = expressVersion(e.data, info); version != rec.Version {
			break
		}
	}
	same, err := x.replace(ctx, rec.ID, old.info)
	if err != nil {
		return 0, err
	}
	if !same {
		return 0, session.ErrConflict
	}
	return version, x.sync(x.dir)
}

// writeAt writes a file and sets its modification time. It leaves no file
// behind if it fails.
func (x *express) writeAt(path string, data []byte, when time.Time) (info fs.FileInfo, err error) {
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	if err := x.write(path, data); err != nil {
		return nil, err
	}
	if err := os.Chtimes(path, when, when); err != nil {
		return nil, step("set the time", err)
	}
	info, err = os.Stat(path)
	if err != nil {
		return nil, step("look at", err)
	}
	return info, nil
}

// replace puts the temporary file of a record in its place, if the file there is
// still the one that was seen (nil: none), and else removes it. The lock keeps
// other Stores away, but not Express, so this is asked as late as possible.
func (x *express) replace(ctx context.Context, id string, seen fs.FileInfo) (same bool, err error) {
	path := x.path(id)
	defer func() {
		if !same {
			os.Remove(path + tempSuffix)
		}
	}()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	now, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, step("look at", err)
	}
	if (seen == nil) != (now == nil) {
		return false, nil
	}
	if seen != nil && (!os.SameFile(seen, now) || !seen.ModTime().Equal(now.ModTime()) || seen.Size() != now.Size()) {
		return false, nil
	}
	if err := os.Rename(path+tempSuffix, path); err != nil {
		return false, step("rename", err)
	}
	return true, nil
}

func (x *express) delete(ctx context.Context, id string) error {
	if !isSafe(id) {
		return nil
	}
	unlock, err := x.lock(ctx, nameOf(id))
	if err != nil {
		return err
	}
	defer unlock()
	return x.remove(x.path(id))
}

func (x *express) touch(ctx context.Context, id string, _, expires time.Time) error {
	if !isSafe(id) {
		return session.ErrNotFound
	}
	unlock, err := x.lock(ctx, nameOf(id))
	if err != nil {
		return err
	}
	defer unlock()
	for {
		old, err := x.read(id)
		if err != nil {
			return x.notFound(err)
		}
		access := old.file.accessFor(expires.UnixMilli())
		if !old.file.hasAccess || access <= old.file.lastAccess {
			return nil // nothing moves back, and never is late enough
		}
		// The whole file is written anew, because an Express process may read it
		// now, and synced, lest a touch cost the session if the power fails.
		temp := x.path(id) + tempSuffix
		if _, err := x.writeAt(temp, withAccess(old.body, access), old.info.ModTime()); err != nil {
			return err
		}
		same, err := x.replace(ctx, id, old.info)
		if same || err != nil {
			return err
		}
		// Express wrote it meanwhile. See what it wrote.
	}
}

func (x *express) list(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	files, err := names(x.dir)
	if err != nil {
		return nil, "", err
	}
	// The order is by hash, so that a cursor is not an ID.
	type entry struct{ name, id string }
	var entries []entry
	for _, file := range files {
		id, ok := strings.CutSuffix(file, expressSuffix)
		if !ok || !isSafe(id) {
			continue // not a session
		}
		if name := nameOf(id); name > q.Cursor {
			entries = append(entries, entry{name, id})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	var records []session.Record
	last := ""
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		if len(records) == q.Limit {
			return records, last, nil
		}
		f, err := x.readShared(ctx, e.id)
		if err != nil && !isGone(err) {
			return nil, "", step("read", err)
		}
		if err == nil && (q.Subject == "" || f.rec.Subject == q.Subject) {
			records = append(records, f.rec)
		}
		last = e.name
	}
	return records, "", x.present()
}

func (x *express) sweep(ctx context.Context, before time.Time) (removed int, err error) {
	if err := x.present(); err != nil {
		return 0, err
	}
	files, err := names(x.dir)
	if err != nil {
		return 0, err
	}
	var failed error
	for _, file := range files {
		if ctx.Err() != nil {
			return removed, ctx.Err()
		}
		expired, err := x.sweepFile(ctx, file, before)
		if expired {
			removed++
		}
		if failed == nil {
			failed = err
		}
	}
	return removed, failed
}

// sweepFile removes a file of the folder if it is of no use any more, and
// reports whether it was a record that expired before the given time.
func (x *express) sweepFile(ctx context.Context, file string, before time.Time) (expired bool, err error) {
	file, temp := strings.CutSuffix(file, tempSuffix)
	id, ok := strings.CutSuffix(file, expressSuffix)
	if !ok || !isSafe(id) {
		return false, nil // not ours
	}
	if !temp && !readersLock {
		f, err := x.read(id)
		if err == nil && f.file.expires() >= firstMilli(before) {
			return false, nil // the usual case, without the lock
		}
	}
	unlock, err := x.lock(ctx, nameOf(id))
	if err != nil {
		return false, err
	}
	defer unlock()
	path := x.path(id)
	if temp {
		return false, discard(path + tempSuffix)
	}
	f, err := x.read(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, errCorrupt):
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.ModTime().Add(x.ttl).Before(before) {
			return false, discard(path)
		}
		return false, nil
	case err != nil:
		return false, step("read", err)
	case f.file.expires() >= firstMilli(before):
		return false, nil
	}
	return true, discard(path)
}
