package session

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
)

// Parcels are what the client of one request keeps for a [ParcelStore]: of each
// record a parcel, which is as opaque to the manager as it should be to the
// client. The context of every call of such a store has them; see [ParcelsOf].
//
// What the client sent may be forged, damaged, out of date, or another session's,
// and what it is given it may copy and show again at any time.
type Parcels interface {
	// Get returns the parcels under an ID: the one that Put was given in this
	// request, or those that the client sent. Those may be several, of which at
	// most one is the latest, as a browser may hold cookies for different paths.
	// The caller does not change them.
	Get(id string) [][]byte

	// Put makes the client keep the parcel under the ID in place of those that it
	// has. One of more than [MaxParcel] bytes is an error that wraps [ErrTooLarge],
	// and with Cookie.Partitioned one of more than a quarter of that: of partitioned
	// cookies browsers keep 10 KiB for a site, and the parcel of a former token may
	// be among them for a moment. The parcel is not changed any more.
	Put(id string, parcel []byte) error

	// Delete makes the client forget the parcels under the ID.
	Delete(id string)
}

// MaxParcel is the most bytes that a parcel may have. In cookies it takes a
// third more, as base64url without padding: 16 KiB, which is all that many servers
// read of a whole header (Node.js and HAProxy by default). What goes through a
// proxy must be much smaller; see package cookiestore.
const MaxParcel = 12 << 10

// maxPartitioned is the same for partitioned cookies: two of them, with the names
// and the tokens, fit into the 10 KiB that Chromium keeps of a site in a partition
// (privacycg/CHIPS).
const maxPartitioned = MaxParcel / 4

type parcelsKey struct{}

// WithParcels returns a context for calls of a [ParcelStore]: for tests of one,
// and for stores that wrap one. The manager's calls have such a context.
func WithParcels(ctx context.Context, p Parcels) context.Context {
	return context.WithValue(ctx, parcelsKey{}, p)
}

// ParcelsOf returns the parcels of the client for whom a store is called, and
// whether there is one.
func ParcelsOf(ctx context.Context) (Parcels, bool) {
	p, ok := ctx.Value(parcelsKey{}).(Parcels)
	return p, ok
}

// parcels are the Parcels of one request.
type parcels struct {
	sent  []sentParcel
	put   []putParcel
	names []string // the cookies in which the client keeps parcels
	limit int      // the most bytes of a parcel
}

// A sentParcel is one that came with the request. Its mark says of which token it
// claims to be; it is empty if the text beside the token was the parcel's.
type sentParcel struct {
	mark string
	data []byte
}

// A putParcel is what the store wants the client to keep, nil for nothing.
type putParcel struct {
	id   string
	data []byte
	told bool // the client has been told
}

func (p *parcels) find(id string) *putParcel {
	for i := range p.put {
		if p.put[i].id == id {
			return &p.put[i]
		}
	}
	return nil
}

func (p *parcels) Get(id string) [][]byte {
	if put := p.find(id); put != nil {
		if put.data == nil {
			return nil
		}
		return [][]byte{put.data}
	}
	var all [][]byte
	mark := parcelMark(id)
	for _, sent := range p.sent {
		if sent.mark == string(mark[:]) || sent.mark == "" {
			all = append(all, sent.data)
		}
	}
	return all
}

func (p *parcels) Put(id string, parcel []byte) error {
	if len(parcel) == 0 || len(parcel) > p.limit {
		return fmt.Errorf("session: a parcel has %d bytes, it must have 1 to %d (%d with Cookie.Partitioned): %w", len(parcel), MaxParcel, maxPartitioned, ErrTooLarge)
	}
	p.set(putParcel{id: id, data: parcel})
	return nil
}

func (p *parcels) Delete(id string) {
	if len(p.Get(id)) > 0 {
		p.set(putParcel{id: id})
	}
}

func (p *parcels) set(next putParcel) {
	if put := p.find(next.id); put != nil {
		*put = next
		return
	}
	p.put = append(p.put, next)
}

// owes reports whether the client must be told something.
func (p *parcels) owes() bool {
	if p == nil {
		return false
	}
	for i := range p.put {
		if !p.put[i].told {
			return true
		}
	}
	return false
}

// showParcels reads the parcels that the client has shown, and returns the token
// that Open was given.
func (s *Session) showParcels() (wire []byte) {
	if s.r != nil {
		s.parcels = s.m.collectParcels(s.r.Header["Cookie"])
		return nil
	}
	text, p := cutParcels(string(s.wire))
	s.parcels = p
	return []byte(text)
}

// forStore returns the context for calls of the store.
func (s *Session) forStore(ctx context.Context) context.Context {
	if s.parcels == nil {
		return ctx
	}
	s.parcels.limit = MaxParcel
	if s.cookie().Partitioned {
		s.parcels.limit = maxPartitioned
	}
	return WithParcels(ctx, s.parcels)
}

// A client without cookies keeps the parcel in one text with the token:
// "token.signature~parcel". Neither a signature nor a parcel has a tilde.

// cutParcels separates the text into the signed token and its parcels.
func cutParcels(text string) (wire string, p *parcels) {
	p = new(parcels)
	dot := strings.LastIndexByte(text, '.') + 1
	wire, rest, ok := strings.Cut(text[dot:], "~")
	for part := ""; ok && len(p.sent) < maxPieces; {
		part, rest, ok = strings.Cut(rest, "~")
		if !isParcelText(part) { // a decoder of base64 passes over line ends
			continue
		}
		if data, err := parcelText.DecodeString(part); err == nil && 0 < len(data) && len(data) <= MaxParcel {
			p.sent = append(p.sent, sentParcel{data: data})
		}
	}
	return text[:dot] + wire, p
}

// presents returns the text that a client without cookies presents: its signed
// token, and the parcels that belong to it.
func (s *Session) presents() Token {
	wire := s.m.appendWire(nil, s.token)
	if s.parcels != nil {
		for _, parcel := range s.parcels.Get(s.rec.ID) {
			wire = append(wire, '~')
			wire = parcelText.AppendEncode(wire, parcel)
		}
	}
	return Token(wire)
}

// parcelText is how a parcel is written. Strict, so that there is one text for it.
var parcelText = base64.RawURLEncoding.Strict()
