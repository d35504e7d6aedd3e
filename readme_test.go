package session_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session/internal/testhost"
)

// readmeBlocks returns the code blocks of the README that are marked with a
// language.
func readmeBlocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("README.md has no block of %s", language)
	}
	return blocks
}

// The first program of the README is short, compiles outside of this module, and
// does what the transcript shows.
func TestReadmeProgram(t *testing.T) {
	program := readmeBlocks(t, "go")[0]
	lines := 0
	for line := range strings.Lines(program) {
		if strings.TrimSpace(line) != "" {
			lines++
		}
	}
	if lines > 25 {
		t.Errorf("the program has %d lines, at most 25 are promised", lines)
	}

	addr := testhost.FreeAddr(t)
	if !strings.Contains(program, `"localhost:8080"`) {
		t.Fatal("the program does not listen on localhost:8080")
	}
	program = strings.Replace(program, "localhost:8080", addr, 1)

	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("main.go", program)
	write("go.mod", fmt.Sprintf("module readme\n\ngo 1.25.0\n\nrequire github.com/coatcheck/session v0.0.0\n\nreplace github.com/coatcheck/session => %q\n", root))
	build := exec.Command("go", "build", "-o", "program", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the program does not compile: %v\n%s", err, out)
	}

	t.Run("without a secret it says how to make one", func(t *testing.T) {
		out, err := exec.Command(filepath.Join(dir, "program")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "openssl rand -base64 33") {
			t.Errorf("got %v, %s", err, out)
		}
	})

	cmd := exec.Command(filepath.Join(dir, "program"))
	cmd.Env = append(os.Environ(), "SESSION_SECRET=0123456789abcdef0123456789abcdef0123456789ab")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	if line, _ := bufio.NewReader(stderr).ReadString('\n'); !strings.Contains(line, "sessions are kept in memory only") {
		t.Errorf("the program begins with %q", line)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	awaitListener(ctx, t, addr)

	t.Run("it counts the visits of a client, as the transcript shows", func(t *testing.T) {
		jar := &insecureJar{}
		for want := 1; want <= 3; want++ {
			req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			jar.send(req)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := make([]byte, 100)
			n, _ := resp.Body.Read(body)
			resp.Body.Close()
			jar.keep(resp)
			if got, want := string(body[:n]), fmt.Sprintf("Visits: %d\n", want); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			if want == 1 {
				shown := readmeBlocks(t, "console")[0]
				for name, values := range resp.Header {
					if name == "Date" {
						continue
					}
					shape, _, _ := strings.Cut(values[0], "=s%3A")
					if !strings.Contains(shown, name+": "+shape) {
						t.Errorf("the transcript lacks %s: %s", name, values[0])
					}
				}
			}
		}
	})
}

func awaitListener(ctx context.Context, t *testing.T, addr string) {
	t.Helper()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("the program does not listen:", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// An insecureJar sends Secure cookies to localhost, as browsers do and
// net/http/cookiejar does not.
type insecureJar struct{ cookies []*http.Cookie }

func (j *insecureJar) keep(resp *http.Response) { j.cookies = append(j.cookies, resp.Cookies()...) }

func (j *insecureJar) send(req *http.Request) {
	for _, c := range j.cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
}
