package natsstore

import (
	"bytes"
	"context"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coatcheck/session"
)

// read returns what is at the key of a record.
func (s *Store) read(ctx context.Context, key string) (held, error) {
	m, err := s.link.last(ctx, key)
	switch {
	case err == errNoMessage:
		return held{}, nil
	case err != nil:
		return held{}, err
	}
	return holding(&m)
}

// holding makes of a message what is held there.
func holding(m *message) (held, error) {
	h := held{revision: m.Seq, exists: !isMarker(m)}
	if h.exists {
		var ok bool
		if h.value, ok = decode(m.Data); !ok {
			return held{}, errForeign
		}
	}
	return h, nil
}

// isMarker reports whether a message says that something was removed: by a client,
// or by the server.
func isMarker(m *message) bool {
	return bytes.Contains(m.Header, []byte(headerOperation)) || bytes.Contains(m.Header, []byte(headerMarker))
}

// save writes the record if it has the version, wherever that is.
//
// It begins with what this process has seen last of the version, and reads only
// when that turns out not to be the last: then the record was touched, which is no
// conflict; or a write is under way, and what comes of it must be waited for; or
// it has another version.
func (s *Store) save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	key := recordKey(rec.ID)
	v := valueOf(rec)
	v.write = rand.Uint64N(1<<63) + 1
	p := places{store: s, id: rec.ID}

	base := &sighting{} // of nothing
	if rec.Version != 0 {
		base = s.seen.of(rec.Version)
	}
	unsure := false // whether it was written before
	var tried uint64
	var t try
	for {
		if base == nil {
			now, err := s.read(ctx, key)
			switch {
			case err != nil:
				return 0, t.interrupted(err)
			case now.write == v.write:
				s.seen.note(now.sighting())
				return now.versionNow(), nil
			case unsure && (now.versionNow() != rec.Version || rec.Version == 0 && now.revision != tried):
				return 0, errUnsure
			case now.versionNow() != rec.Version:
				return 0, session.ErrConflict
			}
			base = now.sighting()
			if base.revision == tried {
				if err := t.pause(ctx, errBusy); err != nil {
					return 0, err
				}
			}
		}
		if v.cover, err = p.cover(ctx, base, &v); err != nil {
			return 0, err
		}
		revision, err := s.link.put(ctx, &t, key, v.encode(), nil, &base.revision, s.opts.ttl(rec.Expires))
		tried = base.revision
		switch err {
		case nil:
			s.seen.note(&sighting{revision, revision, v.subject, v.cover})
			return revision, p.settle(ctx, &v)
		case errRevision:
			base = nil
		case errNoAnswer:
			unsure = true
			if err := t.pause(ctx, err); err != nil {
				return 0, err
			}
		default:
			return 0, err
		}
	}
}

// touch writes the record with later times, upon whatever is there.
func (s *Store) touch(ctx context.Context, id string, lastSeen, expires time.Time) error {
	key := recordKey(id)
	p := places{store: s, id: id}
	var t try
	for {
		now, err := s.read(ctx, key)
		switch {
		case err != nil:
			return err
		case !now.exists:
			return session.ErrNotFound
		}
		base, v := now.sighting(), now.value
		v.version = base.version
		v.lastSeen = max(v.lastSeen, lastSeen.UnixMilli())
		v.expires = max(v.expires, expires.UnixMilli())
		if v.lastSeen == now.lastSeen && v.expires == now.expires {
			return nil
		}
		if v.cover, err = p.cover(ctx, base, &v); err != nil {
			return err
		}
		revision, err := s.link.put(ctx, &t, key, v.encode(), nil, &base.revision, s.opts.ttl(time.UnixMilli(v.expires)))
		switch err {
		case nil:
			s.seen.note(&sighting{v.version, revision, v.subject, v.cover})
			return p.settle(ctx, &v)
		case errRevision, errNoAnswer:
			// Somebody else was faster, or it was this one, which a read will show.
			if err := t.pause(ctx, err); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// markerLife is how long the marker of a deletion remains. A list meets it, and
// Watch relies on it.
const markerLife = 15 * time.Second

// remove puts a marker at a key, if its revision is the expected one or that is
// nil. The marker lives for so long.
func (s *Store) remove(ctx context.Context, key string, expected *uint64, life time.Duration) error {
	var t try
	for {
		_, err := s.link.put(ctx, &t, key, nil, nats.Header{headerOperation: {deletion}}, expected, life)
		if err != errNoAnswer {
			return err
		}
		if err := t.pause(ctx, err); err != nil {
			return err
		}
	}
}
