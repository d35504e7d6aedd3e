package natsstore

import "sync/atomic"

// A sighting is what this process knows of a version of a record: at a revision,
// the key had this version, subject and cover. That stays true for ever, because
// a revision is never changed. Whether it is still the last one, the server finds
// out when something is saved in its place.
type sighting struct {
	version, revision uint64
	subject           string
	cover             int64
}

func (h *held) sighting() *sighting {
	return &sighting{h.versionNow(), h.revision, h.subject, h.cover}
}

// sightings remembers the last sightings, so that a save needs not read first:
// where a record was touched the revision is not its version, and whether its
// place in the index is good for longer stands in the record. What was forgotten
// costs a request.
type sightings struct {
	slots [1 << 14]atomic.Pointer[sighting]
}

func (s *sightings) slot(version uint64) *atomic.Pointer[sighting] {
	return &s.slots[version%uint64(len(s.slots))]
}

func (s *sightings) note(last *sighting) { s.slot(last.version).Store(last) }

// of returns a sighting of the version, or nil.
func (s *sightings) of(version uint64) *sighting {
	if last := s.slot(version).Load(); last != nil && last.version == version {
		return last
	}
	return nil
}
