package memstore_test

import (
	"testing"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/sessiontest"
)

func TestConformance(t *testing.T) {
	suite := sessiontest.Suite{New: func(t *testing.T) session.Store {
		s := memstore.New(nil)
		t.Cleanup(func() { s.Close() })
		return s
	}}
	suite.Run(t)
	storefacts.Measure(t, "memstore", storefacts.Process, suite)
}
