package servers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A scripted is a server that does what the test says, behind a proxy.
type scripted struct {
	t      *testing.T
	proxy  *ProxyServer
	client net.Conn
	server net.Conn
}

// script returns the two ends of a connection through a proxy.
func script(t *testing.T) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &scripted{t: t, proxy: Proxy(t, l.Addr().String())}
	s.client, s.server = s.connect(l)
	return s
}

func (s *scripted) connect(l net.Listener) (client, server net.Conn) {
	s.t.Helper()
	client, err := net.Dial("tcp", s.proxy.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		s.t.Fatal(err)
	}
	for _, conn := range []net.Conn{client, server} {
		conn.SetDeadline(time.Now().Add(startTimeout))
		s.t.Cleanup(func() { conn.Close() })
	}
	return client, server
}

// say sends text from one end and waits until the other one has it.
func (s *scripted) say(from, to net.Conn, text string) {
	s.t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		s.t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		s.t.Fatalf("%q arrived as %q (%v)", text, got, err)
	}
}

func (s *scripted) ask(text string)    { s.t.Helper(); s.say(s.client, s.server, text) }
func (s *scripted) answer(text string) { s.t.Helper(); s.say(s.server, s.client, text) }

func TestProxyCountsTurns(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		talk func(s *scripted)
		want int
	}{
		{"nobody says anything", func(s *scripted) {}, 0},
		{"the server greets", func(s *scripted) { s.answer("hello") }, 0},
		{"a question and its answer", func(s *scripted) { s.ask("?"); s.answer("!") }, 1},
		{"a greeting, a question and its answer", func(s *scripted) { s.answer("hello"); s.ask("?"); s.answer("!") }, 1},
		{"a question without an answer", func(s *scripted) { s.ask("?") }, 0},
		{"a question in pieces", func(s *scripted) { s.ask("?"); s.ask("?"); s.ask("?"); s.answer("!") }, 1},
		{"an answer in pieces", func(s *scripted) { s.ask("?"); s.answer("!"); s.answer("!"); s.answer("!") }, 1},
		{"three questions, each after the answer to the one before", func(s *scripted) {
			for range 3 {
				s.ask("?")
				s.answer("!")
			}
		}, 3},
		{"much at once", func(s *scripted) {
			much := strings.Repeat("much ", 1<<12)
			s.ask(much)
			s.answer(much)
		}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := script(t)
			if got := s.proxy.Count(func() { row.talk(s) }); got != row.want {
				t.Errorf("%d turns, want %d", got, row.want)
			}
		})
	}
}

func TestProxyCountsAllConnections(t *testing.T) {
	t.Parallel()
	redis := Redis(t)
	proxy := Proxy(t, redis.Addr)
	for i := range 3 {
		if got := redisMust(t, proxy.Addr, "PING"); got != "PONG" {
			t.Errorf("through the proxy Redis answers %q", got)
		}
		if got := proxy.Turns(); got != i+1 {
			t.Errorf("%d turns, want %d", got, i+1)
		}
	}
	conn, err := net.Dial("tcp", proxy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	if turns := proxy.Count(func() {
		fmt.Fprint(conn, strings.Repeat("PING\r\n", 100))
		for range 100 {
			if line, err := lines.ReadString('\n'); err != nil || line != "+PONG\r\n" {
				t.Errorf("Redis answers %q (%v)", line, err)
			}
		}
	}); turns != 1 {
		t.Errorf("a hundred questions in one breath are %d turns, want 1", turns)
	}
}

func TestProxyEndsConnections(t *testing.T) {
	t.Parallel()
	ended := func(t *testing.T, conn net.Conn) {
		t.Helper()
		conn.SetDeadline(time.Now().Add(startTimeout))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes (%v), want the end of the connection", n, err)
		} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Error("the connection is still open")
		}
	}
	t.Run("when the client ends it", func(t *testing.T) {
		s := script(t)
		s.client.Close()
		ended(t, s.server)
	})
	t.Run("when the server ends it", func(t *testing.T) {
		s := script(t)
		s.server.Close()
		ended(t, s.client)
	})
	t.Run("when the test ends", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := &scripted{t: t}
		t.Run("use", func(t *testing.T) {
			s.proxy = Proxy(t, l.Addr().String())
			s.client, s.server = s.connect(l)
			s.ask("?")
		})
		ended(t, s.client)
		ended(t, s.server)
		if dialable(s.proxy.Addr) {
			t.Error("the proxy still listens")
		}
	})
	t.Run("when the server is down, and is used again when it is up", func(t *testing.T) {
		redis := Redis(t)
		proxy := Proxy(t, redis.Addr)
		redis.Kill()
		conn, err := net.Dial("tcp", proxy.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ended(t, conn)
		redis.Restart()
		redisMust(t, proxy.Addr, "PING")
	})
}
