package express

import (
	"encoding/json"
	"slices"
)

// Shrink looks for a smaller scenario with an unexplained difference.
func (d *Differ) Shrink(diff *Difference) *Difference {
	smaller := func(sc Scenario) *Difference {
		found, err := d.Run([]Scenario{sc}, &Tally{Fired: map[string]int{}})
		if err != nil || len(found) == 0 {
			return nil
		}
		return found[0]
	}
	for range 20 {
		next := (*Difference)(nil)
		for _, sc := range diff.Scenario.simpler() {
			if next = smaller(sc); next != nil {
				break
			}
		}
		if next == nil {
			return diff
		}
		diff = next
	}
	return diff
}

// simpler lists scenarios that have one thing less.
func (sc *Scenario) simpler() []Scenario {
	var list []Scenario
	with := func(change func(c *Scenario)) {
		var c Scenario
		text, _ := json.Marshal(sc)
		_ = json.Unmarshal(text, &c)
		change(&c)
		if after, _ := json.Marshal(c); string(after) != string(text) {
			list = append(list, c)
		}
	}
	for i := range sc.Steps {
		if len(sc.Steps) > 1 {
			with(func(c *Scenario) { c.Steps = slices.Delete(c.Steps, i, i+1) })
		}
	}
	for i := range sc.Steps {
		for j := range sc.Steps[i].Actions {
			with(func(c *Scenario) { c.Steps[i].Actions = slices.Delete(c.Steps[i].Actions, j, j+1) })
		}
	}
	all := func(change func(s *Step)) {
		with(func(c *Scenario) {
			for i := range c.Steps {
				change(&c.Steps[i])
			}
		})
	}
	all(func(s *Step) { s.Opts = baseOpts() })
	all(func(s *Step) { s.Req = get() })
	all(func(s *Step) { s.Opts.Resave = false })
	all(func(s *Step) { s.Opts.Rolling = false })
	all(func(s *Step) { s.Opts.SaveUninitialized = false })
	all(func(s *Step) { s.Opts.Proxy = nil })
	all(func(s *Step) { s.Opts.Name = "" })
	all(func(s *Step) { s.Opts.Unset = "" })
	all(func(s *Step) { s.Opts.Secret = []string{"keyboard cat"} })
	all(func(s *Step) { s.Opts.Cookie.Domain = "" })
	all(func(s *Step) { s.Opts.Cookie.Path, s.Req.Path = "/", "/" })
	all(func(s *Step) { s.Opts.Cookie.MaxAge, s.Opts.Cookie.Expires = 0, 0 })
	all(func(s *Step) { s.Opts.Cookie.SameSite, s.Opts.Cookie.Priority = "", "" })
	all(func(s *Step) { s.Opts.Cookie.Secure, s.Opts.Cookie.Partitioned = false, false })
	all(func(s *Step) { s.Opts.Cookie.HTTPOnly = true })
	all(func(s *Step) { s.Req.Method, s.End = "GET", "end" })
	all(func(s *Step) { s.Req.Long, s.Req.Func = false, false })
	all(func(s *Step) { s.Req.TLS, s.Req.AppSecure, s.Req.Forwarded = false, false, "" })
	all(func(s *Step) { s.Wait = 0 })
	return list
}
