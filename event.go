package session

import "time"

// An EventKind says what happened to a session.
type EventKind int

const (
	EventCreated   EventKind = iota + 1 // a new session was stored
	EventRenewed                        // a session got a new token
	EventDestroyed                      // a session was ended by its own request
	EventRevoked                        // a session was ended by Revoke and its kin, or Clear
	EventEvicted                        // a session was ended for Options.MaxPerSubject
	EventExpired                        // an expired session was presented
	EventUnknown                        // a well signed token was presented that the store does not know: signed out, swept, or stolen and used late
	EventForged                         // something was presented that we have not signed
	EventCorrupt                        // a record could not be read and was taken for absent
	EventConflict                       // a concurrent change was merged with
	EventLost                           // a session ended while a request used it
	EventImported                       // a session of another system was taken over
)

var eventNames = [...]string{
	EventCreated: "created", EventRenewed: "renewed", EventDestroyed: "destroyed", EventRevoked: "revoked",
	EventEvicted: "evicted", EventExpired: "expired", EventUnknown: "unknown", EventForged: "forged",
	EventCorrupt: "corrupt", EventConflict: "conflict", EventLost: "lost", EventImported: "imported",
}

func (k EventKind) String() string {
	if k < 1 || int(k) >= len(eventNames) {
		return "invalid"
	}
	return eventNames[k]
}

// An Event is something that happened to a session. It never holds a token: Mark
// is a short hash of the record's ID, the same for all events of one record and
// safe to log. It is empty where no record is known.
type Event struct {
	Kind    EventKind
	Mark    string
	Subject string
	Time    time.Time
}

func (m *Manager) event(kind EventKind, id, subject string) {
	if m.opts.OnEvent == nil {
		return
	}
	e := Event{Kind: kind, Subject: subject, Time: m.now()}
	if id != "" {
		e.Mark = logID(id)
	}
	m.opts.OnEvent(e)
}
