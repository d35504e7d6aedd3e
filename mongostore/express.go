package mongostore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/passport"
)

// express is the layout of connect-mongo.
type express struct{}

func (express) check(rec *session.Record) error {
	// An update has the old and the new text in one document.
	const most = (maxDocument - reserve) / 2
	switch {
	case len(rec.Data) > most:
		return tooLarge(len(rec.Data), most)
	case !utf8.Valid(rec.Data):
		return ownError("the data is not UTF-8, which a string of BSON has to be")
	}
	return nil
}

func (express) save(ctx context.Context, coll *mongo.Collection, rec *session.Record) (uint64, error) {
	version, text := contentVersion(rec.Data), string(rec.Data)
	if rec.Version == 0 {
		_, err := coll.InsertOne(ctx, bson.D{
			{Key: "_id", Value: rec.ID}, {Key: "expires", Value: date(rec.Expires)}, {Key: "session", Value: text},
		})
		return version, err
	}

	// The version says which text the caller has seen, but not to a server, which
	// cannot compute it. So the text that has this version is read, and the update
	// is for whoever still has it.
	doc, err := coll.FindOne(ctx, byID(rec.ID), options.FindOne().SetProjection(bson.D{{Key: "session", Value: 1}})).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	old, err := textOf(doc)
	if err != nil {
		return 0, err
	}
	if contentVersion([]byte(old)) != rec.Version {
		return 0, nil
	}
	res, err := coll.UpdateOne(ctx,
		bson.D{{Key: "_id", Value: rec.ID}, {Key: "session", Value: old}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "expires", Value: date(rec.Expires)}, {Key: "session", Value: text}}}})
	if err != nil || res.MatchedCount == 0 {
		return 0, err
	}
	return version, nil
}

func (express) touch(ctx context.Context, coll *mongo.Collection, id string, _, expires time.Time) (bool, error) {
	// What has no expiry lives for ever, and $max would give it one.
	mortal := bson.D{{Key: "_id", Value: id}, {Key: "expires", Value: bson.D{{Key: "$exists", Value: true}}}}
	res, err := coll.UpdateOne(ctx, mortal, bson.D{{Key: "$max", Value: bson.D{{Key: "expires", Value: date(expires)}}}})
	if err != nil {
		return false, err
	}
	if res.MatchedCount > 0 {
		return true, nil
	}
	err = coll.FindOne(ctx, byID(id), options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	return err == nil, err
}

// never is when a session expires that has no expiry.
var never = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

func (express) record(doc bson.Raw) (session.Record, error) {
	text, err := textOf(doc)
	if err != nil {
		return session.Record{}, err
	}
	id, ok1 := doc.Lookup("_id").StringValueOK()
	expires, ok2 := moment(doc, "expires")
	if !ok2 && doc.Lookup("expires").IsZero() { // there is none
		expires, ok2 = never, true
	}
	if !ok1 || !ok2 {
		return session.Record{}, errForeign
	}
	data := []byte(text)
	return session.Record{
		ID:      id,
		Subject: passport.Subject(data),
		Data:    data,
		Version: contentVersion(data),
		Expires: expires,
	}, nil
}

// textOf returns the JSON text of a session.
func textOf(doc bson.Raw) (string, error) {
	value := doc.Lookup("session")
	text, ok := value.StringValueOK()
	begin := strings.TrimLeft(text, " \t\r\n")
	switch {
	case value.Type == bson.TypeEmbeddedDocument:
		return "", errNotText
	case !ok:
		return "", errForeign
	case !strings.HasPrefix(begin, "{") && !strings.HasPrefix(begin, "["):
		return "", errNotJSON // the Base64 of something encrypted
	}
	return text, nil
}

// ofSubject lets pass what has the subject in its text somewhere, and all texts
// with escapes, in which it may be spelled otherwise.
func (express) ofSubject(subject string) bson.E {
	return bson.E{Key: "session", Value: bson.Regex{Pattern: `\\|` + regexp.QuoteMeta(subject)}}
}

// indexes has the one that connect-mongo makes with autoRemove: 'native'.
func (express) indexes(ttl bool) []index { return []index{byExpires(ttl)} }

// contentVersion returns the version of a text: 60 bits of its hash, the lowest of
// them set so that it is not zero.
func contentVersion(text []byte) uint64 {
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:8])>>4 | 1
}
