// Package passport finds whose session a record of an Express application is.
package passport

import (
	"encoding/json"
	"strings"
	"unicode"
)

const maxSubject = 255 // as session.Record says

// Subject returns whose session a session's JSON text is by what Passport keeps
// in it: the content of the string, or the text of the number, at passport.user.
// What is not fit to be a subject is none.
func Subject(data []byte) string {
	// Maps, not structs, whose fields would match in upper and lower case.
	var session, passport map[string]json.RawMessage
	if json.Unmarshal(data, &session) != nil || json.Unmarshal(session["passport"], &passport) != nil {
		return ""
	}
	var subject string
	switch user := passport["user"]; {
	case len(user) == 0:
	case user[0] == '"':
		if json.Unmarshal(user, &subject) != nil {
			return ""
		}
	case user[0] == '-' || '0' <= user[0] && user[0] <= '9':
		subject = string(user)
	}
	if len(subject) > maxSubject || strings.ContainsFunc(subject, unicode.IsControl) {
		return ""
	}
	return subject
}
