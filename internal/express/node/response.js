'use strict'

const http = require('http')
const { Writable } = require('stream')

// A pair of a real IncomingMessage and a real ServerResponse on a socket that
// only collects what is written, so that what is judged are the bytes.
function exchange(input) {
  const chunks = []
  const socket = new Writable({
    write(chunk, encoding, done) {
      chunks.push(chunk)
      done()
    },
  })
  if (input.tls) socket.encrypted = true
  const req = new http.IncomingMessage(socket)
  req.method = input.method
  req.url = input.path
  req.httpVersion = '1.1'
  req.httpVersionMajor = 1
  req.httpVersionMinor = 1
  req.headers = { host: 'app.example.com' }
  // Node takes the bytes of a header for Latin-1.
  if (input.cookie) req.headers.cookie = Buffer.from(input.cookie).toString('latin1')
  if (input.forwarded) req.headers['x-forwarded-proto'] = input.forwarded
  if (input.long) req.headers['x-long'] = '1'
  if (input.appSecure) req.secure = true
  const res = new http.ServerResponse(req)
  res.assignSocket(socket)
  return {
    req,
    res,
    done: new Promise((resolve) => res.on('finish', resolve)),
    parse() {
      const text = Buffer.concat(chunks).toString('latin1')
      const head = text.slice(0, text.indexOf('\r\n\r\n')).split('\r\n')
      const setCookie = head.slice(1).filter((l) => /^set-cookie:/i.test(l)).map((l) => l.slice(12))
      return { status: Number(head[0].split(' ')[1]), setCookie }
    },
  }
}

module.exports = exchange
