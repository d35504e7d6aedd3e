package cookiestore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cookiestore"
)

func TestNewRefuses(t *testing.T) {
	for _, row := range []struct {
		name    string
		secrets []session.Secret
		opts    *cookiestore.Options
		want    string
	}{
		{"no secret", nil, nil, "there is no secret"},
		{"a short secret", []session.Secret{secret, "short"}, nil, "secret 2 has 5 bytes"},
		{"a negative limit", []session.Secret{secret}, &cookiestore.Options{MaxBytes: -1}, "MaxBytes"},
		{"more than can travel", []session.Secret{secret}, &cookiestore.Options{MaxBytes: 16385}, "at most 16384"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := cookiestore.New(row.secrets, row.opts)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v", err)
			} else if strings.Contains(err.Error(), "short") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	store := newStore(t, nil)
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(form, store); got != "cookiestore.Store" {
			t.Errorf("%s: %s", form, got)
		}
	}
}

func testRecord(id string) session.Record {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return session.Record{ID: id, Subject: "user-1", Data: []byte(`{"n":0}`), Created: now, LastSeen: now, Expires: now.Add(time.Hour)}
}

// sealed returns the parcel that the store makes of a record.
func sealed(t *testing.T, store *cookiestore.Store, rec session.Record) []byte {
	t.Helper()
	j := &jar{parcels: make(map[string][][]byte)}
	if _, err := store.Save(session.WithParcels(t.Context(), j), &rec); err != nil {
		t.Fatal(err)
	}
	return j.Get(rec.ID)[0]
}

// opens reports whether one of the parcels opens as the record with the ID.
func opens(t *testing.T, store *cookiestore.Store, id string, parcels ...[]byte) (session.Record, bool) {
	t.Helper()
	rec, err := store.Load(session.WithParcels(t.Context(), &jar{parcels: map[string][][]byte{id: parcels}}), id)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		t.Fatal(err)
	}
	return rec, err == nil
}

// What an attacker can do with parcels that he has.
func TestOnlyTheParcelItselfOpens(t *testing.T) {
	store := newStore(t, nil)
	rec := testRecord("an ID")
	parcel := sealed(t, store, rec)
	if got, ok := opens(t, store, rec.ID, parcel); !ok || got.Subject != rec.Subject {
		t.Fatal("the parcel itself does not open")
	}
	for i := range parcel {
		for bit := range 8 {
			changed := append([]byte(nil), parcel...)
			changed[i] ^= 1 << bit
			if _, ok := opens(t, store, rec.ID, changed); ok {
				t.Fatalf("opens with bit %d of byte %d changed", bit, i)
			}
		}
	}
	for n := range parcel {
		if _, ok := opens(t, store, rec.ID, parcel[:n]); ok {
			t.Fatalf("opens cut to %d bytes", n)
		}
	}
	other := sealed(t, store, testRecord("another ID"))
	half := len(parcel) / 2
	for name, forged := range map[string][]byte{
		"with a byte more":           append(parcel[:len(parcel):len(parcel)], 0),
		"twice":                      append(parcel[:len(parcel):len(parcel)], parcel...),
		"with the half of another's": append(parcel[:half:half], other[half:]...),
		"of another session":         other,
	} {
		if _, ok := opens(t, store, rec.ID, forged); ok {
			t.Errorf("opens %s", name)
		}
	}
	if _, ok := opens(t, store, "another ID", parcel); ok {
		t.Error("opens for another session")
	}
	for name, foreign := range map[string]*cookiestore.Store{
		"another secret":  newStore(t, nil, oldSecret),
		"another purpose": newStore(t, &cookiestore.Options{Purpose: "admin"}),
	} {
		if _, ok := opens(t, foreign, rec.ID, parcel); ok {
			t.Errorf("opens with %s", name)
		}
	}
	if string(parcel) == string(sealed(t, store, rec)) {
		t.Error("the same record is sealed to the same parcel")
	}
}

func TestOfSeveralParcelsTheLatestCounts(t *testing.T) {
	store := newStore(t, nil)
	early, late := testRecord("an ID"), testRecord("an ID")
	late.LastSeen, late.Data = late.LastSeen.Add(time.Second), []byte(`{"n":1}`)
	a, b, junk := sealed(t, store, early), sealed(t, store, late), []byte("junk")
	for _, parcels := range [][][]byte{{a, b}, {b, a}, {junk, a, b, junk}, {b}, {b, b}} {
		if rec, ok := opens(t, store, "an ID", parcels...); !ok || string(rec.Data) != `{"n":1}` {
			t.Errorf("%s, %v", rec.Data, ok)
		}
	}
}

