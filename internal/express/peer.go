package express

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// A Question is a request with the world before it, for the Node process.
type Question struct {
	ID        int      `json:"id"`
	Now       int64    `json:"now"`
	Drift     bool     `json:"drift"`
	Opts      Opts     `json:"opts"`
	Method    string   `json:"method"`
	Path      string   `json:"path"`
	TLS       bool     `json:"tls"`
	Forwarded string   `json:"forwarded"`
	AppSecure bool     `json:"appSecure"`
	Long      bool     `json:"long"`
	Func      bool     `json:"func"`
	Secure    bool     `json:"secure"`
	Cookie    string   `json:"cookie"`
	Actions   []Action `json:"actions"`
	End       string   `json:"end"`
	IDs       []string `json:"ids"`
	Store     []Stored `json:"store"`
}

// Ask makes a question of a step.
func Ask(s *Step, w *World) *Question {
	return &Question{
		Now: w.Now, Drift: s.Drift, Opts: s.Opts, Method: s.Req.Method, Path: s.Req.Path, TLS: s.Req.TLS,
		Forwarded: s.Req.Forwarded, AppSecure: s.Req.AppSecure, Long: s.Req.Long, Func: s.Req.Func, Secure: s.Secure(),
		Cookie: w.Cookie, Actions: s.Actions, End: s.End, IDs: w.IDs, Store: w.Store,
	}
}

// An Answer is what Express made of it, and what it knows besides.
type Answer struct {
	ID        int      `json:"id"`
	Crash     string   `json:"crash"`
	Status    int      `json:"status"`
	SetCookie []string `json:"setCookie"`
	Store     []Stored `json:"store"`
	Ops       []string `json:"ops"`
	Trace     []string `json:"trace"`
	Errors    []string `json:"errors"`
	Marks     []Mark   `json:"marks"`

	Came        bool // a session came in with the request
	Alive       bool // req.session was there when the header left
	Dropped     bool // it had been set to null by then
	Destroyed   bool // destroy was called
	Regenerated bool

	SID string // req.sessionID when the handler began

	Cookie, Clear Texts // what Express would write at the header
}

// Texts are forms of one cookie; see cookieTexts in node/peer.js.
type Texts struct{ Plain, Filled, Auto string }

// A Mark is the session at an instant: an explicit save, the header, the end.
type Mark struct {
	Sendable    bool // a cookie may travel on this connection
	Kind        string
	T           int64
	ID          string
	Data        string   // without the cookie; "" if there is no session
	Order       []string // keys in the order in which the handler put them in
	JSON        string   // as it would be saved at this instant, after a touch
	Period      *int64   // its life in ms, nil for that of the browser session
	Came        bool     // it is the session that came in
	Attr        bool     // attributes of the cookie were assigned since the mark before
	Touch       bool
	Regenerated bool
	Store       []Stored
}

// A Peer is the Node process.
type Peer struct {
	mu   sync.Mutex
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	next int
}

// Installed reports whether what the tests need is there.
func Installed(dir string) error {
	const help = "; run ./scripts/test, or npm ci in internal/express"
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("node is missing" + help)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "express-session", "package.json")); err != nil {
		return errors.New("the Node packages are not installed" + help)
	}
	return nil
}

// StartPeer starts the Node process.
func StartPeer() (*Peer, error) {
	if err := Installed("."); err != nil {
		return nil, err
	}
	p := &Peer{cmd: exec.Command("node", "node/peer.js")}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReaderSize(out, 1<<20)
	return p, p.cmd.Start()
}

// Close ends the process.
func (p *Peer) Close() error {
	_ = p.in.Close()
	return p.cmd.Wait()
}

// Answers asks all questions at once and returns the answers in their order.
func (p *Peer) Answers(questions []*Question) ([]*Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := make(chan error, 1)
	first := p.next
	p.next += len(questions)
	go func() {
		w := bufio.NewWriterSize(p.in, 1<<16)
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for i, q := range questions {
			q.ID = first + i
			if err := enc.Encode(q); err != nil {
				written <- err
				return
			}
		}
		written <- w.Flush()
	}()
	answers := make([]*Answer, len(questions))
	for i := range answers {
		line, err := p.out.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("the Node process has ended: %w", err)
		}
		a := new(Answer)
		if err := json.Unmarshal(line, a); err != nil {
			return nil, fmt.Errorf("%w in %s", err, line)
		}
		if a.Crash != "" {
			return nil, fmt.Errorf("the Node process failed: %s", a.Crash)
		}
		if a.ID != first+i {
			return nil, fmt.Errorf("answer %d for question %d", a.ID, first+i)
		}
		answers[i] = a
	}
	return answers, <-written
}
