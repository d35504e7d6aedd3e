'use strict'

const { Store } = require('express-session')
const clock = require('./clock')

const day = 86400000 // what the stores of Express take for a session without expiry

// A store that behaves as connect-redis does: it keeps the JSON text, and the
// expiry beside it, and touch moves only the expiry. It notes what it is asked.
class TextStore extends Store {
  constructor(records) {
    super()
    this.records = new Map((records || []).map((r) => [r.id, { data: r.data, expires: r.expires }]))
    this.ops = []
  }

  note(op, sid) {
    this.ops.push(op + ' ' + sid)
  }

  live(sid) {
    const r = this.records.get(sid)
    return r !== undefined && r.expires > clock.peek()
  }

  until(session) {
    const e = session.cookie.expires
    return e ? e.valueOf() : clock.peek() + day
  }

  get(sid, fn) {
    this.note('get', sid)
    let session
    try {
      if (this.live(sid)) session = JSON.parse(this.records.get(sid).data)
    } catch (err) {
      return setImmediate(fn, err)
    }
    setImmediate(fn, null, session)
  }

  set(sid, session, fn) {
    this.note('set', sid)
    this.records.set(sid, { data: JSON.stringify(session), expires: this.until(session) })
    setImmediate(fn, null)
  }

  touch(sid, session, fn) {
    this.note('touch', sid)
    const r = this.records.get(sid)
    if (r) r.expires = this.until(session)
    setImmediate(fn, null)
  }

  destroy(sid, fn) {
    this.note('destroy', sid)
    this.records.delete(sid)
    if (fn) setImmediate(fn, null)
  }

  content() {
    return [...this.records].map(([id, r]) => ({ id, data: r.data, expires: r.expires }))
  }
}

module.exports = TextStore
