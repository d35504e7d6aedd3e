package express

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Tally counts what a run found.
type Tally struct {
	Scenarios, Requests int
	EqualRequests       int
	EqualScenarios      int
	Fired               map[string]int // requests that differ by each rule
	ByRules             int            // scenarios with a difference
}

// A Difference is one that no rule explains.
type Difference struct {
	Scenario Scenario
	Step     int
	World    World
	Express  *Result
	Want     *Result // Express, changed by the rules
	Ours     *Result
	Rules    []string
	Errors   []string
}

func (d *Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %s, following %s, request %d of %d\n", d.Scenario.Seed, d.Scenario.Follow, d.Step+1, len(d.Scenario.Steps))
	for i := range d.Scenario.Steps {
		fmt.Fprintf(&b, "  request %d: %s\n", i+1, d.Scenario.Steps[i].String())
	}
	fmt.Fprintf(&b, "  before: now %d, Cookie %q\n", d.World.Now, d.World.Cookie)
	for _, r := range d.World.Store {
		fmt.Fprintf(&b, "    %s until %d: %s\n", r.ID, r.Expires, r.Data)
	}
	fmt.Fprintf(&b, "  Express: %v %q\n", d.Express, d.Errors)
	fmt.Fprintf(&b, "  wanted:  %v by %v\n", d.Want, d.Rules)
	fmt.Fprintf(&b, "  ours:    %v\n", d.Ours)
	return b.String()
}

func (r *Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d aborted=%v %q trace %q ops %q (%s)", r.Status, r.Aborted, r.SetCookie, r.Trace, r.Ops, r.Calls)
	for _, s := range r.Store {
		fmt.Fprintf(&b, "\n    %s until %d: %s", s.ID, s.Expires, s.Data)
	}
	return b.String()
}

// A client is a scenario on its way.
type client struct {
	sc    *Scenario
	jar   Jar
	world World
	fired map[string]bool
	step  int     // the number of the request
	first *Answer // what Express made of it
	trial *trial  // and of what the rules made of it
	done  bool
}

// A Differ runs scenarios on both sides.
type Differ struct {
	Peer *Peer
	Off  string // the name of a rule that is left out
}

func (d *Differ) rules(rewriting bool) []*Rule {
	var list []*Rule
	for i := range Rules {
		if r := &Rules[i]; r.Name != d.Off && (rewriting && r.Rewrite != nil || !rewriting && r.Change != nil) {
			list = append(list, r)
		}
	}
	return list
}

// Run runs scenarios, all side by side, and returns what is not explained, at
// most one difference a scenario.
func (d *Differ) Run(scenarios []Scenario, tally *Tally) ([]*Difference, error) {
	var found []*Difference
	clients := make([]*client, len(scenarios))
	longest := 0
	for i := range scenarios {
		clients[i] = &client{sc: &scenarios[i], world: World{Now: start}, fired: map[string]bool{}}
		longest = max(longest, len(scenarios[i].Steps))
	}
	for n := range longest {
		var active []*client
		for _, c := range clients {
			if !c.done && n < len(c.sc.Steps) {
				c.begin(n)
				active = append(active, c)
			}
		}
		if err := d.ask(active); err != nil {
			return nil, err
		}
		for _, c := range active {
			diff, err := d.compare(c, n, tally)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.sc.Seed, err)
			}
			if diff != nil {
				found = append(found, diff)
				c.done = true
			}
		}
	}
	for _, c := range clients {
		tally.Scenarios++
		if len(c.fired) == 0 {
			tally.EqualScenarios++
		} else {
			tally.ByRules++
		}
	}
	return found, nil
}

// begin readies the world for a step.
func (c *client) begin(n int) {
	step := &c.sc.Steps[n]
	c.world.Now += step.Wait
	c.world.Cookie = step.present(&c.jar, c.world.Now)
	c.world.IDs = c.sc.IDs(n)
}

// A trial is a question to Express that rules have rewritten.
type trial struct {
	step  *Step
	world *World
	e     *Answer
	rules []string
}

