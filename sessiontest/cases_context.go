package sessiontest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/coatcheck/session"
)

var contextCases = []testCase{{
	name: "ctx-cancelled",
	rule: "With a cancelled context every method returns soon, with an error that wraps context.Canceled, and leaves the record as it was or as it was meant to become.",
	live: true,
	run: func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		e.wantContextError(ctx, context.Canceled)
	},
}, {
	name: "ctx-deadline",
	rule: "With a context whose deadline has passed every method returns soon, with an error that wraps context.DeadlineExceeded.",
	live: true,
	run: func(e *env) {
		ctx, cancel := context.WithDeadline(e.ctx, e.now.Add(-time.Second))
		defer cancel()
		e.wantContextError(ctx, context.DeadlineExceeded)
	},
}, {
	name: "ctx-cancelled-midway",
	rule: "A Save whose context ends meanwhile succeeds whole, or wraps the context's error and has happened whole or not at all; the store is fit for use after.",
	live: true,
	run: func(e *env) {
		rec := e.recordOf("user-1")
		e.save(&rec)
		for i := range e.rounds(100) {
			next := rec
			e.setCount(&next, i+1)
			next.LastSeen = next.LastSeen.Add(time.Millisecond)

			ctx, cancel := context.WithCancel(e.ctx)
			timer := time.AfterFunc(time.Duration(rand.IntN(1000))*time.Microsecond, cancel)
			given := next
			version, err := e.store.Save(ctx, &given)
			timer.Stop()
			cancel()

			got := e.load(rec.ID)
			if err == nil {
				next.Version = version
				e.wantSame(got, next)
			} else if !errors.Is(err, context.Canceled) {
				e.Fatalf("Save whose context was cancelled: error %q does not wrap context.Canceled", err)
			} else if got.Version == rec.Version && string(got.Data) == string(rec.Data) {
				got = e.settle(rec, next, i)
			} else {
				e.wantHappened(got, rec, next)
			}
			rec = got
		}
		e.setCount(&rec, 0)
		e.save(&rec)
		e.wantStored(rec)
	},
}}

// settle returns the record after a Save that gave up and has changed nothing so
// far. A server may have received the statement that its driver gave up, and run
// it a moment later; so it has happened by now, or loses against another Save.
func (e *env) settle(before, given session.Record, i int) session.Record {
	e.Helper()
	other := before
	e.setCount(&other, -1-i)
	version, err := e.store.Save(e.ctx, &other)
	got := e.load(before.ID)
	switch {
	case err == nil:
		other.Version = version
		e.wantSame(got, other)
	case errors.Is(err, session.ErrConflict):
		e.wantHappened(got, before, given)
	default:
		e.Fatalf("Save after one whose context was cancelled: %v", err)
	}
	return got
}

// wantHappened checks that got is what a Save of given makes of before.
func (e *env) wantHappened(got, before, given session.Record) {
	e.Helper()
	given.Version = got.Version
	e.wantSame(got, given)
	if got.Version == before.Version {
		e.Fatalf("a Save that happened left the version")
	}
}

// soon is how long a method may take to notice that its context is done.
const soon = 5 * time.Second

// wantContextError calls every method with a context that is done. Each call has
// its own record, which must be as before or as the call would have left it.
func (e *env) wantContextError(ctx context.Context, want error) {
	e.Helper()
	stored := func() session.Record {
		rec := e.recordOf("user-1")
		e.save(&rec)
		return rec
	}
	call := func(op string, f func() error) {
		e.Helper()
		began := time.Now()
		err := f()
		if took := time.Since(began); took > soon {
			e.Errorf("%s returned %v after its context was done", op, took)
		}
		switch {
		case err == nil:
			e.Errorf("%s returned no error, want one that wraps %q", op, want)
		case !errors.Is(err, want):
			e.Errorf("%s: error %q does not wrap %q", op, err, want)
		case errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrConflict):
			e.Errorf("%s: error %q says something about the record", op, err)
		}
	}

	rec := stored()
	call("Load", func() error { _, err := e.store.Load(ctx, rec.ID); return err })
	call("Load of a missing record", func() error { _, err := e.store.Load(ctx, e.newID()); return err })
	e.wantStored(rec)

	inserted := e.record()
	call("Save of a new record", func() error { given := inserted; _, err := e.store.Save(ctx, &given); return err })
	e.wantEither(inserted.ID, nil, &inserted)

	updated := rec
	e.setCount(&updated, 1)
	updated.Expires = rec.Expires.Add(time.Minute)
	call("Save", func() error { given := updated; _, err := e.store.Save(ctx, &given); return err })
	updated.Version = 0
	e.wantEither(rec.ID, &rec, &updated)

	deleted := stored()
	call("Delete", func() error { return e.store.Delete(ctx, deleted.ID) })
	e.wantEither(deleted.ID, &deleted, nil)

	if t, ok := e.store.(session.Toucher); ok {
		rec := stored()
		touched := rec
		touched.LastSeen, touched.Expires = e.now, rec.Expires.Add(time.Minute)
		call("Touch", func() error { return t.Touch(ctx, rec.ID, touched.LastSeen, touched.Expires) })
		e.wantEither(rec.ID, &rec, &touched)
	}
	if l, ok := e.store.(session.Lister); ok {
		call("List", func() error { _, _, err := l.List(ctx, session.Query{Limit: 10}); return err })
		call("List of a subject", func() error {
			_, _, err := l.List(ctx, session.Query{Subject: "user-1", Limit: 10})
			return err
		})
	}
	if s, ok := e.store.(session.Sweeper); ok {
		rec := stored()
		call("Sweep", func() error { _, err := s.Sweep(ctx, e.now.Add(-time.Hour)); return err })
		e.wantStored(rec)
	}
	if p, ok := e.store.(session.Pinger); ok {
		call("Ping", func() error { return p.Ping(ctx) })
	}
}

// wantEither fails unless the store has the record in one of two states, of
// which nil stands for none.
func (e *env) wantEither(id string, before, after *session.Record) {
	e.Helper()
	got, err := e.store.Load(e.ctx, id)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		e.Fatalf("Load: %v", err)
	}
	why := ""
	for _, want := range []*session.Record{before, after} {
		switch {
		case want == nil && err != nil:
			return
		case want == nil:
			why += "; it is there"
		case err != nil:
			why += "; it is missing"
		default:
			d := e.diff(got, *want)
			if d == "" {
				return
			}
			why += "; " + d
		}
	}
	e.Errorf("a record is neither as it was nor as it was meant to become%s", why)
}
