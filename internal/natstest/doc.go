// Package natstest tests natsstore against real NATS servers, alone and three as
// a cluster. A server is the test binary itself, started once more with
// nats-server in it, so that it can be killed and paused as a process.
//
// It is a module of its own: nats-server brings a dozen modules along, which
// belong neither into natsstore's go.mod nor into that of the other stores' tests.
package natstest
