// Command table makes the tables of docs/performance.md, and those of
// docs/stores.md that have scs beside ours, of the output of the benchmarks,
// which it reads from its standard input.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := tables(os.Stdout, os.Stdin); err != nil {
		log.Fatal(err)
	}
}

// A cell is what was measured of one benchmark, over its repetitions.
type cell struct {
	ns     []float64
	allocs float64
	extra  map[string]float64
}

var line = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

func tables(w io.Writer, r io.Reader) error {
	cells := make(map[string]*cell)
	var names []string
	for sc := bufio.NewScanner(r); sc.Scan(); {
		m := line.FindStringSubmatch(sc.Text())
		if m == nil {
			continue
		}
		c := cells[m[1]]
		if c == nil {
			c = &cell{extra: make(map[string]float64)}
			cells[m[1]] = c
			names = append(names, m[1])
		}
		fields := strings.Fields(m[2])
		for i := 0; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("table: %q: %w", sc.Text(), err)
			}
			switch unit := fields[i+1]; unit {
			case "ns/op":
				c.ns = append(c.ns, v)
			case "allocs/op":
				c.allocs = v
			default:
				c.extra[unit] = v
			}
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("table: no benchmarks in the input")
	}
	serve(w, cells, names)
	beside(w, cells, names)
	store(w, cells, names)
	return nil
}

// serve prints a table a size: rows are routes, columns contenders.
func serve(w io.Writer, cells map[string]*cell, names []string) {
	for _, size := range []string{"300", "4096"} {
		var routes, who []string
		for _, name := range names {
			p := strings.Split(name, "/")
			if len(p) != 4 || p[0] != "Serve" || p[2] != size {
				continue
			}
			if !slices.Contains(routes, p[1]) {
				routes = append(routes, p[1])
			}
			if !slices.Contains(who, p[3]) {
				who = append(who, p[3])
			}
		}
		if len(routes) == 0 {
			continue
		}
		fmt.Fprintf(w, "Sessions of %s bytes: median ns (allocations)\n\n| | %s |\n|---|%s\n", size, strings.Join(who, " | "), strings.Repeat("---:|", len(who)))
		for _, route := range routes {
			fmt.Fprintf(w, "| %s |", route)
			for _, name := range who {
				if c := cells["Serve/"+route+"/"+size+"/"+name]; c != nil {
					fmt.Fprintf(w, " %.0f (%.0f) |", median(c.ns), c.allocs)
				} else {
					fmt.Fprint(w, " – |")
				}
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w)
	}
}

// beside prints a table a level, a request or a call of the store: rows are
// backends, columns what is done, by each library.
func beside(w io.Writer, cells map[string]*cell, names []string) {
	for _, level := range []struct{ name, title string }{
		{"request", "A request through the middleware"},
		{"store", "A call of the store"},
	} {
		var backends, columns []string
		for _, name := range names {
			p := strings.Split(name, "/")
			if len(p) != 5 || p[0] != "BesideSCS" || p[2] != level.name {
				continue
			}
			if !slices.Contains(backends, p[1]) {
				backends = append(backends, p[1])
			}
			if column := p[3] + "/" + p[4]; !slices.Contains(columns, column) {
				columns = append(columns, column)
			}
		}
		if len(backends) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s, sessions of 300 bytes: median µs / allocations / round trips\n\n| |", level.title)
		for _, column := range columns {
			fmt.Fprintf(w, " %s |", strings.Replace(column, "/", ", ", 1))
		}
		fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(columns)))
		for _, backend := range backends {
			fmt.Fprintf(w, "| %s |", strings.ReplaceAll(backend, "_", " "))
			for _, column := range columns {
				if c := cells["BesideSCS/"+backend+"/"+level.name+"/"+column]; c != nil {
					fmt.Fprintf(w, " %s / %.0f / %.3g |", micros(median(c.ns)), c.allocs, c.extra["turns/op"])
				} else {
					fmt.Fprint(w, " – |")
				}
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w)
	}
}

// micros returns the time in microseconds, with three digits or more.
func micros(ns float64) string {
	us := ns / 1000
	switch {
	case us < 10:
		return fmt.Sprintf("%.2f", us)
	case us < 100:
		return fmt.Sprintf("%.1f", us)
	}
	return fmt.Sprintf("%.0f", us)
}

// store prints the rest a row a benchmark.
func store(w io.Writer, cells map[string]*cell, names []string) {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return strings.HasPrefix(name, "Serve/") || strings.HasPrefix(name, "BesideSCS/")
	})
	if len(names) == 0 {
		return
	}
	fmt.Fprint(w, "| Benchmark | median ns | allocations | besides |\n|---|---:|---:|---|\n")
	for _, name := range names {
		c := cells[name]
		var extra []string
		for unit, v := range c.extra {
			extra = append(extra, fmt.Sprintf("%g %s", v, unit))
		}
		slices.Sort(extra)
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %s |\n", name, median(c.ns), c.allocs, strings.Join(extra, ", "))
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
