package session

import "time"

// A Record is the unit of persistence: what a [Store] keeps of one session.
//
// The manager fills and reads records; a store only keeps them. Times are in
// UTC, cut to whole milliseconds, because that is what every store can keep.
type Record struct {
	// ID is the key of the record: by default the SHA-256 of the client's
	// token as 43 base64url characters, so that a copy of the store opens no
	// session. With [Options.StoreRawIDs] it is the token itself, as in
	// express-session. It is 1 to 128 bytes of UTF-8 without control
	// characters, and upper and lower case differ.
	ID string

	// Subject is whose session this is (a user ID), or empty for an anonymous
	// one. At most 255 bytes of UTF-8 without control characters. The layouts of
	// Express stores read it from the data, where Passport keeps it.
	Subject string

	// Data is a JSON text, at most [Options.MaxSize] bytes: an object with one
	// member a session key, or, for a session that was renewed, an array that
	// points to its successor. A store keeps it byte for byte.
	Data []byte

	// Version is the store's opaque mark of this state of the record, changed
	// by every Save and by nothing else. It is never one that the ID had before,
	// even if the record was deleted and made anew; only a layout that has no
	// place for a version may derive it from the data. Zero means that the
	// record is not in the store yet.
	Version uint64

	// Created is when the session began, LastSeen when it was last used (as
	// exactly as touching is throttled), Expires when it ends if it is not used
	// again. The layouts of Express stores have no place for Created and
	// LastSeen and return the zero time; one that keeps whole seconds rounds
	// Expires up.
	Created, LastSeen, Expires time.Time
}
