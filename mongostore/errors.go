package mongostore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/coatcheck/session"
)

// What callers branch on is made once, and says nothing that varies.
var (
	errLoadMissing  = fmt.Errorf("mongostore: load: %w", session.ErrNotFound)
	errTouchMissing = fmt.Errorf("mongostore: touch: %w", session.ErrNotFound)
	errConflict     = fmt.Errorf("mongostore: save: %w", session.ErrConflict)
)

// An ownError is a sentence of this package, which may be shown.
type ownError string

func (e ownError) Error() string { return string(e) }

const (
	errLimit   ownError = "the limit is less than 1"
	errCursor  ownError = "the cursor is not one that List returned"
	errForeign ownError = "the document is no session of this layout; see Options.Layout"
	errNotText ownError = "the session is a document and not text: connect-mongo has stringify: false; set it to true, " +
		"which is the default, and sign everybody in again"
	errNotJSON ownError = "the session is not JSON: connect-mongo encrypts it, with crypto or cryptoAdapter, or has a serialize " +
		"of its own; neither is supported"
)

// tooLarge returns the error for data that does not fit a document.
func tooLarge(size, most int) error {
	return fmt.Errorf("%w: %d bytes, at most %d are possible", session.ErrTooLarge, size, most)
}

// An opError is the failure of an operation. What a server says may quote the
// command, and so an ID, a subject or data. So the message has only what is known to
// quote nothing. The error itself is in the chain, for errors.As; who prints that
// one prints what it says.
type opError struct {
	op    string
	shown string
	hint  string
	chain []error
}

func (e *opError) Error() string {
	text := "mongostore: " + e.op + ": " + e.shown
	if e.hint != "" {
		text += "; " + e.hint
	}
	return text
}

func (e *opError) Unwrap() []error { return e.chain }

// fail returns the error of an operation for what went wrong.
func fail(ctx context.Context, op string, err error) error {
	e := &opError{op: op, chain: []error{err}}
	if ctxErr := ctx.Err(); ctxErr != nil {
		// Drivers have their own words for it.
		e.shown = ctxErr.Error()
		e.chain = append(e.chain, ctxErr)
		return e
	}
	var own ownError
	switch code := codeOf(err); {
	case errors.As(err, &own), errors.Is(err, session.ErrTooLarge):
		e.shown = err.Error()
	case code != 0:
		f := faults[code]
		e.shown, e.hint = fmt.Sprintf("the server refused it with error %d", code), f.hint
		if f.name != "" {
			e.shown += " (" + f.name + ")"
		}
		if f.tooLarge {
			e.chain = append(e.chain, session.ErrTooLarge)
		}
	case isConnection(err):
		e.shown = err.Error()
	default:
		e.shown = "an error that may quote the session and is not shown here (errors.As finds it)"
	}
	return e
}

// codeOf returns the first code of a server's error. Zero is what the driver gives
// errors of the connection.
func codeOf(err error) int {
	var server mongo.ServerError
	if errors.As(err, &server) {
		for _, code := range server.ErrorCodes() {
			return code
		}
	}
	return 0
}

// isTaken reports whether the _id is in the collection. It may be another unique
// index that refuses a document, which is no conflict.
func isTaken(err error) bool {
	var refused mongo.WriteException
	if errors.As(err, &refused) {
		for _, e := range refused.WriteErrors {
			if keys, ok := e.Raw.Lookup("keyPattern").DocumentOK(); ok && keys.Lookup("_id").IsZero() {
				return false
			}
		}
	}
	return mongo.IsDuplicateKeyError(err)
}

// isConnection reports whether err is about the way to a server and not about what
// was sent over it.
func isConnection(err error) bool {
	var network net.Error
	return mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.Is(err, mongo.ErrClientDisconnected) ||
		errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		strings.HasPrefix(err.Error(), "server selection error") // a type of the driver's own
}

// A fault is what is known of an error code.
type fault struct {
	name     string
	hint     string
	tooLarge bool
}

const (
	noPrimary = "the replica set has no primary at the moment, or the client is connected directly to a secondary; " +
		"rs.status() in mongosh tells"
	noMajority = "it may have been done: too few members of the replica set have confirmed it in time; rs.status() in mongosh tells"
	otherIndex = "the collection has an index of that name or with these keys that is otherwise; drop it, or change it with " +
		"collMod; Store.Schema prints what it has to be"
	tooBig = "MongoDB takes documents of 16 MB"
)

// faults are the error codes that matter here, as in
// https://www.mongodb.com/docs/manual/reference/error-codes/.
var faults = map[int]fault{
	13:    {name: "Unauthorized", hint: "give the user the role readWrite on the database"},
	18:    {name: "AuthenticationFailed", hint: "see to the user, the password and authSource in the address"},
	50:    {name: "MaxTimeMSExpired", hint: "the server gave up, as its time was over"},
	59:    {name: "CommandNotFound", hint: "the server is not MongoDB, or one before version 4.4"},
	64:    {name: "WriteConcernTimeout", hint: noMajority},
	85:    {name: "IndexOptionsConflict", hint: otherIndex},
	86:    {name: "IndexKeySpecsConflict", hint: otherIndex},
	91:    {name: "ShutdownInProgress", hint: noPrimary},
	100:   {name: "UnsatisfiableWriteConcern", hint: noMajority},
	115:   {name: "CommandNotSupported"},
	123:   {name: "NotAReplicaSet", hint: "a server without replicas takes no Options.Linearizable, and needs none"},
	121:   {name: "DocumentValidationFailure", hint: "the collection has a validator that does not know this layout; remove it with collMod"},
	189:   {name: "PrimarySteppedDown", hint: noPrimary},
	238:   {name: "NotImplemented", hint: "if this was about indexes, the server has no TTL indexes: set Options.NoTTL and run the manager's RunSweeper"},
	10107: {name: "NotWritablePrimary", hint: noPrimary},
	10334: {name: "BSONObjectTooLarge", hint: tooBig, tooLarge: true},
	11000: {name: "DuplicateKey", hint: "the collection has a unique index besides that of the _id; remove it"},
	11600: {name: "InterruptedAtShutdown", hint: noPrimary},
	11602: {name: "InterruptedDueToReplStateChange", hint: noPrimary},
	13435: {name: "NotPrimaryNoSecondaryOk", hint: noPrimary},
	13436: {name: "NotPrimaryOrSecondary", hint: noPrimary},
	17419: {hint: tooBig, tooLarge: true}, // an update would make it so
	17420: {hint: tooBig, tooLarge: true},
}
