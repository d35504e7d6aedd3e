// Command testreport runs the tests of the whole workspace for scripts/test and counts them. It shows what failed
// with its output, runs every fuzz target for a few seconds, prints a table with one line a module, and ends with a
// line "N passed, N failed, N skipped". A skipped test without a rule that allows it, a package whose tests did not
// run, and a test that never came to its end count as failures.
//
//	testreport [-checks name=pass,name=fail] [-fuzztime 3s] [packages]
//
// Without packages it runs all of the workspace, fuzzes, and applies rules.txt.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

//go:embed rules.txt
var rulesText string

func main() {
	checks := flag.String("checks", "", "results of checks made before, as name=pass or name=fail, between commas")
	fuzzTime := flag.String("fuzztime", "3s", "how long to run each fuzz target; empty for not at all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, os.Stdout, *checks, *fuzzTime, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run does everything and reports whether all is well.
func run(ctx context.Context, out io.Writer, checks, fuzzTime string, patterns []string) (bool, error) {
	whole := len(patterns) == 0
	if whole {
		patterns = []string{"work"}
	}
	packages, err := list(ctx, patterns)
	if err != nil {
		return false, err
	}
	r := newReport(out, packages)
	for check := range strings.SplitSeq(checks, ",") {
		if name, result, ok := strings.Cut(check, "="); ok {
			r.check(name, result == "pass")
		}
	}
	started := time.Now()
	if err := test(ctx, r, append([]string{"-race", "-p=2"}, patterns...)); err != nil {
		return false, err
	}
	// What the race detector would falsify (counts of allocations) skips itself under it, and gets its turn here.
	for _, s := range r.order {
		names := s.forgetSkipped(r.count(s))
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(out, "\nonce more without the race detector: %s %s\n", r.short(s.ImportPath), strings.Join(names, " "))
		if err := test(ctx, r, []string{"-run=^(" + strings.Join(names, "|") + ")$", s.ImportPath}); err != nil {
			return false, err
		}
	}
	if whole {
		rules, err := parseRules(rulesText)
		if err != nil {
			return false, err
		}
		r.rules = rules
		if fuzzTime != "" {
			fuzz(ctx, r, fuzzTime)
		}
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	r.judge(whole)
	fmt.Fprintf(out, "\ntime: %v\n", time.Since(started).Round(time.Second))
	return r.print(), nil
}

// pkg is what go list says about one package.
type pkg struct {
	ImportPath   string
	Module       struct{ Path string }
	TestGoFiles  []string
	XTestGoFiles []string
}

func list(ctx context.Context, patterns []string) ([]pkg, error) {
	args := append([]string{"list", "-e", "-json=ImportPath,Module,TestGoFiles,XTestGoFiles", "--"}, patterns...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []pkg
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("no packages match %q", patterns)
	}
	return packages, nil
}

// test runs go test and feeds its events to the report.
func test(ctx context.Context, r *report, args []string) error {
	args = append([]string{"test", "-count=1", "-timeout=30m", "-parallel=4", "-json"}, args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := r.read(events)
	waitErr := cmd.Wait()
	if readErr != nil {
		return fmt.Errorf("go test -json: %w", readErr)
	}
	r.ended(waitErr)
	return nil
}

// fuzz gives every target that ran as a test its time. The race detector stays off: it has seen the seeds.
func fuzz(ctx context.Context, r *report, fuzzTime string) {
	targets := r.fuzzTargets()
	if len(targets) > 0 {
		fmt.Fprintf(r.out, "\nfuzzing %d targets for %s each\n", len(targets), fuzzTime)
	}
	for _, t := range targets {
		if ctx.Err() != nil {
			return
		}
		started := time.Now()
		out, err := fuzzOne(ctx, t, fuzzTime)
		if err != nil && deadlineOnly(out) {
			// Not a finding: the fuzzer's workers were too slow to stop at the end of their time.
			out, err = fuzzOne(ctx, t, fuzzTime)
		}
		r.fuzzed(t, err == nil, time.Since(started), out)
	}
}

func fuzzOne(ctx context.Context, t target, fuzzTime string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+fuzzTime, "-timeout=10m", t.pkg)
	out, err := cmd.CombinedOutput()
	if err == nil && !bytes.Contains(out, []byte("fuzz: elapsed")) {
		err = errors.New("nothing was fuzzed")
	}
	return string(out), err
}

func deadlineOnly(out string) bool {
	return strings.Contains(out, "context deadline exceeded") && !strings.Contains(out, "Failing input written")
}
