package dotenv

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		text string
		want []Variable
	}{
		{"an empty file sets nothing", "", nil},
		{"comments and empty lines set nothing", "# one\n\n  # two\n\t\n", nil},
		{"a bare value ends with the line", "A=b+/=\n", []Variable{{"A", "b+/=", 1}}},
		{"the last line needs no end", "A=b\nC=d", []Variable{{"A", "b", 1}, {"C", "d", 2}}},
		{"lines may end as in DOS", "A=b\r\nC=d\r\n", []Variable{{"A", "b", 1}, {"C", "d", 2}}},
		{"spaces around the sign and at the ends do not count", "  A = b  \n", []Variable{{"A", "b", 1}}},
		{"export may stand before a name", "export A=b\n", []Variable{{"A", "b", 1}}},
		{"export is a name too", "export=b\n", []Variable{{"export", "b", 1}}},
		{"a value may be empty", "A=\nB=''\nC= # nothing\n", []Variable{{"A", "", 1}, {"B", "", 2}, {"C", "", 3}}},
		{"a comment may follow a bare value", "A=b # c\n", []Variable{{"A", "b", 1}}},
		{"a comment may follow a quoted value", "A='b' # c\nB=\"c\"\t#d\n", []Variable{{"A", "b", 1}, {"B", "c", 2}}},
		{"without a space before it a # belongs to the value", "A=b#c\n", []Variable{{"A", "b#c", 1}}},
		{"single quotes keep everything", `A='b " # \n $c'`, []Variable{{"A", `b " # \n $c`, 1}}},
		{"double quotes know escapes", `A="b\n\t\"\\\$ ' # c"`, []Variable{{"A", "b\n\t\"\\$ ' # c", 1}}},
		{"a mark of the byte order is passed over", "\xef\xbb\xbfA=b", []Variable{{"A", "b", 1}}},
		{"a value may be in any language", "A=schlüssel", []Variable{{"A", "schlüssel", 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse([]byte(c.text))
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("Parse(%q) = %v, %v; want %v", c.text, got, err, c.want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		text   string
		line   int
		reason string
	}{
		{"a line without a sign", "A=b\nhello\n", 2, `it has no "="`},
		{"no name", "=b", 1, "is not a name"},
		{"a name that begins with a digit", "1A=b", 1, "is not a name"},
		{"a name with a dash", "\n\nA-B=c", 3, "is not a name"},
		{"a name of two words", "A B=c", 1, "is not a name"},
		{"a variable that is set twice", "A=b\n#\nA=c\n", 3, "A is set already in line 1"},
		{"a bare value with a space", "A=b c", 1, "has a space"},
		{"a bare value with a quote", "A=b'c", 1, "has a quote in it"},
		{"a single quote that is not closed", "A='b\n'", 1, "not closed"},
		{"a double quote that is not closed", `A="b`, 1, "not closed"},
		{"a double quote that is only closed by an escape", `A="b\"`, 1, "not closed"},
		{"a backslash at the end", `A="b\`, 1, "not closed"},
		{"an escape that nobody knows", `A="\q"`, 1, "backslash"},
		{"something after a quote", `A="b"c`, 1, "follows the closing quote"},
		{"a NUL", "A=b\x00", 1, "control character"},
		{"bytes that are no UTF-8", "A=\xff", 1, "not UTF-8"},
		{"UTF-16", "\xff\xfeA\x00=\x00b\x00", 1, "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse([]byte(c.text))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line != c.line || !strings.Contains(syntax.Reason, c.reason) {
				t.Errorf("Parse(%q) = %v, %v; want an error in line %d with %q", c.text, got, err, c.line, c.reason)
			}
		})
	}
}

func TestErrorsDoNotQuoteSecrets(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, text := range []string{secret, "A='" + secret, "A=" + secret + " " + secret, secret + "-=b", `A="` + secret + `\q"`} {
		if _, err := Parse([]byte(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse(%q): %v", text, err)
		}
	}
}

// FuzzParse checks what must hold for any file: no panic, names that are names,
// lines in order, and values that come back when they are written in single
// quotes.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "A=b", "export A='b' # c\n", "A=\"\\n\\\"\"\r\n", "\xef\xbb\xbfA=b", "A=b\nA=c", "=\x00", "A=\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		variables, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Reason == "" {
				t.Fatalf("the error does not say where and what: %v", err)
			}
			return
		}
		line := 0
		for _, v := range variables {
			if !isName(v.Name) || !utf8.ValidString(v.Value) || v.Line <= line {
				t.Fatalf("a bad variable: %+v after line %d", v, line)
			}
			line = v.Line
			if strings.ContainsAny(v.Value, "'\n") {
				continue
			}
			again, err := Parse([]byte(v.Name + "='" + v.Value + "'"))
			if err != nil || len(again) != 1 || again[0].Value != v.Value {
				t.Fatalf("%+v comes back as %v, %v", v, again, err)
			}
		}
	})
}
