package gorillasession

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A value of gorilla's has any Go type, and a program gets it back by a type
// assertion, so an int must not come back as a float64. In JSON
//
//	"text", true, 7, null     are a string, a bool, an int and nil,
//	["text", 7]               is an []any, as flashes are,
//	{"int64": 7}              is any other type of number,
//	{"time.Time": "..."}      a time and its offset, in the form of RFC 3339,
//	{"[]byte": "..."}         bytes in base64, and {"string": "..."} a string that is not UTF-8,
//	{"gob": "..."}            whatever else encoding/gob can keep, in base64: structs, maps, pointers
//	                          and types of the program's own, registered with gob.Register.
//
// What others have put there, an Express application or a session.Key, and which
// is none of these reads as encoding/json makes it.

const (
	timeTag  = "time.Time"
	bytesTag = "[]byte"
	textTag  = "string"
	gobTag   = "gob"
)

// encode returns the JSON text of a value.
func encode(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return []byte("null"), nil
	case bool:
		return strconv.AppendBool(nil, v), nil
	case int:
		return strconv.AppendInt(nil, int64(v), 10), nil
	case string:
		if !utf8.ValidString(v) {
			return tagged(textTag, base64Text([]byte(v))), nil
		}
		return plainText(v)
	case []any:
		if len(v) > 0 { // an empty one is what remains of a list of which everything was taken
			return encodeList(v)
		}
	case []byte:
		return tagged(bytesTag, base64Text(v)), nil
	case time.Time:
		if text, err := v.MarshalJSON(); err == nil {
			return tagged(timeTag, text), nil
		}
	case int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, uintptr:
		return tagged(reflect.TypeOf(v).Name(), fmt.Append(nil, v)), nil
	case float32:
		if !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) {
			return tagged("float32", strconv.AppendFloat(nil, float64(v), 'g', -1, 32)), nil
		}
	case float64:
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			return tagged("float64", strconv.AppendFloat(nil, v, 'g', -1, 64)), nil
		}
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(&v); err != nil {
		return nil, err
	}
	return tagged(gobTag, base64Text(buf.Bytes())), nil
}

func encodeList(list []any) ([]byte, error) {
	dst := []byte{'['}
	for i, v := range list {
		text, err := encode(v)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, text...)
	}
	return append(dst, ']'), nil
}

func tagged(tag string, text []byte) []byte {
	dst := append([]byte(`{"`), tag...)
	dst = append(dst, '"', ':')
	return append(append(dst, text...), '}')
}

func base64Text(b []byte) []byte {
	dst := base64.StdEncoding.AppendEncode([]byte{'"'}, b)
	return append(dst, '"')
}

// plainText is s as JSON, without the escapes that only HTML needs.
func plainText(s string) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// decode returns the value of a JSON text.
func decode(text []byte) (any, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, errors.New("there is no value")
	}
	switch text[0] {
	case '[':
		var parts []json.RawMessage
		if err := json.Unmarshal(text, &parts); err != nil {
			return nil, err
		}
		var list []any
		for _, part := range parts {
			v, err := decode(part)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case '{':
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			return nil, err
		}
		if len(members) == 1 {
			for tag, raw := range members {
				if v, known, err := decodeTagged(tag, raw); known {
					return v, err
				}
			}
		}
	default:
		if n, err := strconv.Atoi(string(text)); err == nil {
			return n, nil
		}
	}
	var v any
	err := json.Unmarshal(text, &v)
	return v, err
}

// numbers are the types that are kept as a tagged number.
var numbers = numberTypes(int8(0), int16(0), int32(0), int64(0),
	uint(0), uint8(0), uint16(0), uint32(0), uint64(0), uintptr(0), float32(0), float64(0))

func numberTypes(zeros ...any) map[string]reflect.Type {
	types := make(map[string]reflect.Type, len(zeros))
	for _, zero := range zeros {
		t := reflect.TypeOf(zero)
		types[t.Name()] = t
	}
	return types
}

func decodeTagged(tag string, raw json.RawMessage) (v any, known bool, err error) {
	if t, ok := numbers[tag]; ok {
		p := reflect.New(t)
		err := json.Unmarshal(raw, p.Interface())
		return p.Elem().Interface(), true, err
	}
	switch tag {
	case timeTag:
		var t time.Time
		err := json.Unmarshal(raw, &t)
		return t, true, err
	case bytesTag, textTag, gobTag:
		var b []byte
		if err := json.Unmarshal(raw, &b); err != nil { // which encoding/json reads as base64
			return nil, true, err
		}
		switch tag {
		case bytesTag:
			if len(b) == 0 {
				b = nil // as gob makes of it
			}
			return b, true, nil
		case textTag:
			return string(b), true, nil
		}
		v, err := decodeGob(b)
		return v, true, err
	}
	return nil, false, nil
}

func decodeGob(b []byte) (v any, err error) {
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&v); err != nil {
		if strings.Contains(err.Error(), "not registered") {
			return nil, fmt.Errorf("%w; register the type with gob.Register before the first request", err)
		}
		return nil, err
	}
	return v, nil
}

// same reports whether v is still the value of a text. The texts of one value
// may differ: gob writes maps in any order, and others write JSON their own way.
func same(text []byte, v any, textOfV []byte) bool {
	if bytes.Equal(text, textOfV) {
		return true
	}
	before, err := decode(text)
	return err == nil && reflect.DeepEqual(before, v)
}
