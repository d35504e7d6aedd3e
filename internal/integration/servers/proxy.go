package servers

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// ProxyServer stands between clients and a server, passes on what each says, and counts the turns. A turn is that a
// client has said something and the server answers: what takes a client as long as the network is far. What is said
// in one breath is one turn, however many requests and packets it is, and so is an answer in several pieces. What is
// not answered is none, nor is what the server says of itself.
type ProxyServer struct {
	Addr string // host:port, for clients

	backend string
	turns   atomic.Int64
	done    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// Proxy starts a proxy in front of the server at addr. It ends with the test, and with it the connections through it.
// While the server is down the proxy closes connections at once.
func Proxy(tb testing.TB, addr string) *ProxyServer {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("servers: proxy: %v", err)
	}
	p := &ProxyServer{Addr: l.Addr().String(), backend: addr, conns: make(map[net.Conn]bool)}
	p.done.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			p.done.Go(func() { p.serve(client) })
		}
	})
	tb.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		for conn := range p.conns {
			conn.Close()
		}
		p.mu.Unlock()
		p.done.Wait()
	})
	return p
}

// Turns returns how many turns there have been, on all connections. A turn counts before the client has the answer.
func (p *ProxyServer) Turns() int { return int(p.turns.Load()) }

// Count returns how many turns f takes. Others must be quiet meanwhile.
func (p *ProxyServer) Count(f func()) int {
	before := p.Turns()
	f()
	return p.Turns() - before
}

// Through returns the address of the server in any form, such as a DSN, as that of the proxy.
func (p *ProxyServer) Through(address string) string {
	return strings.ReplaceAll(address, p.backend, p.Addr)
}

func (p *ProxyServer) serve(client net.Conn) {
	if !p.open(client) {
		return
	}
	defer p.close(client)
	server, err := net.Dial("tcp", p.backend)
	if err != nil || !p.open(server) {
		return
	}
	var asked atomic.Bool
	p.done.Go(func() {
		defer p.close(client)
		forward(client, server, func() {
			if asked.Swap(false) {
				p.turns.Add(1)
			}
		})
	})
	defer p.close(server)
	forward(server, client, func() { asked.Store(true) })
}

// open notes a connection that has to be closed at the end. At the end it closes it.
func (p *ProxyServer) open(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *ProxyServer) close(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	conn.Close()
}

// forward passes on what comes, and calls seen before it does.
func forward(to, from net.Conn, seen func()) {
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			seen()
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
