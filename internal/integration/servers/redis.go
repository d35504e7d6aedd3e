package servers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Redis starts a redis-server for this test alone. It keeps nothing over a restart unless a setting says so; settings
// are its command-line options, such as "--appendonly", "yes".
func Redis(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	p, err := launchRedis("redis", settings)
	return own(tb, p, err)
}

var sharedRedis = sync.OnceValues(func() (*process, error) { return launchRedis("redis", nil) })

// SharedRedis returns the redis-server of this test binary, and starts it when it is asked for first. Tests share
// its keys too: use a prefix.
func SharedRedis(tb testing.TB) *Server {
	tb.Helper()
	p, err := sharedRedis()
	return share(tb, p, err)
}

func launchRedis(name string, settings []string) (*process, error) {
	bin, err := find("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	return launch(spec{
		name:  name,
		bin:   bin,
		quit:  syscall.SIGTERM,
		ports: 2, // the second is the bus of a cluster
		args: func(p *process) []string {
			return append([]string{
				"--bind", "127.0.0.1",
				"--port", strconv.Itoa(p.ports[0]),
				"--cluster-port", strconv.Itoa(p.ports[1]),
				"--dir", p.dir,
				"--save", "",
				"--appendonly", "no",
				"--repl-diskless-sync-delay", "0",
			}, settings...)
		},
		ready: redisReady,
	})
}

// redisReady asks who answers (it may be the server of another test that won a race for the port), and whether all
// data is loaded (INFO is answered before, other commands are not).
func redisReady(p *process, _ int) error {
	info, err := redisDo(p.addr(), "INFO")
	if err != nil {
		return err
	}
	if redisField(info, "loading") == "1" {
		return errors.New("it is loading its data")
	}
	if want := p.cmd.Process.Pid; redisField(info, "process_id") != strconv.Itoa(want) {
		return fmt.Errorf("%s is answered by process %s, not by ours, %d", p.addr(), redisField(info, "process_id"), want)
	}
	return nil
}

// ClusterServer is a Redis cluster: three masters without replicas, at first.
type ClusterServer struct {
	Addrs []string  // of all nodes
	Nodes []*Server // each can be killed, paused and restarted

	settings []string
}

// RedisCluster starts a cluster of three masters for this test and waits until all of them agree that it is whole.
func RedisCluster(tb testing.TB, settings ...string) *ClusterServer {
	tb.Helper()
	c := &ClusterServer{settings: settings}
	for range 3 {
		c.launch(tb)
	}
	if err := c.join(); err != nil {
		tb.Fatalf("servers: form the redis cluster: %v", err)
	}
	return c
}

// Add starts another node and waits until all nodes know each other. It is a master without slots; CLUSTER commands
// give it some, or make it a replica.
func (c *ClusterServer) Add(tb testing.TB) *Server {
	tb.Helper()
	node := c.launch(tb)
	err := c.meet(node)
	if err == nil {
		err = c.agree()
	}
	if err != nil {
		tb.Fatalf("servers: add a node to the redis cluster: %v", err)
	}
	return node
}

func (c *ClusterServer) launch(tb testing.TB) *Server {
	tb.Helper()
	p, err := launchRedis("redis-cluster", append([]string{
		"--cluster-enabled", "yes",
		"--cluster-config-file", "nodes.conf",
		"--cluster-node-timeout", "2000",
	}, c.settings...))
	node := own(tb, p, err)
	c.Nodes, c.Addrs = append(c.Nodes, node), append(c.Addrs, node.Addr)
	return node
}

// meet introduces a node to all the others.
func (c *ClusterServer) meet(node *Server) error {
	for _, other := range c.Nodes {
		if other == node {
			continue
		}
		if _, err := redisDo(node.Addr, "CLUSTER", "MEET", other.Host(), strconv.Itoa(other.p.ports[0]),
			strconv.Itoa(other.p.ports[1])); err != nil {
			return err
		}
	}
	return nil
}

func (c *ClusterServer) join() error {
	const slots = 16384
	for i, node := range c.Nodes {
		first, last := i*slots/len(c.Nodes), (i+1)*slots/len(c.Nodes)-1
		if _, err := redisDo(node.Addr, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)); err != nil {
			return err
		}
		if _, err := redisDo(node.Addr, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
	}
	for _, node := range c.Nodes {
		if err := c.meet(node); err != nil {
			return err
		}
	}
	return c.agree()
}

