package express

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestBadCookies shows generated Cookie headers to both sides and compares which
// session they take them for.
func TestBadCookies(t *testing.T) {
	peer := startPeer(t)
	headers := BadCookies(*seedFlag, 3000)
	world := World{Now: start, IDs: (&Scenario{Seed: "cookies"}).IDs(0)}
	for _, id := range cookieIDs {
		who, _ := json.Marshal(id)
		world.Store = append(world.Store, Stored{id, `{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"},"who":` + string(who) + `}`, start + day})
	}
	step := Step{Opts: baseOpts(), Req: get(), Actions: []Action{actOn("get", "who", "")}, End: "end"}
	step.Opts.Secret = cookieSecrets

	// One question for each header, and one for each cookie alone.
	var questions []*Question
	place := map[string]int{}
	ask := func(header string) {
		header = strings.ReplaceAll(header, "\n", "; ") // as Node joins them
		if _, known := place[header]; !known {
			w := world
			w.Cookie = header
			place[header] = len(questions)
			questions = append(questions, Ask(&step, &w))
		}
	}
	for _, c := range headers {
		ask(c.Header)
		for _, v := range c.Values() {
			ask("connect.sid=" + v)
		}
	}
	answers, err := peer.Answers(questions)
	if err != nil {
		t.Fatal(err)
	}
	session := func(header string) string {
		a := answers[place[strings.ReplaceAll(header, "\n", "; ")]]
		if !a.Came {
			return ""
		}
		return a.SID
	}

	counts := map[string]int{}
	recognised, equal := 0, 0
	for _, c := range headers {
		w := world
		w.Cookie = c.Header
		res, err := Ours(&step, &w)
		if err != nil {
			t.Fatal(err)
		}
		var ours string
		if text := strings.TrimPrefix(res.Trace[0], "who="); text != "undefined" {
			if err := json.Unmarshal([]byte(text), &ours); err != nil {
				t.Fatal(err)
			}
		}
		express := session(c.Header)
		if express != "" {
			recognised++
		}
		var alone []string
		for _, v := range c.Values() {
			alone = append(alone, session("connect.sid="+v))
		}
		if first(alone) != express {
			t.Errorf("Cookie: %.300q: Express takes it for %q, and its first cookie for %q", c.Header, express, first(alone))
		}
		values, ids := c.Values(), alone
		var rules []string
		for _, rule := range CookieRules {
			before := slices.Clone(ids)
			if ids = rule.Change(values, ids); first(ids) != first(before) {
				rules = append(rules, rule.Name)
			}
		}
		switch {
		case first(ids) != ours:
			t.Errorf("no rule explains Cookie: %.300q\n  Express: %.200q\n  ours: %.200q\n  alone: %.300q", c.Header, express, ours, alone)
		case ours == express:
			equal++
		default:
			for _, name := range rules {
				counts[name]++
			}
		}
	}
	t.Logf("%d Cookie headers: %d are a session in Express, %d equal; by rule %v", len(headers), recognised, equal, counts)
	for _, rule := range CookieRules {
		if counts[rule.Name] == 0 {
			t.Errorf("the rule %s never applied", rule.Name)
		}
	}
}
