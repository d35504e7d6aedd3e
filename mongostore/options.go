package mongostore

import (
	"errors"
	"fmt"
)

// Options configure a [Store]. The zero value is right for most programs.
type Options struct {
	// Layout is how a record is laid out in a document: [Native] by default.
	Layout Layout

	// NoTTL has [Store.Migrate] make a plain index on expires, so that the server
	// removes nothing by itself and [Store.Sweep] has to be called. It is for
	// servers that refuse TTL indexes, as FerretDB 1 does. In the [Express] layout
	// connect-mongo must then have autoRemove: 'disabled' or 'interval', as the index
	// that it makes otherwise is another of the same name.
	NoTTL bool

	// Linearizable has Load ask the primary whether it still is one (read concern
	// "linearizable"). Without it a primary that was cut off from the others, and
	// has not noticed yet, may return for some seconds a session that was ended
	// meanwhile at the primary that has taken its place. It costs each Load a round
	// trip between the servers, and Load waits where there is no majority: set
	// Options.StoreTimeout of the manager, or a deadline. It needs a replica set.
	Linearizable bool
}

// A Layout is how a record is laid out in a document.
type Layout uint8

const (
	// Native is the layout of this package, which holds everything.
	Native Layout = iota

	// Express is that of connect-mongo (4 to 6), to share the logins of an Express
	// application. It needs [session.Options.ExpressCompatible].
	//
	// Such a document has the session's ID, its JSON text, kept byte for byte, and
	// when it expires, to the millisecond. So:
	//
	//   - Created and LastSeen are zero when loaded. Touch moves only the expiry,
	//     and never back, which Express does.
	//   - Subject is what Passport keeps in the text, the string or number in
	//     passport.user; that of a saved record is ignored. List by subject reads
	//     the whole collection, on the server.
	//   - Version is 60 bits of the SHA-256 of the text. Save reads the text,
	//     compares its version, and replaces it if it is still the same text: two
	//     round trips, of which the second is the atomic step. A Save of the text
	//     that is there already does not change the version, and a text that was
	//     changed twice and is back at what it was is not a conflict.
	//   - Express does not compare: its saves overwrite, and they bring back a
	//     session that was deleted here.
	//   - A document without expires, which connect-mongo takes for one that lives
	//     for ever, is loaded as one that expires in the year 9999, and gets an
	//     expiry when it is saved. Touch leaves it as it is.
	//   - Other members of the document, as createdAt and updatedAt (timestamps)
	//     and lastModified (touchAfter), stay as they are.
	//
	// Of connect-mongo's options, collectionName and dbName are those of the
	// collection, and autoRemove makes the same index as [Store.Migrate].
	//
	// Not supported is what makes of the session something else than the text of
	// JSON: stringify: false, crypto, cryptoAdapter, and most of what a serialize may
	// do. Load of such a session is an error that names the option, and lists leave
	// it out. Neither is transformId, which gives the document another _id.
	Express
)

// String returns the name of the layout.
func (l Layout) String() string {
	switch l {
	case Native:
		return "native"
	case Express:
		return "express"
	}
	return fmt.Sprintf("Layout(%d)", uint8(l))
}

// check returns the options with their defaults, or what is wrong with them.
func (o *Options) check() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Layout > Express {
		return opts, errors.New("mongostore: Options.Layout must be mongostore.Native or mongostore.Express")
	}
	return opts, nil
}
