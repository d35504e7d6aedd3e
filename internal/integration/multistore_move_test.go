package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/multistore"
)

// A liveSite is some processes of a site, each of which may get any request.
type liveSite struct {
	t         *testing.T
	place     movePlace
	mu        sync.Mutex
	processes []*liveProcess
	timeout   time.Duration // for the store; a minute is enough for writes that are held
	refused   atomic.Int64  // requests that were answered with 503
	tolerant  atomic.Bool   // a request may be
}

// A liveProcess is one of them. It has no multistore before and after the move.
type liveProcess struct {
	site     *liveSite
	store    *multistore.Store
	sessions *session.Manager
	handler  http.Handler
	ctx      context.Context // ends when it is killed
	kill     context.CancelFunc
	inside   sync.WaitGroup
	behind   atomic.Int64
}

var (
	carts = session.NewKey[int]("cart", session.Sum)
	notes = session.NewKey[string]("note")
)

// serve adds a process on a store.
func (s *liveSite) serve(store session.Store, both *multistore.Store) *liveProcess {
	s.t.Helper()
	sessions, err := session.New(store, &session.Options{
		Secrets:      []session.Secret{"0123456789abcdef0123456789abcdef0123456789ab"},
		Cookie:       session.Cookie{Secure: session.InsecureNever},
		StoreTimeout: s.timeout,
		// Each request extends the life of its session.
		TouchInterval:  -1,
		NoStoreWarning: true,
		Logger:         slog.New(slog.DiscardHandler), // what is wrong shows in the answers
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background())
	p := &liveProcess{site: s, store: both, sessions: sessions, ctx: ctx, kill: kill}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sign-in", func(w http.ResponseWriter, r *http.Request) {
		session.From(r).SetSubject(r.FormValue("user"))
	})
	mux.HandleFunc("POST /sign-out", func(w http.ResponseWriter, r *http.Request) { session.From(r).Destroy() })
	mux.HandleFunc("POST /sign-out-others", func(w http.ResponseWriter, r *http.Request) {
		if _, err := sessions.RevokeOthers(r.Context(), session.From(r)); err != nil {
			http.Error(w, "", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		n, _ := carts.Get(session.From(r))
		carts.Set(session.From(r), n+1)
	})
	mux.HandleFunc("POST /note", func(w http.ResponseWriter, r *http.Request) {
		notes.Set(session.From(r), r.FormValue("text"))
	})
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		me := me{User: session.From(r).Subject()}
		me.Cart, _ = carts.Get(session.From(r))
		me.Note, _ = notes.Get(session.From(r))
		json.NewEncoder(w).Encode(me)
	})
	p.handler = sessions.Handler(mux)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes = append(s.processes, p)
	return p
}

type me struct {
	User, Note string
	Cart       int
}

// start adds a process that was deployed with a phase.
func (s *liveSite) start(phase multistore.Phase) *liveProcess {
	s.t.Helper()
	var p *liveProcess
	started := make(chan struct{})
	store := s.place.open(s.t, multistore.Options{
		Phase: phase, Move: "test", FollowTimeout: 100 * time.Millisecond,
		OnBehind: func(err error) {
			<-started
			p.behind.Add(1)
			if !strings.Contains(err.Error(), "multistore: ") || strings.Contains(err.Error(), "user-") {
				s.t.Errorf("what OnBehind is told: %v", err)
			}
		},
	})
	p = s.serve(store, store)
	close(started)
	return p
}

