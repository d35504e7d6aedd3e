package servers

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

//go:embed guard.sh
var guardScript string

// guard is the one folder of this test binary and the one process that cleans up behind it.
var guard struct {
	once   sync.Once
	err    error
	folder string

	mu   sync.Mutex
	pipe io.WriteCloser // never closed: the kernel does it when this process ends
}

func startGuard() {
	guard.folder, guard.err = os.MkdirTemp(folderParent(), "session-servers-")
	if guard.err != nil {
		return
	}
	// Servers of other users must get through to their own folders below, but need not list this one.
	if guard.err = os.Chmod(guard.folder, 0o711); guard.err != nil {
		return
	}
	cmd := exec.Command("/bin/sh", "-c", guardScript, "session-servers-guard", guard.folder)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // survives what ends the test binary
	if guard.pipe, guard.err = cmd.StdinPipe(); guard.err != nil {
		return
	}
	if guard.err = cmd.Start(); guard.err != nil {
		return
	}
	go cmd.Wait()
}

// tellGuard says that a server process has begun ("+") or ended ("-").
func tellGuard(sign string, pid int) {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	fmt.Fprintln(guard.pipe, sign, pid)
}

// newFolder makes a folder for one server. It is not the test's own TempDir, whose parents are closed to other users.
func newFolder(name string) (string, error) {
	guard.once.Do(startGuard)
	if guard.err != nil {
		return "", fmt.Errorf("servers: %w", guard.err)
	}
	return os.MkdirTemp(guard.folder, name+"-")
}

// folderParent returns the folder for temporary files, or /tmp when only root can enter it.
func folderParent() string {
	dir := os.TempDir()
	if os.Geteuid() != 0 {
		return dir
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return "/tmp"
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}
