'use strict'

// Answers questions about express-session: each line of standard input is a
// request with the state of the world before it, each line of standard output
// is what came of it. See ../scenario.go for the fields.

const clock = require('./clock') // first: it replaces Date
const readline = require('readline')
const cookie = require('cookie')
const onHeaders = require('on-headers')
const session = require('express-session')
const TextStore = require('./store')
const exchange = require('./response')
const actions = require('./actions')

function cookieOptions(o) {
  const c = { ...o }
  if (typeof c.expires === 'number') c.expires = new Date(c.expires)
  return c
}

function middleware(input, store) {
  const { cookie: c, ...rest } = input.opts
  const made = cookieOptions(c)
  let next = 0
  return session({
    ...rest,
    store,
    genid: () => input.ids[next++],
    cookie: input.func ? (req) => (req.headers['x-long'] ? { ...made, maxAge: actions.long } : made) : made,
  })
}

// What a program can see of the session without looking into express-session:
// all but the cookie.
function content(s) {
  if (!s) return null
  const { cookie, ...rest } = s
  return JSON.stringify(rest)
}

// The session as express-session would save it now, after its touch, and its
// life in ms if it has one.
function touched(s, input) {
  if (!s || !s.cookie) return {}
  const data = { ...s.cookie.data }
  const period = data.originalMaxAge
  data.expires = typeof period === 'number' ? new Date(clock.peek() + period) : period
  const copy = {}
  for (const key of Object.keys(s)) copy[key] = key === 'cookie' ? data : s[key]
  return {
    json: JSON.stringify(copy),
    period: typeof period === 'number' ? period : null,
    sendable: input.secure || input.opts.cookie.secure === 'auto' || !data.secure,
  }
}

// The cookie as express-session would write it now, if it wrote one; the same
// with what the record does not say filled in from the options; and the same
// with "auto" resolved for this request. These let a rule say which of Express's
// own texts ours must equal.
function cookieTexts(input, sess, secure, sent) {
  const data = { ...sess.cookie.data }
  const period = data.originalMaxAge
  data.expires = typeof period === 'number' ? new Date(clock.peek() + period) : period
  const filled = { ...data }
  for (const key of ['domain', 'sameSite', 'partitioned', 'priority']) {
    if (filled[key] === undefined && input.opts.cookie[key] !== 'auto') filled[key] = input.opts.cookie[key]
  }
  const auto = { ...filled }
  if (input.opts.cookie.secure === 'auto') auto.secure = secure
  const resolved = ['lax', 'none', 'auto', undefined].includes(auto.sameSite)
  if (resolved && input.opts.cookie.sameSite === 'auto') auto.sameSite = secure ? 'none' : 'lax'
  const value = sent ? sent : ''
  const text = (d) => {
    try {
      return d.secure && !secure && sent ? '' : cookie.serialize(input.opts.name || 'connect.sid', value, d)
    } catch {
      return '' // express-session passes the error on and sends no cookie
    }
  }
  if (!sent) for (const d of [data, filled, auto]) d.expires = new Date(0)
  return { plain: text(data), filled: text(filled), auto: text(auto) }
}

async function answer(input) {
  clock.set(input.now, input.drift)
  const store = new TextStore(input.store)
  const x = exchange(input)
  const { req, res } = x
  const secure = input.secure
  const out = { id: input.id, trace: [], errors: [], marks: [], came: false, ran: false }
  const watch = { attr: false, touch: false, last: null, order: new Set() }
  const mark = (kind) => {
    const s = req.session
    out.marks.push({
      kind,
      t: clock.peek(),
      id: s ? s.id : '',
      data: content(s),
      ...touched(s, input),
      attr: watch.attr,
      touch: watch.touch,
      order: [...watch.order],
      regenerated: Boolean(out.regenerated),
      came: out.came && Boolean(s) && s.id === out.sid,
      store: store.content(),
    })
    if (kind !== 'left') watch.attr = watch.touch = false
  }
  onHeaders(res, () => {
    // registered before express-session, so called after it
    const s = req.session || watch.last
    mark('header')
    if (!s || !s.cookie) return
    const sid = req.sessionID
    try {
      out.cookie = cookieTexts(input, s, secure, 's:' + sign(sid, input.opts.secret[0]))
      out.clear = cookieTexts(input, s, secure, null)
    } catch (err) {
      out.errors.push(String(err))
    }
    out.alive = Boolean(req.session)
    out.dropped = Boolean(req.session === null || (req.session === undefined && watch.nulled))
  })
  let failed = false
  const fail = (err) => {
    out.errors.push(String(err && err.message))
    if (failed || res.writableEnded) return
    failed = true
    mark('throw')
    if (!res.headersSent) {
      res.statusCode = 500
      res.removeHeader('content-length')
      res.removeHeader('set-cookie')
    }
    res.end('error')
  }
  middleware(input, store)(req, res, (err) => {
    if (err) return fail(err)
    out.came = Boolean(req.session) && out.ran === false && store.records.has(req.sessionID)
    out.ran = true
    out.sid = req.sessionID || ''
    watch.last = req.session || null
    actions.run(input, req, res, out, watch, mark).catch(fail)
  })
  await x.done
  await new Promise(setImmediate)
  mark('end')
  Object.assign(out, x.parse())
  out.store = store.content()
  out.ops = store.ops
  return out
}

const crypto = require('crypto')
function sign(value, secret) {
  const sum = crypto.createHmac('sha256', secret).update(value).digest('base64')
  return value + '.' + sum.replace(/=+$/, '')
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    let out
    const input = JSON.parse(line)
    try {
      out = await answer(input)
    } catch (err) {
      out = { id: input.id, crash: String(err && err.stack) }
    }
    process.stdout.write(JSON.stringify(out) + '\n')
  }
}

main()
