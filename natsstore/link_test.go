package natsstore

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// The end of a context says what was waited for, whether it comes between two
// requests or within one, and in a read of which this is the first.
func TestInterruptionSaysWhatWasWaitedFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name  string
		cause error // of the try
		err   error
		want  string // after "until then: ", or nothing
	}{
		{"nothing was waited for", nil, ctx.Err(), ""},
		{"within a request", errNobody, ctx.Err(), errNobody.Error()},
		{"within a read that waited for something else", errNobody, &interruption{ctx.Err(), errDown}, errDown.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := fail(ctx, "save", (&try{cause: test.cause}).interrupted(test.err))
			_, got, _ := strings.Cut(err.Error(), "until then: ")
			if got != test.want || !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %q, want %q", err, test.want)
			}
		})
	}
}
