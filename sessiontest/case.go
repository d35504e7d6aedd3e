package sessiontest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/coatcheck/session"
)

// A testCase is one rule of the contract and the code that tries to break it.
type testCase struct {
	name  string
	rule  string
	needs ability
	live  bool // may run on a store in use: touches only the records it made
	run   func(e *env)
}

// allCases returns the suite in the order in which it runs: what a case relies
// on is tested by an earlier one.
func allCases() []testCase {
	return slices.Concat(
		saveCases, dataCases, idCases, expiryCases, subjectCases,
		touchCases, listCases, sweepCases,
		contextCases, errorCases, lifeCases, concurrentCases,
	)
}

// runOn runs the case and, if it failed, says which rule was broken.
func (c testCase) runOn(e *env) {
	defer func() {
		if p := recover(); p != nil {
			e.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if e.Failed() {
			e.Logf("the rule: %s", c.rule)
		}
	}()
	c.run(e)
}

// tb is the part of testing.TB that cases use, so that something other than a
// test can run them.
type tb interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

// An env is what a case works with.
type env struct {
	tb
	ctx    context.Context
	store  session.Store
	peer   session.Store                           // a second door to the same records, or nil
	reopen func(store session.Store) session.Store // or nil
	outage func(store session.Store) (mend func()) // or nil
	layout Layout
	now    time.Time
	used   *idList

	// budget is how long a loop of a case may go on, on a slow store; thrift
	// divides its number of rounds, for those who run many suites.
	budget time.Duration
	thrift int
}

// caseTimeout ends a case whose store waits for something that never comes.
const caseTimeout = 5 * time.Minute

func newEnv(ctx context.Context, t tb, store session.Store, layout Layout) (*env, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, caseTimeout)
	return &env{
		tb:     t,
		ctx:    ctx,
		store:  store,
		layout: layout,
		now:    time.Now().UTC().Truncate(time.Millisecond),
		used:   new(idList),
		budget: 2 * time.Second,
		thrift: 1,
	}, cancel
}

// An idList remembers the IDs that a case made.
type idList struct {
	mu  sync.Mutex
	ids []string
}

// newID returns an ID in the default form, 43 base64url characters.
func (e *env) newID() string {
	var b [32]byte
	rand.Read(b[:])
	id := base64.RawURLEncoding.EncodeToString(b[:])
	e.used.mu.Lock()
	defer e.used.mu.Unlock()
	e.used.ids = append(e.used.ids, id)
	return id
}

// record returns a record that is not in the store, alive for an hour.
func (e *env) record() session.Record {
	return session.Record{
		ID:       e.newID(),
		Data:     e.data("", `{"n":0}`),
		Created:  e.now.Add(-time.Minute),
		LastSeen: e.now.Add(-time.Second),
		Expires:  e.now.Add(time.Hour),
	}
}

// recordOf returns a record of the subject.
func (e *env) recordOf(subject string) session.Record {
	rec := e.record()
	e.setSubject(&rec, subject)
	return rec
}

func (e *env) setSubject(rec *session.Record, subject string) {
	if e.layout.NoSubject {
		return
	}
	rec.Subject = subject
	rec.Data = e.data(subject, `{"n":0}`)
}

func (e *env) data(subject, object string) []byte {
	if e.layout.Data == nil {
		return []byte(object)
	}
	return e.layout.Data([]byte(object), subject)
}

// setCount makes n the content of the record; count returns it.
func (e *env) setCount(rec *session.Record, n int) {
	rec.Data = e.data(rec.Subject, fmt.Sprintf(`{"n":%d}`, n))
}

func (e *env) count(rec session.Record) int {
	e.Helper()
	var object struct{ N int }
	if err := json.Unmarshal(rec.Data, &object); err != nil {
		e.Fatalf("the data of a loaded record is damaged: %v: %s", err, excerpt(rec.Data))
	}
	return object.N
}

// save saves the record and notes its version in it.
func (e *env) save(rec *session.Record) {
	e.Helper()
	given := *rec
	version, err := e.store.Save(e.ctx, &given)
	if err != nil {
		e.Fatalf("Save with version %d: %v", rec.Version, err)
	}
	rec.Version = version
}

func (e *env) load(id string) session.Record {
	e.Helper()
	rec, err := e.store.Load(e.ctx, id)
	if err != nil {
		e.Fatalf("Load: %v", err)
	}
	return rec
}

func (e *env) delete(id string) {
	e.Helper()
	if err := e.store.Delete(e.ctx, id); err != nil {
		e.Fatalf("Delete: %v", err)
	}
}

func (e *env) touch(id string, lastSeen, expires time.Time) {
	e.Helper()
	if err := e.store.(session.Toucher).Touch(e.ctx, id, lastSeen, expires); err != nil {
		e.Fatalf("Touch: %v", err)
	}
}

