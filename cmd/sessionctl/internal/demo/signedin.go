package demo

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/coatcheck/session"
)

// A place is one of the sessions of somebody who is signed in.
type place struct {
	ID          string
	Device      device
	First, Last moment
	This        bool
}

// A moment is a time as the pages show it.
type moment struct {
	time.Time
	Ago string
}

func (st *site) moment(t time.Time) moment { return moment{t, ago(st.now(), t)} }

// Machine is the time as the element <time> wants it.
func (m moment) Machine() string { return m.UTC().Format("2006-01-02T15:04:05Z") }

// Exact is the time for people.
func (m moment) Exact() string { return m.UTC().Format("2006-01-02 15:04:05 UTC") }

// signedIn lists where the user is signed in: here first, then the latest seen.
func (st *site) signedIn(w http.ResponseWriter, r *http.Request, u user) {
	here := session.From(r).ID()
	var places []place
	for rec, err := range st.sessions.List(r.Context(), u.Subject()) {
		if err != nil {
			st.fail(w, r, err)
			return
		}
		d, _ := deviceKey.In(rec)
		p := place{
			ID:     rec.ID,
			Device: d,
			First:  st.moment(rec.Created),
			Last:   st.moment(rec.LastSeen),
			This:   rec.ID == here,
		}
		if p.This {
			p.Last = st.moment(st.now())
		}
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		switch {
		case a.This != b.This && a.This:
			return -1
		case a.This != b.This:
			return 1
		}
		return b.Last.Compare(a.Last.Time)
	})
	st.render(w, r, http.StatusOK, "sessions", struct {
		Places []place
		Others int
	}{places, len(places) - 1})
}

// revoke ends one session of the user. The ID comes from a form, so it may be
// that of anybody's session: only the user's own are ended.
func (st *site) revoke(w http.ResponseWriter, r *http.Request, u user) {
	s := session.From(r)
	id := r.PostFormValue("id")
	rec, err := st.sessions.Find(r.Context(), id)
	switch {
	case err == nil && rec.Subject == u.Subject() && id == s.ID():
		st.signOut(w, r)
		return
	case err == nil && rec.Subject == u.Subject():
		err = st.sessions.Revoke(r.Context(), id)
	case err == nil:
		err = session.ErrNotFound
	}
	switch {
	case err == nil:
		flashKey.Set(s, flash{Text: "That browser is signed out."})
	case errors.Is(err, session.ErrNotFound):
		flashKey.Set(s, flash{Text: "That browser was signed out already."})
	default:
		st.fail(w, r, err)
		return
	}
	seeOther(w, "/sessions")
}

func (st *site) revokeOthers(w http.ResponseWriter, r *http.Request, _ user) {
	s := session.From(r)
	n, err := st.sessions.RevokeOthers(r.Context(), s)
	if err != nil {
		st.fail(w, r, err)
		return
	}
	text := "You were signed in nowhere else."
	switch {
	case n == 1:
		text = "One other browser is signed out."
	case n > 1:
		text = fmt.Sprintf("%d other browsers are signed out.", n)
	}
	flashKey.Set(s, flash{Text: text})
	seeOther(w, "/sessions")
}
