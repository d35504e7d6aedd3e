package session

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"time"
)

// Options configures a [Manager]. Only Secrets is needed; the zero value of
// every other field is the safe and recommended one. [New] copies the options
// and checks them once.
type Options struct {
	// Secrets sign the tokens: the first signs, all verify. See
	// [SecretsFromEnv]. Each has at least 32 bytes.
	Secrets []Secret

	// AllowWeakSecrets accepts shorter secrets. It is for sharing sessions with
	// an Express application that has one.
	AllowWeakSecrets bool

	// Cookie says how the cookie is sent. express-session: name, cookie.
	Cookie Cookie

	// CookieFunc, if set, makes the attributes of the cookie for each request,
	// beginning with those of Cookie; the name and, for the rule of which
	// requests have a session, the path are those of Cookie. It may be called
	// several times for one request. express-session: cookie as a function.
	CookieFunc func(r *http.Request, c Cookie) Cookie

	// Header carries the token in this request and response header instead of
	// a cookie, for API and mobile clients. Do not let scripts in a browser keep
	// such a token: unlike a cookie it cannot be hidden from them.
	Header string

	// IdleTimeout ends a session that was not used for so long. The default is
	// one hour, the most that NIST SP 800-63B-4 gives for AAL2 (24 hours with
	// ExpressCompatible, as the stores of Express have it). Cookie.MaxAge takes
	// its place where it is set; only with ExpressCompatible both may be, and this
	// one is then for sessions that were given a cookie without maxAge, as the ttl
	// of Express's store is. At least a millisecond.
	IdleTimeout time.Duration

	// AbsoluteTimeout ends a session that long after the sign-in, or after its
	// beginning, however much it is used. The default is 24 hours, as NIST has
	// it for AAL2, or IdleTimeout or Cookie.MaxAge if that is longer; negative
	// means never, which is the default with ExpressCompatible.
	AbsoluteTimeout time.Duration

	// RenewalTimeout replaces the token of a session that is in use after so
	// long. Zero, the default, never does: with an absolute timeout of a day it
	// adds little. Not with ExpressCompatible.
	RenewalTimeout time.Duration

	// RenewalGrace is how long a token that was replaced by RenewalTimeout still
	// leads to its session, for requests that were under way. The default is
	// one minute. A token that was replaced at a sign-in leads nowhere at once.
	RenewalGrace time.Duration

	// TouchInterval is how often at the most the life of a session in use is
	// extended in the store. The default is a tenth of the session's idle
	// timeout, but at most five minutes; so a session may end by as much too
	// early. More than half of the idle timeout counts as half of it. Negative means with each request that uses it, as express-session
	// does.
	TouchInterval time.Duration

	// StoreTimeout bounds what one request may wait for the store, once for
	// loading and once for saving. The default is 5 seconds.
	StoreTimeout time.Duration

	// Eager loads the session, and so extends its life, for each request, not
	// only for those whose handler uses it. Resave, SaveUninitialized and
	// Rolling imply it. express-session always does.
	Eager bool

	// Resave saves a session that came in with each request, even if nothing
	// changed. express-session: resave, whose default is true.
	Resave bool

	// SaveUninitialized stores a new session, and sets its cookie, even if
	// nothing was put in it. Crawlers and attackers then fill the store.
	// express-session: saveUninitialized, whose default is true.
	SaveUninitialized bool

	// Rolling sets the cookie with each response. express-session: rolling.
	Rolling bool

	// Unset says what [Session.Unset] does to the record.
	Unset Unset

	// TrustProxy believes the first value of X-Forwarded-Proto. Set it only
	// behind a proxy that overwrites this header. express-session: proxy.
	TrustProxy bool

	// IsHTTPS, if set, is asked too whether a request came over HTTPS. The
	// connection's own TLS always counts.
	IsHTTPS func(*http.Request) bool

	// GenerateID makes the tokens in place of 24 random bytes. They must be
	// unique, unpredictable, and 1 to 128 bytes of UTF-8 without control
	// characters. The request is nil for a session of [Manager.Open].
	// express-session: genid.
	GenerateID func(*http.Request) string

	// StoreRawIDs uses the token itself as the record's ID, as Express's stores
	// do, so that whoever reads the store can take over every session.
	StoreRawIDs bool

	// ExpressCompatible makes records that a running express-session reads and
	// writes: it implies StoreRawIDs, always keeps the member "cookie", calls
	// the cookie connect.sid, leaves no pointers in the store, and the subject is
	// passport.user, where Passport keeps it.
	ExpressCompatible bool

	// NumericSubjects makes [Session.SetSubject] write passport.user as a JSON
	// number rather than a string, for an Express application whose
	// serializeUser gives numbers. Only with ExpressCompatible.
	NumericSubjects bool

	// Import, if set, takes over the sessions of another library, once each. The
	// zero value imports nothing and costs nothing. Not with ExpressCompatible.
	// Sessions of [Manager.Open] are not imported.
	Import Importer

	// MaxSize is the most bytes of Data a record may have. The default is 1 MiB.
	MaxSize int

	// MaxPerSubject limits how many sessions a subject may have at a time. Zero
	// means any number. The store must be a [Lister].
	MaxPerSubject int

	// AtLimit says what happens when MaxPerSubject is exceeded.
	AtLimit AtLimit

	// OnError writes the response when a request fails because of its session.
	// Nothing of the handler's response has been sent, and nothing will be. The
	// default logs the error and answers 503 if the store failed, 409 if the
	// session ended meanwhile or has reached a limit, and 500 otherwise.
	OnError func(w http.ResponseWriter, r *http.Request, err error)

	// OnEvent, if set, is told what happens to sessions, in the goroutine that
	// made it happen.
	OnEvent func(Event)

	// Logger defaults to slog.Default().
	Logger *slog.Logger

	// NoStoreWarning silences what the store wants to be known of it when the
	// program starts: that sessions in memory vanish, for instance.
	NoStoreWarning bool

	// Now is the clock; it defaults to time.Now.
	Now func() time.Time
}

