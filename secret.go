package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// A Secret signs the tokens that clients get. Treat it like a password: keep it
// out of the source and give it to the program by its environment. It hides
// itself when it is printed or logged.
type Secret string

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (s Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }

// SecretsFromEnv returns the secrets in the environment variables with the
// given names. A variable may hold several, newest first, separated by commas
// or white space. Variables that are not set are passed over: if none is, [New]
// reports that there is no secret and shows how to make one.
//
// To rotate, put the new secret before the old one. Tokens signed by an old
// secret stay valid and are signed anew as their clients come by; when all
// sessions of that time have ended, remove the old one. With several processes
// first put the new one last in all of them: one that does not know it takes its
// tokens for forged, and clears the cookie.
func SecretsFromEnv(names ...string) []Secret {
	var secrets []Secret
	for _, name := range names {
		secrets = append(secrets, ParseSecrets(os.Getenv(name))...)
	}
	return secrets
}

// ParseSecrets returns the secrets in a text, newest first, which are separated
// by commas or white space: for secrets that come from elsewhere than the
// environment.
func ParseSecrets(text string) []Secret {
	var secrets []Secret
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		secrets = append(secrets, Secret(field))
	}
	return secrets
}

const minSecretBytes = 32

const makeSecret = "make one with `sessionctl secret` or `openssl rand -base64 33` and hand it to the program in the environment, for example as SESSION_SECRET with Secrets: session.SecretsFromEnv(\"SESSION_SECRET\")"

func checkSecrets(secrets []Secret, allowWeak bool) error {
	if len(secrets) == 0 {
		return errors.New("session: Options.Secrets is empty; " + makeSecret)
	}
	seen := make(map[Secret]int, len(secrets))
	for i, secret := range secrets {
		switch {
		case secret == "":
			return fmt.Errorf("session: secret %d of Options.Secrets is empty; %s", i+1, makeSecret)
		case len(secret) < minSecretBytes && !allowWeak:
			return fmt.Errorf("session: secret %d of Options.Secrets has %d bytes, at least %d are needed; %s (set Options.AllowWeakSecrets to share the secret of an existing Express application)",
				i+1, len(secret), minSecretBytes, makeSecret)
		}
		if first, dup := seen[secret]; dup {
			return fmt.Errorf("session: secret %d of Options.Secrets is the same as secret %d; remove one", i+1, first)
		}
		seen[secret] = i + 1
	}
	return nil
}

const sigChars = 43 // SHA-256 as base64 without padding

// A signer makes and checks signatures with one secret. It keeps the states of
// HMAC that it has set up, which is most of the work of a signature.
type signer struct {
	pool sync.Pool
}

type signerState struct {
	mac   hash.Hash
	token [maxIDBytes]byte // the message, here so that the caller's stays on its stack
	sum   [sha256.Size]byte
	sig   [sigChars]byte
}

func newSigner(secret Secret) *signer {
	return &signer{pool: sync.Pool{New: func() any {
		return &signerState{mac: hmac.New(sha256.New, []byte(secret))}
	}}}
}

// sign leaves the signature of token, at most maxIDBytes, in st.sig.
func (st *signerState) sign(token []byte) {
	n := copy(st.token[:], token)
	st.mac.Reset()
	_, _ = st.mac.Write(st.token[:n])
	base64.RawStdEncoding.Encode(st.sig[:], st.mac.Sum(st.sum[:0]))
}

// append appends the signature of token: base64 of its HMAC-SHA256 without
// padding, as cookie-signature makes it.
func (sg *signer) append(dst, token []byte) []byte {
	st := sg.pool.Get().(*signerState)
	st.sign(token)
	dst = append(dst, st.sig[:]...)
	sg.pool.Put(st)
	return dst
}

// verify reports whether sig is the signature of token. Like cookie-signature
// it compares the texts, so that there is one valid text for a signature.
func (sg *signer) verify(token, sig []byte) bool {
	st := sg.pool.Get().(*signerState)
	st.sign(token)
	ok := subtle.ConstantTimeCompare(st.sig[:], sig) == 1
	sg.pool.Put(st)
	return ok
}
