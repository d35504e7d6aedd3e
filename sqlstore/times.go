package sqlstore

import (
	"fmt"
	"strconv"
	"time"
)

// millis returns the time in milliseconds since 1970, or nil for the zero time.
func millis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// timestamp returns the time for a column with a time zone, or nil for the zero
// time.
func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Millisecond)
}

// hour returns the hours since 1970, rounded down, for the column expires_hour.
func hour(t time.Time) any {
	const length = int64(time.Hour / time.Millisecond)
	ms := t.UnixMilli()
	h := ms / length
	if ms%length < 0 {
		h--
	}
	return h
}

// seconds returns the seconds since 1970, rounded up, so that a record never
// expires before its time.
func seconds(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}

// A moment receives a column that holds a time: milliseconds since 1970, what
// the driver makes of a timestamp, or NULL for the zero time.
type moment time.Time

func (m *moment) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*m = moment{}
	case time.Time:
		*m = moment(v.UTC().Truncate(time.Millisecond))
	default:
		var ms signed
		if err := ms.Scan(src); err != nil {
			return err
		}
		*m = moment(time.UnixMilli(int64(ms)).UTC())
	}
	return nil
}

// A signed receives a signed column that holds an unsigned number.
type signed uint64

func (s *signed) Scan(src any) error {
	switch v := src.(type) {
	case int64:
		*s = signed(v)
		return nil
	case []byte: // the text protocol of MySQL
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err == nil {
			*s = signed(n)
			return nil
		}
	}
	return fmt.Errorf("the column holds no number (%T)", src)
}
