// Package cookiestore keeps sessions in the cookies of their clients, sealed, so
// that a site needs no server for them.
//
//	store, err := cookiestore.New(secrets, nil)
//	...
//	sessions, err := session.New(store, &session.Options{Secrets: secrets})
//
// Nothing else changes for the program. Beside the cookie of the token the
// browser gets one with the session's record, or several, with the same
// attributes and with names that begin with its name and a dot. Every change of
// the session sends them anew, so it must be made before the response begins:
// afterwards it is [session.ErrHeaderSent].
//
// # What it cannot do
//
// The clients have the sessions, and the server has nothing. So:
//
//   - Nobody can list sessions, count them, or end one from elsewhere. The
//     manager's List, Revoke and their kin report errors.ErrUnsupported, and
//     [session.New] refuses Options.MaxPerSubject.
//   - A copy is good until it expires. [session.Session.Destroy] makes this
//     browser forget, and a new token, as SetSubject and RenewID give it, is one
//     for this browser; whoever has copied the cookies before goes on with them.
//     [Options.RevokedBefore] is the way to end copies. Short timeouts help.
//   - A client can go back to any earlier state of his session that has not
//     expired, by putting back the cookies of then. Do not keep there what he
//     might want to undo: how often he has failed, what he has spent, which coupon
//     he has used. [session.Key.Pop] gives a value once a state, not once.
//   - Of several requests of one client at the same time the answer that arrives
//     last stays, whole, and the changes of the others are lost, also those of keys
//     made with session.Sum and its like: they never meet. Where that matters,
//     take a store that keeps the sessions itself.
//   - What is in the session is sent with every request. Keep it small.
//
// Some things still hold. A session that was ended by its own browser stays ended
// there, and a sign-in stands, whatever a slow request of before answers later:
// such an answer changes the record of the former token, and does not bring that
// token back. (It does for a session that has both SetMaxAge and no absolute
// timeout, as its token is sent with each change.) The expiry is sealed, and the
// manager judges it.
//
// # Who can read it
//
// Nobody but the server: a record is encrypted and authenticated with
// XAES-256-GCM (C2SP), whose nonces may be random for ever. Its key follows from
// a secret and [Options.Purpose] by HKDF-SHA256. A record opens only beside its
// own token, under the same purpose. But its length is plain to see on the way.
//
// The first secret seals, all open, as in [session.Options], and both may have
// the same ones. To rotate, put a new secret in front, and remove the old one
// when the sessions of that time have ended: a record is sealed anew with each
// change, and as the life of the session is extended.
//
// Two managers of one program are two purposes, or a client could use the
// cookies of one as those of the other.
//
// # How much goes in
//
// [DefaultMaxBytes], 3 KiB of cookie or about 2200 bytes of data; more is
// [session.ErrTooLarge], and the client keeps what it had. Browsers would take
// more (but for Cookie.Partitioned, where 4 KiB are the most), servers in between
// may not: nginx reads 4 KiB of the header of a response by default
// (proxy_buffer_size) and 8 KiB of a line of a request
// (large_client_header_buffers), Apache 8190 bytes (LimitRequestFieldSize),
// HAProxy and Node.js 16 KiB in all. A client whose cookies are too long for such a
// server is locked out until they expire. So before you raise [Options.MaxBytes],
// look at every server on the way. Leave room for other cookies of the site, and
// for twice the session: after a sign-in a slow answer can leave the former one
// there until the session is next used.
package cookiestore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coatcheck/session"
)

// DefaultMaxBytes is the most bytes of cookie that a session takes where Options
// names no other: what passes through the common proxies as they come, with the
// rest of a response's header.
const DefaultMaxBytes = 3 << 10

// maxMaxBytes is what the manager can transport.
var maxMaxBytes = base64.RawURLEncoding.EncodedLen(session.MaxParcel)

// Options are the settings of a Store. The zero value is the recommended one.
type Options struct {
	// Purpose keeps apart what was sealed with the same secrets: a record that
	// was sealed for one purpose does not open for another. Set it where
	// several sites, or several managers of one, have a secret in common.
	Purpose string

	// MaxBytes is the most bytes of cookie that a session may take, without the
	// names and attributes of the cookies. Zero means [DefaultMaxBytes]; the most
	// is 16384. See the package comment for what proxies make of it.
	MaxBytes int

	// Compress makes the data smaller before it is sealed. Leave it off if the
	// session holds both a secret and a text that somebody else can choose, like
	// a search term, or the address to go to after the sign-in: whoever chooses
	// such texts and sees the length of the client's requests can find out the
	// secret, letter by letter, as more is saved where the texts agree (the CRIME
	// attack). The data before compression has at most 64 KiB then.
	Compress bool

	// RevokedBefore, if set, tells since when a subject's sign-ins count: a
	// session whose subject signed in before is not found. One time for each
	// user, next to the password, is enough to sign a user out everywhere:
	//
	//	users.SetRevokedBefore(id, time.Now())
	//	session.From(r).SetSubject(id) // and this browser in again
	//
	// The zero time revokes nothing. It is asked whenever a session with a
	// subject is loaded, so it should come from memory or a fast query. Its error
	// is a failed load: the request is answered with 503. The time is cut to
	// milliseconds, as that of the sign-in is, and should be of the same clock.
	RevokedBefore func(ctx context.Context, subject string) (time.Time, error)
}

// A Store seals records for the clients to keep. It is made by [New] and is safe
// for concurrent use.
type Store struct {
	keys []*key // the first seals
	opts Options
}

const minSecretBytes = 32

