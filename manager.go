package session

import (
	"context"
	"errors"
	"net/http"
)

// A Manager makes sessions of requests. It is made once by [New], never changes,
// and is safe for concurrent use.
type Manager struct {
	store   Store
	toucher Toucher // nil if the store has no Touch
	lister  Lister  // nil if the store has no List
	opts    Options
	cookie  Cookie // the cookie of opts with its defaults
	header  string
	parcels bool // the store keeps its records with the clients
	signers []*signer
}

// New returns a manager that keeps its sessions in the store. It checks the
// options and what the store can do, and reports what is wrong and how to mend
// it; it does not call the store, so that one which is down may come up later.
func New(store Store, opts *Options) (*Manager, error) {
	if opts == nil {
		opts = &Options{}
	}
	checked, err := opts.check(store)
	if err != nil {
		return nil, err
	}
	m := &Manager{store: store, opts: checked, cookie: checked.Cookie, header: checked.Header}
	m.toucher, _ = store.(Toucher)
	m.lister, _ = store.(Lister)
	m.parcels = keepsParcels(store)
	for _, secret := range checked.Secrets {
		m.signers = append(m.signers, newSigner(secret))
	}
	if w, ok := store.(Warner); ok && w.Warning() != "" && !checked.NoStoreWarning {
		checked.Logger.Warn("session: " + w.Warning() + " (Options.NoStoreWarning silences this)")
	}
	return m, nil
}

// id returns the ID of a token's record.
func (m *Manager) id(token []byte) string {
	if m.opts.StoreRawIDs {
		return string(token)
	}
	return hashID(token)
}

// isTokenShape reports whether a token could be one of ours. It is asked before
// anything is computed or looked up.
func (m *Manager) isTokenShape(token []byte) bool {
	if m.opts.GenerateID == nil && !m.opts.ExpressCompatible {
		return isToken(token)
	}
	return isID(token)
}

// cookieFor returns the cookie of the options for a request.
func (m *Manager) cookieFor(r *http.Request) Cookie {
	if m.opts.CookieFunc == nil || r == nil {
		return m.cookie
	}
	c := m.opts.CookieFunc(r, m.cookie)
	c.Name = m.cookie.Name
	return c.withDefaults(m.opts.ExpressCompatible)
}

// Open returns the session of a signed token, as [Session.Token] returns it and
// the header of Options.Header carries it, outside of HTTP or in a server that is
// not net/http's. The value of a cookie is not one, as it is escaped and begins
// with "s:"; OpenRequest reads cookies. An empty token, or one that is not a live
// session's, opens a new session. The
// error is that of the store. ctx is used for loading, and for Pop, Save and
// Reload; Pop and Save go on when it is cancelled. Commit saves with the context
// that it gets, also after that is cancelled.
func (m *Manager) Open(ctx context.Context, token string) (*Session, error) {
	s := &Session{m: m, ctx: ctx, wire: []byte(token)}
	return s, s.Err()
}

// OpenRequest returns the session of a request that did not come through
// Handler. It is for adapters to libraries whose programs ask for a session and
// save it as they go: where Handler can be put around them, that does more. What
// the request presents is read as Handler reads it, and the session is saved by
// Commit. Its life is extended at once, where that is due, since a program that
// only reads commits nothing. The error is that of the store.
func (m *Manager) OpenRequest(r *http.Request) (*Session, error) {
	s := &Session{m: m, ctx: r.Context(), r: r}
	s.use()
	defer s.mu.Unlock()
	if s.err == nil && s.rec.Version != 0 && s.extensionDue() {
		ctx := s.saveContext(s.ctx)
		defer ctx.stop()
		s.extend(ctx)
	}
	return s, s.err
}

// An Action is what a [Directive] tells to do with the client's token.
type Action int

const (
	Keep       Action = iota // nothing to send
	SetToken                 // send the token to the client
	ClearToken               // make the client forget its token
)

// A Directive is what the response has to say to the client after a commit.
type Directive struct {
	Action Action
	Token  Token // what Open is to be given next, with SetToken

	// SetCookie is the value of the Set-Cookie header that carries the action
	// out, if the token travels in a cookie and that changes.
	SetCookie Token

	// MoreCookies are the values of further Set-Cookie headers, to be sent after
	// SetCookie whatever Action says: what the client keeps for a [ParcelStore],
	// and what makes it forget the cookies of a session that was imported.
	MoreCookies []Token
}

// Commit saves what changed in a session that Open or OpenRequest returned, and
// returns what is to be told to the client, before anything else of the response
// is sent. It may be called again after further changes. The sessions of
// [Manager.Handler] are committed by that.
//
// With an error there is something to be told only where the session was to end
// and a [ParcelStore] left it with the client: a sign-out holds, whatever else
// has gone wrong.
func (m *Manager) Commit(ctx context.Context, s *Session) (Directive, error) {
	if s.m != m || s.handled {
		return Directive{}, errors.New("session: Commit: the session is not one that Open or OpenRequest of this manager returned; within Handler use Session.Save")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := m.commit(ctx, s, true)
	if err != nil {
		return s.forget(), err
	}
	if d.Action == SetToken {
		d.Token = s.presents()
	}
	return d, err
}
