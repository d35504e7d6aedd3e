package demo

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/coatcheck/session"
)

// A site is the demo's pages and what they need.
type site struct {
	sessions *session.Manager
	users    *users
	attempts *attempts
	pages    pages
	log      *slog.Logger
	now      func() time.Time
}

func newSite(sessions *session.Manager, users *users, log *slog.Logger) *site {
	return &site{sessions: sessions, users: users, attempts: newAttempts(time.Now), pages: parsePages(), log: log, now: time.Now}
}

// maxBody is far more than any form of the demo needs.
const maxBody = 16 << 10

// handler puts the site together: headers for all responses, then the defence
// against forms of other sites, then sessions, then pages.
func (st *site) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", st.home)
	mux.HandleFunc("POST /note", st.saveNote)
	mux.HandleFunc("GET /signup", st.signUpForm)
	mux.HandleFunc("POST /signup", st.signUp)
	mux.HandleFunc("GET /signin", st.signInForm)
	mux.HandleFunc("POST /signin", st.signIn)
	mux.HandleFunc("POST /signout", st.signOut)
	mux.HandleFunc("GET /members", st.members(st.membersPage))
	mux.HandleFunc("GET /sessions", st.members(st.signedIn))
	mux.HandleFunc("POST /sessions/revoke", st.members(st.revoke))
	mux.HandleFunc("POST /sessions/revoke-others", st.members(st.revokeOthers))
	mux.HandleFunc("GET /inspect", st.inspect)
	mux.HandleFunc("GET /", st.notFound)

	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(http.HandlerFunc(st.crossOrigin))

	root := http.NewServeMux()
	root.Handle("GET /assets/", assets())
	root.Handle("/", csrf.Handler(st.sessions.Handler(st.readForm(mux))))
	return headers(root)
}

// readForm refuses forms that cannot be read, so that no page takes one for an
// empty one.
func (st *site) readForm(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := r.ParseForm(); err != nil {
			status, text := http.StatusBadRequest, "Please go back and send it again."
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) {
				status, text = http.StatusRequestEntityTooLarge, "It is far larger than anything that can be entered here."
			}
			st.write(w, status, "message", page{Path: r.URL.Path, Body: message{"This form cannot be read", text}})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// headers sets what holds for every response. The policy lets a page load the
// demo's own style, script and icon, and nothing else.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// home counts the visit. It is the only page that gives somebody a session who
// just looks at it.
func (st *site) home(w http.ResponseWriter, r *http.Request) {
	s := session.From(r)
	visits, _ := visitsKey.Get(s)
	visits++
	visitsKey.Set(s, visits)
	note, _ := noteKey.Get(s)
	st.render(w, r, http.StatusOK, "home", struct {
		Visits  int
		Note    string
		MaxNote int
		PID     int
	}{visits, note, maxNote, os.Getpid()})
}

const maxNote = 500

func (st *site) saveNote(w http.ResponseWriter, r *http.Request) {
	s := session.From(r)
	note := []rune(r.PostFormValue("note"))
	switch {
	case len(note) > maxNote:
		flashKey.Set(s, flash{"The note is too long, so the old one was kept.", true})
	case len(note) == 0:
		noteKey.Delete(s)
		flashKey.Set(s, flash{Text: "The note is gone."})
	default:
		noteKey.Set(s, string(note))
		flashKey.Set(s, flash{Text: "The note is kept in your session."})
	}
	seeOther(w, "/")
}

func (st *site) notFound(w http.ResponseWriter, r *http.Request) {
	st.render(w, r, http.StatusNotFound, "message", message{"There is no such page", "Perhaps one of those above is what you are looking for."})
}

// crossOrigin answers a form that another site has sent. There is no session
// here, so the page is shown as to a stranger.
func (st *site) crossOrigin(w http.ResponseWriter, r *http.Request) {
	st.write(w, http.StatusForbidden, "message", page{
		Path: r.URL.Path,
		Body: message{"That form came from another site", "So nothing was done. If you meant it, do it here."},
	})
}

// fail answers a request that an error keeps from being answered otherwise.
func (st *site) fail(w http.ResponseWriter, r *http.Request, err error) {
	st.log.ErrorContext(r.Context(), "demo: request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	st.write(w, http.StatusInternalServerError, "message", page{
		Path: r.URL.Path,
		Body: message{"Something went wrong", "It is in the log. Please try again."},
	})
}

// A message is the body of a page that has only something to say.
type message struct{ Title, Text string }

// seeOther ends a POST, so that reloading the page that follows does not repeat
// it.
func seeOther(w http.ResponseWriter, path string) {
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}
