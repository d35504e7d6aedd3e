package memstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/coatcheck/session"
)

var (
	errCursor = errors.New("memstore: list: the cursor is not one that List returned")
	errLimit  = errors.New("memstore: list: the limit is less than 1")
)

// listBatch is how many records are copied in one hold of a lock.
const listBatch = 64

// A cursor is where List goes on: at the slots of one shard below a number.
//
// List goes down, because a slot never moves up: when a record goes, the last
// slot of its shard takes its number. So a record that was below the cursor,
// and thus not listed yet, stays below it. One that was listed may come to lie
// below it and be listed again.
type cursor struct {
	shard int
	below uint32
}

func (c cursor) String() string {
	return strconv.Itoa(c.shard) + "." + strconv.FormatUint(uint64(c.below), 10)
}

func (s *Store) parseCursor(text string) (cursor, error) {
	if text == "" {
		return cursor{below: none}, nil
	}
	shard, below, _ := strings.Cut(text, ".")
	k, err1 := strconv.ParseUint(shard, 10, 32)
	n, err2 := strconv.ParseUint(below, 10, 32)
	if err1 != nil || err2 != nil || k >= uint64(len(s.shards)) {
		return cursor{}, errCursor
	}
	return cursor{shard: int(k), below: uint32(n)}, nil
}

// List returns a page of the records of a subject, or of all if the subject of
// the query is empty, in no particular order and without expired ones. What
// stays in the store from the first page to the last is on at least one page;
// while others are deleted it may be on more than one.
func (s *Store) List(ctx context.Context, q session.Query) (records []session.Record, next string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", failed("list", err)
	}
	if q.Limit < 1 {
		return nil, "", errLimit
	}
	c, err := s.parseCursor(q.Cursor)
	if err != nil {
		return nil, "", err
	}
	now := s.millis()
	for c.shard < len(s.shards) {
		if err := ctx.Err(); err != nil {
			return nil, "", failed("list", err)
		}
		if len(records) == q.Limit {
			return records, c.String(), nil
		}
		var st state
		room := min(listBatch, q.Limit-len(records))
		records, c.below, st = s.shards[c.shard].list(records, q.Subject, c.below, room, now)
		if st == stateClosed {
			return nil, "", failed("list", errClosed)
		}
		if c.below == 0 {
			c = cursor{shard: c.shard + 1, below: none}
		}
	}
	return records, "", nil
}

// list appends up to room records of the slots below a number, and returns
// below which number to go on.
func (sh *shard) list(records []session.Record, subject string, below uint32, room int, now int64) ([]session.Record, uint32, state) {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if sh.closed {
		return nil, 0, stateClosed
	}
	below = min(below, sh.slots.n)
	if subject != "" {
		numbers := sh.numbersOf(subject, below)
		for _, i := range numbers[:min(room, len(numbers))] {
			records = sh.appendLive(records, i, now)
		}
		if room >= len(numbers) {
			return records, 0, stateLive
		}
		return records, numbers[room-1], stateLive
	}
	for ; below > 0 && room > 0; room-- {
		below--
		records = sh.appendLive(records, below, now)
	}
	return records, below, stateLive
}

// numbersOf returns the slots of a subject below a number, the highest first.
func (sh *shard) numbersOf(subject string, below uint32) []uint32 {
	var numbers []uint32
	for i := sh.firstOf(subject); i != none; i = sh.slots.at(i).next {
		if i < below {
			numbers = append(numbers, i)
		}
	}
	slices.SortFunc(numbers, func(a, b uint32) int { return int(b) - int(a) })
	return numbers
}

func (sh *shard) appendLive(records []session.Record, i uint32, now int64) []session.Record {
	if sh.slots.at(i).expires < now {
		return records
	}
	return append(records, sh.record(i, string(sh.entry(i).id())))
}
