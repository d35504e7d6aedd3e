package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/internal/storefacts"
	"github.com/coatcheck/session/mongostore"
	"github.com/coatcheck/session/sessiontest"
)

// mongoDatabase returns a database through a client of its own, which tells the
// monitor, if there is one, of each command.
func mongoDatabase(tb testing.TB, db servers.Database, monitor *event.CommandMonitor) *mongo.Database {
	tb.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(db.URL).SetMonitor(monitor))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { client.Disconnect(context.Background()) })
	return client.Database(db.Name)
}

func newMongoStore(tb testing.TB, coll *mongo.Collection, opts mongostore.Options) *mongostore.Store {
	tb.Helper()
	store, err := mongostore.New(coll, &opts)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

// mongoSuite returns the conformance suite on a server of its own. Every store has a
// collection of its own, with indexes as far as the server has them.
func mongoSuite(t *testing.T, opts mongostore.Options) sessiontest.Suite {
	server := servers.Mongo(t)
	db := server.NewDatabase()
	var collections sync.Map // of a store
	var count atomic.Int64
	openAt := func(t *testing.T, collection string) *mongostore.Store {
		store := newMongoStore(t, mongoDatabase(t, db, nil).Collection(collection), opts)
		collections.Store(session.Store(store), collection)
		return store
	}
	again := func(t *testing.T, store session.Store) session.Store {
		collection, _ := collections.Load(store)
		return openAt(t, collection.(string))
	}
	s := sessiontest.Suite{
		New: func(t *testing.T) session.Store {
			store := openAt(t, fmt.Sprint("sessions-", count.Add(1)))
			if err := store.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			return store
		},
		Reopen: again,
		Peer:   again,
		Outage: func(*testing.T, session.Store) func() {
			server.Kill()
			return server.Restart
		},
	}
	if opts.Layout == mongostore.Express {
		s.Layout = sessiontest.Layout{NoCreated: true, NoLastSeen: true, ContentVersion: true, Data: withPassport}
	}
	return s
}

func TestMongoConformance(t *testing.T) {
	t.Parallel()
	suite := mongoSuite(t, mongostore.Options{NoTTL: true})
	suite.Run(t)
	storefacts.Measure(t, "mongostore", storefacts.Network, suite)
}

func TestMongoConformanceExpress(t *testing.T) {
	t.Parallel()
	mongoSuite(t, mongostore.Options{NoTTL: true, Layout: mongostore.Express}).Run(t)
}

// TestMongoRoundTrips counts the commands that the driver sends.
func TestMongoRoundTrips(t *testing.T) {
	db := servers.SharedMongo(t).NewDatabase()
	for _, test := range []struct {
		layout mongostore.Layout
		want   map[string]string
	}{
		{mongostore.Native, map[string]string{
			"load": "find", "load of a missing record": "find", "insert": "insert", "save": "update", "conflict": "update",
			"touch": "update", "touch of a missing record": "update", "delete": "delete", "ping": "find",
			"list": "find", "list of a subject": "find", "sweep of nothing": "find", "sweep": "find delete",
		}},
		{mongostore.Express, map[string]string{
			"load": "find", "load of a missing record": "find", "insert": "insert", "save": "find update", "conflict": "find",
			"touch": "update", "touch of a missing record": "update find", "delete": "delete", "ping": "find",
			"list": "find", "list of a subject": "find", "sweep of nothing": "find", "sweep": "find delete",
		}},
	} {
		var sent []string
		turns := map[string]int{}
		coll := mongoDatabase(t, db, &event.CommandMonitor{
			Started: func(_ context.Context, e *event.CommandStartedEvent) { sent = append(sent, e.CommandName) },
		}).Collection(test.layout.String())
		store := newMongoStore(t, coll, mongostore.Options{Layout: test.layout, NoTTL: true})
		if err := store.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		rec := mongoRecord("a", "alice")
		stale := rec
		stale.Version = 1
		var err error
		for _, op := range []struct {
			name string
			run  func()
			is   error
		}{
			{"insert", func() { rec.Version, err = store.Save(t.Context(), &rec) }, nil},
			{"load", func() { _, err = store.Load(t.Context(), "a") }, nil},
			{"load of a missing record", func() { _, err = store.Load(t.Context(), "b") }, session.ErrNotFound},
			{"save", func() { rec.Version, err = store.Save(t.Context(), &rec) }, nil},
			{"conflict", func() { _, err = store.Save(t.Context(), &stale) }, session.ErrConflict},
			{"touch", func() { err = store.Touch(t.Context(), "a", now(), now().Add(2*time.Hour)) }, nil},
			{"touch of a missing record", func() { err = store.Touch(t.Context(), "b", now(), now()) }, session.ErrNotFound},
			{"ping", func() { err = store.Ping(t.Context()) }, nil},
			{"list", func() { _, _, err = store.List(t.Context(), session.Query{Limit: 10}) }, nil},
			{"list of a subject", func() { _, _, err = store.List(t.Context(), session.Query{Subject: "alice", Limit: 10}) }, nil},
			{"sweep of nothing", func() { _, err = store.Sweep(t.Context(), now()) }, nil},
			{"sweep", func() { _, err = store.Sweep(t.Context(), now().Add(3*time.Hour)) }, nil},
			{"delete", func() { err = store.Delete(t.Context(), "a") }, nil},
		} {
			sent = nil
			op.run()
			if !errors.Is(err, op.is) {
				t.Errorf("%v: %s: %v", test.layout, op.name, err)
			}
			if got := strings.Join(sent, " "); got != test.want[op.name] {
				t.Errorf("%v: %s sends %s, want %s", test.layout, op.name, got, test.want[op.name])
			}
			turns[op.name] = len(sent)
		}
		if test.layout == mongostore.Native {
			storefacts.Turns(t, "mongostore", turns["load"], turns["save"], turns["touch"])
		}
	}
}

func mongoRecord(id, subject string) session.Record {
	return session.Record{ID: id, Subject: subject, Data: withPassport([]byte(`{"n":0}`), subject),
		Created: now(), LastSeen: now(), Expires: now().Add(time.Hour)}
}

// TestMongoServerComesUp makes a store while the server is down.
func TestMongoServerComesUp(t *testing.T) {
	server := servers.Mongo(t)
	db := server.NewDatabase()
	db.URL += "?serverSelectionTimeoutMS=2000"
	coll := mongoDatabase(t, db, nil).Collection("sessions")
	server.Stop()
	store := newMongoStore(t, coll, mongostore.Options{NoTTL: true})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := store.Migrate(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Migrate while the server is down: %v", err)
	}
	if _, err := store.Load(t.Context(), "a"); err == nil || errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Load while the server is down: %v", err)
	}
	server.Restart()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec := mongoRecord("a", "")
	save(t, store, &rec)
}

