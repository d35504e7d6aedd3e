package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cachestore"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/redisstore"
)

// A boundTest has one process that counts records up, without a cache, and readers
// of another that has one. No read may be older than the bound, whatever happens
// meanwhile.
type boundTest struct {
	t        *testing.T
	maxStale time.Duration
	cache    *cachestore.Cache
	reader   session.Store
	writer   session.Store
	ids      []string

	mu      sync.Mutex
	acks    map[string][]ack // by ID, in order
	changes int              // that were acknowledged
	oldest  time.Duration    // that a read was outdated by
	reads   int

	writing sync.RWMutex // held to stop the writer
	stop    atomic.Bool
	running sync.WaitGroup
}

// An ack is a number that a record has for sure since a time.
type ack struct {
	n  int
	at time.Time
}

// newBoundTest begins. It is with each test to end it.
func newBoundTest(t *testing.T, reader, writer session.Store) *boundTest {
	b := &boundTest{t: t, maxStale: 400 * time.Millisecond, writer: writer, acks: map[string][]ack{}}
	for i := range 24 {
		rec := redisRecord(fmt.Sprint("id-", i), "")
		rec.Data = []byte("0")
		save(t, writer, &rec)
		b.ids = append(b.ids, rec.ID)
		b.acks[rec.ID] = []ack{{0, time.Now()}}
	}
	b.cache = watched(t, reader, cachestore.Options{MaxStale: b.maxStale})
	b.reader = b.cache.Store()
	t.Cleanup(func() { // if the test ends early
		b.stop.Store(true)
		b.running.Wait()
	})
	b.running.Go(b.write)
	for range 4 {
		b.running.Go(b.read)
	}
	time.Sleep(200 * time.Millisecond)
	return b
}

// end waits until the cache listens again, enough has been done, and it has seen
// the end of it all.
func (b *boundTest) end() {
	b.t.Helper()
	awaitWatching(b.t, b.cache)
	time.Sleep(200 * time.Millisecond)
	for began := time.Now(); !b.enough() && !b.stop.Load() && time.Since(began) < 30*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
	b.stop.Store(true)
	b.running.Wait()
	for _, id := range b.ids {
		eventually(b.t, 10*time.Second, func(ctx context.Context) error {
			rec, err := b.reader.Load(ctx, id)
			if err == nil && number(rec) < b.known(id, time.Now()) {
				err = fmt.Errorf("the cache has %d, want %d", number(rec), b.known(id, time.Now()))
			}
			return err
		})
	}
	b.t.Logf("%d changes and %d reads, of which none was outdated by more than %v; %+v", b.changes, b.reads, b.oldest, b.cache.Stats())
	if !b.enough() {
		b.t.Error("that was not enough to tell anything")
	}
}

// enough reports whether so much was done that something can be told of it.
func (b *boundTest) enough() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changes >= 6 && b.reads >= 200 && b.cache.Stats().Hits >= 100
}

func number(rec session.Record) int {
	n, err := strconv.Atoi(string(rec.Data))
	if err != nil {
		return -1
	}
	return n
}

// known is the number that a record had for sure at a time.
func (b *boundTest) known(id string, at time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	acks := b.acks[id]
	for i := len(acks) - 1; i >= 0; i-- {
		if !acks[i].at.After(at) {
			return acks[i].n
		}
	}
	return -1
}

