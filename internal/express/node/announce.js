'use strict'

// Loaded before a program of the documentation: wherever the program wants to
// listen, it gets a free port of this machine, and says which.

const net = require('net')
const listen = net.Server.prototype.listen

net.Server.prototype.listen = function (port, ...rest) {
  this.once('listening', () => console.log('port ' + this.address().port))
  return listen.call(this, 0, '127.0.0.1', ...rest)
}
