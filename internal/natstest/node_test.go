package natstest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session/internal/testhost"
)

// nodeEnv tells a process that it is to be a server, and which.
const nodeEnv = "SESSION_NATS_NODE"

func TestMain(m *testing.M) {
	if text := os.Getenv(nodeEnv); text != "" {
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A nodeConfig says which server a process is.
type nodeConfig struct {
	Name   string
	Dir    string
	Port   int
	Routes []int // the ports by which the nodes of a cluster reach each other
	Route  int   // its own of these, or 0
	Limits limits
}

// limits are what tests set of a server.
type limits struct {
	MaxPayload int32
	Domain     string
}

// serve is a server until the process is told to end, or its parent is gone.
func serve(text string) error {
	var c nodeConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	opts := &server.Options{
		ServerName:      c.Name,
		Host:            "127.0.0.1",
		Port:            c.Port,
		JetStream:       true,
		StoreDir:        c.Dir,
		MaxPayload:      c.Limits.MaxPayload,
		JetStreamDomain: c.Limits.Domain,
		NoSigs:          true,
		LogFile:         filepath.Join(c.Dir, "log"),
	}
	if c.Route != 0 {
		opts.Cluster = server.ClusterOpts{Name: "sessions", Host: "127.0.0.1", Port: c.Route}
		var urls []string
		for _, port := range c.Routes {
			urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", port))
		}
		opts.Routes = server.RoutesFromStr(strings.Join(urls, ","))
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	io.Copy(io.Discard, os.Stdin) // ends with the parent
	s.Shutdown()
	return nil
}

// A node is a server of a test.
type node struct {
	t      testing.TB
	config nodeConfig
	url    string

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// startNode starts a server alone, with its files in a folder of the test.
func startNode(t testing.TB, l limits) *node {
	t.Helper()
	return startNodes(t, l, 1)[0]
}

// startCluster starts three servers that are a cluster.
func startCluster(t testing.TB) []*node {
	t.Helper()
	return startNodes(t, limits{}, 3)
}

func startNodes(t testing.TB, l limits, n int) []*node {
	t.Helper()
	ports, err := testhost.FreePorts(2 * n)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*node
	for i := range n {
		c := nodeConfig{Name: fmt.Sprint("n", i+1), Dir: t.TempDir(), Port: ports[i], Limits: l}
		if n > 1 {
			c.Routes, c.Route = ports[n:], ports[n+i]
		}
		nodes = append(nodes, &node{t: t, config: c, url: fmt.Sprintf("nats://127.0.0.1:%d", c.Port)})
	}
	for _, n := range nodes {
		t.Cleanup(n.Kill)
		n.Start()
	}
	// Until there is somebody who manages streams.
	js := connect(t, nodes...)
	waitUntil(t, func(ctx context.Context) error {
		_, err := js.AccountInfo(ctx)
		return err
	})
	if n > 1 {
		// And until that knows all of them: it then finds a place for each replica.
		waitUntil(t, func(ctx context.Context) error {
			trial := jetstream.StreamConfig{Name: "trial", Subjects: []string{"trial"}, Storage: jetstream.MemoryStorage, Replicas: n}
			if _, err := js.CreateStream(ctx, trial); err != nil {
				return err
			}
			return js.DeleteStream(ctx, trial.Name)
		})
	}
	return nodes
}

// Start starts the server, on the files that it has, and waits until it listens.
func (n *node) Start() {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	text, err := json.Marshal(n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command(os.Args[0])
	// What the race detector finds in the server is not ours.
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+string(text), "GORACE=exitcode=0 log_path="+filepath.Join(n.config.Dir, "race"))
	n.cmd.Stderr = os.Stderr
	endWithParent(n.cmd)
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		n.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	waitUntil(n.t, func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", fmt.Sprint("127.0.0.1:", n.config.Port))
		if err == nil {
			c.Close()
		}
		return err
	})
}

// Kill ends the server as a crash would.
func (n *node) Kill() {
	n.end(func() { n.cmd.Process.Kill() })
}

// Stop ends the server in its orderly way.
func (n *node) Stop() {
	n.end(func() { n.stdin.Close() })
}

func (n *node) end(how func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	how()
	n.cmd.Wait()
	n.cmd = nil
}

// Pause stops the process where it is, and Resume lets it go on.
// Pause returns when the server answers nothing any more.
func (n *node) Pause() {
	n.mu.Lock()
	defer n.mu.Unlock()
	testhost.Freeze(n.cmd.Process.Pid)
}

func (n *node) Resume() { n.signal(syscall.SIGCONT) }

func (n *node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Error(err)
	}
}

// connect returns a connection to the first of the servers, which goes on to the
// others if it is lost, and is closed when the test ends.
func connect(t testing.TB, nodes ...*node) jetstream.JetStream {
	t.Helper()
	return connectWith(t, nodes)
}

func connectWith(t testing.TB, nodes []*node, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(dial(t, nodes, opts...))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func dial(t testing.TB, nodes []*node, opts ...nats.Option) *nats.Conn {
	t.Helper()
	var urls []string
	for _, n := range nodes {
		urls = append(urls, n.url)
	}
	conn, err := nats.Connect(strings.Join(urls, ","), append([]nats.Option{
		nats.DontRandomize(), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// waitUntil repeats f until it returns no error. What it waits for takes seconds
// at most; the limit is for machines that are busy with something else.
func waitUntil(t testing.TB, f func(ctx context.Context) error) {
	t.Helper()
	const most = 2 * time.Minute
	end := time.Now().Add(most)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v: %v", most, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
