package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stream makes events of lines "action package test output...".
func stream(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		f := strings.SplitN(line, " ", 4)
		for len(f) < 4 {
			f = append(f, "")
		}
		if f[2] == "-" {
			f[2] = ""
		}
		fmt.Fprintf(&b, `{"Action":%q,"Package":%q,"Test":%q,"Output":%q}`+"\n", f[0], "example.org/m/"+f[1], f[2], f[3]+"\n")
	}
	return b.String()
}

func makeReport(t *testing.T, out *strings.Builder, events, rules string) *report {
	t.Helper()
	root := pkg{ImportPath: "example.org/m"}
	root.Module.Path = "example.org/m"
	a := pkg{ImportPath: "example.org/m/a", TestGoFiles: []string{"a_test.go"}}
	a.Module.Path = "example.org/m"
	b := pkg{ImportPath: "example.org/m/b"}
	b.Module.Path = "example.org/m/b"
	r := newReport(out, []pkg{b, root, a})
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.rules, err = parseRules(rules); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events string
		rules  string
		part   bool
		last   string
		ok     bool
		says   string
	}{
		{
			name:   "all pass, subtests and both modules counted",
			events: stream("pass a TestA/one", "pass a TestA", "pass a -", "pass b TestB", "pass b -"),
			last:   "3 passed, 0 failed, 0 skipped", ok: true,
		},
		{
			name:   "a failure shows its output",
			events: stream("output a TestA want 23", "fail a TestA", "fail a -"),
			last:   "0 passed, 1 failed, 0 skipped", says: "want 23",
		},
		{
			name:   "the output of what passes is not shown",
			events: stream("output a TestA noise", "pass a TestA", "pass a -"),
			last:   "1 passed, 0 failed, 0 skipped", ok: true,
		},
		{
			name:   "a skip without a rule fails the run",
			events: stream("pass a TestA", "output a TestS no server here", "skip a TestS", "pass a -"),
			last:   "1 passed, 1 failed, 1 skipped", says: "no server here",
		},
		{
			name:   "a skip with a rule does not",
			events: stream("pass a TestA", "skip a TestS", "pass a -"),
			rules:  "skip a TestS the kernel forbids it",
			last:   "1 passed, 0 failed, 1 skipped", ok: true,
		},
		{
			name:   "a skip in a part of the workspace does not",
			events: stream("pass a TestA", "skip a TestS", "pass a -"),
			part:   true,
			last:   "1 passed, 0 failed, 1 skipped", ok: true,
		},
		{
			name:   "a rule covers only what it matches in full",
			events: stream("pass a TestA", "skip a TestSkipped", "pass a -"),
			rules:  "skip a TestSk a reason",
			last:   "1 passed, 1 failed, 1 skipped", says: "matched nothing",
		},
		{
			name:   "a required package that is not there fails the run",
			events: stream("pass a TestA", "pass a -"),
			rules:  "require c",
			last:   "1 passed, 1 failed, 0 skipped", says: "c must report tests",
		},
		{
			name:   "a required package that is there does not",
			events: stream("pass a TestA", "pass a -"),
			rules:  "require a",
			last:   "1 passed, 0 failed, 0 skipped", ok: true,
		},
		{
			name:   "test files without a test fail the run",
			events: stream("pass a -", "pass b TestB", "pass b -"),
			last:   "1 passed, 1 failed, 0 skipped", says: "a has test files, but ran no test",
		},
		{
			name:   "a test that never ends is a failure",
			events: stream("run a TestA", "output a TestA panic: oh", "pass a TestB", "fail a -"),
			last:   "1 passed, 1 failed, 0 skipped", says: "panic: oh",
		},
		{
			name:   "a package that fails outside of its tests is a failure",
			events: stream("pass a TestA", "output a - TestMain gave up", "fail a -"),
			last:   "1 passed, 1 failed, 0 skipped", says: "TestMain gave up",
		},
		{
			name: "what does not compile shows the compiler's words",
			events: `{"Action":"build-output","ImportPath":"example.org/m/a [a.test]","Output":"a.go:1: undefined: x\n"}` + "\n" +
				`{"Action":"build-fail","ImportPath":"example.org/m/a [a.test]"}` + "\n" +
				`{"Action":"fail","Package":"example.org/m/a","FailedBuild":"example.org/m/a [a.test]"}` + "\n",
			last: "0 passed, 1 failed, 0 skipped", says: "undefined: x",
		},
		{
			name:   "nothing at all is no success",
			events: "",
			last:   "0 passed, 1 failed, 0 skipped",
		},
		{
			name:   "lines that are no events are shown",
			events: "something odd\n" + stream("pass a TestA", "pass a -"),
			last:   "1 passed, 0 failed, 0 skipped", ok: true, says: "something odd",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			r := makeReport(t, &out, tt.events, tt.rules)
			r.judge(!tt.part)
			if got := r.print(); got != tt.ok {
				t.Errorf("print() = %v, want %v", got, tt.ok)
			}
			if got := lastLine(out.String()); got != tt.last {
				t.Errorf("the last line is %q, want %q", got, tt.last)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("the report does not say %q", tt.says)
			}
			if strings.Contains(out.String(), "noise") {
				t.Error("the report shows the output of a test that passed")
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

func TestReportCountsChecksAndFuzzing(t *testing.T) {
	var out strings.Builder
	r := makeReport(t, &out, stream("pass a TestA", "pass a FuzzA/seed", "pass a FuzzA", "pass a FuzzB", "pass a -"), "")
	r.check("gofmt", true)
	targets := r.fuzzTargets()
	if len(targets) != 2 || targets[0] != (target{"example.org/m/a", "FuzzA"}) || targets[1].name != "FuzzB" {
		t.Fatalf("fuzz targets: %v", targets)
	}
	r.fuzzed(targets[0], true, time.Second, "")
	r.fuzzed(targets[1], false, time.Second, "Failing input written to testdata")
	r.check("vet", false)
	r.judge(true)
	if r.print() {
		t.Error("the run passed with a failed check and a failed fuzz target")
	}
	if got, want := lastLine(out.String()), "6 passed, 2 failed, 0 skipped"; got != want {
		t.Errorf("the last line is %q, want %q", got, want)
	}
	for _, want := range []string{"check vet failed", "fuzzing a FuzzB failed", "Failing input written"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &out)
		}
	}
}

func TestAFailureOfGoTestItselfIsNotLost(t *testing.T) {
	var out strings.Builder
	r := makeReport(t, &out, stream("pass a TestA", "pass a -"), "")
	r.ended(fmt.Errorf("exit status 2"))
	r.judge(true)
	if r.print() || !strings.Contains(out.String(), "exit status 2") {
		t.Errorf("the report does not fail:\n%s", &out)
	}
}

func TestASkippedTestGetsAnotherTry(t *testing.T) {
	var out strings.Builder
	r := makeReport(t, &out, stream("skip a TestAllocations", "skip a TestB/sub", "pass a TestB", "pass a -"), "skip a TestB/.* why")
	names := r.suite("example.org/m/a").forgetSkipped(r.count(r.suite("example.org/m/a")))
	if len(names) != 1 || names[0] != "TestAllocations" {
		t.Fatalf("another try for %q", names)
	}
	if err := r.read(strings.NewReader(stream("pass a TestAllocations", "pass a -"))); err != nil {
		t.Fatal(err)
	}
	r.judge(true)
	if !r.print() || lastLine(out.String()) != "2 passed, 0 failed, 1 skipped" {
		t.Errorf("the report is\n%s", &out)
	}
}

func TestOnlyTheInnermostFailureIsNamed(t *testing.T) {
	var out strings.Builder
	r := makeReport(t, &out, stream("fail a TestA/sub", "fail a TestA", "fail a -"), "")
	r.judge(true)
	r.print()
	if got := fmt.Sprint(r.problems); got != "[a TestA/sub failed]" {
		t.Errorf("problems: %s", got)
	}
	if got, want := lastLine(out.String()), "0 passed, 2 failed, 0 skipped"; got != want {
		t.Errorf("the last line is %q, want %q", got, want)
	}
}

func TestRulesAreChecked(t *testing.T) {
	if _, err := parseRules(rulesText); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"skip a TestA", "skip a [ why", "require", "allow a"} {
		if _, err := parseRules(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestRealRun reads what the go command really says about a module with everything in it that can go wrong.
func TestRealRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space")
	for name, text := range map[string]string{
		"go.mod":            "module example.org/real\n\ngo 1.25\n",
		"good/good_test.go": "package good\n\nimport \"testing\"\n\nfunc TestGood(t *testing.T) { t.Run(\"sub\", func(*testing.T) {}) }\n\nfunc FuzzGood(f *testing.F) {\n\tf.Add(1)\n\tf.Fuzz(func(t *testing.T, n int) {})\n}\n",
		"bad/bad_test.go":   "package bad\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Error(\"the words of the failure\") }\n\nfunc TestSkipped(t *testing.T) { t.Skip(\"today\") }\n",
		"panics/p_test.go":  "package panics\n\nimport \"testing\"\n\nfunc TestFine(t *testing.T) {}\n\nfunc TestPanics(t *testing.T) { panic(\"the words of the panic\") }\n",
		"exits/e_test.go":   "package exits\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestExits(t *testing.T) { os.Exit(3) }\n",
		"broken/b_test.go":  "package broken\n\nvar x = undefinedName\n",
		"empty/e_test.go":   "package empty\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOWORK", "off")
	packages, err := list(t.Context(), []string{"./..."})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-json", "-count=1", "./...")
	events, _ := cmd.Output() // ends with 1
	var out strings.Builder
	r := newReport(&out, packages)
	if err := r.read(strings.NewReader(string(events))); err != nil {
		t.Fatal(err)
	}
	fuzz(t.Context(), r, "10x")
	r.judge(true)
	if r.print() {
		t.Error("the run passed")
	}
	// Passed: TestGood, its subtest, FuzzGood as a test with its seed, the fuzzing of it, TestFine.
	// Failed: TestBad, TestPanics, TestExits, broken, empty.
	if got, want := lastLine(out.String()), "6 passed, 5 failed, 1 skipped"; got != want {
		t.Errorf("the last line is %q, want %q", got, want)
	}
	for _, want := range []string{
		"the words of the failure", "the words of the panic", "undefinedName", "today",
		"empty has test files, but ran no test", "exits TestExits failed", "panics TestPanics failed",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
