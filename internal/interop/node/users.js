'use strict'

// Number and string ids, some of which look alike. The comparison is strict, as
// that of a Map or of a typed database column is: "7" does not find the user 7.
const users = [
  { id: 7, name: 'ada' },
  { id: '7', name: 'seven' },
  { id: 'tj', name: 'tj' }
]

exports.byID = (id) => users.find((user) => user.id === id) || false
exports.byPassword = (name, password) => users.find((user) => user.name === name && password === 'secret of ' + name) || false
