package main

import (
	"bytes"
	"encoding/base64"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name           string
		args           []string
		status         int
		stdout, stderr string // what each says, or nothing
	}{
		{"without a command it says which there are", nil, 2, "", "Usage: sessionctl"},
		{"help is no error", []string{"help"}, 0, "demo", ""},
		{"nor is -h", []string{"-h"}, 0, "secret", ""},
		{"nor is --help", []string{"--help"}, 0, "Usage", ""},
		{"a command that there is not", []string{"dmeo"}, 2, "", `no command "dmeo"`},
		{"the help of a command", []string{"demo", "-h"}, 0, "", "-addr address"},
		{"a flag that there is not", []string{"demo", "-port", "1"}, 2, "", "-port"},
		{"an argument too many", []string{"secret", "please"}, 2, "", `unexpected argument "please"`},
		{"a demo that cannot start", []string{"demo", "-addr", "nonsense"}, 1, "", `sessionctl demo: cannot serve on "nonsense"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(t.Context(), c.args, &stdout, &stderr)
			if status != c.status {
				t.Errorf("the status is %d, want %d", status, c.status)
			}
			for _, out := range []struct{ name, got, want string }{
				{"stdout", stdout.String(), c.stdout}, {"stderr", stderr.String(), c.stderr},
			} {
				if !strings.Contains(out.got, out.want) || out.want == "" && out.got != "" {
					t.Errorf("%s is %q, want %q", out.name, out.got, out.want)
				}
			}
		})
	}
}

func TestSecret(t *testing.T) {
	var out [2]bytes.Buffer
	for i := range out {
		if status := run(t.Context(), []string{"secret"}, &out[i], &out[i]); status != 0 {
			t.Fatalf("status %d: %s", status, &out[i])
		}
		line, rest, _ := strings.Cut(out[i].String(), "\n")
		if raw, err := base64.StdEncoding.DecodeString(line); err != nil || len(raw) != 33 || rest != "" {
			t.Errorf("the output is %q", out[i].String())
		}
	}
	if out[0].String() == out[1].String() {
		t.Error("two secrets are the same")
	}
}

// A second demo is the commonest reason for it.
func TestDemoOnAPortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{
		"demo", "-addr", l.Addr().String(), "-db", filepath.Join(dir, "sessions.db"), "-env", filepath.Join(dir, ".env"),
	}, &stdout, &stderr)
	if status != 1 || !strings.Contains(stderr.String(), "is taken by another program") || stdout.Len() > 0 {
		t.Errorf("status %d, stdout %q, stderr %q", status, &stdout, &stderr)
	}
}
