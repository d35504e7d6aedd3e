package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck/session"
)

// CheckStore checks that a store in use keeps the contract of [session.Store],
// and returns what it found, or nil. It is for programs that look after a store,
// and needs no test.
//
// It runs the cases of [TestStore] that touch no record but their own. Those
// records have random IDs, and are deleted at the end, also when a case fails or
// ctx is done. It takes some seconds, and puts some thousand operations on the
// store. It neither sweeps nor lists all records.
func CheckStore(ctx context.Context, store session.Store) error {
	return Suite{}.Check(ctx, store)
}

// checkThrift divides the number of rounds that a test would make.
const checkThrift = 5

// cleanupTimeout is how long Check goes on deleting its records.
const cleanupTimeout = 30 * time.Second

// Check is [CheckStore] for a store whose Layout has no place for some things. Of
// the other fields it uses none.
func (s Suite) Check(ctx context.Context, store session.Store) error {
	var all []error
	has := Suite{Layout: s.Layout}.abilities(store)
	for _, c := range allCases() {
		if !c.live || !has.covers(c.needs) {
			continue
		}
		if err := ctx.Err(); err != nil {
			all = append(all, fmt.Errorf("sessiontest: check not finished: %w", err))
			break
		}
		if err := s.checkCase(ctx, store, c); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func (s Suite) checkCase(ctx context.Context, store session.Store, c testCase) error {
	r := new(recorder)
	e, cancel := newEnv(ctx, r, store, s.Layout)
	defer cancel()
	e.thrift = checkThrift
	failure := r.run(c, e)

	// The records must go even if ctx is done.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer stop()
	for _, id := range e.used.ids {
		if err := store.Delete(ctx, id); err != nil {
			return errors.Join(failure, fmt.Errorf("sessiontest: records of case %s may be left: %w", c.name, err))
		}
	}
	return failure
}
