package bytestore

import (
	"bytes"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// FuzzDecode: what a foreign store returns is a record or none, never a panic;
// and a record that is one is written again as it was.
func FuzzDecode(f *testing.F) {
	f.Add(encode(&session.Record{Version: 7, Subject: "ada", Data: []byte(`{"a":1}`), Created: time.UnixMilli(1), Expires: time.UnixMilli(1 << 40)}))
	f.Add([]byte("ccs1"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, ok := Decode(b)
		if ok && !bytes.Equal(encode(&rec), b) {
			t.Errorf("%q became %q", b, encode(&rec))
		}
	})
}
