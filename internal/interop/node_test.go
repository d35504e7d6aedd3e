package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// An expressApp says how an Express application is to be. The names are those of
// express-session's options.
type expressApp struct {
	Store   map[string]any `json:"store"`
	Secrets []string       `json:"secrets"`
	Cookie  map[string]any `json:"cookie"`
	Name    string         `json:"name,omitempty"`
}

// A node is a Node process that runs Express applications.
type node struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// installed reports what is missing of Node and its packages.
func installed() error {
	const help = "; run ./scripts/test, or npm ci in internal/interop"
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("node is missing" + help)
	}
	for _, name := range []string{"express", "express-session", "passport", "passport-local", "connect-pg-simple", "pg",
		"express-mysql-session", "session-file-store", "connect-redis", "redis", "connect-mongo", "mongodb"} {
		if _, err := os.Stat(filepath.Join("node_modules", name, "package.json")); err != nil {
			return errors.New("the Node package " + name + " is not installed" + help)
		}
	}
	return nil
}

// startNode starts a Node process, which ends with the test.
func startNode(t *testing.T) *node {
	t.Helper()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "node/main.js")
	log := new(safeBuffer)
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("Node ended with %v", err)
		}
		if text := log.String(); text != "" {
			t.Errorf("Node complained:\n%s", text)
		}
	})
	return &node{in, bufio.NewReader(out)}
}

// app starts an application and returns its URL.
func (n *node) app(t *testing.T, config expressApp) string {
	t.Helper()
	if err := json.NewEncoder(n.in).Encode(config); err != nil {
		t.Fatal(err)
	}
	line, err := n.out.ReadBytes('\n')
	if err != nil {
		t.Fatal("Node has ended: ", err)
	}
	var answer struct {
		Port  json.Number
		Error string
	}
	if err := json.Unmarshal(line, &answer); err != nil || answer.Error != "" {
		t.Fatalf("the Express application does not start: %s %v", line, err)
	}
	return "http://127.0.0.1:" + answer.Port.String()
}

// A safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
