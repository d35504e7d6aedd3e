package natsstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coatcheck/session"
)

const (
	// mostOnPage is the most records on a page, whatever the limit.
	mostOnPage = 1000

	// mostAtOnce is how many records are asked for at the same time.
	mostAtOnce = 16

	// fewKeys is how many keys a server is asked for at once, about. Who asks for
	// more parts them.
	fewKeys = 500

	// mostAsked is after how many keys a page ends, as they may be of no records,
	// and a page should not take long. To ask for those of a part counts as some.
	mostAsked = 4 * mostOnPage
	partCost  = 50
)

// List implements [session.Lister].
//
// It asks for keys, in their order, and then for the record of each, several at the
// same time. With a subject, the keys are those of the index of that subject, and
// places that have no record any more are removed.
func (s *Store) List(ctx context.Context, q session.Query) (records []session.Record, next string, err error) {
	if q.Limit < 1 {
		return nil, "", fail(ctx, "list", errLimit)
	}
	err = s.begin(ctx)
	if err == nil && len(q.Subject) <= maxSubject {
		records, next, err = s.list(ctx, q)
	}
	if err != nil {
		return nil, "", fail(ctx, "list", err)
	}
	return records, next, nil
}

func (s *Store) list(ctx context.Context, q session.Query) (records []session.Record, next string, err error) {
	at, err := parseCursor(q.Cursor)
	if err != nil {
		return nil, "", err
	}
	prefix := recordPrefix
	if q.Subject != "" {
		prefix = placesOf(q.Subject)
	} else if q.Cursor == "" {
		// To ask for the keys of all records, and see how many those are, is too
		// much where there are millions.
		info, err := s.link.info(ctx)
		if err != nil {
			return nil, "", err
		}
		at = cursorFor(info.State.NumSubjects)
	}
	limit := min(q.Limit, mostOnPage)
	for asked := 0; asked < mostAsked; {
		ends, err := s.keyEnds(ctx, prefix, &at)
		if err != nil {
			return nil, "", err
		}
		asked += partCost
		for len(ends) > 0 {
			// At least as many as can be asked for at once: not all are records.
			n := min(max(limit-len(records), mostAtOnce), len(ends))
			found, err := s.recordsAt(ctx, q.Subject, prefix, ends[:n])
			if err != nil {
				return nil, "", err
			}
			for i, rec := range found {
				if rec.ID != "" {
					if len(records) == limit {
						return records, at.String(), nil
					}
					records = append(records, rec)
				}
				at.after = ends[i]
			}
			ends, asked = ends[n:], asked+n
		}
		at.part, at.after = at.part+1, ""
		if at.part == at.parts() {
			return records, "", nil
		}
		if len(records) == limit {
			break
		}
	}
	return records, at.String(), nil
}

// A cursor is where a list goes on: in a part of the keys, after the end of one. As
// their order does not change with what is written meanwhile, nothing is passed
// over.
type cursor struct {
	tokens int // how many part the keys
	part   int
	after  string
}

// cursorFor begins a list of so many keys, parted such that a part has few.
func cursorFor(keys int) (c cursor) {
	for c.tokens < partTokens && keys > fewKeys {
		c.tokens++
		keys /= partsOfOne
	}
	return c
}

// parts returns into how many parts the tokens part the keys.
func (c cursor) parts() int { return 1 << (4 * c.tokens) }

func (c cursor) String() string { return fmt.Sprintf("%d:%d:%s", c.tokens, c.part, c.after) }

func parseCursor(text string) (c cursor, err error) {
	if text == "" {
		return c, nil
	}
	tokens, rest, _ := strings.Cut(text, ":")
	part, after, ok := strings.Cut(rest, ":")
	c.after = after
	var err1, err2 error
	c.tokens, err1 = strconv.Atoi(tokens)
	c.part, err2 = strconv.Atoi(part)
	if !ok || err1 != nil || err2 != nil || c.tokens < 0 || c.tokens > partTokens || c.part < 0 || c.part >= c.parts() {
		return c, errCursor
	}
	return c, nil
}

// keyEnds returns the ends of the keys that begin with the prefix, in the part and
// after the end that the cursor says.
func (s *Store) keyEnds(ctx context.Context, prefix string, at *cursor) (ends []string, err error) {
	for {
		var info streamInfo
		filter := s.link.subject + prefix + partBegin(at.part, at.tokens) + ">"
		if err := s.link.ask(ctx, "STREAM.INFO", `{"subjects_filter":"`+filter+`"}`, &info); err != nil {
			return nil, err
		}
		tooMany := info.Total > fewKeys && *at == cursor{} || info.Total > len(info.State.Subjects)
		if tooMany && at.tokens < partTokens {
			// There are more than was thought. It is no matter if some come again.
			*at = cursorFor(info.Total * at.parts())
			continue
		}
		for subject := range info.State.Subjects {
			if end := strings.TrimPrefix(subject, s.link.subject+prefix); end > at.after {
				ends = append(ends, end)
			}
		}
		slices.Sort(ends)
		return ends, nil
	}
}

// recordsAt returns the records at the keys, which are those of records, or of
// places of the subject. Where there is none, it has no ID.
func (s *Store) recordsAt(ctx context.Context, subject, prefix string, ends []string) ([]session.Record, error) {
	records := make([]session.Record, len(ends))
	errs := make([]error, len(ends))
	var asking sync.WaitGroup
	turn := make(chan struct{}, mostAtOnce)
	for i, end := range ends {
		turn <- struct{}{}
		asking.Go(func() {
			defer func() { <-turn }()
			records[i], errs[i] = s.recordAt(ctx, subject, prefix, end)
		})
	}
	asking.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return records, nil
}

// recordAt returns the record at a key, or one without an ID if there is none.
// Something else in the bucket spoils no list.
func (s *Store) recordAt(ctx context.Context, subject, prefix, end string) (rec session.Record, err error) {
	id, ok := idOf(end)
	if !ok {
		return rec, nil
	}
	h, err := s.read(ctx, recordPrefix+end)
	switch {
	case err == errForeign:
		return rec, nil
	case err != nil:
		return rec, err
	case h.exists && (subject == "" || h.subject == subject):
		s.seen.note(h.sighting())
		return h.record(id), nil
	case subject == "":
		return rec, nil
	}
	return rec, s.clear(ctx, prefix+end)
}

// clear removes a place that is empty, unless it is new, or written meanwhile.
func (s *Store) clear(ctx context.Context, key string) error {
	m, err := s.link.last(ctx, key)
	switch {
	case err == errNoMessage || err == nil && isMarker(&m):
		return nil
	case err != nil:
		return err
	}
	written, err := time.Parse(time.RFC3339Nano, m.Time)
	if err != nil || s.opts.Now().Sub(written) < newcomer {
		return nil
	}
	// Nobody needs to see the marker.
	if err := s.remove(ctx, key, &m.Seq, time.Second); err != errRevision {
		return err
	}
	return nil
}