// stop takes a process out of service; killed, it does not end what it is doing for
// its clients.
func (s *liveSite) stop(p *liveProcess, killed bool) {
	s.mu.Lock()
	for i := range s.processes {
		if s.processes[i] == p {
			s.processes = append(s.processes[:i:i], s.processes[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	if killed {
		p.kill()
		if p.store.Phase() == multistore.OldHeld || p.store.Phase() == multistore.NewHeld {
			return // what waits there to be written waits for ever
		}
	}
	p.inside.Wait()
}

// crash kills a process and starts another, which was deployed long ago.
func (s *liveSite) crash(p *liveProcess) *liveProcess {
	s.stop(p, true)
	return s.start(multistore.OldFirst)
}

func (s *liveSite) all() []*liveProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*liveProcess(nil), s.processes...)
}

// any returns a process, which the request must leave.
func (s *liveSite) any() *liveProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.processes[rand.IntN(len(s.processes))]
	p.inside.Add(1)
	return p
}

func (s *liveSite) setPhase(phase multistore.Phase) {
	s.t.Helper()
	for _, p := range s.all() {
		if err := p.store.SetPhase(s.t.Context(), phase); err != nil {
			s.t.Fatal(err)
		}
	}
}

// A visitor has a session, which several of its requests may use at once.
type visitor struct {
	site *liveSite
	name string

	mu            sync.Mutex
	cookie        string
	added, unsure int // what was put in the cart, and what perhaps was
	note          string
	unsureNotes   []string
}

var errRefused = errors.New("503")

// do sends a request to any process.
func (v *visitor) do(method, path string) (me me, err error) {
	p := v.site.any()
	r := httptest.NewRequest(method, path, nil).WithContext(p.ctx)
	v.mu.Lock()
	r.Header.Set("Cookie", v.cookie)
	v.mu.Unlock()
	w := httptest.NewRecorder()
	answered := make(chan struct{})
	go func() {
		defer p.inside.Done()
		defer close(answered)
		p.handler.ServeHTTP(w, r)
	}()
	select {
	case <-answered:
		if p.ctx.Err() != nil {
			return me, errRefused
		}
	case <-p.ctx.Done(): // the client knows nothing
		return me, errRefused
	}
	resp := w.Result()
	for _, c := range resp.Cookies() {
		v.mu.Lock()
		v.cookie = c.Name + "=" + c.Value
		v.mu.Unlock()
	}
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable && v.site.tolerant.Load():
		v.site.refused.Add(1)
		return me, errRefused
	case resp.StatusCode != http.StatusOK:
		v.site.t.Errorf("%s %s of %s: %d %s", method, path, v.name, resp.StatusCode, w.Body)
		return me, errRefused
	case method == "GET":
		if err := json.NewDecoder(w.Body).Decode(&me); err != nil {
			v.site.t.Errorf("%s %s: %v", method, path, err)
		}
	}
	return me, nil
}

func (v *visitor) signIn() bool {
	v.cookie, v.added, v.unsure, v.note, v.unsureNotes = "", 0, 0, "", nil
	_, err := v.do("POST", "/sign-in?user="+v.name)
	return err == nil
}

func (v *visitor) add() {
	_, err := v.do("POST", "/add")
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		v.added++
	} else {
		v.unsure++
	}
}

func (v *visitor) write() {
	text := fmt.Sprint(rand.Uint32())
	_, err := v.do("POST", "/note?text="+text)
	if err == nil {
		v.note, v.unsureNotes = text, nil
	} else {
		v.unsureNotes = append(v.unsureNotes, text)
	}
}

// check looks whether the session is as the visitor has left it.
func (v *visitor) check() {
	me, err := v.do("GET", "/me")
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	note := me.Note == v.note
	for _, text := range v.unsureNotes {
		note = note || me.Note == text
	}
	if me.User != v.name || me.Cart < v.added || me.Cart > v.added+v.unsure || !note {
		v.site.t.Errorf("%s has %+v, and should have %d to %d in the cart and the note %q", v.name, me, v.added, v.added+v.unsure, v.note)
	}
}

// use does what somebody does with two tabs.
func (v *visitor) use() {
	var tabs sync.WaitGroup
	for range 2 {
		tabs.Go(v.add)
	}
	tabs.Wait()
	v.write()
	v.check()
}

// An ended is a cookie of a session that has ended for sure.
type ended struct {
	mu      sync.Mutex
	cookies []string
}

func (e *ended) add(cookie string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cookies = append(e.cookies, cookie)
}

// check looks whether one of them has come back.
func (e *ended) check(site *liveSite, cookie string) {
	v := &visitor{site: site, name: "somebody who has signed out", cookie: cookie}
	if me, err := v.do("GET", "/me"); err == nil && me.User != "" {
		site.t.Errorf("a session that was ended is there again: %+v", me)
	}
}

// Traffic is visitors of whom some stay signed in, and others come and go.
type traffic struct {
	site    *liveSite
	stayers []*visitor
	idle    []*visitor // have signed in before the move, and come back after it
	gone    ended
	stop    atomic.Bool
	running sync.WaitGroup
	rounds  atomic.Int64
}

