package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An Importer takes over the sessions of another library, so that nobody is
// signed out on the day that this one takes its place. Package scsstore has one
// for alexedwards/scs, gorillasession for gorilla/sessions, and Manager.Importer
// is one for a manager with other settings, as those that Express needs.
//
// Its methods are called only for requests that use their session and present no
// live one of ours. They are safe for concurrent use. A session is imported once:
// it becomes a new one with a token of its own, stored before the handler sees
// it, and from then on the old token is worth nothing, whatever becomes of the
// new session. Only until the client has been sent the new token, and for
// Options.RenewalGrace longer, the old one leads to the new session, for requests
// that were under way.
type Importer interface {
	// Token returns what the request presents of an old session: a secret that
	// is the same with each request of that session, as the value of its cookie.
	// It is empty if the request presents nothing. Token looks only at the
	// request; it asks no store.
	Token(r *http.Request) string

	// Load returns the old session of what Token returns for the request, if that
	// is not empty, or an error that wraps [ErrNotFound] if there is none, or it
	// has ended. It looks at nothing else that the request presents: whoever has
	// the token is led to what Load has found.
	// Any other error fails the request like one of the store; it is logged, so
	// it never contains the token or a value. ctx bounds it as
	// Options.StoreTimeout says.
	Load(ctx context.Context, r *http.Request) (*Imported, error)

	// Cookies returns the cookies that carry the token, as they were set. A
	// client whose session was imported is told to forget those that it holds.
	// What counts is Name, Path and Domain, and where a browser asks for them
	// Secure and Partitioned.
	Cookies() []*http.Cookie
}

// Imported is what an [Importer] has found.
type Imported struct {
	// Values becomes what is in the session. Each is encoded as JSON, as by
	// [Session.Set]; json.RawMessage is JSON already.
	Values map[string]any

	// Subject is whose session it is; empty for an anonymous one.
	Subject string

	// Created is when the session began, from which the absolute timeout counts;
	// zero stands for now.
	Created time.Time

	// Expires is when the old session would have ended at the latest. The new one
	// does not outlive it, unless somebody signs in. Zero means never.
	Expires time.Time

	// MaxAge makes the session and its cookie outlive the browser, as
	// [Session.SetMaxAge] does; zero leaves it to the options.
	MaxAge time.Duration

	idle, absolute time.Duration // the timeouts that a session of ours had of its own

	// Delete, if set, removes the old session. It is called when the new one is
	// stored. If it fails that is logged; the session is not imported again.
	Delete func(ctx context.Context) error
}

// oldLife is how long it is remembered that a session was imported which has no
// end of its own: as long as browsers keep a cookie (RFC 6265bis, section 5.5).
const oldLife = 400 * 24 * time.Hour

// An importMark is what a request knows of the imported session that it presents.
type importMark struct {
	rec Record // as the store has it
	to  pointer
}

// markID is the ID of the record which says that an old session was imported,
// and where it went. No token has it, as none has a zero byte. Secrets play no
// part, so that it is found also after they were rotated.
func markID(old string) string { return hashID([]byte("import\x00" + old)) }

// importOld looks for a session of the system that was here before, and reports
// whether s is now what has become of it. s.mu is held.
func (s *Session) importOld() bool {
	if s.loadCtx.parent == nil {
		s.loadCtx.start(s.ctx, s.m.opts.StoreTimeout, true)
		defer s.loadCtx.stop()
	}
	own, ok := s.m.opts.Import.(ownImporter)
	if !ok {
		return s.importBy(s.m.opts.Import)
	}
	// Several cookies may have the name, and the first need not be a session's.
	for own.n = range maxStoreTokens {
		if s.importBy(own) {
			return true
		}
		if s.err != nil || s.retired {
			return false
		}
	}
	return false
}

