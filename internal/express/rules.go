package express

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A Rule is a deliberate difference from express-session. Its reason stands in
// docs/express.md under its name.
//
// Rules of the first kind say: on this request we do what Express does on
// another one. They rewrite the request, and Express is asked again. Rules of
// the second kind say in what our result differs from that of Express. Both are
// exact: what they do not change must be equal to the byte.
type Rule struct {
	Name    string
	Rewrite func(f *Facts) (*Step, *World) // nil: does not apply
	Change  func(f *Facts, r *Result)
}

// Rules in the order in which they are applied.
var Rules = []Rule{
	{Name: "path-boundary", Rewrite: pathBoundary},
	{Name: "auto-in-function", Rewrite: autoInFunction},
	{Name: "no-drift", Rewrite: noDrift},
	{Name: "past-ends", Rewrite: pastEnds},
	{Name: "ended-twice", Rewrite: endedTwice},
	{Name: "every-cookie", Rewrite: everyCookie},
	{Name: "save-is-use", Rewrite: saveIsUse},
	{Name: "too-late", Rewrite: tooLate},
	{Name: "saved-first", Rewrite: savedFirst, Change: extendedFirst},

	{Name: "panic-saves-nothing", Change: panicSavesNothing},
	{Name: "failure-keeps-old", Change: failureKeepsOld},
	{Name: "insecure-fails", Change: insecureFails},
	{Name: "no-orphan", Change: noOrphan},
	{Name: "key-order", Change: keyOrder},
	{Name: "attribute-is-change", Change: attributeIsChange},
	{Name: "one-instant", Change: oneInstant},
	{Name: "never-back", Change: neverBack},
	{Name: "calls-of-store", Change: callsOfStore},
	{Name: "saved-gets-cookie", Change: savedGetsCookie},
	{Name: "auto-each-time", Change: autoEachTime},
	{Name: "options-fill", Change: optionsFill},
	{Name: "browser-follows-store", Change: browserFollowsStore},
	{Name: "signed-anew", Change: signedAnew},
	{Name: "destroyed-cookie-cleared", Change: destroyedCookieCleared},
	{Name: "stale-cookie-cleared", Change: staleCookieCleared},
	{Name: "left-in-store", Change: leftInStore},
}

func clone[T any](v *T) *T { c := *v; return &c }

// --- first kind ---

// pathBoundary: "/admin" covers "/admin/x" and not "/administrator".
func pathBoundary(f *Facts) (*Step, *World) {
	path, _, _ := strings.Cut(f.Step.Req.Path, "?")
	cookie := f.Step.Opts.Cookie.Path
	if !strings.HasPrefix(path, cookie) || path == cookie || strings.HasSuffix(cookie, "/") || path[len(cookie)] == '/' {
		return nil, nil
	}
	s := clone(f.Step)
	s.Req.Path = "/outside"
	return s, f.World
}

// autoInFunction: "auto" means the same whether cookie is an object or a function.
func autoInFunction(f *Facts) (*Step, *World) {
	c := &f.Step.Opts.Cookie
	if !f.Step.Req.Func || c.Secure != "auto" && c.SameSite != "auto" {
		return nil, nil
	}
	s := clone(f.Step)
	s.Req.Func = false
	if s.Req.Long {
		s.Opts.Cookie.MaxAge, s.Opts.Cookie.Expires = Long.Milliseconds(), 0
	}
	return s, f.World
}

// noDrift: one request has one reading of the clock where Express has two.
func noDrift(f *Facts) (*Step, *World) {
	if !f.Step.Drift {
		return nil, nil
	}
	s := clone(f.Step)
	s.Drift = false
	return s, f.World
}

// pastEnds: a life that is over is the end of the session.
func pastEnds(f *Facts) (*Step, *World) {
	now := f.World.Now
	s := clone(f.Step)
	s.Actions = slices.Clone(s.Actions)
	found := false
	for i, a := range s.Actions {
		var n int64
		if len(a.Value) == 0 || string(a.Value) == "null" || json.Unmarshal(a.Value, &n) != nil {
			continue
		}
		switch a.Op {
		case "tick":
			now += n
			continue
		case "expires":
			if n > now {
				continue
			}
		case "maxAge", "originalMaxAge":
			if n > 0 {
				continue
			}
		default:
			continue
		}
		s.Actions[i] = Action{Op: "destroy", Key: "past"}
		found = true
	}
	if !found {
		return nil, nil
	}
	return s, f.World
}