func TestKeysAreRotated(t *testing.T) {
	old, both, next := newStore(t, nil, oldSecret), newStore(t, nil, secret, oldSecret), newStore(t, nil)
	rec := testRecord("an ID")
	if _, ok := opens(t, both, rec.ID, sealed(t, old, rec)); !ok {
		t.Error("what the old secret has sealed does not open")
	}
	if _, ok := opens(t, next, rec.ID, sealed(t, both, rec)); !ok {
		t.Error("the new secret does not seal")
	}
	if _, ok := opens(t, next, rec.ID, sealed(t, old, rec)); ok {
		t.Error("what a secret has sealed that was removed opens")
	}
}

func TestTheLimit(t *testing.T) {
	for _, row := range []struct {
		name string
		opts *cookiestore.Options
		data string
		fits bool
	}{
		{"2200 bytes fit by default", nil, strings.Repeat("x", 2200), true},
		{"2300 bytes do not", nil, strings.Repeat("x", 2300), false},
		{"compressed they do", &cookiestore.Options{Compress: true}, strings.Repeat("x", 2300), true},
		{"the greatest limit holds 12 KB", &cookiestore.Options{MaxBytes: 16384}, strings.Repeat("x", 12_200), true},
		{"and no more", &cookiestore.Options{MaxBytes: 16384}, strings.Repeat("x", 12_300), false},
		{"64 KiB are compressed", &cookiestore.Options{Compress: true}, strings.Repeat("x", 64<<10), true},
		{"and no more", &cookiestore.Options{Compress: true}, strings.Repeat("x", 64<<10+1), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			store := newStore(t, row.opts)
			j := &jar{parcels: make(map[string][][]byte)}
			ctx := session.WithParcels(t.Context(), j)
			rec := testRecord("an ID")
			var err error
			if rec.Version, err = store.Save(ctx, &rec); err != nil {
				t.Fatal(err)
			}
			before := j.Get(rec.ID)[0]
			rec.Data = []byte(row.data)
			_, err = store.Save(ctx, &rec)
			if row.fits {
				if err != nil {
					t.Fatal(err)
				}
				if got, ok := opens(t, store, rec.ID, j.Get(rec.ID)...); !ok || string(got.Data) != row.data {
					t.Error("it does not come back")
				}
				return
			}
			if !errors.Is(err, session.ErrTooLarge) || !strings.Contains(err.Error(), "keep large things elsewhere") {
				t.Error(err)
			}
			if string(j.Get(rec.ID)[0]) != string(before) {
				t.Error("the former state is gone")
			}
		})
	}
}

func TestRevokedBefore(t *testing.T) {
	rec := testRecord("an ID")
	down := errors.New("the database is down")
	anonymous := rec
	anonymous.Subject = ""
	for _, row := range []struct {
		name   string
		rec    session.Record
		before time.Time
		err    error
		found  bool
	}{
		{"nothing is revoked by the zero time", rec, time.Time{}, nil, true},
		{"a later sign-in counts", rec, rec.Created.Add(-time.Millisecond), nil, true},
		{"the sign-in of the same millisecond counts", rec, rec.Created.Add(999 * time.Microsecond), nil, true},
		{"an earlier sign-in does not", rec, rec.Created.Add(time.Millisecond), nil, false},
		{"nobody asks for anonymous sessions", anonymous, time.Time{}, down, true},
		{"a failure is not an absence", rec, time.Time{}, down, false},
		{"nor is it if it looks like one", rec, time.Time{}, fmt.Errorf("no such user: %w", session.ErrNotFound), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			store := newStore(t, &cookiestore.Options{RevokedBefore: func(_ context.Context, subject string) (time.Time, error) {
				if subject != row.rec.Subject || subject == "" {
					t.Errorf("asked for %q", subject)
				}
				return row.before, row.err
			}})
			parcel := sealed(t, store, row.rec)
			_, err := store.Load(session.WithParcels(t.Context(), &jar{parcels: map[string][][]byte{rec.ID: {parcel}}}), rec.ID)
			switch {
			case row.found:
				if err != nil {
					t.Error(err)
				}
			case row.err != nil:
				if err == nil || errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), row.err.Error()) {
					t.Error(err)
				}
			case !errors.Is(err, session.ErrNotFound):
				t.Error(err)
			}
		})
	}
}
