package express

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck/session"
)

// Long is the maxAge that Cookie as a function gives to some requests.
const Long = time.Hour

// A Result is what one side made of a request.
type Result struct {
	Status    int
	Aborted   bool // the connection was cut, so that nobody takes the response for whole
	SetCookie []string
	Store     []Stored
	Ops       []string
	Trace     []string
	Calls     string // how often the session of the request was saved and touched
}

// count fills in Calls.
func (r *Result) count(id string) {
	if id == "" {
		return
	}
	sets, touches := 0, 0
	for _, op := range r.Ops {
		switch op {
		case "set " + id:
			sets++
		case "touch " + id:
			touches++
		}
	}
	r.Calls = fmt.Sprintf("%d saves, %d touches", sets, touches)
}

// Options translates the options of express-session.
func (o *Opts) Options() (*session.Options, error) {
	opts := &session.Options{
		AllowWeakSecrets:  true,
		ExpressCompatible: true,
		Eager:             true,
		TouchInterval:     -1,
		Resave:            o.Resave,
		SaveUninitialized: o.SaveUninitialized,
		Rolling:           o.Rolling,
		Logger:            slog.New(slog.DiscardHandler),
		NoStoreWarning:    true,
	}
	for _, s := range o.Secret {
		opts.Secrets = append(opts.Secrets, session.Secret(s))
	}
	if o.Unset == "destroy" {
		opts.Unset = session.UnsetDestroy
	}
	switch {
	case o.Proxy == nil:
		opts.IsHTTPS = func(r *http.Request) bool { return r.Header.Get("X-App-Secure") != "" }
	case *o.Proxy:
		opts.TrustProxy = true
	}
	c := o.Cookie
	opts.Cookie = session.Cookie{
		Name: o.Name, Path: c.Path, Domain: c.Domain,
		MaxAge:      time.Duration(c.MaxAge) * time.Millisecond,
		AllowScript: !c.HTTPOnly, Partitioned: c.Partitioned, Priority: c.Priority,
	}
	if c.Expires != 0 {
		opts.Cookie.Expires = time.UnixMilli(c.Expires)
	}
	var err error
	if opts.Cookie.Secure, err = secureOf(c.Secure); err != nil {
		return nil, err
	}
	opts.Cookie.SameSite, err = sameSiteOf(c.SameSite)
	return opts, err
}

func secureOf(v any) (session.Secure, error) {
	switch v {
	case true:
		return session.SecureRequired, nil
	case false:
		return session.InsecureNever, nil
	case "auto":
		return session.SecureAuto, nil
	}
	return 0, fmt.Errorf("secure: %v has no Go form", v)
}

func sameSiteOf(v any) (http.SameSite, error) {
	switch v {
	case "", false:
		return http.SameSiteDefaultMode, nil
	case "lax":
		return http.SameSiteLaxMode, nil
	case "strict", true:
		return http.SameSiteStrictMode, nil
	case "none":
		return http.SameSiteNoneMode, nil
	case "auto":
		return session.SameSiteAuto, nil
	}
	return 0, fmt.Errorf("sameSite: %v has no Go form", v)
}

// A textStore keeps what the store of the Node process keeps, and nothing else:
// neither when a session began nor when it was last seen.
type textStore struct {
	records []Stored
	version []uint64
	next    uint64
	ops     []string
	now     func() time.Time
}

func newTextStore(records []Stored, now func() time.Time) *textStore {
	s := &textStore{records: slices.Clone(records), now: now}
	for range records {
		s.next++
		s.version = append(s.version, s.next)
	}
	return s
}

func (s *textStore) find(id string) int {
	return slices.IndexFunc(s.records, func(r Stored) bool { return r.ID == id })
}

func (s *textStore) note(op, id string) { s.ops = append(s.ops, op+" "+id) }

func (s *textStore) Load(_ context.Context, id string) (session.Record, error) {
	s.note("get", id)
	i := s.find(id)
	if i < 0 {
		return session.Record{}, session.ErrNotFound
	}
	r := s.records[i]
	return session.Record{ID: id, Data: []byte(r.Data), Version: s.version[i], Expires: time.UnixMilli(r.Expires).UTC()}, nil
}

