package adapters

import (
	"fmt"
	"net/http"
	"testing"

	ginsessions "github.com/gin-contrib/sessions"
	"github.com/gin-contrib/sessions/cookie"
	"github.com/gin-gonic/gin"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/gorillasession"
)

func init() { gin.SetMode(gin.TestMode) }

func ginFramework(file string, g gate) http.Handler {
	e := gin.New()
	e.Use(gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, _ any) { c.AbortWithStatus(http.StatusInternalServerError) }))
	e.Use(func(c *gin.Context) {
		c.Next()
		if c.FullPath() == "/after" {
			count(c.Request)
		}
	})
	e.GET("/view", func(c *gin.Context) { c.String(http.StatusOK, "%d", count(c.Request)) })
	e.GET("/json", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"count": count(c.Request)}) })
	e.GET("/redirect", func(c *gin.Context) { count(c.Request); c.Redirect(http.StatusSeeOther, "/count") })
	e.GET("/count", func(c *gin.Context) {
		n, _ := counter.Get(session.From(c.Request))
		c.String(http.StatusOK, "%d", n)
	})
	e.GET("/file", func(c *gin.Context) { count(c.Request); c.File(file) })
	e.GET("/nothing", func(c *gin.Context) { count(c.Request); c.Status(http.StatusNoContent) })
	e.GET("/stream", func(c *gin.Context) {
		_, _ = fmt.Fprintln(c.Writer, count(c.Request))
		c.Writer.Flush()
		g.arrived <- struct{}{}
		<-g.open
		_, _ = fmt.Fprintln(c.Writer, count(c.Request))
	})
	e.GET("/after", func(c *gin.Context) { c.String(http.StatusOK, "page") })
	e.GET("/hijack", func(c *gin.Context) {
		n := count(c.Request)
		conn, rw, err := c.Writer.Hijack()
		if err != nil {
			c.String(http.StatusInternalServerError, err.Error())
			return
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nby hand: %d", n)
		_ = rw.Flush()
	})
	e.GET("/fail", func(c *gin.Context) { count(c.Request); c.AbortWithStatus(http.StatusTeapot) })
	e.GET("/panic", func(c *gin.Context) { count(c.Request); panic("a page panics") })
	e.GET("/login", func(c *gin.Context) { session.From(c.Request).SetSubject("23"); c.String(http.StatusOK, "hello") })
	e.GET("/late", func(c *gin.Context) {
		_, _ = fmt.Fprintln(c.Writer, "begun")
		c.Writer.Flush()
		count(c.Request)
	})
	return e
}

// With ContextWithFallback, gin's own context leads to the session as well.
func TestGinsContext(t *testing.T) {
	m := newManager(t, nil)
	e := gin.New()
	e.ContextWithFallback = true
	e.GET("/", func(c *gin.Context) {
		s, ok := session.FromContext(c)
		if !ok || s != session.From(c.Request) {
			t.Error("no session in gin's context")
		}
	})
	srv := serve(t, m.Handler(e))
	newClient(t).get(srv.URL)
}

// ginStore is all that gin-contrib/sessions wants besides: docs/migrate-gorilla.md
// has it too.
type ginStore struct{ *gorillasession.Store }

func (s ginStore) Options(o ginsessions.Options) { s.Store.Options = o.ToGorillaOptions() }

