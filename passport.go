package session

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// passportKey is the member of a session's data in which Passport keeps whose
// session it is: {"user": …}, whatever the application's serializeUser gives.
//
// With Options.ExpressCompatible that is the one place of the subject, for
// reading and for writing. A second one, beside the data, would go on naming
// somebody whom Express has signed out.
const passportKey = "passport"

// passportSubject returns whose session it is by a value of passport: the
// content of a string, or the text of a number, at user. What is not fit to be a
// subject is nobody, as in the Express layouts of the stores.
func passportSubject(passport []byte) string {
	user := passportUser(passport)
	if len(user) == 0 {
		return ""
	}
	subject := string(user)
	switch c := user[0]; {
	case c == '"':
		subject = unquote(user)
	case c != '-' && (c < '0' || c > '9'):
		return ""
	}
	if !isSubject(subject) {
		return ""
	}
	return subject
}

// passportUser returns the text of the member user, or nil. As in JavaScript the
// last of several counts.
func passportUser(passport []byte) (user []byte) {
	sc := scan(passport)
	for quoted, value, ok := sc.next(); ok; quoted, value, ok = sc.next() {
		if keyIs(quoted, "user") {
			user = value
		}
	}
	return user
}

// withPassportUser returns passport with another user, or without one if user is
// nil. What else is in it keeps its bytes.
func withPassportUser(passport, user []byte) []byte {
	if !isObject(passport) {
		passport = nil // which Passport would stumble over
	}
	dst := append(make([]byte, 0, len(passport)+len(user)+len(`{"user":}`)), '{')
	sc := scan(passport)
	for quoted, value, ok := sc.next(); ok; quoted, value, ok = sc.next() {
		if !keyIs(quoted, "user") {
			dst = appendQuotedMember(dst, quoted, value)
		}
	}
	return append(appendMember(dst, "user", user), '}')
}

// putPassportUser makes passport.user say the subject. If it does already, it
// keeps its type and its bytes: 7 does not become "7".
func (s *Session) putPassportUser(subject string) error {
	s.encodeRefs()
	passport := s.lookup(passportKey)
	user := passportUser(passport)
	switch {
	case subject == "" && user == nil, subject != "" && passportSubject(passport) == subject:
		return nil
	case subject == "":
		user = nil
	case !s.m.opts.NumericSubjects:
		user = appendQuoted(nil, subject)
	case isSafeInteger(subject):
		user = []byte(subject)
	default:
		return errors.New("session: with Options.NumericSubjects a subject is a whole number that JavaScript can hold, in plain digits")
	}
	s.dropRef(passportKey)
	s.put(passportKey, withPassportUser(passport, user), LastWrite)
	return nil
}

// isSafeInteger reports whether s is how JavaScript writes a whole number that it
// can hold. Express would take another for a number nearby: another user.
func isSafeInteger(s string) bool {
	const most = 1<<53 - 1
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && -most <= n && n <= most && strconv.FormatInt(n, 10) == s
}

func isSubject(s string) bool {
	return len(s) <= 255 && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
