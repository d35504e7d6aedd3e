package sessiontest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

func TestReferenceKeepsContract(t *testing.T) {
	Suite{
		New:    func(t *testing.T) session.Store { return newReference() },
		Reopen: func(t *testing.T, s session.Store) session.Store { return s.(*reference).again() },
		Peer:   func(t *testing.T, s session.Store) session.Store { return s.(*reference).again() },
		Outage: func(t *testing.T, s session.Store) func() { return s.(*reference).outage() },
	}.Run(t)
}

func TestStoreWithoutCapabilities(t *testing.T) {
	t.Parallel()
	TestStore(t, func(t *testing.T) session.Store { return struct{ session.Store }{newReference()} })
}

func TestReport(t *testing.T) {
	whole := Suite{}.abilities(newReference()).report()
	if want := "capabilities: touch, list, sweep, ping, close, subject; absent: reopen, peer, outage; so not run: reopen, "; !strings.HasPrefix(whole, want) {
		t.Errorf("the report of the reference is\n%s\nwant it to begin\n%s", whole, want)
	}
	bare := Suite{Layout: Layout{NoSubject: true}}.abilities(struct{ session.Store }{newReference()}).report()
	if want := "capabilities: ; absent: touch, list, sweep, ping, close, subject, "; !strings.HasPrefix(bare, want) {
		t.Errorf("the report of a store that has nothing is\n%s\nwant it to begin\n%s", bare, want)
	}
}

func TestCases(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range allCases() {
		if seen[c.name] {
			t.Errorf("two cases are named %s", c.name)
		}
		seen[c.name] = true
		if !strings.HasSuffix(c.rule, ".") {
			t.Errorf("the rule of %s is not a sentence: %s", c.name, c.rule)
		}
	}
}

func TestAwkwardNamesDiffer(t *testing.T) {
	for what, names := range map[string][]string{"ID": awkwardIDs(), "subject": awkwardSubjects} {
		most := map[string]int{"ID": 128, "subject": 255}[what]
		slices.Sort(names)
		for i, name := range names {
			if i > 0 && names[i-1] == name {
				t.Errorf("the %s %q appears twice", what, name)
			}
			if len(name) == 0 || len(name) > most {
				t.Errorf("the %s %q has %d bytes", what, name, len(name))
			}
		}
	}
}

// A narrow store has a layout with no place for most things, rounds Expires up
// to seconds, and refuses IDs with a slash.
type narrow struct{ *reference }

func (s narrow) Save(ctx context.Context, rec *session.Record) (uint64, error) {
	if strings.Contains(rec.ID, "/") {
		return 0, errDown
	}
	kept := *rec
	kept.Created, kept.LastSeen, kept.Subject = time.Time{}, time.Time{}, ""
	kept.Expires = roundUp(kept.Expires)
	return s.reference.Save(ctx, &kept)
}

func (s narrow) Touch(ctx context.Context, id string, _, expires time.Time) error {
	return s.reference.Touch(ctx, id, time.Time{}, roundUp(expires))
}

func roundUp(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

func TestNarrowLayout(t *testing.T) {
	t.Parallel()
	Suite{
		New: func(t *testing.T) session.Store { return narrow{newReference()} },
		Layout: Layout{
			NoCreated: true, NoLastSeen: true, NoSubject: true,
			ExpiresPrecision: time.Second,
			ValidID:          func(id string) bool { return !strings.Contains(id, "/") },
		},
	}.Run(t)
}

func TestRefusedIDs(t *testing.T) {
	layout := Layout{ValidID: func(id string) bool { return !strings.Contains(id, "/") }}
	i := slices.IndexFunc(allCases(), func(c testCase) bool { return c.name == "id-refused" })
	rec := new(recorder)
	e, cancel := newEnv(t.Context(), rec, newReference(), layout)
	defer cancel()
	if err := rec.run(allCases()[i], e); err == nil {
		t.Error("a store that takes an ID that its layout cannot keep passes id-refused")
	}
}