// New returns a store whose first secret seals and all of whose secrets open.
// Each has at least 32 bytes; see [session.SecretsFromEnv]. Nil options are the
// zero ones.
func New(secrets []session.Secret, opts *Options) (*Store, error) {
	s := new(Store)
	if opts != nil {
		s.opts = *opts
	}
	switch {
	case s.opts.MaxBytes == 0:
		s.opts.MaxBytes = DefaultMaxBytes
	case s.opts.MaxBytes < 0, s.opts.MaxBytes > maxMaxBytes:
		return nil, fmt.Errorf("cookiestore: Options.MaxBytes is %d; it must be at most %d, which is what servers read of a header", s.opts.MaxBytes, maxMaxBytes)
	}
	if len(secrets) == 0 {
		return nil, errors.New("cookiestore: there is no secret; give it the same as Options.Secrets of session.New, for example session.SecretsFromEnv(\"SESSION_SECRET\")")
	}
	for i, secret := range secrets {
		if len(secret) < minSecretBytes {
			return nil, fmt.Errorf("cookiestore: secret %d has %d bytes, at least %d are needed; make one with `sessionctl secret` or `openssl rand -base64 33`", i+1, len(secret), minSecretBytes)
		}
		k, err := newKey(secret, s.opts.Purpose)
		if err != nil {
			return nil, fmt.Errorf("cookiestore: secret %d: %w", i+1, err)
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// KeepsParcels is how [session.New] knows that the clients keep the records.
func (s *Store) KeepsParcels() bool { return true }

// Warning says what whoever runs the program must know.
func (s *Store) Warning() string {
	const all = "the clients keep the sessions in their cookies: nobody can list them, and of changes that one client makes at the same time the last stays"
	if s.opts.RevokedBefore == nil {
		return all + "; a copy of the cookies is good until it expires, also after a sign-out; set cookiestore.Options.RevokedBefore to be able to end copies"
	}
	return all + "; a copy of the cookies is good until it expires or RevokedBefore says otherwise"
}

// Format keeps the keys out of what is printed.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "cookiestore.Store") }

// Load returns the record that the client has sent.
func (s *Store) Load(ctx context.Context, id string) (session.Record, error) {
	parcels, err := parcelsOf(ctx, "load")
	if err != nil {
		return session.Record{}, err
	}
	rec, ok := s.latest(parcels.Get(id), id)
	if !ok {
		return session.Record{}, fmt.Errorf("cookiestore: load: nothing that the client has sent opens as this record: %w", session.ErrNotFound)
	}
	if err := s.checkRevoked(ctx, &rec); err != nil {
		return session.Record{}, err
	}
	return rec, nil
}

// latest opens the parcels and returns the record that was saved last. There may
// be several if the path or the domain of the cookie has changed.
func (s *Store) latest(parcels [][]byte, id string) (latest session.Record, ok bool) {
	for _, parcel := range parcels {
		rec, opens := s.open(parcel, id)
		if opens && (!ok || rec.LastSeen.After(latest.LastSeen)) {
			latest, ok = rec, true
		}
	}
	return latest, ok
}

func (s *Store) checkRevoked(ctx context.Context, rec *session.Record) error {
	if s.opts.RevokedBefore == nil || rec.Subject == "" {
		return nil
	}
	before, err := s.opts.RevokedBefore(ctx, rec.Subject)
	switch {
	case errors.Is(err, session.ErrNotFound): // or "we cannot tell" would look like "nobody"
		return fmt.Errorf("cookiestore: load: Options.RevokedBefore: %v", err)
	case err != nil:
		return fmt.Errorf("cookiestore: load: Options.RevokedBefore: %w", err)
	case rec.Created.Before(before.Truncate(time.Millisecond)):
		return fmt.Errorf("cookiestore: load: the sign-in was revoked: %w", session.ErrNotFound)
	}
	return nil
}

// Save seals the record for the client. That it is still the one that the caller
// has seen is known of this request only.
func (s *Store) Save(ctx context.Context, rec *session.Record) (version uint64, err error) {
	parcels, err := parcelsOf(ctx, "save")
	if err != nil {
		return 0, err
	}
	if !s.matches(parcels.Get(rec.ID), rec) {
		return 0, fmt.Errorf("cookiestore: save: %w", session.ErrConflict)
	}
	parcel, err := s.seal(rec)
	if err != nil {
		return 0, err
	}
	if err := parcels.Put(rec.ID, parcel); err != nil {
		return 0, fmt.Errorf("cookiestore: save: %w", err)
	}
	return parcelVersion(parcel), nil
}

// matches reports whether one of the parcels is the record with its version, or,
// for version zero, that none of them opens.
func (s *Store) matches(parcels [][]byte, rec *session.Record) bool {
	if rec.Version == 0 {
		_, exists := s.latest(parcels, rec.ID)
		return !exists
	}
	for _, parcel := range parcels {
		// Whoever knows the version has opened the parcel.
		if isParcel(parcel) && parcelVersion(parcel) == rec.Version {
			return true
		}
	}
	return false
}

// Delete makes the client forget the record. Copies of it stay good.
func (s *Store) Delete(ctx context.Context, id string) error {
	parcels, err := parcelsOf(ctx, "delete")
	if err != nil {
		return err
	}
	parcels.Delete(id)
	return nil
}

// parcelsOf returns what the client keeps, unless the context is done or is not
// one that a manager has made for a request.
func parcelsOf(ctx context.Context, op string) (session.Parcels, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("cookiestore: %s: %w", op, err)
	}
	parcels, ok := session.ParcelsOf(ctx)
	if !ok {
		return nil, fmt.Errorf("cookiestore: %s: the clients have the sessions, so that only a request of its own client can reach one (a store that wraps this one must have its method KeepsParcels): %w", op, errors.ErrUnsupported)
	}
	return parcels, nil
}
