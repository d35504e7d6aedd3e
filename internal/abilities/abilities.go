// Package abilities makes stores that wrap others and have just the abilities
// that those have. A manager, and whoever else uses a store, goes by the methods
// that are there.
package abilities

import "github.com/coatcheck/session"

// A Base is what every wrapper has: the store itself, and what it says of the
// one that it wraps.
type Base interface {
	session.Store
	session.Warner
	session.ExpressStore
	session.ParcelStore
}

type (
	toucher = session.Toucher
	lister  = session.Lister
	sweeper = session.Sweeper
	pinger  = session.Pinger
)

// Join returns a store with the methods of base and of those of the others that
// are not nil.
func Join(base Base, t session.Toucher, l session.Lister, w session.Sweeper, p session.Pinger) session.Store {
	switch [4]bool{t != nil, l != nil, w != nil, p != nil} {
	case [4]bool{true, true, true, true}:
		return struct {
			Base
			toucher
			lister
			sweeper
			pinger
		}{base, t, l, w, p}
	case [4]bool{true, true, true, false}:
		return struct {
			Base
			toucher
			lister
			sweeper
		}{base, t, l, w}
	case [4]bool{true, true, false, true}:
		return struct {
			Base
			toucher
			lister
			pinger
		}{base, t, l, p}
	case [4]bool{true, true, false, false}:
		return struct {
			Base
			toucher
			lister
		}{base, t, l}
	case [4]bool{true, false, true, true}:
		return struct {
			Base
			toucher
			sweeper
			pinger
		}{base, t, w, p}
	case [4]bool{true, false, true, false}:
		return struct {
			Base
			toucher
			sweeper
		}{base, t, w}
	case [4]bool{true, false, false, true}:
		return struct {
			Base
			toucher
			pinger
		}{base, t, p}
	case [4]bool{true, false, false, false}:
		return struct {
			Base
			toucher
		}{base, t}
	case [4]bool{false, true, true, true}:
		return struct {
			Base
			lister
			sweeper
			pinger
		}{base, l, w, p}
	case [4]bool{false, true, true, false}:
		return struct {
			Base
			lister
			sweeper
		}{base, l, w}
	case [4]bool{false, true, false, true}:
		return struct {
			Base
			lister
			pinger
		}{base, l, p}
	case [4]bool{false, true, false, false}:
		return struct {
			Base
			lister
		}{base, l}
	case [4]bool{false, false, true, true}:
		return struct {
			Base
			sweeper
			pinger
		}{base, w, p}
	case [4]bool{false, false, true, false}:
		return struct {
			Base
			sweeper
		}{base, w}
	case [4]bool{false, false, false, true}:
		return struct {
			Base
			pinger
		}{base, p}
	}
	return base
}

// Warning is what a wrapper passes on of the store that it wraps.
func Warning(store session.Store) string {
	if w, ok := store.(session.Warner); ok {
		return w.Warning()
	}
	return ""
}

// ExpressLayout is what a wrapper passes on of the store that it wraps.
func ExpressLayout(store session.Store) bool {
	e, ok := store.(session.ExpressStore)
	return ok && e.ExpressLayout()
}

// KeepsParcels is what a wrapper passes on of the store that it wraps.
func KeepsParcels(store session.Store) bool {
	p, ok := store.(session.ParcelStore)
	return ok && p.KeepsParcels()
}
