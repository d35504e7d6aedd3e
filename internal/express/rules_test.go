package express

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// one is a scenario of requests with the default options, each changed by with.
func one(with func(s *Step), requests ...[]Action) Scenario {
	sc := Scenario{Seed: "one", Follow: "ours"}
	for _, actions := range requests {
		step := Step{Opts: baseOpts(), Req: get(), Actions: actions, End: "end"}
		with(&step)
		sc.Steps = append(sc.Steps, step)
	}
	return sc
}

func plain(*Step) {}

var (
	setA     = actOn("set", "a", "1")
	setB     = actOn("set", "b", "2")
	nothing  = []Action{}
	persists = func(s *Step) { s.Opts.Cookie.MaxAge = minute; s.Wait = 5000 }
)

// examples has the smallest scenario for each rule.
var examples = map[string]Scenario{
	"path-boundary": one(func(s *Step) { s.Opts.Cookie.Path, s.Req.Path = "/admin", "/administrator" },
		[]Action{actOn("get", "a", "")}, []Action{setA}),
	"auto-in-function": one(func(s *Step) { s.Opts.Cookie.Secure, s.Req.Func = "auto", true }, []Action{setA}),
	"no-drift":         one(func(s *Step) { s.Opts.Cookie.MaxAge, s.Drift = minute, true }, []Action{setA}),
	"past-ends":        one(plain, []Action{setA}, []Action{actOn("maxAge", "", "0")}),
	"ended-twice":      one(plain, []Action{setA}, []Action{act("destroy"), act("destroy")}),
	"every-cookie": {Seed: "one", Follow: "ours", Steps: []Step{
		{Opts: baseOpts(), Req: get(), Actions: []Action{setA}, End: "end"},
		{Opts: baseOpts(), Req: Req{Method: "GET", Path: "/", Cookie: "forged first"}, Actions: []Action{actOn("get", "a", "")}, End: "end"},
	}},
	"save-is-use":         one(persists, []Action{setA}, []Action{setB, act("save")}),
	"too-late":            one(plain, []Action{act("write"), setA}),
	"saved-first":         one(plain, []Action{setA, act("write"), act("null")}),
	"panic-saves-nothing": one(plain, []Action{setA, act("throw")}),
	"failure-keeps-old":   one(plain, []Action{setA}, []Action{act("regenerate"), act("null"), setB}),
	"insecure-fails":      one(func(s *Step) { s.Opts.Cookie.Secure = true }, []Action{setA}),
	"no-orphan":           one(func(s *Step) { s.Opts.Cookie.Secure, s.Opts.SaveUninitialized = true, true }, nothing),
	"key-order":           one(plain, []Action{setA, setB}, []Action{actOn("del", "a", ""), setA}),
	"attribute-is-change": one(plain, []Action{setA}, []Action{actOn("attr", "priority", `"high"`)}),
	"one-instant":         one(func(s *Step) { s.Opts.Cookie.MaxAge = minute }, []Action{setA}, []Action{act("write"), actOn("tick", "", "2500")}),
	"never-back": {Seed: "one", Follow: "express", Steps: []Step{
		{Opts: baseOpts(), Req: get(), Actions: []Action{actOn("maxAge", "", "60000"), setA}, End: "end"},
		{Opts: baseOpts(), Req: get(), Actions: []Action{actOn("maxAge", "", "90000")}, End: "end"},
		{Opts: baseOpts(), Req: get(), Actions: nothing, End: "end", Wait: 10000},
	}},
	"calls-of-store":    one(plain, []Action{setA}, []Action{act("regenerate"), act("save")}),
	"saved-gets-cookie": one(plain, []Action{act("save")}),
	"auto-each-time": {Seed: "one", Follow: "ours", Steps: []Step{
		{Opts: autoRolling(), Req: get(), Actions: []Action{setA}, End: "end"},
		{Opts: autoRolling(), Req: Req{Method: "GET", Path: "/", TLS: true}, Actions: nothing, End: "end"},
	}},
	"options-fill": {Seed: "one", Follow: "ours", Steps: []Step{
		{Opts: baseOpts(), Req: get(), Actions: []Action{setA}, End: "end"},
		{Opts: domainRolling(), Req: get(), Actions: nothing, End: "end"},
	}},
	"browser-follows-store":    one(persists, []Action{setA}, nothing),
	"signed-anew":              one(func(s *Step) { s.Opts.Secret = []string{"new", "old"} }, []Action{setA}, nothing),
	"destroyed-cookie-cleared": one(plain, []Action{setA}, []Action{act("destroy")}),
	"stale-cookie-cleared":     one(func(s *Step) { s.Req.Cookie = "unknown" }, nothing),
	"left-in-store":            one(persists, []Action{setA}, nothing, []Action{act("left")}),
}

func autoRolling() Opts {
	o := baseOpts()
	o.Rolling, o.Cookie.Secure = true, "auto"
	return o
}

func domainRolling() Opts {
	o := baseOpts()
	o.Rolling, o.Cookie.Domain = true, "example.com"
	return o
}

func init() {
	sc := examples["signed-anew"]
	sc.Steps[1].Req.Cookie = "old"
}

// TestRules shows for each rule that it applies to its example and that, without
// it, the example is a difference that nothing explains.
func TestRules(t *testing.T) {
	peer := startPeer(t)
	for _, rule := range Rules {
		t.Run(rule.Name, func(t *testing.T) {
			sc, ok := examples[rule.Name]
			if !ok {
				t.Fatal("the rule has no example")
			}
			tally := &Tally{Fired: map[string]int{}}
			found, err := (&Differ{Peer: peer}).Run([]Scenario{sc}, tally)
			if err != nil {
				t.Fatal(err)
			}
			for _, diff := range found {
				t.Errorf("with all rules: %s", diff)
			}
			if tally.Fired[rule.Name] == 0 {
				t.Errorf("the rule does not apply to its example; these do: %v", tally.Fired)
			}
			found, err = (&Differ{Peer: peer, Off: rule.Name}).Run([]Scenario{sc}, &Tally{Fired: map[string]int{}})
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 {
				t.Error("without the rule nothing differs")
			}
		})
	}
	if len(examples) != len(Rules) {
		t.Errorf("%d examples for %d rules", len(examples), len(Rules))
	}
}

// TestRulesAreDocumented compares the list of rules in docs/express.md with ours.
func TestRulesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/express.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## The rules\n")
	if !ok {
		t.Fatal("docs/express.md has no section \"The rules\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var documented, ours []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\|$").FindAllStringSubmatch(section, -1) {
		documented = append(documented, m[1])
		for i, cell := range m[2:] {
			if len(strings.TrimSpace(cell)) < 10 {
				t.Errorf("rule %s: column %d says nothing", m[1], i+2)
			}
		}
	}
	for _, r := range Rules {
		ours = append(ours, r.Name)
	}
	for _, r := range CookieRules {
		ours = append(ours, r.Name)
	}
	ours = append(ours, responseRules...)
	slices.Sort(documented)
	slices.Sort(ours)
	ours = slices.Compact(ours)
	if !slices.Equal(documented, ours) {
		t.Errorf("the rules in docs/express.md and in the code differ:\ndocs: %q\ncode: %q", documented, ours)
	}
}
