package interop

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/redisstore"
)

// openRedis returns a place in Redis with a prefix of its own.
func openRedis(t *testing.T, ttl time.Duration) place {
	addr := servers.SharedRedis(t).Addr
	prefix := fmt.Sprintf("sess-%x:", t.Name())
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return place{
		express: map[string]any{"kind": "redis", "url": "redis://" + addr, "prefix": prefix, "ttl": ttl.Seconds()},
		ours: func(t *testing.T) session.Store {
			store, err := redisstore.New(client, &redisstore.Options{Layout: redisstore.Express, Prefix: prefix})
			if err != nil {
				t.Fatal(err)
			}
			return store
		},
		rows: &redisRows{client, addr, prefix},
	}
}

type redisRows struct {
	client       rueidis.Client
	addr, prefix string
}

func (r *redisRows) do(t *testing.T, words ...string) rueidis.RedisResult {
	t.Helper()
	result := r.client.Do(context.Background(), r.client.B().Arbitrary(words...).Build())
	if err := result.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatal(err)
	}
	return result
}

func (r *redisRows) read(t *testing.T, id string) (text string, expires time.Time, ok bool) {
	t.Helper()
	text, err := r.do(t, "GET", r.prefix+id).ToString()
	left, _ := r.do(t, "PTTL", r.prefix+id).ToInt64()
	return text, time.Now().Add(time.Duration(left) * time.Millisecond), err == nil
}

func (r *redisRows) write(t *testing.T, id, text string, expires time.Time) {
	t.Helper()
	r.do(t, "SET", r.prefix+id, text, "PXAT", strconv.FormatInt(expires.UnixMilli(), 10))
}

// setCommand is a line of MONITOR. Those of our script come from "lua".
var setCommand = regexp.MustCompile(`^\+[\d.]+ \[\d+ ([^\]]+)\] "SET" ("(?:[^"\\]|\\.)*") ("(?:[^"\\]|\\.)*")`)

// follow listens to all commands, which the server does one after the other.
func (r *redisRows) follow(t *testing.T, id string) func() []change {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil || !lines.Scan() || lines.Text() != "+OK" {
		t.Fatal("MONITOR: ", err, lines.Text())
	}
	before, _, _ := r.read(t, id)
	end := "end of " + r.prefix
	all := make(chan []change, 1)
	go func() {
		var list []change
		for lines.Scan() && !strings.Contains(lines.Text(), end) {
			if m := setCommand.FindStringSubmatch(lines.Text()); m != nil {
				key, _ := strconv.Unquote(m[2])
				text, _ := strconv.Unquote(m[3])
				if key == r.prefix+id {
					list = append(list, change{before, text, m[1] != "lua"})
					before = text
				}
			}
		}
		all <- list
	}()
	return func() []change {
		r.do(t, "ECHO", end)
		return <-all
	}
}
