package pages

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestThePrograms(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	text := "A page.\n\n```diff\n package main\n\n-func main() { println(\"before\") }\n+func main() { println(word) }\n```\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	before, after := Diff(t, page)
	for want, files := range map[string]map[string]string{
		"before\n": {"main.go": before},
		"after\n":  {"main.go": after, "word.go": "package main\n\nconst word = \"after\"\n"},
	} {
		out, err := exec.Command(Build(t, files)).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("the program says %q, %v, want %q", out, err, want)
		}
	}
}
