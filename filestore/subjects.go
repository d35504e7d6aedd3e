package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/coatcheck/session"
)

// The subject index of layout native: for each record with a subject an empty
// file, a marker, named by both. Markers only help to find; what counts is the
// subject in the record. A marker too many is skipped by List and removed by
// Sweep. There is never one too few: see native.save.
//
// One flat name instead of a folder a subject: most subjects have one session,
// and folders would have to be made and removed in race with each other.

// markerOf returns the name of the marker of a record.
func markerOf(subject, name string) string { return nameOf(subject) + "-" + name }

// markerPath returns the file of a marker.
func (n *native) markerPath(marker string) string {
	return filepath.Join(n.dir, subjectsDir, marker[:2], marker)
}

// mark puts the record with the name on the list of the subject. It is there for
// good when the folder that is returned has been synced.
func (n *native) mark(subject, name string) (dir string, err error) {
	path := n.markerPath(markerOf(subject, name))
	dir = filepath.Dir(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := n.mkdir(dir); err != nil {
			return "", err
		}
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	}
	if err != nil {
		return "", step("write the subject index", err)
	}
	f.Close()
	return dir, nil
}

// unmark takes the record off the list of the subject. If it fails, Sweep will
// try again.
func (n *native) unmark(subject, name string) {
	os.Remove(n.markerPath(markerOf(subject, name)))
}

// marked reports whether the record is on the list of its subject, or has none.
func (n *native) marked(subject, name string) bool {
	if subject == "" {
		return true
	}
	_, err := os.Lstat(n.markerPath(markerOf(subject, name)))
	return !errors.Is(err, fs.ErrNotExist)
}

func (n *native) listSubject(ctx context.Context, q session.Query) ([]session.Record, string, error) {
	prefix := nameOf(q.Subject) + "-"
	// No lock: a marker of a record that stays is neither made nor removed
	// meanwhile, and such files are listed by all file systems.
	markers, err := names(filepath.Join(n.dir, subjectsDir, prefix[:2]))
	if err != nil {
		return nil, "", err
	}
	var records []session.Record
	for _, marker := range markers[sort.SearchStrings(markers, prefix+q.Cursor):] {
		name, ok := strings.CutPrefix(marker, prefix)
		if !ok {
			break
		}
		if !isName(name) || name == q.Cursor {
			continue
		}
		if len(records) == q.Limit {
			return records, nameOf(records[len(records)-1].ID), nil
		}
		records, err = n.appendRecord(ctx, records, name, q.Subject)
		if err != nil {
			return nil, "", err
		}
	}
	return records, "", n.present()
}

// sweepMarkers removes the markers that no record stands behind.
func (n *native) sweepMarkers(ctx context.Context) error {
	var failed error
	for i := range 256 {
		markers, err := names(filepath.Join(n.dir, subjectsDir, fmt.Sprintf("%02x", i)))
		if err != nil {
			return err
		}
		for _, marker := range markers {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := n.sweepMarker(ctx, marker); failed == nil {
				failed = err
			}
		}
	}
	return failed
}

func (n *native) sweepMarker(ctx context.Context, marker string) error {
	subject, name, _ := strings.Cut(marker, "-")
	if !isName(subject) || !isName(name) {
		return nil // not ours
	}
	if !readersLock {
		if h, err := n.readHead(name); err == nil && nameOf(h.subject) == subject {
			return nil // the usual case, without the lock
		}
	}
	unlock, err := n.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	h, err := n.readHead(name)
	if err != nil && !isGone(err) {
		return step("read", err)
	}
	if err == nil && nameOf(h.subject) == subject {
		return nil
	}
	return discard(n.markerPath(marker))
}
