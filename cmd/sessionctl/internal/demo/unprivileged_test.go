//go:build !linux

package demo

import (
	"os"
	"runtime"
	"testing"
)

// unprivileged runs f as somebody whom permissions bind.
func unprivileged(t *testing.T, f func()) {
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("permissions of files do not bind this user")
	}
	f()
}
