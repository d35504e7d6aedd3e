package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// commit brings the store in line with the session and returns what the client
// must be told. With header false the header of the response has left: only what
// needs no cookie can still be done. s.mu is held.
func (m *Manager) commit(ctx context.Context, s *Session, header bool) (Directive, error) {
	if !s.opened {
		return Directive{}, nil // the handler never looked at its session
	}
	s.late = !header
	if err := m.sync(ctx, s, false); err != nil {
		s.fail(err)
		return Directive{}, err
	}
	if header {
		d := s.directive()
		s.reset = false // it is done, and the client told
		if s.imported != nil {
			if d.Action == SetToken {
				ctx := s.saveContext(ctx)
				defer ctx.stop()
				s.retireMark(ctx)
			}
			if s.held || s.rec.Version == 0 { // else nothing but the old cookie leads to the session
				d.MoreCookies = append(d.MoreCookies, s.forgetCookies()...)
			}
		}
		return d, nil
	}
	if s.owed && s.rec.Version != 0 || s.parcels.owes() {
		s.fail(ErrHeaderSent)
		return Directive{}, s.err
	}
	return Directive{}, nil
}

// A task is what the store has to do for a session.
type task int

const (
	doNothing task = iota
	doCreate
	doSave
	doRenew       // new token, by the handler's wish
	doRenewByTime // new token, for Options.RenewalTimeout
	doExtend
	doDestroy
	doUnset
	doLeave  // end what Reset left behind, where nothing takes its place
	doRefuse // the client's token was replaced at a sign-in
)

// task decides what is to be done. It is the state machine of express-session,
// with the differences that docs/express.md lists.
func (s *Session) task(force bool) task {
	opts := &s.m.opts
	dirty := len(s.changes) > 0 || s.setAttrs || s.setSubject
	switch {
	case s.outside:
		return doNothing
	case s.plan == planDestroy, s.plan == planUnset && opts.Unset == UnsetDestroy:
		return doDestroy
	case s.plan == planUnset:
		return doUnset
	case s.retired && s.plan == planKeep && (dirty || force):
		return doRefuse
	case s.retired && s.plan == planKeep:
		return doNothing
	case s.rec.Version == 0:
		if dirty || force || s.plan == planRegenerate || opts.SaveUninitialized && s.needCookie() == nil {
			return doCreate
		}
		if s.owesEnd() {
			return doLeave
		}
		return doNothing
	case s.plan == planRenew:
		return doRenew
	case s.m.parcels && !dirty && !force && s.needCookie() != nil:
		return doNothing // its life can be extended another time
	case !force && s.renewalDue(): // Save leaves it to the commit, as Unset may follow
		return doRenewByTime
	case dirty || force || opts.Resave && !s.extended:
		return doSave
	case s.extensionDue():
		return doExtend
	}
	return doNothing
}

// owesEnd reports whether the session that Reset left behind is still to be
// ended.
func (s *Session) owesEnd() bool {
	return s.reset && s.previous != nil && s.previous.Version != 0
}

// sync does the part of a commit that concerns the store. With force a session
// is saved even if nothing has changed.
func (m *Manager) sync(parent context.Context, s *Session, force bool) error {
	s.encodeRefs()
	if s.err != nil {
		// A sign-out holds, whatever else has gone wrong in its request.
		if s.task(false) == doDestroy {
			ctx := s.saveContext(parent)
			defer ctx.stop()
			_ = s.end(ctx, s.previous, &s.rec)
		} else if s.owesEnd() {
			ctx := s.saveContext(parent)
			defer ctx.stop()
			_ = s.end(ctx, s.previous)
		}
		return s.err
	}
	if m.opts.CookieFunc != nil && !s.late {
		c := m.cookieFor(s.r)
		if err := c.check(); err != nil {
			return err
		}
	}
	todo := s.task(force)
	if todo == doNothing {
		return nil
	}
	ctx := s.saveContext(parent)
	defer ctx.stop()
	switch todo {
	case doCreate:
		err := s.create(ctx)
		if err != nil && s.owesEnd() {
			_ = s.end(ctx, s.previous)
		}
		return err
	case doLeave:
		return s.end(ctx, s.previous)
	case doSave:
		return s.save(ctx)
	case doRenew:
		return s.renew(ctx, false)
	case doRenewByTime:
		err := s.renew(ctx, true)
		if err != nil && len(s.changes) == 0 && !s.setAttrs {
			// Nothing is lost but a renewal, and the next request tries again.
			m.opts.Logger.Warn("session: could not renew a token", "session", logID(s.rec.ID), "err", err)
			return nil
		}
		return err
	case doExtend:
		s.extend(ctx)
	case doDestroy:
		return s.end(ctx, s.previous, &s.rec)
	case doUnset:
		if s.owed { // nobody has a token for what this request has stored
			return s.end(ctx, s.previous, &s.rec)
		}
		return s.end(ctx, s.previous)
	case doRefuse:
		// A new session for this straggler would take the place of the cookie that
		// its browser has just got, or is about to get.
		m.event(EventLost, "", "")
		return ErrEnded
	}
	return nil
}

