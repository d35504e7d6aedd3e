package cookiestore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/coatcheck/session"
)

// A parcel is
//
//	format (1 byte) | nonce (24) | ciphertext | tag (16)
//
// The additional data is the format and the ID of the record, so that a parcel
// opens for one session only, and in one format.
//
// The cipher is XAES-256-GCM (c2sp.org/XAES-256-GCM): the first half of the nonce
// makes a key for AES-256-GCM, whose nonce is the second half. With AES-256-GCM
// alone random nonces are safe for 2^32 records under one key, which a busy site
// seals within weeks; with 192 bits of nonce it is 2^80.

const (
	format     = 1
	nonceBytes = 24
	tagBytes   = 16
	overhead   = 1 + nonceBytes + tagBytes
)

// A key seals and opens for one purpose with one secret.
type key struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // the subkey of CMAC
}

func newKey(secret session.Secret, purpose string) (*key, error) {
	raw, err := hkdf.Key(sha256.New, []byte(secret), nil, "coatcheck/session cookiestore 1 "+purpose, 32)
	if err != nil {
		return nil, err
	}
	return newRawKey(raw)
}

func newRawKey(raw []byte) (*key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	k := &key{block: block}
	k.block.Encrypt(k.k1[:], k.k1[:])
	var carry byte
	for i := len(k.k1) - 1; i >= 0; i-- {
		k.k1[i], carry = k.k1[i]<<1|carry, k.k1[i]>>7
	}
	k.k1[len(k.k1)-1] ^= carry * 0b1000_0111
	return k, nil
}

// aead returns the cipher for the first half of a nonce. It makes the second half
// by itself and puts it in front of the ciphertext.
func (k *key) aead(half []byte) (cipher.AEAD, error) {
	var derived [2 * aes.BlockSize]byte
	for i := range 2 {
		m := derived[i*aes.BlockSize:][:aes.BlockSize]
		m[1], m[2] = byte(i+1), 'X'
		copy(m[4:], half)
		for j := range m {
			m[j] ^= k.k1[j]
		}
		k.block.Encrypt(m, m)
	}
	block, err := aes.NewCipher(derived[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal returns the parcel of a record.
func (s *Store) seal(rec *session.Record) ([]byte, error) {
	plain, err := s.encode(rec)
	if err != nil {
		return nil, err
	}
	if n := base64.RawURLEncoding.EncodedLen(overhead + len(plain)); n > s.opts.MaxBytes {
		return nil, fmt.Errorf("cookiestore: save: the session would take %d bytes of cookie, Options.MaxBytes is %d; keep large things elsewhere and their ID in the session: %w", n, s.opts.MaxBytes, session.ErrTooLarge)
	}
	parcel := make([]byte, 1+nonceBytes/2, overhead+len(plain))
	parcel[0] = format
	_, _ = rand.Read(parcel[1:])
	aead, err := s.keys[0].aead(parcel[1:])
	if err != nil {
		return nil, fmt.Errorf("cookiestore: save: seal: %w", err)
	}
	return aead.Seal(parcel, nil, plain, additional(rec.ID)), nil
}

// open returns the record in a parcel, if it is the one with the ID and one of
// the keys has sealed it.
func (s *Store) open(parcel []byte, id string) (session.Record, bool) {
	if !isParcel(parcel) {
		return session.Record{}, false
	}
	for _, k := range s.keys {
		const half = 1 + nonceBytes/2
		aead, err := k.aead(parcel[1:half])
		if err != nil {
			continue
		}
		plain, err := aead.Open(nil, nil, parcel[half:], additional(id))
		if err != nil {
			continue
		}
		rec, ok := decode(plain)
		rec.ID, rec.Version = id, parcelVersion(parcel)
		return rec, ok
	}
	return session.Record{}, false
}

func isParcel(parcel []byte) bool { return len(parcel) >= overhead && parcel[0] == format }

func additional(id string) []byte {
	return append(append(make([]byte, 0, 1+len(id)), format), id...)
}

// parcelVersion returns the version of the record in a parcel: the beginning of
// its nonce, which no other parcel has.
func parcelVersion(parcel []byte) uint64 {
	return max(binary.BigEndian.Uint64(parcel[1:]), 1)
}
