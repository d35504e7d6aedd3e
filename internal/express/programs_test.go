package express

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A visit is a request of a client and what it must get.
type visit struct {
	method, path, form string
	status             int
	body               string // "*": not compared
}

// visits are what the clients of the programs in docs/express.md do.
var visits = map[string][]visit{
	"views": {
		{"GET", "/foo", "", 200, "you viewed this page 1 times"},
		{"GET", "/bar", "", 200, "you viewed this page 1 times"},
		{"GET", "/foo", "", 200, "you viewed this page 2 times"},
		{"GET", "/foo", "", 200, "you viewed this page 3 times"},
	},
	"login": {
		{"GET", "/", "", 401, "who are you?"},
		{"POST", "/login", "user=tj", 303, "*"},
		{"GET", "/", "", 200, "hello, tj!"},
		{"POST", "/login", "user=aaron", 303, "*"},
		{"GET", "/", "", 200, "hello, aaron!"},
		{"POST", "/logout", "", 303, "*"},
		{"GET", "/", "", 401, "who are you?"},
	},
	"userid": {
		{"GET", "/me", "", 200, "nobody"},
		{"GET", "/login", "", 200, "ok"},
		{"GET", "/me", "", 200, "23"},
	},
}

// TestPrograms runs the programs of docs/express.md, those of Express and ours,
// with the same clients.
func TestPrograms(t *testing.T) {
	if err := Installed("."); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/express.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^```(js|go) (\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks[m[1]+" "+m[2]] = m[3]
	}
	if len(blocks) != 2*len(visits) {
		t.Errorf("docs/express.md has %d programs for %d clients", len(blocks), len(visits))
	}
	for name, steps := range visits {
		t.Run(name, func(t *testing.T) {
			for language, start := range map[string]func(*testing.T, string) string{"js": startNodeProgram, "go": startGoProgram} {
				t.Run(language, func(t *testing.T) {
					program, ok := blocks[language+" "+name]
					if !ok {
						t.Fatal("the program is missing in docs/express.md")
					}
					visitAll(t, "http://"+start(t, program), steps)
				})
			}
		})
	}
}

func startNodeProgram(t *testing.T, program string) string {
	t.Helper()
	modules, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	announce, err := filepath.Abs("node/announce.js")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "app.js")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "-r", announce, file)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	return announced(t, cmd)
}

// goAnnounce does for a Go program what node/announce.js does.
const goAnnounce = `package main

import (
	"fmt"
	"net"
	"net/http"
)

func announcedServe(_ string, h http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("port", l.Addr().(*net.TCPAddr).Port)
	return http.Serve(l, h)
}
`

func startGoProgram(t *testing.T, program string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	served := strings.Replace(program, "http.ListenAndServe(", "announcedServe(", 1)
	if served == program {
		t.Fatal("the program does not listen")
	}
	for name, text := range map[string]string{
		"main.go":     served,
		"announce.go": goAnnounce,
		"go.mod":      "module example.com/app\n\ngo 1.26.0\n\nrequire github.com/coatcheck/session v0.0.0\n\nreplace github.com/coatcheck/session => " + root + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", "app", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return announced(t, exec.Command(filepath.Join(dir, "app")))
}

// announced starts a program and returns where it listens.
func announced(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "SESSION_SECRET=a-secret-of-the-tests-that-is-long-enough")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	port := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		port <- strings.TrimPrefix(strings.TrimSpace(line), "port ")
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case p := <-port:
		if p == "" {
			t.Fatal("the program has ended")
		}
		return "127.0.0.1:" + p
	case <-time.After(*patienceFlag):
		t.Fatal("the program does not listen")
	}
	return ""
}

// visitAll makes the requests of one client, which keeps its cookies like a
// browser that takes this machine for secure.
func visitAll(t *testing.T, base string, steps []visit) {
	t.Helper()
	client := &http.Client{
		Timeout:       *patienceFlag,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	jar := map[string]string{}
	for i, v := range steps {
		req, err := http.NewRequest(v.method, base+v.path, strings.NewReader(v.form))
		if err != nil {
			t.Fatal(err)
		}
		if v.method == "POST" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for name, value := range jar {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != v.status || v.body != "*" && string(body) != v.body {
			t.Errorf("visit %d, %s %s: %d %q, want %d %q", i+1, v.method, v.path, res.StatusCode, body, v.status, v.body)
		}
		if location, err := res.Location(); v.status == http.StatusSeeOther && (err != nil || location.Path != "/") {
			t.Errorf("visit %d: Location is %v, %v", i+1, (*url.URL)(location), err)
		}
		for _, c := range res.Cookies() {
			if c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
				delete(jar, c.Name)
			} else {
				jar[c.Name] = c.Value
			}
		}
	}
}
