'use strict'

const express = require('express')
const session = require('express-session')
const { Passport } = require('passport')
const { Strategy } = require('passport-local')
const users = require('./users')

// createApp makes the application that the tests talk to. Our handler in
// site_test.go has the same routes and answers in the same form.
exports.createApp = function ({ secrets, cookie, name }, store) {
  const passport = new Passport()
  passport.use(new Strategy((username, password, done) => {
    const user = users.byPassword(username, password)
    return user ? done(null, user) : done(null, false, { message: 'Bad password' })
  }))
  passport.serializeUser((user, done) => done(null, user.id))
  passport.deserializeUser((id, done) => done(null, users.byID(id)))

  const app = express()
  app.use(express.json())
  app.use(session({ store, secret: secrets, name, cookie, resave: false, saveUninitialized: false }))
  app.use(passport.session())

  const view = (req, res) => {
    const { cookie, __lastAccess, ...rest } = req.session
    res.json({
      id: req.sessionID,
      name: req.user ? req.user.name : '',
      data: JSON.stringify(rest),
      maxAge: cookie.originalMaxAge
    })
  }

  app.get('/view', view)
  app.post('/login', passport.authenticate('local', { failureMessage: true }), view)
  app.post('/logout', (req, res, next) => req.logout((err) => err ? next(err) : view(req, res)))
  app.post('/destroy', (req, res, next) => req.session.destroy((err) => err ? next(err) : res.json({})))
  app.post('/regenerate', (req, res, next) => {
    req.session.regenerate((err) => err ? next(err) : view(req, res))
  })
  // A new ID for the same session, which express-session has no method for.
  app.post('/renew', (req, res, next) => {
    const { cookie, ...rest } = req.session
    req.session.regenerate((err) => {
      if (err) return next(err)
      Object.assign(req.session, rest)
      view(req, res)
    })
  })
  app.post('/set', (req, res) => {
    Object.assign(req.session, req.body)
    view(req, res)
  })
  app.post('/delete', (req, res) => {
    delete req.session[req.query.key]
    view(req, res)
  })
  app.post('/add', (req, res) => {
    req.session[req.query.key] = (req.session[req.query.key] || 0) + 1
    view(req, res)
  })
  app.post('/maxage', (req, res) => {
    req.session.cookie.maxAge = req.body.ms
    req.session.remembered = req.body.ms
    view(req, res)
  })
  // A request that goes on until /release, which itself waits until there is one.
  let begin
  let begun = new Promise((resolve) => { begin = resolve })
  app.post('/slow', (req, res) => {
    if (req.query.set) req.session.late = true
    begin(() => view(req, res))
  })
  app.get('/begun', (req, res) => begun.then(() => res.json({})))
  app.get('/release', async (req, res) => {
    const end = await begun
    begun = new Promise((resolve) => { begin = resolve })
    end()
    res.json({})
  })
  // What connect-flash keeps.
  app.post('/flash', (req, res) => {
    req.session.flash = { error: ['No such page', '<\u2028>'], info: ['Welcome'] }
    view(req, res)
  })
  app.use((err, req, res, next) => {
    console.error(err)
    res.status(500).json({ error: String(err.stack) })
  })
  return app
}
