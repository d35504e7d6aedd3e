package session

import (
	"context"
	"errors"
	"time"
)

// load finds the session of the tokens that the client presented, or begins a
// new one. s.mu is held.
//
// Nothing that the client presented is ever adopted: a token is used only if it
// is signed, of the right shape, and leads to a live record.
func (s *Session) load() {
	m := s.m
	if s.r != nil && !pathMatches(requestPath(s.r), m.cookie.Path) {
		s.outside = true
		return
	}
	var shown presentation
	if s.r != nil {
		m.collect(s.r, &shown)
	}
	wire := s.wire
	if m.parcels {
		wire = s.showParcels()
	}
	if len(wire) > 0 {
		m.present(&shown, wire)
	}
	if shown.n > 0 {
		// A handler may use its session for the first time after a long work, to
		// note that it is done; then it needs it also if the client has gone.
		s.loadCtx.start(s.forStore(s.ctx), m.opts.StoreTimeout, s.r != nil)
		defer s.loadCtx.stop()
		for i := range shown.n {
			p := &shown.good[i]
			s.setToken(p.token())
			if s.follow(&s.loadCtx, true) {
				s.oldSecret = p.oldSecret && s.held
				s.stale = !s.held
				return
			}
			if s.err != nil {
				return
			}
		}
	}
	imported := m.opts.Import != nil && s.r != nil && !s.retired && s.importOld()
	s.stale = shown.any && !s.retired
	if imported {
		return
	}
	if s.err != nil {
		s.begin() // so that nothing half imported can be read
		return
	}
	if shown.bad {
		m.event(EventForged, "", "")
	}
	s.begin()
}

var errPath = errors.New("session: the path of the request is outside Cookie.Path, so that the browser would not keep a session; wrap only handlers below it")

// follow loads the session of s.token, or of what that leads to, and reports
// whether there is one. It is told whether the client holds a cookie with the
// token.
func (s *Session) follow(ctx context.Context, held bool) bool {
	m := s.m
	// A chain of pointers is as long as the renewals within one grace time.
	for range 4 {
		rec, err := m.fetch(ctx, s.rec.ID)
		switch {
		case errors.Is(err, ErrNotFound):
			m.event(EventUnknown, s.rec.ID, "")
			return false
		case err != nil:
			s.fail(err)
			return false
		}
		if to, ok := parsePointer(rec.Data); ok {
			if now := m.now(); !now.Before(rec.Expires) || !now.Before(to.end) {
				return false
			}
			token, ok := to.open(s.token)
			if !ok {
				s.retired = true
				return false
			}
			s.setToken(token)
			held = false
			continue
		}
		if !s.adopt(rec) {
			// Nobody can mend a record that does not decode, and an error would
			// keep its client out until the cookie ends. So it is no session.
			m.opts.Logger.Error("session: a record in the store is not a JSON object; its client gets a new session", "session", logID(rec.ID))
			m.event(EventCorrupt, rec.ID, rec.Subject)
			return false
		}
		if s.expired(m.now()) {
			m.event(EventExpired, rec.ID, rec.Subject)
			s.rec, s.attrs = Record{}, attributes{} // if the next token cannot be looked up, nothing of it may be read
			return false
		}
		s.held, s.retired = held, false
		s.send = !held
		return true
	}
	return false
}

// adopt makes rec the record of the session, unless its data is no object.
func (s *Session) adopt(rec Record) bool {
	cookie, ok := examine(rec.Data, cookieKey)
	if !ok {
		return false
	}
	s.rec, s.attrs = rec, attributes{}
	if cookie != nil {
		s.attrs = parseAttributes(cookie)
	}
	return true
}

// fetch loads one record and tells failures of the store from absence.
func (m *Manager) fetch(ctx context.Context, id string) (Record, error) {
	rec, err := m.store.Load(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Record{}, &StoreError{"load", err}
	}
	if m.opts.ExpressCompatible {
		rec.Subject = passportSubject(find(rec.Data, passportKey))
	}
	return rec, err
}

func (m *Manager) now() time.Time { return m.opts.Now().UTC().Truncate(time.Millisecond) }
