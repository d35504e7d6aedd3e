// Package servers starts real database and cache servers for tests: PostgreSQL, PgBouncer, MariaDB, FerretDB in the
// place of MongoDB, and Redis alone, as a cluster and under Sentinel. Each listens on free ports of the loopback
// address, keeps its files in a temporary folder, and is waited for until it serves.
//
//	pg := servers.Postgres(t)      // one of this test's own, stopped when the test ends
//	db := pg.NewDatabase(t)        // fresh and empty
//	conn, err := sql.Open("pgx", db.DSN)
//	...
//	pg.Kill()                      // kill -9; also Stop, Pause, Resume, Restart
//
// Proxy stands in front of any of them and counts the round trips that clients make.
//
// SharedPostgres and its like give one server to all tests of a test binary, for tests which need a database but
// do not hurt it. Tests that do, start one of their own.
//
// A server that cannot be started fails the test; nothing is ever skipped. No server outlives the test binary, not
// even one that panics or is killed: a guard process of a few lines of shell notices the end of the binary, stops
// what is left by process id, and removes the folder. The package is made for Linux; on other systems with a Unix
// heart only the guard and the faults see less than the whole process tree.
//
// Servers which refuse to run as root (PostgreSQL, PgBouncer, MariaDB) run as their own user when the test does.
package servers

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coatcheck/session/internal/testhost"
)

const (
	startTimeout = 60 * time.Second // generous: CI machines are slow and busy
	stopTimeout  = 15 * time.Second // then the server is killed
	pollEvery    = 5 * time.Millisecond
)

// Server is one running server process, as a test holds it. Its methods report their failures to the test it was
// made for and may be called from any goroutine.
type Server struct {
	Addr string // host:port, the same for the whole life of the server

	p      *process
	tb     testing.TB
	shared bool
}

// Host returns the host part of Addr, always 127.0.0.1.
func (s *Server) Host() string { return "127.0.0.1" }

// Port returns the port part of Addr.
func (s *Server) Port() int { return s.p.ports[0] }

// PID returns the process id of the server, or 0 when it does not run.
func (s *Server) PID() int { return s.p.pid() }

// Log returns what the server has logged so far, over all its restarts.
func (s *Server) Log() string {
	log, err := os.ReadFile(s.p.logFile())
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// Stop shuts the server down in its orderly way, as an operator would. Its files stay until the test ends.
func (s *Server) Stop() { s.fault("stop", s.p.stop) }

// Kill ends the server and everything it has started by SIGKILL, as a crash would.
func (s *Server) Kill() { s.fault("kill", s.p.kill) }

// Pause freezes the server by SIGSTOP: connections stay open, new ones are accepted by the kernel, nobody answers.
func (s *Server) Pause() { s.fault("pause", s.p.pause) }

// Resume lets a paused server go on.
func (s *Server) Resume() { s.fault("resume", s.p.resume) }

// Restart stops the server if it runs, starts it again on the same address with the same files, and waits until it
// serves. It is also the way to start a server that was stopped or killed.
func (s *Server) Restart() { s.fault("restart", s.p.restart) }

func (s *Server) fault(verb string, do func() error) {
	s.tb.Helper()
	if s.shared {
		s.tb.Errorf("servers: cannot %s the %s that all tests share: start one of this test's own", verb, s.p.name)
		return
	}
	if err := do(); err != nil {
		s.tb.Errorf("servers: %s %s: %v", verb, s.p.name, err)
	}
}

// own gives a started process to one test: it is stopped and removed when the test ends.
func own(tb testing.TB, p *process, err error) *Server {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of the log of %s on %s:\n%s", p.name, p.addr(), p.logTail())
		}
		if err := p.stop(); err != nil {
			tb.Errorf("servers: stop %s: %v", p.name, err)
		}
		os.RemoveAll(p.dir)
	})
	return &Server{Addr: p.addr(), p: p, tb: tb}
}

// share gives a started process to one of many tests; the guard stops it.
func share(tb testing.TB, p *process, err error) *Server {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	return &Server{Addr: p.addr(), p: p, tb: tb, shared: true}
}

// Database is one database on a server that has many.
type Database struct {
	Name string
	DSN  string // for database/sql: pgx's and lib/pq's form, or that of go-sql-driver/mysql
	URL  string // for everyone else: postgres://... or mysql://...
}

// spec says how a kind of server is run.
type spec struct {
	name    string
	bin     string                        // path of the program
	user    string                        // whom it runs as when the test runs as root; empty for root itself
	ports   int                           // how many ports it needs
	prepare func(*process) error          // makes its folder ready, once the ports are chosen
	args    func(*process) []string       // command line without the program
	ready   func(p *process, n int) error // nil once it serves; n is the size of the log before this start
	quit    syscall.Signal                // shuts it down in its orderly way, whatever its clients do
}

// process is one server process over all its restarts.
type process struct {
	spec
	dir   string
	ports []int
	cred  *syscall.Credential

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{} // closed when cmd has been waited for
	waitErr error         // how it ended; read after exited
	paused  bool
}

