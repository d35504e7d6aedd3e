package sessiontest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/coatcheck/session"
)

var idCases = []testCase{{
	name: "id-alphabet",
	rule: "An ID is 1 to 128 bytes of any UTF-8 text without control characters, compared byte by byte: it is no file name, pattern, number or word.",
	run: func(e *env) {
		stored := make(map[string]session.Record)
		for i, id := range e.legalIDs() {
			rec := e.record()
			rec.ID = id
			e.setCount(&rec, i)
			e.wantMissing(id)
			e.save(&rec)
			stored[id] = rec
		}
		for _, rec := range stored {
			e.wantStored(rec)
		}
		for id, rec := range stored {
			e.setCount(&rec, -e.count(rec))
			e.save(&rec)
			stored[id] = rec
		}
		for _, rec := range stored {
			e.wantStored(rec)
		}
		for id := range stored {
			e.delete(id)
			e.wantMissing(id)
			delete(stored, id)
			for _, other := range stored {
				e.wantStored(other)
				break
			}
		}
	},
}, {
	name: "id-case",
	rule: "Upper and lower case of an ID differ, and so do all texts that merely look alike.",
	run: func(e *env) {
		for _, pair := range [][2]string{
			{"session-a", "SESSION-A"},
			{"session-a", "session-A"},
			{"session", "session "},
			{"session", "session."},
			{"session", " session"},
			{"caf\u00e9", "cafe\u0301"},
			{"stra\u00dfe", "strasse"},
			{"\u212a", "k"},
			{"1", "01"},
			{"1e3", "1000"},
			{"a/b", "a//b"},
			{"a/b", "a/./b"},
			{strings.Repeat("x", 127) + "y", strings.Repeat("x", 127) + "z"},
		} {
			if !e.validID(pair[0]) || !e.validID(pair[1]) {
				continue
			}
			for _, p := range [][2]string{pair, {pair[1], pair[0]}} {
				rec := e.record()
				rec.ID = p[0]
				e.save(&rec)
				if _, err := e.store.Load(e.ctx, p[1]); !errors.Is(err, session.ErrNotFound) {
					e.Fatalf("after Save of ID %q, Load of %q: %v, want ErrNotFound", p[0], p[1], err)
				}
				e.delete(p[1])
				e.wantStored(rec)
				e.delete(p[0])
			}
		}
	},
}, {
	name: "id-refused",
	rule: "An ID that the layout has no place for is refused by Save, and never stands for another.",
	run: func(e *env) {
		for _, id := range awkwardIDs() {
			if e.validID(id) {
				continue
			}
			rec := e.record()
			rec.ID = id
			if _, err := e.store.Save(e.ctx, &rec); err == nil {
				e.Errorf("Save took the ID %q, for which the layout has no place", id)
			}
			if got, err := e.store.Load(e.ctx, id); err == nil {
				e.Errorf("Load of the ID %q, which the layout has no place for, found the record %q", id, got.ID)
			}
		}
	},
}}

func (e *env) validID(id string) bool { return e.layout.ValidID == nil || e.layout.ValidID(id) }

func (e *env) legalIDs() []string {
	var ids []string
	for _, id := range awkwardIDs() {
		if e.validID(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// awkwardIDs returns different legal IDs that some file system, pattern, query,
// collation or key syntax takes for something else.
func awkwardIDs() []string {
	ids := []string{
		".", "..", "...", "/", "\\", "a/b", "a\\b", "../../x", "/etc/passwd", "./a", "a/", "a/../b", "C:", "C:\\x", "a:b",
		"CON", "con", "nul.txt", "COM1", "a.b", "a.b.c", ".a", "a.", "a ", " a", "a", "A", " ", "-", "-rf", "~", "$HOME", "`id`",
		"%", "_", "%%", "a%", "a_", "*", "?", "a*", "a?", "[a]", "[^a]", "{a}", "{a,b}", "^a", "a|b", "(", "+", "%2e%2e", "%00", "\\0",
		"'", "''", `"`, "a'b", "';--", "/*", "#", "&", "=", ";", ",", "<a>", "@", "!",
		"0", "00", "1", "-1", "1.0", "1e3", "true", "null", "NULL", "undefined", "index", "__proto__", "constructor",
		"sess:a", "session:a", "sess:", "a.json", "a.tmp", ".lock", "a.lock",
		"\u00e9", "e\u0301", "\u00df", "ss", "SS", "\u0131", "i", "I", "\u0130", "\u212a", "k", "K", "\uff41",
		"\u65e5\u672c", "\U0001f600", "\u2028", "\u200b", "\ufeffa", "\u00a0", "\ufffd", "\U0010ffff",
		strings.Repeat("x", 127), strings.Repeat("x", 128), strings.Repeat("X", 128), strings.Repeat("x", 127) + "y",
		strings.Repeat("\U0001f600", 32), strings.Repeat("/", 128), strings.Repeat(".", 128), strings.Repeat("%", 128),
	}
	for c := byte(' '); c <= '~'; c++ {
		ids = append(ids, fmt.Sprintf("-%c-", c))
	}
	return ids
}
