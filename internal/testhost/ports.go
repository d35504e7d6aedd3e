// Package testhost is what tests that start servers of their own ask of the machine:
// ports that are free, and processes that stand still.
package testhost

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// FreePorts returns ports that nobody listens on at the moment. They lie below the range from which the kernel
// takes the ports of outgoing connections, so that they stay free while a server restarts.
func FreePorts(n int) ([]int, error) {
	const low, high = 10240, 32768
	var ports []int
	for range 1000 {
		port := low + rand.IntN(high-low)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close() // after the last one is found: all are different
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("found only %d of %d free ports", len(ports), n)
}

// FreeAddr returns an address of this machine with such a port.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	ports, err := FreePorts(1)
	if err != nil {
		tb.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
}
