package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/pages"
	"github.com/coatcheck/session/internal/testhost"
)

// A block of code begins with a comment that names its file and, if there are
// several of that name, what for.
var movingBlock = regexp.MustCompile("(?s)```(?:go|sh)\n(?://|#) (\\S+)(?: (before|during|after) the move)?\n(.*?)```")

// movingFiles returns the files of docs/moving-stores.md, by the time of the move
// that they are for, or "" for all.
func movingFiles(t *testing.T) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/moving-stores.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]map[string]string{"": {}, "before": {}, "during": {}, "after": {}}
	for _, m := range movingBlock.FindAllStringSubmatch(string(text), -1) {
		files[m[2]][m[1]] = m[3]
	}
	if len(files[""]) != 3 || len(files["before"]) != 1 || len(files["during"]) != 1 || len(files["after"]) != 1 {
		t.Fatalf("the page has other files than this test knows: %d", len(files[""]))
	}
	return files
}

// buildMoving builds the program of one of the times.
func buildMoving(t *testing.T, files map[string]map[string]string, when string) string {
	t.Helper()
	code := make(map[string]string)
	for _, more := range []map[string]string{files[""], files[when]} {
		for name, text := range more {
			if strings.HasSuffix(name, ".go") && (name != "operator.go" || when == "during") {
				code[name] = text
			}
		}
	}
	return pages.Build(t, code)
}

