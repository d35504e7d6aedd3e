package redisstore

import (
	"context"
	"crypto/fips140"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// A link is the way to the servers: somebody's client.
//
// A reply is nil, an int64, a string, or a []any of these.
type link interface {
	// do runs a command.
	do(ctx context.Context, c command) (any, error)

	// doAll runs commands that do not depend on each other, if it can in one
	// round trip.
	doAll(ctx context.Context, cs []command) []result

	// get returns the string at a key, which is the caller's; empty if there is
	// none.
	get(ctx context.Context, key string) ([]byte, error)

	// cachedGet returns the string at a key up to an end that is beyond it, from
	// the memory of the process if it has been there for less than ttl and nothing
	// has changed.
	cachedGet(ctx context.Context, key string, end int64, ttl time.Duration) (string, error)

	// cachedRun does the same with the reply of a script that reads one key. The
	// caller must not change it.
	cachedRun(ctx context.Context, s *script, key, arg string, ttl time.Duration) (any, error)

	// together reports whether a command may have keys that are in different
	// slots.
	together() bool

	// masters returns a link to each server that has keys, by its name. A link to
	// the only one may have the name "".
	masters(ctx context.Context) (map[string]link, error)
}

// A command is what is sent: words, keys, and arguments.
type command struct {
	words, keys, args []string

	// again marks one that may be sent again when nobody knows whether the
	// server has received it.
	again bool
}

type result struct {
	reply any
	err   error
}

// A script is one that servers run.
type script struct{ text, name string }

func newScript(text string) script {
	text = strings.TrimSpace(text)
	sum := sha1Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// sha1Sum names scripts as servers do, and detects changes as Lua on the server
// can. Nothing rests on its being hard to forge, so a program that must use
// approved algorithms only, for security, may use it too.
func sha1Sum(text []byte) (sum [sha1.Size]byte) {
	if fips140.Enforced() {
		fips140.WithoutEnforcement(func() { sum = sha1.Sum(text) })
		return sum
	}
	return sha1.Sum(text)
}

// run runs the script. A server that does not know it, because it is new, was
// restarted or has forgotten all scripts, is sent its text.
func (s *script) run(ctx context.Context, l link, again bool, keys []string, args ...string) (any, error) {
	c := command{[]string{"EVALSHA", s.name, strconv.Itoa(len(keys))}, keys, args, again}
	reply, err := l.do(ctx, c)
	if err != nil && isNoScript(err) {
		c.words[0], c.words[1] = "EVAL", s.text
		reply, err = l.do(ctx, c)
	}
	return reply, err
}

// hexVersion is how scripts have a version: their numbers are doubles.
func hexVersion(v uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return hex.EncodeToString(b[:])
}

// isNoScript knows the error of any client: all show what the server said first.
func isNoScript(err error) bool { return strings.HasPrefix(err.Error(), "NOSCRIPT") }

func isUnknownCommand(err error) bool {
	return strings.Contains(strings.ToLower(err.Error()), "unknown command")
}

// getRange reads a value up to an end, of nothing as an empty one. It differs
// from GET in that: clients differ in what they make of a nil.
func getRange(key string, end int64) command {
	return command{words: []string{"GETRANGE"}, keys: []string{key}, args: []string{"0", strconv.FormatInt(end, 10)}, again: true}
}