// endedTwice: ending a session that has ended is no error, and ends it for good.
func endedTwice(f *Facts) (*Step, *World) {
	last, first := -1, -1
	for i, a := range f.Step.Actions {
		switch a.Op {
		case "null", "destroy":
			if first < 0 {
				first = i
			} else if a.Op == "destroy" && a.Key == "" {
				last = i
			} else if a.Key != "" && last < 0 {
				return nil, nil // SetMaxAge is a change
			}
		case "get", "same", "del", "id", "left", "period", "tick", "other", "write":
		default:
			if first >= 0 && last < 0 {
				return nil, nil
			}
		}
	}
	if last < 0 {
		return nil, nil
	}
	s := clone(f.Step)
	s.Actions = nil
	for i, a := range f.Step.Actions {
		switch {
		case i == first && a.Op == "null":
			a = act("destroy")
		case i == first:
		case i > first && a.Key == "" && (a.Op == "destroy" || a.Op == "null"):
			continue
		}
		s.Actions = append(s.Actions, a)
	}
	return s, f.World
}

// everyCookie: of several cookies of the name the first that is a session counts.
func everyCookie(f *Facts) (*Step, *World) {
	values := presented(f.World.Cookie, f.Step.name())
	if len(values) < 2 || f.E.Came {
		return nil, nil
	}
	for _, v := range values {
		token, n := verify(v, f.Step.Opts.Secret)
		if n < 0 {
			continue
		}
		if r := f.World.record(token); r != nil && r.Expires > f.World.Now {
			w := clone(f.World)
			w.Cookie = f.Step.name() + "=" + v
			return f.Step, w
		}
	}
	return nil, nil
}

// saveIsUse: an explicit save extends the life of the session as any other does.
func saveIsUse(f *Facts) (*Step, *World) {
	s := clone(f.Step)
	s.Actions = slices.Clone(s.Actions)
	found := false
	for i, a := range s.Actions {
		if a.Op == "save" {
			s.Actions[i] = Action{Op: "first", Key: "save"}
			found = true
		}
	}
	if !found {
		return nil, nil
	}
	return s, f.World
}

// tooLate: a change that needs a cookie when the header has gone cuts the
// response; what was saved by then stays.
func tooLate(f *Facts) (*Step, *World) {
	wrote := slices.IndexFunc(f.Step.Actions, func(a Action) bool { return a.Op == "write" })
	if wrote < 0 || f.header == nil || insecure(f) {
		return nil, nil
	}
	for _, m := range f.E.Marks {
		if m.Kind == "throw" {
			break
		}
		if m.Kind == "header" {
			cut := f.firstIllegal(wrote)
			if cut < 0 {
				return nil, nil
			}
			s := clone(f.Step)
			s.Actions = s.Actions[:cut]
			s.Aborts = true
			return s, f.World
		}
	}
	return nil, nil
}

// firstIllegal returns where to cut the actions because one after the header
// cannot be done, or -1.
func (f *Facts) firstIllegal(wrote int) int {
	held := f.header.JSON != "" && (f.header.Came || f.atHeader.saved != nil)
	ended := false
	cut := wrote + 1
	for i, a := range f.Step.Actions[wrote+1:] {
		after := wrote + 1 + i + 1
		switch a.Op {
		case "set", "push", "save", "first", "reload", "maxAge", "expires", "originalMaxAge", "attr", "touch":
			if !held || ended {
				return cut
			}
		case "regenerate":
			return cut
		case "destroy":
			if f.E.SID == "" || a.Key == "past" && !held { // outside the path of the cookie, or by SetMaxAge
				return cut
			}
			ended = true
			cut = after
		case "null":
			ended = true
			if f.Step.Opts.Unset == "destroy" {
				cut = after
			}
		}
		if a.Op == "save" || a.Op == "first" {
			cut = after
		}
	}
	return -1
}