// saveContext returns a context for saving: a client that goes away does not
// keep its last change from being saved.
func (s *Session) saveContext(parent context.Context) *storeContext {
	ctx := &s.saveCtx
	if ctx.parent != nil { // a later commit of the same request
		ctx = new(storeContext)
	}
	ctx.start(s.forStore(parent), s.m.opts.StoreTimeout, true)
	return ctx
}

// needCookie reports why no cookie can be sent, if so.
func (s *Session) needCookie() error {
	if s.late {
		return ErrHeaderSent
	}
	if c := s.cookie(); c.Secure == SecureRequired && s.r != nil && s.m.header == "" && !s.m.isSecure(s.r) {
		return errInsecure
	}
	return nil
}

var errInsecure = errors.New("session: Cookie.Secure is SecureRequired and the request did not come over HTTPS, so its session cannot be kept; behind a proxy that ends TLS set Options.TrustProxy")

// create stores a session that has no record yet. Where no cookie can be sent
// nothing is stored either: nobody could ever come back to it.
func (s *Session) create(ctx context.Context) error {
	if err := s.needCookie(); err != nil {
		return err
	}
	if s.rec.ID == "" {
		if err := s.newToken(); err != nil {
			return err
		}
	}
	now := s.m.now()
	rec := &s.next
	*rec = Record{ID: s.rec.ID, Subject: s.newSubject(), Created: now}
	if s.m.opts.RenewalTimeout > 0 {
		s.attrs.issued = now.UnixMilli()
	}
	s.rec.Created = now
	if err := s.store(ctx, rec, now); err != nil {
		s.rec.Created = time.Time{}
		if errors.Is(err, ErrConflict) {
			return errDuplicate
		}
		return err
	}
	if err := s.limit(ctx, rec); err != nil {
		_ = s.m.store.Delete(ctx, rec.ID) // what remains is a record that nobody has a token for
		return err
	}
	s.saved(*rec)
	s.send, s.owed = true, true
	s.m.event(EventCreated, rec.ID, rec.Subject)
	if err := s.leave(ctx); err != nil {
		_ = s.m.store.Delete(ctx, rec.ID) // what remains is a record that nobody has a token for
		return err
	}
	return nil
}

var errDuplicate = &StoreError{"save", errors.New("a new session got an ID that exists already; check Options.GenerateID")}

// newSubject is the subject that the record is to have.
func (s *Session) newSubject() string {
	switch {
	case s.plan >= planDestroy:
		return ""
	case s.m.opts.ExpressCompatible:
		return passportSubject(s.lookup(passportKey))
	case s.setSubject:
		return s.subject
	}
	return s.rec.Subject
}

// store encodes the session and saves it as rec.
func (s *Session) store(ctx context.Context, rec *Record, now time.Time) error {
	if s.m.parcels {
		if err := s.needCookie(); err != nil {
			return err
		}
	}
	rec.Data = s.encode(now)
	if len(rec.Data) > s.m.opts.MaxSize {
		return &sizeError{len(rec.Data), s.m.opts.MaxSize}
	}
	rec.LastSeen, rec.Expires = now, s.expiry(now)
	version, err := s.m.store.Save(ctx, rec)
	if err != nil {
		switch {
		case errors.Is(err, ErrConflict):
			return ErrConflict
		case errors.Is(err, ErrTooLarge): // which is no failure of the store
			return fmt.Errorf("session: save: %w", err)
		}
		return &StoreError{"save", err}
	}
	rec.Version = version
	return nil
}

