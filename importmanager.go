package session

import (
	"context"
	"encoding/json"
	"net/http"
)

// Importer returns an importer of m's sessions, for the manager that takes m's
// place with another store or layout, another cookie, or without
// Options.ExpressCompatible: nobody is signed out by the change. m itself serves
// no requests any more. What it has of them moves, with two exceptions: the user in
// passport.user becomes the subject, and would otherwise go on naming somebody
// who has signed out since; and the attributes of the cookie are the new ones, but
// for how long it lasts.
//
// It panics if m's store is a [ParcelStore], whose cookies only m could clear.
func (m *Manager) Importer() Importer {
	if m.parcels {
		panic("session: Manager.Importer: the sessions of this manager are kept by its clients, and only it can make them forget")
	}
	return ownImporter{m: m}
}

type ownImporter struct {
	m *Manager
	n int // which of the tokens in a request counts
}

// Token returns that of the tokens which are signed as they should be.
func (im ownImporter) Token(r *http.Request) string {
	var shown presentation
	im.m.collect(r, &shown)
	if shown.n <= im.n {
		return ""
	}
	return string(shown.good[im.n].token())
}

func (im ownImporter) Load(ctx context.Context, r *http.Request) (*Imported, error) {
	m := im.m
	// Another token of the request may be one that somebody else has planted and
	// knows. It must not lead to this session.
	s, err := m.Open(ctx, string(m.appendWire(nil, []byte(im.Token(r)))))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec.Version == 0 {
		return nil, ErrNotFound
	}
	id := s.rec.ID
	imported := &Imported{
		Values:  make(map[string]any),
		Subject: s.newSubject(),
		Created: s.rec.Created,
		Expires: s.absoluteEnd(),
		idle:    s.attrs.idle, absolute: s.attrs.absolute,
		Delete: func(ctx context.Context) error { return m.Revoke(ctx, id) },
	}
	if s.attrs.hasMaxAge {
		imported.MaxAge = s.attrs.maxAge
	}
	for key, value := range s.members() {
		if key == passportKey && imported.Subject != "" && m.opts.ExpressCompatible {
			if value = withPassportUser(value, nil); string(value) == "{}" {
				continue
			}
		}
		imported.Values[key] = json.RawMessage(value)
	}
	return imported, nil
}

func (im ownImporter) Cookies() []*http.Cookie {
	m := im.m
	if m.header != "" {
		return nil
	}
	c := m.cookie
	return []*http.Cookie{{
		Name: c.Name, Path: c.Path, Domain: c.Domain,
		Secure: c.hasSecure(false), HttpOnly: !c.AllowScript, Partitioned: c.Partitioned,
	}}
}
