package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/coatcheck/session"
)

// The limits of the contract, and ours for the data: a guard against reading a
// damaged length, far above what any session should be.
const (
	maxID      = 128
	maxSubject = 255
	maxData    = 64 << 20
)

// errCorrupt is for a file that is there but is no whole record. It does not
// leave the package: callers see ErrNotFound.
var errCorrupt = errors.New("damaged file")

// opError gives err, if it is one, the name of the operation, and takes from it
// the file name that errors of package os carry, because that may hold an ID.
func opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("filestore: %s: %w", op, bare(err))
}

// step is opError's inner part: it says what was being done when err happened.
func step(what string, err error) error {
	return fmt.Errorf("%s: %w", what, bare(err))
}

// bare returns the cause of an error of package os, without its file names.
func bare(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	case *os.SyscallError:
		return e.Err
	}
	return err
}

// checkRecord refuses a record that is not of the contract, or too large.
func checkRecord(rec *session.Record) error {
	switch {
	case len(rec.ID) == 0 || len(rec.ID) > maxID:
		return fmt.Errorf("the ID has %d bytes; it must have 1 to %d", len(rec.ID), maxID)
	case len(rec.Subject) > maxSubject:
		return fmt.Errorf("the subject has %d bytes; at most %d are possible", len(rec.Subject), maxSubject)
	case len(rec.Data) > maxData:
		return fmt.Errorf("%w: %d bytes, at most %d are possible", session.ErrTooLarge, len(rec.Data), maxData)
	}
	return nil
}

// checkQuery refuses a query that is not of the contract. All cursors of this
// package are names: see [nameOf] and [markerOf].
func checkQuery(q session.Query) error {
	if q.Limit < 1 {
		return errors.New("the limit must be at least 1")
	}
	if q.Cursor != "" && !isName(q.Cursor) {
		return errors.New("the cursor is not one that List returned")
	}
	return nil
}
