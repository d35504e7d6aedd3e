package demo

import "github.com/coatcheck/session"

// What the demo keeps in a session.
var (
	// Two tabs that are opened at the same time count as two visits.
	visitsKey = session.NewKey[int]("visits", session.Sum)
	noteKey   = session.NewKey[string]("note")

	// Set at sign-in, and read in the records of the list.
	deviceKey = session.NewKey[device]("device")

	flashKey = session.NewKey[flash]("flash")
	formKey  = session.NewKey[form]("form")
)

// A flash is a message for the next page that is shown.
type flash struct {
	Text  string `json:"text"`
	Error bool   `json:"error,omitzero"`
}

// A form is what was entered in a form that has to be shown again. A password is
// never in it.
type form struct {
	Name     string `json:"name"`
	Remember bool   `json:"remember,omitzero"`
}