// saved takes note that rec is what the store has now.
func (s *Session) saved(rec Record) {
	s.changes, s.setSubject, s.touch, s.extended = s.changeBuf[:0], false, false, true
	s.send = s.send || s.setAttrs || s.attrs.hasMaxAge && s.tokenEnd().IsZero()
	s.setAttrs = false
	s.retired = false // a straggler who has signed in has a session like any other
	if s.plan == planRenew || s.plan == planRegenerate {
		s.plan = planKeep
	}
	s.adopt(rec)
}

// save updates the record. When somebody else was faster, it puts the changes of
// this request on top of theirs and tries again.
func (s *Session) save(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		now := s.m.now()
		s.next = Record{ID: s.rec.ID, Subject: s.newSubject(), Version: s.rec.Version, Created: s.rec.Created}
		err := s.store(ctx, &s.next, now)
		if err == nil {
			s.saved(s.next)
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := s.catchUp(ctx, attempt); err != nil {
			return err
		}
	}
}

// take removes a key from the record at once and returns its value, or nil if
// somebody else was faster. The other changes of this request wait for its commit.
func (s *Session) take(key string) []byte {
	if s.m.parcels {
		if err := s.needCookie(); err != nil {
			s.fail(err)
			return nil
		}
	}
	ctx := s.saveContext(s.ctx)
	defer ctx.stop()
	for attempt := 0; ; attempt++ {
		raw := find(s.rec.Data, key)
		if raw == nil {
			return nil
		}
		next := s.rec
		next.Data = without(next.Data, key)
		if s.m.opts.ExpressCompatible {
			next.Subject = passportSubject(find(next.Data, passportKey))
		}
		version, err := s.m.store.Save(ctx, &next)
		if err == nil {
			next.Version = version
			s.rec = next
			return raw
		}
		if errors.Is(err, ErrConflict) {
			err = s.catchUp(ctx, attempt)
		} else {
			err = &StoreError{"save", err}
		}
		if err != nil {
			s.fail(err)
			return nil
		}
	}
}

// catchUp loads what somebody else has made of the record meanwhile and puts the
// changes of this request on top. If there is nothing left to put them on, it
// returns ErrEnded: a session that was destroyed is never brought back.
func (s *Session) catchUp(ctx context.Context, attempt int) error {
	if attempt > 0 {
		if err := pause(ctx, attempt); err != nil {
			return &StoreError{"save", err}
		}
	}
	theirs, err := s.m.fetch(ctx, s.rec.ID)
	for range 4 {
		to, ok := parsePointer(theirs.Data)
		if err != nil || !ok {
			break
		}
		token, leads := to.open(s.token)
		if !leads || !s.m.now().Before(to.end) {
			err = ErrNotFound
			break
		}
		s.setToken(token)
		s.outdate()
		s.send = true
		theirs, err = s.m.fetch(ctx, s.rec.ID)
	}
	switch {
	case errors.Is(err, ErrNotFound), err == nil && !s.m.live(theirs):
		s.m.event(EventLost, s.rec.ID, s.rec.Subject)
		return ErrEnded
	case err != nil:
		return err
	}
	s.m.event(EventConflict, theirs.ID, theirs.Subject)
	s.rebase(theirs)
	return nil
}

// pause waits a moment that grows with the attempts, and differs between those
// who compete for the same record.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(rand.N(time.Duration(min(attempt, 50)) * time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renewalDue reports whether the token is to be replaced by time.
func (s *Session) renewalDue() bool {
	after := s.m.opts.RenewalTimeout
	return after > 0 && s.held && !s.late && s.needCookie() == nil && s.m.now().Sub(time.UnixMilli(s.attrs.issued)) >= after
}

