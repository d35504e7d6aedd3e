package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Session is the state of one client during one request. It is loaded when it
// is first used and saved by the middleware. If loading fails, reads give zero
// values and Err tells; the middleware then answers with Options.OnError
// whatever the handler does, because "we cannot tell who you are" must not look
// like "you are nobody".
//
// A Session may be used by all goroutines of its request. When the request is
// over, reads still give what they gave and changes are refused with
// [ErrRequestDone]. It is never used again for another client.
//
// Changes return no error, as there is nothing to be done about one on the
// spot. The first is kept, Err returns it, and the request fails by it.
type Session struct {
	m   *Manager
	ctx context.Context
	r   *http.Request // nil outside HTTP

	mu     sync.Mutex
	wire   []byte // what Open was given
	opened bool   // loading was tried
	done   bool   // the request is over
	late   bool   // the header of the response has left
	err    error  // the first error

	loadCtx, saveCtx storeContext
	parcels          *parcels // what the client keeps, for a store that keeps nothing itself

	// The record as the store has it, Version zero if it has none yet, and what
	// its member "cookie" says.
	rec   Record
	attrs attributes
	next  Record // the record that is being saved

	token    []byte
	tokenBuf [tokenChars]byte // the token, unless somebody's generator makes longer ones

	held      bool // the client holds a cookie with the token
	oldSecret bool // and it is signed by an old secret
	stale     bool // the client holds something that is no session
	retired   bool // the client's token was replaced at a sign-in; see pointer.go
	outside   bool // the path of the request is outside that of the cookie
	handled   bool // Handler commits the session
	reset     bool // what Reset has left behind is to be ended

	// What this request wants changed.
	changes    []change
	changeBuf  [2]change
	scratch    [48]byte // the texts of short values
	scratchLen int
	refs       []ref
	subject    string
	setSubject bool
	setAttrs   bool
	touch      bool
	send       bool // the cookie must be sent
	owed       bool // and nobody else can send it: this request has made the token
	extended   bool // this request has seen to the session's life
	plan       plan

	// What Regenerate left behind, to be ended when its successor is saved, or
	// Reset, to be ended in any case.
	previous *Record

	// The cookie as the client holds it, if that may have changed in this request.
	gone *Cookie

	// What is known of the session of another system that the client presents,
	// if that was imported; see import.go.
	imported *importMark
}

// A plan is what is to become of the session as a whole.
type plan int

const (
	planKeep plan = iota
	planRenew
	planRegenerate
	planDestroy
	planUnset
)

// errNoSession is what changes report after Destroy or Unset.
var errNoSession = errors.New("session: the session was destroyed in this request; to go on with an empty one, call Regenerate in place of Destroy")

// open loads the session if that has not been tried. s.mu is held.
func (s *Session) open() {
	if !s.opened {
		s.opened = true
		s.load()
	}
}

// use locks the session for reading and loads it. The caller unlocks s.mu.
func (s *Session) use() {
	s.mu.Lock()
	if s.done && !s.opened {
		s.fail(ErrRequestDone)
		s.opened = true
	}
	if !s.opened {
		s.openAlone()
	}
}

// openAlone is open for one who holds s.mu without a deferred unlocking: what is
// called from here and is not ours (the store, the functions of the options)
// may panic, and somebody further out may recover and go on.
func (s *Session) openAlone() {
	returned := false
	defer func() {
		if !returned {
			s.fail(errPanicked)
			s.mu.Unlock()
		}
	}()
	s.open()
	returned = true
}

var errPanicked = errors.New("session: loading the session panicked")

// change locks the session for a change and loads it. If it may be changed, the
// caller unlocks s.mu; otherwise it is unlocked already.
func (s *Session) change() bool {
	s.use()
	if !s.allow() {
		s.mu.Unlock()
		return false
	}
	return true
}

// allow reports whether the session may be changed, and keeps the error if not.
func (s *Session) allow() bool {
	err := s.unchangeable()
	if err != nil {
		s.fail(err)
	}
	return err == nil
}

func (s *Session) unchangeable() error {
	err := s.inert()
	if err == nil && s.late && (s.rec.Version == 0 || s.m.parcels) {
		err = ErrHeaderSent
	}
	return err
}

// inert reports why nothing can be done with the session any more, if so.
func (s *Session) inert() error {
	switch {
	case s.done:
		s.m.opts.Logger.Warn("session: changed after its request was over; the change is lost")
		return ErrRequestDone
	case s.err != nil:
		return s.err
	case s.plan == planDestroy, s.plan == planUnset:
		return errNoSession
	case s.outside:
		return errPath
	}
	return nil
}

