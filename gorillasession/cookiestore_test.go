package gorillasession_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
)

// Over a cookiestore nothing but the browser has the session, as in a program
// that comes from gorilla's CookieStore.
func TestOverACookieStore(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		store, err := cookiestore.New([]session.Secret{secret}, nil)
		if err != nil {
			t.Fatal(err)
		}
		st := siteOver(t, within, store)
		b := st.browser()
		b.set("app", "user", "ada")
		equal(t, "cookies of the browser after a sign-in", len(b.cookies), 2)
		b.set("app", "colour", "red")
		equal(t, "user", b.look("app")["user"], any("ada"))
		equal(t, "colour", b.look("app")["colour"], any("red"))

		for name, leave := range map[string]func(r *http.Request, w http.ResponseWriter) error{
			"a sign-out": func(r *http.Request, w http.ResponseWriter) error {
				s, _ := st.store.Get(r, "app")
				signOut(s)
				return s.Save(r, w)
			},
			"a sign-out whose request fails": func(r *http.Request, w http.ResponseWriter) error {
				st.store.From(r).Set("f", func() {})
				s, _ := st.store.Get(r, "app")
				signOut(s)
				return s.Save(r, w)
			},
		} {
			b := b.clone()
			b.get(func(w http.ResponseWriter, r *http.Request) {
				if err := leave(r, w); err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
				}
			})
			equal(t, "cookies of the browser after "+name, len(b.cookies), 0)
		}
	})
}

// A session that cannot be read may hold more than the name that is deleted.
func TestADeletionInASessionThatCannotBeRead(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		var down error
		store, err := cookiestore.New([]session.Secret{secret}, &cookiestore.Options{
			RevokedBefore: func(context.Context, string) (time.Time, error) { return time.Time{}, down },
		})
		if err != nil {
			t.Fatal(err)
		}
		st := siteOver(t, within, store)
		b := st.browser()
		b.get(func(w http.ResponseWriter, r *http.Request) {
			st.store.From(r).SetSubject("ada")
			s, _ := st.store.Get(r, "app")
			s.Values["user"] = "ada"
			equal(t, "error of Save", s.Save(r, w), nil)
		})
		down = errors.New("down")
		b.get(func(w http.ResponseWriter, r *http.Request) {
			s, _ := st.store.Get(r, "flash")
			signOut(s)
			if err := s.Save(r, w); err == nil {
				t.Error("Save does not fail")
			}
		})
		down = nil
		equal(t, "user", b.look("app")["user"], any("ada"))
	})
}
