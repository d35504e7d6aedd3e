//go:build race

package memstore

// raceEnabled: the race detector allocates, so allocations are not counted.
const raceEnabled = true
