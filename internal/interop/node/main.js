'use strict'

// Starts an application for each line of its input, and answers each with a line
// that tells the port. It ends with its input, so that it never outlives a test.

const readline = require('node:readline')
const { createApp } = require('./app')
const { openStore } = require('./stores')

async function start (config) {
  const app = createApp(config, await openStore(config.store))
  const server = app.listen(0, '127.0.0.1')
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject))
  return server.address().port
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    start(JSON.parse(line)).then(
      (port) => console.log(JSON.stringify({ port })),
      (err) => console.log(JSON.stringify({ error: String(err.stack) })))
  })
  .on('close', () => process.exit(0))