func (s *textStore) Save(_ context.Context, rec *session.Record) (uint64, error) {
	s.note("set", rec.ID)
	i := s.find(rec.ID)
	if i >= 0 && rec.Version == 0 && s.records[i].Expires <= s.now().UnixMilli() {
		s.remove(i)
		i = -1
	}
	if (i < 0) != (rec.Version == 0) || i >= 0 && s.version[i] != rec.Version {
		return 0, session.ErrConflict
	}
	s.next++
	r := Stored{rec.ID, string(rec.Data), rec.Expires.UnixMilli()}
	if i < 0 {
		s.records, s.version = append(s.records, r), append(s.version, s.next)
	} else {
		s.records[i], s.version[i] = r, s.next
	}
	return s.next, nil
}

func (s *textStore) Touch(_ context.Context, id string, _, expires time.Time) error {
	s.note("touch", id)
	i := s.find(id)
	if i < 0 {
		return session.ErrNotFound
	}
	s.records[i].Expires = max(s.records[i].Expires, expires.UnixMilli())
	return nil
}

func (s *textStore) Delete(_ context.Context, id string) error {
	s.note("destroy", id)
	if i := s.find(id); i >= 0 {
		s.remove(i)
	}
	return nil
}

func (s *textStore) remove(i int) {
	s.records, s.version = slices.Delete(s.records, i, i+1), slices.Delete(s.version, i, i+1)
}

// Ours runs a step with our middleware.
func Ours(step *Step, w *World) (*Result, error) {
	now := time.UnixMilli(w.Now)
	clock := func() time.Time { return now }
	store := newTextStore(w.Store, clock)
	opts, err := step.Opts.Options()
	if err != nil {
		return nil, err
	}
	opts.Now = clock
	gen := 0
	opts.GenerateID = func(*http.Request) string { return w.IDs[gen] }
	if step.Req.Func {
		opts.CookieFunc = func(r *http.Request, c session.Cookie) session.Cookie {
			if r.Header.Get("X-Long") != "" {
				c.MaxAge, c.Expires = Long, time.Time{}
			}
			return c
		}
	}
	m, err := session.New(store, opts)
	if err != nil {
		return nil, err
	}
	res := &Result{}
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.From(r)
		if s.IsNew() {
			gen = 0
		} else {
			gen = -1
		}
		p := &program{w: w, s: s, res: res, gen: &gen, now: clock, advance: func(ms int64) { now = now.Add(time.Duration(ms) * time.Millisecond) }}
		for _, a := range step.Actions {
			if p.do(a); s.Err() != nil {
				break // as the exception that Express throws here
			}
		}
		p.end(step.End)
	}))
	r := httptest.NewRequest(step.Req.Method, "http://app.example.com"+step.Req.Path, nil)
	r.RequestURI = step.Req.Path
	if w.Cookie != "" {
		r.Header["Cookie"] = strings.Split(w.Cookie, "\n") // several lines of the header
	}
	if step.Req.Forwarded != "" {
		r.Header.Set("X-Forwarded-Proto", step.Req.Forwarded)
	}
	if step.Req.Long {
		r.Header.Set("X-Long", "1")
	}
	if step.Req.AppSecure {
		r.Header.Set("X-App-Secure", "1")
	}
	if step.Req.TLS {
		r.TLS = &tls.ConnectionState{}
	}
	rec := httptest.NewRecorder()
	func() {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				res.Aborted = true
			case errThrown: // as an outer middleware that recovers would answer
				rec.Header().Del("Set-Cookie")
				rec.WriteHeader(http.StatusInternalServerError)
			default:
				panic(v)
			}
		}()
		h.ServeHTTP(rec, r)
	}()
	res.Status = rec.Code
	res.SetCookie = rec.Result().Header["Set-Cookie"]
	res.Store, res.Ops = store.records, store.ops
	return res, nil
}

var errThrown = errors.New("as the scenario wants it")

// A program is a handler that does what a scenario says.
type program struct {
	w       http.ResponseWriter
	s       *session.Session
	res     *Result
	gen     *int
	wrote   bool
	ended   bool
	now     func() time.Time
	advance func(ms int64)
}

func (p *program) trace(s string) { p.res.Trace = append(p.res.Trace, s) }

