package session_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

// expressSite is a site whose store keeps a subject beside the data, which must
// never be what counts.
func expressSite(t *testing.T, edit ...func(*session.Options)) *site {
	t.Helper()
	return newSite(t, append(edit, func(o *session.Options) { o.ExpressCompatible = true })...)
}

// plantID puts a record in the store as Express might have written it, and returns
// the session of it.
func (st *site) plantID(id, data string) *session.Session {
	st.t.Helper()
	rec := session.Record{ID: id, Subject: "of the column", Data: []byte(data), Expires: st.clock.Now().Add(time.Hour)}
	if _, err := st.store.Save(context.Background(), &rec); err != nil {
		st.t.Fatal(err)
	}
	return st.openID(id)
}

// openID opens the session with the ID, which is the token itself here.
func (st *site) openID(id string) *session.Session {
	st.t.Helper()
	s, err := st.Open(context.Background(), sign(id, newSecret))
	if err != nil {
		st.t.Fatal(err)
	}
	return s
}

// commitData commits and returns the data of the record that the session has now.
func (st *site) commitData(s *session.Session) string {
	st.t.Helper()
	if _, err := st.Commit(context.Background(), s); err != nil {
		st.t.Fatal(err)
	}
	return string(s.Record().Data)
}

const cookieMember = `{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"},`

func TestSubjectIsPassportUser(t *testing.T) {
	for _, test := range []struct{ name, passport, subject string }{
		{"a string", `{"user":"tj"}`, "tj"},
		{"a string with escapes", `{"user":"t\u006a\n"}`, ""},
		{"a number", `{"user":7}`, "7"},
		{"the text of a number is kept", `{"user":9007199254740993}`, "9007199254740993"},
		{"a number with a fraction", `{"user":7.0}`, "7.0"},
		{"zero is somebody", `{"user":0}`, "0"},
		{"the last of several counts, as in JavaScript", `{"user":7,"user":"tj"}`, "tj"},
		{"an object is nobody", `{"user":{"id":7}}`, ""},
		{"true is nobody", `{"user":true}`, ""},
		{"null is nobody", `{"user":null}`, ""},
		{"nobody is signed in", `{}`, ""},
		{"other letters", `{"User":"tj"}`, ""},
		{"passport is null", `null`, ""},
		{"passport is a string", `"user"`, ""},
		{"too long for a subject", `{"user":"` + strings.Repeat("x", 256) + `"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := expressSite(t)
			s := st.plantID("planted", cookieMember+`"passport":`+test.passport+`}`)
			if got := s.Subject(); got != test.subject {
				t.Errorf("the subject is %q, want %q", got, test.subject)
			}
			rec, err := st.Find(context.Background(), "planted")
			if err != nil || rec.Subject != test.subject {
				t.Errorf("Find tells %q, %v", rec.Subject, err)
			}
		})
	}
}

func TestSetSubjectWritesPassportUser(t *testing.T) {
	for _, test := range []struct{ name, before, subject, after string }{
		{"in a session without passport", `"n":1.0`, "tj", `"n":1.0,"passport":{"user":"tj"}`},
		{"what is in passport besides stays", `"passport":{"a":1.0,"user":"x","b":2},"n":1`, "tj", `"passport":{"a":1.0,"b":2,"user":"tj"},"n":1`},
		{"the same number keeps its bytes", `"passport": {"user": 7 ,"x":1}`, "7", `"passport":{"user": 7 ,"x":1}`},
		{"the same string keeps its bytes", `"passport":{"user":"t\u006a"}`, "tj", `"passport":{"user":"t\u006a"}`},
		{"another than the number is a string", `"passport":{"user":7}`, "8", `"passport":{"user":"8"}`},
		{"passport that is no object", `"passport":null`, "tj", `"passport":{"user":"tj"}`},
		{"an object as user", `"passport":{"user":{"id":7}}`, "7", `"passport":{"user":"7"}`},
		{"as JavaScript writes a string", `"n":1`, "\u2028<é☃>\"", `"n":1,"passport":{"user":"` + "\u2028" + `<é☃>\""}`},
		{"nobody", `"passport":{"user":7,"x":1}`, "", `"passport":{"x":1}`},
		{"nobody instead of an object", `"passport":{"user":{"id":7}}`, "", `"passport":{}`},
		{"nobody where nobody was", `"passport":{},"n":1`, "", `"passport":{},"n":1`},
		{"nobody without passport", `"n":1`, "", `"n":1`},
		{"nobody where passport is no object", `"passport":null`, "", `"passport":null`},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := expressSite(t)
			s := st.plantID("planted", cookieMember+test.before+`}`)
			s.SetSubject(test.subject)
			if s.Subject() != test.subject {
				t.Errorf("the subject is %q at once, want %q", s.Subject(), test.subject)
			}
			got := st.commitData(s)
			_, got, _ = strings.Cut(strings.TrimSuffix(got, "}"), `"},`)
			if got != test.after {
				t.Errorf("the data is %s, want %s", got, test.after)
			}
			if s.Subject() != test.subject || s.ID() == "planted" {
				t.Errorf("the subject is %q, want %q, and the ID %q", s.Subject(), test.subject, s.ID())
			}
			if recs := st.records(); len(recs) != 1 || recs[0].Subject != test.subject {
				t.Errorf("the store has %+v", recs)
			}
		})
	}
}

