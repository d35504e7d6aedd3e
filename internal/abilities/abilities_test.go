package abilities

import (
	"context"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

type base struct{ session.Store }

func (base) Warning() string     { return "" }
func (base) ExpressLayout() bool { return false }
func (base) KeepsParcels() bool  { return false }

type all struct{}

func (all) Touch(context.Context, string, time.Time, time.Time) error { return nil }
func (all) List(context.Context, session.Query) ([]session.Record, string, error) {
	return nil, "", nil
}
func (all) Sweep(context.Context, time.Time) (int, error) { return 0, nil }
func (all) Ping(context.Context) error                    { return nil }

func TestJoinHasWhatItIsGivenAndNoMore(t *testing.T) {
	for set := range 16 {
		var touch session.Toucher
		var list session.Lister
		var sweep session.Sweeper
		var ping session.Pinger
		if set&1 != 0 {
			touch = all{}
		}
		if set&2 != 0 {
			list = all{}
		}
		if set&4 != 0 {
			sweep = all{}
		}
		if set&8 != 0 {
			ping = all{}
		}
		store := Join(base{}, touch, list, sweep, ping)
		_, touches := store.(session.Toucher)
		_, lists := store.(session.Lister)
		_, sweeps := store.(session.Sweeper)
		_, pings := store.(session.Pinger)
		if got, want := [4]bool{touches, lists, sweeps, pings}, [4]bool{touch != nil, list != nil, sweep != nil, ping != nil}; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}