// renew gives the session a new token: a new record first, then the old one is
// turned into a pointer, so that a crash between the two leaves one session too
// many rather than none. With grace the pointer leads to the new record.
func (s *Session) renew(ctx context.Context, grace bool) error {
	if err := s.needCookie(); err != nil {
		return err
	}
	oldID, oldToken := s.rec.ID, string(s.token)
	next := Record{}
	for attempt := 0; ; attempt++ {
		now := s.m.now()
		if next.ID == "" {
			if err := s.newToken(); err != nil {
				return err
			}
			next.ID = s.rec.ID
			s.rec.ID = oldID
		}
		next.Subject, next.Created = s.newSubject(), s.rec.Created
		if s.setSubject || next.Created.IsZero() {
			next.Created = now
		}
		if s.setSubject {
			s.attrs.ends = 0
		}
		if s.m.opts.RenewalTimeout > 0 {
			s.attrs.issued = now.UnixMilli()
		}
		base := s.rec
		s.rec.Created = next.Created // the absolute end of the new record counts from here
		err := s.store(ctx, &next, now)
		s.rec = base
		if errors.Is(err, ErrConflict) {
			err = errDuplicate
		}
		if err != nil {
			return s.abandon(ctx, oldToken, next, err)
		}
		if attempt == 0 {
			if err := s.limit(ctx, &next); err != nil {
				return s.abandon(ctx, oldToken, next, err)
			}
		}
		newToken := string(s.token)
		var to pointer
		if !s.setSubject {
			to.successor = next.ID
		}
		if grace {
			to.sealed = sealToken([]byte(oldToken), []byte(newToken))
		}
		err = s.m.retire(ctx, base, to)
		if errors.Is(err, ErrConflict) && s.m.leadsTo(ctx, oldID, next.ID) {
			err = nil // the store's client has tried again after a lost answer, and met itself
		}
		if errors.Is(err, ErrConflict) {
			s.setToken([]byte(oldToken))
			err = s.catchUp(ctx, attempt)
			switch {
			case errors.Is(err, ErrEnded) && s.setSubject:
				err = nil // the old session has ended, by a sign-out or another sign-in; this sign-in stands
			case err == nil && s.rec.ID != oldID && grace:
				// Somebody else has renewed the token first: theirs is the session.
				_ = s.m.store.Delete(ctx, next.ID)
				return s.save(ctx)
			case err == nil:
				oldID, oldToken = s.rec.ID, string(s.token)
				s.setToken([]byte(newToken))
				s.rec.ID = oldID
				continue
			}
			s.setToken([]byte(newToken))
		}
		if err != nil {
			var storeErr *StoreError
			if grace && errors.As(err, &storeErr) {
				// The old record may have become a pointer to the new one, if only
				// the answer was lost. Then the client still needs that.
				next.Version = 0
			}
			return s.abandon(ctx, oldToken, next, err)
		}
		s.outdate()
		s.send, s.owed = true, true
		s.saved(next)
		s.m.event(EventRenewed, next.ID, next.Subject)
		return nil
	}
}

// outdate takes note that the session has another token than the client holds.
func (s *Session) outdate() { s.stale, s.held = s.stale || s.held, false }

// abandon undoes a renewal that failed half way.
func (s *Session) abandon(ctx context.Context, oldToken string, next Record, cause error) error {
	if next.Version != 0 {
		_ = s.m.store.Delete(ctx, next.ID) // what remains is a record that nobody has a token for
	}
	s.setToken([]byte(oldToken))
	return cause
}

// retire ends a record: it becomes a pointer for the time of grace, unless
// somebody has changed it since. With ExpressCompatible it is deleted.
func (m *Manager) retire(ctx context.Context, old Record, to pointer) error {
	if m.parcels { // nobody but this client could find the pointer
		return m.delete(ctx, old.ID)
	}
	now := m.now()
	to.end = now.Add(m.opts.RenewalGrace)
	rec := Record{ID: old.ID, Version: old.Version, Data: to.data(), Created: old.Created, LastSeen: now, Expires: to.end}
	if m.opts.ExpressCompatible {
		// Express knows no pointers. An empty session is stored first, so that a
		// change which Express makes at this moment is noticed rather than lost.
		rec.Data = []byte(`{"cookie":{"originalMaxAge":null,"expires":null}}`)
	}
	if _, err := m.store.Save(ctx, &rec); err != nil {
		if errors.Is(err, ErrConflict) {
			return ErrConflict
		}
		return &StoreError{"save", err}
	}
	if m.opts.ExpressCompatible {
		return m.delete(ctx, old.ID)
	}
	return nil
}

