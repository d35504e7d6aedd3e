package mongostore_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/mongostore"
)

var now = time.Now().UTC().Truncate(time.Millisecond)

func newStore(t *testing.T, coll *mongo.Collection, opts mongostore.Options) *mongostore.Store {
	t.Helper()
	store, err := mongostore.New(coll, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func record(version uint64) *session.Record {
	return &session.Record{ID: "the-id", Subject: "the-subject", Data: []byte(`{"n":0}`), Version: version,
		Created: now, LastSeen: now, Expires: now.Add(time.Hour)}
}

func TestNew(t *testing.T) {
	if _, err := mongostore.New(nil, nil); err == nil {
		t.Error("a nil collection was taken")
	}
	coll := startScripted(t).collection(t, "")
	if _, err := mongostore.New(coll, &mongostore.Options{Layout: 2}); err == nil || !strings.Contains(err.Error(), "Options.Layout") {
		t.Errorf("an unknown layout: %v", err)
	}
	for layout, express := range map[mongostore.Layout]bool{mongostore.Native: false, mongostore.Express: true} {
		if got := newStore(t, coll, mongostore.Options{Layout: layout}).ExpressLayout(); got != express {
			t.Errorf("ExpressLayout of %v is %v", layout, got)
		}
	}
}

// operations calls every method once, as if there was one document.
func operations(t *testing.T, s *mongostore.Store, f func(op string, err error)) {
	t.Helper()
	ctx := t.Context()
	_, err := s.Load(ctx, "the-id")
	if errors.Is(err, session.ErrNotFound) {
		err = nil // the server has no document to return
	}
	f("load", err)
	_, err = s.Save(ctx, record(0))
	f("save", err)
	_, err = s.Save(ctx, record(5))
	f("save", err)
	f("touch", s.Touch(ctx, "the-id", now, now))
	f("delete", s.Delete(ctx, "the-id"))
	f("ping", s.Ping(ctx))
	_, _, err = s.List(ctx, session.Query{Subject: "the-subject", Limit: 10})
	f("list", err)
	_, err = s.Sweep(ctx, now)
	f("sweep", err)
	f("migrate", s.Migrate(ctx))
}

// Reads are from the primary (there is nobody else here, so that any other
// preference would find nobody), and writes are confirmed by the majority.
func TestConcernsAreOurs(t *testing.T) {
	server := startScripted(t)
	coll := server.collection(t, "readPreference=secondary&w=1&readConcernLevel=available&serverSelectionTimeoutMS=5000")
	coll = coll.Clone(options.Collection().SetReadPreference(readpref.Secondary()).
		SetReadConcern(readconcern.Available()).SetWriteConcern(writeconcern.Unacknowledged()))
	for level, opts := range map[string]mongostore.Options{
		"local":        {},
		"linearizable": {Linearizable: true},
	} {
		store := newStore(t, coll, opts)
		loaded := false
		operations(t, store, func(op string, err error) {
			if err != nil {
				t.Errorf("%s: %v", op, err)
			}
			for _, command := range server.take() {
				name := command.Index(0).Key()
				switch name {
				case "find":
					want := "local"
					if !loaded {
						want, loaded = level, true
					}
					if got := command.Lookup("readConcern", "level").StringValue(); got != want {
						t.Errorf("%s reads with the concern %q, want %q", op, got, want)
					}
					if pref, ok := command.Lookup("$readPreference", "mode").StringValueOK(); ok && pref != "primary" {
						t.Errorf("%s reads from the %s", op, pref)
					}
				case "insert", "update", "delete", "createIndexes":
					if got, _ := command.Lookup("writeConcern", "w").StringValueOK(); got != "majority" {
						t.Errorf("%s writes with the concern %q", op, got)
					}
				case "listCollections":
				default:
					t.Errorf("%s sends %s", op, name)
				}
			}
		})
	}
}

// A registry of the program's own may write what it likes, as strings in capitals.
func TestTheRegistryIsOurs(t *testing.T) {
	registry := bson.NewRegistry()
	registry.RegisterKindEncoder(reflect.String, bson.ValueEncoderFunc(func(_ bson.EncodeContext, w bson.ValueWriter, v reflect.Value) error {
		return w.WriteString(strings.ToUpper(v.String()))
	}))
	server := startScripted(t)
	coll := server.collection(t, "").Clone(options.Collection().SetRegistry(registry))
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "the-id"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := newStore(t, coll, mongostore.Options{}).Save(t.Context(), record(0)); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, command := range server.take() {
		ids = append(ids, command.Lookup("documents", "0", "_id").StringValue())
	}
	if want := []string{"THE-ID", "the-id"}; !slices.Equal(ids, want) {
		t.Errorf("the IDs are %q, want %q", ids, want)
	}
}

// What is not of the subject stays on the server.
func TestListOfASubjectAsksForNoOthers(t *testing.T) {
	server := startScripted(t)
	for layout, want := range map[mongostore.Layout]string{
		mongostore.Native:  `{"_id":{"$gt":""},"subject":"the-subject"}`,
		mongostore.Express: `{"_id":{"$gt":""},"session":{"$regularExpression":{"pattern":"\\\\|the-subject","options":""}}}`,
	} {
		store := newStore(t, server.collection(t, ""), mongostore.Options{Layout: layout})
		if _, _, err := store.List(t.Context(), session.Query{Subject: "the-subject", Limit: 7}); err != nil {
			t.Error(err)
		}
		commands := server.take()
		if len(commands) != 1 {
			t.Fatalf("%v: %d commands were sent", layout, len(commands))
		}
		filter, err := bson.MarshalExtJSON(commands[0].Lookup("filter").Document(), false, false)
		if err != nil || string(filter) != want {
			t.Errorf("%v: it asks for %s, %v, want %s", layout, filter, err, want)
		}
		if limit := commands[0].Lookup("limit").AsInt64(); limit != 7 {
			t.Errorf("%v: it asks for %d", layout, limit)
		}
	}
}

// TestNothingIsUpserted looks at all updates that are sent: nothing else could bring
// back what was deleted.
func TestNothingIsUpserted(t *testing.T) {
	server := startScripted(t)
	for _, layout := range []mongostore.Layout{mongostore.Native, mongostore.Express} {
		store := newStore(t, server.collection(t, ""), mongostore.Options{Layout: layout})
		rec := record(0)
		rec.Version, _ = store.Save(t.Context(), rec) // for Express, that of the text
		server.answers(map[string]bson.D{
			"find": {{Key: "ok", Value: 1}, cursor(bson.D{{Key: "_id", Value: "the-id"}, {Key: "session", Value: string(rec.Data)}})},
		})
		server.take()
		if _, err := store.Save(t.Context(), rec); err != nil {
			t.Error(err)
		}
		if err := store.Touch(t.Context(), rec.ID, now, now); err != nil {
			t.Error(err)
		}
		updates := 0
		for _, command := range server.take() {
			if command.Index(0).Key() != "update" {
				continue
			}
			updates++
			update := command.Lookup("updates", "0").Document()
			if upsert, _ := update.Lookup("upsert").BooleanOK(); upsert {
				t.Errorf("%v: an update is an upsert: %v", layout, update)
			}
		}
		if updates != 2 {
			t.Errorf("%v: %d updates for a save and a touch", layout, updates)
		}
	}
}

// A server that has done a write, and loses the connection before it answers, gets it
// again from the driver, and knows it by its number.
func TestALostAnswerIsNoConflict(t *testing.T) {
	for name, version := range map[string]uint64{"insert": 0, "update": 5} {
		t.Run(name, func(t *testing.T) {
			server := startScripted(t)
			done := map[string]bool{}
			server.script(func(name string, command bson.Raw) bson.D {
				number, ok := command.Lookup("txnNumber").Int64OK()
				key := fmt.Sprint(command.Lookup("lsid"), number)
				if !ok {
					t.Errorf("%s has no number", name)
				}
				if !done[key] {
					done[key] = true
					return nil
				}
				return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 1}, {Key: "nModified", Value: 1}}
			})
			store := newStore(t, server.collection(t, ""), mongostore.Options{})
			if _, err := store.Save(t.Context(), record(version)); err != nil {
				t.Error(err)
			}
			if n := len(server.take()); n != 2 {
				t.Errorf("the command was sent %d times", n)
			}

			// Where the driver may not, nobody knows, and that is not a conflict.
			server.script(func(string, bson.Raw) bson.D { return nil })
			store = newStore(t, server.collection(t, "retryWrites=false"), mongostore.Options{})
			_, err := store.Save(t.Context(), record(version))
			if err == nil || errors.Is(err, session.ErrConflict) || errors.Is(err, session.ErrNotFound) {
				t.Errorf("after a lost answer: %v", err)
			}
			if n := len(server.take()); n != 1 {
				t.Errorf("the command was sent %d times", n)
			}
		})
	}
}

