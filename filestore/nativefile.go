package filestore

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/coatcheck/session"
)

// A native file, numbers big-endian, times in milliseconds since 1970:
//
//	 0  8  magic
//	 8  8  version
//	16  8  created
//	24  2  length of ID
//	26  2  length of subject
//	28  4  length of data
//	32  4  CRC-32C of data
//	36  4  CRC-32C of bytes 0 to 36, ID and subject
//	40 20  times: last seen, expires, CRC-32C of version and both
//	60 20  times, again
//	80     ID, subject, data
//
// The file ends with the data. So a file that is cut off, too long or changed
// anywhere is recognised, and by its head alone whether it is a record and of
// whom. The CRCs are against accidents; who can write the folder can do anything.
//
// Only the times change in place. Touch writes the older of the two, so that
// one is valid if that is torn. No sequence number is needed: touches only move
// times forward, so the greater ones are the newer ones.
const (
	magic    = "ccsess\x00\x01"
	timesAt  = 40
	timesLen = 20
	headLen  = timesAt + 2*timesLen
	// fullHead is at most how many bytes tell everything but the data.
	fullHead = headLen + maxID + maxSubject
	// fullFile is the length of the largest file.
	fullFile = fullHead + maxData
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A head is what a native file holds besides the data.
type head struct {
	id, subject string
	version     uint64
	created     int64
	times       times
	oldTimes    int // which of the two times to overwrite, 0 or 1
	dataLen     int
	dataSum     uint32
}

// times are the fields that change in place, in milliseconds since 1970.
type times struct{ lastSeen, expires int64 }

// forward returns the later of each.
func (t times) forward(u times) times {
	return times{max(t.lastSeen, u.lastSeen), max(t.expires, u.expires)}
}

// encode returns t as it stands in the file of a record with the version. The
// version in the checksum keeps times of another file out, should the disk bring
// up an old block.
func (t times) encode(version uint64) []byte {
	b := make([]byte, 0, timesLen)
	b = binary.BigEndian.AppendUint64(b, uint64(t.lastSeen))
	b = binary.BigEndian.AppendUint64(b, uint64(t.expires))
	return binary.BigEndian.AppendUint32(b, t.sum(version))
}

func (t times) sum(version uint64) uint32 {
	var b [24]byte
	binary.BigEndian.PutUint64(b[0:], version)
	binary.BigEndian.PutUint64(b[8:], uint64(t.lastSeen))
	binary.BigEndian.PutUint64(b[16:], uint64(t.expires))
	return crc32.Checksum(b[:], castagnoli)
}

// decodeTimes is the inverse of encode.
func decodeTimes(b []byte, version uint64) (t times, ok bool) {
	t.lastSeen = int64(binary.BigEndian.Uint64(b[0:]))
	t.expires = int64(binary.BigEndian.Uint64(b[8:]))
	return t, binary.BigEndian.Uint32(b[16:]) == t.sum(version)
}

// encodeNative returns the file of a record. Its lengths have been checked.
func encodeNative(rec *session.Record, version uint64) []byte {
	b := make([]byte, 0, headLen+len(rec.ID)+len(rec.Subject)+len(rec.Data))
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint64(b, version)
	b = binary.BigEndian.AppendUint64(b, uint64(rec.Created.UnixMilli()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(rec.ID)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(rec.Subject)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(rec.Data)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(rec.Data, castagnoli))
	b = binary.BigEndian.AppendUint32(b, headSum(b, rec.ID, rec.Subject))
	t := times{rec.LastSeen.UnixMilli(), rec.Expires.UnixMilli()}.encode(version)
	b = append(b, t...)
	b = append(b, t...)
	b = append(b, rec.ID...)
	b = append(b, rec.Subject...)
	return append(b, rec.Data...)
}

// headSum is the checksum of the fixed fields, the ID and the subject.
func headSum(fixed []byte, id, subject string) uint32 {
	sum := crc32.Checksum(fixed, castagnoli)
	sum = crc32.Update(sum, castagnoli, []byte(id))
	return crc32.Update(sum, castagnoli, []byte(subject))
}

// decodeHead reads the head from the first bytes of a file, which must be
// fullHead ones or the whole file. The size is that of the file.
func decodeHead(b []byte, size int64) (h head, ok bool) {
	if len(b) < headLen || string(b[:len(magic)]) != magic {
		return head{}, false
	}
	h.version = binary.BigEndian.Uint64(b[8:])
	h.created = int64(binary.BigEndian.Uint64(b[16:]))
	idLen := int(binary.BigEndian.Uint16(b[24:]))
	subjectLen := int(binary.BigEndian.Uint16(b[26:]))
	dataLen := binary.BigEndian.Uint32(b[28:])
	if idLen > maxID || subjectLen > maxSubject || dataLen > maxData {
		return head{}, false
	}
	h.dataLen = int(dataLen)
	h.dataSum = binary.BigEndian.Uint32(b[32:])
	rest := b[headLen:]
	if size != int64(headLen+idLen+subjectLen+h.dataLen) || len(rest) < idLen+subjectLen {
		return head{}, false
	}
	h.id = string(rest[:idLen])
	h.subject = string(rest[idLen : idLen+subjectLen])
	if binary.BigEndian.Uint32(b[36:]) != headSum(b[:36], h.id, h.subject) {
		return head{}, false
	}
	t0, ok0 := decodeTimes(b[timesAt:], h.version)
	t1, ok1 := decodeTimes(b[timesAt+timesLen:], h.version)
	switch {
	case ok0 && ok1:
		h.times = t0.forward(t1)
		if h.times == t0 {
			h.oldTimes = 1
		}
	case ok0:
		h.times, h.oldTimes = t0, 1
	case ok1:
		h.times, h.oldTimes = t1, 0
	default:
		return head{}, false
	}
	return h, true
}

// decodeNative reads a whole file. The Data of the record is a part of b.
func decodeNative(b []byte) (rec session.Record, ok bool) {
	h, ok := decodeHead(b, int64(len(b)))
	if !ok {
		return session.Record{}, false
	}
	data := b[len(b)-h.dataLen:]
	if crc32.Checksum(data, castagnoli) != h.dataSum {
		return session.Record{}, false
	}
	return session.Record{
		ID:       h.id,
		Subject:  h.subject,
		Data:     data,
		Version:  h.version,
		Created:  fromMillis(h.created),
		LastSeen: fromMillis(h.times.lastSeen),
		Expires:  fromMillis(h.times.expires),
	}, true
}

// fromMillis returns the time as records have it. The zero time survives the
// way to milliseconds and back.
func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// firstMilli returns the first whole millisecond that is not before t. Records
// have whole ones, so a record expired before t iff it did before that.
func firstMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}