func newTraffic(site *liveSite) *traffic {
	tr := &traffic{site: site}
	site.t.Cleanup(func() { // if the test ends early
		tr.stop.Store(true)
		tr.running.Wait()
	})
	for i := range 200 {
		v := &visitor{site: site, name: fmt.Sprint("user-idle-", i)}
		if !v.signIn() {
			site.t.Fatal("a visitor cannot sign in")
		}
		v.write()
		tr.idle = append(tr.idle, v)
	}
	for i := range 4 {
		v := &visitor{site: site, name: fmt.Sprint("user-stays-", i)}
		if !v.signIn() {
			site.t.Fatal("a visitor cannot sign in")
		}
		tr.stayers = append(tr.stayers, v)
		tr.running.Go(func() {
			for !tr.stop.Load() {
				v.use()
				tr.rounds.Add(1)
			}
		})
	}
	for i := range 3 {
		name := fmt.Sprint("user-goes-", i)
		tr.running.Go(func() {
			for !tr.stop.Load() {
				tr.comeAndGo(name)
				tr.rounds.Add(1)
			}
		})
	}
	return tr
}

func (tr *traffic) comeAndGo(name string) {
	here, there := &visitor{site: tr.site, name: name}, &visitor{site: tr.site, name: name}
	if !here.signIn() {
		return
	}
	here.use()
	if rand.IntN(2) == 0 && there.signIn() {
		there.use()
		if _, err := here.do("POST", "/sign-out-others"); err == nil {
			tr.gone.check(tr.site, there.cookie)
			tr.gone.add(there.cookie)
		}
	}
	here.use()
	cookie := here.cookie
	if _, err := here.do("POST", "/sign-out"); err == nil {
		tr.gone.check(tr.site, cookie)
		tr.gone.add(cookie)
	}
	tr.gone.mu.Lock()
	some := tr.gone.cookies[rand.IntN(len(tr.gone.cookies)+1):]
	tr.gone.mu.Unlock()
	if len(some) > 0 {
		tr.gone.check(tr.site, some[0])
	}
}

// pass lets some traffic go by.
func (tr *traffic) pass(rounds int64) {
	tr.site.t.Helper()
	until := tr.rounds.Load() + rounds
	for began := time.Now(); tr.rounds.Load() < until; time.Sleep(time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			tr.site.t.Fatal("there is no traffic")
		}
	}
}

// wakeIdle looks at those who have not been here since before the move.
func (tr *traffic) wakeIdle() {
	for _, v := range tr.idle {
		v.check()
	}
}

// end ends it, and looks at everybody once more.
func (tr *traffic) end() {
	tr.site.t.Helper()
	tr.stop.Store(true)
	tr.running.Wait()
	tr.wakeIdle()
	for _, v := range tr.stayers {
		v.check()
		for _, p := range tr.site.all() {
			n := 0
			for _, err := range p.sessions.List(tr.site.t.Context(), v.name) {
				if err != nil {
					tr.site.t.Error(err)
				}
				n++
			}
			if n != 1 {
				tr.site.t.Errorf("%s has %d sessions, want 1", v.name, n)
			}
		}
	}
	for _, cookie := range tr.gone.cookies {
		tr.gone.check(tr.site, cookie)
	}
	added := 0
	for _, v := range tr.stayers {
		added += v.added
	}
	tr.site.t.Logf("%d rounds; those who stayed have put %d in their carts, and %d sessions were ended", tr.rounds.Load(), added, len(tr.gone.cookies))
}

