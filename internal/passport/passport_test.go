package passport

import (
	"strings"
	"testing"
)

func TestSubject(t *testing.T) {
	for data, want := range map[string]string{
		`{"passport":{"user":"bob"}}`:                              "bob",
		`{"passport":{"user":7}}`:                                  "7",
		`{"passport":{"user":-1.50}}`:                              "-1.50",
		`{"passport":{"user":9007199254740993}}`:                   "9007199254740993",
		`{"passport":{"user":"\u00e9"}}`:                           "é",
		`{"passport":{"user":{"id":1}}}`:                           "",
		`{"passport":{"user":null}}`:                               "",
		`{"passport":{"user":true}}`:                               "",
		`{"passport":{"user":"a\nb"}}`:                             "",
		`{"passport":{"User":"bob"}}`:                              "",
		`{"Passport":{"user":"bob"}}`:                              "",
		`{"passport":"bob"}`:                                       "",
		`{"passport":{"user":"` + strings.Repeat("x", 256) + `"}}`: "",
		`["renewed","x"]`:                                          "",
		`broken`:                                                   "",
		``:                                                         "",
		`{"a":{"passport":{"user":"no"}},"passport":{"user":"yes"}}`:    "yes",
		`{"passport":{},"user":"no"}`:                                   "",
		`{"passport":{"user":"first"},"passport":{"user":"last wins"}}`: "last wins",
		`{"passport":{"user":"a\u00e9\"b"}}`:                            `aé"b`,
		`{"passport":{"user":-1.50e3}}`:                                 "-1.50e3",
		` { "passport" : { "user" : 0 } } `:                             "0",
		`{"passport":{"user":""}}`:                                      "",
		`{"passport":{"user":"a\u0085b"}}`:                              "",
		`{"passport":{"user":"` + strings.Repeat("a", 256):              "",
		`{"Passport":{"user":7}}`:                                       "",
		`{"passport":{"User":7}}`:                                       "",
		`{"passport":7}`:                                                "",
		`["passport"]`:                                                  "",
		`{"passport":{"user":7}`:                                        "",
	} {
		if got := Subject([]byte(data)); got != want {
			t.Errorf("%s is of %q, want %q", data, got, want)
		}
	}
}
