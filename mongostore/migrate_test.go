package mongostore_test

import (
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/coatcheck/session/mongostore"
)

// The server of internal/integration has no TTL indexes, so what is asked for is
// looked at here, and that Schema asks for the same.
func TestMigrateAsksForTheIndexes(t *testing.T) {
	for _, test := range []struct {
		name   string
		opts   mongostore.Options
		want   []string
		schema string
	}{
		{
			"native", mongostore.Options{},
			[]string{
				`{"key": {"expires": 1},"expireAfterSeconds": 0,"name": "expires_1"}`,
				`{"key": {"subject": 1,"_id": 1},"name": "subject_1__id_1"}`,
			},
			`db.getCollection("sessions").createIndex({expires: 1}, {name: "expires_1", expireAfterSeconds: 0})
db.getCollection("sessions").createIndex({subject: 1, _id: 1}, {name: "subject_1__id_1"})
`,
		}, {
			"native without TTL", mongostore.Options{NoTTL: true},
			[]string{
				`{"key": {"expires": 1},"name": "expires_1"}`,
				`{"key": {"subject": 1,"_id": 1},"name": "subject_1__id_1"}`,
			},
			`db.getCollection("sessions").createIndex({expires: 1}, {name: "expires_1"})
db.getCollection("sessions").createIndex({subject: 1, _id: 1}, {name: "subject_1__id_1"})
`,
		}, {
			"Express", mongostore.Options{Layout: mongostore.Express},
			[]string{`{"key": {"expires": 1},"expireAfterSeconds": 0,"name": "expires_1"}`},
			`db.getCollection("sessions").createIndex({expires: 1}, {name: "expires_1", expireAfterSeconds: 0})
`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startScripted(t)
			store := newStore(t, server.collection(t, ""), test.opts)
			for range 2 { // it does not matter whether they are there
				if err := store.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
				var asked []string
				for _, command := range server.take() {
					if command.Index(0).Key() != "createIndexes" {
						continue
					}
					indexes, err := command.Lookup("indexes").Array().Values()
					if err != nil {
						t.Fatal(err)
					}
					for _, index := range indexes {
						text, err := bson.MarshalExtJSON(index.Document(), false, false)
						if err != nil {
							t.Fatal(err)
						}
						asked = append(asked, string(text))
					}
				}
				if got, want := strings.Join(asked, "\n"), strings.ReplaceAll(strings.ReplaceAll(strings.Join(test.want, "\n"), ": ", ":"), ", ", ","); got != want {
					t.Errorf("it asks for\n%s, want\n%s", got, want)
				}
			}
			if got := store.Schema(); got != test.schema {
				t.Errorf("Schema prints\n%s, want\n%s", got, test.schema)
			}
		})
	}
}

func TestMigrateRefusesWhatCannotHoldSessions(t *testing.T) {
	named := func(kind string, opts bson.D) bson.D {
		return bson.D{{Key: "ok", Value: 1}, cursor(bson.D{
			{Key: "name", Value: "sessions"}, {Key: "type", Value: kind}, {Key: "options", Value: opts},
		})}
	}
	collation := func(locale string) bson.D {
		return bson.D{{Key: "collation", Value: bson.D{{Key: "locale", Value: locale}, {Key: "strength", Value: 2}}}}
	}
	for _, test := range []struct {
		name  string
		reply bson.D
		want  string // in the error, or none
	}{
		{"a collection as it is by default", named("collection", bson.D{}), ""},
		{"one that does not exist", bson.D{{Key: "ok", Value: 1}, cursor()}, ""},
		{"one with the simple collation", named("collection", collation("simple")), ""},
		{"one that ignores case", named("collection", collation("en")), `collation "en"`},
		{"one that drops the oldest", named("collection", bson.D{{Key: "capped", Value: true}, {Key: "size", Value: 1}}), "capped"},
		{"a view", named("view", bson.D{{Key: "viewOn", Value: "x"}}), "not a collection but a view"},
		{"a time series", named("timeseries", bson.D{}), "not a collection but a timeseries"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startScripted(t)
			server.answers(map[string]bson.D{"listCollections": test.reply})
			err := newStore(t, server.collection(t, ""), mongostore.Options{}).Migrate(t.Context())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Migrate: %v, want %q", err, test.want)
			}
			var asked int
			for _, command := range server.take() {
				if command.Index(0).Key() == "createIndexes" {
					asked++
				}
			}
			if refused := test.want != ""; refused != (asked == 0) {
				t.Errorf("it has asked for %d indexes", asked)
			}
		})
	}
}

// The original is there for those who want to know more.
func TestMigrateShowsTheErrorOfTheServer(t *testing.T) {
	server := startScripted(t)
	server.answers(map[string]bson.D{"createIndexes": {
		{Key: "ok", Value: 0}, {Key: "code", Value: 86}, {Key: "codeName", Value: "IndexKeySpecsConflict"}, {Key: "errmsg", Value: "more"},
	}})
	err := newStore(t, server.collection(t, ""), mongostore.Options{}).Migrate(t.Context())
	var original mongo.CommandError
	if !errors.As(err, &original) || original.Message != "more" {
		t.Errorf("Migrate: %v", err)
	}
}
