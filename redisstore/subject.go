package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/coatcheck/session"
)

// The index of a subject is a sorted set of the IDs of its records. A place in it
// may be without its record, but no record is without its place:
//
//   - The place is written before the record, or with it.
//   - It is good for longer than the record lives. Whoever would make the record
//     outlive it writes it anew first.
//   - A place whose record is missing is removed by a list that comes upon it, if
//     it is not so new that the record may still be on its way. One that is good
//     no longer is removed by the next one who writes another; and the whole set
//     has a time to live as long as its longest.
//
// What a server loses nevertheless, in a failover or by eviction, is written anew
// when the record is saved or touched after the time for which its stamp is good,
// which is in the record: that is an hour of use, see placeLasts.
//
// A score orders a list, and a list goes on from a score. So scores only grow:
// what is not listed yet does not come to lie behind.

// A stamp is the score of a place, and is in the record too: in the high bits the
// minute until which the place is good, in the low ones the millisecond in which
// it was written, the higher bits of that left out. All of it is a whole number
// that a float64 holds, which scores are.
type stamp uint64

const (
	millisBits = 26 // comes round every 18 hours
	minuteBits = 27 // until the year 2225
	lastMinute = 1<<minuteBits - 1

	// noStamp is what a record without a subject has.
	noStamp = "00000000000000"

	// placeLasts is for how much longer than its record a place is good when it
	// is written. A longer time saves writing, a shorter one mends sooner.
	placeLasts = time.Hour

	// newcomer is how long a place without a record is taken for one whose record
	// is on its way. It allows for clocks that differ.
	newcomer = 5 * time.Minute
)

func minuteOf(t time.Time) uint64 {
	const minute = int64(time.Minute / time.Millisecond)
	ms := max(t.UnixMilli(), 0)
	return uint64(min((ms+minute-1)/minute, lastMinute))
}

func newStamp(until, now time.Time) stamp {
	return stamp(minuteOf(until)<<millisBits | uint64(now.UnixMilli())&(1<<millisBits-1))
}

func parseStamp(text string) (stamp, bool) {
	n, err := strconv.ParseUint(text, 16, 64)
	return stamp(n), err == nil
}

// String is how scripts and records have it, and score how sorted sets do.
func (s stamp) String() string { return fmt.Sprintf("%0*x", stampWidth, uint64(s)) }
func (s stamp) score() string  { return strconv.FormatUint(uint64(s), 10) }

// isNew reports whether the place was written a short while ago, or seems so.
func (s stamp) isNew(now time.Time) bool {
	const round = 1 << millisBits
	const short = uint64(newcomer / time.Millisecond)
	age := (uint64(now.UnixMilli()) - uint64(s)) % round
	return age < short || age > round-short
}

// coverOf returns the minute for which a place must be good if its record expires
// then.
func coverOf(expires time.Time) string { return strconv.FormatUint(minuteOf(expires), 10) }

var luaCovers = `
-- covers tells whether a place with this stamp is good until the minute.
local function covers(stamp, minute)
  return math.floor(tonumber(stamp, 16) / ` + lua(1<<millisBits) + `) >= tonumber(minute)
end
`

const luaIndex = `
-- index writes a place, removes those that are good no longer (below floor), and
-- returns the stamp of the place. Its score is never less than it was before, and
-- never the same: whoever would remove the place that was before leaves this.
local function index(key, id, stamp, ttl, floor)
  local had = redis.call('ZSCORE', key, id)
  if had and tonumber(had) >= tonumber(stamp, 16) then
    stamp = string.format('%014x', tonumber(had) + 1)
  end
  redis.call('ZADD', key, string.format('%.0f', tonumber(stamp, 16)), id)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. floor)
  if redis.call('PTTL', key) < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end
  return stamp
end
`

// A place is one that is to be written.
type place struct {
	key, id string
	expires time.Time // of the record
	stamp   stamp
	ttl     int64
	now     time.Time
}

func (n *native) indexKey(subject string) string { return n.opts.Prefix + "subject:" + subject }

func (n *native) place(subject, id string, expires time.Time) place {
	now := n.opts.Now()
	until := expires.Add(placeLasts)
	return place{
		key: n.indexKey(subject), id: id, expires: expires, stamp: newStamp(until, now), now: now,
		// The stamp is good until the end of its minute.
		ttl: n.opts.ttl(until.Add(time.Minute), time.Millisecond),
	}
}

func (p place) cover() string { return coverOf(p.expires) }

// args are what index needs besides the key and the stamp.
func (p place) args() []string {
	floor := newStamp(p.now.Add(-time.Minute), time.UnixMilli(0))
	return []string{p.id, strconv.FormatInt(p.ttl, 10), floor.score()}
}

var writePlace = newScript(luaIndex + `
-- ARGV: ID, time to live, floor, stamp
index(KEYS[1], ARGV[1], ARGV[4], ARGV[2], ARGV[3])
return 1
`)

func (p place) write(ctx context.Context, l link) error {
	_, err := writePlace.run(ctx, l, true, []string{p.key}, append(p.args(), p.stamp.String())...)
	return err
}

// forget removes places, given as IDs and scores, that still have these scores.
var forget = newScript(`
local removed = 0
for i = 1, #ARGV, 2 do
  local had = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if had and tonumber(had) == tonumber(ARGV[i + 1]) then
    removed = removed + redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return removed
`)

// entries returns IDs and scores from a score on. It is a script only so that
// all clients return the same.
var entries = newScript(`
return redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
`)

func (n *native) listSubject(ctx context.Context, l link, q session.Query) ([]session.Record, string, error) {
	c, err := parseCursor(q.Cursor)
	if err != nil || c.node != "" {
		return nil, "", errCursor
	}
	// What has the score of the cursor and was listed is skipped, so there must
	// be room for that too.
	limit := min(q.Limit, mostAtOnce)
	room := limit + len(c.seen)
	reply, err := entries.run(ctx, l, true, []string{n.indexKey(q.Subject)},
		stamp(c.at).score(), strconv.Itoa(room))
	if err != nil {
		return nil, "", err
	}
	flat, ok := texts(reply)
	if !ok || len(flat)%2 != 0 {
		return nil, "", errReply
	}
	next := c
	var ids, scores []string
	rest := flat
	for ; len(rest) > 0 && len(ids) < limit; rest = rest[2:] {
		id, score := rest[0], rest[1]
		at, err := strconv.ParseUint(score, 10, 64)
		if err != nil {
			return nil, "", errReply
		}
		if at == c.at && slices.Contains(c.seen, fingerprint(id)) {
			continue
		}
		if at != next.at {
			next.at, next.seen = at, nil
		}
		next.seen = append(slices.Clip(next.seen), fingerprint(id))
		ids, scores = append(ids, id), append(scores, score)
	}

	var records []session.Record
	var dangling []string
	for i, rec := range readAll(ctx, l, n, ids) {
		switch {
		case rec.err != nil:
			return nil, "", rec.err
		case rec.found && rec.Subject == q.Subject:
			records = append(records, rec.Record)
		default:
			at, _ := strconv.ParseUint(scores[i], 10, 64)
			if !stamp(at).isNew(n.opts.Now()) {
				dangling = append(dangling, ids[i], scores[i])
			}
		}
	}
	if len(dangling) > 0 {
		// The list is right without it.
		_, _ = forget.run(ctx, l, true, []string{n.indexKey(q.Subject)}, dangling...)
	}
	// Places that were listed may have been removed since, so that there is room
	// for more than this page could take.
	if len(rest) == 0 && len(flat)/2 < room {
		return records, "", nil
	}
	return records, next.String(), nil
}
