package filestore

import "time"

// Options configure a [Store]. The zero value is the recommended one.
type Options struct {
	// Layout is how records are laid out in the folder. The default is Native.
	Layout Layout

	// TTL is how long after its last access a record of layout Express lives
	// whose session has no cookie.originalMaxAge, as the option ttl of
	// session-file-store says there (in seconds). Use the same value in all
	// processes. Layout Native does not use it. The default is one hour, as in
	// session-file-store.
	TTL time.Duration

	// NoSync leaves it to the operating system when to write to the disk, which
	// saves two waits for it in every Save and one in every Delete. What was
	// saved survives the death of the process but not a loss of power, which may
	// also bring back deleted sessions and lose entries of the subject index
	// until the next Sweep. It never makes half a record. The default is to wait.
	NoSync bool
}

// A Layout is a way to lay records out in a folder.
type Layout int

const (
	// Native keeps every field of a record in a file with a checksum:
	//
	//	records-v1/ab/abcd…      one file a record, named SHA-256 of its ID
	//	subjects-v1/12/1234…-abcd…  an empty file a record with a subject
	//	.locks/ab                256 lock files
	//
	// The name is always the SHA-256 in lower-case hex, so that IDs that differ
	// only by case stay apart on every file system, no ID is a reserved name or
	// too long, and a listing of the folder shows no token even with
	// StoreRawIDs. The true ID is in the file.
	//
	// The 256 folders by the first byte are not for the file system's sake,
	// which can look up a name among millions. They are for List and Sweep: a
	// page sorts one folder, not all of them, and that makes sorted names a
	// cheap and stable cursor. They also spread the locks.
	Native Layout = iota

	// Express keeps the files of session-file-store 1.5: <sid>.json, which
	// holds the session as JSON with a member "__lastAccess", in milliseconds,
	// that says when it was last used. A record expires at "__lastAccess" plus
	// the number cookie.originalMaxAge, or Options.TTL if that is missing or
	// zero. Without "__lastAccess" it never expires, which is told as an
	// Expires at the end of the year 9999.
	//
	// Data is the session without "__lastAccess", every other member byte for
	// byte; that name is reserved. Save and Touch choose "__lastAccess" so that
	// the record ends exactly at its Expires, neither earlier nor later. If the
	// manager's idle timeout is the period above, as it should be, that is the
	// time when the session was last used, but we cannot know that of a file;
	// so LastSeen is the zero time, as with the stores of Express that have no
	// place for it. Data that is JSON but not an object is wrapped into an object
	// with a cookie, which Express takes for the session of nobody, and Load
	// takes it out again.
	//
	// Created is the zero time too. Subject is not stored either but read from the session:
	// passport.user, if it is a string or a number. Version is a hash of the
	// session and of the file's modification time, so that whatever another
	// program wrote counts as a change, even the touch of an Express process,
	// which writes the whole file. Our own Touch keeps the modification time.
	//
	// Files made by us have mode 0600, so the processes must run as one user.
	// IDs must be file names: a Save of any other is refused. On a file system
	// that does not tell upper and lower case apart, nor does this layout.
	// Listing, by subject too, reads all files. Session-file-store takes no
	// lock: a write of it that falls between our last look and our rename, some
	// microseconds, is lost. A damaged file cannot be told from another unless
	// it is no longer JSON; as we cannot know when it would have expired, Sweep
	// removes it when TTL has passed since it was written.
	// Session-file-store's option secret (encrypted files) is not supported.
	Express
)

// defaultTTL is the ttl of session-file-store.
const defaultTTL = time.Hour