func (p *program) do(a Action) {
	s := p.s
	var ms *int64
	if len(a.Value) > 0 {
		var n int64
		if string(a.Value) != "null" && json.Unmarshal(a.Value, &n) == nil {
			ms = &n
		}
	}
	switch a.Op {
	case "get":
		raw, ok := session.Get[json.RawMessage](s, a.Key)
		if !ok {
			raw = json.RawMessage("undefined")
		}
		p.trace(a.Key + "=" + string(raw))
	case "set":
		setTyped(s, a.Key, a.Value)
	case "same":
		if raw, ok := session.Get[json.RawMessage](s, a.Key); ok {
			setTyped(s, a.Key, slices.Clone(raw))
		}
	case "push":
		key := session.NewKey[[]json.RawMessage](a.Key)
		if _, ok := key.Get(s); ok || s.Err() != nil {
			list := key.Ref(s)
			*list = append(*list, a.Value)
		} else {
			key.Set(s, []json.RawMessage{a.Value})
		}
	case "del":
		s.Delete(a.Key)
	case "save":
		_ = s.Save()
	case "touch":
		s.Touch()
	case "reload":
		if s.Reload() == nil {
			p.trace("reload ok")
		} else {
			p.trace("reload failed")
		}
	case "regenerate":
		s.Regenerate()
		*p.gen++
	case "destroy":
		s.Destroy()
		p.ended = true
	case "null":
		s.Unset()
		p.ended = true
	case "maxAge", "originalMaxAge":
		switch {
		case ms == nil:
			s.SetMaxAge(0)
		case *ms <= 0:
			s.SetMaxAge(-1)
			p.ended = true
		default:
			s.SetMaxAge(time.Duration(*ms) * time.Millisecond)
		}
	case "expires":
		if ms == nil {
			s.SetMaxAge(0)
		} else {
			s.SetExpires(time.UnixMilli(*ms))
			p.ended = p.ended || *ms <= p.now().UnixMilli()
		}
	case "attr":
		p.attr(a)
	case "id":
		if p.ended {
			p.trace("id=") // ours still tells what it was
		} else {
			p.trace("id=" + s.ID())
		}
	case "left":
		left, ok := s.MaxAge()
		p.trace("left=" + milliseconds(left, ok))
	case "period":
		d, ok := s.OriginalMaxAge()
		p.trace("period=" + milliseconds(d, ok))
	case "tick":
		p.advance(*ms)
	case "write":
		p.write("part;")
	case "other":
		p.w.Header().Add("Set-Cookie", "other=1")
	case "throw":
		panic(errThrown)
	default:
		panic("unknown action " + a.Op)
	}
}

func milliseconds(d time.Duration, ok bool) string {
	if !ok {
		return "null"
	}
	return strconv.FormatInt(d.Milliseconds(), 10)
}

func (p *program) write(s string) {
	p.wrote = true
	_, _ = p.w.Write([]byte(s))
}

// setTyped sets a value in the Go type that a program would use for it.
func setTyped(s *session.Session, key string, raw json.RawMessage) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		panic("bad value " + string(raw))
	}
	switch v := v.(type) {
	case string:
		session.NewKey[string](key).Set(s, v)
	case bool:
		session.NewKey[bool](key).Set(s, v)
	case float64:
		if n, err := strconv.Atoi(string(raw)); err == nil {
			session.NewKey[int](key).Set(s, n)
		} else {
			s.Set(key, v)
		}
	default:
		s.Set(key, raw)
	}
}

func (p *program) attr(a Action) {
	var v any
	_ = json.Unmarshal(a.Value, &v)
	c := p.s.Cookie()
	switch a.Key {
	case "path":
		c.Path = v.(string)
	case "domain":
		c.Domain = v.(string)
	case "httpOnly":
		c.AllowScript = !v.(bool)
	case "secure":
		c.Secure, _ = secureOf(v)
	case "sameSite":
		c.SameSite, _ = sameSiteOf(v)
	case "partitioned":
		c.Partitioned = v.(bool)
	case "priority":
		c.Priority = v.(string)
	}
	p.s.SetCookie(c)
}

func (p *program) end(kind string) {
	header := func(status int) {
		if !p.wrote {
			p.wrote = true
			p.w.WriteHeader(status)
		}
	}
	h := p.w.Header()
	switch kind {
	case "end":
		p.write("done")
	case "empty":
	case "length":
		if !p.wrote {
			h.Set("Content-Length", "4")
		}
		p.write("done")
	case "redirect":
		if !p.wrote {
			h.Set("Location", "/next")
		}
		header(http.StatusFound)
		p.write("to /next")
	case "nocontent":
		header(http.StatusNoContent)
	case "notmodified":
		header(http.StatusNotModified)
	case "head":
		if !p.wrote {
			h["Set-Cookie"] = []string{"late=1"}
		}
		header(http.StatusNotFound)
		p.write("gone")
	default:
		panic("unknown end " + kind)
	}
}
