// Package byo tests what others bring: the stores of alexedwards/scs and of
// gofiber/storage, as stores of ours and as those from which sessions are taken
// over. It is a module of its own, so that they are in nobody else's go.mod.
package byo
