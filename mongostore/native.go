package mongostore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/coatcheck/session"
)

// native is the layout of this package; see the package comment.
//
// The data is binary and not a string, so that no server or tool looks at it, and
// whatever bytes it has remain.
type native struct{}

func (native) check(rec *session.Record) error {
	const most = maxDocument - reserve
	if len(rec.Data) > most {
		return tooLarge(len(rec.Data), most)
	}
	return nil
}

// maxDocument is the most that MongoDB takes, and reserve more than all but the data
// needs.
const (
	maxDocument = 16 << 20
	reserve     = 4 << 10
)

func (native) save(ctx context.Context, coll *mongo.Collection, rec *session.Record) (uint64, error) {
	version := newVersion(rec.Version)
	doc := make(bson.D, 0, 7)
	doc = append(doc, bson.E{Key: "_id", Value: rec.ID}, bson.E{Key: "version", Value: int64(version)})
	if rec.Subject != "" {
		doc = append(doc, bson.E{Key: "subject", Value: rec.Subject})
	}
	if !rec.Created.IsZero() {
		doc = append(doc, bson.E{Key: "created", Value: date(rec.Created)})
	}
	if !rec.LastSeen.IsZero() {
		doc = append(doc, bson.E{Key: "lastSeen", Value: date(rec.LastSeen)})
	}
	doc = append(doc, bson.E{Key: "expires", Value: date(rec.Expires)}, bson.E{Key: "data", Value: bson.Binary{Data: rec.Data}})

	if rec.Version == 0 {
		_, err := coll.InsertOne(ctx, doc)
		return version, err
	}
	filter := bson.D{{Key: "_id", Value: rec.ID}, {Key: "version", Value: int64(rec.Version)}}
	res, err := coll.ReplaceOne(ctx, filter, doc)
	if err != nil || res.MatchedCount == 0 {
		return 0, err
	}
	return version, nil
}

func (native) touch(ctx context.Context, coll *mongo.Collection, id string, lastSeen, expires time.Time) (bool, error) {
	later := bson.D{{Key: "expires", Value: date(expires)}}
	if !lastSeen.IsZero() {
		later = append(later, bson.E{Key: "lastSeen", Value: date(lastSeen)})
	}
	res, err := coll.UpdateOne(ctx, byID(id), bson.D{{Key: "$max", Value: later}})
	if err != nil {
		return false, err
	}
	return res.MatchedCount > 0, nil
}

func (native) record(doc bson.Raw) (session.Record, error) {
	id, ok1 := doc.Lookup("_id").StringValueOK()
	version, ok2 := doc.Lookup("version").Int64OK()
	expires, ok3 := moment(doc, "expires")
	subtype, data, ok4 := doc.Lookup("data").BinaryOK()
	if !ok1 || !ok2 || !ok3 || !ok4 || subtype != bson.TypeBinaryGeneric || version <= 0 {
		return session.Record{}, errForeign
	}
	rec := session.Record{ID: id, Data: clone(data), Version: uint64(version), Expires: expires}
	rec.Subject, _ = doc.Lookup("subject").StringValueOK()
	rec.Created, _ = moment(doc, "created")
	rec.LastSeen, _ = moment(doc, "lastSeen")
	return rec, nil
}

func (native) ofSubject(subject string) bson.E { return bson.E{Key: "subject", Value: subject} }

func (native) indexes(ttl bool) []index {
	return []index{
		byExpires(ttl),
		// With the _id, in whose order a list goes on.
		{name: "subject_1__id_1", keys: bson.D{{Key: "subject", Value: 1}, {Key: "_id", Value: 1}}},
	}
}

// date returns the time as BSON has it, in milliseconds since 1970.
func date(t time.Time) bson.DateTime { return bson.DateTime(t.UnixMilli()) }

// moment returns the time with the name in a document.
func moment(doc bson.Raw, name string) (time.Time, bool) {
	ms, ok := doc.Lookup(name).DateTimeOK()
	if !ok {
		return time.Time{}, false
	}
	return time.UnixMilli(ms).UTC(), true
}

// clone returns a copy of data that shares no memory with the reply, and is not nil.
func clone(data []byte) []byte { return append(make([]byte, 0, len(data)), data...) }
