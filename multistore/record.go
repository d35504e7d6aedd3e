package multistore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/coatcheck/session"
)

// A record is what both stores keep of a move that has a name, so that a process
// that starts meanwhile begins where the others are.
//
// It is written before the first process enters a phase. So the others are in that
// phase or in the one before, and who begins in it is a neighbour of all.
//
// Each of the two says which store is the authority. The step from OldHeld to
// NewHeld, or back, is written to both, first to the one that is the authority yet;
// any other step is written to the authority, and to the other store if that can
// be reached. So
//
//   - a store that says that it is the authority is right, and its phase counts;
//   - if both say that it is the other one, the step between OldHeld and NewHeld
//     has begun and did not end. Everybody is in one of these.
//
// It is an array of strings, which no session is: ["move", phase] or ["move",
// phase, "copied"]. So a manager that lists one of the stores after the move does
// not count it.
type record struct {
	phase string // empty if there is no record

	// copied says that both stores are alike, and writes have been held since: Copy
	// has returned without an error.
	copied bool
}

const (
	recordKind   = "move"
	recordCopied = "copied"
)

func (rec record) data() []byte {
	parts := []string{recordKind, rec.phase}
	if rec.copied {
		parts = append(parts, recordCopied)
	}
	data, _ := json.Marshal(parts) // strings can be
	return data
}

func parseRecord(data []byte) (record, error) {
	var parts []string
	if json.Unmarshal(data, &parts) != nil || len(parts) < 2 || parts[0] != recordKind {
		return record{}, errors.New("what is kept as the phase of the move is something else")
	}
	return record{parts[1], slices.Contains(parts[2:], recordCopied)}, nil
}

// recordLasts is for how long a record is kept after the last step.
const recordLasts = 365 * 24 * time.Hour

var (
	moveName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

	errMove      = errors.New("multistore: Options.Move must be 1 to 64 characters from a to z, 0 to 9, and -")
	errNotCopied = errors.New("nothing says that the stores are alike: call Copy, on one process, while writes are held on all")
)

func (s *Store) recordID() string { return "multistore-" + s.opts.Move }

// isRecord reports whether an ID is that of the record, which is no session.
func (s *Store) isRecord(id string) bool { return s.opts.Move != "" && id == s.recordID() }

// begin returns when it is known in which phase the store is.
func (s *Store) begin(ctx context.Context, op string) error {
	if s.known.Load() {
		return nil
	}
	select {
	case s.asking <- struct{}{}: // one after another
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return fmt.Errorf("multistore: %s: the phase is not known yet: %w", op, ctx.Err())
	}
	if s.known.Load() {
		return nil
	}
	p, err := s.resolve(ctx, op)
	if err != nil {
		return err
	}
	s.gate.open(p)
	s.known.Store(true)
	return nil
}

// resolve returns the phase to begin in.
func (s *Store) resolve(ctx context.Context, op string) (Phase, error) {
	is, err := s.recorded(ctx, op, s.opts.Phase)
	switch {
	case err != nil:
		return 0, err
	case is.between:
		return OldHeld, nil
	case is.found:
		return is.phase, nil
	}
	return s.opts.Phase, nil
}

// A standing is what both records say together.
type standing struct {
	found   bool
	phase   Phase
	between bool // of OldHeld and NewHeld
	lost    bool // the store that has the sessions then does not say so
}

// recorded asks the store first that is the authority in a likely phase, and the
// other only if need be.
func (s *Store) recorded(ctx context.Context, op string, likely Phase) (is standing, err error) {
	r := s.roles(likely)
	here, found, err := s.recordedIn(ctx, r.authority)
	if err != nil {
		return is, r.authority.failed(op, err)
	}
	if found && s.roles(here).authority == r.authority {
		return standing{found: true, phase: here}, nil
	}
	// The old store would know if there were another authority.
	optional := !found && r.authority == &s.old
	if optional {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.opts.FollowTimeout)
		defer cancel()
	}
	there, foundThere, err := s.recordedIn(ctx, r.follower)
	switch {
	case err != nil && optional:
		return is, nil
	case err != nil:
		return is, r.follower.failed(op, err)
	case foundThere && s.roles(there).authority == r.follower:
		return standing{found: true, phase: there}, nil
	case found && (foundThere || here.held()):
		// Each says that it is the other. The phase of the one that the step has not
		// reached may be an older one, as it need not have been reached before.
		return standing{found: true, between: true}, nil
	case found: // the other store has lost it
		return standing{found: true, phase: here, lost: true}, nil
	case foundThere: // or this one has, or never had it
		return standing{found: true, phase: there, lost: true}, nil
	}
	return is, nil
}

