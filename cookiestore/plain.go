package cookiestore

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/coatcheck/session"
)

// What is sealed is
//
//	form | Created | LastSeen | Expires | length of Subject | Subject | Data
//
// with times in milliseconds, the second and third as the difference to the one
// before. With the form deflated the length of the data and its compressed bytes
// take its place.

const (
	formPlain    = 0
	formDeflated = 1
)

// maxInflated bounds the data before compression: what is small in a cookie must
// not take much time and memory with each request.
const maxInflated = 64 << 10

// encode returns the text of a record that is to be sealed.
func (s *Store) encode(rec *session.Record) ([]byte, error) {
	dst := make([]byte, 0, 64+len(rec.Subject)+len(rec.Data))
	dst = append(dst, formPlain)
	created, seen, expires := rec.Created.UnixMilli(), rec.LastSeen.UnixMilli(), rec.Expires.UnixMilli()
	dst = binary.AppendVarint(dst, created)
	dst = binary.AppendVarint(dst, seen-created)
	dst = binary.AppendVarint(dst, expires-seen)
	dst = binary.AppendUvarint(dst, uint64(len(rec.Subject)))
	dst = append(dst, rec.Subject...)
	if s.opts.Compress {
		if len(rec.Data) > maxInflated {
			return nil, fmt.Errorf("cookiestore: save: the data has %d bytes before compression, at most %d are kept; keep large things elsewhere and their ID in the session: %w", len(rec.Data), maxInflated, session.ErrTooLarge)
		}
		small, err := deflate(rec.Data)
		if err != nil {
			return nil, fmt.Errorf("cookiestore: save: compress: %w", err)
		}
		if len(small)+binary.MaxVarintLen16 < len(rec.Data) {
			dst[0] = formDeflated
			dst = binary.AppendUvarint(dst, uint64(len(rec.Data)))
			return append(dst, small...), nil
		}
	}
	return append(dst, rec.Data...), nil
}

// decode returns the record in the text that encode has made. The record keeps
// the text.
func decode(plain []byte) (rec session.Record, ok bool) {
	r := reader{rest: plain, ok: true}
	form := r.byte()
	created := r.varint()
	seen := created + r.varint()
	expires := seen + r.varint()
	rec.Created, rec.LastSeen, rec.Expires = time.UnixMilli(created).UTC(), time.UnixMilli(seen).UTC(), time.UnixMilli(expires).UTC()
	rec.Subject = string(r.bytes(r.uvarint()))
	switch {
	case !r.ok:
		return session.Record{}, false
	case form == formPlain:
		rec.Data = r.rest
		return rec, true
	case form == formDeflated:
		n := r.uvarint()
		if !r.ok || n > maxInflated {
			return session.Record{}, false
		}
		rec.Data, ok = inflate(r.rest, int(n))
		return rec, ok
	}
	return session.Record{}, false
}

// A reader takes a text apart. When something is missing, ok is false from then on.
type reader struct {
	rest []byte
	ok   bool
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func (r *reader) bytes(n uint64) []byte {
	if !r.ok || n > uint64(len(r.rest)) {
		r.ok = false
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	return take(r, v, n)
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	return take(r, v, n)
}

func take[T int64 | uint64](r *reader, v T, n int) T {
	if !r.ok || n <= 0 {
		r.ok = false
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Both ends of the compressor take long to set up.
var (
	deflaters = sync.Pool{New: func() any {
		w, _ := flate.NewWriter(nil, flate.DefaultCompression) // which fails only for a level that is none
		return w
	}}
	inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}
)

func deflate(data []byte) ([]byte, error) {
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	var buf bytes.Buffer
	w.Reset(&buf)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// inflate returns what was compressed, if that has exactly n bytes.
func inflate(small []byte, n int) ([]byte, bool) {
	f := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(f)
	if f.(flate.Resetter).Reset(bytes.NewReader(small), nil) != nil {
		return nil, false
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, false
	}
	var more [1]byte
	if k, err := io.ReadFull(f, more[:]); k > 0 || err != io.EOF {
		return nil, false
	}
	return data, true
}
