// Package secret makes the secrets that sessions are signed with.
package secret

import (
	"crypto/rand"
	"encoding/base64"
)

// New returns a fresh secret: 33 random bytes, which is one more than
// HMAC-SHA256 can use, because their base64 needs no padding.
func New() string {
	var raw [33]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never fails; it ends the process instead
	return base64.StdEncoding.EncodeToString(raw[:])
}
