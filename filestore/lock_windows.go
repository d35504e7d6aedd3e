package filestore

import "syscall"

// readersLock tells whether readers must take the lock too. Windows does not
// replace a file that is open, so they must.
const readersLock = true

// A fileLock is a lock that is held.
type fileLock struct{ h syscall.Handle }

// errSharing is ERROR_SHARING_VIOLATION: somebody has the file open.
const errSharing = syscall.Errno(32)

// tryLock tries to lock the file, which it makes if need be, by opening it
// without sharing it. The system closes it when the process dies.
func tryLock(path string) (l fileLock, ok bool, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return fileLock{}, false, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	switch err {
	case nil:
		return fileLock{h}, true, nil
	case errSharing:
		return fileLock{}, false, nil
	}
	return fileLock{}, false, err
}

// unlock releases the lock.
func (l fileLock) unlock() { syscall.CloseHandle(l.h) }

// syncFolder does nothing: Windows flushes no folders. NTFS writes renames to
// its journal in order, so that a loss of power leaves the old record or the
// new one.
func syncFolder(string) error { return nil }
