package sessiontest

import (
	"testing"

	"github.com/coatcheck/session"
)

func BenchmarkReference(b *testing.B) {
	BenchmarkStore(b, func(b *testing.B) session.Store { return newReference() })
}
