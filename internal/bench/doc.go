// Package bench measures the middleware beside a bare handler, one that only
// reads a cookie, and two other libraries, in one run, so that ratios mean
// something on a machine that is not quiet.
//
//	go test -run '^$' -bench . -count 6 ./internal/bench ./memstore | go run ./internal/bench/table
//
// prints the tables of docs/performance.md.
package bench