// TestMongoServerHangs has a server that takes connections and does not answer.
func TestMongoServerHangs(t *testing.T) {
	server := servers.Mongo(t)
	store := newMongoStore(t, mongoDatabase(t, server.NewDatabase(), nil).Collection("sessions"), mongostore.Options{})
	rec := mongoRecord("a", "")
	save(t, store, &rec)
	server.Pause()
	for op, call := range map[string]func(ctx context.Context) error{
		"load":   func(ctx context.Context) error { _, err := store.Load(ctx, "a"); return err },
		"save":   func(ctx context.Context) error { _, err := store.Save(ctx, &rec); return err },
		"touch":  func(ctx context.Context) error { return store.Touch(ctx, "a", now(), now()) },
		"delete": func(ctx context.Context) error { return store.Delete(ctx, "b") },
		"list":   func(ctx context.Context) error { _, _, err := store.List(ctx, session.Query{Limit: 1}); return err },
		"sweep":  func(ctx context.Context) error { _, err := store.Sweep(ctx, now()); return err },
		"ping":   store.Ping,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", op, err)
		}
		cancel()
	}
	server.Resume()
	if _, err := store.Load(t.Context(), "a"); err != nil {
		t.Errorf("Load once the server goes on: %v", err)
	}
}

// TestMongoMigrate makes the indexes, by several at once and where they are already,
// and says what to do on a server without TTL indexes, which this one is.
func TestMongoMigrate(t *testing.T) {
	db := mongoDatabase(t, servers.SharedMongo(t).NewDatabase(), nil)
	coll := db.Collection("sessions")
	err := newMongoStore(t, coll, mongostore.Options{}).Migrate(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Options.NoTTL") {
		t.Errorf("Migrate on a server without TTL indexes: %v", err)
	}
	store := newMongoStore(t, coll, mongostore.Options{NoTTL: true})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := store.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	specs, err := coll.Indexes().ListSpecifications(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, spec := range specs {
		names = append(names, spec.Name)
	}
	slices.Sort(names)
	if want := []string{"_id_", "expires_1", "subject_1__id_1"}; !slices.Equal(names, want) {
		t.Errorf("the indexes are %v, want %v", names, want)
	}
}

// TestMongoSweepManyAtOnce sweeps more than two batches, from two sides, while others
// use some of them again.
func TestMongoSweepManyAtOnce(t *testing.T) {
	coll := mongoDatabase(t, servers.SharedMongo(t).NewDatabase(), nil).Collection("sessions")
	store := newMongoStore(t, coll, mongostore.Options{})
	const n = 2500
	var docs []any
	for i := range n {
		rec := mongoRecord(fmt.Sprintf("%04d", i), "")
		docs = append(docs, bson.D{{Key: "_id", Value: rec.ID}, {Key: "version", Value: int64(1)},
			{Key: "expires", Value: now().Add(-time.Minute)}, {Key: "data", Value: bson.Binary{Data: rec.Data}}})
	}
	if _, err := coll.InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	var removed, used atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			n, err := store.Sweep(t.Context(), now())
			if err != nil {
				t.Error(err)
			}
			removed.Add(int64(n))
		})
	}
	wg.Go(func() {
		for i := range 10 {
			err := store.Touch(t.Context(), fmt.Sprintf("%04d", n-1-i), now(), now().Add(time.Hour))
			if err == nil {
				used.Add(1)
			} else if !errors.Is(err, session.ErrNotFound) {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got := removed.Load() + used.Load(); got != n {
		t.Errorf("%d were removed and %d used, of %d", removed.Load(), used.Load(), n)
	}
	if left := listAll(t, store, "", 100); len(left) != int(used.Load()) {
		t.Errorf("%d are left, of %d used", len(left), used.Load())
	}
}

// TestMongoForeignDocuments has documents that are no records. They spoil no list, and
// are neither taken for records nor overwritten.
func TestMongoForeignDocuments(t *testing.T) {
	data := bson.Binary{Data: []byte("{}")}
	later := now().Add(time.Hour)
	for _, layout := range []mongostore.Layout{mongostore.Native, mongostore.Express} {
		coll := mongoDatabase(t, servers.SharedMongo(t).NewDatabase(), nil).Collection("sessions")
		store := newMongoStore(t, coll, mongostore.Options{Layout: layout})
		rec := mongoRecord("m-ours", "alice")
		save(t, store, &rec)
		foreign := map[string]bson.D{
			"nothing":      {},
			"text":         {{Key: "version", Value: int64(1)}, {Key: "expires", Value: later}, {Key: "data", Value: "{}"}},
			"subtype":      {{Key: "version", Value: int64(1)}, {Key: "expires", Value: later}, {Key: "data", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}},
			"no version":   {{Key: "expires", Value: later}, {Key: "data", Value: data}},
			"version zero": {{Key: "version", Value: int64(0)}, {Key: "expires", Value: later}, {Key: "data", Value: data}},
			"int version":  {{Key: "version", Value: int32(1)}, {Key: "expires", Value: later}, {Key: "data", Value: data}},
			"no end":       {{Key: "version", Value: int64(1)}, {Key: "data", Value: data}},
			"odd end":      {{Key: "version", Value: int64(1)}, {Key: "expires", Value: "soon"}, {Key: "data", Value: data}, {Key: "session", Value: "{}"}},
			"document":     {{Key: "session", Value: bson.D{{Key: "cookie", Value: bson.D{}}, {Key: "alice", Value: 1}}}, {Key: "expires", Value: later}},
			"encrypted":    {{Key: "session", Value: "Tm90IEpTT04gYnV0IGFsaWNl"}, {Key: "expires", Value: later}},
			"empty":        {{Key: "session", Value: ""}, {Key: "expires", Value: later}},
		}
		for id, doc := range foreign {
			doc = append(bson.D{{Key: "_id", Value: id}, {Key: "subject", Value: "alice"}}, doc...)
			if _, err := coll.InsertOne(t.Context(), doc); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: int32(7)}, {Key: "subject", Value: "alice"}}); err != nil {
			t.Fatal(err)
		}
		for _, subject := range []string{"", "alice"} {
			if got := listAll(t, store, subject, 2); !slices.Equal(got, []string{"m-ours"}) {
				t.Errorf("%v: the list of %q is %v", layout, subject, got)
			}
		}
		for id := range foreign {
			before, err := coll.FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Raw()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Load(t.Context(), id); err == nil || errors.Is(err, session.ErrNotFound) {
				t.Errorf("%v: Load of %s: %v", layout, id, err)
			} else if want := map[string]string{"document": "stringify", "encrypted": "crypto"}[id]; layout == mongostore.Express && !strings.Contains(err.Error(), want) {
				t.Errorf("%v: Load of %s: %v, want %q", layout, id, err, want)
			}
			for _, version := range []uint64{0, 2} {
				rec := mongoRecord(id, "alice")
				rec.Version = version
				if _, err := store.Save(t.Context(), &rec); err == nil {
					t.Errorf("%v: Save of version %d has overwritten %s", layout, version, id)
				}
			}
			after, err := coll.FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Raw()
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("%v: %s was %v and is %v, %v", layout, id, before, after, err)
			}
		}
	}
}

