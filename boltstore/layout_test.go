package boltstore_test

import (
	"encoding/binary"
	"testing"

	"go.etcd.io/bbolt"
)

// wantConsistent checks the database by bbolt's means, and that the tables agree.
func wantConsistent(t *testing.T, db *bbolt.DB) {
	t.Helper()
	err := db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("the database is damaged: %v", err)
		}
		home := tx.Bucket([]byte("sessions"))
		counts := map[string]int{}
		for _, name := range []string{"meta", "data", "expiry", "subject"} {
			counts[name] = home.Bucket([]byte(name)).Stats().KeyN
		}
		withSubject := 0
		err := home.Bucket([]byte("meta")).ForEach(func(id, m []byte) error {
			const dueAt, subjectAt = 33, 41
			due := binary.BigEndian.Uint64(m[dueAt:]) ^ 1<<63
			if home.Bucket([]byte("expiry")).Get(append(binary.BigEndian.AppendUint64(nil, due), id...)) == nil {
				t.Error("a record is not in the expiry index")
			}
			if home.Bucket([]byte("data")).Get(id) == nil {
				t.Error("a record has no data")
			}
			if subject := m[subjectAt:]; len(subject) > 0 {
				withSubject++
				key := append(append([]byte{byte(len(subject))}, subject...), id...)
				if home.Bucket([]byte("subject")).Get(key) == nil {
					t.Error("a record is not in the subject index")
				}
			}
			return nil
		})
		if counts["data"] != counts["meta"] || counts["expiry"] != counts["meta"] || counts["subject"] != withSubject {
			t.Errorf("entries of the tables: %v, of which %d have a subject", counts, withSubject)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
