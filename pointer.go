package session

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
)

// When a session gets a new token, its old record becomes a pointer for a short
// time: an array of strings, its kind, its end in Unix milliseconds, and where it
// leads. The end stands in the data because a request that is under way may
// touch the record, which must not prolong the time.
//
// After a renewal by time it leads to the new record, for requests that were
// under way with the old token: ["renewed", end, ID, token], where the new token
// is encrypted by the old one, so that the store still opens no session.
//
// Otherwise it leads nowhere: ["retired", end]. Whoever presents the token may
// be somebody who planted it. But neither is his cookie cleared: his browser may
// have got the new one meanwhile. If the session goes on for the same subject
// its new ID stands there too, for those who want to end it by its old one.

type pointer struct {
	end       time.Time
	successor string // the ID of the new record, empty if it is another session
	sealed    []byte // the new token, nil if the pointer leads nowhere
}

// parsePointer reports whether a record's data is a pointer.
func parsePointer(data []byte) (to pointer, ok bool) {
	if len(data) == 0 || data[0] != '[' {
		return pointer{}, false
	}
	var parts []string
	if json.Unmarshal(data, &parts) != nil || len(parts) == 0 {
		return pointer{}, false
	}
	kind, parts := parts[0], append(parts, "", "", "")[1:4]
	ms, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || parts[1] != "" && !isID([]byte(parts[1])) {
		return pointer{}, false
	}
	to = pointer{end: time.UnixMilli(ms).UTC(), successor: parts[1]}
	switch kind {
	case "retired":
		return to, true
	case "renewed":
		to.sealed, err = base64.RawURLEncoding.DecodeString(parts[2])
		return to, err == nil && len(to.sealed) > 0 && len(to.sealed) <= maxIDBytes
	}
	return pointer{}, false
}

// data is the text of the pointer.
func (to pointer) data() []byte {
	kind := "retired"
	if to.sealed != nil {
		kind = "renewed"
	}
	dst := append([]byte(`["`), kind...)
	dst = append(dst, `","`...)
	dst = strconv.AppendInt(dst, to.end.UnixMilli(), 10)
	dst = append(dst, '"')
	if to.successor != "" {
		dst = appendQuoted(append(dst, ','), to.successor)
	}
	if to.sealed != nil {
		dst = append(dst, `,"`...)
		dst = base64.RawURLEncoding.AppendEncode(dst, to.sealed)
		dst = append(dst, '"')
	}
	return append(dst, ']')
}

// open returns the token that the pointer leads to.
func (to pointer) open(oldToken []byte) (token []byte, ok bool) {
	if to.sealed == nil {
		return nil, false
	}
	token = sealToken(oldToken, to.sealed)
	return token, isID(token)
}

// sealToken encrypts and decrypts a token by a pad that follows from the old
// token. A pad must be used once, and this one is: an old token gets one
// successor. It needs no authentication, as a changed text leads to no record.
func sealToken(oldToken, token []byte) []byte {
	pad, err := hkdf.Key(sha256.New, oldToken, nil, "coatcheck/session successor", len(token))
	if err != nil {
		panic(err) // hkdf fails only for keys longer than 255 hashes
	}
	subtle.XORBytes(pad, pad, token)
	return pad
}
