package gorillasession

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

// An exchange is what is known of one request.
type exchange struct {
	session   *session.Session
	manager   *session.Manager // that we commit with; nil within its Handler, which does
	snapshots map[*sessions.Session]snapshot
	begun     bool     // something was put in a new session, and its options are decided
	renewed   bool     // the token is to be replaced
	removed   []string // the names that were deleted, which the store may have still
	sent      []string // the Set-Cookie values that are in the header
}

// exchange returns that of a request. It lies in gorilla's registry, the only
// thing that all copies of a request share, in a place by the name of slotName.
func (st *Store) exchange(r *http.Request) *exchange {
	slot, _ := sessions.GetRegistry(r).Get(slots{}, slotName) // an error would be that the name is no name
	handled, ok := st.manager.FromContext(r.Context())
	var key any = st.manager
	if ok {
		key = handled // which a request may have only further in
	}
	if x, ok := slot.Values[key].(*exchange); ok {
		return x
	}
	x := &exchange{session: handled, snapshots: make(map[*sessions.Session]snapshot)}
	if !ok {
		x.manager = st.manager
		x.session, _ = st.manager.OpenRequest(r) // it keeps its error
	}
	slot.Values[key] = x
	return x
}

const slotName = "coatcheck.session"

// slots is the store of the place in the registry. It keeps nothing.
type slots struct{}

func (slots) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(slots{}, name)
}
func (slots) New(_ *http.Request, name string) (*sessions.Session, error) {
	return sessions.NewSession(slots{}, name), nil
}
func (slots) Save(*http.Request, http.ResponseWriter, *sessions.Session) error { return nil }

// setSubject says whose session ours is. Another subject gets another token.
func (x *exchange) setSubject(subject string) {
	if subject != x.session.Subject() {
		x.session.SetSubject(subject)
		x.renewed = true
	}
}

// commit saves our session, or leaves that to Handler.
func (x *exchange) commit(r *http.Request, w http.ResponseWriter) error {
	if x.manager == nil {
		if x.renewed && x.session.Err() == nil {
			x.renewed = false
			return x.session.Save() // now, so that the ID is that of the new token
		}
		return x.session.Err()
	}
	d, err := x.manager.Commit(r.Context(), x.session)
	if err != nil {
		if d.Action != session.Keep {
			_ = x.tell(w.Header(), d) // what has failed is the greater trouble
		}
		return err
	}
	return x.tell(w.Header(), d)
}

var errHeader = errors.New("gorillasession: with Options.Header set, the manager's Handler must be put around the program; only it can send the token")

// tell says to the client and to caches what Handler would say.
func (x *exchange) tell(h http.Header, d session.Directive) error {
	if !varies(h) {
		h.Add("Vary", "Cookie")
	}
	if d.Action == session.Keep && len(d.MoreCookies) == 0 {
		return nil
	}
	if d.SetCookie == "" && len(d.MoreCookies) == 0 {
		return errHeader
	}
	if d.SetCookie != "" {
		x.add(h, d.SetCookie.Reveal())
	}
	for _, c := range d.MoreCookies {
		x.add(h, c.Reveal())
	}
	if _, chosen := h["Cache-Control"]; !chosen {
		h.Set("Cache-Control", "no-store")
	}
	return nil
}

// add sets a cookie in place of the one that an earlier Save of this request has
// set where browsers would put it.
func (x *exchange) add(h http.Header, line string) {
	c, err := http.ParseSetCookie(line)
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(have string) bool {
		if err != nil || !slices.Contains(x.sent, have) {
			return false
		}
		old, err := http.ParseSetCookie(have)
		return err == nil && old.Name == c.Name && old.Path == c.Path && old.Domain == c.Domain
	})
	h.Add("Set-Cookie", line)
	x.sent = append(x.sent, line)
}

func varies(h http.Header) bool {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Cookie") {
				return true
			}
		}
	}
	return false
}
