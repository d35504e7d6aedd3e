//go:build unix

package testhost

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Freeze stops a process and all below it by SIGSTOP, and returns them, the process itself first, once none runs.
func Freeze(pid int) []int {
	var frozen []int
	for next := []int{pid}; len(next) > 0; {
		for _, pid := range next {
			syscall.Kill(pid, syscall.SIGSTOP)
		}
		for _, pid := range next {
			awaitStopped(pid) // from here on it starts no further process
		}
		frozen = append(frozen, next...)
		next = slices.DeleteFunc(Descendants(pid), func(pid int) bool { return slices.Contains(frozen, pid) })
	}
	return frozen
}

// awaitStopped waits until no thread of a process that got a SIGSTOP runs any more: the signal takes them one by one,
// after kill has returned.
func awaitStopped(pid int) {
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if !slices.ContainsFunc(threads, func(name string) bool {
			_, _, state, ok := ReadStat(name)
			return ok && !strings.Contains("TtZX", state)
		}) {
			return
		}
	}
}

// Descendants lists the processes below pid, without pid, parents before children. PostgreSQL's own children each
// lead a session, so that a signal to the process group would miss them.
func Descendants(pid int) []int {
	children := map[int][]int{}
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		child, parent, state, ok := ReadStat(name)
		if ok && state != "Z" {
			children[parent] = append(children[parent], child)
		}
	}
	list := children[pid]
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

// ReadStat reads what it needs of a file /proc/PID/stat: "PID (any name) STATE PPID ...".
func ReadStat(name string) (pid, parent int, state string, ok bool) {
	stat, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, "", false
	}
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, "", false
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 2 {
		return 0, 0, "", false
	}
	pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(name)))
	parent, _ = strconv.Atoi(fields[1])
	return pid, parent, fields[0], true
}