// fail keeps the first error.
func (s *Session) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Err returns the error that the session has met: a *[StoreError] if it could
// not be loaded, a *[KeyError] for a value that cannot be kept, [ErrHeaderSent],
// [ErrRequestDone]. It loads the session if it is not loaded yet.
func (s *Session) Err() error {
	s.use()
	defer s.mu.Unlock()
	return s.err
}

// ID returns the key of the session's record. By default it is a hash of the
// token: fit for lists and logs, and useless as a cookie. A session that is new
// gets its token now. With Options.StoreRawIDs the ID is the token itself.
func (s *Session) ID() string {
	s.use()
	defer s.mu.Unlock()
	if s.rec.ID == "" && s.err == nil && s.plan < planDestroy && !s.outside {
		if err := s.newToken(); err != nil {
			s.fail(err)
			return ""
		}
	}
	return s.rec.ID
}

// Token returns what the client presents, signed, as the header of Options.Header
// carries it; in a cookie it stands behind "s:", and is escaped. It is empty while
// the session has no record.
// With a [ParcelStore] what the client keeps of the session follows in the text.
func (s *Session) Token() Token {
	s.use()
	defer s.mu.Unlock()
	if s.rec.Version == 0 {
		return ""
	}
	return s.presents()
}

func (s *Session) setToken(token []byte) {
	s.token = append(s.tokenBuf[:0], token...)
	s.rec.ID = s.m.id(s.token)
}

// newToken makes a token for a session that has none.
func (s *Session) newToken() error {
	generate := s.m.opts.GenerateID
	if generate == nil {
		s.setToken(appendToken(s.tokenBuf[:0]))
		return nil
	}
	token := generate(s.r)
	if !isID([]byte(token)) {
		return errors.New("session: Options.GenerateID made an ID that is not 1 to 128 bytes of UTF-8 without control characters")
	}
	s.setToken([]byte(token))
	return nil
}

// IsNew reports whether the session is not in the store yet.
func (s *Session) IsNew() bool {
	s.use()
	defer s.mu.Unlock()
	return s.rec.Version == 0
}

// Subject returns whose session this is; it is empty for an anonymous one. With
// Options.ExpressCompatible it is what Passport keeps in passport.user, if that
// is a string or a number.
func (s *Session) Subject() string {
	s.use()
	defer s.mu.Unlock()
	if s.m.opts.ExpressCompatible {
		s.encodeRefs() // there may be one to passport
	}
	return s.newSubject()
}

// Record returns a copy of the session's record as the store has it, without
// the changes of this request.
func (s *Session) Record() Record {
	s.use()
	defer s.mu.Unlock()
	rec := s.rec
	rec.Data = append([]byte(nil), rec.Data...)
	return rec
}

// Keys returns the keys that are set, the oldest first.
func (s *Session) Keys() []string {
	s.use()
	defer s.mu.Unlock()
	s.encodeRefs()
	var keys []string
	for key := range s.members() {
		keys = append(keys, key)
	}
	return keys
}

// members yields the keys and values with the changes of this request.
func (s *Session) members() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if s.plan >= planDestroy {
			return
		}
		sc := scan(s.rec.Data)
		for quoted, value, ok := sc.next(); ok; quoted, value, ok = sc.next() {
			key := unquote(quoted)
			if key == cookieKey {
				continue
			}
			if c := s.changed(key); c != nil {
				if value = c.value; value == nil {
					continue
				}
			}
			if !yield(key, value) {
				return
			}
		}
		for i := range s.changes {
			c := &s.changes[i]
			if c.value != nil && find(s.rec.Data, c.key) == nil && !yield(c.key, c.value) {
				return
			}
		}
	}
}

// lookup returns the text of the value under key, or nil.
func (s *Session) lookup(key string) []byte {
	if s.plan >= planDestroy || key == cookieKey {
		return nil
	}
	if c := s.changed(key); c != nil {
		return c.value
	}
	return find(s.rec.Data, key)
}

// Delete removes a key.
func (s *Session) Delete(key string) {
	s.use()
	defer s.mu.Unlock()
	s.encodeRefs()
	if s.lookup(key) != nil && s.allow() {
		s.remove(key)
	}
}

func (s *Session) remove(key string) {
	s.dropRef(key)
	s.put(key, nil, LastWrite)
}

// Clear removes all keys. The session remains, with its subject and its token.
func (s *Session) Clear() {
	for _, key := range s.Keys() {
		s.Delete(key)
	}
}

