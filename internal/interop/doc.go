// Package interop proves that an Express application and this module share live
// logins: real Node processes with Express, Passport and the stores of npm run
// beside handlers of ours on the same servers, and one browser goes to both.
// docs/moving-from-express.md, whose code is run here too, tells how.
package interop
