package main

import (
	"strings"
	"testing"
)

func TestTables(t *testing.T) {
	var out strings.Builder
	err := tables(&out, strings.NewReader(`goos: linux
BenchmarkServe/read/300/bare-2     	 100	 50 ns/op	 0 B/op	 0 allocs/op
BenchmarkServe/read/300/session-2  	 100	 900 ns/op	 10 B/op	 3 allocs/op
BenchmarkServe/read/300/session-2  	 100	 700 ns/op	 10 B/op	 3 allocs/op
BenchmarkServe/read/300/session-2  	 100	 800 ns/op	 10 B/op	 3 allocs/op
BenchmarkBesideSCS/MariaDB,_cached/request/read/session-2  	 10	 123456 ns/op	 0 turns/op	 300 B/op	 4 allocs/op
BenchmarkBesideSCS/Postgres/request/read/session-2  	 10	 1234 ns/op	 1.000 turns/op	 300 B/op	 4 allocs/op
BenchmarkBesideSCS/Postgres/request/read/scs-2  	 10	 4223456 ns/op	 1.500 turns/op	 300 B/op	 400 allocs/op
BenchmarkBesideSCS/Postgres/store/load/scs-2  	 10	 98765 ns/op	 1.000 turns/op	 300 B/op	 4 allocs/op
BenchmarkMillion-2  	 1	 12 ns/op	 443.5 B/session
PASS
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| | bare | session |", "| read | 50 (0) | 800 (3) |", "| Million | 12 | 0 | 443.5 B/session |",
		"| | read, session | read, scs |", "| MariaDB, cached | 123 / 4 / 0 | – |", "| Postgres | 1.23 / 4 / 1 | 4223 / 400 / 1.5 |",
		"| | load, scs |", "| Postgres | 98.8 / 4 / 1 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if err := tables(&out, strings.NewReader("PASS\n")); err == nil {
		t.Error("an empty input is no error")
	}
}