// Unset says what [Session.Unset] does. express-session: unset.
type Unset int

const (
	UnsetKeep    Unset = iota // the record stays, without the changes of the request
	UnsetDestroy              // the record is deleted
)

// AtLimit says what happens when a subject signs in once too often.
type AtLimit int

const (
	EvictOldest AtLimit = iota // the session that began first ends
	RefuseNew                  // the sign-in fails with ErrTooManySessions
)

const (
	defaultIdleTimeout     = time.Hour
	defaultAbsoluteTimeout = 24 * time.Hour
	expressIdleTimeout     = 24 * time.Hour
	defaultRenewalGrace    = time.Minute
	defaultStoreTimeout    = 5 * time.Second
	defaultMaxSize         = 1 << 20
	maxTouchInterval       = 5 * time.Minute
	never                  = time.Duration(1<<63 - 1)
)

// check returns the options with the defaults filled in, or what is wrong.
func (o Options) check(store Store) (Options, error) {
	if store == nil {
		return o, errors.New("session: the store is nil; session.New(memstore.New(nil), ...) is the quickest way to one")
	}
	o.Secrets = append([]Secret(nil), o.Secrets...)
	if err := checkSecrets(o.Secrets, o.AllowWeakSecrets); err != nil {
		return o, err
	}
	o.Cookie = o.Cookie.withDefaults(o.ExpressCompatible)
	if err := o.Cookie.check(); err != nil {
		return o, err
	}
	if keepsParcels(store) { // before the defaults are filled in
		if err := o.checkParcels(store); err != nil {
			return o, err
		}
	}
	if err := o.checkTimes(); err != nil {
		return o, err
	}
	if err := o.checkImport(); err != nil {
		return o, err
	}
	if o.Header != "" {
		if !isCookieName(o.Header) {
			return o, fmt.Errorf("session: Options.Header %q is not the name of a header", o.Header)
		}
		o.Header = textproto.CanonicalMIMEHeaderKey(o.Header)
		if o.ExpressCompatible || o.Rolling {
			return o, errors.New("session: Options.Header replaces the cookie, so ExpressCompatible and Rolling do not go with it")
		}
	}
	if o.Unset < UnsetKeep || o.Unset > UnsetDestroy {
		return o, fmt.Errorf("session: Options.Unset has the unknown value %d; use UnsetKeep or UnsetDestroy", o.Unset)
	}
	if o.AtLimit < EvictOldest || o.AtLimit > RefuseNew {
		return o, fmt.Errorf("session: Options.AtLimit has the unknown value %d; use EvictOldest or RefuseNew", o.AtLimit)
	}
	if o.MaxSize < 0 || o.MaxPerSubject < 0 {
		return o, errors.New("session: Options.MaxSize and Options.MaxPerSubject must not be negative")
	}
	if o.MaxSize == 0 {
		o.MaxSize = defaultMaxSize
	}
	if _, ok := store.(Lister); o.MaxPerSubject > 0 && !ok {
		return o, fmt.Errorf("session: Options.MaxPerSubject needs a store that can list sessions, which %T cannot", store)
	}
	if e, ok := store.(ExpressStore); ok && e.ExpressLayout() && !o.ExpressCompatible {
		return o, fmt.Errorf("session: the layout of %T is that of an Express store; set Options.ExpressCompatible, so that Express can read the records", store)
	}
	if e, ok := store.(ExpressStore); ok && e.ExpressLayout() && o.MaxPerSubject > 0 && o.AtLimit == EvictOldest {
		return o, fmt.Errorf("session: the layout of %T does not keep when a session began, so nobody knows which is the oldest; set Options.AtLimit to RefuseNew, or leave out MaxPerSubject", store)
	}
	if o.NumericSubjects && !o.ExpressCompatible {
		return o, errors.New("session: Options.NumericSubjects says how passport.user is written, so it goes only with ExpressCompatible")
	}
	if o.ExpressCompatible {
		o.StoreRawIDs = true
	}
	if o.Resave || o.SaveUninitialized || o.Rolling {
		o.Eager = true
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

// keepsParcels reports whether the store keeps its records with the clients.
func keepsParcels(store Store) bool {
	p, ok := store.(ParcelStore)
	return ok && p.KeepsParcels()
}

// checkParcels refuses what cannot be kept where the clients have the records.
func (o *Options) checkParcels(store Store) error {
	switch {
	case o.Header != "":
		return fmt.Errorf("session: %T keeps a session in cookies, which Options.Header does without; leave Header out, or take a store that keeps the sessions itself", store)
	case o.ExpressCompatible:
		return fmt.Errorf("session: Express cannot read what %T keeps in cookies; leave out Options.ExpressCompatible, or take a store that Express has too", store)
	case o.RenewalTimeout > 0, o.RenewalGrace > 0:
		return fmt.Errorf("session: %T cannot end what a client has kept with its former token, so that nothing is gained by Options.RenewalTimeout and RenewalGrace; leave them out and shorten AbsoluteTimeout, or take a store that keeps the sessions itself", store)
	case o.Import != nil:
		return fmt.Errorf("session: %T cannot keep which sessions Options.Import has taken over, so that each could be taken over many times; leave Import out, or take a store that keeps the sessions itself", store)
	case len(o.Cookie.Name) > maxParcelName:
		return fmt.Errorf("session: Cookie.Name has %d bytes, at most %d are possible with %T, which has further cookies whose names begin with it", len(o.Cookie.Name), maxParcelName, store)
	}
	return nil
}

func (o *Options) checkTimes() error {
	for _, t := range []struct {
		name  string
		value time.Duration
	}{
		{"IdleTimeout", o.IdleTimeout},
		{"RenewalTimeout", o.RenewalTimeout},
		{"RenewalGrace", o.RenewalGrace},
		{"StoreTimeout", o.StoreTimeout},
	} {
		if t.value < 0 || t.value > 0 && t.value < time.Millisecond {
			return fmt.Errorf("session: Options.%s is %v; the shortest is a millisecond (did you forget the unit?)", t.name, t.value)
		}
	}
	for _, t := range []struct {
		name  string
		value time.Duration
	}{
		{"AbsoluteTimeout", o.AbsoluteTimeout}, // negative has a meaning in these two
		{"TouchInterval", o.TouchInterval},
	} {
		if t.value > 0 && t.value < time.Millisecond {
			return fmt.Errorf("session: Options.%s is %v; the shortest is a millisecond (did you forget the unit?)", t.name, t.value)
		}
	}
	if o.Cookie.MaxAge > 0 && o.IdleTimeout > 0 && o.Cookie.MaxAge != o.IdleTimeout && !o.ExpressCompatible {
		return fmt.Errorf("session: Cookie.MaxAge is %v and Options.IdleTimeout is %v; with MaxAge set it is the idle timeout, so leave IdleTimeout out", o.Cookie.MaxAge, o.IdleTimeout)
	}
	if o.RenewalTimeout > 0 && o.ExpressCompatible {
		return errors.New("session: Options.RenewalTimeout leaves pointers in the store, which Express does not understand; leave it out with ExpressCompatible")
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = defaultIdleTimeout
		if o.ExpressCompatible {
			o.IdleTimeout = expressIdleTimeout
		}
	}
	switch {
	case o.AbsoluteTimeout < 0, o.AbsoluteTimeout == 0 && o.ExpressCompatible:
		o.AbsoluteTimeout = never
	case o.AbsoluteTimeout == 0:
		o.AbsoluteTimeout = max(defaultAbsoluteTimeout, o.IdleTimeout)
	case o.AbsoluteTimeout < o.IdleTimeout && o.IdleTimeout != defaultIdleTimeout, o.AbsoluteTimeout < o.Cookie.MaxAge:
		return fmt.Errorf("session: Options.AbsoluteTimeout (%v) is shorter than the idle timeout or Cookie.MaxAge, which could then never be reached; shorten that", o.AbsoluteTimeout)
	}
	idle := o.IdleTimeout
	if o.Cookie.MaxAge > 0 {
		idle = o.Cookie.MaxAge
	}
	if o.TouchInterval >= idle {
		return fmt.Errorf("session: Options.TouchInterval (%v) is not shorter than the idle timeout (%v), so that a session in use would end; shorten it", o.TouchInterval, idle)
	}
	if o.RenewalGrace == 0 {
		o.RenewalGrace = defaultRenewalGrace
	}
	if o.StoreTimeout == 0 {
		o.StoreTimeout = defaultStoreTimeout
	}
	return nil
}
