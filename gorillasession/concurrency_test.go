package gorillasession_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"testing"

	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
)

// meanwhile runs f while a request of b has its session and has not yet saved what
// change does to it. It returns the answer and what Save says.
func meanwhile(b *browser, f func(), change func(s *sessions.Session)) (resp *http.Response, err error) {
	resp = b.get(func(w http.ResponseWriter, r *http.Request) {
		s, getErr := b.st.store.Get(r, "app")
		if getErr != nil {
			b.st.t.Fatal(getErr)
		}
		f()
		change(s)
		err = s.Save(r, w)
	})
	return resp, err
}

func TestTwoRequestsKeepTheirChanges(t *testing.T) {
	type values = map[any]any
	for name, test := range map[string]struct {
		begin       values
		first, slow func(v values)
		want        values
	}{
		"of two keys": {
			values{},
			func(v values) { v["a"] = 1 },
			func(v values) { v["b"] = 2 },
			values{"a": 1, "b": 2},
		},
		"of two keys that were there": {
			values{"a": 0, "b": 0},
			func(v values) { v["a"] = 1 },
			func(v values) { v["b"] = 2 },
			values{"a": 1, "b": 2},
		},
		"a removal and a change": {
			values{"a": 0, "b": 0},
			func(v values) { delete(v, "a") },
			func(v values) { v["b"] = 2 },
			values{"b": 2},
		},
		"a change and a removal": {
			values{"a": 0, "b": 0},
			func(v values) { v["b"] = 2 },
			func(v values) { delete(v, "a") },
			values{"b": 2},
		},
		"of which one changed a map in place": {
			values{"cart": map[string]int{"a": 1, "b": 1, "c": 1, "d": 1}, "n": 0},
			func(v values) { v["cart"].(map[string]int)["a"] = 2 },
			func(v values) { v["n"] = 1 },
			values{"cart": map[string]int{"a": 2, "b": 1, "c": 1, "d": 1}, "n": 1},
		},
		"of which one changed a struct through its pointer": {
			values{"point": &point{1, 1}, "n": 0},
			func(v values) { v["n"] = 1 },
			func(v values) { v["point"].(*point).X = 2 },
			values{"point": &point{2, 1}, "n": 1},
		},
		"which both add a flash": {
			values{},
			func(v values) { addFlash(v, "first") },
			func(v values) { addFlash(v, "slow") },
			values{"_flash": []any{"first", "slow"}},
		},
		"of which one shows a flash and the other adds one": {
			values{"_flash": []any{"old"}},
			func(v values) { delete(v, "_flash") },
			func(v values) { addFlash(v, "new") },
			values{"_flash": []any{"new"}},
		},
		"of which one adds a flash and the other shows one": {
			values{"_flash": []any{"old"}},
			func(v values) { addFlash(v, "new") },
			func(v values) { delete(v, "_flash") },
			values{"_flash": []any{"new"}},
		},
		"which both show the flashes": {
			values{"_flash": []any{"old"}, "n": 0},
			func(v values) { delete(v, "_flash") },
			func(v values) { delete(v, "_flash") },
			values{"n": 0},
		},
		"of the same key, where the later one wins": {
			values{"a": 0},
			func(v values) { v["a"] = 1 },
			func(v values) { v["a"] = 2 },
			values{"a": 2},
		},
		"of a list that becomes something else": {
			values{"a": []any{"x"}},
			func(v values) { v["a"] = []any{"x", "y"} },
			func(v values) { v["a"] = "text" },
			values{"a": "text"},
		},
		"of which the slow one only saves": {
			values{"a": 0, "when": moment, "cart": map[string]int{"a": 1, "b": 2, "c": 3}},
			func(v values) { v["a"] = 1; v["when"] = moment.Add(1); v["cart"] = map[string]int{} },
			func(values) {},
			values{"a": 1, "when": moment.Add(1), "cart": map[string]int{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, within bool) {
				for range 5 { // a map of Go has no order, and gob writes it in any
					st := newSite(t, within)
					b := st.browser()
					b.with("app", func(s *sessions.Session) bool {
						s.Values["user"] = "ada"
						for k, v := range test.begin {
							s.Values[k] = v
						}
						return true
					})
					_, err := meanwhile(b.clone(),
						func() { b.with("app", func(s *sessions.Session) bool { test.first(s.Values); return true }) },
						func(s *sessions.Session) { test.slow(s.Values) })
					if err != nil {
						t.Fatal(err)
					}
					want := values{"user": "ada"}
					for k, v := range test.want {
						want[k] = v
					}
					if got := b.look("app"); !reflect.DeepEqual(got, want) {
						t.Fatalf("got %v, want %v", got, want)
					}
				}
			})
		})
	}
}

func addFlash(values map[any]any, text string) {
	list, _ := values["_flash"].([]any)
	values["_flash"] = append(list, text)
}

