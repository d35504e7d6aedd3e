//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package filestore

import (
	"errors"
	"fmt"
	"runtime"
)

// readersLock tells whether readers must take the lock too.
const readersLock = false

// A fileLock is a lock that is held.
type fileLock struct{}

// tryLock refuses. What these systems have is either no lock at all or one that
// a killed process leaves behind, and a store that hangs after a crash or loses
// updates is worse than none. New reports it.
func tryLock(string) (l fileLock, ok bool, err error) {
	return fileLock{}, false, fmt.Errorf("no usable file locks on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (fileLock) unlock() {}

func syncFolder(string) error { return nil }
