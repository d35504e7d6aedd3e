package mongostore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// sweepBatch is how many documents are removed at once.
const sweepBatch = 1000

// Sweep implements [session.Sweeper]. When it fails it returns how many records it
// had removed until then. Several processes may sweep at once.
//
// Where the server removes by itself what has expired there is no need for it.
func (s *Store) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	// No record expires between two milliseconds.
	before = before.Add(time.Millisecond - 1).Truncate(time.Millisecond)
	expired := bson.E{Key: "expires", Value: bson.D{{Key: "$lt", Value: date(before)}}}
	for {
		ctx, err := begin(ctx)
		if err != nil {
			return removed, fail(ctx, "sweep", err)
		}
		ids, err := s.expired(ctx, expired)
		if err != nil {
			return removed, fail(ctx, "sweep", err)
		}
		if len(ids) == 0 {
			return removed, nil
		}
		// Those that somebody has used meanwhile have not expired any more.
		res, err := s.coll.DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, expired})
		if err != nil {
			return removed, fail(ctx, "sweep", err)
		}
		removed += int(res.DeletedCount)
		if len(ids) < sweepBatch {
			return removed, nil
		}
	}
}

// expired returns the IDs of up to sweepBatch documents.
func (s *Store) expired(ctx context.Context, filter bson.E) (ids bson.A, err error) {
	cur, err := s.coll.Find(ctx, bson.D{filter}, options.Find().
		SetProjection(bson.D{{Key: "_id", Value: 1}}).
		SetLimit(sweepBatch).
		SetBatchSize(sweepBatch))
	if err != nil {
		return nil, err
	}
	defer cur.Close(ctx)
	for cur.Next(ctx) {
		id := cur.Current.Lookup("_id")
		ids = append(ids, bson.RawValue{Type: id.Type, Value: clone(id.Value)})
	}
	return ids, cur.Err()
}
