// Command mutate shows that the tests of internal/express bite: it changes one
// decision of the state machine at a time, in a copy, and runs them. Run it in
// internal/express: go run ./mutate, or with a part of a mutation's name to run
// only those.
package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A mutation replaces one text of one file.
type mutation struct{ what, file, old, new string }

var mutations = []mutation{
	{"resave is ignored", "commit.go", "opts.Resave && !s.extended", "false"},
	{"saveUninitialized is ignored", "commit.go", "opts.SaveUninitialized && s.needCookie() == nil", "false"},
	{"rolling is ignored", "commit.go", "!s.held || s.oldSecret || s.m.opts.Rolling", "!s.held || s.oldSecret"},
	{"an old signature stays", "commit.go", "!s.held || s.oldSecret || s.m.opts.Rolling", "!s.held || s.m.opts.Rolling"},
	{"a stale cookie is not cleared", "commit.go", "clears := s.stale && s.rec.Version == 0 || ", "clears := "},
	{"the cookie of a destroyed session is not cleared", "commit.go", "s.plan == planDestroy || s.plan == planUnset && s.m.opts.Unset", "s.plan == planUnset && s.m.opts.Unset"},
	{"unset: destroy only forgets", "commit.go", "s.plan == planUnset && opts.Unset == UnsetDestroy", "false"},
	{"an empty regenerated session is not saved", "session.go", "	s.plan = planRegenerate", "	s.plan = planKeep"},
	{"an orphan over HTTP", "commit.go", "return errInsecure", "return nil"},
	{"the same value is a change", "change.go", "same := before != nil", "same := false && before != nil"},
	{"only the first secret verifies", "transport.go", "range m.signers", "range m.signers[:1]"},
	{"a changed attribute is not sent", "commit.go", "s.send || s.setAttrs || s.attrs.hasMaxAge", "s.send || s.attrs.hasMaxAge"},
	{"a changed attribute is not saved", "commit.go", "len(s.changes) > 0 || s.setAttrs ||", "len(s.changes) > 0 ||"},
	{"the browser does not follow the store", "commit.go", "		s.send = s.send || s.attrs.hasMaxAge && s.tokenEnd().IsZero()\n	case errors.Is(err, ErrNotFound)", "	case errors.Is(err, ErrNotFound)"},
	{"a life a millisecond too long", "attributes.go", "return now.Add(a.maxAge)", "return now.Add(a.maxAge + time.Millisecond)"},
	{"a path without boundary", "cookie.go", " || requestPath[len(cookiePath)] == '/'", " || true"},
	{"reload keeps the changes", "session.go", "	s.adopt(rec)\n	s.changes, s.refs = s.changeBuf[:0], nil", "	s.adopt(rec)"},
	{"a mistake after a sign-out undoes it", "commit.go", "if s.task(false) == doDestroy {", "if false {"},
	{"what was stored and unset stays", "commit.go", "if s.owed { // nobody", "if false { // nobody"},
	{"a change after the header of a new session is taken", "session.go", "if err == nil && s.late && (s.rec.Version == 0 || s.m.parcels) {", "if false {"},
	{"attributes of the cookie in another order", "cookie.go", "	if c.Partitioned {\n		dst = append(dst, \"; Partitioned\"...)\n	}\n	if p, _ := priorityText(c.Priority); p != \"\" {\n		dst = append(dst, \"; Priority=\"...)\n		dst = append(dst, p...)\n	}", "	if p, _ := priorityText(c.Priority); p != \"\" {\n		dst = append(dst, \"; Priority=\"...)\n		dst = append(dst, p...)\n	}\n	if c.Partitioned {\n		dst = append(dst, \"; Partitioned\"...)\n	}"},
	{"only the first cookie is looked at", "transport.go", "maxStoreTokens = 4", "maxStoreTokens = 1"},
	{"X-Forwarded-Proto from the last proxy", "transport.go", "proto, _, _ := strings.Cut(r.Header.Get(\"X-Forwarded-Proto\"), \",\")", "proto := r.Header.Get(\"X-Forwarded-Proto\"); proto = proto[strings.LastIndexByte(proto, ',')+1:]"},
	{"the response begins before the save", "response.go", "	if err := w.begin(true); err != nil {\n		w.fail(err)\n		return\n	}\n	w.wrote = true\n	w.measure(status)", "	w.ResponseWriter.WriteHeader(status)\n	_ = http.NewResponseController(w.ResponseWriter).Flush()\n	if err := w.begin(true); err != nil {\n		w.fail(err)\n		return\n	}\n	w.wrote = true\n	w.measure(status)"},
	{"a failed save is ignored", "response.go", "	d, err := s.m.commit(s.ctx, s, cookie)\n	if err != nil {\n		return err\n	}", "	d, err := s.m.commit(s.ctx, s, cookie)\n	_ = err"},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "internal/express/node_modules")); err != nil {
		return fmt.Errorf("run ./scripts/test first, or npm ci in internal/express: %w", err)
	}
	tree, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if err := copyTree(root, tree); err != nil {
		return err
	}
	if out, err := test(tree); err != nil {
		return fmt.Errorf("the tests fail without any mutation: %w\n%s", err, out)
	}
	chosen := mutations
	if len(os.Args) > 1 {
		chosen = slices.DeleteFunc(slices.Clone(mutations), func(m mutation) bool { return !strings.Contains(m.what, os.Args[1]) })
	}
	killed, stale := 0, 0
	for _, m := range chosen {
		verdict := "SURVIVED"
		out, err := m.try(tree)
		switch {
		case out == "" && err != nil:
			verdict = "STALE   "
			stale++
		case err != nil && strings.Contains(out, "[build failed]"):
			verdict = "BROKEN  "
			stale++
		case err != nil:
			verdict = "killed  "
			killed++
		}
		fmt.Printf("%s %s\n", verdict, m.what)
		if verdict == "BROKEN  " {
			fmt.Println(out)
		}
	}
	fmt.Printf("%d mutations: %d killed, %d survived, %d do not apply\n", len(chosen), killed, len(chosen)-killed-stale, stale)
	if killed != len(chosen) {
		return fmt.Errorf("not every mutation was killed")
	}
	return nil
}

