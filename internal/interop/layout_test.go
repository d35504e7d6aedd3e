package interop

import (
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// A layout is a store of npm and ours of the same layout, on the same server.
type layout struct {
	name string

	// ttl is how long a session without maxAge lives on both sides.
	ttl time.Duration

	// open makes a new, empty place for sessions and both sides' way to it.
	open func(t *testing.T, ttl time.Duration) place
}

// A place is where the sessions are.
type place struct {
	express map[string]any // the configuration of the store in node/stores.js
	ours    func(t *testing.T) session.Store
	rows    rows

	// complainsOfEnded tells that the store of npm makes an error of a touch of what
	// is gone, so that Express logs one for a request that outlasts its session.
	complainsOfEnded bool
}

// rows is the view of somebody who is neither side.
type rows interface {
	read(t *testing.T, id string) (text string, expires time.Time, ok bool)
	write(t *testing.T, id, text string, expires time.Time)

	// follow begins to note the changes of the text of a record. The function that
	// it returns ends that and returns them in their order.
	follow(t *testing.T, id string) func() []change
}

// A change is one write of a record.
type change struct {
	before, after string
	express       bool // by whom
}

var layouts = []layout{
	{"connect-pg-simple", 24 * time.Hour, openPostgres(newPostgresStore, "UTC", true)},
	{"connect-pg-simple in Asia-Tokyo", 24 * time.Hour, openPostgres(newPostgresStore, "Asia/Tokyo", false)},
	{"connect-pg-simple beside pgxstore", 24 * time.Hour, openPostgres(newPGXStore, "Asia/Tokyo", false)},
	{"express-mysql-session", 24 * time.Hour, openMySQL(true)},
	{"express-mysql-session with our table", 24 * time.Hour, openMySQL(false)},
	{"session-file-store", time.Hour, openFiles},
	{"connect-redis", 24 * time.Hour, openRedis},
	{"connect-mongo", 24 * time.Hour, openMongo},
}

const secret = "one secret for both sides, 40 bytes....."

// cookies are the kinds of cookie that both sides can have.
var cookies = []struct {
	name   string
	maxAge time.Duration
}{
	{"browser session", 0},
	{"maxAge", 90 * time.Minute},
}

// A pair is both sides over one place.
type pair struct {
	place
	t       *testing.T
	node    *node
	ttl     time.Duration // of a session without maxAge, after each use
	maxAge  time.Duration
	life    time.Duration // whichever of the two counts
	express string        // URLs
	ours    string        // writes strings for subjects
	numeric string        // ours too, writes numbers
}

// newPair starts both sides.
func newPair(t *testing.T, l layout, maxAge time.Duration) *pair {
	t.Helper()
	// The place first, so that Node ends before its server does.
	p := &pair{t: t, place: l.open(t, l.ttl), ttl: l.ttl, maxAge: maxAge, life: l.ttl, node: startNode(t)}
	if maxAge > 0 {
		p.life = maxAge
	}
	p.express = p.startExpress(secret)
	p.ours = startSite(t, p.place.ours(t), p.options(secret))
	numeric := p.options(secret)
	numeric.NumericSubjects = true
	p.numeric = startSite(t, p.place.ours(t), numeric)
	return p
}

func (p *pair) startExpress(secrets ...string) string {
	p.t.Helper()
	cookie := map[string]any{"sameSite": "lax"}
	if p.maxAge > 0 {
		cookie["maxAge"] = p.maxAge.Milliseconds()
	}
	return p.node.app(p.t, expressApp{Store: p.place.express, Secrets: secrets, Cookie: cookie})
}

// options are ours, to match those of startExpress.
func (p *pair) options(secrets ...string) session.Options {
	opts := session.Options{
		ExpressCompatible: true,
		IdleTimeout:       p.ttl,
		StoreTimeout:      time.Minute, // many write one session at once, of which FerretDB makes hard work
		Cookie:            session.Cookie{Secure: session.InsecureNever, MaxAge: p.maxAge},
	}
	for _, s := range secrets {
		opts.Secrets = append(opts.Secrets, session.Secret(s))
	}
	return opts
}

// sides are both, for what must hold from either.
func (p *pair) sides() map[string]string {
	return map[string]string{"Express": p.express, "ours": p.ours}
}
