package pgxstore

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// payload is what a notification has.
func payload(id string) string {
	key := nameOf(id)
	return hex.EncodeToString(key[:])
}

func TestNames(t *testing.T) {
	var w watches
	w.loading("before") // nobody watches
	n := w.begin()
	defer w.end(n)
	w.loading("a")
	w.loading("b")
	w.loading("b")
	for _, test := range []struct {
		name, text, want string
	}{
		{"loaded", payload("a"), "a"},
		{"loaded, and reported since", payload("a"), ""},
		{"loaded twice", payload("b"), "b"},
		{"never loaded", payload("c"), ""},
		{"loaded before the watch", payload("before"), ""},
		{"too short for a name", payload("a")[2:], ""},
		{"too long for a name", payload("a") + "00", ""},
		{"no name", strings.Repeat("x", 32), ""},
		{"long and no name", strings.Repeat("x", 8000), ""},
		{"empty", "", ""},
	} {
		if id, ok := n.take(test.text); id != test.want || ok != (test.want != "") {
			t.Errorf("%s: %q, %v", test.name, id, ok)
		}
	}
	w.loading("a") // again
	if id, ok := n.take(payload("a")); id != "a" || !ok {
		t.Errorf("loaded again: %q, %v", id, ok)
	}
}

func TestNamesOfEachWatch(t *testing.T) {
	var w watches
	first, second := w.begin(), w.begin()
	w.loading("a")
	w.end(first)
	w.loading("b")
	if _, ok := first.take(payload("b")); ok {
		t.Error("a watch that has ended knows what was loaded afterwards")
	}
	for _, n := range []*names{first, second} {
		if _, ok := n.take(payload("a")); !ok {
			t.Error("a watch does not know what was loaded during it")
		}
	}
	w.end(second)
	if len(w.open) != 0 {
		t.Error("watches that have ended are remembered")
	}
}

func TestNamesAreBounded(t *testing.T) {
	n := &names{max: 10}
	for i := range 10 {
		n.add(nameOf(fmt.Sprint(i)), fmt.Sprint(i))
	}
	if n.forgotten() {
		t.Error("names were forgotten before there were too many")
	}
	n.add(nameOf("x"), "x")
	if !n.forgotten() {
		t.Error("nobody is told that names were forgotten")
	}
	if n.forgotten() {
		t.Error("it is told again")
	}
	if _, ok := n.take(payload("x")); !ok || len(n.ids) != 0 {
		t.Errorf("there are %d names left", len(n.ids))
	}
}
