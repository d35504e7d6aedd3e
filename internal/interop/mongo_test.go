package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/integration/servers"
	"github.com/coatcheck/session/mongostore"
)

// openMongo returns a place in a database of its own.
func openMongo(t *testing.T, ttl time.Duration) place {
	server := servers.SharedMongo(t)
	db := server.NewDatabase()
	coll := sessionsIn(t, db)
	return place{
		express:          map[string]any{"kind": "mongo", "url": db.URL, "ttl": ttl.Seconds()},
		ours:             func(t *testing.T) session.Store { return newMongoStore(t, coll) },
		rows:             &mongoRows{coll, server.MonitorAddr},
		complainsOfEnded: true,
	}
}

func sessionsIn(t *testing.T, db servers.Database) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(db.URL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Disconnect(context.Background()) })
	return client.Database(db.Name).Collection("sessions")
}

func newMongoStore(t *testing.T, coll *mongo.Collection) *mongostore.Store {
	t.Helper()
	store, err := mongostore.New(coll, &mongostore.Options{Layout: mongostore.Express})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

type mongoRows struct {
	coll    *mongo.Collection
	monitor string
}

func withID(id string) bson.D { return bson.D{{Key: "_id", Value: id}} }

func (r *mongoRows) read(t *testing.T, id string) (text string, expires time.Time, ok bool) {
	t.Helper()
	var doc struct {
		Session string
		Expires time.Time
	}
	err := r.coll.FindOne(t.Context(), withID(id)).Decode(&doc)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		t.Fatal(err)
	}
	return doc.Session, doc.Expires, err == nil
}

func (r *mongoRows) write(t *testing.T, id, text string, expires time.Time) {
	t.Helper()
	doc := bson.D{{Key: "_id", Value: id}, {Key: "session", Value: text}, {Key: "expires", Value: expires}}
	if _, err := r.coll.ReplaceOne(t.Context(), withID(id), doc, options.Replace().SetUpsert(true)); err != nil {
		t.Fatal(err)
	}
}