func (b *boundTest) write() {
	for !b.stop.Load() {
		b.writing.RLock()
		id := b.ids[rand.IntN(len(b.ids))]
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		rec, err := b.writer.Load(ctx, id)
		if err == nil {
			n := number(rec) + 1
			rec.Data = fmt.Append(nil, n)
			if _, err = b.writer.Save(ctx, &rec); err == nil {
				b.mu.Lock()
				b.acks[id] = append(b.acks[id], ack{n, time.Now()})
				b.changes++
				b.mu.Unlock()
			}
		}
		cancel()
		b.writing.RUnlock()
		if errors.Is(err, session.ErrNotFound) {
			b.t.Error("a record is gone")
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (b *boundTest) read() {
	for !b.stop.Load() {
		id := b.ids[rand.IntN(len(b.ids))]
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		rec, err := b.reader.Load(ctx, id)
		cancel()
		if err != nil {
			continue
		}
		n := number(rec)
		b.mu.Lock()
		b.reads++
		for _, ack := range slices.Backward(b.acks[id]) {
			if ack.n <= n || ack.at.After(began) {
				break
			}
			b.oldest = max(b.oldest, began.Sub(ack.at))
		}
		b.mu.Unlock()
		if want := b.known(id, began.Add(-b.maxStale)); n < want {
			b.t.Errorf("a read was %d, and should have been %d at least", n, want)
			b.stop.Store(true)
		}
		if n%16 == 0 { // let the writer have a share of the processor
			time.Sleep(time.Millisecond)
		}
	}
}

// hold stops the writer until release is called.
func (b *boundTest) hold() (release func()) {
	b.writing.Lock()
	return b.writing.Unlock
}

// boundClient has no long time-outs, so that it heals within the time of a test.
func boundClient(t testing.TB, option rueidis.ClientOption) rueidis.Client {
	t.Helper()
	option.Dialer.Timeout = time.Second
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func boundStores(t *testing.T, option rueidis.ClientOption) (reader, writer session.Store) {
	return newRedisStore(t, boundClient(t, option), redisstore.Options{}),
		newRedisStore(t, boundClient(t, option), redisstore.Options{})
}

func TestRedisWatchBound(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(t *testing.T, server *servers.Server)
	}{
		{"connections killed again and again", func(t *testing.T, server *servers.Server) {
			for range 20 {
				kill(t, server.Addr)
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			}
		}},
		{"server paused", func(t *testing.T, server *servers.Server) {
			for range 3 {
				server.Pause()
				time.Sleep(time.Second)
				server.Resume()
				time.Sleep(200 * time.Millisecond)
			}
		}},
		{"server killed and started", func(t *testing.T, server *servers.Server) {
			for range 3 {
				server.Kill()
				time.Sleep(500 * time.Millisecond)
				server.Restart()
				time.Sleep(500 * time.Millisecond)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := servers.Redis(t, durable...)
			reader, writer := boundStores(t, rueidis.ClientOption{InitAddress: []string{server.Addr}})
			b := newBoundTest(t, reader, writer)
			test.fault(t, server)
			b.end()
		})
	}
}

// The connection on which the server says what has changed goes silent, without an
// end and without an error, and all others work on.
func TestRedisWatchBoundSilence(t *testing.T) {
	for _, timeout := range []time.Duration{10 * time.Second, time.Second} {
		t.Run(fmt.Sprintf("noticed by the client after %v", timeout), func(t *testing.T) {
			server := servers.Redis(t)
			_, writer := boundStores(t, rueidis.ClientOption{InitAddress: []string{server.Addr}})
			proxy := newSilencer(t, server.Addr)
			client := boundClient(t, rueidis.ClientOption{InitAddress: []string{proxy.addr}, ConnWriteTimeout: timeout})
			b := newBoundTest(t, newRedisStore(t, client, redisstore.Options{}), writer)
			speak := proxy.silence()
			time.Sleep(time.Second)
			if b.cache.Stats().Watching {
				t.Error("in silence the cache thinks that it listens")
			}
			if timeout < 10*time.Second {
				awaitWatching(t, b.cache) // on a new connection
			} else {
				time.Sleep(time.Second)
			}
			speak()
			b.end()
		})
	}
}

// A silencer forwards connections, and can hold back what a server says on those
// of them on which it was asked to say what changes.
type silencer struct {
	addr string
	mu   sync.Mutex
	all  map[*silenced]bool
}

type silenced struct {
	sync.Mutex // held to be silent
}

func newSilencer(t testing.TB, to string) *silencer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &silencer{addr: l.Addr().String(), all: map[*silenced]bool{}}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client, to)
		}
	}()
	return p
}

func (p *silencer) serve(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	one := new(silenced)
	go io.Copy(writerFunc(func(b []byte) (int, error) {
		one.Lock()
		defer one.Unlock()
		return client.Write(b)
	}), server)
	io.Copy(writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("BCAST")) {
			p.mu.Lock()
			p.all[one] = true
			p.mu.Unlock()
		}
		return server.Write(b)
	}), client)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, one)
}

// silence begins, and speak ends it.
func (p *silencer) silence() (speak func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var held []*silenced
	for one := range p.all {
		one.Lock()
		held = append(held, one)
	}
	return func() {
		for _, one := range held {
			one.Unlock()
		}
	}
}

// inStep waits until the replica has all that the master has.
func inStep(t *testing.T, master string) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: master})
	defer rdb.Close()
	conn := rdb.Conn()
	defer conn.Close()
	// WAIT waits for the writes of its connection. In a cluster, any key that is of
	// this node will do.
	var err error
	for i := range 1000 {
		if err = conn.Set(t.Context(), fmt.Sprint("step-", i), "", time.Minute).Err(); err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Wait(t.Context(), 1, 10*time.Second).Result(); err != nil || n < 1 {
		t.Fatalf("%d replicas are in step, %v", n, err)
	}
}

