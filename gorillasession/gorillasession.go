package gorillasession

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

// A Store is a sessions.Store of gorilla that keeps its sessions in a manager of
// ours. Set its fields before the first request; after that it is safe for
// concurrent use. As with any store of gorilla's, the sessions of one request are
// for one goroutine.
type Store struct {
	// Options is what new sessions begin with. New sets it to what the manager's
	// options say, and there is no need to change it: it is here for programs
	// that do. See the package comment for what the fields do.
	Options *sessions.Options

	// Subject, if set, tells by the values of a session whose it is. It is
	// called when a session is saved, and with one that has no values when it
	// is deleted. ok is false for a session, by its name, that does not tell; an
	// empty subject is that nobody is signed in. When the subject changes, the
	// client gets a new token, as [session.Session.SetSubject] gives it one.
	Subject func(s *sessions.Session) (subject string, ok bool)

	manager *session.Manager
	initial sessions.Options // what New has set Options to
}

var _ sessions.Store = (*Store)(nil)

// New returns a store over a manager. It panics if the manager is nil.
func New(manager *session.Manager) *Store {
	if manager == nil {
		panic("gorillasession: New: the manager is nil; make one with session.New")
	}
	st := &Store{manager: manager}
	// A session without a token calls no store, so that there is no error.
	blank, _ := manager.Open(context.Background(), "")
	st.initial = optionsOf(blank)
	opts := st.initial
	st.Options = &opts
	return st
}

// Get returns the session of a request by its name, always the same one for one
// request. It is never nil. If the store cannot be reached it is empty and the
// error wraps a *[session.StoreError]; a program must not take that for a
// stranger. If a value cannot be decoded the others are there, and the error
// names it. A cookie that is forged or whose session has ended is no error.
func (st *Store) Get(r *http.Request, name string) (*sessions.Session, error) {
	if checkName(name) != nil {
		return st.New(r, name) // which says so
	}
	return sessions.GetRegistry(r).Get(st, name)
}

// New is Get, but makes another copy of the session with each call.
func (st *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	gs := sessions.NewSession(st, name)
	gs.IsNew = true
	*gs.Options = st.initial
	if err := checkName(name); err != nil {
		return gs, err
	}
	x := st.exchange(r)
	if err := x.session.Err(); err != nil {
		return gs, err
	}
	snap, err := read(x.session, name, gs.Values)
	snap.options = optionsOf(x.session)
	*gs.Options = snap.options
	if x.session.IsNew() && !x.begun && st.Options != nil && *st.Options != st.initial {
		*gs.Options = *st.Options
	}
	x.snapshots[gs] = snap
	if snap.exists {
		gs.IsNew = false
		gs.ID = x.session.ID()
	}
	return gs, err
}

// Save saves what changed in the values and the options of a session since it was
// read; with a negative MaxAge it deletes the session. Within the manager's
// Handler it is stored before the first byte of the response leaves, and an error
// of that replaces the response. Otherwise it is stored now and the cookie, where
// the client needs one, is set in w, so that Save must come before the response.
func (st *Store) Save(r *http.Request, w http.ResponseWriter, gs *sessions.Session) error {
	if err := checkName(gs.Name()); err != nil {
		return err
	}
	x := st.exchange(r)
	removes := gs.Options != nil && gs.Options.MaxAge < 0
	if removes {
		x.removed = append(x.removed, gs.Name())
	}
	if err := x.session.Err(); err != nil {
		if removes && !x.session.IsNew() && st.subjectWithout(x, gs.Name()) == "" && alone(x.session.Record(), x.removed) {
			x.session.Reset() // a sign-out holds, whatever else has gone wrong in its request
			_ = x.commit(r, w)
		}
		return err
	}
	if removes {
		st.remove(x, gs)
	} else if err := st.write(x, gs); err != nil {
		return err
	}
	if err := x.commit(r, w); err != nil {
		return err
	}
	if len(x.snapshots[gs].members) > 0 {
		gs.ID = x.session.ID()
	}
	return nil
}

// From returns the manager's session of a request, for what gorilla lacks:
// SetSubject to sign somebody in, RenewID, Destroy. What it changes is saved by
// the next Save, and within the manager's Handler in any case.
func (st *Store) From(r *http.Request) *session.Session { return st.exchange(r).session }

func checkName(name string) error {
	if isName(name) && name != slotName {
		return nil
	}
	return fmt.Errorf("gorillasession: %q cannot be the name of a session; use letters, digits and -_. only", name)
}

// write puts into our session what changed in gorilla's.
func (st *Store) write(x *exchange, gs *sessions.Session) error {
	name := gs.Name()
	snap, ok := x.snapshots[gs]
	if !ok { // one that was not made by Get or New: what is in it is all there is to be
		snap, _ = read(x.session, name, make(map[any]any))
		snap.options = optionsOf(x.session)
	}
	edits, members, err := diff(name, snap, gs.Values)
	if err != nil {
		return err
	}
	for _, e := range edits {
		e.apply(x.session)
	}
	if len(edits) > 0 || snap.exists { // what has no values is not stored, and its options are of no use
		if gs.Options != nil {
			setOptions(x.session, snap.options, *gs.Options)
		}
		x.begun = true
		x.removed = slices.DeleteFunc(x.removed, func(removed string) bool { return removed == name })
	}
	x.setSubject(st.subject(x, gs))
	x.snapshots[gs] = snapshot{members, snap.exists || len(members) > 0, optionsOf(x.session)}
	return nil
}

// remove takes a gorilla session out of ours, and ends ours when nothing else is
// in it. What is put in it afterwards, as by a program that signs somebody in
// when gothic has deleted its own session, is in a new one.
func (st *Store) remove(x *exchange, gs *sessions.Session) {
	name := gs.Name()
	empty := removeAll(x.session, name)
	if subject := st.subjectWithout(x, name); empty && subject == "" {
		x.session.Reset()
		x.begun = false
	} else {
		x.setSubject(subject)
	}
	gone := snapshot{options: optionsOf(x.session)}
	x.snapshots[gs] = gone
	for other := range x.snapshots {
		if other.Name() == name { // if it is saved once more, all of it is to be there
			x.snapshots[other] = gone
		}
	}
}

// subject returns whose session ours is by what a gorilla session says, or else as
// before.
func (st *Store) subject(x *exchange, gs *sessions.Session) string {
	if st.Subject != nil {
		if subject, ok := st.Subject(gs); ok {
			return subject
		}
	}
	return x.session.Subject()
}

// subjectWithout returns whose session ours is without what is under a name.
func (st *Store) subjectWithout(x *exchange, name string) string {
	return st.subject(x, sessions.NewSession(st, name))
}
