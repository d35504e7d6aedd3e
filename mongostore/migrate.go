package mongostore

import (
	"context"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// An index is one that the collection has to have. The names are those that MongoDB
// gives by itself, so that an index is found whoever has made it.
type index struct {
	name string
	keys bson.D
	ttl  bool
}

func byExpires(ttl bool) index {
	return index{name: "expires_1", keys: bson.D{{Key: "expires", Value: 1}}, ttl: ttl}
}

// Migrate creates the indexes that are missing, and with them the collection if
// there is none. It may be called at every start, by several processes at once. It
// refuses a collection that cannot hold sessions: one with a collation, a capped one,
// a view, or one of time series.
//
// On a large collection without the indexes it takes as long as the server needs to
// build them, during which sessions can be used.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, err := begin(ctx)
	if err != nil {
		return fail(ctx, "migrate", err)
	}
	if err := s.checkCollection(ctx); err != nil {
		return fail(ctx, "migrate", err)
	}
	// One command each: FerretDB 1 drops the connection when it is asked for several
	// that are there already.
	for _, i := range s.layout.indexes(!s.opts.NoTTL) {
		opts := options.Index().SetName(i.name)
		if i.ttl {
			opts.SetExpireAfterSeconds(0)
		}
		if _, err := s.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: i.keys, Options: opts}); err != nil {
			return fail(ctx, "migrate", err)
		}
	}
	return nil
}

// checkCollection refuses a collection that is there and is of the wrong kind.
func (s *Store) checkCollection(ctx context.Context) error {
	specs, err := s.coll.Database().ListCollectionSpecifications(ctx, byName(s.coll.Name()))
	if err != nil {
		return err
	}
	for _, spec := range specs {
		capped, _ := spec.Options.Lookup("capped").BooleanOK()
		locale, collated := spec.Options.Lookup("collation", "locale").StringValueOK()
		switch {
		case spec.Type != "collection":
			return ownError(fmt.Sprintf("%s is not a collection but a %s; choose another name", s.coll.Name(), spec.Type))
		case capped:
			return ownError(fmt.Sprintf("the collection %s is capped, which drops sessions that live; choose another", s.coll.Name()))
		case collated && locale != "simple":
			return ownError(fmt.Sprintf("the collection %s has the collation %q, to which different IDs may be equal; create it without", s.coll.Name(), locale))
		}
	}
	return nil
}

func byName(name string) bson.D { return bson.D{{Key: "name", Value: name}} }

// Schema returns the commands for mongosh that create the indexes, for those who
// create them with tools of their own. [Store.Migrate] does the same, and finds
// nothing to do where they were run.
func (s *Store) Schema() string {
	var b strings.Builder
	for _, i := range s.layout.indexes(!s.opts.NoTTL) {
		var keys []string
		for _, key := range i.keys {
			keys = append(keys, fmt.Sprintf("%s: %v", key.Key, key.Value))
		}
		ttl := ""
		if i.ttl {
			ttl = ", expireAfterSeconds: 0"
		}
		fmt.Fprintf(&b, "db.getCollection(%q).createIndex({%s}, {name: %q%s})\n", s.coll.Name(), strings.Join(keys, ", "), i.name, ttl)
	}
	return b.String()
}
