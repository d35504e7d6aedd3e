package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coatcheck/session"
)

func init() {
	children["full"] = fullDisk
	children["limited"] = limitedFile
	children["stranger"] = stranger
}

// runChild runs a child to its end.
func runChild(t *testing.T, mode, dir string, opts *Options, attr *syscall.SysProcAttr) {
	t.Helper()
	layout := "native"
	if opts.Layout == Express {
		layout = "express"
	}
	cmd := exec.Command(os.Args[0], dir, "sync", layout)
	cmd.Env = append(os.Environ(), childMode+"="+mode)
	cmd.SysProcAttr = attr
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// A disk that is full or read-only: a small one, mounted where only the child
// sees it. A user other than root needs a user namespace for that.
func TestFullAndReadOnlyDisk(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if os.Getuid() != 0 {
			attr.Cloneflags |= syscall.CLONE_NEWUSER
			attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		runChild(t, "full", t.TempDir(), opts, attr)
	})
}

func fullDisk(dir string, opts *Options) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		return err
	}
	s, err := New(dir, opts)
	if err != nil {
		return err
	}
	rec, err := keeper(s)
	if err != nil {
		return err
	}

	// Fill it until a save fails, then until nothing fits at all.
	for i := 0; ; i++ {
		filler := sample(fmt.Sprintf("filler-%d", i))
		filler.Data = counterData(200 + i)
		_, err = s.Save(ctx, filler)
		if err != nil {
			break
		}
		if i > 1000 {
			return errors.New("the disk does not get full")
		}
	}
	if err := wantCause("a save of a new record", err, syscall.ENOSPC); err != nil {
		return err
	}
	rest := filepath.Join(dir, "rest")
	if err := os.WriteFile(rest, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("filling the rest gave %v", err)
	}
	changed := *rec
	changed.Data = counterData(240)
	_, err = s.Save(ctx, &changed)
	if err := wantCause("a save of a record that is there", err, syscall.ENOSPC); err != nil {
		return err
	}
	if err := wantCause("a ping", s.Ping(ctx), syscall.ENOSPC); err != nil {
		return err
	}
	if err := stillThere(s, rec); err != nil {
		return err
	}
	if _, err := New(dir, opts); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") {
		return fmt.Errorf("New on the full disk gave %v", err)
	}
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, tempSuffix) {
			err = errors.New("a failed save left its temporary file")
		}
		return err
	}); err != nil {
		return err
	}
	// A full disk must not keep anybody from making room.
	for i := range 2 {
		if err := s.Delete(ctx, fmt.Sprintf("filler-%d", i)); err != nil {
			return err
		}
	}
	if err := os.Remove(rest); err != nil {
		return err
	}
	changed.Version, err = s.Save(ctx, &changed)
	if err != nil {
		return fmt.Errorf("with room again: %w", err)
	}

	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	_, err = s.Save(ctx, &changed)
	if err := wantCause("a save", err, syscall.EROFS); err != nil {
		return err
	}
	if err := wantCause("a touch", s.Touch(ctx, rec.ID, now, now.AddDate(1, 0, 0)), syscall.EROFS); err != nil {
		return err
	}
	if err := wantCause("a delete", s.Delete(ctx, rec.ID), syscall.EROFS); err != nil {
		return err
	}
	if err := stillThere(s, &changed); err != nil {
		return err
	}
	if _, err := New(dir, opts); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "mount it for writing") {
		return fmt.Errorf("New on the read-only disk gave %v", err)
	}
	return nil
}

// keeper saves the record that has to stay.
func keeper(s *Store) (*session.Record, error) {
	rec := sample("the-record-that-stays")
	rec.Data = counterData(7)
	version, err := s.Save(ctx, rec)
	rec.Version = version
	return rec, err
}

// stillThere reports if the record is not there as it was saved.
func stillThere(s *Store, rec *session.Record) error {
	got, err := s.Load(context.Background(), rec.ID)
	if err != nil {
		return fmt.Errorf("the old record: %w", err)
	}
	if got.Version != rec.Version || string(got.Data) != string(rec.Data) {
		return errors.New("the old record has changed")
	}
	return nil
}

func wantCause(what string, err, cause error) error {
	if !errors.Is(err, cause) {
		return fmt.Errorf("%s gave %v, want %v", what, err, cause)
	}
	return nil
}

// The same without any rights: a file may not grow beyond 4096 bytes, so a
// write breaks off in the middle.
func TestWriteThatBreaksOff(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		runChild(t, "limited", t.TempDir(), opts, nil)
	})
}

func limitedFile(dir string, opts *Options) error {
	s, err := New(dir, opts)
	if err != nil {
		return err
	}
	rec, err := keeper(s)
	if err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4096, Max: 4096}); err != nil {
		return err
	}
	changed := *rec
	changed.Data = counterData(200)
	_, err = s.Save(ctx, &changed)
	if err := wantCause("a save", err, syscall.EFBIG); err != nil {
		return err
	}
	return stillThere(s, rec)
}

// A folder that belongs to somebody else. Root may do everything, so the child
// becomes nobody first.
func TestFolderOfAnotherUser(t *testing.T) {
	dir := t.TempDir()
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	runChild(t, "stranger", closed, &Options{}, nil)
}

func stranger(dir string, opts *Options) error {
	if os.Getuid() == 0 {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
	}
	for _, dir := range []string{dir, filepath.Join(dir, "new")} {
		_, err := New(dir, opts)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "chown") {
			return fmt.Errorf("New gave %v", err)
		}
	}
	return nil
}