// importBy is importOld for one token of the request.
//
// A mark in the store decides who imports it: of several requests at the same
// time one stores the mark, and the others find it. As in a renewal the new
// record comes first, so that a crash between the two leaves one session too
// many rather than none.
func (s *Session) importBy(importer Importer) bool {
	m := s.m
	old := importer.Token(s.r)
	if old == "" {
		return false
	}
	ctx := &s.loadCtx
	// The old session first and then the mark: whoever deletes the one has stored
	// the other before, so that there is no moment at which neither is found.
	imported, err := importer.Load(ctx, s.r)
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.fail(&StoreError{"import", err})
		return false
	}
	mark, markErr := m.fetch(ctx, markID(old))
	switch {
	case markErr == nil:
		s.deleteOld(ctx, imported) // which is there if whoever stored the mark has come no further
		return s.followMark(ctx, mark, old)
	case !errors.Is(markErr, ErrNotFound):
		s.fail(markErr)
		return false
	case err != nil || imported == nil:
		return false
	}
	err = s.storeImported(ctx, imported)
	switch {
	case errors.Is(err, ErrNotFound):
		return false
	case err != nil:
		s.fail(err)
		return false
	}
	err = s.storeMark(ctx, old, imported.Expires)
	if errors.Is(err, ErrConflict) {
		if mark, err = m.fetch(ctx, markID(old)); err == nil {
			// Another request was faster: theirs is the session. Or this one's client of
			// the store has tried again after a lost answer, and met itself.
			if to, _ := parsePointer(mark.Data); to.successor != s.rec.ID {
				_ = m.store.Delete(ctx, s.rec.ID) // what remains is a record that nobody has a token for
			}
			s.deleteOld(ctx, imported)
			return s.followMark(ctx, mark, old)
		}
	}
	if err != nil {
		// The mark may be there, if only the answer was lost, and then it leads to
		// the new record. So that stays.
		s.fail(err)
		return false
	}
	m.event(EventImported, s.rec.ID, s.rec.Subject)
	s.deleteOld(ctx, imported)
	return true
}

// deleteOld removes an old session that was found and has its mark.
func (s *Session) deleteOld(ctx context.Context, imported *Imported) {
	if imported == nil || imported.Delete == nil {
		return
	}
	if err := imported.Delete(ctx); err != nil {
		s.m.opts.Logger.Warn("session: could not delete a session that was imported; it is not imported again", "err", err)
	}
}

// followMark follows the mark of an old session to what has become of it.
func (s *Session) followMark(ctx context.Context, mark Record, old string) bool {
	to, _ := parsePointer(mark.Data)
	s.imported = &importMark{mark, to}
	token, ok := to.open([]byte(old))
	if !ok || !s.m.now().Before(to.end) {
		return false
	}
	s.setToken(token)
	return s.follow(ctx, false)
}

// storeImported stores what was imported as a new session, unless its time is
// over; that is ErrNotFound.
func (s *Session) storeImported(ctx context.Context, imported *Imported) error {
	m := s.m
	now := m.now()
	s.begin()
	if !isSubject(imported.Subject) {
		return &StoreError{"import", errors.New("a subject is at most 255 bytes of UTF-8 without control characters")}
	}
	for _, key := range slices.Sorted(maps.Keys(imported.Values)) {
		err := m.checkKey(key)
		var text []byte
		if err == nil {
			text, err = appendJSON(nil, imported.Values[key])
			if err != nil {
				err = &KeyError{key, err}
			}
		}
		if err != nil {
			return &StoreError{"import", err}
		}
		s.put(key, text, LastWrite)
	}
	if err := s.newToken(); err != nil {
		return err
	}
	s.rec.Subject, s.rec.Created = imported.Subject, now
	if created := imported.Created; !created.IsZero() && created.Before(now) {
		s.rec.Created = created.UTC().Truncate(time.Millisecond)
	}
	if imported.MaxAge >= time.Millisecond {
		s.attrs.maxAge, s.attrs.hasMaxAge = imported.MaxAge.Truncate(time.Millisecond), true
	}
	s.attrs.idle, s.attrs.absolute = imported.idle, imported.absolute
	if m.opts.RenewalTimeout > 0 {
		s.attrs.issued = now.UnixMilli()
	}
	if !imported.Expires.IsZero() {
		s.attrs.ends = imported.Expires.UnixMilli()
	}
	if !now.Before(s.expiry(now)) {
		return ErrNotFound
	}
	s.next = Record{ID: s.rec.ID, Subject: s.rec.Subject, Created: s.rec.Created}
	if err := s.store(ctx, &s.next, now); err != nil {
		if errors.Is(err, ErrConflict) {
			return errDuplicate
		}
		return err
	}
	s.saved(s.next)
	s.send = true
	return nil
}

