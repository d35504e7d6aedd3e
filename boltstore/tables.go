package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/coatcheck/session"
	"go.etcd.io/bbolt"
)

// The buckets within ours.
const (
	metas = iota
	data
	expiry
	subjects
)

var tableNames = [...][]byte{
	metas:    []byte("meta"),
	data:     []byte("data"),
	expiry:   []byte("expiry"),
	subjects: []byte("subject"),
}

var (
	errDamaged = errors.New("a record is damaged, or of a later version of the program")
	errForeign = errors.New("the bucket holds something that is not of this package")
)

// tables are our buckets in one transaction.
type tables struct {
	home    *bbolt.Bucket // nil if there is none yet
	opened  [len(tableNames)]*bbolt.Bucket
	changed bool
}

// table opens a bucket when it is first used. It is nil if it is not there,
// which only a reader sees.
func (t *tables) table(n int) *bbolt.Bucket {
	if t.opened[n] == nil && t.home != nil {
		t.opened[n] = t.home.Bucket(tableNames[n])
	}
	return t.opened[n]
}

// ready reports whether all buckets are there. It is an error if ours holds
// something else.
func (t *tables) ready() (bool, error) {
	if t.home == nil {
		return false, nil
	}
	for n := range tableNames {
		if t.table(n) != nil {
			continue
		}
		if key, _ := t.home.Cursor().First(); n == metas && key != nil {
			return false, errForeign
		}
		return false, nil
	}
	return true, nil
}

// createTables makes those buckets that are missing.
func createTables(tx *bbolt.Tx, name []byte) (*tables, error) {
	t := &tables{home: tx.Bucket(name)}
	if ready, err := t.ready(); ready || err != nil {
		return t, err
	}
	t.changed = true
	var err error
	if t.home, err = tx.CreateBucketIfNotExists(name); err != nil {
		return nil, err
	}
	for n, name := range tableNames {
		if t.opened[n], err = t.home.CreateBucketIfNotExists(name); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// A meta is all of a record but ID and data. Times are Unix milliseconds.
type meta struct {
	version                    uint64
	created, lastSeen, expires int64
	due                        int64 // the time in the expiry index, not after expires
	subject                    []byte
}

// Its form is a byte that tells the form, five numbers, and the subject.
const (
	metaForm = 1
	metaHead = 1 + 5*8
)

func (m meta) encode() []byte {
	b := make([]byte, 0, metaHead+len(m.subject))
	b = append(b, metaForm)
	b = binary.BigEndian.AppendUint64(b, m.version)
	for _, n := range []int64{m.created, m.lastSeen, m.expires, m.due} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, m.subject...)
}

// decodeMeta returns a meta whose subject is memory of the transaction.
func decodeMeta(b []byte) (meta, error) {
	if len(b) < metaHead || b[0] != metaForm {
		return meta{}, errDamaged
	}
	number := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	return meta{
		version:  number(0),
		created:  int64(number(1)),
		lastSeen: int64(number(2)),
		expires:  int64(number(3)),
		due:      int64(number(4)),
		subject:  b[metaHead:],
	}, nil
}

// meta returns what is known of the ID, or session.ErrNotFound.
func (t *tables) meta(id []byte) (meta, error) {
	table := t.table(metas)
	if table == nil {
		return meta{}, session.ErrNotFound
	}
	b := table.Get(id)
	if b == nil {
		return meta{}, session.ErrNotFound
	}
	return decodeMeta(b)
}

// record returns a copy of the record, or session.ErrNotFound.
func (t *tables) record(id []byte) (session.Record, error) {
	m, err := t.meta(id)
	if err != nil {
		return session.Record{}, err
	}
	text := t.table(data).Get(id)
	if text == nil {
		return session.Record{}, errDamaged
	}
	return session.Record{
		ID:       string(id),
		Subject:  string(m.subject),
		Data:     slices.Clone(text),
		Version:  m.version,
		Created:  time.UnixMilli(m.created).UTC(),
		LastSeen: time.UnixMilli(m.lastSeen).UTC(),
		Expires:  time.UnixMilli(m.expires).UTC(),
	}, nil
}

// put stores the record in the place of one that has the old meta, or of none if
// its version is zero. It keeps rec.Data until the transaction ends.
func (t *tables) put(rec *session.Record, version uint64, old meta) error {
	t.changed = true
	id := []byte(rec.ID)
	m := meta{
		version:  version,
		created:  rec.Created.UnixMilli(),
		lastSeen: rec.LastSeen.UnixMilli(),
		expires:  rec.Expires.UnixMilli(),
		subject:  []byte(rec.Subject),
	}
	m.due = m.expires
	isNew := old.version == 0
	if !isNew && old.due <= m.expires {
		m.due = old.due
	}
	if isNew || old.due != m.due {
		if !isNew {
			if err := t.table(expiry).Delete(expiryKey(old.due, id)); err != nil {
				return err
			}
		}
		if err := t.table(expiry).Put(expiryKey(m.due, id), nil); err != nil {
			return err
		}
	}
	if !bytes.Equal(old.subject, m.subject) {
		if len(old.subject) > 0 {
			if err := t.table(subjects).Delete(subjectKey(string(old.subject), id)); err != nil {
				return err
			}
		}
		if rec.Subject != "" {
			if err := t.table(subjects).Put(subjectKey(rec.Subject, id), nil); err != nil {
				return err
			}
		}
	}
	if err := t.table(metas).Put(id, m.encode()); err != nil {
		return err
	}
	return t.table(data).Put(id, rec.Data)
}

// touch moves the times of a record forward. It leaves the expiry index alone.
func (t *tables) touch(id []byte, m meta, lastSeen, expires int64) error {
	if lastSeen <= m.lastSeen && expires <= m.expires {
		return nil
	}
	t.changed = true
	m.lastSeen, m.expires = max(m.lastSeen, lastSeen), max(m.expires, expires)
	return t.table(metas).Put(id, m.encode())
}

// remove removes a record and reports whether there was one. Of a damaged one an
// entry of the subject index may remain, which leads nowhere.
func (t *tables) remove(id []byte) (bool, error) {
	b := t.table(metas).Get(id)
	if b == nil {
		return false, nil
	}
	t.changed = true
	if m, err := decodeMeta(b); err == nil {
		if len(m.subject) > 0 {
			if err := t.table(subjects).Delete(subjectKey(string(m.subject), id)); err != nil {
				return false, err
			}
		}
		if err := t.table(expiry).Delete(expiryKey(m.due, id)); err != nil {
			return false, err
		}
	}
	if err := t.table(metas).Delete(id); err != nil {
		return false, err
	}
	return true, t.table(data).Delete(id)
}

// expiryKey sorts by time, also before 1970.
func expiryKey(due int64, id []byte) []byte {
	key := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(id)), uint64(due)^1<<63)
	return append(key, id...)
}

// parseExpiryKey returns an ID that is part of the key.
func parseExpiryKey(key []byte) (due int64, id []byte) {
	if len(key) < 8 {
		return 0, nil
	}
	return int64(binary.BigEndian.Uint64(key) ^ 1<<63), key[8:]
}

// subjectKey begins with the subject's length, so that no subject is the
// beginning of another.
func subjectKey(subject string, id []byte) []byte {
	key := append(make([]byte, 0, 1+len(subject)+len(id)), byte(len(subject)))
	return append(append(key, subject...), id...)
}
