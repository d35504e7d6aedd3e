// Command table makes the table of docs/stores.md of what the tests of the stores
// have found out.
//
//	table [-write] FOLDER docs/stores.md
//
// It reads the facts in the folder and compares the table in the document with
// them, or writes it. That a store is missing, or is not known here, is an error:
// so no row of the table stands without its tests.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/coatcheck/session/internal/storefacts"
)

// rows are the stores in the order of the table.
var rows = []string{
	"memstore",
	"filestore",
	"sqlstore SQLite",
	"sqlstore PostgreSQL",
	"sqlstore MariaDB",
	"pgxstore",
	"redisstore",
	"mongostore",
	"natsstore",
	"boltstore",
	"cookiestore",
	"cachestore",
	"multistore",
	"scsstore",
	"fiberstore",
}

const (
	begin = "<!-- what the tests found: begin -->\n"
	end   = "<!-- what the tests found: end -->\n"
)

func main() {
	write := flag.Bool("write", false, "write the table instead of comparing it")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: table [-write] FOLDER DOCUMENT")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *write); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(folder, document string, write bool) error {
	facts, err := read(folder)
	if err != nil {
		return err
	}
	table, err := render(facts)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	have, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok1 || !ok2:
		return fmt.Errorf("%s has no place for the table, between the lines\n%s%s", document, begin, end)
	case have == table:
		return nil
	case !write:
		return fmt.Errorf("the table of %s is not what the tests found, which is\n%s"+
			"If that is right, write it: SESSION_STORE_FACTS=FOLDER ./scripts/test, with an empty FOLDER, and then\n"+
			"go run ./internal/storefacts/table -write FOLDER %s", document, table, document)
	}
	return os.WriteFile(document, []byte(before+begin+table+end+after), 0o644)
}

// read returns the facts by the name of the store, put together from all calls.
func read(folder string) (map[string]storefacts.Facts, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	all := make(map[string]storefacts.Facts)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var part struct{ Store string }
		if err := json.Unmarshal(text, &part); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		f := all[part.Store]
		if err := json.Unmarshal(clearNulls(text), &f); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all[part.Store] = f
	}
	return all, nil
}

// clearNulls removes the members that were not measured, so that they do not
// cover those of another file.
func clearNulls(text []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return text
	}
	for name, value := range members {
		if string(value) == "null" {
			delete(members, name)
		}
	}
	text, _ = json.Marshal(members) // what was decoded can be encoded
	return text
}

func render(all map[string]storefacts.Facts) (string, error) {
	var b strings.Builder
	b.WriteString("| | shared between processes | survives a restart | lists by subject | revokes | compare-and-swap | touches | sweeps | round trips: load, save, touch |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	var errs []error
	for _, name := range rows {
		f, ok := all[name]
		delete(all, name)
		if !ok || f.Shared == nil {
			errs = append(errs, fmt.Errorf("nothing was found out of %q: did its tests run?", name))
			continue
		}
		cells := []string{"`" + strings.Replace(name, " ", "` ", 1)}
		if !strings.Contains(name, " ") {
			cells[0] += "`"
		}
		cells = append(cells, string(*f.Shared))
		swap := storefacts.NoSwap
		if f.CompareAndSwap != nil {
			swap = *f.CompareAndSwap
		}
		cells = append(cells, yesNo(f.Survives), yesNo(f.Lists), yesNo(f.Revokes), string(swap), yesNo(f.Touches), yesNo(f.Sweeps), turns(f))
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	for name := range all {
		errs = append(errs, fmt.Errorf("%q is no row of the table: add it to rows in internal/storefacts/table", name))
	}
	return b.String(), errors.Join(errs...)
}

func yesNo(fact *bool) string {
	if fact != nil && *fact {
		return "yes"
	}
	return "no"
}

// turns returns the round trips, or a dash for a store that has no server.
func turns(f storefacts.Facts) string {
	if f.Load == nil || f.Save == nil || f.Touch == nil {
		return "–"
	}
	return strconv.Itoa(*f.Load) + ", " + strconv.Itoa(*f.Save) + ", " + strconv.Itoa(*f.Touch)
}
