package express

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A Scenario is one client that makes several requests.
type Scenario struct {
	Seed  string `json:"seed"`
	Steps []Step `json:"steps"`

	// Follow says whose state both sides go on from after a difference that a
	// rule explains.
	Follow string `json:"follow"` // "ours" or "express"
}

// A Step is one request, and how the server is configured at that time.
type Step struct {
	Wait    int64    `json:"wait"` // ms since the request before
	Opts    Opts     `json:"opts"`
	Req     Req      `json:"req"`
	Actions []Action `json:"actions"`
	End     string   `json:"end"`
	Drift   bool     `json:"drift,omitempty"` // the clock moves with each look at it

	Aborts bool `json:"-"` // rule too-late: ours is to cut the response
}

// Opts are the options of express-session.
type Opts struct {
	Resave            bool       `json:"resave"`
	SaveUninitialized bool       `json:"saveUninitialized"`
	Rolling           bool       `json:"rolling"`
	Unset             string     `json:"unset,omitempty"`
	Proxy             *bool      `json:"proxy,omitempty"`
	Name              string     `json:"name,omitempty"`
	Secret            []string   `json:"secret"`
	Cookie            CookieOpts `json:"cookie"`
}

// CookieOpts are the options of its cookie.
type CookieOpts struct {
	Path        string `json:"path,omitempty"`
	Domain      string `json:"domain,omitempty"`
	MaxAge      int64  `json:"maxAge,omitempty"`
	Expires     int64  `json:"expires,omitempty"` // ms since 1970
	HTTPOnly    bool   `json:"httpOnly"`
	Secure      any    `json:"secure"` // bool or "auto"
	SameSite    string `json:"sameSite,omitempty"`
	Partitioned bool   `json:"partitioned,omitempty"`
	Priority    string `json:"priority,omitempty"`
}

// Req is what the client and the proxy before the server send.
type Req struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	TLS       bool   `json:"tls,omitempty"`
	Forwarded string `json:"forwarded,omitempty"`
	AppSecure bool   `json:"appSecure,omitempty"` // what Express calls req.secure
	Long      bool   `json:"long,omitempty"`      // a mark that Cookie as a function looks at
	Func      bool   `json:"func,omitempty"`      // cookie is a function

	// Cookie says what comes instead of the cookies that the client holds; see
	// presents. Empty: what it holds.
	Cookie string `json:"cookie,omitempty"`
}

// An Action is one thing that the handler does.
type Action struct {
	Op    string          `json:"op"`
	Key   string          `json:"key,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

func (a Action) String() string {
	s := a.Op
	if a.Key != "" {
		s += " " + a.Key
	}
	if a.Value != nil {
		s += "=" + string(a.Value)
	}
	return s
}

// A Stored is a record in the store.
type Stored struct {
	ID      string `json:"id"`
	Data    string `json:"data"`
	Expires int64  `json:"expires"`
}

// A World is all that a request finds.
type World struct {
	Now    int64
	Cookie string // the header
	Store  []Stored
	IDs    []string // those that the generator is to make
}

func (s Step) String() string {
	opts, _ := json.Marshal(s.Opts)
	req, _ := json.Marshal(s.Req)
	var acts []string
	for _, a := range s.Actions {
		acts = append(acts, a.String())
	}
	return fmt.Sprintf("+%dms %s\n    %s\n    [%s] %s drift=%v", s.Wait, opts, req, strings.Join(acts, "; "), s.End, s.Drift)
}

// Secure tells whether the connection counts as HTTPS, by the rules of both.
func (s *Step) Secure() bool {
	switch {
	case s.Req.TLS:
		return true
	case s.Opts.Proxy == nil:
		return s.Req.AppSecure
	case !*s.Opts.Proxy:
		return false
	}
	proto, _, _ := strings.Cut(s.Req.Forwarded, ",")
	return strings.EqualFold(strings.TrimSpace(proto), "https")
}

func (s *Step) name() string {
	if s.Opts.Name == "" {
		return "connect.sid"
	}
	return s.Opts.Name
}