// What is saved in a session does not depend on whether a transaction of the caller
// commits.
func TestOperationsAreInNoTransaction(t *testing.T) {
	server := startScripted(t)
	coll := server.collection(t, "")
	mine, err := coll.Database().Client().StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer mine.EndSession(t.Context())
	if err := mine.StartTransaction(); err != nil {
		t.Fatal(err)
	}
	ctx := mongo.NewSessionContext(t.Context(), mine)
	store := newStore(t, coll, mongostore.Options{})
	if _, err := store.Save(ctx, record(0)); err != nil {
		t.Error(err)
	}
	if _, _, err := store.List(ctx, session.Query{Limit: 1}); err != nil {
		t.Error(err)
	}
	if _, err := store.Sweep(ctx, now); err != nil {
		t.Error(err)
	}
	if err := store.Migrate(ctx); err != nil {
		t.Error(err)
	}
	commands := server.take()
	if len(commands) != 6 {
		t.Errorf("%d commands were sent", len(commands))
	}
	for _, command := range commands {
		if _, err := command.LookupErr("autocommit"); err == nil {
			t.Errorf("%s is part of the transaction", command.Index(0).Key())
		}
	}
}

func TestErrors(t *testing.T) {
	const secret = "s3cr3t"
	refused := func(code int, more ...bson.E) bson.D {
		return append(bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "it was " + secret}}, more...)
	}
	writeError := func(code int, more ...bson.E) bson.D {
		e := append(bson.D{{Key: "index", Value: 0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "it was " + secret}}, more...)
		return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 0}, {Key: "writeErrors", Value: bson.A{e}}}
	}
	keys := func(name string) bson.E { return bson.E{Key: "keyPattern", Value: bson.D{{Key: name, Value: 1}}} }
	unconfirmed := func(code int) bson.D {
		return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 1}, {Key: "writeConcernError", Value: bson.D{
			{Key: "code", Value: code}, {Key: "errmsg", Value: "it was " + secret},
		}}}
	}
	for _, test := range []struct {
		name  string
		reply bson.D
		want  string // in the error of all operations that it is possible for
		is    error
		ops   string
	}{
		{"a document with the _id is there", writeError(11000, keys("_id")), "", session.ErrConflict, "insert"},
		{"an old server does not say which key is taken", writeError(11000), "", session.ErrConflict, "insert"},
		{"another unique index refuses the document", writeError(11000, keys("subject")), "a unique index besides", nil, "insert update"},
		{"the document is too large", writeError(10334), "16 MB", session.ErrTooLarge, "insert update"},
		{"an update would make it too large", writeError(17419), "16 MB", session.ErrTooLarge, "update"},
		{"a validator refuses the document", writeError(121), "DocumentValidationFailure", nil, "insert update"},
		{"the majority has not confirmed it", unconfirmed(64), "it may have been done", nil, "insert update delete"},
		{"there are too few members", unconfirmed(100), "it may have been done", nil, "insert update delete"},
		{"the server is a secondary", refused(10107), "rs.status()", nil, "insert update delete find"},
		{"the server is one that recovers", refused(13436), "rs.status()", nil, "find"},
		{"the user may not", refused(13), "readWrite", nil, "insert update delete find createIndexes listCollections"},
		{"the user is not known", refused(18), "password", nil, "find"},
		{"the server gave up", refused(50), "MaxTimeMSExpired", nil, "insert update delete find"},
		{"the server is alone", refused(123), "Options.Linearizable", nil, "find"},
		{"there is another index", refused(85), "Store.Schema", nil, "createIndexes"},
		{"the name of the index is taken", refused(86), "Store.Schema", nil, "createIndexes"},
		{"there are no TTL indexes", refused(238), "Options.NoTTL", nil, "createIndexes"},
		{"it is something that nobody has heard of", refused(99999), "error 99999", nil, "insert update delete find createIndexes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name := range strings.FieldsSeq(test.ops) {
				server := startScripted(t)
				server.answers(map[string]bson.D{name: test.reply})
				// Some of these errors have the driver look for another primary.
				store := newStore(t, server.collection(t, "retryWrites=false&retryReads=false&serverSelectionTimeoutMS=5000"), mongostore.Options{})
				met := 0
				operations(t, store, func(op string, err error) {
					sent := false
					for _, command := range server.take() {
						sent = sent || command.Index(0).Key() == name
					}
					if !sent {
						if err != nil {
							t.Errorf("%s: %v", op, err)
						}
						return
					}
					met++
					if err == nil {
						t.Errorf("%s to which the server answers %v is no error", op, test.reply)
						return
					}
					for _, is := range []error{session.ErrConflict, session.ErrNotFound, session.ErrTooLarge} {
						if errors.Is(err, is) != (is == test.is) {
							t.Errorf("%s: the error %q is %q", op, err, is)
						}
					}
					text := err.Error()
					if !strings.HasPrefix(text, "mongostore: "+op+": ") || !strings.Contains(text, test.want) {
						t.Errorf("%s: %s, want %q", op, text, test.want)
					}
					if strings.Contains(text, secret) || strings.Contains(text, "the-") {
						t.Errorf("%s: the error tells: %s", op, text)
					}
				})
				if met == 0 {
					t.Errorf("no operation has met the answer to %s", name)
				}
			}
		})
	}
}

