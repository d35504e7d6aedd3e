package gorillasession

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

// An Importer takes over the sessions of a program that had another store of
// gorilla's: a cookie store, one in files, or any of others. It is for
// [session.Options].Import. A session is taken over at the first request that
// presents its cookie and uses a session; it becomes one of ours, the old cookie
// is cleared, and the old session is deleted, where that is more than a cookie.
//
// The types that the old program has registered with encoding/gob must be
// registered still, under the same names. A session that has a good signature and
// cannot be decoded is an error, which fails the request: a forgotten type must
// not look like a stranger.
//
// Set the fields before the first request.
type Importer struct {
	// Subject tells whose a session is, as [Store].Subject does.
	Subject func(s *sessions.Session) (subject string, ok bool)

	// MaxAge is how old a cookie may be, counted from the last time that the old
	// program saved its session. A session that was taken over ends then at the
	// latest, unless somebody signs in; and as long it is remembered which cookies
	// were taken over. The default is the MaxAge of the old store's options, but
	// at least 30 days, which is what securecookie allows unless it was told
	// otherwise. Cookies of stores that do without securecookie have no date; they
	// are taken over as long as their store knows them.
	MaxAge time.Duration

	old   sessions.Store
	names []string
}

var _ session.Importer = (*Importer)(nil)

// NewImporter returns an importer of the sessions with the given names, which are
// the names of their cookies. The first is to be the one that says who is signed
// in: the first cookie of these that a client presents decides whether anything is
// taken over, and the others go along. It panics if the store is nil or there is
// no name.
func NewImporter(old sessions.Store, names ...string) *Importer {
	if old == nil || len(names) == 0 {
		panic("gorillasession: NewImporter: give the store that the program had, and the names of its sessions")
	}
	for _, name := range names {
		if err := checkName(name); err != nil {
			panic(err)
		}
	}
	return &Importer{old: old, names: names}
}

// minMaxAge is how old securecookie lets a cookie become by itself.
const minMaxAge = 30 * 24 * time.Hour

// Token implements session.Importer.
func (i *Importer) Token(r *http.Request) string {
	if shown := i.presented(r); len(shown) > 0 {
		return shown[0].Name + "=" + shown[0].Value
	}
	return ""
}

// presented returns the cookies of old sessions in a request, beginning with the
// one that decides. There is one text for each: base64 leaves some bits of the last
// character open, and with another text a cookie could be taken over twice.
func (i *Importer) presented(r *http.Request) []*http.Cookie {
	var shown []*http.Cookie
	for _, name := range i.names {
		c, err := r.Cookie(name) // the first by that name, as gorilla's stores read it
		if err != nil || c.Value == "" {
			continue
		}
		if raw, err := base64.URLEncoding.DecodeString(c.Value); err == nil {
			c.Value = base64.URLEncoding.EncodeToString(raw)
		}
		shown = append(shown, c)
	}
	return shown
}

// Load implements session.Importer.
func (i *Importer) Load(ctx context.Context, r *http.Request) (*session.Imported, error) {
	shown := i.presented(r)
	// The store sees these cookies and no others, so that it reads what Token says.
	r = r.Clone(ctx)
	r.Header.Del("Cookie")
	for _, c := range shown {
		r.AddCookie(c)
	}
	imported := &session.Imported{Values: make(map[string]any)}
	var loaded []*sessions.Session
	for n, c := range shown {
		gs, err := i.load(r, c.Name)
		if err != nil {
			return nil, err
		}
		if gs == nil {
			if n == 0 {
				break
			}
			continue
		}
		if n == 0 {
			imported.Expires = i.end(c.Value, gs.Options)
		}
		if err := i.take(imported, gs); err != nil {
			return nil, err
		}
		loaded = append(loaded, gs)
	}
	if len(imported.Values) == 0 {
		return nil, fmt.Errorf("gorillasession: import: %w", session.ErrNotFound)
	}
	imported.Delete = func(ctx context.Context) error {
		var errs []error
		for _, gs := range loaded {
			errs = append(errs, i.delete(r.WithContext(ctx), gs))
		}
		return errors.Join(errs...)
	}
	return imported, nil
}

