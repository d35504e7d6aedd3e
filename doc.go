// Package session remembers who a client is over repeated HTTP requests.
//
// It is express-session for net/http: a session is loaded for the request that
// presents its token, changed by the handler, and saved by the middleware. It
// can share its stores, and so its logins, with a running Express application.
//
//	sessions, err := session.New(store, &session.Options{
//		Secrets: session.SecretsFromEnv("SESSION_SECRET"),
//	})
//	...
//	http.ListenAndServe(":8080", sessions.Handler(mux))
//
// In a handler, [From] returns the session, and a [Key] reads and writes it:
//
//	var views = session.NewKey[int]("views", session.Sum)
//
//	s := session.From(r)
//	n, _ := views.Get(s)
//	views.Set(s, n+1)
//
// # Words
//
// A [Manager] is configured once and holds the policy. A [Session] is the state
// of one client during one request. The token is the secret that a client
// presents: 24 random bytes, signed by the first of Options.Secrets. The ID is
// the key of the session's [Record] in the [Store]: a SHA-256 of the token, so
// that a copy of the store opens no session. The subject is whose session it is:
// a user ID, by which sessions are listed and revoked.
//
// # The way of a request
//
// A request whose handler does not use its session costs no call of the store.
// The first use loads it: one call. What it reads afterwards is in memory.
//
// The session is saved before the first byte of the response leaves: a client
// that has seen any of the response finds its changes saved, however fast it
// comes back. If saving fails, the client gets the answer of Options.OnError and
// nothing of the page. Changes after the first byte are saved before the client
// can see the end of the response; if that fails, the response is cut short. A
// change after the first byte that would need a cookie is [ErrHeaderSent].
//
// A session is stored, and its cookie set, when something is put in it. A
// visitor without one leaves no trace, and a response that did not depend on a
// session says nothing of cookies; one that did says Vary: Cookie, and one that
// sets or clears the cookie is kept out of caches unless the handler has set
// Cache-Control.
//
// If the store cannot be reached, reads give zero values, [Session.Err] tells,
// and whatever the handler answers is replaced by 503: "we cannot tell who you
// are" must not look like "you are nobody".
//
// # Concurrent requests
//
// Two requests of one client may change its session at the same time. Each
// saves only the keys that it changed, by compare-and-swap; the one that comes
// second puts its changes on top of the other's and tries again. Only where both
// changed the same key does one win, the later, unless the key was made with a
// rule: [Sum], [Max] or [Union].
//
// A session that was destroyed, revoked or replaced at a sign-in stays gone: a
// slow request that saves it afterwards gets [ErrEnded], and one that merely
// extends its life extends nothing.
//
// # Signing in and out
//
// [Session.SetSubject] signs in. It gives the session a new token, so that one
// which an attacker planted before is worth nothing afterwards. [Session.Destroy]
// signs out and clears the cookie. [Manager.List], [Manager.Revoke],
// [Manager.RevokeOthers] and [Manager.RevokeAll] show a subject's sessions and
// end them; Options.MaxPerSubject limits them.
//
// # Time
//
// A session ends when it was not used for Options.IdleTimeout, by default an
// hour, and Options.AbsoluteTimeout after the sign-in, by default a day: what
// NIST SP 800-63B-4 advises for AAL2. Its cookie ends with the browser session.
// [Session.SetMaxAge] makes both last ("remember me").
//
// The life of a session is extended by requests that use it, but written to the
// store only when a tenth of the idle timeout, or five minutes, has passed since the last time, so
// that reading stays cheap.
//
// # Stores
//
// Package memstore keeps sessions in memory, filestore in files, sqlstore in a
// SQL database, cookiestore in the cookies of the clients; pgxstore, redisstore,
// mongostore, natsstore and boltstore are modules of their own. docs/stores.md says
// what each can do. A store is three methods; its contract is at [Store], and
// package sessiontest tests that a store keeps it.
//
// # From other libraries
//
// Options.Import takes over the sessions of the library that was here before, so
// that nobody is signed out: scsstore has an [Importer] for scs, gorillasession one
// for gorilla/sessions. [Manager.OpenRequest] is for adapters to libraries that
// save sessions as they go.
//
// # From Express
//
// Every option and method of express-session has its form here; docs/express.md
// has the table, and the deliberate differences with their reasons.
// Options.ExpressCompatible makes records that Express reads and writes.
package session