// copy makes both stores alike, which writes must be held for.
func (s *liveSite) copyHeld(p *liveProcess) {
	s.t.Helper()
	report, err := p.store.Copy(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("Copy while writes were held: %+v", report)
	if report, err := p.store.Check(s.t.Context()); err != nil || report.Differences() != 0 || report.Records == 0 {
		s.t.Errorf("Check after Copy: %+v, %v", report, err)
	}
}

// A site moves to another server and back, under traffic that notices nothing.
func TestMoveThereAndBackLive(t *testing.T) {
	for _, redisFirst := range []bool{false, true} {
		target := newMoveTarget(t, redisFirst)
		t.Run(target.name, func(t *testing.T) {
			site := &liveSite{t: t, place: target.newPlace(), timeout: time.Minute}
			old, new := site.place.stores(t)
			follower := target.redis
			if redisFirst {
				follower = target.postgres
			}

			// Before the move, and while the first step is rolled out.
			before := site.serve(old, nil)
			tr := newTraffic(site)
			tr.pass(20)
			a := site.start(multistore.OldFirst)
			tr.pass(20)
			b := site.start(multistore.OldFirst)
			site.stop(before, false)
			tr.pass(20)

			// The follower is down for a while. Nobody notices, but that is said.
			for _, fault := range []struct{ begin, end func() }{{follower.Kill, follower.Restart}, {follower.Pause, follower.Resume}} {
				was := a.store.Stats().Behind + b.store.Stats().Behind
				fault.begin()
				tr.pass(20)
				fault.end()
				if now := a.store.Stats().Behind + b.store.Stats().Behind; now == was {
					t.Error("the follower was down, and is not said to be behind")
				}
			}
			eventually(t, 10*time.Second, func(context.Context) error { // some may be counted and not yet told
				if told := uint64(a.behind.Load() + b.behind.Load()); told != a.store.Stats().Behind+b.store.Stats().Behind {
					return fmt.Errorf("OnBehind was told %d times, and %d and %d were counted", told, a.store.Stats().Behind, b.store.Stats().Behind)
				}
				return nil
			})
			report, err := a.store.Copy(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("Copy after the follower was down: %+v", report)
			if report.Differences() == 0 {
				t.Error("the follower was down, and has missed nothing")
			}

			// A process dies while it copies.
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
			a.store.Copy(ctx)
			cancel()
			a = site.crash(a)
			tr.pass(10)

			// Over to the new store. At each step a process dies, and one that was
			// deployed at the beginning takes its place.
			site.setPhase(multistore.OldHeld)
			b = site.crash(b)
			if err := b.store.SetPhase(t.Context(), multistore.NewHeld); err == nil || !strings.Contains(err.Error(), "call Copy") {
				t.Errorf("the step without a Copy: %v", err)
			}
			if b.store.Phase() != multistore.OldHeld {
				t.Errorf("a process that starts is in the phase %v", b.store.Phase())
			}
			site.copyHeld(a)
			a = site.crash(a)
			site.setPhase(multistore.NewHeld)
			b = site.crash(b)
			site.setPhase(multistore.NewFirst)
			a = site.crash(a)
			tr.pass(20)
			for _, p := range site.all() {
				if p.store.Phase() != multistore.NewFirst {
					t.Errorf("a process is in the phase %v", p.store.Phase())
				}
			}

			// The last step is rolled out, and thought better of.
			site.setPhase(multistore.NewOnly)
			after := site.serve(new, nil)
			tr.pass(20)
			tr.wakeIdle()
			site.stop(after, false)
			site.setPhase(multistore.NewFirst)
			tr.pass(20)

			// And back.
			site.setPhase(multistore.NewHeld)
			a = site.crash(a)
			site.copyHeld(b)
			site.setPhase(multistore.OldHeld)
			b = site.crash(b)
			site.setPhase(multistore.OldFirst)
			tr.pass(20)
			site.setPhase(multistore.OldOnly)
			site.serve(old, nil)
			site.stop(a, false)
			site.stop(b, false)
			tr.pass(20)
			tr.end()
		})
	}
}

// The store that has the sessions is down for a while, in the middle of a move, on
// either side of the step. Requests are refused and nothing is lost.
func TestMoveAuthorityDown(t *testing.T) {
	t.Parallel()
	for _, redisFirst := range []bool{false, true} {
		target := newMoveTarget(t, redisFirst)
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
			site := &liveSite{t: t, place: target.newPlace(), timeout: 10 * time.Second}
			a := site.start(multistore.OldFirst)
			site.start(multistore.OldFirst)
			tr := newTraffic(site)
			outage := func(authority *servers.Server) {
				tr.pass(10)
				site.tolerant.Store(true)
				authority.Kill()
				was := site.refused.Load()
				for began := time.Now(); site.refused.Load() < was+10 && time.Since(began) < time.Minute; {
					time.Sleep(time.Millisecond)
				}
				if now := site.refused.Load(); now == was {
					t.Error("the store was down, and no request was refused")
				}
				authority.Restart()
				tr.pass(20)
				// Connections that broke may fail one request each; then all is well.
				eventually(t, time.Minute, func(context.Context) error {
					was := site.refused.Load()
					tr.pass(20)
					if site.refused.Load() != was {
						return errors.New("requests are still refused")
					}
					return nil
				})
				site.tolerant.Store(false)
				tr.pass(10)
			}
			oldServer, newServer := target.postgres, target.redis
			if redisFirst {
				oldServer, newServer = newServer, oldServer
			}
			outage(oldServer)
			site.setPhase(multistore.OldHeld)
			site.copyHeld(a)
			site.setPhase(multistore.NewHeld)
			site.setPhase(multistore.NewFirst)
			outage(newServer)
			t.Logf("%d requests were refused", site.refused.Load())
			tr.end()
		})
	}
}
