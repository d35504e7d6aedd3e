package demo

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session/sqlstore"
)

// config is a configuration with files in an empty directory, on a free port.
func config(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	return Config{Addr: "127.0.0.1:0", DB: filepath.Join(dir, "sessions.db"), Env: filepath.Join(dir, ".env")}
}

// fails runs the demo, which must not start, and checks that the error says what
// is wrong and what to do. Where the error could show a secret, it must not.
func fails(t *testing.T, c Config, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := Run(ctx, c, io.Discard, io.Discard)
	if err == nil {
		t.Fatal("the demo ran")
	}
	t.Log(err)
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q", w)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error shows the secret")
	}
}

func TestRun(t *testing.T) {
	t.Setenv(secretVariable, "")
	c := config(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	var log bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		err := Run(ctx, c, in, &log)
		in.Close()
		ended <- err
	}()
	var url string
	if _, err := fmt.Fscanf(out, "The demo is at %s\n", &url); err != nil {
		t.Fatal(err)
	}
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(out)
		rest <- string(text)
	}()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
	for _, path := range []string{c.DB, c.Env} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the demo ended with %v", err)
	}
	if text := <-rest; !strings.Contains(text, c.DB) || !strings.Contains(text, c.Env) || !strings.Contains(text, "kill -9") {
		t.Errorf("it does not say where it keeps things:\n%s", text)
	}
	if log.Len() > 0 {
		t.Errorf("the log is not empty: %s", &log)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := config(t)
	c.Addr = l.Addr().String()
	port := l.Addr().(*net.TCPAddr).Port
	fails(t, c, c.Addr+" is taken by another program", fmt.Sprintf("-addr 127.0.0.1:%d", port+1))
	if left, err := os.ReadDir(filepath.Dir(c.DB)); err != nil || len(left) > 0 {
		t.Errorf("it left files behind: %v, %v", left, err)
	}
}

func TestBadAddress(t *testing.T) {
	for _, addr := range []string{"", "nonsense", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:8080", "127.0.0.1:http:"} {
		t.Run(addr, func(t *testing.T) {
			c := config(t)
			c.Addr = addr
			fails(t, c, "-addr 127.0.0.1:8081")
		})
	}
}

func TestNextPort(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8081", ":8080": ":8081", "[::1]:80": "[::1]:81",
		"127.0.0.1:65535": "127.0.0.1:8081", "127.0.0.1:http": "127.0.0.1:8081", "x": "127.0.0.1:8081",
	} {
		if got := nextPort(addr); got != want {
			t.Errorf("nextPort(%q) = %q, want %q", addr, got, want)
		}
	}
}

func TestBadEnv(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"a line that is none", "COLOR=blue\nhunter2\n", []string{".env: line 2", `no "="`}},
		{"a quote that is not closed", "SESSION_SECRET='hunter2hunter2hunter2hunter2hunter2", []string{".env: line 1", "not closed"}},
		{"two secrets in two lines", "SESSION_SECRET=hunter2\n\nSESSION_SECRET=hunter2\n", []string{".env: line 3", "line 1"}},
		{"a short secret", "# mine\nSESSION_SECRET=hunter2\n", []string{".env, line 2", "7 bytes", "sessionctl secret"}},
		{"an empty secret", "SESSION_SECRET=\n", []string{".env: line 1", "empty", "sessionctl secret"}},
		{"only commas", "SESSION_SECRET=,,\n", []string{".env: line 1", "empty"}},
		{"one secret twice", "SESSION_SECRET=" + strings.Repeat("hunter2", 5) + "," + strings.Repeat("hunter2", 5), []string{".env, line 1", "same as secret 1"}},
		{"a binary file", "\x7fELF\x02\x01\x01\x00hunter2", []string{".env: line 1", "control character"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(secretVariable, "")
			cfg := config(t)
			write(t, cfg.Env, c.text, 0o600)
			fails(t, cfg, c.want...)
			if read(t, cfg.Env) != c.text {
				t.Error("the file was changed")
			}
		})
	}
}

func TestUnreadableEnv(t *testing.T) {
	t.Setenv(secretVariable, "")
	t.Run("a directory", func(t *testing.T) {
		c := config(t)
		c.Env = filepath.Dir(c.Env)
		fails(t, c, "cannot be read", "-env")
	})
	t.Run("in a directory that does not exist", func(t *testing.T) {
		c := config(t)
		c.Env = filepath.Join(filepath.Dir(c.Env), "nowhere", ".env")
		fails(t, c, "cannot be kept", "-env")
	})
	t.Run("without the permission to read", func(t *testing.T) {
		c := config(t)
		write(t, c.Env, "COLOR=blue\n", 0o000)
		unprivileged(t, func() { fails(t, c, "permission denied", "-env") })
	})
	t.Run("without the permission to write", func(t *testing.T) {
		c := config(t)
		write(t, c.Env, "COLOR=blue\n", 0o444)
		unprivileged(t, func() { fails(t, c, "permission denied", "-env") })
		if got := read(t, c.Env); got != "COLOR=blue\n" {
			t.Errorf("the file is now %q", got)
		}
	})
}

// A file that is something else is left as it is.
func TestBadDatabase(t *testing.T) {
	t.Setenv(secretVariable, strings.Repeat("x", 32))
	t.Run("a directory", func(t *testing.T) {
		c := config(t)
		c.DB = filepath.Dir(c.DB)
		fails(t, c, "is a directory", "-db "+filepath.Join(c.DB, "sessions.db"))
	})
	t.Run("in a directory that does not exist", func(t *testing.T) {
		c := config(t)
		c.DB = filepath.Join(filepath.Dir(c.DB), "nowhere", "sessions.db")
		fails(t, c, "directory does not exist", "-db")
	})
	for name, text := range map[string]string{
		"a short text":    "hello\n",
		"a long text":     strings.Repeat("This is not a database.\n", 1000),
		"a torn database": "SQLite format 3\x00" + strings.Repeat("\xff", 4000),
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			write(t, c.DB, text, 0o600)
			fails(t, c, c.DB, "not a", "-db")
			if read(t, c.DB) != text {
				t.Error("the file was changed")
			}
		})
	}
	t.Run("without the permission to write", func(t *testing.T) {
		c := config(t)
		write(t, c.DB, "", 0o444)
		unprivileged(t, func() { fails(t, c, "permission denied", "-db") })
	})
	t.Run("without the permission to read", func(t *testing.T) {
		c := config(t)
		write(t, c.DB, "", 0o000)
		unprivileged(t, func() { fails(t, c, "permission denied", "-db") })
	})
	t.Run("in a directory without the permission to write", func(t *testing.T) {
		c := config(t)
		write(t, c.DB, "", 0o666)
		if err := os.Chmod(filepath.Dir(c.DB), 0o555); err != nil {
			t.Fatal(err)
		}
		unprivileged(t, func() { fails(t, c, c.DB, "and its directory", "-db") })
	})
	t.Run("a table that is not ours", func(t *testing.T) {
		c := config(t)
		db := open(t, c.DB)
		if _, err := db.Exec("CREATE TABLE sessions (something TEXT)"); err != nil {
			t.Fatal(err)
		}
		fails(t, c, c.DB, "-db")
	})
	t.Run("locked by another program", func(t *testing.T) {
		c := config(t)
		tx, err := open(t, c.DB).Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		fails(t, c, c.DB, "another program has locked it", "-db")
	})
}

func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
