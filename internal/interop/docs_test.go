package interop

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/pages"
	"github.com/coatcheck/session/internal/testhost"
)

const guide = "../../docs/moving-from-express.md"

// A block of code begins with a comment that names its file and, if there are
// several of that name, what for.
var (
	codeBlock = regexp.MustCompile("(?s)```(?:js|go)\n// (\\S+)(?: for ([^\n]*))?\n(.*?)```")
	stepRow   = regexp.MustCompile("(?m)^\\| `c (.*?)127\\.0\\.0\\.1:8080(/\\S*)` \\| `(.*)` \\|$")
)

// TestTheGuide does what a reader of docs/moving-from-express.md does, with each
// of its stores: it copies the files, starts both programs, and follows the steps.
func TestTheGuide(t *testing.T) {
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	common, stores := map[string]string{}, map[string]map[string]string{}
	for _, m := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		files := common
		if m[2] != "" {
			if stores[m[2]] == nil {
				stores[m[2]] = map[string]string{}
			}
			files = stores[m[2]]
		}
		files[m[1]] = m[3]
	}
	steps := stepRow.FindAllStringSubmatch(string(text), -1)
	environments := map[string]func(t *testing.T) []string{
		"PostgreSQL": func(t *testing.T) []string {
			return []string{"DATABASE_URL=" + servers.SharedPostgres(t).NewDatabase(t).URL}
		},
		"MySQL": func(t *testing.T) []string {
			return []string{"DATABASE_URL=" + servers.SharedMariaDB(t).NewDatabase(t).URL}
		},
		"Redis": func(t *testing.T) []string { return []string{"REDIS_URL=redis://" + servers.SharedRedis(t).Addr} },
		"MongoDB": func(t *testing.T) []string {
			return []string{"MONGODB_URL=mongodb://" + servers.SharedMongo(t).Addr, "AUTO_REMOVE=disabled"}
		},
		"files": func(t *testing.T) []string { return []string{"SESSION_DIR=" + t.TempDir()} },
	}
	if len(common) != 2 || len(stores) != len(environments) || len(steps) != 10 {
		t.Fatalf("the guide has %d common files, %d stores and %d steps", len(common), len(stores), len(steps))
	}
	for name, files := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, more := range []map[string]string{common, files} {
				for file, code := range more {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(code), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			modules, err := filepath.Abs("node_modules")
			if err != nil {
				t.Fatal(err)
			}
			express, ours := testhost.FreeAddr(t), testhost.FreeAddr(t)
			env := append(environments[name](t), "INSECURE=1", "SESSION_SECRET=KtEDKe+vPbKw7jZqkq0Vq9/2x1m0QmVq5dPlT9b8yQd4")
			start(t, express, append(env, "NODE_PATH="+modules, "PORT="+strings.TrimPrefix(express, "127.0.0.1:")),
				"node", filepath.Join(dir, "app.js"))
			start(t, ours, append(env, "ADDR="+ours, "EXPRESS_URL=http://"+express), pages.Build(t, map[string]string{"main.go": common["main.go"], "store.go": files["store.go"]}))
			b := newBrowser(t)
			for _, step := range steps {
				if got := b.curl(step[1], "http://"+ours+step[2]); got != step[3]+"\n" {
					t.Errorf("c %s%s prints %q, want %q", step[1], step[2], got, step[3])
				}
			}
		})
	}
}

// start starts a program, waits until it listens, and ends it with the test.
func start(t *testing.T, addr string, env []string, program string, args ...string) {
	t.Helper()
	log := new(safeBuffer)
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if text := log.String(); t.Failed() && text != "" {
			t.Logf("%s said\n%s", filepath.Base(program), text)
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("%s ended at once:\n%s", filepath.Base(program), log.String())
		case <-time.After(10 * time.Millisecond): // it does not tell when it listens
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", filepath.Base(program), err)
		}
	}
}

// curl does what the guide's commands do, and returns what they print.
func (b *browser) curl(options, to string) string {
	b.t.Helper()
	method, body := "GET", ""
	switch data, isForm := strings.CutPrefix(options, "-d "); {
	case isForm:
		method, body = "POST", strings.Trim(data, "' ")
	case options == "-X POST ":
		method = "POST"
	case options != "":
		b.t.Fatalf("the guide has the option %q, which this test does not know", options)
	}
	values, err := url.ParseQuery(body)
	if err != nil {
		b.t.Fatal(err)
	}
	req, err := http.NewRequest(method, to, strings.NewReader(values.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}
