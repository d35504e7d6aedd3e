package interop

import "testing"

var scenarios = []struct {
	name string
	run  func(t *testing.T, p *pair)
}{
	{"one login", oneLogin},
	{"ended on either side", endedOnEitherSide},
	{"sign-in kills the token before it", signInKillsTheTokenBeforeIt},
	{"seen on both sides", seenOnBothSides},
	{"arrays of Express", arraysOfExpress},
	{"bytes survive", bytesSurvive},
	{"signatures with plus and slash", signaturesWithPlusAndSlash},
	{"secrets rotate", secretsRotate},
	{"lifetimes agree", lifetimesAgree},
	{"touch keeps alive", touchKeepsAlive},
	{"the store says when a session ends", theStoreSaysWhenASessionEnds},
	{"writers on both sides", writersOnBothSides},
	{"ours loses nothing to readers", oursLosesNothingToReaders},
	{"a sign-out on Express is final for us", signOutIsFinal},
	{"what Express brings back", whatExpressBringsBack},
	{"revoked everywhere", revokedEverywhere},
	{"Express retires", expressRetires},
}

// TestInterop goes through all scenarios with each layout and kind of cookie.
func TestInterop(t *testing.T) {
	for _, l := range layouts {
		for _, c := range cookies {
			t.Run(l.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				p := newPair(t, l, c.maxAge)
				for _, s := range scenarios {
					t.Run(s.name, func(t *testing.T) {
						here := *p
						here.t = t
						s.run(t, &here)
					})
				}
			})
		}
	}
}