// wantStored fails unless the store has the record, whole.
func (e *env) wantStored(want session.Record) {
	e.Helper()
	e.wantSame(e.load(want.ID), want)
}

func (e *env) wantMissing(id string) {
	e.Helper()
	rec, err := e.store.Load(e.ctx, id)
	if err == nil {
		e.Fatalf("Load found a record that should not be there: version %d, data %s", rec.Version, excerpt(rec.Data))
	}
	if !errors.Is(err, session.ErrNotFound) {
		e.Fatalf("Load of a missing record: error %q does not wrap ErrNotFound", err)
	}
}

// wantConflict fails unless a Save of the record is refused.
func (e *env) wantConflict(rec session.Record) {
	e.Helper()
	version, err := e.store.Save(e.ctx, &rec)
	if err == nil {
		e.Fatalf("Save with version %d succeeded (new version %d), want ErrConflict", rec.Version, version)
	}
	if !errors.Is(err, session.ErrConflict) {
		e.Fatalf("Save with version %d: error %q does not wrap ErrConflict", rec.Version, err)
	}
}

func (e *env) wantSame(got, want session.Record) {
	e.Helper()
	if d := e.diff(got, want); d != "" {
		e.Fatalf("%s", d)
	}
}

// diff says in which field the records differ, as far as the layout has the
// fields, or returns "". A Version of zero in want stands for any.
func (e *env) diff(got, want session.Record) string {
	if e.layout.NoCreated {
		want.Created = time.Time{}
	}
	if e.layout.NoLastSeen {
		want.LastSeen = time.Time{}
	}
	switch {
	case got.ID != want.ID:
		return fmt.Sprintf("ID is %q, want %q", got.ID, want.ID)
	case got.Subject != want.Subject:
		return fmt.Sprintf("Subject is %q, want %q", got.Subject, want.Subject)
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Sprintf("Data is %s, want %s", excerpt(got.Data), excerpt(want.Data))
	case got.Version == 0:
		return "Version of a stored record is zero"
	case want.Version != 0 && got.Version != want.Version:
		return fmt.Sprintf("Version is %d, want %d", got.Version, want.Version)
	case !got.Created.Equal(want.Created):
		return fmt.Sprintf("Created is %v, want %v", got.Created, want.Created)
	case !got.LastSeen.Equal(want.LastSeen):
		return fmt.Sprintf("LastSeen is %v, want %v", got.LastSeen, want.LastSeen)
	case !e.sameExpires(got.Expires, want.Expires):
		return fmt.Sprintf("Expires is %v, want %v", got.Expires, want.Expires)
	}
	for _, t := range []time.Time{got.Created, got.LastSeen, got.Expires} {
		if t.Location() != time.UTC {
			return fmt.Sprintf("the time %v is not in UTC", t)
		}
	}
	return ""
}

func (e *env) sameExpires(got, want time.Time) bool {
	if p := e.layout.ExpiresPrecision; p > 0 {
		return !got.Before(want) && got.Before(want.Add(p))
	}
	return got.Equal(want)
}

// excerpt quotes the beginning of data.
func excerpt(data []byte) string {
	const most = 120
	if len(data) <= most {
		return fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("%q... (%d bytes)", data[:most], len(data))
}

// handle returns the store through one of its doors, in turn.
func (e *env) handle(i int) session.Store {
	if e.peer != nil && i%2 == 1 {
		return e.peer
	}
	return e.store
}

// rounds counts from 0 to n, or as far as a slow store comes within the budget.
func (e *env) rounds(n int) iter.Seq[int] {
	const least = 3
	return func(yield func(int) bool) {
		stop := time.Now().Add(e.budget)
		for i := range max(n/e.thrift, least) {
			if i >= least && time.Now().After(stop) || !yield(i) {
				return
			}
		}
	}
}

// parallel runs f n times at once, each with an env of its own whose store is
// one of the doors, and waits for all.
func (e *env) parallel(n int, f func(e *env, i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		mine := *e
		mine.tb = branch{e.tb}
		mine.store = e.handle(i)
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					mine.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			<-start
			f(&mine, i)
		})
	}
	close(start)
	wg.Wait()
}

// fill saves up to n new records, as many as a slow store takes within the
// budget, and returns them with their versions.
func (e *env) fill(n int, make func(i int) session.Record) []session.Record {
	e.Helper()
	recs := []session.Record{}
	for i := range e.rounds(n) {
		rec := make(i)
		e.save(&rec)
		recs = append(recs, rec)
	}
	return recs
}

// A branch is the tb of a goroutine of a case: it ends that goroutine only.
type branch struct{ tb }

func (b branch) Fatalf(format string, args ...any) {
	b.Helper()
	b.Errorf(format, args...)
	runtime.Goexit()
}
