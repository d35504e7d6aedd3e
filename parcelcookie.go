package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

// In cookies a parcel is cut into pieces, of which each is a cookie beside that of
// the token, with the same attributes:
//
//	NAME.mark.0=labelpiece; NAME.mark.1=labelpiece
//
// The mark is a hash of the record's ID. It keeps apart what requests with
// different tokens write at the same time: a slow request with the token of before
// the sign-in does not overwrite the parcel of after it. A request that was under
// way at a sign-out writes a parcel without its token, which is worth nothing.
//
// The label is random and the same for all pieces of one parcel. It tells apart
// what a browser holds under one name for several paths or domains.

const (
	markChars  = 4
	labelChars = 4

	// maxPieceLine is the most bytes of a piece's Set-Cookie value. RFC 6265,
	// section 6.1, has browsers keep at least 4096, with name and attributes; some
	// count a few more bytes.
	maxPieceLine = 4000

	// maxParcelName is the longest name of a session's cookie that leaves room for
	// minPiece bytes of a parcel in each, with the longest Path and Domain. So a
	// parcel has at most 10 pieces.
	maxParcelName = 256
	minPiece      = 2048

	// maxPieces is how many pieces of a request are looked at, and maxPieceBytes
	// after how many bytes no other is: twice the greatest parcel.
	maxPieces     = 32
	maxPieceBytes = 32 << 10
)

// parcelMark returns the mark of the parcels of a record.
func parcelMark(id string) (mark [markChars]byte) {
	var buf [maxIDBytes]byte
	sum := sha256.Sum256(append(buf[:0], id...))
	base64.RawURLEncoding.Encode(mark[:], sum[:markChars/4*3])
	return mark
}

// A piece is one cookie of a parcel.
type piece struct {
	mark, label, text string
	index             int
}

// collectParcels reads the pieces in the lines of a Cookie header.
func (m *Manager) collectParcels(lines []string) *parcels {
	p := new(parcels)
	var pieces []piece
	left := maxPieceBytes
	for _, line := range lines {
		for line != "" && len(pieces) < maxPieces && left > 0 {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, value, _ := strings.Cut(pair, "=")
			name := strings.Trim(key, " \t")
			found, ok := m.parsePiece(name, strings.Trim(value, " \t"))
			if !ok {
				continue
			}
			left -= len(value)
			pieces = append(pieces, found)
			p.note(name)
		}
	}
	p.join(pieces)
	return p
}

// note remembers the name of a cookie that the client has.
func (p *parcels) note(name string) {
	if !slices.Contains(p.names, name) {
		p.names = append(p.names, name)
	}
}

// parsePiece reports whether a cookie is a piece of a parcel.
func (m *Manager) parsePiece(name, value string) (piece, bool) {
	rest, ok := strings.CutPrefix(name, m.cookie.Name)
	if !ok || len(rest) != markChars+3 || rest[0] != '.' || rest[markChars+1] != '.' {
		return piece{}, false
	}
	mark, digit := rest[1:markChars+1], rest[markChars+2]
	if !isParcelText(mark) || digit < '0' || digit > '9' ||
		len(value) <= labelChars || len(value) > maxCookieBytes || !isParcelText(value) {
		return piece{}, false
	}
	return piece{mark: mark, label: value[:labelChars], text: value[labelChars:], index: int(digit - '0')}, true
}

// isParcelText reports whether s has only the characters of base64url.
func isParcelText(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// join makes parcels of pieces. Where one is missing there is none.
func (p *parcels) join(pieces []piece) {
	var text []byte
	for i := range pieces {
		first := &pieces[i]
		if first.index != 0 || first.next(pieces[:i], 0) != nil { // the same cookie twice
			continue
		}
		text = append(text[:0], first.text...)
		for index := 1; ; index++ {
			next := first.next(pieces, index)
			if next == nil {
				break
			}
			text = append(text, next.text...)
		}
		if data, err := parcelText.AppendDecode(nil, text); err == nil && len(data) <= MaxParcel {
			p.sent = append(p.sent, sentParcel{first.mark, data})
		}
	}
}

// next returns the piece of the same parcel with an index, or nil.
func (first *piece) next(pieces []piece, index int) *piece {
	for i := range pieces {
		if p := &pieces[i]; p.index == index && p.mark == first.mark && p.label == first.label {
			return p
		}
	}
	return nil
}

// parcelCookies returns the values of the Set-Cookie headers that bring what the
// client keeps in line with what the store has put, and takes them as told. With
// the session gone, or another, so are its parcels. They are where gone says, if
// the session's cookie has changed; a parcel that stayed there could be opened
// again.
func (s *Session) parcelCookies(gone *Cookie) []Token {
	p := s.parcels
	c := s.cookie()
	there, moved := c, false
	if gone != nil {
		there = *gone
		moved = there.Path != c.Path || there.Domain != c.Domain || there.Partitioned != c.Partitioned
	}
	var pieces []Token
	var names []string // what the client has afterwards
	own := parcelMark(s.rec.ID)
	keep := s.rec.Version != 0
	for i := range p.put {
		put := &p.put[i]
		if !put.told && put.data != nil && put.id == s.rec.ID {
			pieces, names = s.pieces(put.data, c)
			keep = false // the pieces of before go, as far as they have other names
		}
		put.told = true
	}
	var lines []Token // what goes is said first, so that a browser has room for what comes
	for _, name := range p.names {
		mark := name[len(s.m.cookie.Name)+1:][:markChars]
		switch {
		case keep && mark == string(own[:]):
			names = append(names, name)
		case !moved && slices.Contains(names, name):
		default:
			there.Name = name
			lines = append(lines, Token(there.appendSetCookie(nil, nil, time.Unix(0, 0), s.secure())))
		}
	}
	p.names = names
	return append(lines, pieces...)
}

// pieces returns the Set-Cookie values for a parcel, and the names of its cookies.
func (s *Session) pieces(parcel []byte, c Cookie) (lines []Token, names []string) {
	var expires time.Time
	if s.attrs.hasMaxAge {
		expires = s.rec.Expires
	}
	secure := s.secure()
	mark := parcelMark(s.rec.ID)
	prefix := s.m.cookie.Name + "." + string(mark[:]) + "."
	c.Name = prefix + "0"
	var label [labelChars / 4 * 3]byte
	_, _ = rand.Read(label[:])
	text := parcelText.AppendEncode(nil, parcel)
	value := parcelText.AppendEncode(make([]byte, 0, maxPieceLine), label[:])
	line := make([]byte, 0, maxPieceLine)
	room := max(maxPieceLine-len(c.appendSetCookie(line, value, expires, secure)), minPiece)
	for index := 0; len(text) > 0; index++ {
		n := min(len(text), room)
		c.Name = prefix + string(rune('0'+index))
		value = append(value[:labelChars], text[:n]...)
		text = text[n:]
		lines = append(lines, Token(c.appendSetCookie(line, value, expires, secure)))
		names = append(names, c.Name)
	}
	return lines, names
}