// ask puts the steps to Express, and then again as the rules rewrite them.
func (d *Differ) ask(clients []*client) error {
	trials := make([]*trial, len(clients))
	for i, c := range clients {
		trials[i] = &trial{step: &c.sc.Steps[c.step], world: clone(&c.world)}
	}
	if err := d.answer(trials); err != nil {
		return err
	}
	for i, c := range clients {
		c.first = trials[i].e
		c.trial = trials[i]
	}
	for _, rule := range d.rules(true) {
		var again []*trial
		var before []*Answer
		for _, t := range trials {
			step, world := rule.Rewrite(newFacts(t.step, t.world, t.e))
			if step == nil {
				continue
			}
			t.step, t.world = step, world
			before = append(before, t.e)
			again = append(again, t)
		}
		if err := d.answer(again); err != nil {
			return err
		}
		for i, t := range again {
			if t.step.Aborts || !equal(before[i].result(), t.e.result()) {
				t.rules = append(t.rules, rule.Name)
			}
		}
	}
	return nil
}

func (d *Differ) answer(trials []*trial) error {
	questions := make([]*Question, len(trials))
	for i, t := range trials {
		questions[i] = Ask(t.step, t.world)
	}
	answers, err := d.Peer.Answers(questions)
	for i := range answers {
		trials[i].e = answers[i]
	}
	return err
}

func (e *Answer) result() *Result {
	return &Result{Status: e.Status, SetCookie: slices.Clone(e.SetCookie), Store: slices.Clone(e.Store), Ops: e.Ops, Trace: slices.Clone(e.Trace)}
}

// equal compares what users, clients and other programs can see.
func equal(a, b *Result) bool {
	if a.Aborted || b.Aborted { // what a handler saw that failed is of no account
		return a.Aborted == b.Aborted && slices.Equal(a.SetCookie, b.SetCookie) && sameStore(a.Store, b.Store)
	}
	return a.Status == b.Status && slices.Equal(a.SetCookie, b.SetCookie) &&
		(a.Status == 500 || slices.Equal(a.Trace, b.Trace) && a.Calls == b.Calls) && sameStore(a.Store, b.Store)
}

func sameStore(a, b []Stored) bool {
	byID := func(x []Stored) map[string]Stored {
		m := map[string]Stored{}
		for _, s := range x {
			m[s.ID] = s
		}
		return m
	}
	return reflect.DeepEqual(byID(a), byID(b))
}

// compare runs ours and judges.
func (d *Differ) compare(c *client, n int, tally *Tally) (*Difference, error) {
	step := &c.sc.Steps[n]
	ours, err := Ours(step, &c.world)
	if err != nil {
		return nil, err
	}
	express := c.first.result()
	want := c.trial.e.result()
	want.Aborted = c.trial.step.Aborts
	fired := slices.Compact(c.trial.rules)
	facts := newFacts(c.trial.step, c.trial.world, c.trial.e)
	for _, r := range []*Result{express, want, ours} {
		r.count(facts.counted())
	}
	for _, rule := range d.rules(false) {
		before := *want
		before.Store = slices.Clone(want.Store)
		rule.Change(facts, want)
		if !equal(&before, want) && !slices.Contains(fired, rule.Name) {
			fired = append(fired, rule.Name)
		}
	}
	tally.Requests++
	if !equal(ours, want) {
		return &Difference{*c.sc, n, c.world, express, want, ours, fired, c.first.Errors}, nil
	}
	if equal(express, ours) {
		tally.EqualRequests++
	} else {
		for _, name := range fired {
			tally.Fired[name]++
			c.fired[name] = true
		}
	}
	next := ours
	if c.sc.Follow == "express" {
		next = express
	}
	c.world.Store = slices.Clone(next.Store)
	for _, line := range next.SetCookie {
		c.jar.Take(line, c.world.Now, step.clientSecure())
	}
	// The handler may have moved the clock.
	for _, m := range c.first.Marks {
		if !step.Drift {
			c.world.Now = max(c.world.Now, m.T)
		}
	}
	c.step++
	return nil, nil
}
