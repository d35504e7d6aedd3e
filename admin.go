package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

const pageSize = 100

// List yields the live sessions of a subject, in no particular order; none for
// an empty subject. After an error it ends.
func (m *Manager) List(ctx context.Context, subject string) iter.Seq2[Record, error] {
	if subject == "" {
		return func(func(Record, error) bool) {}
	}
	return m.list(ctx, subject)
}

// All yields all live sessions, in no particular order. After an error it ends.
// express-session: store.all.
func (m *Manager) All(ctx context.Context) iter.Seq2[Record, error] { return m.list(ctx, "") }

func (m *Manager) list(ctx context.Context, subject string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if m.lister == nil {
			yield(Record{}, m.cannot("list"))
			return
		}
		q := Query{Subject: subject, Limit: pageSize}
		for {
			recs, next, err := m.lister.List(ctx, q)
			if err != nil {
				yield(Record{}, &StoreError{"list", err})
				return
			}
			for _, rec := range recs {
				if m.live(rec) && !yield(rec, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			q.Cursor = next
		}
	}
}

// live reports whether a record is a session that has not ended.
func (m *Manager) live(rec Record) bool {
	s := Session{m: m}
	return s.adopt(rec) && !s.expired(m.now())
}

func (m *Manager) cannot(op string) error {
	return &StoreError{op, fmt.Errorf("the store %T cannot do this: %w", m.store, errors.ErrUnsupported)}
}

// Count returns the number of live sessions. express-session: store.length.
func (m *Manager) Count(ctx context.Context) (int, error) {
	n := 0
	for _, err := range m.All(ctx) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Find returns the record of a live session by its ID, or an error that wraps
// [ErrNotFound].
func (m *Manager) Find(ctx context.Context, id string) (Record, error) {
	rec, err := m.fetch(ctx, id)
	if err == nil && !m.live(rec) {
		return Record{}, ErrNotFound
	}
	return rec, err
}

// Revoke ends the session with the ID. That there is none is not an error.
// A session whose token was renewed since is found by its former ID too, for the
// time of Options.RenewalGrace. It does not ask whose session that is: for an ID
// from a form, first compare the Subject of Find's record.
func (m *Manager) Revoke(ctx context.Context, id string) error {
	rec, err := m.fetch(ctx, id)
	if err == nil {
		err = m.revoke(ctx, rec, EventRevoked)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (m *Manager) revoke(ctx context.Context, rec Record, why EventKind) error {
	if err := m.terminate(ctx, rec, maxHops, false); err != nil {
		return err
	}
	m.event(why, rec.ID, rec.Subject)
	return nil
}

// RevokeAll ends all sessions of a subject and returns how many those were. A
// session that the subject begins meanwhile may escape.
func (m *Manager) RevokeAll(ctx context.Context, subject string) (int, error) {
	return m.revokeEach(ctx, m.List(ctx, subject), "")
}

// RevokeOthers ends all sessions of the subject of s but s itself, and returns
// how many those were.
func (m *Manager) RevokeOthers(ctx context.Context, s *Session) (int, error) {
	if err := s.Err(); err != nil {
		return 0, err
	}
	return m.revokeEach(ctx, m.List(ctx, s.Subject()), s.Record().ID)
}

// Clear ends all sessions, and returns how many those were.
// express-session: store.clear.
func (m *Manager) Clear(ctx context.Context) (int, error) {
	return m.revokeEach(ctx, m.All(ctx), "")
}

func (m *Manager) revokeEach(ctx context.Context, recs iter.Seq2[Record, error], except string) (int, error) {
	// The list is read to its end first: it need not bear deletions between its
	// pages well.
	var all []Record
	for rec, err := range recs {
		if err != nil {
			return 0, err
		}
		if rec.ID != except {
			rec.Data = nil
			all = append(all, rec)
		}
	}
	for i, rec := range all {
		if err := m.revoke(ctx, rec, EventRevoked); err != nil {
			return i, err
		}
	}
	return len(all), nil
}

// Sweep removes expired records from the store and returns how many. A store
// that removes them by itself may lack the ability; the error then wraps
// errors.ErrUnsupported.
func (m *Manager) Sweep(ctx context.Context) (int, error) {
	sweeper, ok := m.store.(Sweeper)
	if !ok {
		return 0, m.cannot("sweep")
	}
	n, err := sweeper.Sweep(ctx, m.now())
	if err != nil {
		return n, &StoreError{"sweep", err}
	}
	return n, nil
}

// RunSweeper sweeps the store about once per interval, until ctx is done. The
// moments are spread at random, so that the processes of a site do not all sweep
// at once. Errors are logged, and it goes on. It returns at once if the store
// cannot sweep. An interval that is not positive is a minute.
func (m *Manager) RunSweeper(ctx context.Context, interval time.Duration) {
	if _, ok := m.store.(Sweeper); !ok {
		return
	}
	if interval <= 0 {
		interval = time.Minute
	}
	for {
		timer := time.NewTimer(interval/2 + rand.N(interval))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if _, err := m.Sweep(ctx); err != nil && ctx.Err() == nil {
			m.opts.Logger.Warn("session: sweep failed", "err", err)
		}
	}
}

// Ping tells whether the store can be reached.
func (m *Manager) Ping(ctx context.Context) error {
	pinger, ok := m.store.(Pinger)
	if !ok {
		return m.cannot("ping")
	}
	if err := pinger.Ping(ctx); err != nil {
		return &StoreError{"ping", err}
	}
	return nil
}

// limit enforces Options.MaxPerSubject when rec has been added. It looks after
// the deed, so that of two sign-ins at the same time not both slip through. After
// an error the caller deletes rec.
func (s *Session) limit(ctx context.Context, rec *Record) error {
	if s.m.opts.MaxPerSubject == 0 || rec.Subject == "" || !s.setSubject {
		return nil
	}
	all, err := s.rivals(ctx, rec)
	if err != nil {
		return err
	}
	excess := len(all) - s.m.opts.MaxPerSubject
	if excess <= 0 {
		return nil
	}
	if s.m.opts.AtLimit == RefuseNew {
		return ErrTooManySessions
	}
	// All who sign in at this moment must agree on who is the oldest, or they
	// would evict each other.
	slices.SortFunc(all, func(a, b Record) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	for _, old := range all[:excess] {
		if old.ID == rec.ID {
			return ErrTooManySessions
		}
		if err := s.m.revoke(ctx, old, EventEvicted); err != nil {
			return err
		}
	}
	return nil
}

// rivals returns the sessions of rec's subject with rec, but without those that
// it takes the place of.
func (s *Session) rivals(ctx context.Context, rec *Record) ([]Record, error) {
	all := []Record{*rec}
	seen := map[string]bool{rec.ID: true, s.rec.ID: true}
	if s.previous != nil {
		seen[s.previous.ID] = true
	}
	for other, err := range s.m.List(ctx, rec.Subject) {
		if err != nil {
			return nil, err
		}
		if !seen[other.ID] {
			seen[other.ID] = true
			other.Data = nil
			all = append(all, other)
		}
	}
	return all, nil
}

// A sizeError says how much too large a session is.
type sizeError struct{ size, limit int }

func (e *sizeError) Error() string {
	return ErrTooLarge.Error() + ": it has " + strconv.Itoa(e.size) + " bytes, Options.MaxSize is " + strconv.Itoa(e.limit) + "; keep large things elsewhere and their ID in the session"
}
func (e *sizeError) Unwrap() error { return ErrTooLarge }