// savedFirst: what was changed before the first byte is saved before it, not at
// the end, when it may have been dropped or undone.
func savedFirst(f *Facts) (*Step, *World) {
	wrote := slices.IndexFunc(f.Step.Actions, func(a Action) bool { return a.Op == "write" })
	if wrote < 0 || f.failed() || f.header.JSON == "" || f.atHeader.saved != f.header {
		return nil, nil
	}
	s := clone(f.Step)
	s.Actions = slices.Insert(slices.Clone(s.Actions), wrote, act("first"))
	return s, f.World
}

// extendedFirst: and so is a life that is only extended.
func extendedFirst(f *Facts, r *Result) {
	at, want, ok := f.target(r)
	if ok && at >= 0 && f.end.JSON == "" && f.atEnd.saved == nil && f.atEnd.extended != 0 {
		r.Store[at].Expires = want.Expires
	}
}

// --- second kind: requests that fail ---

// panicSavesNothing: what a handler that panicked has not saved itself is not saved.
func panicSavesNothing(f *Facts, r *Result) {
	if !f.thrown() {
		return
	}
	r.Store = f.persisted()
	_, r.SetCookie = f.own(r.SetCookie)
}

// failureKeepsOld: the old session ends when its successor is saved, and so not
// in a request that fails.
func failureKeepsOld(f *Facts, r *Result) {
	if len(f.E.Errors) == 0 || f.thrown() || !f.E.Regenerated || f.E.Destroyed || f.Step.Opts.Unset == "destroy" {
		return
	}
	r.Store = slices.Clone(r.Store)
	for _, rec := range f.persisted() {
		if find(r.Store, rec.ID) < 0 {
			put(&r.Store, rec)
		}
	}
}

func (f *Facts) thrown() bool {
	return slices.Contains(f.E.Errors, "as the scenario wants it")
}

// failed tells whether the handler's response was discarded.
func (f *Facts) failed() bool { return len(f.E.Errors) > 0 || insecure(f) }

// persisted is the store after the explicit saves alone.
func (f *Facts) persisted() []Stored {
	store := slices.Clone(f.World.Store)
	var l life
	for i := range f.E.Marks {
		m := &f.E.Marks[i]
		if m.Kind != "save" {
			continue
		}
		if !m.Came && !m.Sendable {
			break // this save failed
		}
		if m.ID != l.id {
			if l.id != "" { // regenerated meanwhile
				store = slices.DeleteFunc(store, func(s Stored) bool { return s.ID == l.id })
			}
			l = life{id: m.ID}
			if at := find(store, m.ID); at >= 0 {
				l.data = store[at].Data
			}
		}
		l.data = ordered(m.JSON, l.data, m.Order...)
		period := int64(day)
		if m.Period != nil {
			period = *m.Period
		}
		if !m.Came && f.E.Came {
			store = slices.DeleteFunc(store, func(s Stored) bool { return s.ID == f.E.SID })
		}
		put(&store, Stored{m.ID, l.data, m.T + period})
	}
	return store
}

func put(store *[]Stored, rec Stored) {
	if i := find(*store, rec.ID); i >= 0 {
		(*store)[i] = rec
	} else {
		*store = append(*store, rec)
	}
}

// insecure tells whether a new session was to be kept that can get no cookie.
func insecure(f *Facts) bool {
	if f.header == nil {
		return false
	}
	for i := range f.E.Marks {
		m := &f.E.Marks[i]
		if m.Kind == "save" && !m.Came && m.JSON != "" && !m.Sendable {
			return true
		}
		if m.Kind == "header" {
			return m.JSON != "" && !m.Came && !m.Sendable && f.atHeader.saved != nil
		}
	}
	return false
}

// insecureFails: where a cookie with Secure cannot be sent, a new session is an error.
func insecureFails(f *Facts, r *Result) {
	if f.thrown() || !insecure(f) {
		return
	}
	r.Status, r.SetCookie = 500, nil
	r.Store = f.persisted()
}

// --- second kind: the store ---

func (f *Facts) unfailed() bool { return !f.failed() && f.E.SID != "" }

