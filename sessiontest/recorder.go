package sessiontest

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// A recorder is a tb for a case that runs outside a test: it keeps what the case
// reports.
type recorder struct {
	mu     sync.Mutex
	failed []string
	notes  []string
}

func (r *recorder) Helper() {}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failed) > 0
}

// run runs the case to its end, in a goroutine that it may leave, and returns
// what it reported: the failures, then the rule.
func (r *recorder) run(c testCase, e *env) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.runOn(e)
	}()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failed) == 0 {
		return nil
	}
	var all []error
	for _, text := range append(r.failed, r.notes...) {
		all = append(all, fmt.Errorf("%s: %s", c.name, text))
	}
	return errors.Join(all...)
}
