package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// event is one line of go test -json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output and build-fail, instead of Package
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// target is one fuzz target.
type target struct{ pkg, name string }

// slowTest is a test that made the run long.
type slowTest struct {
	name    string
	seconds float64
}

// count is what happened in one module.
type count struct{ passed, failed, skipped, fuzzed int }

// outcome is one test with its result: pass, fail, skip, or empty as long as it runs.
type outcome struct {
	result string
	output strings.Builder
}

// suite is one package and its tests by name.
type suite struct {
	pkg
	result string
	output strings.Builder
	tests  map[string]*outcome
}

// forgetSkipped takes back the tests that skipped themselves as a whole and returns their names, for another try.
func (s *suite) forgetSkipped(c *count) []string {
	var names []string
	for _, name := range sortedNames(s.tests) {
		if s.tests[name].result == "skip" && !strings.Contains(name, "/") {
			delete(s.tests, name)
			c.skipped--
			names = append(names, name)
		}
	}
	return names
}

// report gathers what happened.
type report struct {
	out    io.Writer
	suites map[string]*suite // by import path
	order  []*suite
	root   string // module path that package names are shortened by

	builds   map[string]*strings.Builder // compiler output by import path
	counts   map[string]*count           // by module path
	checks   count
	targets  []target
	slow     []slowTest
	rules    []rule
	problems []string // why the run fails, one line each
	goTest   error
}

func newReport(out io.Writer, packages []pkg) *report {
	r := &report{
		out:    out,
		suites: map[string]*suite{},
		builds: map[string]*strings.Builder{},
		counts: map[string]*count{},
	}
	for _, p := range packages {
		// The root is the module all others lie below.
		if r.root == "" || len(p.Module.Path) < len(r.root) {
			r.root = p.Module.Path
		}
		r.counts[p.Module.Path] = &count{}
		r.suite(p.ImportPath).pkg = p
	}
	return r
}

func (r *report) suite(path string) *suite {
	s := r.suites[path]
	if s == nil {
		s = &suite{pkg: pkg{ImportPath: path}, tests: map[string]*outcome{}}
		s.Module.Path = r.root
		r.suites[path] = s
		r.order = append(r.order, s)
	}
	return s
}

func (r *report) count(s *suite) *count {
	c := r.counts[s.Module.Path]
	if c == nil {
		c = &count{}
		r.counts[s.Module.Path] = c
	}
	return c
}

// short names a package or module by its path below the root module.
func (r *report) short(path string) string {
	if path == r.root {
		return "."
	}
	return strings.TrimPrefix(path, r.root+"/")
}

func (r *report) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// check notes a check that was made outside of go test.
func (r *report) check(name string, passed bool) {
	if passed {
		r.checks.passed++
		return
	}
	r.checks.failed++
	r.problem("check %s failed", name)
}

