package session

import (
	"errors"
	"fmt"
)

// The errors that callers tell apart with errors.Is.
var (
	// ErrNotFound is what a store wraps when it has no record with an ID.
	ErrNotFound = errors.New("session: record not found")

	// ErrConflict is what a store wraps when the record changed, appeared or
	// disappeared since the caller saw it.
	ErrConflict = errors.New("session: record changed meanwhile")

	// ErrTooLarge is what a store wraps, and a commit reports, when a session
	// is larger than the store or Options.MaxSize allows.
	ErrTooLarge = errors.New("session: session too large")

	// ErrEnded is what a commit reports when the session was destroyed, revoked
	// or renewed while the request ran, so that its changes have no place to
	// go. A session that has ended is never brought back.
	ErrEnded = errors.New("session: the session ended while the request ran")

	// ErrHeaderSent is what a change reports that needs a cookie after the
	// header of the response has left.
	ErrHeaderSent = errors.New("session: the change needs a cookie, but the header of the response has been sent; change the session before writing the response")

	// ErrRequestDone is what a change reports after its request is over.
	ErrRequestDone = errors.New("session: the request of this session is over; nothing is saved any more")

	// ErrTooManySessions is what a commit reports when a subject has
	// Options.MaxPerSubject sessions already and further ones are refused.
	ErrTooManySessions = errors.New("session: the subject has too many sessions")
)

// A StoreError is a failure of the store, as opposed to one of the request.
type StoreError struct {
	Op  string // "load", "save", "touch", "delete", "list", "sweep", "ping" or "import"
	Err error
}

func (e *StoreError) Error() string { return "session: store: " + e.Op + ": " + e.Err.Error() }
func (e *StoreError) Unwrap() error { return e.Err }

// A KeyError is a value that cannot be kept under its key.
type KeyError struct {
	Key string
	Err error
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("session: key %q: %s", e.Key, e.Err.Error())
}
func (e *KeyError) Unwrap() error { return e.Err }