// RenewID gives the session a new token and keeps what is in it. Call it when
// somebody's rights change, so that a token which an attacker knew or planted
// before is worth nothing afterwards (session fixation; OWASP ASVS 7.2.4). The
// old token leads nowhere from then on. SetSubject does it by itself.
func (s *Session) RenewID() {
	if !s.change() {
		return
	}
	defer s.mu.Unlock()
	s.planRenewal()
}

func (s *Session) planRenewal() {
	if s.late {
		s.fail(ErrHeaderSent)
		return
	}
	if s.plan == planKeep {
		s.plan = planRenew
	}
}

// SetSubject says whose session this is, from now on and, with an empty subject,
// no longer. The session gets a new token, as RenewID does it, and its absolute
// timeout begins anew, since somebody has just proved who he is. At most 255
// bytes of UTF-8 without control characters.
//
// With Options.ExpressCompatible it writes passport.user, where Passport finds
// it, unless that says the same already; see Options.NumericSubjects.
func (s *Session) SetSubject(subject string) {
	if !s.change() {
		return
	}
	defer s.mu.Unlock()
	if !isSubject(subject) {
		s.fail(errors.New("session: a subject is at most 255 bytes of UTF-8 without control characters"))
		return
	}
	if s.m.opts.ExpressCompatible {
		if err := s.putPassportUser(subject); err != nil {
			s.fail(err)
			return
		}
	}
	// Stores may keep it for ever, and it may be a piece of something large or, from
	// a server that reuses its buffers, soon be another text.
	s.subject, s.setSubject = strings.Clone(subject), true
	s.planRenewal()
}

// Regenerate replaces the session by a new, empty one; the old one is ended when
// the new one is saved. It is express-session's regenerate; to keep what is in
// the session use RenewID.
func (s *Session) Regenerate() {
	if !s.change() {
		return
	}
	defer s.mu.Unlock()
	if s.late {
		s.fail(ErrHeaderSent)
		return
	}
	s.leaveBehind()
	s.begin()
	s.plan = planRegenerate
}

// leaveBehind notes the record that is to be ended.
func (s *Session) leaveBehind() {
	if (s.previous == nil || s.previous.Version == 0) && s.rec.Version != 0 {
		previous := s.rec
		s.previous = &previous
	}
}

// Reset ends the session, as Destroy does, and goes on with a new, empty one,
// which is stored, and gets a token, only if something is put in it. It is for
// libraries that sign out: the program around them may sign somebody in
// afterwards, within the same request.
func (s *Session) Reset() {
	s.use()
	defer s.mu.Unlock()
	if s.done {
		s.fail(ErrRequestDone)
		return
	}
	if s.outside { // the session that was to end goes on
		s.fail(errPath)
		return
	}
	if s.late && s.m.parcels && s.rec.Version != 0 { // and here too
		s.fail(ErrHeaderSent)
		return
	}
	s.noteCookie()
	s.leaveBehind()
	s.begin()
	s.plan, s.reset = planKeep, true
}

// begin makes this a new session that has no record.
func (s *Session) begin() {
	if s.m.parcels {
		s.noteCookie()
	}
	s.outdate()
	s.rec, s.token, s.owed = Record{}, nil, false
	s.changes, s.refs = s.changeBuf[:0], nil
	s.subject, s.setSubject, s.setAttrs, s.touch, s.extended = "", false, false, false, false
	c := s.m.cookieFor(s.r)
	s.attrs = s.newAttributes(&c)
}

// noteCookie notes where the client has the cookie, before that changes.
func (s *Session) noteCookie() {
	if (s.held || s.stale) && s.rec.Version != 0 && s.gone == nil {
		c := s.cookie()
		s.gone = &c
	}
}

// Destroy ends the session: its record is deleted and its cookie cleared. Reads
// give zero values from now on, and changes are refused, Regenerate too. To put
// something in a new session, like a word of goodbye, call Regenerate in place
// of Destroy.
func (s *Session) Destroy() {
	s.use()
	defer s.mu.Unlock()
	s.destroy()
}

func (s *Session) destroy() {
	if s.done {
		s.fail(ErrRequestDone)
		return
	}
	if s.outside { // the session that was to end goes on
		s.fail(errPath)
		return
	}
	if s.late && s.m.parcels && s.rec.Version != 0 { // and here too
		s.fail(ErrHeaderSent)
		return
	}
	s.encodeRefs() // what was changed before is dropped; what is changed from now on is an error
	s.plan = planDestroy
}