// TestMongoExpressDocuments reads and writes documents as connect-mongo has them.
func TestMongoExpressDocuments(t *testing.T) {
	ctx := t.Context()
	coll := mongoDatabase(t, servers.SharedMongo(t).NewDatabase(), nil).Collection("sessions")
	store := newMongoStore(t, coll, mongostore.Options{Layout: mongostore.Express})
	stored := func(id string) bson.Raw {
		t.Helper()
		doc, err := coll.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	names := func(doc bson.Raw) string {
		elements, err := doc.Elements()
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, e := range elements {
			list = append(list, e.Key())
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}

	// Ours to theirs.
	const text = `{"cookie":{"originalMaxAge":60000,"expires":"2030-01-01T00:01:00.000Z","httpOnly":true,"path":"/"},` +
		"\"n\":9007199254740993,\"f\":1.0,\"u\":\"\u2028\",\"passport\":{\"user\":7}}"
	rec := session.Record{ID: "a", Data: []byte(text), Expires: now().Add(59203 * time.Millisecond)}
	save(t, store, &rec)
	doc := stored("a")
	if got := names(doc); got != "_id expires session" {
		t.Errorf("the document has %s", got)
	}
	if got := doc.Lookup("session").StringValue(); got != text {
		t.Errorf("the session is %s", got)
	}
	if got := doc.Lookup("expires").Time(); !got.Equal(rec.Expires) {
		t.Errorf("it expires at %v, want %v", got, rec.Expires)
	}
	if got := load(t, store, "a"); got.Subject != "7" || got.Version != rec.Version || !got.Created.IsZero() || !got.LastSeen.IsZero() {
		t.Errorf("loaded %+v", got)
	}

	// Theirs to ours, with all that they may add; our stale save is a conflict.
	modified := now().Add(-time.Hour)
	if _, err := coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "$set", Value: bson.D{
		{Key: "session", Value: `{"cookie":{},"passport":{"user":"bob"}}`}, {Key: "lastModified", Value: modified}, {Key: "createdAt", Value: modified},
	}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Save(ctx, &rec); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Save over what Express has written: %v", err)
	}
	got := load(t, store, "a")
	if got.Subject != "bob" || !slices.Equal(listAll(t, store, "bob", 10), []string{"a"}) || len(listAll(t, store, "7", 10)) > 0 {
		t.Errorf("loaded %+v", got)
	}
	got.Data = []byte(`{"cookie":{}}`)
	save(t, store, &got)
	if err := store.Touch(ctx, "a", now(), now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if doc := stored("a"); names(doc) != "_id createdAt expires lastModified session" || !doc.Lookup("lastModified").Time().Equal(modified) {
		t.Errorf("after a save and a touch the document is %v", doc)
	}

	// What has no expiry has none until it is saved.
	if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "immortal"}, {Key: "session", Value: `{"cookie":{}}`}}); err != nil {
		t.Fatal(err)
	}
	got = load(t, store, "immortal")
	if got.Expires.Year() != 9999 {
		t.Errorf("it expires in %v", got.Expires)
	}
	if err := store.Touch(ctx, "immortal", now(), now().Add(time.Hour)); err != nil || names(stored("immortal")) != "_id session" {
		t.Errorf("Touch has made it mortal, %v", err)
	}
	if n, err := store.Sweep(ctx, now().AddDate(5000, 0, 0)); n != 1 || err != nil {
		t.Errorf("Sweep removes %d, %v", n, err)
	}
	got.Expires = now().Add(time.Hour)
	save(t, store, &got)
	if expires := stored("immortal").Lookup("expires").Time(); !expires.Equal(got.Expires) {
		t.Errorf("it expires at %v, want %v", expires, got.Expires)
	}
}

