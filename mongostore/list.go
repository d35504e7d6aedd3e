package mongostore

import (
	"context"
	"encoding/base64"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/coatcheck/session"
)

// mostAtOnce is how many documents are asked for at once, and so the most on a page.
const mostAtOnce = 1000

// List implements [session.Lister]. It goes in the order of the IDs. With a subject
// it reads the index of subjects; in the [Express] layout, which has none, the server
// looks at all documents. What is no record of the layout, so that Load of it is an
// error, is left out: one such document must not keep a subject's sessions from being
// ended.
func (s *Store) List(ctx context.Context, q session.Query) (records []session.Record, next string, err error) {
	ctx, err = begin(ctx)
	if err != nil {
		return nil, "", fail(ctx, "list", err)
	}
	if q.Limit < 1 {
		return nil, "", fail(ctx, "list", errLimit)
	}
	after, err := parseCursor(q.Cursor)
	if err != nil {
		return nil, "", fail(ctx, "list", err)
	}
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}}
	if q.Subject != "" {
		filter = append(filter, s.layout.ofSubject(q.Subject))
	}
	limit := min(q.Limit, mostAtOnce)
	cur, err := s.coll.Find(ctx, filter, options.Find().
		SetSort(bson.D{{Key: "_id", Value: 1}}).
		SetLimit(int64(limit)).
		SetBatchSize(int32(limit)))
	if err != nil {
		return nil, "", fail(ctx, "list", err)
	}
	defer cur.Close(ctx)
	found := 0
	for cur.Next(ctx) {
		found++
		after, _ = cur.Current.Lookup("_id").StringValueOK()
		rec, err := s.layout.record(cur.Current)
		if err == nil && (q.Subject == "" || rec.Subject == q.Subject) {
			records = append(records, rec)
		}
	}
	if err := cur.Err(); err != nil {
		return nil, "", fail(ctx, "list", err)
	}
	if found == limit {
		next = cursorAfter(after)
	}
	return records, next, nil
}

// A cursor is the ID of the last document that was looked at. It looks like none, so
// that a cursor that is not one is found out, and begins with what would change with
// its meaning.
const cursorMark = "1."

func cursorAfter(id string) string {
	return cursorMark + base64.RawURLEncoding.EncodeToString([]byte(id))
}

func parseCursor(cursor string) (after string, err error) {
	if cursor == "" {
		return "", nil
	}
	text, ok := strings.CutPrefix(cursor, cursorMark)
	id, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil || len(id) == 0 {
		return "", errCursor
	}
	return string(id), nil
}