// Unset takes the session from this request: its changes are dropped, and
// Options.Unset says whether the record stays or goes. It is express-session's
// req.session = null.
func (s *Session) Unset() {
	s.use()
	defer s.mu.Unlock()
	if s.err != nil && s.m.opts.Unset == UnsetDestroy {
		s.destroy() // which holds, whatever has gone wrong before
		return
	}
	none := s.late && (s.rec.Version == 0 || s.m.parcels && s.m.opts.Unset == UnsetKeep)
	if s.plan >= planDestroy || s.outside || !none && !s.allow() {
		return
	}
	s.encodeRefs()
	s.plan = planUnset
}

// Touch extends the session's life with this request, however recently it was
// extended. express-session: touch.
func (s *Session) Touch() {
	if !s.change() {
		return
	}
	defer s.mu.Unlock()
	s.touch = true
}

// Save saves the session now rather than before the response begins, and stores
// it even if it is new and nothing was put in it. A program rarely needs it:
// whoever sees any of the response finds the changes saved anyway.
// express-session: save.
func (s *Session) Save() error {
	s.use()
	defer s.mu.Unlock()
	if !s.allow() {
		return s.err
	}
	err := s.m.sync(s.ctx, s, true)
	if err != nil {
		s.fail(err)
	}
	return err
}

// Reload reads the session from the store again and forgets the changes of this
// request. If it is not there any more, or never was, nothing changes and the
// error wraps [ErrNotFound]. express-session: reload.
func (s *Session) Reload() error {
	s.use()
	defer s.mu.Unlock()
	blocked := s.unchangeable
	if s.m.parcels && s.rec.Version != 0 {
		blocked = s.inert // reading needs no cookie
	}
	if err := blocked(); err != nil {
		s.fail(err)
		return s.err
	}
	if s.rec.Version == 0 {
		return fmt.Errorf("session: reload: the session is not in the store yet: %w", ErrNotFound)
	}
	var ctx storeContext
	ctx.start(s.forStore(s.ctx), s.m.opts.StoreTimeout, false)
	defer ctx.stop()
	rec, err := s.m.fetch(&ctx, s.rec.ID)
	if err != nil {
		return err
	}
	if !s.m.live(rec) {
		return fmt.Errorf("session: reload: the session has ended: %w", ErrNotFound)
	}
	s.adopt(rec)
	s.changes, s.refs = s.changeBuf[:0], nil
	s.setSubject, s.setAttrs = false, false
	return nil
}

// Cookie returns the attributes of the session's cookie.
func (s *Session) Cookie() Cookie {
	s.use()
	defer s.mu.Unlock()
	return s.cookie()
}

func (s *Session) cookie() Cookie {
	c := s.m.cookieFor(s.r)
	s.attrs.apply(&c)
	return c
}

// SetCookie changes the attributes of this session's cookie, for as long as it
// lives. The name cannot be changed. Begin with what Cookie returns.
func (s *Session) SetCookie(c Cookie) {
	if !s.change() {
		return
	}
	defer s.mu.Unlock()
	have := s.cookie()
	c.Name = have.Name
	want := c.withDefaults(s.m.opts.ExpressCompatible)
	checked := want
	if checked.MaxAge == have.MaxAge {
		checked.MaxAge = 0 // it stands already, even if it is over because Options.Cookie.Expires has passed
	}
	if err := checked.check(); err != nil {
		s.fail(err)
		return
	}
	if s.m.parcels { // elsewhere what stays at another place is worth nothing
		s.noteCookie()
	}
	s.attrs.override(&have, &want, s.m.isSecure(s.r))
	if want.MaxAge != have.MaxAge || !want.Expires.IsZero() {
		s.setPeriod(s.newAttributes(&want))
	}
	s.setAttrs = true
}

// SetMaxAge makes the session and its cookie last for d after each use, also
// when the browser is closed meanwhile ("remember me"), and raises its absolute
// timeout to d if it is shorter. Zero makes the cookie one of the browser
// session again; a negative d ends the session. express-session: cookie.maxAge.
func (s *Session) SetMaxAge(d time.Duration) {
	s.use()
	defer s.mu.Unlock()
	switch {
	case d < 0 && s.err != nil:
		s.destroy() // which holds, whatever has gone wrong before
	case !s.allow():
	case d < 0:
		s.destroy()
	case d > 0 && d < time.Millisecond:
		s.fail(fmt.Errorf("session: SetMaxAge(%v): the shortest is a millisecond (did you forget the unit?)", d))
	default:
		s.setPeriod(attributes{maxAge: d.Truncate(time.Millisecond), hasMaxAge: d > 0})
	}
}

// SetExpires is SetMaxAge with the time that remains until t.
// express-session: cookie.expires.
func (s *Session) SetExpires(t time.Time) {
	d := t.Sub(s.m.now()).Truncate(time.Millisecond)
	if d == 0 {
		d = -1
	}
	s.SetMaxAge(d)
}