// TestMongoExpressSubjects lists subjects that are spelled in many ways in the text.
func TestMongoExpressSubjects(t *testing.T) {
	coll := mongoDatabase(t, servers.SharedMongo(t).NewDatabase(), nil).Collection("sessions")
	store := newMongoStore(t, coll, mongostore.Options{Layout: mongostore.Express})
	for i, test := range []struct{ user, subject string }{
		{`"alice"`, "alice"}, {`"\u0061lice"`, "alice"}, {`7`, "7"}, {`"7"`, "7"}, {`7.50`, "7.50"}, {`"a.b*c"`, "a.b*c"},
		{`"a/b"`, "a/b"}, {`"a\/b"`, "a/b"}, {`"a\"b"`, `a"b`}, {`"a\\b"`, `a\b`}, {`"\ud83d\ude00"`, "😀"}, {`"😀"`, "😀"}, {`"é"`, "é"},
		{`"(?i)x"`, "(?i)x"}, {`"^$"`, "^$"},
	} {
		rec := session.Record{ID: fmt.Sprint(i), Data: []byte(`{"passport":{"user":` + test.user + `}}`), Expires: now().Add(time.Hour)}
		save(t, store, &rec)
		other := session.Record{ID: fmt.Sprint("other", i), Data: []byte(`{"says":` + test.user + `,"passport":{"user":"other"}}`), Expires: now().Add(time.Hour)}
		save(t, store, &other)
		got := listAll(t, store, test.subject, 3)
		if !slices.Contains(got, rec.ID) || slices.Contains(got, other.ID) {
			t.Errorf("the sessions of %s are %v, of which %s is one", test.subject, got, rec.ID)
		}
	}
}

func BenchmarkMongo(b *testing.B) {
	db := servers.Mongo(b).NewDatabase()
	for _, layout := range []mongostore.Layout{mongostore.Native, mongostore.Express} {
		b.Run(layout.String(), func(b *testing.B) {
			var count int
			sessiontest.BenchmarkStore(b, func(b *testing.B) session.Store {
				count++
				coll := mongoDatabase(b, db, nil).Collection(fmt.Sprint(layout, count))
				return newMongoStore(b, coll, mongostore.Options{Layout: layout})
			})
		})
	}
}
