package adapters

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gorilla/sessions"
	echosession "github.com/labstack/echo-contrib/session"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	echo5 "github.com/labstack/echo/v5"
	middleware5 "github.com/labstack/echo/v5/middleware"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/gorillasession"
)

func echo4Framework(file string, g gate) http.Handler {
	e := echo.New()
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true, LogErrorFunc: func(_ echo.Context, err error, _ []byte) error { return err }}))
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := next(c)
			if c.Path() == "/after" {
				count(c.Request())
			}
			return err
		}
	})
	e.GET("/view", func(c echo.Context) error { return c.String(http.StatusOK, fmt.Sprint(count(c.Request()))) })
	e.GET("/json", func(c echo.Context) error { return c.JSON(http.StatusOK, map[string]int{"count": count(c.Request())}) })
	e.GET("/redirect", func(c echo.Context) error {
		count(c.Request())
		return c.Redirect(http.StatusSeeOther, "/count")
	})
	e.GET("/count", func(c echo.Context) error {
		n, _ := counter.Get(session.From(c.Request()))
		return c.String(http.StatusOK, fmt.Sprint(n))
	})
	e.GET("/file", func(c echo.Context) error { count(c.Request()); return c.File(file) })
	e.GET("/nothing", func(c echo.Context) error { count(c.Request()); return c.NoContent(http.StatusNoContent) })
	e.GET("/stream", func(c echo.Context) error {
		_, _ = fmt.Fprintln(c.Response(), count(c.Request()))
		c.Response().Flush()
		g.arrived <- struct{}{}
		<-g.open
		_, _ = fmt.Fprintln(c.Response(), count(c.Request()))
		return nil
	})
	e.GET("/after", func(c echo.Context) error { return c.String(http.StatusOK, "page") })
	e.GET("/hijack", func(c echo.Context) error {
		n := count(c.Request())
		conn, rw, err := c.Response().Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nby hand: %d", n)
		return rw.Flush()
	})
	e.GET("/fail", func(c echo.Context) error {
		count(c.Request())
		return echo.NewHTTPError(http.StatusTeapot, "no coffee")
	})
	e.GET("/panic", func(c echo.Context) error { count(c.Request()); panic("a page panics") })
	e.GET("/login", func(c echo.Context) error {
		session.From(c.Request()).SetSubject("23")
		return c.String(http.StatusOK, "hello")
	})
	e.GET("/late", func(c echo.Context) error {
		_, _ = fmt.Fprintln(c.Response(), "begun")
		c.Response().Flush()
		count(c.Request())
		return nil
	})
	return e
}

func echo5Framework(file string, g gate) http.Handler {
	e := echo5.New()
	e.Use(middleware5.RecoverWithConfig(middleware5.RecoverConfig{DisablePrintStack: true}))
	e.Use(func(next echo5.HandlerFunc) echo5.HandlerFunc {
		return func(c *echo5.Context) error {
			err := next(c)
			if c.Path() == "/after" {
				count(c.Request())
			}
			return err
		}
	})
	e.GET("/view", func(c *echo5.Context) error { return c.String(http.StatusOK, fmt.Sprint(count(c.Request()))) })
	e.GET("/json", func(c *echo5.Context) error {
		return c.JSON(http.StatusOK, map[string]int{"count": count(c.Request())})
	})
	e.GET("/redirect", func(c *echo5.Context) error {
		count(c.Request())
		return c.Redirect(http.StatusSeeOther, "/count")
	})
	e.GET("/count", func(c *echo5.Context) error {
		n, _ := counter.Get(session.From(c.Request()))
		return c.String(http.StatusOK, fmt.Sprint(n))
	})
	e.GET("/file", func(c *echo5.Context) error {
		count(c.Request())
		http.ServeFile(c.Response(), c.Request(), file)
		return nil
	})
	e.GET("/nothing", func(c *echo5.Context) error { count(c.Request()); return c.NoContent(http.StatusNoContent) })
	e.GET("/stream", func(c *echo5.Context) error {
		_, _ = fmt.Fprintln(c.Response(), count(c.Request()))
		if err := http.NewResponseController(c.Response()).Flush(); err != nil {
			return err
		}
		g.arrived <- struct{}{}
		<-g.open
		_, _ = fmt.Fprintln(c.Response(), count(c.Request()))
		return nil
	})
	e.GET("/after", func(c *echo5.Context) error { return c.String(http.StatusOK, "page") })
	e.GET("/hijack", func(c *echo5.Context) error {
		n := count(c.Request())
		conn, rw, err := http.NewResponseController(c.Response()).Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nby hand: %d", n)
		return rw.Flush()
	})
	e.GET("/fail", func(c *echo5.Context) error {
		count(c.Request())
		return echo5.NewHTTPError(http.StatusTeapot, "no coffee")
	})
	e.GET("/panic", func(c *echo5.Context) error { count(c.Request()); panic("a page panics") })
	e.GET("/login", func(c *echo5.Context) error {
		session.From(c.Request()).SetSubject("23")
		return c.String(http.StatusOK, "hello")
	})
	e.GET("/late", func(c *echo5.Context) error {
		_, _ = fmt.Fprintln(c.Response(), "begun")
		if err := http.NewResponseController(c.Response()).Flush(); err != nil {
			return err
		}
		count(c.Request())
		return nil
	})
	return e
}

