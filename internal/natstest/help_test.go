package natstest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/natsstore"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func record(id, subject string) session.Record {
	return session.Record{
		ID: id, Subject: subject, Data: []byte(`{"n":1}`),
		Created: now(), LastSeen: now(), Expires: now().Add(time.Hour),
	}
}

// limited returns a context that ends when something is stuck.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// save saves the record and notes its version in it.
func save(t testing.TB, s session.Store, rec *session.Record) {
	t.Helper()
	version, err := s.Save(limited(t), rec)
	if err != nil {
		t.Fatal(err)
	}
	rec.Version = version
}

func load(t testing.TB, s session.Store, id string) session.Record {
	t.Helper()
	rec, err := s.Load(limited(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func touch(t testing.TB, s session.Toucher, id string, expires time.Time) {
	t.Helper()
	if err := s.Touch(limited(t), id, now(), expires); err != nil {
		t.Fatal(err)
	}
}

// list returns the IDs of a list, in their order, each once.
func list(t testing.TB, s session.Lister, subject string, limit int) (ids []string) {
	t.Helper()
	q := session.Query{Subject: subject, Limit: limit}
	for {
		page, next, err := s.List(limited(t), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range page {
			ids = append(ids, rec.ID)
		}
		if next == "" {
			slices.Sort(ids)
			return slices.Compact(ids)
		}
		q.Cursor = next
	}
}

func wantList(t testing.TB, s session.Lister, subject string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := list(t, s, subject, 100); !slices.Equal(got, want) {
		t.Errorf("the list of %q is %q, want %q", subject, got, want)
	}
}

// messages returns all that is in the stream of a bucket, markers too.
func messages(t testing.TB, js jetstream.JetStream, bucket string) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	ctx := limited(t)
	stream, err := js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(1)
	for {
		m, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
		seq = m.Sequence + 1
	}
}

// withClock returns the store that another process with another clock has.
func withClock(t testing.TB, js jetstream.JetStream, bucket string, clock func() time.Time) *natsstore.Store {
	t.Helper()
	return newStore(t, js, natsstore.Options{Bucket: bucket, Now: clock})
}

func later(d time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(d) }
}

func second[T any](_ T, err error) error { return err }