// What the driver itself says is shown if it is about the way to the server.
func TestErrorsOfTheConnection(t *testing.T) {
	server := startScripted(t)
	server.script(func(string, bson.Raw) bson.D { return nil })
	store := newStore(t, server.collection(t, "retryReads=false"), mongostore.Options{})
	if _, err := store.Load(t.Context(), "the-id"); err == nil || !strings.Contains(err.Error(), server.addr) {
		t.Errorf("a connection that is cut: %v", err)
	}
	nobody := newStore(t, server.collection(t, "serverSelectionTimeoutMS=50&replicaSet=other"), mongostore.Options{})
	if err := nobody.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "server selection") {
		t.Errorf("a replica set that is not there: %v", err)
	}
	coll := server.collection(t, "")
	store = newStore(t, coll, mongostore.Options{})
	if err := coll.Database().Client().Disconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "the-id"); !errors.Is(err, mongo.ErrClientDisconnected) || !strings.Contains(err.Error(), "disconnected") {
		t.Errorf("a client that is closed: %v", err)
	}
}

func TestRecordsThatDoNotFit(t *testing.T) {
	server := startScripted(t)
	coll := server.collection(t, "")
	for _, layout := range []mongostore.Layout{mongostore.Native, mongostore.Express} {
		store := newStore(t, coll, mongostore.Options{Layout: layout})
		most := 16<<20 - 4<<10
		if layout == mongostore.Express {
			most /= 2
		}
		for _, test := range []struct {
			what   string
			change func(rec *session.Record)
			fits   bool
			is     error
		}{
			{"as much data as there may be", func(rec *session.Record) { rec.Data = make([]byte, most) }, true, nil},
			{"too much data", func(rec *session.Record) { rec.Data = make([]byte, most+1) }, false, session.ErrTooLarge},
			{"no data", func(rec *session.Record) { rec.Data = nil }, true, nil},
			{"no ID", func(rec *session.Record) { rec.ID = "" }, false, nil},
			{"a long ID", func(rec *session.Record) { rec.ID = strings.Repeat("x", 129) }, false, nil},
			{"a long subject", func(rec *session.Record) { rec.Subject = strings.Repeat("x", 256) }, false, nil},
			{"data that is no UTF-8", func(rec *session.Record) { rec.Data = []byte("{\"a\":\"\xff\"}") }, layout == mongostore.Native, nil},
		} {
			rec := record(0)
			test.change(rec)
			server.take()
			_, err := store.Save(t.Context(), rec)
			if (err == nil) != test.fits || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v: %s: %v", layout, test.what, err)
			}
			if sent := len(server.take()) > 0; sent != test.fits {
				t.Errorf("%v: %s: sent is %v", layout, test.what, sent)
			}
		}
	}
}
