// Package dotenv reads .env files, strictly: what other readers would guess
// about is an error that names the line.
//
// A line is empty, a comment that begins with #, or NAME=value, where "export "
// may stand before. The value is bare, without spaces and quotes; or in single
// quotes, which keep everything; or in double quotes, where \n, \t, \", \$ and
// \\ have their usual meanings. A comment may follow after a space. A dollar
// sign is a dollar sign: nothing is expanded.
package dotenv

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Variable is one assignment.
type Variable struct {
	Name  string
	Value string
	Line  int // from 1
}

// A SyntaxError says what is wrong with which line. It never quotes the line,
// which may hold a secret.
type SyntaxError struct {
	Line   int
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Parse returns the variables of a file in their order.
func Parse(text []byte) ([]Variable, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // some editors begin a file with this mark
	var variables []Variable
	seen := make(map[string]int)
	number := 0
	for raw := range bytes.Lines(text) {
		number++
		line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		name, value, reason := parseLine(line)
		if reason == "" && name != "" && seen[name] > 0 {
			reason = fmt.Sprintf("%s is set already in line %d; remove one", name, seen[name])
		}
		if reason != "" {
			return nil, &SyntaxError{number, reason}
		}
		if name != "" {
			seen[name] = number
			variables = append(variables, Variable{name, value, number})
		}
	}
	return variables, nil
}

// parseLine returns what a line sets, if anything, or what is wrong with it.
func parseLine(line string) (name, value, reason string) {
	switch {
	case !utf8.ValidString(line):
		return "", "", "it is not UTF-8"
	case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "", "", "it has a control character"
	}
	line = strings.Trim(line, " \t")
	if line == "" || line[0] == '#' {
		return "", "", ""
	}
	if rest, ok := strings.CutPrefix(line, "export "); ok {
		line = strings.TrimLeft(rest, " \t")
	}
	name, text, ok := strings.Cut(line, "=")
	if !ok {
		return "", "", `it has no "="; write NAME=value, or # before a comment`
	}
	name = strings.TrimRight(name, " \t")
	if !isName(name) {
		return "", "", `what stands before "=" is not a name; use letters, digits and _, and begin with no digit`
	}
	value, rest, reason := parseValue(strings.TrimLeft(text, " \t"))
	switch {
	case reason != "":
		return "", "", reason
	case rest == "":
	case rest[0] != ' ' && rest[0] != '\t':
		return "", "", "something follows the closing quote"
	default:
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != '#' {
			return "", "", "the value has a space; put it in quotes, or # before a comment"
		}
	}
	return name, value, ""
}

// parseValue takes the value from the beginning of text and returns the rest.
func parseValue(text string) (value, rest, reason string) {
	switch {
	case strings.HasPrefix(text, "'"):
		value, rest, ok := strings.Cut(text[1:], "'")
		if !ok {
			return "", "", "the quote is not closed"
		}
		return value, rest, ""
	case strings.HasPrefix(text, `"`):
		return parseDoubleQuoted(text[1:])
	case strings.HasPrefix(text, "#"):
		return "", " " + text, ""
	}
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		end = len(text)
	}
	if strings.ContainsAny(text[:end], "\"'`") {
		return "", "", "the value has a quote in it; put all of it in quotes of another kind"
	}
	return text[:end], text[end:], ""
}

func parseDoubleQuoted(text string) (value, rest, reason string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), text[i+1:], ""
		case '\\':
			i++
			if i == len(text) {
				return "", "", "the quote is not closed"
			}
			switch c := text[i]; c {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case '"', '\\', '$':
				b.WriteByte(c)
			default:
				return "", "", `a backslash in double quotes stands before something other than n, t, ", $ and \; use single quotes, or \\`
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", "the quote is not closed"
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', c == '_':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