// Behind Sentinel the master dies, hands over, or is cut off, replaced, and comes
// back without knowing of that.
func TestRedisWatchBoundSentinel(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(t *testing.T, group *servers.SentinelServer) (after func())
	}{
		{"the master dies", func(t *testing.T, group *servers.SentinelServer) func() {
			group.Master.Kill()
			return func() {}
		}},
		{"the master hands over", func(t *testing.T, group *servers.SentinelServer) func() {
			rdb := redis.NewSentinelClient(&redis.Options{Addr: group.Addrs[0]})
			defer rdb.Close()
			eventually(t, 20*time.Second, func(ctx context.Context) error { return rdb.Failover(ctx, group.MasterName).Err() })
			return func() {}
		}},
		{"the master comes back", func(t *testing.T, group *servers.SentinelServer) func() {
			group.Master.Pause()
			return func() {
				group.Master.Resume()
				time.Sleep(2 * time.Second)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			group := servers.RedisSentinel(t)
			option := rueidis.ClientOption{InitAddress: group.Addrs, Sentinel: rueidis.SentinelOption{MasterSet: group.MasterName}}
			reading, writing := boundClient(t, option), boundClient(t, option)
			b := newBoundTest(t, newRedisStore(t, reading, redisstore.Options{}), newRedisStore(t, writing, redisstore.Options{}))
			// What a master had not handed on yet is lost with it, which is not to be
			// tested here.
			release := b.hold()
			inStep(t, group.Master.Addr)
			after := test.fault(t, group)
			for _, client := range []rueidis.Client{reading, writing} {
				took := eventually(t, 30*time.Second, func(context.Context) error {
					if _, ok := client.Nodes()[group.Replica.Addr]; !ok {
						return errors.New("the client has not found the new master")
					}
					return nil
				})
				t.Logf("the client has found the new master after %v", took)
			}
			release()
			after()
			b.end()
		})
	}
}

// A server that is no master any more, and says nothing of it unasked.
func TestRedisWatchDemoted(t *testing.T) {
	master, other := servers.Redis(t), servers.Redis(t)
	store := openWatched(t, redisPlace{addrs: []string{master.Addr}}, redisstore.Options{})
	admin := redisAdmin{t, rueidisClient(t, master.Addr)}
	host, port, _ := net.SplitHostPort(other.Addr)
	var claims atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := store.Watch(ctx, 20*time.Millisecond, func(string) {}, func(time.Time) {
		if claims.Add(1) == 1 {
			admin.do("REPLICAOF", host, port)
		}
	})
	if err == nil || !strings.Contains(err.Error(), "the masters have changed") {
		t.Errorf("Watch returned %v", err)
	}
	if err := store.Watch(ctx, 20*time.Millisecond, func(string) {}, func(time.Time) {}); err == nil || !strings.Contains(err.Error(), "no master") {
		t.Errorf("Watch of a replica returned %v", err)
	}
}

// A clusterAdmin gives commands to single nodes.
type clusterAdmin struct{ t *testing.T }

func (a clusterAdmin) do(node *servers.Server, words ...any) any {
	a.t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: node.Addr})
	defer rdb.Close()
	reply, err := rdb.Do(a.t.Context(), words...).Result()
	if err != nil {
		a.t.Fatalf("%v: %v", words, err)
	}
	return reply
}

func (a clusterAdmin) id(node *servers.Server) string {
	a.t.Helper()
	return a.do(node, "CLUSTER", "MYID").(string)
}

