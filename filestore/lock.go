package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"time"
)

// locks are 256 mutexes that hold between goroutines and between processes. A
// record has the one of the first byte of its name, so their number is fixed
// and no lock file has to be removed, which could not be done without a race.
//
// A file lock dies with its process. The queue in front of it is for speed
// only: goroutines of one Store wait for each other there instead of polling.
type locks struct {
	dir   string
	queue [256]chan struct{}
}

func newLocks(dir string) *locks {
	l := &locks{dir: dir}
	for i := range l.queue {
		l.queue[i] = make(chan struct{}, 1)
	}
	return l
}

// lock waits for the lock of name until ctx is done. It is released by calling
// unlock.
//
// The lock file is opened anew each time. That costs microseconds, and if
// somebody removes the file under us, processes soon agree on a new one.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	stripe := firstByte(name)
	queue := l.queue[stripe]
	select {
	case queue <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	path := filepath.Join(l.dir, fmt.Sprintf("%02x", stripe))
	// A blocking flock cannot be cancelled, so we poll. Holders need a
	// millisecond or so (one fsync of a file and one of its folder).
	pause := 20 * time.Microsecond
	for {
		file, ok, err := tryLock(path)
		if err != nil {
			<-queue
			if errors.Is(err, fs.ErrNotExist) {
				err = errFolderGone
			}
			return nil, step("lock", err)
		}
		if ok {
			return func() {
				file.unlock()
				<-queue
			}, nil
		}
		// The random part keeps two processes from polling in step.
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			<-queue
			return nil, ctx.Err()
		}
		pause = min(2*pause, time.Millisecond)
	}
}
