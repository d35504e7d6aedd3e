module github.com/coatcheck/session/gorillasession

go 1.26.0

require (
	github.com/coatcheck/session v0.0.0
	github.com/gorilla/securecookie v1.1.2
	github.com/gorilla/sessions v1.4.0
)

replace github.com/coatcheck/session => ../
