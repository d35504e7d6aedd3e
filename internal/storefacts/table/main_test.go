package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck/session/internal/storefacts"
)

// folder returns a folder with facts of all rows but those left out.
func folder(t *testing.T, leaveOut ...string) string {
	t.Helper()
	dir := t.TempDir()
	yes, no, reach, swap, one, two := true, false, storefacts.Machine, storefacts.SwapInProcess, 1, 2
	put := func(file string, f storefacts.Facts) {
		t.Helper()
		text, err := json.Marshal(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range rows {
		if strings.Contains(strings.Join(leaveOut, ","), name) {
			continue
		}
		put(name+".json", storefacts.Facts{Store: name, Shared: &reach, Survives: &yes, Lists: &no, Revokes: &yes, CompareAndSwap: &swap, Touches: &yes, Sweeps: &yes})
	}
	put("a turns.json", storefacts.Facts{Store: "redisstore", Load: &one, Save: &two, Touch: &one})
	return dir
}

func document(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stores.md")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestWriteAndCompare(t *testing.T) {
	facts, doc := folder(t), document(t, "before\n"+begin+"old\n"+end+"after\n")
	if err := run(facts, doc, false); err == nil || !strings.Contains(err.Error(), "is not what the tests found") {
		t.Errorf("an old table: %v", err)
	}
	if err := run(facts, doc, true); err != nil {
		t.Fatal(err)
	}
	if err := run(facts, doc, false); err != nil {
		t.Errorf("the table that was just written: %v", err)
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"before\n" + begin + "| | shared",
		"| `redisstore` | one machine | yes | no | yes | in one process | yes | yes | 1, 2, 1 |\n",
		"| `sqlstore` SQLite | one machine | yes | no | yes | in one process | yes | yes | – |\n",
		end + "after\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document has not %q:\n%s", want, text)
		}
	}
}

func TestRefuses(t *testing.T) {
	good := "x\n" + begin + end
	stranger := folder(t)
	reach := storefacts.Network
	text, err := json.Marshal(storefacts.Facts{Store: "newstore", Shared: &reach})
	if err == nil {
		err = os.WriteFile(filepath.Join(stranger, "new.json"), text, 0o600)
	}
	broken := folder(t)
	if err == nil {
		err = os.WriteFile(filepath.Join(broken, "broken.json"), []byte("{"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, folder, document, want string
	}{
		{"a store whose tests did not run", folder(t, "memstore"), document(t, good), `nothing was found out of "memstore"`},
		{"a store that has no row", stranger, document(t, good), `"newstore" is no row`},
		{"a document without the lines", folder(t), document(t, "x\n"), "has no place for the table"},
		{"a file that was cut short", broken, document(t, good), "broken.json"},
		{"a document that is not there", folder(t), filepath.Join(t.TempDir(), "none"), "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := run(test.folder, test.document, true); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