func TestASignOutHolds(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		for name, change := range map[string]func(s *sessions.Session){
			"a slow request that changes something":   func(s *sessions.Session) { s.Values["n"] = 1 },
			"a slow request that changes its user":    func(s *sessions.Session) { s.Values["user"] = "grace" },
			"a slow request that replaces everything": func(s *sessions.Session) { s.Values = map[any]any{"user": "ada"} },
		} {
			t.Run(name, func(t *testing.T) {
				st := newSite(t, within)
				b := st.browser()
				b.with("app", func(s *sessions.Session) bool { s.Values["user"], s.Values["cart"] = "ada", 3; return true })
				slow := b.clone()
				resp, err := meanwhile(slow, func() { b.with("app", signOut) }, change)
				if within {
					equal(t, "status", resp.StatusCode, http.StatusConflict)
				} else if !errors.Is(err, session.ErrEnded) {
					t.Errorf("Save: %v", err)
				}
				equal(t, "what the slow one has", len(slow.look("app")), 0)
				equal(t, "sessions", len(st.live()), 0)
			})
		}
		t.Run("a slow request that only saves", func(t *testing.T) {
			st := newSite(t, within)
			b := st.browser()
			b.set("app", "user", "ada")
			slow := b.clone()
			resp, err := meanwhile(slow, func() { b.with("app", signOut) }, func(*sessions.Session) {})
			equal(t, "Save", err, nil)
			equal(t, "status", resp.StatusCode, 200)
			equal(t, "sessions", len(st.live()), 0)
		})
		t.Run("a slow request where another session keeps ours alive", func(t *testing.T) {
			st := newSite(t, within)
			b := st.browser()
			b.set("app", "user", "ada")
			b.set("prefs", "theme", "dark")
			_, err := meanwhile(b.clone(), func() { b.with("app", signOut) }, func(s *sessions.Session) { s.Values["n"] = 1 })
			equal(t, "Save", err, nil)
			equal(t, "the data", st.data(), `{"prefs:theme":"dark","app:n":1}`) // its own change, and not the user
		})
		for name, row := range map[string]struct {
			bySubject bool
			beside    string // another session in the same cookie
			want      int
		}{
			"with nothing else in it":                        {want: 0},
			"with a subject by its values":                   {bySubject: true, want: 0},
			"with another session in it, which is to go on":  {beside: "prefs", want: 1},
			"with a name that is the beginning of another's": {beside: "app2", want: 1},
		} {
			t.Run("a request that has failed before, "+name, func(t *testing.T) {
				st := newSite(t, within)
				if row.bySubject {
					st.store.Subject = func(s *sessions.Session) (string, bool) {
						user, _ := s.Values["user"].(string)
						return user, s.Name() == "app"
					}
				}
				b := st.browser()
				b.set("app", "user", "ada")
				if row.beside != "" {
					b.set(row.beside, "n", 1)
				}
				b.get(func(w http.ResponseWriter, r *http.Request) {
					s, _ := st.store.Get(r, "app")
					st.store.From(r).Set("f", func() {})
					signOut(s)
					var unkept *session.KeyError
					if err := s.Save(r, w); !errors.As(err, &unkept) {
						t.Errorf("Save: %v", err)
					}
				})
				equal(t, "sessions", len(st.live()), row.want)
			})
		}
		t.Run("two sign-outs at the same time", func(t *testing.T) {
			st := newSite(t, within)
			b := st.browser()
			b.set("app", "user", "ada")
			resp, err := meanwhile(b.clone(), func() { b.with("app", signOut) }, func(s *sessions.Session) { signOut(s) })
			equal(t, "Save", err, nil)
			equal(t, "status", resp.StatusCode, 200)
			equal(t, "sessions", len(st.live()), 0)
		})
	})
}

// Many requests of one client at once, each with a key and a flash of its own.
func TestManyRequestsOfOneClient(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		const n = 16
		st := newSite(t, within)
		b := st.browser()
		b.set("app", "user", "ada")
		var ready, done sync.WaitGroup
		ready.Add(n)
		for i := range n {
			window := b.clone()
			done.Go(func() {
				window.with("app", func(s *sessions.Session) bool {
					ready.Done()
					ready.Wait()
					s.Values[i] = i
					s.AddFlash(fmt.Sprint(i))
					return true
				})
			})
		}
		done.Wait()
		got := b.look("app")
		equal(t, "flashes", len(got["_flash"].([]any)), n)
		for i := range n {
			equal(t, fmt.Sprint("the value of request ", i), got[i], any(i))
		}
	})
}

// A program may have several names, and delete one after another.
func TestASignOutOfAllNamesHoldsAfterAFailure(t *testing.T) {
	names := []string{"app", "auth"}
	inBoth(t, func(t *testing.T, within bool) {
		for before, name := range names {
			st := newSite(t, within)
			b := st.browser()
			for _, name := range names {
				b.set(name, "user", "ada")
			}
			b.get(func(w http.ResponseWriter, r *http.Request) {
				for i, name := range names {
					if i == before {
						st.store.From(r).Set("f", func() {})
					}
					s, _ := st.store.Get(r, name)
					signOut(s)
					_ = s.Save(r, w)
				}
			})
			equal(t, "sessions after a failure before the end of "+name, len(st.live()), 0)
		}
		st := newSite(t, within)
		b := st.browser()
		b.set("app", "user", "ada")
		b.get(func(w http.ResponseWriter, r *http.Request) {
			s, _ := st.store.Get(r, "other")
			signOut(s)
			equal(t, "error of a deletion", s.Save(r, w), nil)
			st.store.From(r).Set("f", func() {})
			_ = s.Save(r, w)
		})
		equal(t, "user after a failure in which only another name ends", b.look("app")["user"], any("ada"))
	})
}
