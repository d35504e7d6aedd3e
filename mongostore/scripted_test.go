package mongostore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// A scripted server speaks MongoDB's protocol as the primary of a replica set, notes
// the commands that it gets, and answers as a test tells it. It is for what the
// server of internal/integration does not do.
type scripted struct {
	addr string

	mu       sync.Mutex
	commands []bson.Raw
	answer   func(name string, command bson.Raw) bson.D // one at a time; nil drops the connection
}

// startScripted starts a server that says ok to everything.
func startScripted(t *testing.T) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{addr: l.Addr().String(), answer: ok}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				if err := s.serve(conn); err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("the scripted server: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait() // the clients were closed before
	})
	return s
}

// collection returns a collection through a client of its own. The query is that of
// the URI.
func (s *scripted) collection(t *testing.T, query string) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + s.addr + "/?replicaSet=rs&" + query).
		SetServerAPIOptions(options.ServerAPI(options.ServerAPIVersion1))) // so that handshakes come as commands do
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Disconnect(context.Background()) })
	return client.Database("app").Collection("sessions")
}

// answers sets what the server answers to a command by its name. What is not there
// it says ok to.
func (s *scripted) answers(replies map[string]bson.D) {
	s.script(func(name string, command bson.Raw) bson.D {
		if reply, ok := replies[name]; ok {
			return reply
		}
		return ok(name, command)
	})
}

func (s *scripted) script(answer func(name string, command bson.Raw) bson.D) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// take returns the commands since the last take.
func (s *scripted) take() []bson.Raw {
	s.mu.Lock()
	defer s.mu.Unlock()
	commands := s.commands
	s.commands = nil
	return commands
}

// ok is what a server answers that has one document, and changes it.
func ok(name string, command bson.Raw) bson.D {
	reply := bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 1}, {Key: "nModified", Value: 1}}
	if name == "find" || name == "listCollections" {
		reply = append(reply, cursor())
	}
	return reply
}

// cursor is the reply to a find, whole.
func cursor(docs ...any) bson.E {
	return bson.E{Key: "cursor", Value: bson.D{
		{Key: "id", Value: int64(0)}, {Key: "ns", Value: "app.sessions"}, {Key: "firstBatch", Value: append(bson.A{}, docs...)},
	}}
}

func (s *scripted) serve(conn net.Conn) error {
	for {
		message, err := readMessage(conn)
		if err != nil {
			return io.EOF // the client has gone
		}
		id, command, err := parse(message)
		if err != nil {
			return err
		}
		var reply bson.D
		switch name := command.Index(0).Key(); name {
		case "hello", "isMaster", "ismaster":
			reply = s.hello()
		case "endSessions":
			reply = ok(name, command)
		default:
			s.mu.Lock()
			s.commands = append(s.commands, command)
			reply = s.answer(name, command)
			s.mu.Unlock()
		}
		if reply == nil {
			return nil
		}
		doc, err := bson.Marshal(reply)
		if err != nil {
			return err
		}
		if _, err := conn.Write(replyTo(id, doc)); err != nil {
			return io.EOF
		}
	}
}

func (s *scripted) hello() bson.D {
	return bson.D{
		{Key: "ok", Value: 1}, {Key: "helloOk", Value: true}, {Key: "isWritablePrimary", Value: true}, {Key: "ismaster", Value: true},
		{Key: "setName", Value: "rs"}, {Key: "setVersion", Value: 1}, {Key: "hosts", Value: bson.A{s.addr}},
		{Key: "me", Value: s.addr}, {Key: "primary", Value: s.addr},
		{Key: "logicalSessionTimeoutMinutes", Value: 30}, {Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 21},
		{Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: 48_000_000}, {Key: "maxWriteBatchSize", Value: 100_000},
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

// parse returns the command in a message, whose sections it puts together.
func parse(message []byte) (id int32, command bson.Raw, err error) {
	_, id, _, kind, rest, _ := wiremessage.ReadHeader(message)
	if kind != wiremessage.OpMsg {
		return 0, nil, fmt.Errorf("a message of the kind %v", kind)
	}
	_, rest, _ = wiremessage.ReadMsgFlags(rest)
	var whole bson.D
	for len(rest) > 0 {
		section, after, _ := wiremessage.ReadMsgSectionType(rest)
		var name string
		var doc bsoncore.Document
		var docs []bsoncore.Document
		var ok bool
		if section == wiremessage.SingleDocument {
			doc, rest, ok = wiremessage.ReadMsgSectionSingleDocument(after)
			if err := bson.Unmarshal(doc, &whole); err != nil {
				return 0, nil, err
			}
		} else {
			name, docs, rest, ok = wiremessage.ReadMsgSectionDocumentSequence(after)
			whole = append(whole, bson.E{Key: name, Value: docs})
		}
		if !ok {
			return 0, nil, errors.New("a section that ends early")
		}
	}
	command, err = bson.Marshal(whole)
	return id, command, err
}

func replyTo(id int32, doc []byte) []byte {
	_, message := wiremessage.AppendHeaderStart(nil, wiremessage.NextRequestID(), id, wiremessage.OpMsg)
	message = wiremessage.AppendMsgFlags(message, 0)
	message = wiremessage.AppendMsgSectionType(message, wiremessage.SingleDocument)
	message = append(message, doc...)
	binary.LittleEndian.PutUint32(message, uint32(len(message)))
	return message
}
