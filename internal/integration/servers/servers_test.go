package servers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/coatcheck/session/internal/testhost"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	pg := Postgres(t, "max_connections=77")
	if got := query(t, pg.sql, "SHOW max_connections"); got != "77" {
		t.Errorf("max_connections = %s, want the 77 of the setting", got)
	}
	query(t, pg.sql, "CREATE TABLE kept (n int)")
	query(t, pg.sql, "INSERT INTO kept VALUES (23)")
	surviveFaults(t, pg.Server, func() string { return query(t, pg.sql, "SELECT n FROM kept") }, "23")
}

func TestPostgresDatabases(t *testing.T) {
	t.Parallel()
	pg := SharedPostgres(t)
	if again := SharedPostgres(t); again.PID() != pg.PID() {
		t.Error("a second SharedPostgres is another server")
	}
	var a, b Database
	t.Run("use", func(t *testing.T) {
		a, b = pg.NewDatabase(t), pg.NewDatabase(t)
		if a.Name == b.Name {
			t.Error("two new databases are one")
		}
		if got := query(t, pg.sql, "SELECT count(*) FROM pg_database WHERE datname IN ('"+a.Name+"','"+b.Name+"')"); got != "2" {
			t.Errorf("the server knows %s of the 2 databases", got)
		}
	})
	if got := query(t, pg.sql, "SELECT count(*) FROM pg_database WHERE datname IN ('"+a.Name+"','"+b.Name+"')"); got != "0" {
		t.Errorf("after the test %s databases are left", got)
	}
}

func TestPGBouncer(t *testing.T) {
	t.Parallel()
	pg := Postgres(t)
	bouncer := PGBouncer(t, pg)
	db := bouncer.NewDatabase(t)
	if !strings.Contains(db.DSN, bouncer.Addr) {
		t.Errorf("the DSN %s does not lead through the bouncer on %s", db.DSN, bouncer.Addr)
	}
	ask := func() string {
		psql, err := find("psql", "postgresql-client-15")
		if err != nil {
			t.Fatal(err)
		}
		out, err := bouncer.p.run(psql, "-X", "-A", "-t", "-d", db.DSN, "-c", "SELECT current_database()")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	surviveFaults(t, bouncer.Server, ask, db.Name)
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	my := MariaDB(t, "--max-connections=77")
	if got := query(t, my.sql, "SELECT @@max_connections"); got != "77" {
		t.Errorf("max_connections = %s, want the 77 of the setting", got)
	}
	db := my.NewDatabase(t)
	query(t, my.sql, "CREATE TABLE "+db.Name+".kept (n int)")
	query(t, my.sql, "INSERT INTO "+db.Name+".kept VALUES (23)")
	surviveFaults(t, my.Server, func() string { return query(t, my.sql, "SELECT n FROM "+db.Name+".kept") }, "23")
}

func TestMariaDBDatabases(t *testing.T) {
	t.Parallel()
	my := SharedMariaDB(t)
	var db Database
	t.Run("use", func(t *testing.T) {
		db = my.NewDatabase(t)
		if got := query(t, my.sql, "SHOW DATABASES LIKE '"+db.Name+"'"); got != db.Name {
			t.Errorf("the server does not know %s", db.Name)
		}
	})
	if got := query(t, my.sql, "SHOW DATABASES LIKE '"+db.Name+"'"); got != "" {
		t.Errorf("after the test %s is left", got)
	}
}

func TestMongo(t *testing.T) {
	t.Parallel()
	m := Mongo(t)
	db := m.NewDatabase()
	if again := m.NewDatabase(); again.Name == db.Name {
		t.Error("two new databases are one")
	}
	coll := collection(t, db)
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "kept"}, {Key: "n", Value: 23}}); err != nil {
		t.Fatal(err)
	}
	surviveFaults(t, m.Server, func() string {
		doc, err := coll.FindOne(t.Context(), bson.D{{Key: "_id", Value: "kept"}}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(doc.Lookup("n").Int32())
	}, "23")
}

