package natsstore

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck/session"
)

// A value is what is at the key of a record:
//
//	s1 WRITE VERSION CREATED SEEN EXPIRES COVER SUBJECT ⏎ DATA
//
// WRITE is a random number in hexadecimal, by which whoever saved it knows it
// again. The next are decimal: the version, which is 0 where it is the revision
// of the key, as nobody knows that before it is written; then times in Unix
// milliseconds, the last of which says until when the place in the index of the
// subject is good, or is 0. The subject is the rest of the line.
type value struct {
	write             uint64
	version           uint64
	created, lastSeen int64
	expires, cover    int64
	subject           string
	data              []byte
}

const (
	form = "s1"

	// valueHead is more than the line takes without the subject.
	valueHead = len(form) + 7*21
)

func valueOf(rec *session.Record) value {
	return value{
		created:  rec.Created.UnixMilli(),
		lastSeen: rec.LastSeen.UnixMilli(),
		expires:  rec.Expires.UnixMilli(),
		subject:  rec.Subject,
		data:     rec.Data,
	}
}

func (v *value) encode() []byte {
	b := make([]byte, 0, valueHead+len(v.subject)+len(v.data))
	b = append(b, form...)
	b = strconv.AppendUint(append(b, ' '), v.write, 16)
	b = strconv.AppendUint(append(b, ' '), v.version, 10)
	for _, n := range [...]int64{v.created, v.lastSeen, v.expires, v.cover} {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	b = append(append(append(b, ' '), v.subject...), '\n')
	return append(b, v.data...)
}

// decode returns a value whose data is memory of b.
func decode(b []byte) (v value, ok bool) {
	line, data, ok := bytes.Cut(b, []byte{'\n'})
	if !ok {
		return v, false
	}
	rest := string(line)
	next := func() (word string) {
		var found bool
		word, rest, found = strings.Cut(rest, " ")
		ok = ok && found
		return word
	}
	ok = next() == form
	number := func(base int) uint64 {
		n, err := strconv.ParseUint(next(), base, 64)
		ok = ok && err == nil
		return n
	}
	v.write, v.version = number(16), number(10)
	for _, ms := range [...]*int64{&v.created, &v.lastSeen, &v.expires, &v.cover} {
		n, err := strconv.ParseInt(next(), 10, 64)
		ok = ok && err == nil
		*ms = n
	}
	v.subject, v.data = rest, data
	return v, ok
}

func hasLineBreak(subject string) bool { return strings.Contains(subject, "\n") }

// held is what the server holds at the key of a record.
type held struct {
	revision uint64 // 0 if the key is not there
	exists   bool   // and not a marker that a record was deleted
	value
}

// versionNow returns the version of the record, 0 if there is none.
func (h *held) versionNow() uint64 {
	switch {
	case !h.exists:
		return 0
	case h.version == 0:
		return h.revision
	}
	return h.version
}

func (h *held) record(id string) session.Record {
	return session.Record{
		ID:       id,
		Subject:  h.subject,
		Data:     h.data,
		Version:  h.versionNow(),
		Created:  time.UnixMilli(h.created).UTC(),
		LastSeen: time.UnixMilli(h.lastSeen).UTC(),
		Expires:  time.UnixMilli(h.expires).UTC(),
	}
}
