package redisstore

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/passport"
)

// express is the layout of connect-redis: the JSON text of a session as a string
// that expires.
type express struct {
	opts   Options
	writes *writes
}

func (e *express) prefix() string       { return e.opts.Prefix }
func (e *express) key(id string) string { return e.opts.Prefix + id }
func (e *express) id(key string) string { return key[len(e.opts.Prefix):] }

// loadExpress returns the text, the time to live and the time of the server, or
// nothing. An empty text is nothing to connect-redis too. The time is taken last:
// from it, no record ends early. The argument changes with every write, see
// writes.
var loadExpress = newScript(`
local text = redis.call('GET', KEYS[1])
if not text or text == '' then return {} end
local left = redis.call('PTTL', KEYS[1])
local now = redis.call('TIME')
return {text, left, now[1] * 1000 + math.floor(now[2] / 1000)}
`)

// read sends the text of the script: in a pipeline, there is no trying again with
// it when the server does not know the script.
func (e *express) read(key string) command {
	return command{words: []string{"EVAL", loadExpress.text, "1"}, keys: []string{key}, again: true}
}

func (e *express) load(ctx context.Context, l link, id string) (rec session.Record, found bool, err error) {
	if e.opts.ClientCache > 0 {
		arg := strconv.FormatInt(e.writes.end(id), 10)
		reply, err := l.cachedRun(ctx, &loadExpress, e.key(id), arg, e.opts.ClientCache)
		if err == nil {
			// Nobody knows how long ago the server said it, so this must be by its
			// clock, which does not go with how late it is here.
			return e.record(id, reply, func(_, now int64) int64 { return now })
		}
		if !isUnknownCommand(err) {
			return rec, false, err
		}
		// A server older than 7.
	}
	reply, err := loadExpress.run(ctx, l, true, []string{e.key(id)})
	if err != nil {
		return rec, false, err
	}
	return e.parse(id, reply)
}

// parse reckons from now, after the reply has come: a record must not seem to end
// before it does.
func (e *express) parse(id string, reply any) (rec session.Record, found bool, err error) {
	return e.record(id, reply, func(now, _ int64) int64 { return now })
}

// never is when a key without expiry expires.
var never = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// record makes a record of the reply of loadExpress. from chooses the time, of here
// or of the server, from which the time to live is reckoned.
func (e *express) record(id string, reply any, from func(here, server int64) int64) (rec session.Record, found bool, err error) {
	list, ok := reply.([]any)
	if !ok {
		return rec, false, errReply
	}
	if len(list) == 0 {
		return rec, false, nil
	}
	const fields = 3
	if len(list) != fields {
		return rec, false, errReply
	}
	text, ok1 := list[0].(string)
	ttl, ok2 := list[1].(int64)
	now, ok3 := list[2].(int64)
	if !ok1 || !ok2 || !ok3 {
		return rec, false, errReply
	}
	expires := never
	if ttl >= 0 {
		expires = time.UnixMilli(from(e.opts.Now().UnixMilli(), now) + ttl).UTC()
	}
	data := []byte(text)
	return session.Record{
		ID:      id,
		Subject: passport.Subject(data),
		Data:    data,
		Version: contentVersion(data),
		Expires: expires,
	}, true, nil
}

// saveExpress compares and sets, with the command that connect-redis uses. It is
// not sent again when the connection is lost: it cannot know a text that it has
// set itself from one of somebody else's.
var saveExpress = newScript(`
-- ARGV: old version, new text, time to live in seconds
local there = redis.call('GET', KEYS[1])
if ARGV[1] == '' then
  if there then return 0 end
else
  if not there then return 0 end
  local version = string.sub(redis.sha1hex(there), 1, 16)
  if version == '0000000000000000' then version = '0000000000000001' end
  if version ~= ARGV[1] then return 0 end
end
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return 1
`)

func (e *express) save(ctx context.Context, l link, rec *session.Record) (uint64, error) {
	old := ""
	if rec.Version != 0 {
		old = hexVersion(rec.Version)
	}
	ttl := e.opts.ttl(rec.Expires, time.Second)
	reply, err := saveExpress.run(ctx, l, false, []string{e.key(rec.ID)},
		old, string(rec.Data), strconv.FormatInt(ttl, 10))
	return done(contentVersion(rec.Data), reply, err)
}

// touchExpress never shortens a life, and never creates.
var touchExpress = newScript(`
local left = redis.call('PTTL', KEYS[1])
if left == -2 then return 0 end
if left >= 0 and left < tonumber(ARGV[1]) * 1000 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
`)

func (e *express) touch(ctx context.Context, l link, id string, _, expires time.Time) (found bool, err error) {
	ttl := e.opts.ttl(expires, time.Second)
	reply, err := touchExpress.run(ctx, l, true, []string{e.key(id)}, strconv.FormatInt(ttl, 10))
	switch {
	case err != nil:
		return false, err
	case reply == int64(0):
		return false, nil
	case reply == int64(1):
		return true, nil
	}
	return false, errReply
}

func (e *express) delete(ctx context.Context, l link, id string) error {
	_, err := l.do(ctx, command{words: []string{"DEL"}, keys: []string{e.key(id)}, again: true})
	return err
}

func (e *express) listSubject(ctx context.Context, l link, q session.Query) ([]session.Record, string, error) {
	return scan(ctx, l, e, q)
}

// contentVersion returns the version of a text, as saveExpress computes it.
func contentVersion(text []byte) uint64 {
	sum := sha1Sum(text)
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}