// agree waits until all nodes say that the cluster is whole, and know as many of them.
func (c *ClusterServer) agree() error {
	return waitFor(func() error {
		for _, node := range c.Nodes {
			info, err := redisDo(node.Addr, "CLUSTER", "INFO")
			if err != nil {
				return err
			}
			if redisField(info, "cluster_state") != "ok" || redisField(info, "cluster_known_nodes") != strconv.Itoa(len(c.Nodes)) {
				return fmt.Errorf("%s says:\n%s", node.Addr, info)
			}
		}
		return nil
	})
}

// SentinelServer is a Redis master with one replica, watched by three sentinels which fail over to the replica about
// a second after the master is gone.
type SentinelServer struct {
	MasterName string
	Addrs      []string // of the sentinels
	Master     *Server  // the master at the beginning
	Replica    *Server  // the replica at the beginning
	Sentinels  []*Server
}

// RedisSentinel starts such a group for this test and waits until the replica is in step and every sentinel knows
// all the others, so that a failover can begin at once.
func RedisSentinel(tb testing.TB, settings ...string) *SentinelServer {
	tb.Helper()
	bin, err := find("redis-sentinel", "redis-sentinel")
	if err != nil {
		tb.Fatal(err)
	}
	p, err := launchRedis("redis-master", settings)
	g := &SentinelServer{MasterName: "mymaster", Master: own(tb, p, err)}
	p, err = launchRedis("redis-replica", append([]string{
		"--replicaof", g.Master.Host() + " " + strconv.Itoa(g.Master.Port()),
	}, settings...))
	g.Replica = own(tb, p, err)
	if err := waitFor(func() error {
		info, err := redisDo(g.Master.Addr, "INFO", "replication")
		if err == nil && !strings.Contains(info, "state=online") {
			err = fmt.Errorf("the replica is not in step:\n%s", info)
		}
		return err
	}); err != nil {
		tb.Fatalf("servers: redis replication: %v", err)
	}
	for range 3 {
		p, err := launch(spec{
			name: "redis-sentinel",
			bin:  bin,
			quit: syscall.SIGTERM,
			prepare: func(p *process) error {
				conf := fmt.Sprintf(`bind 127.0.0.1
port %d
dir %q
sentinel monitor %s %s %d 2
sentinel down-after-milliseconds %[3]s 1000
sentinel failover-timeout %[3]s 5000
`, p.ports[0], p.dir, g.MasterName, g.Master.Host(), g.Master.Port())
				return os.WriteFile(filepath.Join(p.dir, "sentinel.conf"), []byte(conf), 0o600)
			},
			args:  func(p *process) []string { return []string{filepath.Join(p.dir, "sentinel.conf")} },
			ready: redisReady,
		})
		sentinel := own(tb, p, err)
		g.Sentinels, g.Addrs = append(g.Sentinels, sentinel), append(g.Addrs, sentinel.Addr)
	}
	if err := waitFor(func() error {
		for _, sentinel := range g.Sentinels {
			info, err := redisDo(sentinel.Addr, "INFO", "sentinel")
			if err != nil {
				return err
			}
			if !strings.Contains(info, "status=ok") || !strings.Contains(info, "slaves=1,sentinels=3") {
				return fmt.Errorf("%s says:\n%s", sentinel.Addr, info)
			}
		}
		return nil
	}); err != nil {
		tb.Fatalf("servers: redis sentinels: %v", err)
	}
	return g
}

// waitFor repeats a check until it holds.
func waitFor(check func() error) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// redisDo sends one command on a connection of its own and returns its reply, a simple or a bulk string or a number.
func redisDo(addr string, command ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	request := fmt.Sprintf("*%d\r\n", len(command))
	for _, word := range command {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("redis: empty reply")
	}
	switch line[0] {
	case '+', ':':
		return line[1:], nil
	case '-':
		return "", errors.New("redis: " + line[1:])
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", err
		}
		bulk := make([]byte, n)
		_, err = io.ReadFull(r, bulk)
		return string(bulk), err
	default:
		return "", fmt.Errorf("redis: unexpected reply %q", line)
	}
}

// redisField finds a "name:value" line.
func redisField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