// launch starts a server in a new folder. A port that somebody else took in the meantime is replaced.
func launch(sp spec) (*process, error) {
	var err error
	for range 5 {
		var p *process
		p, err = launchOnce(sp)
		if err == nil {
			return p, nil
		}
		taken := p != nil && strings.Contains(strings.ToLower(p.logTail()), "address already in use")
		if p != nil {
			os.RemoveAll(p.dir)
		}
		if !taken {
			break
		}
	}
	return nil, err
}

func launchOnce(sp spec) (*process, error) {
	dir, err := newFolder(sp.name)
	if err != nil {
		return nil, err
	}
	p := &process{spec: sp, dir: dir}
	if sp.user != "" && os.Geteuid() == 0 {
		if p.cred, err = credential(sp.user); err != nil {
			return p, fmt.Errorf("servers: start %s: %w", sp.name, err)
		}
		if err := os.Chown(dir, int(p.cred.Uid), int(p.cred.Gid)); err != nil {
			return p, fmt.Errorf("servers: start %s: %w", sp.name, err)
		}
	}
	if p.ports, err = testhost.FreePorts(max(sp.ports, 1)); err != nil {
		return p, fmt.Errorf("servers: start %s: %w", sp.name, err)
	}
	if sp.prepare != nil {
		if err := sp.prepare(p); err != nil {
			return p, fmt.Errorf("servers: prepare %s: %w", sp.name, err)
		}
	}
	if err := p.start(); err != nil {
		return p, fmt.Errorf("servers: start %s: %w", sp.name, err)
	}
	return p, nil
}

func (p *process) addr() string    { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.ports[0])) }
func (p *process) logFile() string { return filepath.Join(p.dir, "log") }

func (p *process) logTail() string {
	log, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// command prepares a program to run in the server's folder as the server's user.
func (p *process) command(bin string, args ...string) *exec.Cmd {
	cmd := exec.Command(bin, args...)
	cmd.Dir = p.dir
	// A server must not see the keyboard's signals before the test does, hence its own session; nor settings
	// meant for the tester's own databases, hence the bare environment.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + p.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: p.cred}
	return cmd
}

// run runs a helper program to its end and returns what it printed.
func (p *process) run(bin string, args ...string) (string, error) {
	out, err := p.command(bin, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", filepath.Base(bin), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runningLocked() {
		return errors.New("it is already running")
	}
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	before := 0
	if info, err := log.Stat(); err == nil {
		before = int(info.Size())
	}
	cmd := p.command(p.bin, p.args(p)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	pid, exited := cmd.Process.Pid, make(chan struct{})
	tellGuard("+", pid)
	p.cmd, p.exited, p.paused = cmd, exited, false
	go func() {
		p.waitErr = cmd.Wait()
		tellGuard("-", pid)
		close(exited)
	}()

	deadline := time.Now().Add(startTimeout)
	for {
		select {
		case <-exited:
			return fmt.Errorf("it ended at once (%v); the end of its log:\n%s", p.waitErr, p.logTail())
		default:
		}
		err := p.ready(p, before)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			p.killLocked()
			return fmt.Errorf("it does not serve after %v: %w; the end of its log:\n%s", startTimeout, err, p.logTail())
		}
		time.Sleep(pollEvery)
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *process) runningLocked() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return nil
	}
	if p.paused {
		p.resumeLocked()
	}
	if err := p.cmd.Process.Signal(p.quit); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTimeout):
		p.killLocked()
		return fmt.Errorf("it did not end within %v of being told to, and was killed; the end of its log:\n%s",
			stopTimeout, p.logTail())
	}
}

func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return errors.New("it does not run")
	}
	return p.killLocked()
}

func (p *process) killLocked() error {
	// Stopped first, so that it cannot start another child between the count and the kill.
	pids := testhost.Freeze(p.cmd.Process.Pid)
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.exited
	deadline := time.Now().Add(stopTimeout)
	for _, pid := range pids[1:] {
		for alive(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("its process %d survived SIGKILL", pid)
			}
			time.Sleep(pollEvery)
		}
	}
	return nil
}

func (p *process) pause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return errors.New("it does not run")
	}
	testhost.Freeze(p.cmd.Process.Pid)
	p.paused = true
	return nil
}

func (p *process) resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return errors.New("it does not run")
	}
	p.resumeLocked()
	return nil
}

func (p *process) resumeLocked() {
	pid := p.cmd.Process.Pid
	for _, child := range testhost.Descendants(pid) {
		syscall.Kill(child, syscall.SIGCONT)
	}
	syscall.Kill(pid, syscall.SIGCONT)
	p.paused = false
}

func (p *process) restart() error {
	if err := p.stop(); err != nil {
		return err
	}
	return p.start()
}

func (p *process) isPaused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused
}

// alive reports whether a process exists that is more than a zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return false
	}
	_, _, state, ok := testhost.ReadStat(fmt.Sprintf("/proc/%d/stat", pid))
	return !ok || state != "Z"
}

// find returns the path of a program, looking also where Debian hides servers from ordinary users.
func find(program, debianPackage string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", missing(program, debianPackage)
}

func missing(what, debianPackage string) error {
	return fmt.Errorf("servers: %s is not installed. It comes with Debian's package %s; this installs it:\n"+
		"\tapt-get install -y --no-install-recommends %s", what, debianPackage, debianPackage)
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