// noOrphan: no record that nobody has a cookie for.
func noOrphan(f *Facts, r *Result) {
	l := &f.atEnd
	if f.unfailed() && f.World.record(l.id) == nil && (l.saved == nil || f.header.JSON == "") {
		r.Store = slices.DeleteFunc(r.Store, func(s Stored) bool { return s.ID == l.id })
	}
}

// target is what ours has stored of the session that the request ended with.
func (f *Facts) target(r *Result) (at int, want Stored, ok bool) {
	l := &f.atEnd
	if f.thrown() || insecure(f) || l.id == "" {
		return 0, want, false
	}
	at = find(r.Store, l.id)
	if at < 0 && (l.saved == nil || f.end.JSON == "") {
		return 0, want, false
	}
	return at, Stored{l.id, l.data, l.expires}, l.data != ""
}

// keyOrder: what is put back as it was is no change, and a key keeps its place.
func keyOrder(f *Facts, r *Result) {
	at, want, ok := f.target(r)
	if !ok || at < 0 {
		return
	}
	have := &r.Store[at]
	if f.atEnd.saved == nil {
		if same(content(have.Data), content(want.Data)) && content(have.Data) != content(want.Data) {
			*have = want
		}
		return
	}
	if same(have.Data, ordered(have.Data, want.Data)) {
		have.Data = ordered(have.Data, want.Data)
	}
}

// same tells whether two objects have the same members in whatever order.
func same(a, b string) bool {
	ka, va := members(a)
	kb, vb := members(b)
	if len(ka) != len(kb) {
		return false
	}
	for _, k := range ka {
		if va[k] != vb[k] {
			return false
		}
	}
	return true
}

// attributeIsChange: a session whose cookie was changed is saved, and sent.
func attributeIsChange(f *Facts, r *Result) {
	if !f.unfailed() {
		return
	}
	if at, want, ok := f.target(r); ok && f.atEnd.attr {
		if at < 0 {
			r.Store = append(r.Store, want)
		} else if period(r.Store[at].Data) != period(want.Data) || !same(stripTimes(r.Store[at].Data), stripTimes(want.Data)) || r.Store[at].Data == f.before() || !f.ticks() {
			r.Store[at] = want
		}
	}
	if f.header.JSON != "" && f.atHeader.attr && f.header.Sendable {
		f.add(r, f.cookie())
	}
}

func (f *Facts) before() string {
	if r := f.World.record(f.atEnd.id); r != nil {
		return r.Data
	}
	return ""
}

// period returns the originalMaxAge of a text.
func period(text string) string {
	_, values := members(text)
	_, c := members(values["cookie"])
	return c["originalMaxAge"]
}

// stripTimes returns the text without the time at which its life ends.
func stripTimes(text string) string {
	keys, values := members(text)
	ck, cv := members(values["cookie"])
	if cv["expires"] != "null" {
		cv["expires"] = `""`
	}
	values["cookie"] = join(ck, cv)
	return join(keys, values)
}

func (f *Facts) ticks() bool {
	return slices.ContainsFunc(f.Step.Actions, func(a Action) bool { return a.Op == "tick" })
}

// oneInstant: the life of a session counts from its last save, or from the
// beginning of the response.
func oneInstant(f *Facts, r *Result) {
	wrote := slices.ContainsFunc(f.Step.Actions, func(a Action) bool { return a.Op == "write" })
	if !f.ticks() && !wrote || !f.unfailed() {
		return
	}
	if at, want, ok := f.target(r); ok && at >= 0 && stripTimes(r.Store[at].Data) == stripTimes(want.Data) {
		r.Store[at] = want
	}
	own, _ := f.own(r.SetCookie)
	if own != "" && f.header.JSON != "" && f.atHeader.expires != 0 {
		f.set(r, setExpires(own, f.atHeader.expires))
	}
}

// neverBack: a use never shortens the life of a session.
func neverBack(f *Facts, r *Result) {
	at, want, ok := f.target(r)
	if !ok || at < 0 || f.atEnd.saved != nil || r.Store[at].Expires >= want.Expires {
		return
	}
	r.Store[at].Expires = want.Expires
	if own, _ := f.own(r.SetCookie); own != "" {
		f.set(r, setExpires(own, want.Expires))
	}
}

