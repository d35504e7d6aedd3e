'use strict'

const clock = require('./clock')

const long = 3600000 // maxAge that the cookie function gives to some requests

function call(fn) {
  return new Promise((resolve) => fn(resolve))
}

// What a handler can do with its session, one name each.
const does = {
  get(x, a) {
    const s = x.req.session
    x.out.trace.push(a.key + '=' + (s ? JSON.stringify(s[a.key]) : undefined))
  },
  set(x, a) {
    x.watch.order.add(a.key)
    x.req.session[a.key] = a.value
  },
  same(x, a) {
    const value = x.req.session ? x.req.session[a.key] : undefined
    if (value !== undefined) x.req.session[a.key] = JSON.parse(JSON.stringify(value))
  },
  push(x, a) {
    const s = x.req.session
    x.watch.order.add(a.key)
    if (!Array.isArray(s[a.key])) s[a.key] = []
    s[a.key].push(a.value)
  },
  del(x, a) {
    x.watch.order.delete(a.key)
    if (x.req.session) delete x.req.session[a.key] // to remove nothing from nothing is no mistake
  },
  async save(x) {
    const s = x.req.session
    await call((done) => s.save(done))
    x.mark('save')
  },
  // Not what handlers do, but how rules put it: save as at the end.
  async first(x, a) {
    const s = x.req.session
    s.touch()
    await call((done) => s.save(done))
    x.mark(a.key || 'first')
  },
  touch(x) {
    x.req.session.touch()
    x.watch.touch = true
  },
  async reload(x) {
    const s = x.req.session
    const err = await call((done) => s.reload(done))
    x.out.trace.push('reload ' + (err ? 'failed' : 'ok'))
    if (!err) {
      x.watch.attr = false
      x.watch.order.clear()
      x.watch.last = x.req.session
    }
  },
  async regenerate(x) {
    const s = x.req.session
    await call((done) => s.regenerate(done))
    x.watch.attr = x.watch.touch = false
    x.watch.order.clear()
    x.watch.last = x.req.session
    x.out.regenerated = true
  },
  async destroy(x) {
    const s = x.req.session
    await call((done) => s.destroy(done))
    x.out.destroyed = true
  },
  null(x) {
    x.req.session = null
    x.watch.nulled = true
  },
  maxAge(x, a) {
    x.req.session.cookie.maxAge = a.value
    x.watch.attr = true
  },
  expires(x, a) {
    x.req.session.cookie.expires = a.value === null ? null : new Date(a.value)
    x.watch.attr = true
  },
  originalMaxAge(x, a) {
    x.req.session.cookie.originalMaxAge = a.value
    x.watch.attr = true
  },
  attr(x, a) {
    x.req.session.cookie[a.key] = a.value
    x.watch.attr = true
  },
  id(x) {
    x.out.trace.push('id=' + (x.req.session ? x.req.session.id : ''))
  },
  left(x) {
    const s = x.req.session
    x.mark('left')
    x.out.trace.push('left=' + (s ? s.cookie.maxAge : null))
  },
  period(x) {
    const s = x.req.session
    x.out.trace.push('period=' + (s ? s.cookie.originalMaxAge : null))
  },
  tick(x, a) {
    clock.advance(a.value)
  },
  write(x) {
    x.res.write('part;')
  },
  other(x) {
    x.res.appendHeader('Set-Cookie', 'other=1')
  },
  throw() {
    throw new Error('as the scenario wants it')
  },
}

const ends = {
  end: (res) => res.end('done'),
  empty: (res) => res.end(),
  length(res) {
    if (!res.headersSent) res.setHeader('Content-Length', 4)
    res.end('done')
  },
  redirect(res) {
    if (!res.headersSent) res.writeHead(302, { Location: '/next' })
    res.end('to /next')
  },
  nocontent(res) {
    if (!res.headersSent) res.statusCode = 204
    res.end()
  },
  notmodified(res) {
    if (!res.headersSent) res.statusCode = 304
    res.end()
  },
  head(res) {
    if (!res.headersSent) res.writeHead(404, { 'Set-Cookie': ['late=1'] })
    res.end('gone')
  },
}

async function run(input, req, res, out, watch, mark) {
  const x = { req, res, out, watch, mark }
  for (const a of input.actions || []) {
    await does[a.op](x, a)
  }
  ends[input.end](res)
}

module.exports = { run, long }
