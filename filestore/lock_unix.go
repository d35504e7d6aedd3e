//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filestore

import (
	"os"
	"syscall"
)

// readersLock tells whether readers must take the lock too. A Unix file can be
// replaced while others read it, so they need not.
const readersLock = false

// A fileLock is a lock that is held.
type fileLock struct{ f *os.File }

// tryLock tries to lock the file, which it makes if need be.
//
// flock belongs to the open file, not to the process as fcntl's locks do, so it
// holds between two stores of one process too.
func tryLock(path string) (l fileLock, ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fileLock{}, false, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			break
		}
	}
	if err == nil {
		return fileLock{f}, true, nil
	}
	f.Close()
	if err == syscall.EWOULDBLOCK {
		return fileLock{}, false, nil
	}
	return fileLock{}, false, err
}

// unlock releases the lock. Closing alone would not always do it at once: a
// child process that is being started has a copy of the open file until exec.
func (l fileLock) unlock() {
	syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN)
	l.f.Close()
}

// syncFolder waits until the names in the folder are on the disk.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if pe, ok := err.(*os.PathError); ok && (pe.Err == syscall.EINVAL || pe.Err == syscall.ENOTSUP) {
		// Some file systems have no fsync for folders. There a rename is as
		// durable as they make it, and no caller could do better.
		return nil
	}
	return err
}
