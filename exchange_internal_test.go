package session

import (
	"testing"
	"unsafe"
)

// The exchange of a request is one allocation. Beyond this size the next larger
// class of the allocator is a sixth more.
func TestExchangeFitsItsSizeClass(t *testing.T) {
	if size := unsafe.Sizeof(exchange{}); size > 1536 {
		t.Errorf("an exchange has %d bytes", size)
	}
}
