package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// New returns a store that keeps its records in the folder dir, which it makes
// with mode 0700 if it is missing. Nil options are the zero ones. It checks that
// the folder can be read and written, and its error says how to mend it. A
// relative dir is resolved now, not when the working directory has changed.
func New(dir string, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if dir == "" {
		return nil, errors.New("filestore: new: no folder given")
	}
	if o.TTL < 0 {
		return nil, errors.New("filestore: new: Options.TTL is negative; leave it zero for one hour")
	}
	if o.TTL == 0 {
		o.TTL = defaultTTL
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("filestore: new: find the working directory: %w", err)
	}
	f := &folder{dir: abs, noSync: o.NoSync, locks: newLocks(filepath.Join(abs, locksDir)), syncFolder: syncFolder}
	s := &Store{folder: f}
	switch o.Layout {
	case Native:
		s.layout = &native{f}
	case Express:
		s.layout = &express{f, o.TTL}
	default:
		return nil, fmt.Errorf("filestore: new: Options.Layout is %d; use Native or Express", o.Layout)
	}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("filestore: new: folder %q: %w", dir, advise(err))
	}
	return s, nil
}

// open makes what is missing of the folder and tries what the store will do in
// it. The first error that a program would meet is better met here.
func (f *folder) open() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return step("make it", err)
	}
	if _, err := os.ReadDir(f.dir); err != nil {
		return step("read it", err)
	}
	if err := f.mkdir(filepath.Join(f.dir, locksDir)); err != nil {
		return err
	}
	// A process that is stopped may hold the lock for ever.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := f.probe(ctx); err != nil {
		return err
	}
	// A process that was killed may have made the folders but not synced them.
	if err := f.sync(f.dir); err != nil {
		return err
	}
	err := f.sync(filepath.Dir(f.dir))
	if errors.Is(err, fs.ErrPermission) {
		return nil // the folder above is somebody else's, and older than we
	}
	return err
}

// advise adds to an error of open what can be done about it.
func advise(err error) error {
	var advice string
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		advice = "give the path of a folder, not of a file"
	case errors.Is(err, fs.ErrPermission):
		advice = "the user of this process must be allowed to read, write and search it: make that user its owner (chown) and give it mode 0700 (chmod)"
	case errors.Is(err, syscall.EROFS):
		advice = "mount it for writing or choose another folder"
	case errors.Is(err, syscall.ENOSPC):
		advice = "make room on the disk"
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, advice)
}
