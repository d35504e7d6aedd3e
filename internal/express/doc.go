// Package express proves that this module does what the real express-session
// does, or better by a named rule. Its tests run express-session in a Node
// process beside ours; docs/express.md lists the rules.
package express