// ginProgram is that of the documentation of gin-contrib/sessions, with sign-out
// and flashes.
func ginProgram(store ginsessions.Store) http.Handler {
	store.Options(ginsessions.Options{Path: "/", MaxAge: 3600, HttpOnly: true})
	e := gin.New()
	e.Use(ginsessions.Sessions("mysession", store))
	e.GET("/incr", func(c *gin.Context) {
		s := ginsessions.Default(c)
		n, _ := s.Get("count").(int)
		s.Set("count", n+1)
		s.AddFlash(fmt.Sprint("now ", n+1))
		if err := s.Save(); err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
			return
		}
		c.Redirect(http.StatusSeeOther, "/")
	})
	e.GET("/", func(c *gin.Context) {
		s := ginsessions.Default(c)
		flashes := s.Flashes()
		if err := s.Save(); err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
			return
		}
		c.String(http.StatusOK, "%v %v", s.Get("count"), flashes)
	})
	e.GET("/clear", func(c *gin.Context) {
		s := ginsessions.Default(c)
		s.Clear()
		_ = s.Save()
		c.String(http.StatusOK, "%v", s.Get("count"))
	})
	e.GET("/remember", func(c *gin.Context) {
		s := ginsessions.Default(c)
		s.Options(ginsessions.Options{Path: "/", MaxAge: 7200})
		_ = s.Save()
	})
	e.GET("/logout", func(c *gin.Context) {
		s := ginsessions.Default(c)
		s.Options(ginsessions.Options{Path: "/", MaxAge: -1})
		_ = s.Save()
		c.Redirect(http.StatusSeeOther, "/")
	})
	return e
}

func TestGinContribSessions(t *testing.T) {
	walk := func(t *testing.T, h http.Handler) *client {
		srv := serve(t, h)
		c := newClient(t)
		c.shows(srv.URL, "<nil> []")
		c.shows(srv.URL+"/incr", "1 [now 1]")
		c.shows(srv.URL, "1 []")
		c.shows(srv.URL+"/incr", "2 [now 2]")
		newClient(t).shows(srv.URL, "<nil> []")
		c.shows(srv.URL+"/clear", "<nil>")
		c.shows(srv.URL, "<nil> []")
		c.shows(srv.URL+"/incr", "1 [now 1]")
		c.shows(srv.URL+"/logout", "<nil> []")
		c.shows(srv.URL, "<nil> []")
		c.shows(srv.URL+"/incr", "1 [now 1]")
		return c
	}
	t.Run("with its own store", func(t *testing.T) { walk(t, ginProgram(cookie.NewStore([]byte("a key of 32 bytes, for the tests")))) })
	inBoth(t, func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler) {
		m := newManager(t, nil)
		walk(t, around(m, ginProgram(ginStore{gorillasession.New(m)})))
		// What the options say holds: the life of the session is that of its cookie.
		want := `{"cookie":{"originalMaxAge":3600000},"mysession:_flash":[],"mysession:count":1}`
		if got := data(t, m); !containsLine(got, want) {
			t.Errorf("the sessions are\n%s\nwithout\n%s", got, want)
		}
	})
	inBoth(t, func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler) {
		store, faults := failing()
		m := newManager(t, store)
		srv := serve(t, around(m, ginProgram(ginStore{gorillasession.New(m)})))
		c := newClient(t)
		c.shows(srv.URL+"/incr", "1 [now 1]")
		c.get(srv.URL + "/remember")
		if left := c.cookie(srv, "session"); left == "" {
			t.Error("the cookie is gone")
		}
		// gin-contrib logs errors and goes on.
		faults.Fail("load", http.ErrServerClosed)
		if status, text := c.get(srv.URL); status < 500 {
			t.Errorf("a store that is down: %d %s", status, text)
		}
	})
}

func TestGinContribSessionsMany(t *testing.T) {
	inBoth(t, func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler) {
		m := newManager(t, nil)
		e := gin.New()
		e.Use(ginsessions.SessionsMany([]string{"a", "b"}, ginStore{gorillasession.New(m)}))
		e.GET("/", func(c *gin.Context) {
			a, b := ginsessions.DefaultMany(c, "a"), ginsessions.DefaultMany(c, "b")
			n, _ := a.Get("n").(int)
			a.Set("n", n+1)
			b.Set("n", -n)
			if a.Save() != nil || b.Save() != nil {
				t.Error("Save")
			}
			c.String(http.StatusOK, "%d %v %t", n, b.Get("n"), a.ID() == b.ID())
		})
		srv := serve(t, around(m, e))
		c := newClient(t)
		c.shows(srv.URL, "0 0 true")
		c.shows(srv.URL, "1 -1 true")
		c.shows(srv.URL, "2 -2 true")
	})
}
