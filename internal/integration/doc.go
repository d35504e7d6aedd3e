// Package integration tests the stores against the real databases and servers
// that they are for. It is a module of its own, so that the drivers it needs are
// in nobody else's go.mod.
package integration
