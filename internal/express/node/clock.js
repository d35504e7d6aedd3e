'use strict'

// A clock that stands still until it is told to move. It takes the place of the
// global Date, so it must be loaded before express-session.

const RealDate = Date
let now = 0
let drift = false

// With drift each look at the clock finds it a millisecond later, as happens to
// a program that looks twice.
function read() {
  return drift ? now++ : now
}

class FakeDate extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(read())
    else super(...args)
  }

  static now() {
    return read()
  }
}

globalThis.Date = FakeDate

module.exports = {
  set(ms, drifting) {
    now = ms
    drift = drifting
  },
  advance(ms) {
    now += ms
  },
  peek: () => now,
}