// The other way, for a group of routes: echo's own wrapper of middlewares.
func TestEchosWrapMiddleware(t *testing.T) {
	m := newManager(t, nil)
	e := echo.New()
	e.GET("/outside", func(c echo.Context) error {
		if _, ok := session.FromContext(c.Request().Context()); ok {
			t.Error("a session outside of the group")
		}
		return nil
	})
	shop := e.Group("/shop", echo.WrapMiddleware(m.Handler))
	shop.GET("/view", func(c echo.Context) error { return c.String(http.StatusOK, fmt.Sprint(count(c.Request()))) })
	srv := serve(t, e)
	c := newClient(t)
	c.get(srv.URL + "/outside")
	c.shows(srv.URL+"/shop/view", "1")
	c.shows(srv.URL+"/shop/view", "2")

	e5 := echo5.New()
	e5.Group("/shop", echo5.WrapMiddleware(m.Handler)).GET("/view", func(c *echo5.Context) error {
		return c.String(http.StatusOK, fmt.Sprint(count(c.Request())))
	})
	srv5 := serve(t, e5)
	c = newClient(t)
	c.shows(srv5.URL+"/shop/view", "1")
	c.shows(srv5.URL+"/shop/view", "2")
}

// echoProgram is that of the documentation of echo-contrib/session, with sign-out
// and flashes.
func echoProgram(store sessions.Store) http.Handler {
	e := echo.New()
	e.Use(echosession.Middleware(store))
	e.GET("/create", func(c echo.Context) error {
		s, err := echosession.Get("session", c)
		if err != nil {
			return err
		}
		s.Options = &sessions.Options{Path: "/", MaxAge: 86400 * 7, HttpOnly: true}
		s.Values["foo"] = "bar"
		s.AddFlash("Created.")
		if err := s.Save(c.Request(), c.Response()); err != nil {
			return err
		}
		return c.Redirect(http.StatusSeeOther, "/read")
	})
	e.GET("/read", func(c echo.Context) error {
		s, err := echosession.Get("session", c)
		if err != nil {
			return err
		}
		flashes := s.Flashes()
		if err := s.Save(c.Request(), c.Response()); err != nil {
			return err
		}
		return c.String(http.StatusOK, fmt.Sprintf("foo=%v %v", s.Values["foo"], flashes))
	})
	e.GET("/logout", func(c echo.Context) error {
		s, err := echosession.Get("session", c)
		if err != nil {
			return err
		}
		s.Options.MaxAge = -1
		if err := s.Save(c.Request(), c.Response()); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	return e
}

func TestEchoContribSession(t *testing.T) {
	walk := func(t *testing.T, srvURL string) {
		c := newClient(t)
		c.shows(srvURL+"/create", "foo=bar [Created.]")
		c.shows(srvURL+"/read", "foo=bar []")
		newClient(t).shows(srvURL+"/read", "foo=<nil> []")
		c.get(srvURL + "/logout")
		c.shows(srvURL+"/read", "foo=<nil> []")
	}
	t.Run("with gorilla's store", func(t *testing.T) {
		store := sessions.NewCookieStore([]byte("a key of gorilla's, of 32 bytes."))
		store.Options.Secure, store.Options.SameSite = false, http.SameSiteLaxMode // for plain HTTP
		walk(t, serve(t, echoProgram(store)).URL)
	})
	inBoth(t, func(t *testing.T, around func(*session.Manager, http.Handler) http.Handler) {
		store, faults := failing()
		m := newManager(t, store)
		srv := serve(t, around(m, echoProgram(gorillasession.New(m))))
		walk(t, srv.URL)
		c := newClient(t)
		c.get(srv.URL + "/create")
		faults.Fail("load", http.ErrServerClosed)
		if status, text := c.get(srv.URL + "/read"); status < 500 {
			t.Errorf("a store that is down: %d %s", status, text)
		}
	})
}
