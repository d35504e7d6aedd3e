package browser

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// sessionctl builds the program once for all tests.
var sessionctl = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "sessionctl")
	out, err := exec.Command("go", "build", "-o", path, "github.com/coatcheck/session/cmd/sessionctl").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building sessionctl: %w\n%s", err, out)
	}
	return path, nil
})

// A server is the demo in a process of its own.
type server struct {
	t   *testing.T
	dir string
	url string
	cmd *exec.Cmd
	log *syncBuffer
}

// startServer starts the demo in an empty directory, on a free port.
func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir()}
	s.start("127.0.0.1:0")
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the log of the server:\n%s", s.log)
		}
	})
	return s
}

func (s *server) start(addr string) {
	s.t.Helper()
	program, err := sessionctl()
	if err != nil {
		s.t.Fatal(err)
	}
	s.log = new(syncBuffer)
	s.cmd = exec.Command(program, "demo", "-addr", addr)
	s.cmd.Dir = s.dir
	s.cmd.Stderr = s.log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "The demo is at "); ok {
			s.url = url
			go func() {
				for lines.Scan() { // so that the server never waits for a reader
				}
			}()
			return
		}
	}
	s.kill()
	s.t.Fatalf("the demo did not start:\n%s", s.log)
}

// kill ends the server without a warning, as kill -9 does.
func (s *server) kill() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// restart kills the server and starts another on the same port and files.
func (s *server) restart() {
	s.t.Helper()
	s.kill()
	s.start(strings.TrimPrefix(s.url, "http://"))
}

// syncBuffer is a buffer for the output of a process.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestTheServerEndsGracefully(t *testing.T) {
	s := startServer(t)
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Errorf("the server ended with status %d:\n%s", exit.ExitCode(), s.log)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not end when it is interrupted")
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "*-wal")); err != nil || len(left) > 0 {
		t.Errorf("the database was not closed: %q, %v", left, err)
	}
}
