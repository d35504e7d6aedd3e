package scsstore

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// survives reports what a value would lose on its way through JSON and back into
// its own type; nil if nothing. It names fields and types, and no values.
func survives(value any) error {
	if value == nil {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		var unsupported *json.UnsupportedValueError
		if errors.As(err, &unsupported) {
			return errors.New("JSON has no number for it")
		}
		return err
	}
	before := reflect.ValueOf(value)
	after := reflect.New(before.Type())
	if err := json.Unmarshal(text, after.Interface()); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			return fmt.Errorf("JSON cannot bring back a %v", mismatch.Type)
		}
		return errors.New("JSON cannot bring it back")
	}
	return differs("", before, after.Elem())
}

// differs says where a value differs from what JSON has made of it. What gob has
// not brought in the first place, unexported fields, does not count; neither does
// the difference between none and an empty one, which gob does not keep either.
func differs(path string, a, b reflect.Value) error {
	if equal, ok := ownEqual(a, b); ok {
		if equal {
			return nil
		}
		return lost(path, a)
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if f := a.Type().Field(i); f.IsExported() {
				if err := differs(path+"."+f.Name, a.Field(i), b.Field(i)); err != nil {
					return err
				}
			}
		}
		return nil
	case reflect.Pointer:
		switch {
		case a.IsNil() && b.IsNil():
			return nil
		case a.IsNil() || b.IsNil():
			return lost(path, a)
		}
		return differs(path, a.Elem(), b.Elem())
	case reflect.Interface:
		return differsInside(path, a.Elem(), b.Elem())
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return lost(path, a)
		}
		for i := range a.Len() {
			if err := differs(path+"[]", a.Index(i), b.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		if a.Len() != b.Len() {
			return lost(path, a)
		}
		for it := a.MapRange(); it.Next(); {
			other := b.MapIndex(it.Key())
			if !other.IsValid() {
				return lost(path, a)
			}
			if err := differs(path+"[]", it.Value(), other); err != nil {
				return err
			}
		}
		return nil
	}
	if !a.Equal(b) {
		return lost(path, a)
	}
	return nil
}

// differsInside compares what an interface holds, where JSON brings back only its
// own types. Numbers that are the same and texts that are the same will do;
// of other things the type would be lost, and with it what a program does by it.
func differsInside(path string, a, b reflect.Value) error {
	if !a.IsValid() || !b.IsValid() {
		if a.IsValid() == b.IsValid() {
			return nil
		}
		return lost(path, a)
	}
	if a.Type() == b.Type() {
		return differs(path, a, b)
	}
	if b.Kind() == reflect.Float64 {
		f := b.Float()
		switch {
		case a.CanInt() && int64(f) == a.Int() && float64(a.Int()) == f && !a.Type().Implements(marshaler),
			a.CanUint() && uint64(f) == a.Uint() && float64(a.Uint()) == f && !a.Type().Implements(marshaler),
			a.Kind() == reflect.Float32 && a.Type().PkgPath() == "":
			return nil
		}
	}
	// Slices and maps of plain types come back as []any and map[string]any.
	switch {
	case a.Kind() == reflect.Slice && b.Kind() == reflect.Slice && a.Len() == b.Len():
		for i := range a.Len() {
			if err := differsInside(path+"[]", concrete(a.Index(i)), concrete(b.Index(i))); err != nil {
				return err
			}
		}
		return nil
	case a.Kind() == reflect.Map && a.Type().Key().Kind() == reflect.String && b.Kind() == reflect.Map && a.Len() == b.Len():
		for it := a.MapRange(); it.Next(); {
			other := b.MapIndex(it.Key().Convert(b.Type().Key()))
			if !other.IsValid() {
				return lost(path, a)
			}
			if err := differsInside(path+"[]", concrete(it.Value()), concrete(other)); err != nil {
				return err
			}
		}
		return nil
	}
	return lost(path, a)
}

var marshaler = reflect.TypeFor[json.Marshaler]()

// concrete looks into an interface.
func concrete(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Interface {
		return v.Elem()
	}
	return v
}

// ownEqual compares times by their instant, and others that say of
// themselves what gob is to keep of them by that.
func ownEqual(a, b reflect.Value) (equal, ok bool) {
	if a.Kind() == reflect.Pointer || a.Kind() == reflect.Interface {
		return false, false
	}
	if before, ok := a.Interface().(time.Time); ok {
		return before.Equal(b.Interface().(time.Time)), true
	}
	before, ok, errBefore := gobText(a)
	if !ok {
		return false, false
	}
	after, _, errAfter := gobText(b)
	return errBefore == nil && errAfter == nil && bytes.Equal(before, after), true
}

func gobText(v reflect.Value) (text []byte, ok bool, err error) {
	p := reflect.New(v.Type()) // for methods of the pointer
	p.Elem().Set(v)
	switch m := p.Interface().(type) {
	case gob.GobEncoder:
		text, err = m.GobEncode()
	case encoding.BinaryMarshaler:
		text, err = m.MarshalBinary()
	default:
		return nil, false, nil
	}
	return text, true, err
}

func lost(path string, a reflect.Value) error {
	kind := "nothing"
	if a.IsValid() {
		kind = a.Type().String()
	}
	if path == "" {
		return fmt.Errorf("JSON would change the %s", kind)
	}
	return fmt.Errorf("JSON would change the %s at %s", kind, path)
}