func (s *Session) setPeriod(from attributes) {
	s.attrs.maxAge, s.attrs.hasMaxAge, s.attrs.rawMaxAge = from.maxAge, from.hasMaxAge, nil
	s.setAttrs = true
}

// SetIdleTimeout sets the idle timeout of this session in place of
// Options.IdleTimeout; zero goes back to that. SetMaxAge takes precedence.
func (s *Session) SetIdleTimeout(d time.Duration) {
	s.setTimeout("SetIdleTimeout", d, &s.attrs.idle)
}

// SetAbsoluteTimeout sets the absolute timeout of this session in place of
// Options.AbsoluteTimeout; zero goes back to that.
func (s *Session) SetAbsoluteTimeout(d time.Duration) {
	s.setTimeout("SetAbsoluteTimeout", d, &s.attrs.absolute)
}

func (s *Session) setTimeout(name string, d time.Duration, field *time.Duration) {
	if !s.change() {
		return
	}
	defer s.mu.Unlock()
	if d < 0 || d > 0 && d < time.Millisecond {
		s.fail(fmt.Errorf("session: %s(%v): the shortest is a millisecond (did you forget the unit?)", name, d))
		return
	}
	*field = d.Truncate(time.Millisecond)
	s.setAttrs = true
}

// MaxAge returns what is left of the life of the session's cookie, and whether
// it has an end at all, that is, outlives the browser.
// express-session: cookie.maxAge.
func (s *Session) MaxAge() (left time.Duration, ok bool) {
	s.use()
	defer s.mu.Unlock()
	if !s.attrs.hasMaxAge || s.plan >= planDestroy {
		return 0, false
	}
	if s.setAttrs || s.rec.Version == 0 {
		return s.attrs.maxAge, true
	}
	return s.rec.Expires.Sub(s.m.now()), true
}

// OriginalMaxAge returns how long the session lives after each use, if its
// cookie outlives the browser. express-session: cookie.originalMaxAge.
func (s *Session) OriginalMaxAge() (d time.Duration, ok bool) {
	s.use()
	defer s.mu.Unlock()
	if s.plan >= planDestroy {
		return 0, false
	}
	return s.attrs.maxAge, s.attrs.hasMaxAge
}

// Expires returns when the session ends if it is not used again.
func (s *Session) Expires() time.Time {
	s.use()
	defer s.mu.Unlock()
	if s.rec.Version == 0 || s.setAttrs {
		return s.expiry(s.m.now())
	}
	return s.rec.Expires
}

// idleTimeout is how long the session lives after a use.
func (s *Session) idleTimeout() time.Duration {
	switch {
	case s.attrs.hasMaxAge:
		return s.attrs.maxAge
	case s.attrs.idle > 0:
		return s.attrs.idle
	}
	return s.m.opts.IdleTimeout
}

// absoluteEnd is when the session ends however much it is used, or the zero time
// if it has no such end or its beginning is not known.
func (s *Session) absoluteEnd() time.Time {
	absolute := s.m.opts.AbsoluteTimeout
	switch {
	case s.attrs.absolute > 0:
		absolute = s.attrs.absolute
	case s.attrs.hasMaxAge:
		absolute = max(absolute, s.attrs.maxAge)
	}
	var end time.Time
	if absolute != never && !s.rec.Created.IsZero() {
		end = s.rec.Created.Add(absolute)
	}
	if s.attrs.ends != 0 {
		if ends := time.UnixMilli(s.attrs.ends).UTC(); end.IsZero() || ends.Before(end) {
			return ends
		}
	}
	return end
}

// expiry is when the session ends if now is its last use.
func (s *Session) expiry(now time.Time) time.Time {
	expires := now.Add(s.idleTimeout())
	if end := s.absoluteEnd(); !end.IsZero() && end.Before(expires) {
		expires = end
	}
	return expires.Truncate(time.Millisecond)
}

// expired is the only judge of whether a session that the store returned has
// ended.
func (s *Session) expired(now time.Time) bool {
	if !now.Before(s.rec.Expires) {
		return true
	}
	// The timeouts may have been lowered since the record was written.
	if !s.rec.LastSeen.IsZero() && !now.Before(s.rec.LastSeen.Add(s.idleTimeout())) {
		return true
	}
	end := s.absoluteEnd()
	return !end.IsZero() && !now.Before(end)
}

// reopen takes back that the header has left.
func (s *Session) reopen() {
	s.mu.Lock()
	s.late = false
	s.mu.Unlock()
}

// finish makes the session inert: its request is over.
func (s *Session) finish() {
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
}
