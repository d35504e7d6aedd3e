package session_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// The rules of this repository that no compiler checks. Each finding names the file; each rule says why it is one.

// repositoryFiles lists the files that belong to the repository, with slashes: those that git has or would take, or,
// in a copy without git, all of them.
func repositoryFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err == nil {
		for name := range strings.SplitSeq(string(out), "\x00") {
			if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
				files = append(files, name)
			}
		}
	} else {
		err = filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules") {
				return filepath.SkipDir
			}
			if entry.Type().IsRegular() {
				files = append(files, filepath.ToSlash(name))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(files)
	files = slices.Compact(files)
	if !slices.Contains(files, "policy_test.go") || !slices.Contains(files, "go.mod") {
		t.Fatalf("the list of files is not that of the repository: %d files", len(files))
	}
	return files
}

func goFiles(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(repositoryFiles(t), func(name string) bool {
		return path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/")
	})
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

func parse(t *testing.T, name string, mode parser.Mode) (*token.FileSet, *ast.File) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, filepath.FromSlash(name), nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return set, file
}

// directives returns the arguments of the lines of a go.mod or go.work that start with the word, in blocks or alone.
func directives(text, word string) []string {
	var found []string
	inBlock := false
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "//")
		line = strings.TrimSpace(line)
		rest, isOurs := strings.CutPrefix(line, word)
		switch {
		case inBlock && line == ")":
			inBlock = false
		case inBlock && line != "":
			found = append(found, line)
		case !isOurs:
		case strings.TrimSpace(rest) == "(":
			inBlock = true
		case strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "\t"):
			found = append(found, strings.TrimSpace(rest))
		}
	}
	return found
}

func modules(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, name := range repositoryFiles(t) {
		if path.Base(name) == "go.mod" && !strings.Contains("/"+name, "/testdata/") {
			dirs = append(dirs, path.Dir(name))
		}
	}
	return dirs
}

// Whoever takes the core takes nothing else with it, not even for its tests.
func TestPolicyTheRootModuleRequiresNothing(t *testing.T) {
	text := readFile(t, "go.mod")
	for _, word := range []string{"require", "replace", "tool", "exclude"} {
		if found := directives(text, word); len(found) > 0 {
			t.Errorf("go.mod: %s %q: the root module depends on the standard library alone; "+
				"what needs more is a module of its own", word, found)
		}
	}
	if readFile(t, "go.sum") != "" {
		t.Error("go.sum: the root module has no dependencies, so it has no sums")
	}
}

// The workspace is what the test command runs: a module outside of it would not be tested. The tools and the server
// in the place of MongoDB stay outside, so that no library is built with what only they need.
func TestPolicyEveryModuleIsInTheWorkspace(t *testing.T) {
	var used []string
	for _, dir := range directives(readFile(t, "go.work"), "use") {
		used = append(used, path.Clean(dir))
	}
	outside := []string{"tools", "internal/ferretdb"}
	for _, dir := range modules(t) {
		switch out, in := slices.Contains(outside, dir), slices.Contains(used, dir); {
		case out && in:
			t.Errorf("go.work uses %s", dir)
		case !out && !in:
			t.Errorf("go.work does not use %s", dir)
		}
	}
}

// go install refuses a command whose module has replace directives; the other modules need one, to build alone
// against the root beside them.
func TestPolicyReplaceDirectives(t *testing.T) {
	for _, dir := range modules(t) {
		text := readFile(t, path.Join(dir, "go.mod"))
		replaces := directives(text, "replace")
		needsRoot := slices.ContainsFunc(directives(text, "require"), func(line string) bool {
			return strings.HasPrefix(line, "github.com/coatcheck/session ")
		})
		switch {
		case strings.HasPrefix(dir, "cmd/"):
			if len(replaces) > 0 {
				t.Errorf("%s/go.mod: replace %q: a command with a replace directive cannot be installed by go install", dir, replaces)
			}
		case needsRoot:
			if !slices.ContainsFunc(replaces, func(line string) bool {
				return strings.HasPrefix(line, "github.com/coatcheck/session => ..")
			}) {
				t.Errorf("%s/go.mod does not replace the root module by the one beside it", dir)
			}
		}
	}
}

// Exactly one file of each package says what the package is for.
func TestPolicyPackageComments(t *testing.T) {
	documented := map[string][]string{}
	names := map[string]string{}
	for _, name := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		_, file := parse(t, name, parser.ParseComments|parser.PackageClauseOnly)
		dir := path.Dir(name)
		names[dir] = file.Name.Name
		doc := file.Doc.Text()
		if doc == "" {
			continue
		}
		documented[dir] = append(documented[dir], name)
		want := "Package " + file.Name.Name + " "
		if file.Name.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(doc, want) && !strings.HasPrefix(dir, "examples/") {
			t.Errorf("%s: the package comment does not begin with %q", name, want)
		}
	}
	if len(names) < 2 {
		t.Fatalf("found only %d packages", len(names))
	}
	for dir := range names {
		if found := documented[dir]; len(found) != 1 {
			t.Errorf("package %s has %d package comments, want 1: %q", dir, len(found), found)
		}
	}
}