func TestNumericSubjects(t *testing.T) {
	numeric := func(o *session.Options) { o.NumericSubjects = true }
	for subject, want := range map[string]string{
		"7": `{"user":7}`, "0": `{"user":0}`, "-1": `{"user":-1}`, "9007199254740991": `{"user":9007199254740991}`,
		"9007199254740993": "", "07": "", "1e3": "", "7.5": "", "tj": "", "-0": "", " 7": "", "+7": "",
	} {
		st := expressSite(t, numeric)
		s, err := st.Open(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		s.SetSubject(subject)
		if want == "" {
			if s.Err() == nil || !strings.Contains(s.Err().Error(), "NumericSubjects") {
				t.Errorf("the subject %q gives %v", subject, s.Err())
			}
			continue
		}
		if got := st.commitData(s); !strings.HasSuffix(got, `,"passport":`+want+`}`) {
			t.Errorf("the subject %q makes %s", subject, got)
		}
	}

	// A string that means the same is left to be a string.
	st := expressSite(t, numeric)
	s := st.plantID("planted", cookieMember+`"passport":{"user":"7"}}`)
	s.SetSubject("7")
	if got := st.commitData(s); !strings.HasSuffix(got, `"passport":{"user":"7"}}`) {
		t.Errorf("the data is %s", got)
	}

	if _, err := session.New(st.store, &session.Options{Secrets: st.opts.Secrets, NumericSubjects: true}); err == nil ||
		!strings.Contains(err.Error(), "ExpressCompatible") {
		t.Errorf("NumericSubjects alone gives %v", err)
	}
}

func TestPassportThatAHandlerSetsIsTheSubject(t *testing.T) {
	st := expressSite(t)
	type passport struct {
		User json.RawMessage `json:"user,omitempty"`
	}
	key := session.NewKey[passport]("passport")
	s := st.plantID("planted", cookieMember+`"passport":{"user":"tj"}}`)
	key.Ref(s).User = json.RawMessage(`8`)
	if s.Subject() != "8" {
		t.Errorf("by reference the subject becomes %q", s.Subject())
	}
	key.Set(s, passport{json.RawMessage(`7`)})
	s.SetSubject("7") // for the new token; the number stays
	if got := st.commitData(s); !strings.HasSuffix(got, `"passport":{"user":7}}`) || s.Subject() != "7" {
		t.Errorf("the data is %s, the subject %q", got, s.Subject())
	}
	if _, ok := key.Pop(s); !ok || s.Subject() != "" || st.records()[0].Subject != "" {
		t.Errorf("after Pop the subject is %q, in the store %q", s.Subject(), st.records()[0].Subject)
	}
}

// A sign-in of ours at the same time as a change of theirs keeps both.
func TestSetSubjectMergesPassport(t *testing.T) {
	st := expressSite(t)
	s := st.plantID("planted", cookieMember+`"passport":{"user":"tj","a":1}}`)
	s.SetSubject("ada")
	theirs, err := st.store.Load(context.Background(), "planted")
	if err != nil {
		t.Fatal(err)
	}
	theirs.Data = []byte(cookieMember + `"passport":{"user":"eve","a":2}}`)
	if _, err := st.store.Save(context.Background(), &theirs); err != nil {
		t.Fatal(err)
	}
	if got := st.commitData(s); !strings.HasSuffix(got, `"passport":{"a":2,"user":"ada"}}`) {
		t.Errorf("the data is %s", got)
	}

	// And who changes something else takes over whose session it has become.
	s = st.openID(s.ID())
	other := st.openID(s.ID())
	s.Set("n", 1)
	session.NewKey[json.RawMessage]("passport").Set(other, json.RawMessage(`{}`))
	st.commitData(other)
	st.commitData(s)
	if s.Subject() != "" || st.records()[0].Subject != "" {
		t.Errorf("the subject is %q, in the store %q", s.Subject(), st.records()[0].Subject)
	}
}