// TestMongoRunsOneCommandAfterAnother checks what the queue is for. Without it several of those who would replace the
// same version of a document succeed.
func TestMongoRunsOneCommandAfterAnother(t *testing.T) {
	t.Parallel()
	coll := collection(t, SharedMongo(t).NewDatabase())
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "a"}, {Key: "version", Value: 0}}); err != nil {
		t.Fatal(err)
	}
	for version := range 50 {
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				res, err := coll.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "a"}, {Key: "version", Value: version}},
					bson.D{{Key: "$set", Value: bson.D{{Key: "version", Value: version + 1}}}})
				if err != nil {
					t.Error(err)
					return
				}
				won.Add(res.MatchedCount)
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 8 have replaced version %d", won.Load(), version)
		}
	}
}

// TestMongoMonitor reads two commands of two clients, whole and with their replies.
func TestMongoMonitor(t *testing.T) {
	t.Parallel()
	m := Mongo(t)
	conn, err := net.Dial("tcp", m.MonitorAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if first := readMongo(t, conn); len(first) != 4 {
		t.Fatalf("it begins with %q", first)
	}
	db := m.NewDatabase()
	for _, id := range []string{"id of the first", "id of the second"} {
		if _, err := collection(t, db).InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"id of the first", "id of the second"} {
		request := readMongo(t, conn)
		reply := readMongo(t, conn)
		for !bytes.Contains(request, []byte(id)) { // there are handshakes between
			request, reply = readMongo(t, conn), readMongo(t, conn)
		}
		if got, want := binary.LittleEndian.Uint32(reply[8:]), binary.LittleEndian.Uint32(request[4:]); got != want {
			t.Errorf("after request %d there is the reply to %d", want, got)
		}
	}
}

func readMongo(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	message := make([]byte, 4)
	if _, err := io.ReadFull(conn, message); err != nil {
		t.Fatal(err)
	}
	message = slices.Grow(message, int(binary.LittleEndian.Uint32(message)))[:binary.LittleEndian.Uint32(message)]
	if _, err := io.ReadFull(conn, message[4:]); err != nil {
		t.Fatal(err)
	}
	return message
}

func collection(t *testing.T, db Database) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(db.URL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Disconnect(context.Background()) })
	return client.Database(db.Name).Collection("kept")
}

