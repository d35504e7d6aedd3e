// Package adapters tests that programs written for other libraries and frameworks
// work with our sessions: gorilla/sessions and what stands on it (goth/gothic,
// gin-contrib/sessions, echo-contrib/session), each with one line changed, and gin
// and echo themselves with Manager.Handler around them. It is a module of its own,
// so that none of these is in anybody's go.mod.
package adapters
