package natsstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/coatcheck/session"
)

var (
	errForeign = errors.New("the key holds something that is no record, or one of a later version of the program")
	errCursor  = errors.New("the cursor is not one that List returned")
	errLimit   = errors.New("the limit must be at least 1")
	errReply   = errors.New("the server answered something unexpected")
	errUnsure  = errors.New("the answer was lost, and the record was changed by somebody else since; nobody can tell whether it was saved before")
	errFull    = errors.New("the bucket is full; let it have more bytes (max_bytes)")
	errPayload = fmt.Errorf("%w: the record has more bytes than the servers (max_payload) or the bucket (max_msg_size) take", session.ErrTooLarge)
)

// What an operation waits for. The texts are what it says when its context ends
// meanwhile.
var (
	errDown     = errors.New("the connection to the servers is down")
	errNobody   = errors.New("no server answers for the bucket; it may have no leader at the moment, or JetStream is not enabled")
	errNoAnswer = errors.New("the servers did not answer in time")
	errBusy     = errors.New("somebody else is writing the record")
)

// An apiError is what a server says of a request.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// The codes of JetStream that are told apart.
const (
	codeUnavailable   = 10008 // there is no leader that manages streams
	codeNotLeader     = 10009
	codeNoMessage     = 10037
	codeNotForAccount = 10039
	codeTooLarge      = 10054
	codeNameInUse     = 10058
	codeNoStream      = 10059
	codeWrongRevision = 10071
	codeNotEnabled    = 10076
	codeNotStored     = 10077
	codeHeaderSize    = 10097
	codeInProgress    = 10164 // a write of the key is under way, which may be the one that makes the revision wrong
	codeTTLDisabled   = 10166
)

func (e *apiError) Error() string { return fmt.Sprintf("JetStream: %s (%d)", e.Description, e.ErrCode) }

func isCode(err error, codes ...int) bool {
	var api *apiError
	if !errors.As(err, &api) {
		return false
	}
	for _, code := range codes {
		if api.ErrCode == code {
			return true
		}
	}
	return false
}

// fail returns the error of an operation. None of them holds an ID: JetStream says
// what is wrong without quoting keys, and errors of the client are not shown.
func fail(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		var why *interruption
		if errors.As(err, &why) && why.cause != nil {
			return fmt.Errorf("natsstore: %s: %w; until then: %w", op, ctxErr, why.cause)
		}
		return fmt.Errorf("natsstore: %s: %w", op, ctxErr)
	}
	return fmt.Errorf("natsstore: %s: %w", op, err)
}

// An interruption is the end of a context while something was waited for.
type interruption struct{ err, cause error }

func (i *interruption) Error() string { return i.err.Error() }
func (i *interruption) Unwrap() error { return i.err }

// isLasting reports whether waiting does not help: the connection was closed by
// the program, or has given up.
func isLasting(err error) bool {
	return errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionDraining)
}
