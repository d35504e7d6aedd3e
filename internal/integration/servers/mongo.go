package servers

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// MongoServer is a server that speaks MongoDB's protocol: FerretDB, as MongoDB itself is in no package of Debian's.
// The comment of internal/ferretdb, which is built for it, says what it lacks.
type MongoServer struct {
	*Server

	// MonitorAddr is where every command and its reply can be read, in the order in which they were run.
	MonitorAddr string
}

// Mongo starts such a server for this test alone. It keeps what was acknowledged over a kill, but not over a crash of
// the machine.
func Mongo(tb testing.TB) *MongoServer {
	tb.Helper()
	p, err := launchMongo()
	return mongoServer(own(tb, p, err))
}

var sharedMongo = sync.OnceValues(launchMongo)

// SharedMongo returns the server of this test binary, and starts it when it is asked for first.
func SharedMongo(tb testing.TB) *MongoServer {
	tb.Helper()
	p, err := sharedMongo()
	return mongoServer(share(tb, p, err))
}

func mongoServer(s *Server) *MongoServer { return &MongoServer{s, s.p.monitorAddr()} }

func launchMongo() (*process, error) {
	bin, err := ferretDB()
	if err != nil {
		return nil, err
	}
	return launch(spec{
		name:    "mongo",
		bin:     bin,
		quit:    syscall.SIGTERM,
		ports:   2,
		prepare: func(p *process) error { return os.Mkdir(filepath.Join(p.dir, "data"), 0o700) },
		args: func(p *process) []string {
			return []string{"-listen", p.addr(), "-monitor", p.monitorAddr(), "-dir", "data"}
		},
		ready: func(p *process, before int) error {
			return logSays(p, before, "serving on "+p.addr())
		},
	})
}

func (p *process) monitorAddr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.ports[1]))
}

// ferretDB builds the server, once for this test binary, and returns the path of it. Where Go has built it before this
// takes seconds, else some minutes.
var ferretDB = sync.OnceValues(func() (string, error) {
	here, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/coatcheck/session/internal/integration").Output()
	if err != nil {
		return "", fmt.Errorf("servers: find internal/ferretdb: %w", err)
	}
	source := filepath.Join(filepath.Dir(strings.TrimSpace(string(here))), "ferretdb")
	folder, err := newFolder("ferretdb")
	if err != nil {
		return "", err
	}
	// One at a time builds, and the others find it built: go test runs several test binaries at once, and Go would
	// compile all of it for each of them.
	lock, err := os.Open(filepath.Join(source, "main.go")) // not go.mod, which go locks itself
	if err != nil {
		return "", fmt.Errorf("servers: build FerretDB: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("servers: build FerretDB: %w", err)
	}
	bin := filepath.Join(folder, "ferretdb")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("servers: build FerretDB: %w\n%s", err, bytes.TrimSpace(out))
	}
	return bin, nil
})

// NewDatabase returns the address of an empty database for this test. Its files go with the server.
func (s *MongoServer) NewDatabase() Database {
	name := fmt.Sprintf("test_%d", databases.Add(1))
	return Database{Name: name, URL: fmt.Sprintf("mongodb://%s/%s", s.Addr, name)}
}
