package sessiontest

import (
	"context"
	"fmt"
	"strings"

	"github.com/coatcheck/session"
)

var errorCases = []testCase{{
	name: "errors-keep-secrets",
	rule: "An error never contains an ID, a subject or data.",
	live: true,
	run: func(e *env) {
		const mark = "s3cr3t"
		for _, failure := range e.failures(mark) {
			for _, text := range []string{failure.err.Error(), fmt.Sprintf("%+v", failure.err)} {
				for _, secret := range append([]string{mark}, failure.ids...) {
					if strings.Contains(text, secret) {
						e.Errorf("%s: the error %q contains %q", failure.op, text, secret)
					}
				}
			}
		}
	},
}, {
	name: "errors-name-operation",
	rule: `An error names the operation: "load", "save", "touch", "delete", "list", "sweep" or "ping".`,
	live: true,
	run: func(e *env) {
		for _, failure := range e.failures("mark") {
			if !strings.Contains(strings.ToLower(failure.err.Error()), failure.op) {
				e.Errorf("%s: the error %q does not name the operation", failure.op, failure.err)
			}
		}
	},
}}

// A failure is an error that a store returned, and the IDs it must not contain.
type failure struct {
	op  string
	err error
	ids []string
}

// failures provokes every error that can be had from a store that works. The
// data and the subject of the records contain the mark.
func (e *env) failures(mark string) []failure {
	var all []failure
	note := func(op string, err error, ids ...string) {
		if err != nil {
			all = append(all, failure{op, err, ids})
		}
	}
	done, cancel := context.WithCancel(e.ctx)
	cancel()

	rec := e.recordOf("subject-" + mark)
	rec.Data = e.data(rec.Subject, fmt.Sprintf(`{"n":0,"password":%q}`, mark))
	e.save(&rec)
	missing := e.newID()
	deleted := rec
	deleted.ID = missing
	exists := rec
	exists.Version = 0
	stale := rec
	stale.Version = ^rec.Version
	huge := rec
	huge.Data = e.data(rec.Subject, fmt.Sprintf(`{"n":0,"pad":"%s%s"}`, mark, pad(1<<20)))

	load := func(ctx context.Context, id string) error { _, err := e.store.Load(ctx, id); return err }
	save := func(ctx context.Context, rec session.Record) error { _, err := e.store.Save(ctx, &rec); return err }
	note("load", load(e.ctx, missing), missing)
	note("load", load(done, rec.ID), rec.ID)
	note("save", save(e.ctx, deleted), missing)
	note("save", save(e.ctx, exists), rec.ID)
	note("save", save(e.ctx, stale), rec.ID)
	note("save", save(done, rec), rec.ID)
	note("delete", e.store.Delete(done, rec.ID), rec.ID)

	again := e.recordOf("subject-" + mark)
	e.save(&again)
	huge.ID, huge.Version = again.ID, again.Version
	note("save", save(e.ctx, huge), again.ID)

	if t, ok := e.store.(session.Toucher); ok {
		note("touch", t.Touch(e.ctx, missing, e.now, e.now), missing)
		note("touch", t.Touch(done, again.ID, e.now, e.now), again.ID)
	}
	if l, ok := e.store.(session.Lister); ok {
		_, _, err := l.List(done, session.Query{Subject: rec.Subject, Limit: 10})
		note("list", err, rec.ID, again.ID)
		_, _, err = l.List(e.ctx, session.Query{Subject: rec.Subject, Cursor: "odd " + mark, Limit: 10})
		note("list", err)
	}
	if s, ok := e.store.(session.Sweeper); ok {
		_, err := s.Sweep(done, e.now.AddDate(-1, 0, 0))
		note("sweep", err, rec.ID, again.ID)
	}
	if p, ok := e.store.(session.Pinger); ok {
		note("ping", p.Ping(done))
	}
	return all
}
