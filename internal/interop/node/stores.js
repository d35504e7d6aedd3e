'use strict'

const session = require('express-session')

// Each has the options that docs/moving-from-express.md tells, ttl in seconds.
const kinds = {
  async postgres ({ url, timeZone, ttl, createTable }) {
    const { Pool } = require('pg')
    const PGStore = require('connect-pg-simple')(session)
    const pool = new Pool({ connectionString: url, options: `-c TimeZone=${timeZone}` })
    const store = new PGStore({ pool, ttl, createTableIfMissing: createTable, pruneSessionInterval: false })
    if (createTable) await store._rawEnsureSessionStoreTable()
    return store
  },

  async mysql ({ url, ttl, createTable }) {
    const MySQLStore = require('express-mysql-session')(session)
    const { hostname, port, username, pathname } = new URL(url)
    const store = new MySQLStore({
      host: hostname, port: Number(port), user: username, password: '', database: pathname.slice(1),
      expiration: ttl * 1000, createDatabaseTable: createTable, clearExpired: false
    })
    await store.onReady()
    return store
  },

  async file ({ path, ttl }) {
    const FileStore = require('session-file-store')(session)
    return new FileStore({ path, ttl, retries: 0, reapInterval: -1, logFn () {} })
  },

  async redis ({ url, prefix, ttl }) {
    const { RedisStore } = require('connect-redis')
    const { createClient } = require('redis')
    const client = createClient({ url })
    client.on('error', (err) => console.error(err))
    await client.connect()
    return new RedisStore({ client, prefix, ttl })
  },

  // The server has no TTL indexes, which autoRemove would ask for by default.
  async mongo ({ url, ttl, options }) {
    const { MongoStore } = require('connect-mongo')
    const store = MongoStore.create({ mongoUrl: url, ttl, autoRemove: 'disabled', ...options })
    await store.collectionP
    return store
  }
}

exports.openStore = (config) => kinds[config.kind](config)
