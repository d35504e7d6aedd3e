// Package sessiontest helps to test stores, and programs that use sessions.
//
// The author of a store calls [TestStore]: it is the contract that the comments
// of [session.Store] state, made executable. Every rule is one named subtest, and
// one that fails prints its rule:
//
//	func TestStore(t *testing.T) {
//		sessiontest.TestStore(t, func(t *testing.T) session.Store {
//			return mystore.New(t.TempDir())
//		})
//	}
//
// [Suite] tests more of stores that can do more: that records outlive the
// process, that several processes may share them, that a foreign layout keeps
// what it has a place for.
//
// [CheckStore] asks a store in use the most important of these questions.
// [BenchmarkStore] measures. [Faults] makes a store fail, wait or lose its answer on
// request and counts its calls, for tests of what stands on top of it.
package sessiontest
