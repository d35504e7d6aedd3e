package demo

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck/session"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestASecretIsMadeOnce(t *testing.T) {
	for _, c := range []struct{ name, before string }{
		{"without a file", ""},
		{"beside other lines", "# mine\nCOLOR='dark blue'\n"},
		{"after a line without an end", "COLOR=blue"},
		{"after lines of DOS", "COLOR=blue\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(secretVariable, "")
			path := filepath.Join(t.TempDir(), ".env")
			if c.before != "" {
				write(t, path, c.before, 0o600)
			}
			made, from, err := findSecrets(path, slog.New(slog.DiscardHandler))
			if err != nil || len(made) != 1 || len(made[0]) != 44 || !strings.Contains(from, "just made") {
				t.Fatalf("findSecrets = %d secrets from %q, %v", len(made), from, err)
			}
			text := read(t, path)
			if !strings.HasPrefix(text, c.before) {
				t.Errorf("lines were lost: %q", text)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file has mode %v, %v", info.Mode(), err)
			}
			again, from, err := findSecrets(path, slog.New(slog.DiscardHandler))
			if err != nil || len(again) != 1 || again[0] != made[0] || strings.Contains(from, "just made") {
				t.Errorf("the next start finds another secret, from %q: %v", from, err)
			}
			if read(t, path) != text {
				t.Error("the next start changed the file")
			}
		})
	}
}

func TestFindSecrets(t *testing.T) {
	const long, old = "0123456789012345678901234567890123456789", "a234567890123456789012345678901234567890"
	for _, c := range []struct {
		name, env, file string
		mode            os.FileMode
		want            []session.Secret
		from, warning   string
	}{
		{"from the file", "", "SESSION_SECRET=" + long, 0o600, []session.Secret{long}, "line 1", ""},
		{"the newest first", "", "\nSESSION_SECRET='" + long + ", " + old + "'", 0o600, []session.Secret{long, old}, "line 2", ""},
		{"the environment takes precedence", long + " " + old, "SESSION_SECRET=" + old, 0o600, []session.Secret{long, old}, "environment", ""},
		{"a file for all to read gets a warning", "", "SESSION_SECRET=" + long, 0o644, []session.Secret{long}, "line 1", "chmod 600"},
		{"a file for the group to write gets a warning", "", "SESSION_SECRET=" + long, 0o620, []session.Secret{long}, "line 1", "chmod 600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(secretVariable, c.env)
			path := filepath.Join(t.TempDir(), ".env")
			write(t, path, c.file, c.mode)
			var log bytes.Buffer
			got, from, err := findSecrets(path, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil || len(got) != len(c.want) || !strings.Contains(from, c.from) {
				t.Fatalf("findSecrets = %d secrets from %q, %v", len(got), from, err)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("secret %d is another", i+1)
				}
			}
			if (c.warning == "") != (log.Len() == 0) || !strings.Contains(log.String(), c.warning) {
				t.Errorf("the log says %q, want %q", log.String(), c.warning)
			}
		})
	}
}