func TestRedis(t *testing.T) {
	t.Parallel()
	redis := Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	if got := redisMust(t, redis.Addr, "SET", "kept", "23"); got != "OK" {
		t.Fatalf("SET said %q", got)
	}
	surviveFaults(t, redis, func() string { return redisMust(t, redis.Addr, "GET", "kept") }, "23")
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	cluster := RedisCluster(t)
	if len(cluster.Nodes) != 3 || len(cluster.Addrs) != 3 {
		t.Fatalf("the cluster has %d nodes and %d addresses, want 3", len(cluster.Nodes), len(cluster.Addrs))
	}
	// One key has one home: exactly one node takes it, the two others say where to go.
	taken, moved := 0, 0
	for _, addr := range cluster.Addrs {
		_, err := redisDo(addr, "SET", "key", "23")
		switch {
		case err == nil:
			taken++
		case strings.Contains(err.Error(), "MOVED"):
			moved++
		default:
			t.Error(err)
		}
	}
	if taken != 1 || moved != 2 {
		t.Errorf("%d nodes took the key and %d redirected, want 1 and 2", taken, moved)
	}
	added := cluster.Add(t)
	if nodes := redisMust(t, cluster.Addrs[0], "CLUSTER", "NODES"); len(cluster.Nodes) != 4 || !strings.Contains(nodes, added.Addr+"@") {
		t.Errorf("a node was added that the others do not know:\n%s", nodes)
	}
	cluster.Nodes[0].Kill()
	cluster.Nodes[0].Restart()
	if err := waitFor(func() error {
		info, err := redisDo(cluster.Addrs[0], "CLUSTER", "INFO")
		if err == nil && redisField(info, "cluster_state") != "ok" {
			err = fmt.Errorf("after a restart: %s", info)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	group := RedisSentinel(t)
	redisMust(t, group.Master.Addr, "SET", "kept", "23")
	redisMust(t, group.Master.Addr, "WAIT", "1", "1000")
	group.Master.Kill()
	if err := waitFor(func() error {
		info, err := redisDo(group.Replica.Addr, "INFO", "replication")
		if err == nil && redisField(info, "role") != "master" {
			err = fmt.Errorf("no failover:\n%s", info)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := redisMust(t, group.Replica.Addr, "GET", "kept"); got != "23" {
		t.Errorf("after the failover the key is %q, want 23", got)
	}
}

// surviveFaults walks a server through all its faults; ask must answer want whenever the server is up.
func surviveFaults(t *testing.T, s *Server, ask func() string, want string) {
	t.Helper()
	check := func(when string) {
		t.Helper()
		if got := ask(); got != want {
			t.Fatalf("%s the server answers %q, want %q", when, got, want)
		}
	}
	addr := s.Addr
	check("at first")

	s.Stop()
	if dialable(s.Addr) || s.PID() != 0 {
		t.Error("it still listens after Stop")
	}
	s.Restart()
	check("after Stop and Restart")

	before := s.PID()
	tree := append(testhost.Descendants(before), before)
	s.Kill()
	for _, pid := range tree {
		if alive(pid) {
			t.Errorf("process %d is alive after Kill", pid)
		}
	}
	if dialable(s.Addr) || s.PID() != 0 {
		t.Error("it still listens after Kill")
	}
	s.Restart()
	check("after Kill and Restart")
	if s.PID() == before {
		t.Error("the process is the same after Kill and Restart")
	}
	if s.Addr != addr {
		t.Error("the address changed")
	}

	s.Pause()
	tree = append(testhost.Descendants(s.PID()), s.PID())
	for _, pid := range tree {
		if _, _, state, ok := testhost.ReadStat(fmt.Sprintf("/proc/%d/stat", pid)); ok && state != "T" {
			t.Errorf("process %d is in state %s after Pause, want T", pid, state)
		}
	}
	if !dialable(s.Addr) {
		t.Error("a paused server no longer has its port")
	}
	s.Resume()
	check("after Pause and Resume")

	s.Pause()
	s.Restart()
	check("after Pause and Restart")

	s.Pause()
	s.Kill()
	s.Restart()
	check("after Pause, Kill and Restart")
	if !strings.Contains(s.Log(), "\n") {
		t.Error("the log is empty")
	}
}

func TestFaultsOnASharedServerAreRefused(t *testing.T) {
	t.Parallel()
	mine := recorder{TB: t}
	redis := SharedRedis(&mine)
	before := redis.PID()
	redis.Kill()
	redis.Restart()
	if len(mine.errors) != 2 {
		t.Errorf("%d errors were reported, want 2: %q", len(mine.errors), mine.errors)
	}
	if redis.PID() != before || redisMust(t, redis.Addr, "PING") != "PONG" {
		t.Error("the shared server was hurt")
	}
}

func TestFaultsThatCannotBeAreReported(t *testing.T) {
	t.Parallel()
	mine := recorder{TB: t}
	redis := Redis(&mine)
	redis.Stop()
	redis.Stop() // stopping twice is no mistake
	if len(mine.errors) != 0 {
		t.Errorf("unexpected errors: %q", mine.errors)
	}
	redis.Kill()
	redis.Pause()
	redis.Resume()
	if len(mine.errors) != 3 {
		t.Errorf("%d errors were reported, want 3: %q", len(mine.errors), mine.errors)
	}
}

func TestAServerThatCannotStart(t *testing.T) {
	t.Parallel()
	_, err := launchRedis("redis", []string{"--no-such-option", "1"})
	if err == nil || !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("the error does not show the server's own words: %v", err)
	}
	_, err = find("no-such-server", "no-such-package")
	if err == nil || !strings.Contains(err.Error(), "apt-get install -y --no-install-recommends no-such-package") {
		t.Errorf("the error does not say how to install the server: %v", err)
	}
}

func TestATakenPortIsReplaced(t *testing.T) {
	t.Parallel()
	first := Redis(t)
	bin, err := find("redis-server", "redis-server")
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	p, err := launch(spec{
		name: "redis",
		bin:  bin,
		quit: syscall.SIGTERM,
		args: func(p *process) []string {
			if tries++; tries == 1 {
				p.ports[0] = first.Port() // as if somebody had taken it since it was chosen
			}
			return []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(p.ports[0]), "--dir", p.dir, "--save", ""}
		},
		ready: redisReady,
	})
	second := own(t, p, err)
	if tries != 2 || second.Addr == first.Addr {
		t.Errorf("it took %d tries to get from %s to %s, want 2", tries, first.Addr, second.Addr)
	}
}

// TestNothingIsLeft starts this test binary again as a child which ends in different ways without stopping its
// servers, and looks whether they and their folder are gone.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"panic", "exit", "killed", "killed while paused"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			child := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.count=1")
			child.Env = append(os.Environ(), "SERVERS_TEST_CHILD="+end)
			stdout, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			var pids []int
			folder := ""
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				if pid, ok := strings.CutPrefix(lines.Text(), "server "); ok {
					n, err := strconv.Atoi(pid)
					if err != nil {
						t.Error(err)
					}
					pids = append(pids, n)
				}
				if name, ok := strings.CutPrefix(lines.Text(), "folder "); ok {
					folder = name
				}
				if lines.Text() == "ready" && strings.HasPrefix(end, "killed") {
					child.Process.Kill()
				}
			}
			if err := child.Wait(); err == nil {
				t.Error("the child ended well, which it should not")
			}
			if len(pids) < 4 { // one Redis, and PostgreSQL with its helpers
				t.Fatalf("the child told of the processes %v only", pids)
			}
			if err := waitFor(func() error {
				for _, pid := range pids {
					if alive(pid) {
						return fmt.Errorf("process %d of the child is still alive", pid)
					}
				}
				if _, err := os.Stat(folder); folder == "" || !os.IsNotExist(err) {
					return fmt.Errorf("the child's folder %q is still there", folder)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestChild is what TestNothingIsLeft runs in a process of its own.
func TestChild(t *testing.T) {
	end := os.Getenv("SERVERS_TEST_CHILD")
	if end == "" {
		return
	}
	redis, pg := SharedRedis(t), SharedPostgres(t)
	fmt.Println("folder", guard.folder)
	for _, pid := range slices.Concat([]int{redis.PID(), pg.PID()}, testhost.Descendants(pg.PID())) {
		if alive(pid) {
			fmt.Println("server", pid)
		}
	}
	if end == "killed while paused" {
		redis.p.pause()
		pg.p.pause()
	}
	fmt.Println("ready")
	switch end {
	case "panic":
		panic("the child panics")
	case "exit":
		os.Exit(7)
	default:
		time.Sleep(time.Minute)
	}
}

func TestTemporaryFolderThatOthersCannotEnter(t *testing.T) {
	if os.Geteuid() != 0 {
		// Everything runs as one user then, and his own folder will do.
		if got := folderParent(); got != os.TempDir() {
			t.Errorf("folderParent() = %q, want %q", got, os.TempDir())
		}
		return
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", filepath.Join(closed, "in"))
	if got := folderParent(); got != "/tmp" {
		t.Errorf("folderParent() = %q, want /tmp", got)
	}
}

// recorder is a test that keeps errors for itself.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func query(t *testing.T, sql func(string) (string, error), statement string) string {
	t.Helper()
	out, err := sql(statement)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func redisMust(t *testing.T, addr string, command ...string) string {
	t.Helper()
	reply, err := redisDo(addr, command...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func dialable(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
