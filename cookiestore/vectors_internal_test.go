package cookiestore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// The vectors of c2sp.org/XAES-256-GCM.
func TestXAESVectors(t *testing.T) {
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	for _, v := range []struct {
		name             string
		key              byte
		additional, want string
	}{
		{"the highest bit of L is 0", 1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{"the highest bit of L is 1", 3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		t.Run(v.name, func(t *testing.T) {
			ciphertext, err := hex.DecodeString(v.want)
			if err != nil {
				t.Fatal(err)
			}
			k, err := newRawKey(bytes.Repeat([]byte{v.key}, 32))
			if err != nil {
				t.Fatal(err)
			}
			aead, err := k.aead(nonce[:12])
			if err != nil {
				t.Fatal(err)
			}
			plain, err := aead.Open(nil, nil, append(nonce[12:24:24], ciphertext...), []byte(v.additional))
			if err != nil || string(plain) != "XAES-256-GCM" {
				t.Errorf("opens as %q, %v", plain, err)
			}
		})
	}
}

const vectorSecret = session.Secret("a secret that seals, of 40 bytes........")

// Parcels that were sealed by version 1 must open for ever. These were made with
// Node.js, by the description of the format.
func TestParcelVectors(t *testing.T) {
	const id = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"
	created := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	seen := created.Add(61234 * time.Millisecond)
	expires := seen.Add(time.Hour)
	for _, v := range []struct {
		name, purpose, parcel string
		want                  session.Record
	}{
		{
			"plain", "",
			"AUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFYR-2wPQrNN5APn8fYUKu-4phTqoc3BKXRV95RqwXlWRow7s-cI4tJ5s76lRAJ7W7YyaviL",
			session.Record{ID: id, Subject: "user-1", Data: []byte(`{"n":1,"s":"é"}`), Created: created, LastSeen: seen, Expires: expires},
		},
		{
			"compressed, with a purpose", "shop",
			"AUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFjRzWrQwcH5Co6hr7wiFP9de91iCHDEEQNzoU4Gb5crWIJ962dO6Madas8KtYWArg",
			session.Record{ID: id, Data: []byte(`{"s":"` + strings.Repeat("abc", 50) + `"}`), Created: created, LastSeen: seen, Expires: expires},
		},
		{
			"without times", "",
			"AUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFZujCI5NXS1WOCZhvvgq4fLuBsu5kEeQ4Cpt7CkE4hQJgJs",
			session.Record{ID: "x", Data: []byte(`{}`), Expires: expires},
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			s, err := New([]session.Secret{vectorSecret}, &Options{Purpose: v.purpose})
			if err != nil {
				t.Fatal(err)
			}
			parcel, err := base64.RawURLEncoding.DecodeString(v.parcel)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := s.open(parcel, v.want.ID)
			if !ok {
				t.Fatal("does not open")
			}
			v.want.Version = 0x4142434445464748 // "ABCDEFGH", the beginning of the nonce
			if got.ID != v.want.ID || got.Subject != v.want.Subject || !bytes.Equal(got.Data, v.want.Data) || got.Version != v.want.Version ||
				got.Created != v.want.Created || got.LastSeen != v.want.LastSeen || got.Expires != v.want.Expires {
				t.Errorf("got  %+v\nwant %+v", got, v.want)
			}
			sealed, err := s.seal(&v.want)
			if err != nil || v.name == "plain" && len(sealed) != len(parcel) {
				t.Errorf("sealed again it has %d bytes, want %d; %v", len(sealed), len(parcel), err)
			}
		})
	}
}
