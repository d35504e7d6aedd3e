package sessiontest

import (
	"context"
	"sync"
	"time"
)

// Faults makes the stores that it wraps fail, wait or lose answers, and counts
// their calls. The zero value does no harm and counts. All methods are safe for
// concurrent use, and what they order holds for every call that begins later.
//
//	faults := new(sessiontest.Faults)
//	sessions, err := session.New(faults.Wrap(memstore.New(nil)), options)
//	...
//	faults.Fail("load", errors.New("the server is down"))
//
// An operation is named as in [session.StoreError]: "load", "save", "touch",
// "delete", "list", "sweep" or "ping".
type Faults struct {
	mu     sync.Mutex
	before map[string]func(ctx context.Context) error
	after  map[string]func(ctx context.Context) error
	calls  Calls
}

// Calls is how often each operation of a store was called.
type Calls struct {
	Load, Save, Touch, Delete, List, Sweep, Ping int
}

// Total returns the sum of all.
func (c Calls) Total() int {
	return c.Load + c.Save + c.Touch + c.Delete + c.List + c.Sweep + c.Ping
}

// add counts one call and refuses an operation that no store has.
func (c *Calls) add(op string, n int) {
	switch op {
	case "load":
		c.Load += n
	case "save":
		c.Save += n
	case "touch":
		c.Touch += n
	case "delete":
		c.Delete += n
	case "list":
		c.List += n
	case "sweep":
		c.Sweep += n
	case "ping":
		c.Ping += n
	default:
		panic("sessiontest: a store has no operation " + op)
	}
}

// Calls returns the calls since the beginning or the last [Faults.ResetCalls],
// those that failed included.
func (f *Faults) Calls() Calls {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// ResetCalls begins the count again and returns what it was.
func (f *Faults) ResetCalls() Calls {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = Calls{}
	return calls
}

// Before calls hook before every op. If hook returns an error the operation
// returns it and does not happen. A nil hook takes the former one away.
func (f *Faults) Before(op string, hook func(ctx context.Context) error) {
	f.set(&f.before, op, hook)
}

// After calls hook after every op that succeeded. If hook returns an error the
// operation returns it although it has happened, as when the answer of a server
// is lost. A nil hook takes the former one away.
func (f *Faults) After(op string, hook func(ctx context.Context) error) {
	f.set(&f.after, op, hook)
}

func (f *Faults) set(hooks *map[string]func(context.Context) error, op string, hook func(context.Context) error) {
	new(Calls).add(op, 0)
	f.mu.Lock()
	defer f.mu.Unlock()
	if *hooks == nil {
		*hooks = make(map[string]func(context.Context) error)
	}
	(*hooks)[op] = hook
}

// Fail makes every op return err and not happen, until err is nil.
func (f *Faults) Fail(op string, err error) {
	if err == nil {
		f.Before(op, nil)
		return
	}
	f.Before(op, func(context.Context) error { return err })
}

// LoseAnswer makes every op happen and yet return err, until err is nil.
func (f *Faults) LoseAnswer(op string, err error) {
	if err == nil {
		f.After(op, nil)
		return
	}
	f.After(op, func(context.Context) error { return err })
}

// Delay makes every op wait for d, or until its context is done, before it
// happens.
func (f *Faults) Delay(op string, d time.Duration) {
	f.Before(op, func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// Block makes every op wait, before it happens, until release is called or its
// context is done. Arrived receives a value for each call that waits. Calls that
// begin after release do not wait.
func (f *Faults) Block(op string) (arrived <-chan struct{}, release func()) {
	waiting, free := make(chan struct{}), make(chan struct{})
	f.Before(op, func(ctx context.Context) error {
		for arrived := waiting; ; arrived = nil {
			select {
			case arrived <- struct{}{}:
			case <-free:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return waiting, sync.OnceFunc(func() { close(free) })
}

// Reset takes all faults away. Calls that wait go on waiting.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = nil, nil
}

// begin counts the call and lets it fail before it happens.
func (f *Faults) begin(ctx context.Context, op string) error {
	f.mu.Lock()
	f.calls.add(op, 1)
	hook := f.before[op]
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(ctx)
}

// end lets a call that succeeded fail all the same.
func (f *Faults) end(ctx context.Context, op string, err error) error {
	f.mu.Lock()
	hook := f.after[op]
	f.mu.Unlock()
	if err != nil || hook == nil {
		return err
	}
	return hook(ctx)
}
