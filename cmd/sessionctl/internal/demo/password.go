package demo

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The least that OWASP's Password Storage Cheat Sheet asks of Argon2id.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	saltBytes    = 16
	hashBytes    = 32
)

// passwords hashes and verifies passwords. Each takes 19 MiB and a core for some
// hundredths of a second, so only a few are at work at a time: without that a
// burst of sign-ins could take all memory.
type passwords struct {
	slots chan struct{}
}

func newPasswords() *passwords {
	return &passwords{slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// enter waits for its turn. The caller calls leave.
func (p *passwords) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *passwords) leave() { <-p.slots }

// hash returns the password's hash as a PHC string, which holds the parameters
// and the salt too.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	var salt [saltBytes]byte
	_, _ = rand.Read(salt[:]) // crypto/rand.Read never fails; it ends the process instead
	return phc{argonMemory, argonTime, argonThreads, salt[:], nil}.compute(password).String(), nil
}

// verify reports whether it is the password of the hash.
func (p *passwords) verify(ctx context.Context, hash, password string) (bool, error) {
	want, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer p.leave()
	got := want.compute(password)
	return subtle.ConstantTimeCompare(got.sum, want.sum) == 1, nil
}

// unmatchable returns a hash that takes as long to verify as any other, and that
// no password has: its sum is random.
func unmatchable() string {
	var random [saltBytes + hashBytes]byte
	_, _ = rand.Read(random[:])
	return phc{argonMemory, argonTime, argonThreads, random[:saltBytes], random[saltBytes:]}.String()
}

// A phc is a hash in parts.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

func (h phc) compute(password string) phc {
	h.sum = argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, hashBytes)
	return h
}

// String returns the hash as the Password Hashing Competition writes it:
// $argon2id$v=19$m=19456,t=2,p=1$salt$sum.
func (h phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, h.memory, h.time, h.threads, b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

var errHash = errors.New("the hash of a password in the database is not one of Argon2id, or would take too much to verify")

// parsePHC takes a hash apart. It accepts other parameters than today's, which
// an older or newer release may have written, within reason.
func parsePHC(text string) (phc, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, errHash
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return phc{}, errHash
	}
	var numbers [3]uint32
	for i, limit := range []struct {
		name string
		most uint64
	}{{"m=", 256 * 1024}, {"t=", 16}, {"p=", 16}} {
		digits, ok := strings.CutPrefix(params[i], limit.name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n < 1 || n > limit.most {
			return phc{}, errHash
		}
		numbers[i] = uint32(n)
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	sum, sumErr := base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || sumErr != nil || len(salt) < 8 || len(salt) > 64 || len(sum) != hashBytes {
		return phc{}, errHash
	}
	return phc{numbers[0], numbers[1], uint8(numbers[2]), salt, sum}, nil
}
