'use strict'

// A real Express application whose store saves when it is told to. It says on
// standard output what happens, as JSON lines, and obeys "release" on standard
// input.

const readline = require('readline')
const express = require('express')
const session = require('express-session')

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')

// How the store behaves is in the header X-Store of the request.
const mode = (req) => req.headers['x-store'] || ''

class HeldStore extends session.Store {
  constructor() {
    super()
    this.records = new Map()
    this.held = []
  }

  get(sid, fn) {
    const text = this.records.get(sid)
    setImmediate(fn, null, text && JSON.parse(text))
  }

  set(sid, s, fn) {
    const text = JSON.stringify(s)
    const save = () => {
      this.records.set(sid, text)
      fn(null)
      say({ event: 'saved', count: this.records.size })
    }
    switch (mode(s.req)) {
      case 'fail':
        return setImmediate(fn, new Error('the store is down'))
      case 'hold':
        this.held.push(save)
        // When the loop has gone round, all has been written that will be
        // written before the save is done.
        setImmediate(() => setImmediate(() => say({ event: 'held', written: s.req.socket.bytesWritten })))
        return
    }
    setImmediate(save)
  }

  touch(sid, s, fn) {
    setImmediate(fn, null)
  }

  destroy(sid, fn) {
    this.records.delete(sid)
    setImmediate(fn, null)
  }
}

const store = new HeldStore()
const app = express()
app.disable('x-powered-by')
app.disable('etag')
app.use((req, res, next) => {
  res.on('close', () => say({ event: 'closed', whole: res.writableFinished }))
  if (mode(req) === 'loadfail') store.get = (sid, fn) => setImmediate(fn, new Error('the store is down'))
  next()
})
app.use(session({ store, secret: 'keyboard cat', resave: false, saveUninitialized: false }))
app.use((req, res, next) => {
  req.session.n = (req.session.n || 0) + 1
  next()
})
app.get('/chunked', (req, res) => res.end('hello'))
app.get('/length', (req, res) => res.set('Content-Length', '5').end('hello'))
app.get('/length1', (req, res) => res.set('Content-Length', '1').end('x'))
app.get('/parts', (req, res) => {
  res.write('hel')
  res.end('lo')
})
app.get('/send', (req, res) => res.send('hello'))
app.get('/empty', (req, res) => res.end())
app.get('/204', (req, res) => res.status(204).end())
app.get('/304', (req, res) => res.status(304).end())
app.get('/redirect', (req, res) => res.redirect('/next'))
app.get('/error', () => {
  throw new Error('a mistake in a handler')
})
app.use((err, req, res, next) => {
  if (res.headersSent) return req.socket.destroy()
  res.status(500).end('sorry')
})

const server = app.listen(0, '127.0.0.1', () => say({ event: 'listening', port: server.address().port }))
readline.createInterface({ input: process.stdin }).on('line', () => store.held.splice(0).forEach((save) => save()))
process.stdin.on('close', () => process.exit(0))
