package filestore

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// FuzzNativeFile checks that whatever is taken for a record is one to the byte,
// but for the older times.
func FuzzNativeFile(f *testing.F) {
	rec := sample("the-record")
	file := encodeNative(rec, 7)
	f.Add(file)
	f.Add(file[:headLen])
	f.Add(encodeNative(&session.Record{ID: "x"}, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, ok := decodeNative(b)
		if !ok {
			return
		}
		again := encodeNative(&rec, rec.Version)
		if !bytes.Equal(again[:timesAt], b[:timesAt]) || !bytes.Equal(again[headLen:], b[headLen:]) {
			t.Fatalf("%x was read as %x", b, again)
		}
	})
}

// FuzzExpressFile checks that a file that is taken for a session survives being
// saved, and that what comes out of it is JSON.
func FuzzExpressFile(f *testing.F) {
	f.Add([]byte(`{"cookie":{"originalMaxAge":60000},"passport":{"user":"tj"},"__lastAccess":1795430226484,"added":true}`))
	f.Add([]byte(`{"__lastAccess":1}`))
	f.Add([]byte(`{"cookie":{},"__coatcheck":[1]}`))
	f.Add([]byte(" { \"\\u005f_lastAccess\" : -1e9 , \"a\":[{}]} "))
	f.Fuzz(func(t *testing.T, b []byte) {
		original := bytes.Clone(b)
		e, ok := decodeExpress(b, time.Hour)
		if !bytes.Equal(original, b) {
			t.Fatal("reading changed the file")
		}
		if !ok {
			return
		}
		if !json.Valid(e.data) {
			t.Fatalf("the data %q is not JSON", e.data)
		}
		rec := session.Record{ID: "x", Data: e.data, LastSeen: now, Expires: now.Add(time.Minute)}
		file, err := encodeExpress(&rec, time.Hour)
		if err != nil {
			return // the reserved key
		}
		again, ok := decodeExpress(file, time.Hour)
		if !ok || !bytes.Equal(again.data, e.data) {
			t.Fatalf("%q was saved as %q and read as %q", e.data, file, again.data)
		}
		if again.expires() != rec.Expires.UnixMilli() {
			t.Fatalf("saved as %q, it expires at %d, want %d", file, again.expires(), rec.Expires.UnixMilli())
		}
		if again.subject != e.subject {
			t.Fatalf("the subject %q became %q", e.subject, again.subject)
		}
	})
}
