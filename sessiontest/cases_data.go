package sessiontest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/coatcheck/session"
)

var dataCases = []testCase{{
	name: "binary-values",
	rule: "A store keeps Data byte for byte: it neither parses, nor escapes, nor tidies the JSON text.",
	live: true,
	run: func(e *env) {
		for _, text := range jsonTexts {
			rec := e.record()
			rec.Data = []byte(text)
			e.save(&rec)
			e.wantStored(rec)
		}
	},
}, {
	name: "binary-values-update",
	rule: "A store keeps Data byte for byte also where it replaces other data, longer or shorter.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		for _, text := range jsonTexts {
			rec.Data = []byte(text)
			e.save(&rec)
			e.wantStored(rec)
		}
	},
}, {
	name: "pointer-record",
	rule: "Data may be a JSON array, the pointer from a renewed session to its successor, in the place of an object.",
	live: true,
	run: func(e *env) {
		rec := e.record()
		e.save(&rec)
		rec.Data = fmt.Appendf(nil, `["renewed",%q,1767225600123]`, e.newID())
		e.save(&rec)
		e.wantStored(rec)
	},
}, {
	name: "large",
	rule: "Data of any size is kept whole, or refused with an error that wraps ErrTooLarge: never cut short.",
	run: func(e *env) {
		for _, size := range []int{2 << 10, 1<<16 - 1, 1 << 16, 1<<16 + 1, 300_000, 1 << 20} {
			data := e.data("", fmt.Sprintf(`{"n":%d,"pad":"%s"}`, size, pad(size)))

			rec := e.record()
			rec.Data = data
			if e.saveOrTooLarge(&rec, size) {
				e.wantStored(rec)
			} else {
				e.wantMissing(rec.ID)
			}

			rec = e.record()
			e.save(&rec)
			grown := rec
			grown.Data = data
			if e.saveOrTooLarge(&grown, size) {
				e.wantStored(grown)
			} else {
				e.wantStored(rec)
			}
		}
	},
}}

// saveOrTooLarge saves the record if the store takes it for its size. One of
// smallEnough must be taken.
func (e *env) saveOrTooLarge(rec *session.Record, size int) bool {
	e.Helper()
	const smallEnough = 2 << 10
	given := *rec
	version, err := e.store.Save(e.ctx, &given)
	if err == nil {
		rec.Version = version
		return true
	}
	if !errors.Is(err, session.ErrTooLarge) {
		e.Fatalf("Save of %d bytes: error %q does not wrap ErrTooLarge", size, err)
	}
	if size <= smallEnough {
		e.Fatalf("Save of %d bytes: %v", size, err)
	}
	return false
}

// pad returns up to 1 MiB of text, without repetition that would hide lost or
// doubled pieces.
func pad(size int) []byte { return padding()[:size] }

var padding = sync.OnceValue(func() []byte {
	const most = 1 << 20
	var b []byte
	for i := int64(0); len(b) < most; i++ {
		b = append(strconv.AppendInt(b, i, 10), '-')
	}
	return b
})

// jsonTexts are all valid, and all differ from what a JSON encoder would make of
// them, or are hard for some column type or character set.
var jsonTexts = []string{
	`{}`,
	`[]`,
	` { } `,
	"{\r\n\t\"a\" : 1 ,\n\"b\":\t2\r\n}\n",
	`{"z":1,"a":2,"m":3,"10":4,"9":5}`,
	`{"a":1,"a":2}`,
	`{"n":9007199254740993}`,
	`{"n":[1.0,1.00,-0,-0.0,1e2,1E+2,0.10,1e400,123456789012345678901234567890]}`,
	`{"s":"\u00e9\u00E9\/\u003c\u0041\b\f\n\r\t\"\\"}`,
	`{"s":"\u0000","t":"a\u0000b"}`,
	`{"s":"\ud83d\ude00","lone":"\ud800"}`,
	`{"s":"é 日本 😀 \u200f"}`,
	"{\"s\":\"\u2028\u2029\u0085\u00a0\ufeff\u007f\uffff\U0010ffff\"}",
	`{"s":"<script>&amp;'\"--;%s$1?:x</script>"}`,
	`{"":"","` + "\u65e5" + `":null,"t":true,"f":false}`,
	`{"trailing":"   "}   `,
	`{"é":"composed","` + "e\u0301" + `":"decomposed"}`,
	strings.Repeat("[", 100) + strings.Repeat("]", 100),
}
