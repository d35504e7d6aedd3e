package redisstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
)

// A cursor is where List goes on: at a place on a node of which some have been
// listed. These are in it as hashes, as IDs may be secrets.
//
// To say which have been listed, rather than after which one to go on, is safe
// whatever is added or removed meanwhile.
type cursor struct {
	node string
	at   uint64 // a cursor of SCAN, or a score
	seen []uint64
}

func (c cursor) String() string {
	seen := make([]byte, 0, 8*len(c.seen))
	for _, f := range c.seen {
		seen = binary.BigEndian.AppendUint64(seen, f)
	}
	enc := base64.RawURLEncoding
	return strconv.FormatUint(c.at, 10) + "." + enc.EncodeToString(seen) + "." + enc.EncodeToString([]byte(c.node))
}

func parseCursor(text string) (cursor, error) {
	if text == "" {
		return cursor{}, nil
	}
	at, rest, _ := strings.Cut(text, ".")
	listed, name, ok := strings.Cut(rest, ".")
	enc := base64.RawURLEncoding
	seen, err1 := enc.DecodeString(listed)
	node, err2 := enc.DecodeString(name)
	n, err3 := strconv.ParseUint(at, 10, 64)
	if !ok || err1 != nil || err2 != nil || err3 != nil || len(seen)%8 != 0 {
		return cursor{}, errCursor
	}
	c := cursor{node: string(node), at: n}
	for ; len(seen) > 0; seen = seen[8:] {
		c.seen = append(c.seen, binary.BigEndian.Uint64(seen))
	}
	return c, nil
}

func fingerprint(id string) uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:])
}