// read takes in the events of one go test.
func (r *report) read(events io.Reader) error {
	in := bufio.NewReader(events)
	for {
		line, err := in.ReadString('\n')
		if strings.TrimSpace(line) != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				r.take(e)
			} else {
				fmt.Fprint(r.out, line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	switch e.Action {
	case "build-output":
		b := r.builds[e.ImportPath]
		if b == nil {
			b = &strings.Builder{}
			r.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
		return
	case "build-fail":
		return // the package fails too, and names it
	}
	s := r.suite(e.Package)
	if e.Test == "" {
		switch e.Action {
		case "output":
			s.output.WriteString(e.Output)
		case "pass", "fail", "skip":
			s.result = e.Action
			r.endSuite(s, e)
		}
		return
	}
	t := s.tests[e.Test]
	if t == nil {
		t = &outcome{}
		s.tests[e.Test] = t
	}
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		t.result = e.Action
		if e.Elapsed >= 10 && !strings.Contains(e.Test, "/") {
			r.slow = append(r.slow, slowTest{r.short(e.Package) + " " + e.Test, e.Elapsed})
		}
		c := r.count(s)
		switch e.Action {
		case "pass":
			c.passed++
			t.output.Reset()
			if strings.HasPrefix(e.Test, "Fuzz") && !strings.Contains(e.Test, "/") {
				r.targets = append(r.targets, target{e.Package, e.Test})
			}
		case "skip":
			c.skipped++
		case "fail":
			c.failed++
			r.show(s, e.Test, t)
		}
	}
}

// show prints a failed test with what it said.
func (r *report) show(s *suite, name string, t *outcome) {
	// A test fails with its subtests; naming those is enough.
	if !slices.ContainsFunc(sortedNames(s.tests), func(other string) bool {
		return strings.HasPrefix(other, name+"/") && s.tests[other].result == "fail"
	}) {
		r.problem("%s %s failed", r.short(s.ImportPath), name)
	}
	var said []string
	for line := range strings.Lines(t.output.String()) {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "=== ") || strings.HasPrefix(trimmed, "--- FAIL: "+name+" ") {
			continue
		}
		said = append(said, line)
	}
	t.output.Reset()
	if len(said) == 0 {
		said = []string{"    (it said nothing itself)\n"}
	}
	fmt.Fprintf(r.out, "\nFAIL %s %s\n%s", r.short(s.ImportPath), name, strings.Join(said, ""))
}

// endSuite prints the line of a package, and what no test of it accounts for.
func (r *report) endSuite(s *suite, e event) {
	passed, failed, skipped := 0, 0, 0
	for _, name := range sortedNames(s.tests) {
		t := s.tests[name]
		switch t.result {
		case "pass":
			passed++
		case "skip":
			skipped++
		case "fail":
			failed++
		default:
			// Begun and never ended: a panic, os.Exit or a timeout in this or another test.
			t.result = "fail"
			failed++
			r.count(s).failed++
			t.output.WriteString("the test did not come to its end\n")
			r.show(s, name, t)
		}
	}
	if s.result == "fail" && failed == 0 {
		r.count(s).failed++
		failed++
		why := "the package failed outside of its tests"
		text := s.output.String()
		if e.FailedBuild != "" {
			why = "the package or its tests do not compile"
			text = r.compilerSaid(e.FailedBuild)
		}
		r.problem("%s: %s", r.short(s.ImportPath), why)
		fmt.Fprintf(r.out, "\nFAIL %s: %s\n%s", r.short(s.ImportPath), why, text)
	}
	if len(s.tests) == 0 && failed == 0 {
		return // judged later, by whether it has test files
	}
	line := fmt.Sprintf("%d passed", passed)
	if failed > 0 {
		line += fmt.Sprintf(", %d failed", failed)
	}
	if skipped > 0 {
		line += fmt.Sprintf(", %d skipped", skipped)
	}
	mark := "ok  "
	if failed > 0 {
		mark = "FAIL"
	}
	fmt.Fprintf(r.out, "%s %s: %s in %.1fs\n", mark, r.short(s.ImportPath), line, e.Elapsed)
}

// compilerSaid returns the errors of a build, once: what many packages need fails in all of them.
func (r *report) compilerSaid(path string) string {
	b := r.builds[path]
	if b == nil || b.Len() == 0 {
		return "(the errors stand above)\n"
	}
	defer b.Reset()
	return b.String()
}

// ended notes how a go test ended: a failure that no package accounts for must not get lost.
func (r *report) ended(err error) {
	if err != nil {
		r.goTest = err
	}
}

func (r *report) fuzzTargets() []target { return r.targets }

// fuzzed notes how a fuzz target fared.
func (r *report) fuzzed(t target, passed bool, took time.Duration, output string) {
	s := r.suite(t.pkg)
	c := r.count(s)
	c.fuzzed++
	if passed {
		c.passed++
		fmt.Fprintf(r.out, "ok   %s %s in %.1fs\n", r.short(t.pkg), t.name, took.Seconds())
		return
	}
	c.failed++
	r.problem("fuzzing %s %s failed", r.short(t.pkg), t.name)
	fmt.Fprintf(r.out, "\nFAIL %s, fuzzing %s\n%s", r.short(t.pkg), t.name, output)
}

// rule is one line of rules.txt.
type rule struct {
	require bool
	pkg     string
	test    *regexp.Regexp
	reason  string
}

func parseRules(text string) ([]rule, error) {
	var rules []rule
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		switch {
		case f[0] == "require" && len(f) == 2:
			rules = append(rules, rule{require: true, pkg: f[1]})
		case f[0] == "skip" && len(f) > 3:
			test, err := regexp.Compile("^(?:" + f[2] + ")$")
			if err != nil {
				return nil, fmt.Errorf("rules.txt: %q: %w", line, err)
			}
			rules = append(rules, rule{pkg: f[1], test: test, reason: strings.Join(f[3:], " ")})
		default:
			return nil, fmt.Errorf("rules.txt: %q is neither a require rule nor a skip rule with its reason", line)
		}
	}
	return rules, nil
}

