package cookiestore

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/coatcheck/session"
)

// FuzzOpen shows the store what it has not sealed.
func FuzzOpen(f *testing.F) {
	s, err := New([]session.Secret{vectorSecret, "another secret to open with, 40 bytes..."}, nil)
	if err != nil {
		f.Fatal(err)
	}
	// One that is the same in every process that fuzzes.
	const own = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"
	parcel, err := base64.RawURLEncoding.DecodeString("AUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFYR-2wPQrNN5APn8fYUKu-4phTqoc3BKXRV95RqwXlWRow7s-cI4tJ5s76lRAJ7W7YyaviL")
	if err != nil {
		f.Fatal(err)
	}
	for _, sent := range [][]byte{nil, {format}, make([]byte, overhead), parcel, parcel[1:], parcel[:len(parcel)-1], append(parcel[:len(parcel):len(parcel)], 0)} {
		f.Add(sent, own)
		f.Add(sent, "another")
	}
	f.Fuzz(func(t *testing.T, sent []byte, id string) {
		if _, ok := s.open(sent, id); ok != (bytes.Equal(sent, parcel) && id == own) {
			t.Fatalf("%x opens for %q: %v", sent, id, ok)
		}
	})
}

// FuzzDecode reads what only somebody with the key can have sealed, so it is a
// second wall.
func FuzzDecode(f *testing.F) {
	deflated, err := deflate([]byte(strings.Repeat("a", 1000)))
	if err != nil {
		f.Fatal(err)
	}
	for _, plain := range [][]byte{
		nil, {formPlain}, {formPlain, 0, 0, 0, 0}, {formPlain, 2, 4, 6, 1, 'u', '{', '}'}, {formPlain, 0, 0, 0, 9}, {7, 0, 0, 0, 0},
		append([]byte{formDeflated, 0, 0, 0, 0, 0xe8, 7}, deflated...), append([]byte{formDeflated, 0, 0, 0, 0, 0xe7, 7}, deflated...),
		append([]byte{formPlain}, bytes.Repeat([]byte{0xff}, 40)...),
	} {
		f.Add(plain)
	}
	s := &Store{}
	f.Fuzz(func(t *testing.T, plain []byte) {
		rec, ok := decode(plain)
		if !ok {
			return
		}
		if len(rec.Data) > max(maxInflated, len(plain)) {
			t.Fatalf("%d bytes of data", len(rec.Data))
		}
		text, err := s.encode(&rec)
		if err != nil {
			t.Fatal(err)
		}
		again, ok := decode(text)
		if !ok || again.Subject != rec.Subject || !bytes.Equal(again.Data, rec.Data) || !again.Expires.Equal(rec.Expires) {
			t.Fatalf("%x came back as %+v", plain, again)
		}
	})
}

func TestDecompressionIsBounded(t *testing.T) {
	const most = 10 << 20
	small, err := deflate(make([]byte, most)) // 10 KB
	if err != nil {
		t.Fatal(err)
	}
	for _, claimed := range []uint64{0, 1, maxInflated, maxInflated + 1, most, math.MaxInt64, math.MaxUint64} {
		plain := append(binary.AppendUvarint([]byte{formDeflated, 0, 0, 0, 0}, claimed), small...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, ok := decode(plain); ok {
			t.Errorf("a bomb that claims %d bytes was read", claimed)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 10*maxInflated {
			t.Errorf("a bomb that claims %d bytes took %d", claimed, got)
		}
	}
}
