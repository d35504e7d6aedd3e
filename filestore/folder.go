package filestore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/coatcheck/session"
)

// A folder is what both layouts stand on: the folder of a store, its locks, and
// the few operations on files that they are made of.
type folder struct {
	*locks
	dir    string
	noSync bool

	syncFolder func(path string) error // the system's; tests see what it is called for
}

// locksDir is the folder of the lock files. It is made by New alone, so that
// its absence shows that the store's folder is gone or not mounted.
const locksDir = ".locks"

// tempSuffix is added to the name of a file for the one that is to replace it.
// A temporary file is only ever written under the lock of its record. So one
// that is found under the lock was left by a crash, whatever its age: the next
// writer overwrites it, Sweep removes it, and there is at most one a record.
const tempSuffix = ".tmp"

// nameOf returns the name of a record or subject: its SHA-256 in hex.
func nameOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// isName reports whether s is what nameOf returns for some string.
func isName(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// firstByte returns the byte that the first two digits of a name stand for.
func firstByte(name string) byte {
	n, _ := strconv.ParseUint(name[:2], 16, 8) // a name begins with hex digits
	return byte(n)
}

// errFolderGone says that there are no records because there is no folder.
// Taking it for "no such session" would log everybody out.
var errFolderGone = errors.New("the folder of the store is gone; mount it or make it again and restart")

// present reports whether the folder is still the one that New prepared.
func (f *folder) present() error {
	_, err := os.Stat(filepath.Join(f.dir, locksDir))
	if errors.Is(err, fs.ErrNotExist) {
		return errFolderGone
	}
	if err != nil {
		return step("look for the folder", err)
	}
	return nil
}

// probe takes a lock, writes a small file and removes it.
func (f *folder) probe(ctx context.Context) error {
	unlock, err := f.lock(ctx, "00")
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(f.dir, locksDir, "probe")
	err = f.write(path, []byte("probe"))
	if removed := os.Remove(path); err == nil && removed != nil {
		err = step("remove", removed)
	}
	return err
}

// write writes a file and waits for the disk.
func (f *folder) write(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return step("create", err)
	}
	if _, err := file.Write(data); err != nil {
		file.Close()
		return step("write", err)
	}
	if !f.noSync {
		if err := file.Sync(); err != nil {
			file.Close()
			return step("sync", err)
		}
	}
	if err := file.Close(); err != nil {
		return step("close", err)
	}
	return nil
}

// remove removes a file, if it is there, and waits for the disk.
func (f *folder) remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return step("remove", err)
	}
	return f.sync(filepath.Dir(path))
}

// discard removes a file of which it does not matter if it comes back after a
// loss of power.
func discard(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return step("remove", err)
	}
	return nil
}

// rename puts the temporary file of path in its place and waits for the disk.
func (f *folder) rename(path string) error {
	if err := os.Rename(path+tempSuffix, path); err != nil {
		return step("rename", err)
	}
	return f.sync(filepath.Dir(path))
}

// sync waits until the names in a folder are on the disk.
func (f *folder) sync(dir string) error {
	if f.noSync {
		return nil
	}
	if err := f.syncFolder(dir); err != nil {
		return step("sync the folder", err)
	}
	return nil
}

// mkdir makes a folder inside of the store's, but not that one itself: see
// errFolderGone.
func (f *folder) mkdir(dir string) error {
	parent := filepath.Dir(dir)
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) && parent != f.dir {
		if err := f.mkdir(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return step("make a folder", err)
	}
	return f.sync(parent)
}

// read reads a file of at most limit bytes; a longer one is errCorrupt. The
// FileInfo is that of the file that was read, even if it was replaced, and is
// there for errCorrupt too.
func read(path string, limit int64) ([]byte, fs.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, info, errCorrupt
	}
	data := make([]byte, info.Size())
	if err := readFull(file, data); err != nil {
		return nil, info, err
	}
	return data, info, nil
}

// readFull fills b from the file. A file that turns out to be shorter, because
// somebody is writing it in place, is errCorrupt.
func readFull(file *os.File, b []byte) error {
	_, err := io.ReadFull(file, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errCorrupt
	}
	return err
}

// isGone reports whether err says that there is no whole record.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errCorrupt)
}

// notFound turns an error of reading a record into one for callers.
func (f *folder) notFound(err error) error {
	if !isGone(err) {
		return step("read", err)
	}
	if err := f.present(); err != nil {
		return err
	}
	return session.ErrNotFound
}

// names returns the names in a folder, in order. A folder that is not there is
// an empty one.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, step("read a folder", err)
	}
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.Name()
	}
	return list, nil
}
