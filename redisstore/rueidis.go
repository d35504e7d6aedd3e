package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"
)

// A rueidisLink is a client of rueidis.
type rueidisLink struct {
	client rueidis.Client
	one    bool // one server has all keys
}

func newRueidisLink(client rueidis.Client) *rueidisLink {
	return &rueidisLink{client, client.Mode() != rueidis.ClientModeCluster}
}

func (l *rueidisLink) together() bool { return l.one }

func (l *rueidisLink) build(c command) rueidis.Completed {
	// The client looks at the key of a command to find its node.
	b := l.client.B().Arbitrary(c.words...).Keys(c.keys...).Args(c.args...)
	if c.again {
		return b.Build().ToRetryable().Pin()
	}
	return b.Build()
}

// What the client may send again is pinned, here and below: the memory of the
// command is not used for another. When a connection is lost, the client (v1.0.79)
// sends it on a new one, and may be done with it there, while the writer of the
// old connection is still reading it.

func (l *rueidisLink) do(ctx context.Context, c command) (any, error) {
	return message(l.client.Do(ctx, l.build(c)))
}

func (l *rueidisLink) doAll(ctx context.Context, cs []command) []result {
	// Larger pipelines get a connection of their own from the client.
	const most = 256
	results := make([]result, 0, len(cs))
	for len(cs) > 0 {
		n := min(most, len(cs))
		batch := make([]rueidis.Completed, n)
		for i, c := range cs[:n] {
			batch[i] = l.build(c)
		}
		for _, r := range l.client.DoMulti(ctx, batch...) {
			reply, err := message(r)
			results = append(results, result{reply, err})
		}
		cs = cs[n:]
	}
	return results
}

func (l *rueidisLink) get(ctx context.Context, key string) ([]byte, error) {
	value, err := l.client.Do(ctx, l.client.B().Get().Key(key).Build().Pin()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return value, err
}

func (l *rueidisLink) cachedGet(ctx context.Context, key string, end int64, ttl time.Duration) (string, error) {
	c := l.client.B().Getrange().Key(key).Start(0).End(end).Cache().Pin()
	value, err := l.client.DoCache(ctx, c, ttl).ToString()
	if givenUp(ctx, err) {
		return l.client.Do(ctx, l.client.B().Getrange().Key(key).Start(0).End(end).Build().Pin()).ToString()
	}
	return value, err
}

// cachedRun sends the text, because a client would keep the answer that there is
// no script of a name. Servers can do it from version 7 on.
func (l *rueidisLink) cachedRun(ctx context.Context, s *script, key, arg string, ttl time.Duration) (any, error) {
	c := l.client.B().EvalRo().Script(s.text).Numkeys(1).Key(key).Arg(arg)
	reply, err := message(l.client.DoCache(ctx, c.Cache().Pin(), ttl))
	if givenUp(ctx, err) {
		return s.run(ctx, l, true, []string{key}, arg)
	}
	return reply, err
}

// givenUp tells whether a read failed that was not its own: reads of one key at
// the same time wait for the first of them, and fail with it when its caller gives
// it up.
func givenUp(ctx context.Context, err error) bool {
	var said *rueidis.RedisError
	return err != nil && ctx.Err() == nil && !errors.As(err, &said)
}

// masters returns all nodes that are masters. A node is asked itself, because
// the addresses that the cluster has for it need not be those of the client.
func (l *rueidisLink) masters(ctx context.Context) (map[string]link, error) {
	if l.one {
		return map[string]link{"": l}, nil
	}
	masters := make(map[string]link)
	for address, node := range l.client.Nodes() {
		text, err := node.Do(ctx, node.B().Arbitrary("CLUSTER", "NODES").Build()).ToString()
		if err != nil {
			return nil, err
		}
		if parseView(text).master {
			masters[address] = &rueidisLink{client: node}
		}
	}
	return masters, nil
}

func message(r rueidis.RedisResult) (any, error) {
	m, err := r.ToMessage()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return plain(&m)
}

func plain(m *rueidis.RedisMessage) (any, error) {
	switch {
	case m.IsNil():
		return nil, nil
	case m.IsInt64():
		return m.AsInt64()
	case m.IsArray():
		list, err := m.ToArray()
		if err != nil {
			return nil, err
		}
		replies := make([]any, len(list))
		for i := range list {
			if replies[i], err = plain(&list[i]); err != nil {
				return nil, err
			}
		}
		return replies, nil
	}
	return m.ToString()
}