// judge finds what should have run and did not. The whole workspace is held to all rules, a part of it only to
// having run.
func (r *report) judge(whole bool) {
	answered := make([]bool, len(r.rules))
	for _, s := range r.order {
		path := r.short(s.ImportPath)
		if len(s.TestGoFiles)+len(s.XTestGoFiles) > 0 && len(s.tests) == 0 && s.result != "fail" {
			r.count(s).failed++
			r.problem("%s has test files, but ran no test", path)
		}
		for i, rule := range r.rules {
			if rule.require && rule.pkg == path && len(s.tests) > 0 {
				answered[i] = true
			}
		}
		for _, name := range sortedNames(s.tests) {
			t := s.tests[name]
			if t.result != "skip" {
				continue
			}
			allowed := false
			for i, rule := range r.rules {
				if !rule.require && rule.pkg == path && rule.test.MatchString(name) {
					allowed, answered[i] = true, true
				}
			}
			if !allowed && whole {
				r.problem("%s %s was skipped, and no rule allows it:\n%s", path, name, t.output.String())
			}
		}
	}
	for i, rule := range r.rules {
		switch {
		case answered[i] || !whole:
		case rule.require:
			r.problem("%s must report tests, and did not", rule.pkg)
		default:
			r.problem("the rule that lets %s %s be skipped (%s) matched nothing: remove it", rule.pkg, rule.test, rule.reason)
		}
	}
	if r.goTest != nil && len(r.problems) == 0 {
		r.problem("go test: %v", r.goTest)
	}
}

// print prints the table, the problems and the closing line, and reports whether there are no problems.
func (r *report) print() bool {
	slices.SortFunc(r.slow, func(a, b slowTest) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, t := range r.slow[:min(5, len(r.slow))] {
		fmt.Fprintf(r.out, "slow: %s took %.0fs\n", t.name, t.seconds)
	}
	var total count
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\npassed\tfailed\tskipped\tfuzzed\t  module\n")
	line := func(c count, name string) {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t  %s\n", c.passed, c.failed, c.skipped, c.fuzzed, name)
		total.passed += c.passed
		total.failed += c.failed
		total.skipped += c.skipped
	}
	for _, module := range sortedNames(r.counts) {
		line(*r.counts[module], r.short(module))
	}
	if r.checks != (count{}) {
		line(r.checks, "(checks)")
	}
	w.Flush()
	if len(r.problems) > 0 {
		fmt.Fprintf(r.out, "\nFAILED:\n")
		for _, p := range r.problems {
			fmt.Fprintf(r.out, "  %s\n", strings.TrimSpace(strings.ReplaceAll(p, "\n", "\n    ")))
		}
		// Problems that belong to no test still show in the last line.
		total.failed = max(total.failed, 1)
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	return len(r.problems) == 0 && total.failed == 0 && total.passed > 0
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