// A package is named after what it provides.
func TestPolicyPackageNames(t *testing.T) {
	empty := []string{"util", "utils", "common", "helper", "helpers", "misc"}
	for _, name := range goFiles(t) {
		_, file := parse(t, name, parser.PackageClauseOnly)
		for _, word := range []string{file.Name.Name, path.Base(path.Dir(name))} {
			if slices.Contains(empty, strings.TrimSuffix(word, "_test")) {
				t.Errorf("%s: a package named %s says nothing", name, word)
			}
		}
	}
}

// A store reports by its errors: it neither logs nor prints nor ends the program.
func TestPolicyStoresAreQuiet(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range goFiles(t) {
		dir, _, _ := strings.Cut(name, "/")
		if !strings.HasSuffix(dir, "store") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		seen[dir] = true
		set, file := parse(t, name, 0)
		for _, spec := range file.Imports {
			if imported := strings.Trim(spec.Path.Value, `"`); imported == "log" || strings.HasPrefix(imported, "log/") {
				t.Errorf("%s imports %s", set.Position(spec.Pos()), imported)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch f := call.Fun.(type) {
			case *ast.Ident:
				if f.Name == "panic" || f.Name == "print" || f.Name == "println" {
					t.Errorf("%s calls %s", set.Position(call.Pos()), f.Name)
				}
			case *ast.SelectorExpr:
				if of, ok := f.X.(*ast.Ident); ok &&
					(of.Name == "fmt" && strings.HasPrefix(f.Sel.Name, "Print") || of.Name == "os" && f.Sel.Name == "Exit") {
					t.Errorf("%s calls %s.%s", set.Position(call.Pos()), of.Name, f.Sel.Name)
				}
			}
			return true
		})
	}
	for _, dir := range []string{"memstore", "filestore", "sqlstore"} {
		if !seen[dir] {
			t.Errorf("found no files of %s", dir)
		}
	}
}

// What is left to do stands in the project's issues, not in its code.
func TestPolicyNoMarks(t *testing.T) {
	// In pieces, so that this file does not accuse itself.
	marks := regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}, "|") + `)\b`)
	for _, name := range goFiles(t) {
		for number, line := range numbered(readFile(t, name)) {
			if mark := marks.FindString(line); mark != "" {
				t.Errorf("%s:%d: %s", name, number, mark)
			}
		}
	}
}

// The test command fuzzes the targets that ran as tests. A target that go test does not see would be forgotten.
func TestPolicyFuzzTargetsRun(t *testing.T) {
	all := modules(t)
	for _, name := range goFiles(t) {
		set, file := parse(t, name, parser.ParseComments)
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			at := set.Position(f.Pos())
			takesF := len(f.Type.Params.List) == 1 && isTestingF(f.Type.Params.List[0].Type)
			if !takesF {
				if strings.HasSuffix(name, "_test.go") && f.Recv == nil {
					t.Errorf("%s: %s has the name of a fuzz target, but does not take just a *testing.F", at, f.Name.Name)
				}
				continue
			}
			if !strings.HasSuffix(name, "_test.go") {
				t.Errorf("%s: the fuzz target %s is not in a _test.go file", at, f.Name.Name)
			}
			if next, _ := utf8.DecodeRuneInString(f.Name.Name[len("Fuzz"):]); unicode.IsLower(next) || f.Recv != nil {
				t.Errorf("%s: go test does not take %s for a fuzz target", at, f.Name.Name)
			}
			if slices.ContainsFunc(file.Comments, func(group *ast.CommentGroup) bool {
				return group.Pos() < file.Package && slices.ContainsFunc(group.List, func(c *ast.Comment) bool {
					return constraint.IsGoBuild(c.Text)
				})
			}) {
				t.Errorf("%s: the fuzz target %s is behind a build constraint", at, f.Name.Name)
			}
			for dir := path.Dir(name); !slices.Contains(all, dir); dir = path.Dir(dir) {
				if base := path.Base(dir); strings.HasPrefix(base, "_") || strings.HasPrefix(base, ".") {
					t.Errorf("%s: the go command does not look into %s", at, dir)
				}
				if dir == "." {
					t.Errorf("%s: is in no module", at)
					break
				}
			}
		}
	}
}

func isTestingF(e ast.Expr) bool {
	star, ok := e.(*ast.StarExpr)
	if !ok {
		return false
	}
	sel, ok := star.X.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "F"
}

// Nothing in the repository knows the machine it was written on, or where that machine gets its packages.
func TestPolicyNoTracesOfAMachine(t *testing.T) {
	traces := regexp.MustCompile(strings.Join([]string{
		`(^|[^\w.*/])/` + `(work/(main|shared|\.)|root/|Users/\w|home/(?:runner|ubuntu|debian)/)`,
		`\bregistry\.` + `(npmjs|yarnpkg)\.`,
		`\bproxy\.` + `golang\.org`,
		`\bdeb\.` + `debian\.org`,
		`"resolved"` + `:`,
	}, "|"))
	for _, name := range repositoryFiles(t) {
		text := readFile(t, name)
		if bytes.IndexByte([]byte(text), 0) >= 0 {
			continue // not a text
		}
		for number, line := range numbered(text) {
			if trace := traces.FindString(line); trace != "" {
				t.Errorf("%s:%d: %q", name, number, trace)
			}
		}
	}
}

// numbered yields the lines of a text with their numbers, from 1.
func numbered(text string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		number := 0
		for line := range strings.Lines(text) {
			if number++; !yield(number, line) {
				return
			}
		}
	}
}
