package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every mutation applies to the code as it is: one that does not would be taken
// for one that was found.
func TestMutationsApply(t *testing.T) {
	for _, m := range mutations {
		text, err := os.ReadFile(filepath.Join("../../..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %s has %q %d times, want once", m.what, m.file, m.old, n)
		}
	}
}