// counted is the session whose calls of the store are compared: the one that
// the request ended with.
func (f *Facts) counted() string {
	if !f.unfailed() || f.end.JSON == "" {
		return ""
	}
	return f.atEnd.id
}

// callsOfStore: one save for one state of a session, and no touch after it.
func callsOfStore(f *Facts, r *Result) {
	if f.counted() != "" {
		r.Calls = fmt.Sprintf("%d saves, %d touches", f.atEnd.sets, f.atEnd.touches)
	}
}

// --- second kind: the cookie ---

// cookie is what ours sends at the header.
func (f *Facts) cookie() string {
	return setExpires(f.E.Cookie.Auto, f.atHeader.expires)
}

// add adds the session's cookie to what is sent, if it is not there.
func (f *Facts) add(r *Result, cookie string) {
	if own, _ := f.own(r.SetCookie); own == "" && cookie != "" {
		r.SetCookie = append(slices.Clone(r.SetCookie), cookie)
	}
}

// set replaces the session's cookie.
func (f *Facts) set(r *Result, cookie string) {
	r.SetCookie = slices.Clone(r.SetCookie)
	for i, line := range r.SetCookie {
		if strings.HasPrefix(line, f.Step.name()+"=") {
			r.SetCookie[i] = cookie
		}
	}
}

// fresh tells whether the header finds a session that did not come in.
func (f *Facts) fresh() bool { return f.header.JSON != "" && !f.header.Came }

// savedGetsCookie: a session that was saved gets its cookie, even if it is empty.
func savedGetsCookie(f *Facts, r *Result) {
	if f.unfailed() && f.fresh() && f.atHeader.explicit {
		f.add(r, f.cookie())
	}
}

// autoEachTime: "auto" is resolved for each request.
func autoEachTime(f *Facts, r *Result) {
	if !f.unfailed() || f.E.Cookie.Filled == f.E.Cookie.Auto {
		return
	}
	if own, _ := f.own(r.SetCookie); own != "" && !strings.HasPrefix(own, f.Step.name()+"=;") {
		f.set(r, f.cookie())
	}
	if f.header.JSON != "" && f.E.Cookie.Filled == "" && (f.Step.Opts.Rolling && f.header.Came || f.fresh() && f.atHeader.saved != nil) {
		f.add(r, f.cookie())
	}
}

// optionsFill: what a record does not say of its cookie, the options say.
func optionsFill(f *Facts, r *Result) {
	if f.unfailed() && f.E.Cookie.Plain != f.E.Cookie.Filled {
		if own, _ := f.own(r.SetCookie); own != "" {
			f.set(r, f.cookie())
		}
	}
}

// browserFollowsStore: when a life is extended in the store, the cookie gets the new end.
func browserFollowsStore(f *Facts, r *Result) {
	if f.unfailed() && f.header.JSON != "" && f.header.Came && f.header.Period != nil && f.atHeader.extended != 0 {
		f.add(r, f.cookie())
	}
}

// signedAnew: a cookie with an old signature is replaced.
func signedAnew(f *Facts, r *Result) {
	if f.unfailed() && f.header.JSON != "" && f.header.Came && f.oldSecret() {
		f.add(r, f.cookie())
	}
}

// destroyedCookieCleared: with the session goes its cookie.
func destroyedCookieCleared(f *Facts, r *Result) {
	if f.unfailed() && f.E.Came && f.header.JSON == "" &&
		(f.E.Destroyed || f.Step.Opts.Unset == "destroy" || f.E.Regenerated) {
		f.add(r, f.E.Clear.Auto)
	}
}

// staleCookieCleared: a cookie that is no session is cleared.
func staleCookieCleared(f *Facts, r *Result) {
	if f.unfailed() && !f.E.Came && f.shown() && (f.header.JSON == "" || f.atHeader.saved == nil) {
		f.add(r, f.E.Clear.Auto)
	}
}

// --- second kind: what a handler reads ---

// leftInStore: what is left of a life is what the store says.
func leftInStore(f *Facts, r *Result) {
	r.Trace = slices.Clone(r.Trace)
	n := 0
	for i, line := range r.Trace {
		if strings.HasPrefix(line, "left=") && n < len(f.lefts) {
			r.Trace[i] = f.lefts[n]
			n++
		}
	}
}
