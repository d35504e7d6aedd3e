package redisstore

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Do runs a command, given as its words, and returns the reply: a string or
// []byte, an int64, or a []any of these; what the server reports as an error, as
// an error that begins with the words of the server. It finds the node of a
// cluster by the key in the command, and honours ctx. All words are strings.
//
// With go-redis, whatever kind of client it is:
//
//	store, err := redisstore.NewDo(func(ctx context.Context, args ...any) (any, error) {
//		return rdb.Do(ctx, args...).Result()
//	}, nil)
//
// To list all records of a cluster it needs [Options.Masters] too:
//
//	func(ctx context.Context) (map[string]redisstore.Do, error) {
//		var mu sync.Mutex
//		masters := make(map[string]redisstore.Do)
//		err := rdb.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
//			mu.Lock()
//			defer mu.Unlock()
//			masters[node.Options().Addr] = func(ctx context.Context, args ...any) (any, error) {
//				return node.Do(ctx, args...).Result()
//			}
//			return nil
//		})
//		return masters, err
//	}
//
// Such a store has no pipelines, so a page of List costs a round trip for every
// record on it.
type Do func(ctx context.Context, args ...any) (any, error)

// A doLink is a Do. It knows nothing of how keys are spread, so it never sends
// two keys in one command: a client that shards on its own (redis.Ring) would
// look at the first.
type doLink struct {
	run  Do
	each func(ctx context.Context) (map[string]Do, error)
}

func (l doLink) together() bool { return false }

func (l doLink) do(ctx context.Context, c command) (any, error) {
	args := make([]any, 0, len(c.words)+len(c.keys)+len(c.args))
	for _, part := range [][]string{c.words, c.keys, c.args} {
		for _, word := range part {
			args = append(args, word)
		}
	}
	reply, err := l.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	return normal(reply)
}

func (l doLink) doAll(ctx context.Context, cs []command) []result {
	results := make([]result, len(cs))
	for i, c := range cs {
		results[i].reply, results[i].err = l.do(ctx, c)
	}
	return results
}

func (l doLink) get(ctx context.Context, key string) ([]byte, error) {
	reply, err := l.do(ctx, getRange(key, wholeValue))
	if err != nil {
		return nil, err
	}
	text, ok := reply.(string)
	if !ok {
		return nil, errReply
	}
	return []byte(text), nil
}

// There is no cache: NewDo refuses the option for one.

func (l doLink) cachedGet(ctx context.Context, key string, _ int64, _ time.Duration) (string, error) {
	value, err := l.get(ctx, key)
	return string(value), err
}

func (l doLink) cachedRun(ctx context.Context, s *script, key, arg string, _ time.Duration) (any, error) {
	return s.run(ctx, l, true, []string{key}, arg)
}

func (l doLink) masters(ctx context.Context) (map[string]link, error) {
	if l.each == nil {
		// One that is not part of a cluster refuses the command. To scan one node
		// of a cluster for all would be to miss records in silence.
		if _, err := l.do(ctx, command{words: []string{"CLUSTER", "INFO"}}); err == nil {
			return nil, errMasters
		} else if ctx.Err() != nil || !isNotCluster(err) {
			return nil, err
		}
		return map[string]link{"": l}, nil
	}
	each, err := l.each(ctx)
	if err != nil {
		return nil, err
	}
	masters := make(map[string]link, len(each))
	for address, do := range each {
		masters[address] = doLink{run: do}
	}
	return masters, nil
}

func isNotCluster(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "cluster support disabled") || isUnknownCommand(err)
}

// normal brings a reply into the form that a link returns.
func normal(reply any) (any, error) {
	switch r := reply.(type) {
	case nil, string, int64:
		return r, nil
	case []byte:
		return string(r), nil
	case int:
		return int64(r), nil
	case []any:
		list := make([]any, len(r))
		for i := range r {
			var err error
			if list[i], err = normal(r[i]); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("the function returned a %T, not a string, []byte, int64 or []any", reply)
}
