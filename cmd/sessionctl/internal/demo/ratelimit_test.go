package demo

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := newLimiter(3, 10*time.Second, 100, func() time.Time { return now })
	for i := range 3 {
		if wait := l.take("a"); wait != 0 {
			t.Fatalf("use %d has to wait %v", i+1, wait)
		}
	}
	if wait := l.take("a"); wait != 10*time.Second {
		t.Errorf("the use after the burst has to wait %v, want 10s", wait)
	}
	if wait := l.take("b"); wait != 0 {
		t.Errorf("another key has to wait %v", wait)
	}
	now = now.Add(4 * time.Second)
	if wait := l.take("a"); wait != 6*time.Second {
		t.Errorf("after 4s the wait is %v, want 6s", wait)
	}
	now = now.Add(6 * time.Second)
	if wait := l.take("a"); wait != 0 {
		t.Errorf("after the wait there is another: %v", wait)
	}
	if l.take("a") == 0 {
		t.Error("one interval allows two uses")
	}
	now = now.Add(time.Hour)
	for range 3 {
		if wait := l.take("a"); wait != 0 {
			t.Errorf("after an hour the burst is not back: %v", wait)
		}
	}
	if l.take("a") == 0 {
		t.Error("after an hour the burst is larger than before")
	}
	l.forget("a")
	if wait := l.take("a"); wait != 0 {
		t.Errorf("what was forgotten has to wait %v", wait)
	}
	l.forget("never seen")
}

func TestLimiterIsBounded(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := newLimiter(1, time.Minute, 10, func() time.Time { return now })
	l.take("busy")
	for i := range 1000 {
		l.take(strconv.Itoa(i))
		if l.take("busy") == 0 {
			t.Fatal("a key in use was forgotten for others")
		}
	}
	if len(l.byKey) != 10 || l.recent.Len() != 10 {
		t.Errorf("the table has %d keys and %d entries, want 10", len(l.byKey), l.recent.Len())
	}
}

func TestAddressLimit(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	a := newAttempts(func() time.Time { return now })
	r := &http.Request{RemoteAddr: "192.0.2.1:1234"}
	for i := range 60 {
		if wait := a.take(r, "user"+strconv.Itoa(i)); wait > 0 {
			t.Fatalf("attempt %d has to wait %v", i+1, wait)
		}
	}
	if a.take(r, "another") == 0 {
		t.Error("one address can try as many names as it likes")
	}
	if wait := a.take(&http.Request{RemoteAddr: "192.0.2.2:1234"}, "another"); wait > 0 {
		t.Errorf("another address has to wait %v", wait)
	}
}

func TestClientAddress(t *testing.T) {
	for _, c := range []struct{ name, remote, want string }{
		{"IPv4 is the address", "192.0.2.1:1234", "192.0.2.1"},
		{"IPv6 is the network", "[2001:db8:1:2:3:4:5:6]:1234", "2001:db8:1:2::/64"},
		{"a zone does not count", "[fe80::1%eth0]:1234", "fe80::/64"},
		{"IPv4 in IPv6 is IPv4", "[::ffff:192.0.2.1]:1234", "192.0.2.1"},
		{"what is no address is itself", "pipe", "pipe"},
		{"what has no address in it is its host", "host:1", "host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := clientAddress(&http.Request{RemoteAddr: c.remote}); got != c.want {
				t.Errorf("clientAddress(%q) = %q, want %q", c.remote, got, c.want)
			}
		})
	}
}