// load returns the old session by a name, nil if there is none.
func (i *Importer) load(r *http.Request, name string) (*sessions.Session, error) {
	gs, err := i.old.New(r, name)
	switch {
	case err != nil && !isNone(err):
		return nil, i.fail("load", name, err)
	case err != nil, gs == nil, gs.IsNew:
		return nil, nil
	}
	return gs, nil
}

// isNone reports whether an error of a store says that there is no session: the
// cookie is not signed by it, or too old, or its session is gone. Any other may be
// that of a server that is down.
func isNone(err error) bool {
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	var all securecookie.MultiError // one error for each key
	if !errors.As(err, &all) {
		var one securecookie.Error
		if !errors.As(err, &one) {
			return false
		}
		all = securecookie.MultiError{one}
	}
	for _, err := range all {
		one, ok := err.(securecookie.Error)
		if !ok {
			continue // a cookie that is too long
		}
		var corrupt base64.CorruptInputError
		if !one.IsDecode() || one.Cause() != nil && !errors.As(one.Cause(), &corrupt) {
			return false // the signature is good, and what it signs cannot be decoded
		}
	}
	return true
}

// fail makes an error fit to be logged: that of a file has the ID of the session in
// its name.
func (i *Importer) fail(op, name string, err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		err = fmt.Errorf("%s: %w", file.Op, file.Err)
	}
	return fmt.Errorf("gorillasession: import: %s session %q: %w", op, name, err)
}

// end is when a cookie stops being good, zero if it has no date.
func (i *Importer) end(value string, opts *sessions.Options) time.Time {
	raw, err := base64.URLEncoding.DecodeString(value)
	if err != nil {
		return time.Time{}
	}
	date, _, _ := bytes.Cut(raw, []byte{'|'}) // date|value|signature
	seconds, err := strconv.ParseInt(string(date), 10, 64)
	if err != nil {
		return time.Time{}
	}
	maxAge := i.MaxAge
	if maxAge <= 0 {
		maxAge = minMaxAge
		if opts != nil {
			maxAge = max(maxAge, time.Duration(opts.MaxAge)*time.Second)
		}
	}
	return time.Unix(seconds, 0).Add(maxAge)
}

// take puts the values of an old session where the Store of the new program finds
// them.
func (i *Importer) take(imported *session.Imported, gs *sessions.Session) error {
	edits, _, err := diff(gs.Name(), snapshot{}, gs.Values)
	if err != nil {
		return err
	}
	for _, e := range edits {
		imported.Values[e.key] = json.RawMessage(e.text)
	}
	if i.Subject != nil {
		if subject, ok := i.Subject(gs); ok {
			imported.Subject = subject
		}
	}
	return nil
}

func (i *Importer) delete(r *http.Request, gs *sessions.Session) error {
	var opts sessions.Options
	if gs.Options != nil {
		opts = *gs.Options
	}
	opts.MaxAge = -1
	gs.Options = &opts
	// The client is told by the manager.
	if err := i.old.Save(r, noResponse{}, gs); err != nil {
		return i.fail("delete", gs.Name(), err)
	}
	return nil
}

// noResponse is a response that nobody gets.
type noResponse struct{}

func (noResponse) Header() http.Header         { return make(http.Header) }
func (noResponse) Write(p []byte) (int, error) { return len(p), nil }
func (noResponse) WriteHeader(int)             {}

// Cookies implements session.Importer.
func (i *Importer) Cookies() []*http.Cookie {
	var cookies []*http.Cookie
	for _, name := range i.names {
		c := &http.Cookie{Name: name, Path: "/"}
		// A request without cookies gets a new session with the options of the store.
		blank := &http.Request{Method: http.MethodGet, URL: new(url.URL), Header: make(http.Header)}
		if gs, _ := i.old.New(blank, name); gs != nil && gs.Options != nil {
			c = sessions.NewCookie(name, "", gs.Options)
		}
		cookies = append(cookies, c)
	}
	return cookies
}