// try applies the mutation, runs the tests, and takes it back.
func (m *mutation) try(tree string) (out string, err error) {
	file := filepath.Join(tree, m.file)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if strings.Count(string(text), m.old) != 1 {
		return "", fmt.Errorf("%s does not have %q once", m.file, m.old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	defer func() {
		if restored := os.WriteFile(file, text, 0o600); restored != nil {
			err = restored
		}
	}()
	return test(tree)
}

func test(tree string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-failfast", "-run", "TestRules$|TestBadCookies|TestWhatLeaves|TestStoreFails|TestDifferential", ".", "-args", "-scenarios", "1500", "-patience", "5s")
	cmd.Dir = filepath.Join(tree, "internal", "express")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// copyTree copies the root package and internal/express, with a link to the
// Node packages.
func copyTree(from, to string) error {
	for _, dir := range []string{".", "internal/express", "internal/express/node", "memstore", "docs"} {
		if err := os.MkdirAll(filepath.Join(to, dir), 0o700); err != nil {
			return err
		}
		entries, err := os.ReadDir(filepath.Join(from, dir))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			name := filepath.Join(dir, entry.Name())
			if !entry.Type().IsRegular() || dir == "." && strings.HasSuffix(name, "_test.go") || entry.Name() == "go.work" || entry.Name() == "go.work.sum" {
				continue
			}
			text, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(to, name), text, fs.FileMode(0o600)); err != nil {
				return err
			}
		}
	}
	return os.Symlink(filepath.Join(from, "internal/express/node_modules"), filepath.Join(to, "internal/express/node_modules"))
}
