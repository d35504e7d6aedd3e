package interop

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/filestore"
)

// openFiles returns a place in a folder.
func openFiles(t *testing.T, ttl time.Duration) place {
	dir := t.TempDir()
	return place{
		express: map[string]any{"kind": "file", "path": dir, "ttl": ttl.Seconds()},
		ours: func(t *testing.T) session.Store {
			store, err := filestore.New(dir, &filestore.Options{Layout: filestore.Express, TTL: ttl, NoSync: true})
			if err != nil {
				t.Fatal(err)
			}
			return store
		},
		rows:             &fileRows{dir, ttl},
		complainsOfEnded: true,
	}
}

type fileRows struct {
	dir string
	ttl time.Duration
}

var lastAccess = regexp.MustCompile(`,"__lastAccess":(\d+)`)

// read reckons the end as session-file-store does.
func (r *fileRows) read(t *testing.T, id string) (text string, expires time.Time, ok bool) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(r.dir, id+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", time.Time{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	access := lastAccess.FindSubmatch(file)
	if access == nil {
		t.Fatalf("there is no __lastAccess in %s", file)
	}
	ms, _ := strconv.ParseInt(string(access[1]), 10, 64)
	text = lastAccess.ReplaceAllString(string(file), "")
	return text, time.UnixMilli(ms).Add(r.period(text)), true
}

func (r *fileRows) write(t *testing.T, id, text string, expires time.Time) {
	t.Helper()
	access := expires.Add(-r.period(text)).UnixMilli()
	file := strings.TrimSuffix(text, "}") + `,"__lastAccess":` + strconv.FormatInt(access, 10) + "}"
	name := filepath.Join(r.dir, id+".json")
	if err := os.WriteFile(name+".test", []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".test", name); err != nil {
		t.Fatal(err)
	}
}

func (r *fileRows) period(text string) time.Duration {
	var s struct{ Cookie struct{ OriginalMaxAge any } }
	if json.Unmarshal([]byte(text), &s) == nil {
		if ms, ok := s.Cookie.OriginalMaxAge.(float64); ok && ms != 0 {
			return time.Duration(ms) * time.Millisecond
		}
	}
	return r.ttl
}

// follow is nothing that a folder can do.
func (r *fileRows) follow(*testing.T, string) func() []change { return nil }