// follow reads all commands, which the server runs one after the other, from its
// monitor. Ours are those that ask for the text that they replace.
func (r *mongoRows) follow(t *testing.T, id string) func() []change {
	t.Helper()
	conn, err := net.Dial("tcp", r.monitor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := readMessage(conn); err != nil { // it has begun
		t.Fatal(err)
	}
	before, _, _ := r.read(t, id)
	end := "the end for " + id
	type changes struct {
		list []change
		err  error
	}
	all := make(chan changes, 1)
	go func() {
		var list []change
		for {
			request, err1 := readMessage(conn)
			reply, err2 := readMessage(conn)
			if err := errors.Join(err1, err2); err != nil {
				all <- changes{nil, err}
				return
			}
			if strings.Contains(string(request), end) {
				all <- changes{list, nil}
				return
			}
			for _, update := range updatesIn(request, reply) {
				text, ok := update.Lookup("u", "$set", "session").StringValueOK()
				if ok && update.Lookup("q", "_id").StringValue() == id {
					_, err := update.LookupErr("q", "session")
					list = append(list, change{before, text, err != nil})
					before = text
				}
			}
		}
	}()
	return func() []change {
		t.Helper()
		if _, _, ok := r.read(t, end); ok { // a command that says it
			t.Fatal("there is a session with the ID ", end)
		}
		got := <-all
		if got.err != nil {
			t.Fatal("the monitor: ", got.err)
		}
		return got.list
	}
}

func readMessage(conn net.Conn) ([]byte, error) {
	message := make([]byte, 4) // its length
	if _, err := io.ReadFull(conn, message); err != nil {
		return nil, err
	}
	length := int(binary.LittleEndian.Uint32(message))
	message = slices.Grow(message, length)[:length]
	_, err := io.ReadFull(conn, message[4:])
	return message, err
}

// updatesIn returns the updates that a message asks for, if they have found what they
// are for.
func updatesIn(request, reply []byte) (updates []bson.Raw) {
	found := sections(reply)[""]
	if len(found) != 1 {
		return nil
	}
	if n, _ := found[0].Lookup("n").AsInt64OK(); n == 0 {
		return nil
	}
	sent := sections(request)
	updates = sent["updates"] // beside the command, as the Go driver has it
	for _, command := range sent[""] {
		if list, ok := command.Lookup("updates").ArrayOK(); ok { // in it, as that of Node
			values, _ := list.Values()
			for _, value := range values {
				updates = append(updates, value.Document())
			}
		}
	}
	return updates
}

// sections returns the documents of a message by the name of the sequence in which
// they are; the command or the reply itself has none.
func sections(message []byte) map[string][]bson.Raw {
	_, _, _, kind, rest, _ := wiremessage.ReadHeader(message)
	if kind != wiremessage.OpMsg {
		return nil // of a handshake
	}
	named := make(map[string][]bson.Raw)
	_, rest, _ = wiremessage.ReadMsgFlags(rest)
	for len(rest) > 0 {
		section, after, _ := wiremessage.ReadMsgSectionType(rest)
		if section == wiremessage.SingleDocument {
			doc, next, ok := wiremessage.ReadMsgSectionSingleDocument(after)
			if !ok {
				return nil
			}
			named[""] = append(named[""], bson.Raw(doc))
			rest = next
			continue
		}
		name, docs, next, ok := wiremessage.ReadMsgSectionDocumentSequence(after)
		if !ok {
			return nil
		}
		for _, doc := range docs {
			named[name] = append(named[name], bson.Raw(doc))
		}
		rest = next
	}
	return named
}

// TestConnectMongoOptions has Express keep sessions in the ways that connect-mongo
// offers besides.
func TestConnectMongoOptions(t *testing.T) {
	const ttl = time.Hour
	for _, test := range []struct {
		name    string
		options map[string]any
		refused string // what our error names
		members string // besides _id, session and expires, after our save and touch
	}{
		{"times of the documents", map[string]any{"timestamps": true}, "", "createdAt updatedAt"},
		{"touching seldom", map[string]any{"touchAfter": 3600}, "", "lastModified"},
		{"text by another name for the default", map[string]any{"stringify": true}, "", ""},
		{"documents for text", map[string]any{"stringify": false}, "stringify", ""},
		{"encrypted text", map[string]any{"crypto": map[string]any{"secret": "a secret of its own"}}, "crypto", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := servers.SharedMongo(t).NewDatabase()
			coll := sessionsIn(t, db)
			place := place{
				express: map[string]any{"kind": "mongo", "url": db.URL, "ttl": ttl.Seconds(), "options": test.options},
				ours:    func(t *testing.T) session.Store { return newMongoStore(t, coll) },
			}
			p := &pair{t: t, place: place, ttl: ttl, life: ttl, node: startNode(t)}
			p.express = p.startExpress(secret)
			b := newBrowser(t)
			id := b.login(p.express, "tj").ID
			store := newMongoStore(t, coll)
			if test.refused != "" {
				if _, err := store.Load(t.Context(), id); err == nil || errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("our Load: %v, want what names %q", err, test.refused)
				}
				if all, _, err := store.List(t.Context(), session.Query{Limit: 10}); len(all) > 0 || err != nil {
					t.Errorf("our List: %v, %v", all, err)
				}
				return
			}
			before, err := coll.FindOne(t.Context(), withID(id)).Raw()
			if err != nil {
				t.Fatal(err)
			}
			p.ours = startSite(t, store, p.options(secret))
			b.post(p.ours, "/set", `{"from":"ours"}`)
			if err := store.Touch(t.Context(), id, time.Now(), time.Now().Add(2*ttl)); err != nil {
				t.Error(err)
			}
			if got := b.get(p.express); got.Name != "tj" || !strings.Contains(got.Data, `"from":"ours"`) {
				t.Errorf("to Express it is then %+v", got)
			}
			after, err := coll.FindOne(t.Context(), withID(id)).Raw()
			if err != nil {
				t.Fatal(err)
			}
			elements, err := after.Elements()
			if err != nil {
				t.Fatal(err)
			}
			var members []string
			for _, e := range elements {
				if name := e.Key(); name != "_id" && name != "session" && name != "expires" {
					members = append(members, name)
				}
			}
			slices.Sort(members)
			if got := strings.Join(members, " "); got != test.members {
				t.Errorf("the document has %s besides, want %s", got, test.members)
			}
			for _, name := range []string{"createdAt", "lastModified"} { // which only Express moves
				if !before.Lookup(name).Equal(after.Lookup(name)) {
					t.Errorf("%s was %v and is %v", name, before.Lookup(name), after.Lookup(name))
				}
			}
		})
	}
}
