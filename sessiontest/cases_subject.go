package sessiontest

import "strings"

var subjectCases = []testCase{{
	name:  "subject",
	rule:  "Subject is kept as it was saved, and a Save that changes or clears it does so.",
	needs: subjects,
	live:  true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		for _, subject := range append([]string{"user-1", "user-2", "", "user-2"}, awkwardSubjects...) {
			e.setSubject(&rec, subject)
			e.save(&rec)
			e.wantStored(rec)
		}
		e.setSubject(&rec, "")
		e.save(&rec)
		e.wantStored(rec)
	},
}}

// awkwardSubjects are different legal subjects, many of them prefixes, patterns
// or look-alikes of each other.
var awkwardSubjects = []string{
	"a", "A", "ab", "a ", " a", "a%", "a_", "%", "_", "*", "a*", "?", "[a]", "a:b", "a/b", "..", "\\", "'", `"`, "';--",
	"0", "00", "1", "1.0", "null", "\u00e9", "e\u0301", "\u65e5\u672c", "\U0001f600", "alice@example.org", "auth0|5f7c",
	strings.Repeat("s", 254), strings.Repeat("s", 255),
}
