// Package browser tests the demo of sessionctl as a visitor meets it: the real
// program in a process of its own, in a real Chromium. It is a module of its own
// because nothing else needs what drives the browser.
package browser
