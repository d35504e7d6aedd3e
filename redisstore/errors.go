package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/coatcheck/session"
)

// What callers branch on is made once, and says nothing that varies.
var (
	errLoadMissing  = fmt.Errorf("redisstore: load: %w", session.ErrNotFound)
	errTouchMissing = fmt.Errorf("redisstore: touch: %w", session.ErrNotFound)
	errConflict     = fmt.Errorf("redisstore: save: %w", session.ErrConflict)
	errTooLarge     = fmt.Errorf("redisstore: save: %w", session.ErrTooLarge)
	errEmptyID      = errors.New("redisstore: save: the ID is empty")
	errSubject      = errors.New("redisstore: save: the subject has a line break")
	errLimit        = errors.New("redisstore: list: the limit is less than 1")

	errCursor   = errors.New("the cursor is not one that List returned")
	errNode     = errors.New("the cluster has changed and the node of the cursor is no master any more; begin the list anew")
	errNoMaster = errors.New("the client knows no master")
	errMasters  = errors.New("the server is one of a cluster; for a list of all records set Options.Masters")
	errForeign  = errors.New("the key holds something that is no record of this layout")
	errReply    = errors.New("the server answered something unexpected")
	errClosed   = errors.New("the store is closed")
)

// fail returns the error of an operation.
//
// What a server says may quote the command, and so an ID, a subject or data
// ("unknown command 'X', with args beginning with: ..."). Such an error is cut
// off there, or, if that does not help, withheld; either way it is then not
// wrapped. secrets are what it must not contain besides.
func fail(ctx context.Context, op string, err error, secrets ...string) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		// Clients have their own words for it.
		return fmt.Errorf("redisstore: %s: %w", op, ctxErr)
	}
	text := err.Error()
	if cut, _, found := strings.Cut(text, ", with args"); found {
		return fmt.Errorf("redisstore: %s: %s", op, cut)
	}
	for _, secret := range secrets {
		// A short one is in everything, and is no secret.
		const short = 4
		if len(secret) > short && strings.Contains(text, secret) {
			return fmt.Errorf("redisstore: %s: the server reported an error (%T) that quotes the command", op, err)
		}
	}
	return fmt.Errorf("redisstore: %s: %w", op, err)
}
