// Package besidescs measures our stores beside those of alexedwards/scs: on the
// same server, with the same driver and settings, in one run, so that the ratios
// mean something on a machine that is not quiet.
//
//	go test -run '^$' -bench BesideSCS -count 6 ./internal/integration/besidescs | go run ./internal/bench/table
//
// prints the tables of docs/stores.md; give it -benchtime 200ms if you are in a
// hurry. One request at a time. Round trips are counted by a proxy, apart from
// where the time is measured. The servers are those of package servers, which do
// not wait for the disk; bbolt does, and SQLite does as sqlstore.SQLiteDSN says.
//
// A row is a backend: add one to the list of that name and it is in the tables
// and in the test.
package besidescs
