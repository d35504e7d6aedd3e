package demo

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// attempts limits how often passwords may be tried: for one name from one
// address, and in all from one address. The latter is also what keeps somebody
// from pushing his own entry out of the table of the former.
type attempts struct {
	byName, byAddress *limiter
}

func newAttempts(now func() time.Time) *attempts {
	return &attempts{
		byName:    newLimiter(5, 30*time.Second, 10_000, now),
		byAddress: newLimiter(60, 2*time.Second, 10_000, now),
	}
}

// take takes one attempt, or returns how long to wait for the next.
func (a *attempts) take(r *http.Request, name string) (wait time.Duration) {
	address := clientAddress(r)
	if wait := a.byAddress.take(address); wait > 0 {
		return wait
	}
	return a.byName.take(nameKey(address, name))
}

// succeeded gives the attempts for the name back.
func (a *attempts) succeeded(r *http.Request, name string) {
	a.byName.forget(nameKey(clientAddress(r), name))
}

func nameKey(address, name string) string {
	name = strings.ToLower(name)
	if len(name) > maxName {
		name = "" // nobody has such a name, so they all share one entry
	}
	return address + " " + name
}

// clientAddress returns the address that a request came from. Of an IPv6 address
// it is the network, whose addresses one client can choose from.
func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().String()
	}
	return addr.String()
}

// A limiter lets each key do something burst times at once, and then once per
// interval. It keeps a bounded number of keys, and forgets first the one that
// was not used for longest.
type limiter struct {
	burst    int
	interval time.Duration
	most     int
	now      func() time.Time

	mu     sync.Mutex
	byKey  map[string]*list.Element
	recent *list.List // of *usage, the latest first
}

// usage is what one key has done. In free all of it is forgiven: each use moves
// that time one interval on.
type usage struct {
	key  string
	free time.Time
}

func newLimiter(burst int, interval time.Duration, most int, now func() time.Time) *limiter {
	return &limiter{burst: burst, interval: interval, most: most, now: now, byKey: make(map[string]*list.Element), recent: list.New()}
}

// take counts one use and returns zero, or returns how long to wait.
func (l *limiter) take(key string) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	e, ok := l.byKey[key]
	if !ok {
		if l.recent.Len() >= l.most {
			oldest := l.recent.Back()
			delete(l.byKey, l.recent.Remove(oldest).(*usage).key)
		}
		e = l.recent.PushFront(&usage{key: key})
		l.byKey[key] = e
	}
	l.recent.MoveToFront(e)
	u := e.Value.(*usage)
	if u.free.Before(now) {
		u.free = now
	}
	next := u.free.Add(l.interval)
	if wait := next.Sub(now) - time.Duration(l.burst)*l.interval; wait > 0 {
		return wait
	}
	u.free = next
	return 0
}

func (l *limiter) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.byKey[key]; ok {
		l.recent.Remove(e)
		delete(l.byKey, key)
	}
}
