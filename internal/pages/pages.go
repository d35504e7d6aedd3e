// Package pages makes the Go programs of a page of docs, for the tests that do
// what the page says.
package pages

import (
	"encoding/json"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Build builds a program of the files and returns where it is. They are taken for
// a package of the module whose test this is, which has what they import, without
// being written there. What gofmt would change is an error.
func Build(tb testing.TB, files map[string]string) (program string) {
	tb.Helper()
	here, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	overlay := map[string]map[string]string{"Replace": {}}
	for name, code := range files {
		formatted, err := format.Source([]byte(code))
		if err != nil || string(formatted) != code {
			tb.Errorf("the program's %s is not formatted, %v", name, err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			tb.Fatal(err)
		}
		overlay["Replace"][filepath.Join(here, "page", name)] = file
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		tb.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	program = filepath.Join(dir, "program")
	if out, err := exec.Command("go", "build", "-overlay", list, "-o", program, "./page").CombinedOutput(); err != nil {
		tb.Fatalf("the program does not compile: %v\n%s", err, out)
	}
	return program
}

var diffBlock = regexp.MustCompile("(?s)```diff\n(.*?)```")

// Diff returns the programs before and after the first diff of a page.
func Diff(tb testing.TB, page string) (before, after string) {
	tb.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		tb.Fatal(err)
	}
	diff := diffBlock.FindSubmatch(text)
	if diff == nil {
		tb.Fatal(page, "has no diff")
	}
	for line := range strings.Lines(string(diff[1])) {
		sign, code := line[:1], line[1:]
		if line == "\n" {
			sign, code = " ", line
		}
		if sign != "+" {
			before += code
		}
		if sign != "-" {
			after += code
		}
	}
	return before, after
}