// move moves a slot, as redis-cli does. While it is between the two nodes, between
// is called.
func (a clusterAdmin) move(c *servers.ClusterServer, slot any, from, to *servers.Server, between func()) {
	a.t.Helper()
	fromID, toID := a.id(from), a.id(to)
	a.do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	a.do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	for {
		keys := a.do(from, "CLUSTER", "GETKEYSINSLOT", slot, "100").([]any)
		if len(keys) == 0 {
			break
		}
		a.do(from, append([]any{"MIGRATE", to.Host(), to.Port(), "", 0, 5000, "KEYS"}, keys...)...)
	}
	between()
	for _, node := range append([]*servers.Server{to, from}, c.Nodes...) {
		a.do(node, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
}

// replicate adds a replica of a master.
func (a clusterAdmin) replicate(c *servers.ClusterServer, master *servers.Server) *servers.Server {
	a.t.Helper()
	replica := c.Add(a.t)
	a.do(replica, "CLUSTER", "REPLICATE", a.id(master))
	a.await(replica, "master_link_status:up")
	for _, node := range c.Nodes { // its master would take no order from a stranger
		eventually(a.t, 30*time.Second, func(context.Context) error {
			if nodes := a.do(node, "CLUSTER", "NODES").(string); !strings.Contains(nodes, "slave "+a.id(master)) {
				return errors.New("a node does not know the replica")
			}
			return nil
		})
	}
	return replica
}

// await waits until INFO replication says something.
func (a clusterAdmin) await(node *servers.Server, says string) {
	a.t.Helper()
	took := eventually(a.t, 30*time.Second, func(context.Context) error {
		if info := a.do(node, "INFO", "replication").(string); !strings.Contains(info, says) {
			return fmt.Errorf("the node does not say %s, but:\n%s", says, info)
		}
		return nil
	})
	a.t.Logf("%s after %v", says, took)
}

// owner is the node that has the slot of a record.
func (a clusterAdmin) owner(c *servers.ClusterServer, id string) (slot any, node *servers.Server) {
	a.t.Helper()
	slot = a.do(c.Nodes[0], "CLUSTER", "KEYSLOT", "session:id:"+id)
	for _, node := range c.Nodes {
		ranges := a.do(node, "CLUSTER", "SLOTS").([]any)
		for _, r := range ranges {
			f := r.([]any)
			if first, last := f[0].(int64), f[1].(int64); first <= slot.(int64) && slot.(int64) <= last &&
				f[2].([]any)[2].(string) == a.id(node) {
				return slot, node
			}
		}
	}
	a.t.Fatal("nobody has the slot")
	return nil, nil
}

func TestRedisWatchBoundCluster(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(t *testing.T, c *servers.ClusterServer, b *boundTest)
	}{
		{"a master is lost, and comes back", func(t *testing.T, c *servers.ClusterServer, b *boundTest) {
			c.Nodes[1].Kill()
			time.Sleep(4 * time.Second) // until the others know
			c.Nodes[1].Restart()
		}},
		{"a master is paused", func(t *testing.T, c *servers.ClusterServer, b *boundTest) {
			c.Nodes[1].Pause()
			time.Sleep(4 * time.Second)
			c.Nodes[1].Resume()
		}},
		{"a replica is promoted", func(t *testing.T, c *servers.ClusterServer, b *boundTest) {
			a := clusterAdmin{t}
			replica := a.replicate(c, c.Nodes[1])
			release := b.hold()
			inStep(t, c.Nodes[1].Addr)
			c.Nodes[1].Kill()
			release()
			a.await(replica, "role:master")
			time.Sleep(time.Second)
		}},
		{"a replica takes over", func(t *testing.T, c *servers.ClusterServer, b *boundTest) {
			a := clusterAdmin{t}
			replica := a.replicate(c, c.Nodes[1])
			a.do(replica, "CLUSTER", "FAILOVER")
			a.await(replica, "role:master")
			time.Sleep(time.Second)
		}},
		{"slots move to another master", func(t *testing.T, c *servers.ClusterServer, b *boundTest) {
			a := clusterAdmin{t}
			lost := b.cache.Stats().Lost
			slot, from := a.owner(c, b.ids[0])
			to := c.Nodes[0]
			if from == to {
				to = c.Nodes[1]
			}
			a.move(c, slot, from, to, func() { time.Sleep(time.Second) })
			time.Sleep(time.Second)
			if now := b.cache.Stats().Lost; now != lost {
				t.Errorf("the channel was lost %d times, although it has been to all masters", now-lost)
			}
		}},
		{"slots move to a new node", func(t *testing.T, c *servers.ClusterServer, b *boundTest) {
			a := clusterAdmin{t}
			to := c.Add(t)
			for _, id := range b.ids[:3] {
				slot, from := a.owner(c, id)
				a.move(c, slot, from, to, func() { time.Sleep(2 * time.Second) })
				time.Sleep(time.Second)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := servers.RedisCluster(t, durable...)
			reader, writer := boundStores(t, rueidis.ClientOption{InitAddress: slices.Clone(c.Addrs)})
			b := newBoundTest(t, reader, writer)
			test.fault(t, c, b)
			b.end()
		})
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