// leadsTo reports whether a record is a pointer to another.
func (m *Manager) leadsTo(ctx context.Context, id, successor string) bool {
	rec, err := m.fetch(ctx, id)
	to, ok := parsePointer(rec.Data)
	return err == nil && ok && to.successor == successor
}

func (m *Manager) delete(ctx context.Context, id string) error {
	if err := m.store.Delete(ctx, id); err != nil {
		return &StoreError{"delete", err}
	}
	return nil
}

// terminate ends the session of a record, also if it was changed, or goes on
// under another token, since the record was read. It is retired before it is
// deleted: somebody who is renewing its token at this moment notices, and a
// deletion alone would let the new record escape. With leave it stays retired,
// for the time of grace.
func (m *Manager) terminate(ctx context.Context, rec Record, hops int, leave bool) error {
	for attempt := 0; ; attempt++ {
		to, gone := parsePointer(rec.Data)
		if gone && to.successor != "" && hops > 0 {
			next, err := m.fetch(ctx, to.successor)
			if err == nil {
				err = m.terminate(ctx, next, hops-1, false)
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		id := rec.ID
		if !gone {
			err := m.retire(ctx, rec, pointer{})
			if err == nil && (m.opts.ExpressCompatible || m.parcels || leave) {
				return nil
			}
			if errors.Is(err, ErrConflict) {
				if err := pause(ctx, attempt+1); err != nil {
					return &StoreError{"save", err}
				}
				rec, err = m.fetch(ctx, id)
				switch {
				case errors.Is(err, ErrNotFound):
					return nil
				case err != nil:
					return err
				}
				continue
			}
		}
		return m.delete(ctx, id)
	}
}

// maxHops is how many renewals terminate follows: more than happen while
// anything waits, and an end to a circle that somebody has written.
const maxHops = 16

// end ends the sessions of the records.
func (s *Session) end(ctx context.Context, recs ...*Record) error {
	return s.endAll(ctx, false, recs)
}

// leave ends the session that Regenerate has left behind. As after RenewID its
// record stays for a while as a pointer that leads nowhere.
func (s *Session) leave(ctx context.Context) error {
	return s.endAll(ctx, true, []*Record{s.previous})
}

func (s *Session) endAll(ctx context.Context, leave bool, recs []*Record) error {
	for _, rec := range recs {
		if rec == nil || rec.Version == 0 {
			continue
		}
		if err := s.m.terminate(ctx, *rec, maxHops, leave); err != nil {
			return err
		}
		s.m.event(EventDestroyed, rec.ID, rec.Subject)
		rec.Version = 0
	}
	return nil
}

// extensionDue reports whether the life of a session that was used and not
// changed is to be extended now.
func (s *Session) extensionDue() bool {
	if s.extended || s.touch {
		return s.touch
	}
	s.extended = true // or found that it need not be
	now := s.m.now()
	since := now.Sub(s.rec.LastSeen)
	if s.rec.LastSeen.IsZero() { // a layout that does not keep it
		since = s.expiry(now).Sub(s.rec.Expires)
	}
	return since >= s.touchInterval()
}

// extend moves the expiry forward. It must not fail the request: nothing of it
// is lost but a little of the session's life.
func (s *Session) extend(ctx context.Context) {
	m := s.m
	now := m.now()
	expires := s.expiry(now)
	s.touch, s.extended = false, true
	var err error
	if m.toucher != nil {
		err = m.toucher.Touch(ctx, s.rec.ID, now, expires)
	} else {
		s.next = s.rec
		s.next.LastSeen = now
		if expires.After(s.next.Expires) {
			s.next.Expires = expires
		}
		s.next.Version, err = m.store.Save(ctx, &s.next)
		if err == nil {
			s.rec.Version = s.next.Version
		}
	}
	switch {
	case err == nil:
		s.rec.LastSeen = now
		if expires.After(s.rec.Expires) {
			s.rec.Expires = expires
		}
		s.send = s.send || s.attrs.hasMaxAge && s.tokenEnd().IsZero()
	case errors.Is(err, ErrNotFound):
		m.event(EventLost, s.rec.ID, s.rec.Subject)
	case errors.Is(err, ErrConflict): // somebody has saved it, and so extended it
	default:
		m.opts.Logger.Warn("session: could not extend a session", "session", logID(s.rec.ID), "err", err)
	}
}

func (s *Session) touchInterval() time.Duration {
	switch interval := s.m.opts.TouchInterval; {
	case interval < 0:
		return 0
	case interval > 0:
		return min(interval, s.idleTimeout()/2) // else a session in use could end
	}
	return min(s.idleTimeout()/10, maxTouchInterval)
}

// directive says what the client must be told, and takes it as told.
func (s *Session) directive() Directive {
	if s.parcels == nil {
		return s.tokenDirective()
	}
	news := s.rec.Version != 0 && s.parcels.owes()
	gone := s.gone
	d := s.tokenDirective()
	d.MoreCookies = s.parcelCookies(gone)
	if news && d.Action == Keep {
		d.Action = SetToken
	}
	return d
}

func (s *Session) tokenDirective() Directive {
	switch {
	case s.rec.Version == 0 || s.plan == planUnset:
		clears := s.stale && s.rec.Version == 0 || s.plan == planDestroy || s.plan == planUnset && s.m.opts.Unset == UnsetDestroy
		if clears && (s.held || s.stale) {
			return s.clearToken()
		}
	case s.send || !s.held || s.oldSecret || s.m.opts.Rolling:
		return s.sendToken()
	}
	return Directive{}
}

func (s *Session) clearToken() Directive {
	s.held, s.stale = false, false
	d := Directive{Action: ClearToken}
	if s.m.header == "" {
		c := s.cookie()
		if s.gone != nil {
			c = *s.gone
		}
		d.SetCookie = Token(c.appendSetCookie(nil, nil, time.Unix(0, 0), s.secure()))
	}
	return d
}

func (s *Session) sendToken() Directive {
	m := s.m
	c := s.cookie()
	if c.Secure == SecureRequired && !s.secure() && m.header == "" {
		return Directive{} // the client keeps what it has; nothing new may travel
	}
	s.send, s.owed, s.oldSecret, s.held, s.stale, s.gone = false, false, false, true, false, nil
	var wireBuf [maxIDBytes + sigChars + 1]byte
	wire := m.appendWire(wireBuf[:0], s.token)
	if m.header != "" {
		return Directive{Action: SetToken, Token: Token(wire)}
	}
	var expires time.Time
	if s.attrs.hasMaxAge {
		if expires = s.tokenEnd(); expires.IsZero() {
			expires = s.rec.Expires
		}
	}
	var valueBuf, buf [512]byte
	value := appendEscaped(append(valueBuf[:0], "s%3A"...), wire)
	return Directive{Action: SetToken, SetCookie: Token(c.appendSetCookie(buf[:0], value, expires, s.secure()))}
}

// tokenEnd is when the cookie of a token ends for which that is known from the
// start, or the zero time. Where the client has the session, its parcel says when
// it ends, and the token need not be sent again to last longer: so a request that
// is under way at a sign-out does not bring the token back.
func (s *Session) tokenEnd() time.Time {
	if !s.m.parcels {
		return time.Time{}
	}
	return s.absoluteEnd()
}

// forget makes the client forget a session that it wanted to end in a request
// that failed, where nothing but that ends it. s.mu is held.
func (s *Session) forget() Directive {
	if s.parcels == nil {
		return Directive{}
	}
	reset := s.reset && (s.previous != nil || len(s.parcels.sent) > 0) // or what the client has could not be read
	if s.task(false) != doDestroy && !reset {
		return Directive{}
	}
	s.rec = Record{} // nor is what Reset has begun to reach it
	d := s.clearToken()
	d.MoreCookies = s.parcelCookies(s.gone)
	return d
}

// secure tells whether the client's connection is HTTPS. Outside of HTTP it is
// the caller's affair, who sends the cookie.
func (s *Session) secure() bool { return s.r == nil || s.m.isSecure(s.r) }
