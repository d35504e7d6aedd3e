package redisstore

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/coatcheck/session"
)

const (
	// mostAtOnce is how many records are asked for at once, and so the most on a
	// page.
	mostAtOnce = 1000

	// mostScans is how often a page may ask for keys, where most are those of
	// others or of other subjects. A page may be empty, but should not take long.
	mostScans = 16
)

// scan lists the records of a query from the keys of all masters, one master
// after another.
//
// SCAN returns as many keys at once as it pleases, and none may be left out, nor
// may a page exceed its limit. So a page ends before the keys that do not fit,
// and the next one asks for them again; and where they do not fit on a page of
// their own, the cursor says which have been listed.
func scan(ctx context.Context, l link, lay layout, q session.Query) ([]session.Record, string, error) {
	masters, err := l.masters(ctx)
	if err != nil {
		return nil, "", err
	}
	names := slices.Sorted(maps.Keys(masters))
	if len(names) == 0 {
		return nil, "", errNoMaster
	}
	c, err := parseCursor(q.Cursor)
	if err != nil {
		return nil, "", err
	}
	if q.Cursor == "" {
		c.node = names[0]
	}
	limit := min(q.Limit, mostAtOnce)
	var records []session.Record
	for range mostScans {
		node, ok := masters[c.node]
		if !ok {
			return nil, "", errNode
		}
		ids, after, err := scanKeys(ctx, node, lay, c.at, limit)
		if err != nil {
			return nil, "", err
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(c.seen, fingerprint(id)) })
		room := limit - len(records)
		if q.Subject == "" && len(ids) > room && len(records) > 0 {
			return records, c.String(), nil
		}
		found, looked, err := readMatching(ctx, l, lay, ids, q.Subject, room)
		switch {
		case err != nil:
			return nil, "", err
		case looked == len(ids):
			records = append(records, found...)
			c.at, c.seen = after, nil
		case len(records) > 0:
			return records, c.String(), nil
		default:
			records = found
			for _, id := range ids[:looked] {
				c.seen = append(c.seen, fingerprint(id))
			}
		}
		if c.at == 0 && len(c.seen) == 0 {
			// The end of this master.
			i, _ := slices.BinarySearch(names, c.node)
			if i+1 == len(names) {
				return records, "", nil
			}
			c.node = names[i+1]
		}
		if len(records) > 0 && (len(records) == limit || len(c.seen) > 0) {
			return records, c.String(), nil
		}
	}
	return records, c.String(), nil
}

// scanKeys returns the next IDs of a server, each once, and where to go on.
func scanKeys(ctx context.Context, node link, lay layout, at uint64, limit int) (ids []string, after uint64, err error) {
	// Half of what fits, as SCAN may return more than it is asked for. If much
	// less fits, it is still not worth a round trip for every few keys.
	const least = 100
	reply, err := node.do(ctx, command{words: []string{
		"SCAN", strconv.FormatUint(at, 10),
		"MATCH", escapeGlob(lay.prefix()) + "*",
		"COUNT", strconv.Itoa(max(limit/2, least)),
		"TYPE", "string",
	}, again: true})
	if err != nil {
		return nil, 0, err
	}
	pair, _ := reply.([]any)
	if len(pair) != 2 {
		return nil, 0, errReply
	}
	next, _ := pair[0].(string)
	after, err = strconv.ParseUint(next, 10, 64)
	keys, ok := texts(pair[1])
	if err != nil || !ok {
		return nil, 0, errReply
	}
	for _, key := range keys {
		if strings.HasPrefix(key, lay.prefix()) {
			ids = append(ids, lay.id(key))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), after, nil
}

// readMatching reads the records with the IDs, and returns up to room of those that
// are of the subject, or of any if it is empty, and how many IDs it looked at for
// that.
func readMatching(ctx context.Context, l link, lay layout, ids []string, subject string, room int) (found []session.Record, looked int, err error) {
	if subject == "" && len(ids) > room {
		ids = ids[:room] // as most of them will be found, there is no need for the others
	}
	// All through the common link: only that knows where a key has gone.
	for _, rec := range readAll(ctx, l, lay, ids) {
		switch {
		case rec.err == errForeign:
			// Something else under the prefix. It spoils no list.
		case rec.err != nil:
			return nil, 0, rec.err
		case rec.found && (subject == "" || rec.Subject == subject):
			if len(found) == room {
				return found, looked, nil
			}
			found = append(found, rec.Record)
		}
		looked++
	}
	return found, looked, nil
}

// A reading is a record that was read, or why not.
type reading struct {
	session.Record
	found bool
	err   error
}

// readAll reads the records with the IDs.
func readAll(ctx context.Context, l link, lay layout, ids []string) []reading {
	cs := make([]command, len(ids))
	for i, id := range ids {
		cs[i] = lay.read(lay.key(id))
	}
	readings := make([]reading, len(ids))
	for i, r := range l.doAll(ctx, cs) {
		if readings[i].err = r.err; r.err == nil {
			readings[i].Record, readings[i].found, readings[i].err = lay.parse(ids[i], r.reply)
		}
	}
	return readings
}

// texts returns a reply that is a list of strings.
func texts(reply any) ([]string, bool) {
	list, ok := reply.([]any)
	texts := make([]string, len(list))
	for i, r := range list {
		s, isText := r.(string)
		texts[i], ok = s, ok && isText
	}
	return texts, ok
}

// escapeGlob returns a pattern that matches the text.
func escapeGlob(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}