func (s *Store) recordedIn(ctx context.Context, in *side) (p Phase, found bool, err error) {
	rec, _, err := s.loadRecord(ctx, in)
	if err != nil || rec.phase == "" {
		return 0, false, err
	}
	p, err = ParsePhase(rec.phase)
	return p, err == nil, err
}

// loadRecord returns the record in a store and its version, zero if there is none.
func (s *Store) loadRecord(ctx context.Context, in *side) (rec record, version uint64, err error) {
	stored, err := find(ctx, in, s.recordID())
	if err != nil || stored.Version == 0 {
		return rec, 0, err
	}
	rec, err = parseRecord(stored.Data)
	return rec, stored.Version, err
}

// changeRecord changes the record in a store, in one step.
func (s *Store) changeRecord(ctx context.Context, in *side, change func(rec *record) error) error {
	for {
		rec, version, err := s.loadRecord(ctx, in)
		if err != nil {
			return err
		}
		if err := change(&rec); err != nil {
			return err
		}
		now := s.opts.Now().UTC().Truncate(time.Millisecond)
		_, err = in.save(ctx, &session.Record{
			ID: s.recordID(), Data: rec.data(), Version: version, Created: now, LastSeen: now, Expires: now.Add(recordLasts),
		})
		if !errors.Is(err, session.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// recordPhase is called before this process, which may be the first, goes from one
// phase to its neighbour, or stays where it is.
func (s *Store) recordPhase(ctx context.Context, from, to Phase) error {
	if s.opts.Move == "" {
		return nil
	}
	const op = "set the phase"
	for {
		is, err := s.recorded(ctx, op, to)
		if err != nil {
			return err
		}
		was := from
		if is.found {
			was = is.phase
		}
		switch {
		case is.between && !to.held():
			return errors.New("multistore: set the phase: the step between OldHeld and NewHeld was begun and not finished; set one of them")
		case is.between:
			was = to
		case is.found && was == to && !is.lost:
			return nil // another process was the first
		case was != to && !neighbours(was, to):
			return fmt.Errorf("multistore: set the phase: the other processes are in the phase %v, of which %v is no neighbour", was, to)
		}
		err = s.recordStep(ctx, op, is, was, to)
		if !errors.Is(err, errMoved) || ctx.Err() != nil {
			return err
		}
	}
}

var errMoved = errors.New("another process has set the phase meanwhile")

// recordStep records a step from where the others are, or the end of one that was
// not finished.
func (s *Store) recordStep(ctx context.Context, op string, is standing, was, to Phase) error {
	r := s.roles(was)
	switches := s.roles(to).authority != r.authority
	var written record
	err := s.changeRecord(ctx, r.authority, func(rec *record) error {
		switch {
		case is.between:
			rec.copied = true // or the step had not begun
		case rec.phase != "" && rec.phase != was.String():
			return errMoved
		case switches && !rec.copied:
			return errNotCopied
		}
		rec.phase, rec.copied = to.String(), rec.copied && to.held()
		written = *rec
		return nil
	})
	if err != nil {
		return r.authority.failed(op, err)
	}
	if !switches {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.opts.FollowTimeout)
		defer cancel()
	}
	err = s.changeRecord(ctx, r.follower, func(rec *record) error { *rec = written; return nil })
	if switches {
		return r.follower.failed(op, err)
	}
	return nil
}

// recordCopy is called when Copy has made both stores alike.
func (s *Store) recordCopy(ctx context.Context, r roles) error {
	if s.opts.Move == "" || !r.phase.held() {
		return nil
	}
	err := s.changeRecord(ctx, r.authority, func(rec *record) error {
		if rec.phase != "" && rec.phase != r.phase.String() {
			return fmt.Errorf("the other processes are in the phase %s, and not all in %v", rec.phase, r.phase)
		}
		rec.phase, rec.copied = r.phase.String(), true
		return nil
	})
	return r.authority.failed("copy", err)
}
