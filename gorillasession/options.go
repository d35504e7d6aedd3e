package gorillasession

import (
	"time"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

// optionsOf returns the cookie of a session in gorilla's terms.
func optionsOf(s *session.Session) sessions.Options {
	c := s.Cookie()
	o := sessions.Options{
		Path:        c.Path,
		Domain:      c.Domain,
		Secure:      c.Secure <= session.SecureRequired,
		HttpOnly:    !c.AllowScript,
		Partitioned: c.Partitioned,
		SameSite:    max(c.SameSite, 0), // gorilla knows no SameSiteAuto
	}
	if d, ok := s.OriginalMaxAge(); ok {
		o.MaxAge = int(max(d, time.Second) / time.Second)
	}
	return o
}

// setOptions changes the cookie of a session from the options that it had to
// those that a program wants. What is zero in them stays as it is, but for
// MaxAge: programs that set two fields do not mean to let scripts and plain HTTP
// have the cookie, though that is what gorilla makes of it.
func setOptions(s *session.Session, had, want sessions.Options) {
	c := s.Cookie()
	before := c
	if want.Path != "" && want.Path != had.Path {
		c.Path = want.Path
	}
	if want.Domain != "" && want.Domain != had.Domain {
		c.Domain = want.Domain
	}
	if want.Secure && !had.Secure {
		c.Secure = session.SecureAlways
	}
	if want.HttpOnly && !had.HttpOnly {
		c.AllowScript = false
	}
	if want.Partitioned && !had.Partitioned {
		c.Partitioned = true
	}
	if want.SameSite != 0 && want.SameSite != had.SameSite {
		c.SameSite = want.SameSite
	}
	if c != before {
		s.SetCookie(c)
	}
	if want.MaxAge != had.MaxAge {
		s.SetMaxAge(time.Duration(want.MaxAge) * time.Second)
	}
}
