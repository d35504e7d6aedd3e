package byo

import (
	"encoding/gob"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/scsstore"
)

// profile is a value that both programs know.
type profile struct {
	Name  string
	Since time.Time
}

func init() {
	gob.Register(profile{})
}

// oldProgram is a site on scs.
func oldProgram(m *scs.SessionManager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if err := m.RenewToken(r.Context()); err != nil {
			panic(err)
		}
		m.Put(r.Context(), "userID", 23)
		m.Put(r.Context(), "profile", profile{"ada", time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)})
		m.RememberMe(r.Context(), r.FormValue("remember") != "")
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n := m.GetInt(r.Context(), "count") + 1
		m.Put(r.Context(), "count", n)
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "user ", m.GetInt(r.Context(), "userID"))
	})
	return m.LoadAndSave(mux)
}

var (
	userID = session.NewKey[int]("userID")
	count  = session.NewKey[int]("count", session.Sum)
	about  = session.NewKey[profile]("profile")
)

// newProgram is the same site on ours.
func newProgram(m *session.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n, _ := count.Get(session.From(r))
		count.Set(session.From(r), n+1)
		fmt.Fprint(w, n+1)
	})
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		id, _ := userID.Get(session.From(r))
		p, _ := about.Get(session.From(r))
		fmt.Fprint(w, "user ", id, " ", session.From(r).Subject(), " ", p.Name, " ", p.Since.Year())
	})
	mux.HandleFunc("/logout", func(_ http.ResponseWriter, r *http.Request) { session.From(r).Destroy() })
	return m.Handler(mux)
}

// A place on the network whose program is replaced.
type place struct {
	t    *testing.T
	addr string
	srv  *httptest.Server
}

// deploy ends the program that runs and starts another at the same address.
func (p *place) deploy(h http.Handler) {
	p.t.Helper()
	if p.srv != nil {
		p.srv.Close()
	}
	addr := p.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.addr = listener.Addr().String()
	p.srv = &httptest.Server{Listener: listener, Config: &http.Server{Handler: h}}
	p.srv.StartTLS()
	p.t.Cleanup(p.srv.Close)
}

// A person has one jar, whatever program runs.
type person struct {
	place *place
	jar   *cookiejar.Jar
}

func (p *place) person() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return &person{p, jar}
}

func (p *person) get(path string) string {
	p.place.t.Helper()
	client := &http.Client{Transport: p.place.srv.Client().Transport, Jar: p.jar}
	return fetch(p.place.t, client, "https://"+p.place.addr+path)
}

func fetch(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Error(url, resp.Status, err)
	}
	return string(body)
}

// cookies are the names and values in the jar.
func (p *person) cookies() map[string]string {
	u, _ := url.Parse("https://" + p.place.addr + "/")
	all := make(map[string]string)
	for _, c := range p.jar.Cookies(u) {
		all[c.Name] = c.Value
	}
	return all
}

// The day of the deploy: whoever was signed in by the real scs, in any of its
// stores, is so by ours, and the old row is gone.
func TestDeployDay(t *testing.T) {
	for _, o := range origins {
		if !strings.HasPrefix(o.name, "scs ") {
			continue
		}
		for _, hashed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, tokens hashed: %v", o.name, hashed), func(t *testing.T) {
				from := o.start(t)
				from.empty()
				old := scs.New()
				old.Store = from.open().(scs.Store)
				old.HashTokenInStore = hashed
				old.Cookie.Secure = true
				site := &place{t: t}
				site.deploy(oldProgram(old))
				ada, bob, eve := site.person(), site.person(), site.person()
				ada.get("/login")
				equal(t, "ada's first count", ada.get("/count"), "1")
				equal(t, "bob's first count", bob.get("/count"), "1")
				stolen := ada.cookies()["session"]
				importer := scsstore.NewImporter(from.open().(scsstore.Source), &scsstore.ImportOptions{
					SubjectKey: "userID", HashTokenInStore: hashed,
				})
				if n, err := importer.Check(t.Context()); n != 2 || err != nil {
					t.Errorf("Check: %d, %v", n, err)
				}

				clock := &clock{now: time.Now()}
				sessions, err := session.New(memstore.New(nil), &session.Options{
					Secrets: []session.Secret{testSecret}, Import: importer,
					Logger: slog.New(slog.DiscardHandler), NoStoreWarning: true, Now: clock.Now,
				})
				if err != nil {
					t.Fatal(err)
				}
				site.deploy(newProgram(sessions))
				equal(t, "ada after the deploy", ada.get("/who"), "user 23 23 ada 2020")
				equal(t, "ada's second count", ada.get("/count"), "2")
				equal(t, "bob's second count", bob.get("/count"), "2")
				equal(t, "bob after the deploy", bob.get("/who"), "user 0   1")
				equal(t, "eve after the deploy", eve.get("/who"), "user 0   1")
				for name, p := range map[string]*person{"ada": ada, "bob": bob} {
					if c := p.cookies(); c["session"] != "" || c["__Host-session"] == "" {
						t.Errorf("%s has the cookies %v", name, c)
					}
				}
				if n, err := importer.Check(t.Context()); n != 0 || err != nil {
					t.Errorf("%d rows are left in the old store, %v", n, err)
				}

				// The old token is worth nothing after a minute, and after the sign-out.
				thief := site.person()
				u, _ := url.Parse("https://" + site.addr + "/")
				steal := func() {
					thief.jar.SetCookies(u, []*http.Cookie{{Name: "session", Value: stolen, Path: "/", Secure: true}})
				}
				clock.advance(time.Minute)
				steal()
				equal(t, "who has the old cookie", thief.get("/who"), "user 0   1")
				equal(t, "ada", ada.get("/who"), "user 23 23 ada 2020")
				ada.get("/logout")
				steal()
				equal(t, "who has the old cookie after the sign-out", thief.get("/who"), "user 0   1")
			})
		}
	}
}