// A siteProcess is one of the programs of the page, as it runs.
type siteProcess struct {
	t              *testing.T
	addr, operator string
	env            []string
	program        string
	cmd            *exec.Cmd
	exited         chan struct{}
	log            lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startSite(t *testing.T, program string, env []string) *siteProcess {
	t.Helper()
	p := &siteProcess{t: t, addr: testhost.FreeAddr(t), operator: testhost.FreeAddr(t), program: program, env: env}
	p.start()
	t.Cleanup(func() {
		p.kill()
		if text := p.log.String(); t.Failed() && text != "" {
			t.Logf("%s said\n%s", p.addr, text)
		}
	})
	return p
}

func (p *siteProcess) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.program)
	p.cmd.Env = append(append(os.Environ(), p.env...), "ADDR="+p.addr, "OPERATOR_ADDR="+p.operator,
		"SESSION_SECRET=KtEDKe+vPbKw7jZqkq0Vq9/2x1m0QmVq5dPlT9b8yQd4")
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan struct{})
	p.exited = exited
	go func() {
		_ = p.cmd.Wait()
		close(exited)
	}()
	eventually(p.t, 30*time.Second, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// kill ends it as a crash does.
func (p *siteProcess) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// A pageVisitor has a session at the site, and sends each request to another
// process, of those that there are at the moment.
type pageVisitor struct {
	t      *testing.T
	name   string
	cookie string
	cart   int
	unsure int
	turn   int
}

func (v *pageVisitor) do(to []*siteProcess, method, path string, form url.Values) (body string, ok bool) {
	v.t.Helper()
	v.turn++
	req, err := http.NewRequest(method, "http://"+to[v.turn%len(to)].addr+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Cookie", v.cookie)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", false // the process was killed
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", false
	}
	if resp.StatusCode != http.StatusOK {
		v.t.Errorf("%s %s: %s %s", method, path, resp.Status, text)
		return "", false
	}
	for _, c := range resp.Cookies() {
		v.cookie = c.Name + "=" + c.Value
	}
	return string(text), true
}

func (v *pageVisitor) check(to []*siteProcess) {
	v.t.Helper()
	body, ok := v.do(to, "GET", "/", nil)
	if !ok {
		return
	}
	for n := v.cart; n <= v.cart+v.unsure; n++ {
		if body == fmt.Sprintf("%s has %d in the cart.\n", v.name, n) {
			return
		}
	}
	v.t.Errorf("the page says %q to %s, who has put %d in the cart, and perhaps %d more", body, v.name, v.cart, v.unsure)
}

// TestMovingStoresGuide does what docs/moving-stores.md says, with its programs and
// its script.
func TestMovingStoresGuide(t *testing.T) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: the page needs it", err)
		}
	}
	files := movingFiles(t)
	script := filepath.Join(t.TempDir(), "move.sh")
	if err := os.WriteFile(script, []byte(files[""]["move.sh"]), 0o600); err != nil {
		t.Fatal(err)
	}
	before, during, after := buildMoving(t, files, "before"), buildMoving(t, files, "during"), buildMoving(t, files, "after")
	env := []string{
		"DATABASE_URL=" + servers.SharedPostgres(t).NewDatabase(t).URL,
		"REDIS_ADDR=" + servers.Redis(t).Addr,
	}

	var site atomic.Pointer[[]*siteProcess]
	serve := func(processes ...*siteProcess) { site.Store(&processes) }
	move := func(what string, want ...string) string {
		t.Helper()
		var operators []string
		for _, p := range *site.Load() {
			operators = append(operators, p.operator)
		}
		cmd := exec.Command("sh", script, what)
		cmd.Env = append(os.Environ(), "PROCESSES="+strings.Join(operators, " "))
		out, err := cmd.CombinedOutput()
		t.Logf("move.sh %s\n%s", what, out)
		if err != nil {
			t.Errorf("move.sh %s: %v", what, err)
		}
		for _, text := range want {
			if !strings.Contains(string(out), text) {
				t.Errorf("move.sh %s does not say %s", what, text)
			}
		}
		return string(out)
	}

	// The site as it was, and some who are signed in.
	serve(startSite(t, before, env), startSite(t, before, env))
	const idlers = 50
	var idle []*pageVisitor
	for i := range idlers {
		v := &pageVisitor{t: t, name: fmt.Sprint("idler-", i)}
		v.do(*site.Load(), "POST", "/sign-in", url.Values{"user": {v.name}})
		idle = append(idle, v)
	}
	left := &pageVisitor{t: t, name: "somebody who left"}
	left.do(*site.Load(), "POST", "/sign-in", url.Values{"user": {left.name}})
	ended := *left
	left.do(*site.Load(), "POST", "/sign-out", nil)

	// Others who are here all the time.
	var stop atomic.Bool
	var visiting sync.WaitGroup
	t.Cleanup(func() { // if the test ends early
		stop.Store(true)
		visiting.Wait()
	})
	var busy []*pageVisitor
	for i := range 3 {
		v := &pageVisitor{t: t, name: fmt.Sprint("visitor-", i), turn: i}
		v.do(*site.Load(), "POST", "/sign-in", url.Values{"user": {v.name}})
		busy = append(busy, v)
		visiting.Go(func() {
			for !stop.Load() {
				if _, ok := v.do(*site.Load(), "POST", "/cart", nil); ok {
					v.cart++
				} else {
					v.unsure++
				}
				v.check(*site.Load())
				time.Sleep(time.Millisecond)
			}
		})
	}
	everybody := func() {
		t.Helper()
		for _, v := range idle {
			v.check(*site.Load())
		}
		if body, ok := ended.do(*site.Load(), "GET", "/", nil); !ok || body != " has 0 in the cart.\n" {
			t.Errorf("the page says %q to somebody who has signed out", body)
		}
	}

	// 1. Deploy.
	a := startSite(t, during, env)
	serve((*site.Load())[0], (*site.Load())[1], a)
	everybody()
	b := startSite(t, during, env)
	serve(a, b)
	move("status", `"phase":"OldFirst"`)
	// 2. Fill.
	move("copy", fmt.Sprintf(`"Records":%d`, idlers+len(busy)))
	move("check", `"Missing":0`)
	// 3. Switch.
	move("over", `"phase":"OldHeld"`, `"phase":"NewFirst"`)
	everybody()
	// One that was deployed in OldFirst crashes, and begins where the other is.
	serve(a)
	b.kill()
	b.start()
	serve(a, b)
	everybody()
	if got := move("status"); strings.Count(got, `"phase":"NewFirst"`) != 2 {
		t.Errorf("the processes are not both in the phase NewFirst:\n%s", got)
	}
	// 4. Back, and over once more.
	move("back", `"phase":"OldFirst"`)
	everybody()
	move("over", `"phase":"NewFirst"`)
	// One is not reached: the step is not taken.
	b.kill()
	serve(a)
	cmd := exec.Command("sh", script, "back")
	cmd.Env = append(os.Environ(), "PROCESSES="+a.operator+" "+b.operator)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "nothing was switched") {
		t.Errorf("a step that does not reach a process: %v\n%s", err, out)
	}
	move("status", `"phase":"NewFirst"`)
	everybody()
	// 5. Finish.
	move("finish", `"phase":"NewOnly"`)
	c := startSite(t, after, env)
	serve(a, c)
	everybody()
	serve(c)
	everybody()
	stop.Store(true)
	visiting.Wait()
	for _, v := range busy {
		v.check(*site.Load())
		if v.cart < 10 {
			t.Errorf("%s has put only %d in the cart", v.name, v.cart)
		}
		t.Logf("%s has put %d in the cart, and perhaps %d more", v.name, v.cart, v.unsure)
	}
}
