package pages

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// FreeAddr returns an address of this machine for a program to listen on. Nobody
// takes it before the program does: the port is below those that the system gives
// to whoever asks for any.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	const low, high = 10240, 32768
	for range 1000 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(low+rand.IntN(high-low))))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	tb.Fatal("there is no free port")
	return ""
}
