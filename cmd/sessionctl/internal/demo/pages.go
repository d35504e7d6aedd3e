package demo

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"

	"github.com/coatcheck/session"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// pages are the templates of the pages by name, each with the layout around it.
type pages map[string]*template.Template

func parsePages() pages {
	layout := template.Must(template.ParseFS(pageFiles, "pages/layout.html"))
	ps := make(pages)
	for _, name := range []string{"home", "signup", "signin", "members", "sessions", "inspect", "message"} {
		ps[name] = template.Must(template.Must(layout.Clone()).ParseFS(pageFiles, "pages/"+name+".html"))
	}
	return ps
}

// A page is what the layout shows.
type page struct {
	Path  string
	User  *user // nil for a stranger
	Flash *flash
	Body  any
}

// render shows a page to the visitor, with the message that waits for him.
func (st *site) render(w http.ResponseWriter, r *http.Request, status int, name string, body any) {
	p := page{Path: r.URL.Path, Body: body}
	s := session.From(r)
	u, err := st.user(r)
	switch {
	case err == nil:
		p.User = &u
	case !errors.Is(err, errNoUser):
		st.fail(w, r, err)
		return
	}
	if f, ok := flashKey.Pop(s); ok {
		p.Flash = &f
	}
	st.write(w, status, name, p)
}

// write executes the template as a whole before anything is sent. Every page
// shows something of a session, so none is kept: not by caches, and not by the
// browser for its back button.
func (st *site) write(w http.ResponseWriter, status int, name string, p page) {
	var b bytes.Buffer
	if err := st.pages[name].ExecuteTemplate(&b, "layout", p); err != nil {
		st.log.Error("demo: a page cannot be made", "page", name, "err", err)
		http.Error(w, "This page is broken.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error means that the visitor has gone
}

// user returns who is signed in, or errNoUser.
func (st *site) user(r *http.Request) (user, error) {
	subject := session.From(r).Subject()
	if subject == "" {
		return user{}, errNoUser
	}
	return st.users.bySubject(r.Context(), subject)
}

// assets serves the style, the script and the icon.
func assets() http.Handler {
	files, err := fs.Sub(assetFiles, "assets")
	if err != nil {
		panic(err) // the name is not a path
	}
	serve := http.StripPrefix("/assets/", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/assets/" {
			http.NotFound(w, r)
			return
		}
		// They change with the program, whose files have no times.
		w.Header().Set("Cache-Control", "no-cache")
		serve.ServeHTTP(w, r)
	})
}
