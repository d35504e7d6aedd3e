package multistore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// A Phase says which store is the authority, whether the other one follows, and
// whether writes wait. The package comment has the table, the rule and the way
// from one to the other.
type Phase int

// The phases, in order: all processes are in the same or in two neighbours.
const (
	OldOnly  Phase = iota // the new store is not used
	OldFirst              // the old store is the authority, the new one follows
	OldHeld               // reads from the old store; writes wait
	NewHeld               // reads from the new store; writes wait
	NewFirst              // the new store is the authority, the old one follows
	NewOnly               // the old store is not used
)

var phaseNames = [...]string{"OldOnly", "OldFirst", "OldHeld", "NewHeld", "NewFirst", "NewOnly"}

func (p Phase) valid() bool { return p >= OldOnly && p <= NewOnly }

// held reports whether writes wait.
func (p Phase) held() bool { return p == OldHeld || p == NewHeld }

// String returns the name of the phase.
func (p Phase) String() string {
	if !p.valid() {
		return fmt.Sprintf("Phase(%d)", int(p))
	}
	return phaseNames[p]
}

// ParsePhase returns the phase with the name, as for a setting.
func ParsePhase(name string) (Phase, error) {
	i := slices.Index(phaseNames[:], name)
	if i < 0 {
		return 0, fmt.Errorf("multistore: there is no phase %q; use OldOnly, OldFirst, OldHeld, NewHeld, NewFirst or NewOnly", name)
	}
	return Phase(i), nil
}

func neighbours(a, b Phase) bool { return a-b == 1 || b-a == 1 }

// Phase returns the phase that the store is in. With [Options.Move], that is the
// one of the options until the first call of a method that has a context.
func (s *Store) Phase() Phase { return s.gate.phase() }

// SetPhase goes on or back to a neighbouring phase, and refuses any other. Calls
// that begin later are of the new phase. It returns when those of former phases
// have ended. If ctx ends before, it returns an error and the store is in the
// new phase nevertheless; calling it again waits again.
//
// With [Options.Move] it records the phase first, and if that fails it does
// nothing else. Then it also refuses a phase that is no neighbour of the recorded
// one, and to go from OldHeld to NewHeld or back before a Copy without an error.
func (s *Store) SetPhase(ctx context.Context, p Phase) error {
	if !p.valid() {
		return errors.New("multistore: there is no such phase")
	}
	if err := s.begin(ctx, "set the phase"); err != nil {
		return err
	}
	from := s.gate.phase()
	if from != p && !neighbours(from, p) {
		return noNeighbour(p, from)
	}
	if err := s.recordPhase(ctx, from, p); err != nil {
		return err
	}
	return s.gate.set(ctx, p)
}

func noNeighbour(p, from Phase) error {
	return fmt.Errorf("multistore: %v is no neighbour of %v; go there phase by phase", p, from)
}

// A gate lets calls pass, knows how many are inside, and lets writers wait.
type gate struct {
	mu     sync.Mutex
	now    *period
	former []*period // in which calls may be under way
}

// A period is the time from one change of phase to the next.
type period struct {
	phase  Phase
	inside int
	ended  chan struct{} // closed when the next period has begun
	left   chan struct{} // closed when, besides, nobody is inside
}

func newPeriod(p Phase) *period {
	return &period{phase: p, ended: make(chan struct{}), left: make(chan struct{})}
}

func (g *gate) open(p Phase) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = newPeriod(p)
}

func (g *gate) phase() Phase {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now.phase
}

// read lets a reader pass, who calls leave in the end.
func (g *gate) read() (p Phase, leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.enter()
}

// write lets a writer pass as soon as writes are not held.
func (g *gate) write(ctx context.Context) (p Phase, leave func(), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		g.mu.Lock()
		if !g.now.phase.held() {
			p, leave := g.enter()
			g.mu.Unlock()
			return p, leave, nil
		}
		ended := g.now.ended
		g.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
}

func (g *gate) enter() (Phase, func()) {
	in := g.now
	in.inside++
	return in.phase, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if in.inside--; in.inside == 0 && in != g.now {
			close(in.left)
		}
	}
}

func (g *gate) set(ctx context.Context, p Phase) error {
	g.mu.Lock()
	old := g.now
	switch {
	case p == old.phase:
	case neighbours(p, old.phase):
		g.now = newPeriod(p)
		g.former = append(g.former, old)
		close(old.ended)
		if old.inside == 0 {
			close(old.left)
		}
	default:
		g.mu.Unlock()
		return noNeighbour(p, old.phase)
	}
	former := slices.Clone(g.former)
	g.mu.Unlock()

	for _, period := range former {
		select {
		case <-period.left:
		case <-ctx.Done():
			return fmt.Errorf("multistore: the phase is %v now, but calls of the one before are under way: %w", p, ctx.Err())
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.former = slices.DeleteFunc(g.former, func(p *period) bool { return slices.Contains(former, p) })
	return nil
}
