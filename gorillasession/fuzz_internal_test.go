package gorillasession

import (
	"encoding/json"
	"reflect"
	"testing"
)

// Whatever lies in the store: decoding does not panic, and what it gives can be
// encoded and decoded to the same again.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`"a"`, `7`, `-7.5e3`, `true`, `null`, `[]`, `["a",[1,{"int64":7}]]`, `{"uint8":300}`, `{"time.Time":"2026-03-01T12:30:15.1+05:30"}`,
		`{"[]byte":"AAH/"}`, `{"string":"//79"}`, `{"gob":"KRAADG1haW4uVW5rbm93bn8DAQEHVW5rbm93bgH/gAABAQEBQQEEAAAABv+AAwECAA=="}`,
		`{"gob":"DAwABnN0cmluZwwDAAFh"}`, `{"a":1}`, `{"a":1,"b":{}}`, `{`, `"`, ``, ` `, `{"float64":1e999}`, `{"gob":null}`, `{"int":1}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := decode(text)
		if err != nil {
			return
		}
		again, err := encode(v)
		if err != nil {
			return // a map of what gob was not told of, as others may put there
		}
		if !json.Valid(again) {
			t.Fatalf("%s is no JSON", again)
		}
		w, err := decode(again)
		if err != nil {
			t.Fatalf("%s became %s, which cannot be decoded: %v", text, again, err)
		}
		if !reflect.DeepEqual(v, w) && reflect.DeepEqual(v, v) { // NaN is nothing, not even itself
			t.Fatalf("%s is %#v, and then %#v", text, v, w)
		}
	})
}
