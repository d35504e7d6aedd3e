// Package gorillasession puts a session.Manager behind the Store of
// github.com/gorilla/sessions. A program on gorilla, or on what stands on it, as
// goth/gothic, gin-contrib/sessions and echo-contrib/session do, changes the line
// that makes its store:
//
//	manager, err := session.New(backend, &session.Options{Secrets: session.SecretsFromEnv("SESSION_SECRET")})
//	...
//	store := gorillasession.New(manager) // was: sessions.NewCookieStore(key)
//
// and, better still, lets the manager's Handler go around all of it:
//
//	http.ListenAndServe(":8080", manager.Handler(mux))
//
// What was signed in under the old store stays signed in with an [Importer].
// docs/migrate-gorilla.md has the whole way.
//
// # With Handler and without
//
// Within the manager's Handler the gorilla session is part of the request's
// session, which session.From returns: it is stored before the first byte of the
// response leaves, a store that is down makes 503 of whatever the program answers,
// and responses say Vary: Cookie.
//
// Without it, Save stores the session and sets the cookie, as gorilla's stores do,
// and must come before anything is written. A program that does not look at the
// errors of Get then takes a store that is down for a stranger.
//
// # Names
//
// The sessions of all names are kept in one session of the manager, under one
// cookie, which has the name that the manager's options say. So a request loads
// and saves once, one token is replaced at a sign-in, and one Revoke ends
// everything; and the options of the cookie, its life too, are those of whoever
// saved last. A session that needs a life or a path of its own gets a second
// manager, and a Store of that.
//
// # Values
//
// A value comes back with the type that it had, as it does from gorilla's stores:
// what programs put there is registered with gob as before. In the store, text,
// numbers, booleans, times and lists of them are plain JSON under the key
// "name:key", so that other tools can read them, and new code can too:
//
//	user, ok := session.NewKey[string]("app:user").Get(session.From(r))
//
// Each value is merged by itself. Two requests that change different values both
// keep their change, and both flashes are there where both add one. Save also
// notices what was changed in place, in a map or through a pointer.
//
// A value whose type is not registered any more makes Get return an error that
// names it, with the other values in the session; it stays in the store until it
// is replaced or the session deleted.
//
// A session without values is not stored, and reads as new: a program that looks
// for flashes on each page and saves leaves nothing behind for crawlers.
//
// # Options
//
// The Options of a session begin as the manager's cookie is, and what a program
// changes there is remembered with the session. MaxAge in seconds is how long it
// lives after each use, and zero makes its cookie one of the browser session. Below
// zero it deletes the values of that name; when nothing else is left, our session
// ends and its cookie is cleared. Path, Domain, SameSite and Partitioned apply
// where they are not zero. Secure and HttpOnly can be added and not taken away:
// &sessions.Options{Path: "/"} opens no cookie to scripts. Let the manager's
// options say so where that is meant.
//
// # Signing in
//
// Programs on gorilla keep who is signed in among the values, and the token from
// before the sign-in stays good: whoever planted it is signed in too (session
// fixation). Set [Store].Subject, and the token is replaced whenever the subject
// changes, with it the ID of the session, and the sessions of a user can be listed
// and revoked:
//
//	store.Subject = func(s *sessions.Session) (subject string, ok bool) {
//		user, _ := s.Values["user"].(string)
//		return user, s.Name() == "app"
//	}
//
// Or call SetSubject of the session that [Store.From] returns, and its Destroy to
// sign out: a session that has a subject by SetSubject alone does not end because a
// gorilla session in it is deleted.
package gorillasession
