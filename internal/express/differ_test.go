package express

import (
	"flag"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 1, "seed of the random scenarios; 0 takes one from the clock")
	countFlag = flag.Int("scenarios", 4000, "number of random scenarios")
	onlyFlag  = flag.Bool("random-only", false, "leave out the systematic scenarios")
)

// TestDifferential runs express-session and ours side by side.
func TestDifferential(t *testing.T) {
	peer := startPeer(t)
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano() % 1e6)
	}
	var scenarios []Scenario
	if !*onlyFlag {
		scenarios = Systematic()
	}
	for i := range *countFlag {
		scenarios = append(scenarios, Random(seed, i))
	}
	d := &Differ{Peer: peer}
	tally := &Tally{Fired: map[string]int{}}
	bad := 0
	for len(scenarios) > 0 {
		n := min(500, len(scenarios))
		found, err := d.Run(scenarios[:n], tally)
		if err != nil {
			t.Fatal(err)
		}
		scenarios = scenarios[n:]
		bad += len(found)
		for _, diff := range found[:min(len(found), 3)] {
			t.Errorf("a difference that no rule explains (-seed %d):\n%s", seed, d.Shrink(diff))
		}
		if bad > 10 {
			t.Fatal("too many differences; the rest was not run")
		}
	}
	t.Logf("seed %d: %d scenarios, %d requests (%d equal), %d scenarios equal, %d differ by rules:", seed, tally.Scenarios, tally.Requests, tally.EqualRequests, tally.EqualScenarios, tally.ByRules)
	for _, r := range Rules {
		t.Logf("  %-26s %6d", r.Name, tally.Fired[r.Name])
		if tally.Fired[r.Name] == 0 && !*onlyFlag {
			t.Errorf("the rule %s never applied", r.Name)
		}
	}
}

func startPeer(t *testing.T) *Peer {
	t.Helper()
	peer, err := StartPeer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := peer.Close(); err != nil {
			t.Errorf("the Node process: %v", err)
		}
	})
	return peer
}