// A page whose parts are requested at the same time, on the real scs's store.
func TestConcurrentRequestsOnDeployDay(t *testing.T) {
	for _, o := range origins {
		if o.name != "scs goredisstore" && o.name != "scs memstore" {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			from := o.start(t)
			from.empty()
			old := scs.New()
			old.Store = from.open().(scs.Store)
			old.Cookie.Secure = true
			site := &place{t: t}
			site.deploy(oldProgram(old))
			const people, requests = 10, 6
			var all []*person
			for range people {
				p := site.person()
				p.get("/login")
				p.get("/count")
				all = append(all, p)
			}
			store := memstore.New(nil)
			sessions, err := session.New(store, &session.Options{
				Secrets: []session.Secret{testSecret}, NoStoreWarning: true, Logger: slog.New(slog.DiscardHandler),
				Import: scsstore.NewImporter(from.open().(scsstore.Source), &scsstore.ImportOptions{SubjectKey: "userID"}),
			})
			if err != nil {
				t.Fatal(err)
			}
			site.deploy(newProgram(sessions))
			client := site.srv.Client()
			for _, p := range all {
				cookie := "session=" + p.cookies()["session"]
				var wait sync.WaitGroup
				for range requests {
					wait.Go(func() {
						req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+site.addr+"/count", nil)
						req.Header.Set("Cookie", cookie)
						resp, err := client.Do(req)
						if err != nil || resp.StatusCode != http.StatusOK {
							t.Error(err, resp)
							return
						}
						resp.Body.Close()
					})
				}
				wait.Wait()
				equal(t, "the count", p.get("/count"), fmt.Sprint(1+requests+1))
			}
			n := 0
			for _, err := range sessions.List(t.Context(), "23") {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			equal(t, "sessions", n, people)
		})
	}
}

// Our sessions may go where scs's have been: one store, and both kinds in it.
func TestTheSameStoreBeforeAndAfter(t *testing.T) {
	for _, o := range origins {
		if o.name != "scs pgxstore" && o.name != "scs sqlite3store" {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			from := o.start(t)
			from.empty()
			old := scs.New()
			old.Store = from.open().(scs.Store)
			old.Cookie.Secure = true
			site := &place{t: t}
			site.deploy(oldProgram(old))
			ada := site.person()
			ada.get("/login")
			source := from.open().(scsstore.IterableSource)
			sessions, err := session.New(scsstore.NewIterable(source), &session.Options{
				Secrets: []session.Secret{testSecret}, NoStoreWarning: true,
				Import: scsstore.NewImporter(source, &scsstore.ImportOptions{SubjectKey: "userID"}),
			})
			if err != nil {
				t.Fatal(err)
			}
			site.deploy(newProgram(sessions))
			equal(t, "ada after the deploy", ada.get("/who"), "user 23 23 ada 2020")
			equal(t, "ada after that", ada.get("/who"), "user 23 23 ada 2020")
			if n, err := sessions.RevokeAll(t.Context(), "23"); n != 1 || err != nil {
				t.Error(n, err)
			}
			equal(t, "ada after a revocation", ada.get("/who"), "user 0   1")
		})
	}
}

// A clock that goes on only when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
