package natstest

import (
	"os/exec"
	"syscall"
)

// endWithParent sees to it that the process does not outlive this one, not even
// where it is paused and cannot notice.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
