package redisstore

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// A listener is a connection on which a server says what has changed.
type listener struct {
	client  rueidis.DedicatedClient
	cluster bool
}

// newListener opens a connection to a node and asks it to say so. If the node is
// no master, it returns nil.
func newListener(ctx context.Context, node rueidis.Client, cluster bool, prefix string, heard func(keys []rueidis.RedisMessage)) (*listener, error) {
	client, err := dedicate(ctx, node)
	if err != nil {
		return nil, err
	}
	n := &listener{client, cluster}
	// Without a hook, the client throws away what the server says unasked.
	client.SetOnInvalidations(heard)
	listens, err := n.begin(ctx, prefix)
	if err != nil || !listens {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *listener) begin(ctx context.Context, prefix string) (listens bool, err error) {
	hello, err := n.do(ctx, "HELLO").AsMap()
	if err != nil {
		return false, err
	}
	// With RESP2 the server would agree, and say nothing.
	proto := hello["proto"]
	if version, err := proto.AsInt64(); err != nil || version < 3 {
		return false, errRESP2
	}
	role := hello["role"]
	if text, err := role.ToString(); err != nil || text != "master" {
		return false, err
	}
	// The client may have begun to track for its own cache, in another mode.
	if err := n.do(ctx, "CLIENT", "TRACKING", "OFF").Error(); err != nil {
		return false, err
	}
	err = n.do(ctx, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", prefix).Error()
	return err == nil, err
}

// A view is what a node says of itself and its cluster.
type view struct {
	id      string
	master  bool
	holders []string // IDs of the nodes that have slots, or are getting some from it
}

// confirm returns when all that was changed before the call was heard.
//
// The client hands on what it reads in order. But in which order a server sends
// answers and what it says unasked is promised nowhere: Redis sends what has
// changed when it is done with the commands at hand, so after the answers to
// these. So there are two commands: the server gets the second when it has sent
// the answer to the first, and by then it has sent what it knew at the first.
func (n *listener) confirm(ctx context.Context) (view, error) {
	if err := n.do(ctx, "PING").Error(); err != nil {
		return view{}, err
	}
	if n.cluster {
		text, err := n.do(ctx, "CLUSTER", "NODES").ToString()
		return parseView(text), err
	}
	hello, err := n.do(ctx, "HELLO").AsMap()
	if err != nil {
		return view{}, err
	}
	role := hello["role"]
	text, err := role.ToString()
	return view{master: text == "master"}, err
}

// do sends a command and reads its answer in the background, where the client
// also listens: it does so if ctx can end, but has no deadline.
func (n *listener) do(ctx context.Context, words ...string) rueidis.RedisResult {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	return n.client.Do(background, n.client.B().Arbitrary(words...).Build())
}

// close closes the connection, which is good for nothing else.
func (n *listener) close() { n.client.Close() }

// dedicate returns a connection of the client's own making. The client opens it
// knowing nothing of ctx, so it may come too late.
func dedicate(ctx context.Context, node rueidis.Client) (rueidis.DedicatedClient, error) {
	opened := make(chan rueidis.DedicatedClient)
	go func() {
		client, _ := node.Dedicate()
		select {
		case opened <- client:
		case <-ctx.Done():
			client.Close()
		}
	}()
	select {
	case client := <-opened:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var (
	errRESP2    = errors.New("the connection speaks RESP2, in which a server does not say what changes: it must be Redis 6 or newer, and the client not told AlwaysRESP2")
	errTopology = errors.New("the masters have changed")
)

// parseView reads the answer to CLUSTER NODES: a line for each node, with its ID,
// address, flags, master, three times, the state of the link, and its slots. With
// those of the node that answers are slots that it is handing over, as
// [slot->-ID]. The client leaves the mark of a verbatim string in front of it.
func parseView(nodes string) view {
	var v view
	for line := range strings.Lines(strings.TrimPrefix(nodes, "txt:")) {
		const id, flags, slots = 0, 2, 8
		f := strings.Fields(line)
		if len(f) < slots {
			continue
		}
		is := strings.Split(f[flags], ",")
		master := slices.Contains(is, "master")
		if slices.Contains(is, "myself") {
			v.id, v.master = f[id], master
		}
		for _, slot := range f[slots:] {
			if !strings.HasPrefix(slot, "[") {
				if master && !slices.Contains(v.holders, f[id]) {
					v.holders = append(v.holders, f[id])
				}
			} else if _, to, handing := strings.Cut(strings.Trim(slot, "[]"), "->-"); handing {
				v.holders = append(v.holders, to)
			}
		}
	}
	return v
}
