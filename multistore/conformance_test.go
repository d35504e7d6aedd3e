package multistore_test

import (
	"errors"
	"testing"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/filestore"
	"github.com/coatcheck/session/memstore"
	"github.com/coatcheck/session/multistore"
	"github.com/coatcheck/session/sessiontest"
)

func open(t testing.TB, old, new session.Store, opts multistore.Options) *multistore.Store {
	t.Helper()
	s, err := multistore.New(old, new, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func memory(testing.TB) session.Store { return memstore.New(nil) }

func files(t testing.TB) session.Store {
	s, err := filestore.New(t.TempDir(), &filestore.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A pair is two stores, and one that moves.
type pair struct{ old, new session.Store }

// The suite in each phase, and with a second process in each of its neighbours.
func TestConformance(t *testing.T) {
	for _, p := range []multistore.Phase{multistore.OldOnly, multistore.OldFirst, multistore.NewFirst, multistore.NewOnly} {
		for _, peer := range []multistore.Phase{p - 1, p, p + 1} {
			if peer < multistore.OldOnly || peer > multistore.NewOnly || peer == multistore.OldHeld || peer == multistore.NewHeld {
				continue
			}
			for name, old := range map[string]func(t testing.TB) session.Store{"memory": memory, "files": files} {
				if name == "files" && (testing.Short() || p != peer) {
					continue
				}
				t.Run(p.String()+" beside "+peer.String()+" from "+name, func(t *testing.T) {
					t.Parallel()
					conform(t, old, memory, multistore.Options{Phase: p, Move: "m"}, multistore.Options{Phase: peer, Move: "m", CompareEvery: 2})
				})
			}
		}
	}
}

func conform(t *testing.T, old, new func(t testing.TB) session.Store, here, there multistore.Options) {
	pairs := map[session.Store]pair{}
	sessiontest.Suite{
		New: func(t *testing.T) session.Store {
			p := pair{old(t), new(t)}
			s := open(t, p.old, p.new, here)
			pairs[s] = p
			return s
		},
		Peer: func(t *testing.T, store session.Store) session.Store {
			return open(t, pairs[store].old, pairs[store].new, there)
		},
	}.Run(t)
}

// Whatever the follower does, nobody notices.
func TestConformanceWithBadFollower(t *testing.T) {
	errDown := errors.New("the server is down")
	ops := []string{"load", "save", "touch", "delete", "list", "sweep", "ping"}
	for name, spoil := range map[string]func(f *sessiontest.Faults, op string){
		"that is down":       func(f *sessiontest.Faults, op string) { f.Fail(op, errDown) },
		"whose answers fail": func(f *sessiontest.Faults, op string) { f.LoseAnswer(op, errDown) },
	} {
		for _, p := range []multistore.Phase{multistore.OldFirst, multistore.NewFirst} {
			t.Run(p.String()+" with a follower "+name, func(t *testing.T) {
				t.Parallel()
				bad := func(t testing.TB) session.Store {
					faults := new(sessiontest.Faults)
					for _, op := range ops {
						spoil(faults, op)
					}
					return faults.Wrap(memstore.New(nil))
				}
				old, new := memory, bad
				if p == multistore.NewFirst {
					old, new = bad, memory
				}
				opts := multistore.Options{Phase: p, CompareEvery: 3}
				conform(t, old, new, opts, opts)
			})
		}
	}
}