// storeMark stores that the old session was imported and that it is now s.
func (s *Session) storeMark(ctx context.Context, old string, expires time.Time) error {
	m := s.m
	now := m.now()
	if expires.IsZero() {
		expires = now.Add(oldLife)
	}
	// Until the client has the new token, the old one leads there: it may be that
	// this response cannot carry a cookie, or never arrives.
	to := pointer{end: expires, successor: s.rec.ID, sealed: sealToken([]byte(old), s.token)}
	mark := Record{ID: markID(old), Data: to.data(), Created: now, LastSeen: now, Expires: expires.UTC().Truncate(time.Millisecond)}
	version, err := m.store.Save(ctx, &mark)
	switch {
	case errors.Is(err, ErrConflict):
		return ErrConflict
	case err != nil:
		return &StoreError{"save", err}
	}
	mark.Version = version
	s.imported = &importMark{mark, to}
	return nil
}

// retireMark takes note that the client is sent the token of a session that was
// imported: the old token leads there only for the time of grace from now on.
func (s *Session) retireMark(ctx context.Context) {
	m, a := s.m, s.imported
	now := m.now()
	end := now.Add(m.opts.RenewalGrace)
	if !end.Before(a.to.end) {
		return // somebody has done so before
	}
	a.to.end = end
	a.rec.Data, a.rec.LastSeen = a.to.data(), now
	if _, err := m.store.Save(ctx, &a.rec); err != nil && !errors.Is(err, ErrConflict) {
		m.opts.Logger.Warn("session: could not end the old token of a session that was imported; it leads there until the old session would have ended", "session", logID(s.rec.ID), "err", err)
	}
}

// forgetCookies returns the Set-Cookie values that make the client forget what it
// holds of a session that was imported.
func (s *Session) forgetCookies() []Token {
	var values []Token
	ours := s.cookie()
	for _, c := range s.m.opts.Import.Cookies() {
		if len(s.r.CookiesNamed(c.Name)) == 0 || s.m.header == "" && sameCookie(c, &ours) {
			continue // the client does not hold it, or what it is told of ours takes its place
		}
		gone := http.Cookie{
			Name: c.Name, Path: c.Path, Domain: c.Domain, Expires: time.Unix(0, 0), MaxAge: -1,
			Secure: c.Secure, HttpOnly: c.HttpOnly, SameSite: c.SameSite, Partitioned: c.Partitioned,
		}
		if value := gone.String(); value != "" {
			values = append(values, Token(value))
		}
	}
	return values
}

// sameCookie reports whether a browser would put the two in one place.
func sameCookie(c *http.Cookie, ours *Cookie) bool {
	path := c.Path
	if path == "" {
		path = "/"
	}
	return c.Name == ours.Name && path == ours.Path &&
		strings.EqualFold(strings.TrimPrefix(c.Domain, "."), strings.TrimPrefix(ours.Domain, "."))
}

func (o *Options) checkImport() error {
	if o.Import == nil {
		return nil
	}
	if o.ExpressCompatible {
		return errors.New("session: Options.Import leaves a mark of each imported session in the store, which Express does not understand; leave it out with ExpressCompatible")
	}
	for i, c := range o.Import.Cookies() {
		if err := c.Valid(); err != nil {
			return fmt.Errorf("session: Options.Import: cookie %d of those that its clients are to forget: %w", i+1, err)
		}
	}
	return nil
}
