package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck/session"
)

// formPage is the body of the pages for signing up and in.
type formPage struct {
	Form        form
	Next        string
	MinPassword int
}

func (st *site) signUpForm(w http.ResponseWriter, r *http.Request) { st.accountForm(w, r, "signup") }

func (st *site) signInForm(w http.ResponseWriter, r *http.Request) { st.accountForm(w, r, "signin") }

func (st *site) accountForm(w http.ResponseWriter, r *http.Request, name string) {
	if _, err := st.user(r); err == nil {
		seeOther(w, "/members")
		return
	}
	entered, _ := formKey.Pop(session.From(r))
	st.render(w, r, http.StatusOK, name, formPage{entered, nextPath(r.FormValue("next")), minPassword})
}

func (st *site) signUp(w http.ResponseWriter, r *http.Request) {
	st.enter(w, r, "/signup", "Welcome, %s. You have signed up, and are signed in.", st.users.signUp)
}

func (st *site) signIn(w http.ResponseWriter, r *http.Request) {
	st.enter(w, r, "/signin", "Welcome back, %s.", st.users.signIn)
}

// enter signs somebody in whom check lets pass. Otherwise the form at path is
// shown again.
func (st *site) enter(w http.ResponseWriter, r *http.Request, path, welcome string,
	check func(ctx context.Context, name, password string) (user, error)) {
	entered := form{strings.TrimSpace(r.PostFormValue("name")), r.PostFormValue("remember") != ""}
	if wait := st.attempts.take(r, entered.Name); wait > 0 {
		st.tooMany(w, r, wait)
		return
	}
	s := session.From(r)
	u, err := check(r.Context(), entered.Name, r.PostFormValue("password"))
	var broken ruleError
	switch {
	case err == nil:
	case errors.As(err, &broken):
		st.again(w, r, path, entered, broken.Error())
		return
	case errors.Is(err, errNameTaken):
		st.again(w, r, path, entered, "This name is taken. Please choose another.")
		return
	case errors.Is(err, errWrongPassword):
		st.again(w, r, path, entered, "The name or the password is wrong.")
		return
	default:
		st.fail(w, r, err)
		return
	}
	st.attempts.succeeded(r, entered.Name)

	// A stranger keeps his note and his count when he signs in. Somebody who was
	// signed in leaves nothing to the next.
	if was := s.Subject(); was != "" && was != u.Subject() {
		s.Regenerate()
	}
	s.SetSubject(u.Subject()) // with a new token, so that nobody can have planted it
	deviceKey.Set(s, deviceOf(r.UserAgent()))
	if entered.Remember {
		s.SetMaxAge(rememberFor)
	} else {
		s.SetMaxAge(0)
	}
	flashKey.Set(s, flash{Text: fmt.Sprintf(welcome, u.Name)})
	seeOther(w, nextPath(r.PostFormValue("next")))
}

// again shows the form once more, with what was entered but the password.
func (st *site) again(w http.ResponseWriter, r *http.Request, path string, entered form, why string) {
	s := session.From(r)
	if len(entered.Name) > maxName {
		entered.Name = ""
	}
	formKey.Set(s, entered)
	flashKey.Set(s, flash{why, true})
	if next := nextPath(r.PostFormValue("next")); next != defaultNext {
		path += "?next=" + url.QueryEscape(next)
	}
	seeOther(w, path)
}

// tooMany is not a redirect: it must cost less than what it is to prevent, and a
// redirect would need a session for its message.
func (st *site) tooMany(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	wait = wait.Truncate(time.Second) + time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
	st.write(w, http.StatusTooManyRequests, "message", page{
		Path: r.URL.Path,
		Body: message{"Too many attempts", "Please try again in " + span(wait) + "."},
	})
}

// signOut ends the session. Its successor holds nothing but a word of goodbye.
func (st *site) signOut(w http.ResponseWriter, r *http.Request) {
	s := session.From(r)
	if s.Subject() != "" {
		s.Regenerate()
		flashKey.Set(s, flash{Text: "You are signed out. The note and the count were in the session, and ended with it."})
	}
	seeOther(w, "/signin")
}

// members lets only those pass who are signed in.
func (st *site) members(next func(w http.ResponseWriter, r *http.Request, u user)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u, err := st.user(r)
		switch {
		case err == nil:
			next(w, r, u)
		case !errors.Is(err, errNoUser):
			st.fail(w, r, err)
		case r.Method == http.MethodGet:
			w.Header().Set("Cache-Control", "no-store")
			seeOther(w, "/signin?next="+url.QueryEscape(r.URL.Path))
		default:
			seeOther(w, "/signin")
		}
	}
}

const defaultNext = "/members"

// nextPath returns where to go after signing in: to a page of the site that
// needs it, whatever the address of the form says.
func nextPath(path string) string {
	switch path {
	case "/members", "/sessions":
		return path
	}
	return defaultNext
}

func (st *site) membersPage(w http.ResponseWriter, r *http.Request, u user) {
	s := session.From(r)
	rec := s.Record()
	remembered, remember := s.OriginalMaxAge()
	st.render(w, r, http.StatusOK, "members", struct {
		Name       string
		Since      moment
		Remembered string
	}{u.Name, st.moment(rec.Created), rememberedFor(remembered, remember)})
}

func rememberedFor(d time.Duration, ok bool) string {
	if !ok {
		return ""
	}
	return span(d)
}
