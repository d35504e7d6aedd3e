package sqlstore

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What is refused again and again is tried until the context's deadline, or for
// retryFor where it has none.
func TestRetriesLastAsLongAsTheyMay(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit time.Duration
		least time.Duration
	}{
		{"without a deadline", 0, retryFor},
		{"with one that is sooner", time.Second, time.Second},
		{"with one that is later", time.Minute, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.limit)
					defer cancel()
				}
				began := time.Now()
				var r retrier
				for r.worth(ctx, SQLite, sqliteErr{5}) {
				}
				if took := time.Since(began); took < test.least || took > test.least+time.Second {
					t.Errorf("it was tried for %v, want %v", took, test.least)
				}
			})
		})
	}
}
