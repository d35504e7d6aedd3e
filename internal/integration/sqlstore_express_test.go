package integration

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
)

// expressText is a session as Express writes it, with what is hard to keep.
const expressText = `{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"},` +
	` "n":9007199254740993, "z":1.0, "z":2, "u":"\u0000\ud83d\u2028 ☃ 😀 <&>", "passport":{"user":7}}`

// TestSQLExpressPostgres does what connect-pg-simple does, with its statements
// and another connection, beside the store.
func TestSQLExpressPostgres(t *testing.T) {
	for _, zone := range []string{"UTC", "Asia/Tokyo", "America/New_York"} {
		target := targetOf(sqlstore.Postgres)
		dsn := withParams(target.database(t), "timezone="+zone)
		store := newSQLStore(t, target.open(t, dsn), target.dialect, &sqlstore.Options{Layout: sqlstore.Express})
		node := target.open(t, dsn)
		expires := now().Truncate(time.Second).Add(time.Hour)

		if _, err := node.Exec(`INSERT INTO "session" (sess, expire, sid) SELECT $1, to_timestamp($2), $3 `+
			`ON CONFLICT (sid) DO UPDATE SET sess=$1, expire=to_timestamp($2) RETURNING sid`,
			expressText, expires.Unix(), "theirs"); err != nil {
			t.Fatal(err)
		}
		rec := load(t, store, "theirs")
		if string(rec.Data) != expressText || !rec.Expires.Equal(expires) || rec.Subject != "7" {
			t.Errorf("%s: loaded %s, %v, %q", zone, rec.Data, rec.Expires, rec.Subject)
		}
		testExpressCAS(t, store, rec)

		rec = session.Record{ID: "ours", Data: []byte(expressText), Expires: expires.Add(time.Millisecond)}
		save(t, store, &rec)
		var text string
		get := func(at time.Time) error {
			return node.QueryRow(`SELECT sess::text FROM "session" WHERE sid = $1 AND expire >= to_timestamp($2)`, "ours", at.Unix()).Scan(&text)
		}
		if err := get(expires.Add(time.Second)); err != nil || text != expressText {
			t.Errorf("%s: Express finds %q, %v", zone, text, err)
		}
		if get(expires.Add(2*time.Second)) == nil {
			t.Errorf("%s: Express finds the session after its end", zone)
		}
		if err := store.Touch(t.Context(), "ours", now(), expires.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if get(expires.Add(time.Hour)) != nil || get(expires.Add(time.Hour+time.Second)) == nil {
			t.Errorf("%s: Express does not see the touch", zone)
		}
		testExpressList(t, store)
	}
}

// TestSQLExpressMySQL does the same with express-mysql-session's statements.
func TestSQLExpressMySQL(t *testing.T) {
	target := targetOf(sqlstore.MySQL)
	dsn := target.database(t)
	store := newSQLStore(t, target.open(t, dsn), target.dialect, &sqlstore.Options{Layout: sqlstore.Express})
	node := target.open(t, dsn)
	expires := now().Truncate(time.Second).Add(time.Hour)

	if _, err := node.Exec("INSERT INTO `sessions` (`session_id`, `expires`, `data`) VALUES (?, ?, ?) "+
		"ON DUPLICATE KEY UPDATE `expires` = VALUES(`expires`), `data` = VALUES(`data`)",
		"theirs", expires.Unix(), expressText); err != nil {
		t.Fatal(err)
	}
	rec := load(t, store, "theirs")
	if string(rec.Data) != expressText || !rec.Expires.Equal(expires) || rec.Subject != "7" {
		t.Errorf("loaded %s, %v, %q", rec.Data, rec.Expires, rec.Subject)
	}
	testExpressCAS(t, store, rec)

	rec = session.Record{ID: "ours", Data: []byte(expressText), Expires: expires.Add(time.Millisecond)}
	save(t, store, &rec)
	var text string
	var seconds int64
	err := node.QueryRow("SELECT `data`, `expires` FROM `sessions` WHERE `session_id` = ?", "ours").Scan(&text, &seconds)
	if err != nil || text != expressText || seconds != expires.Unix()+1 {
		t.Errorf("Express finds %q, %d, %v", text, seconds, err)
	}
	testExpressList(t, store)
}

// testExpressCAS checks that a record that Express wrote is compared.
func testExpressCAS(t *testing.T, store *sqlstore.Store, rec session.Record) {
	t.Helper()
	stale := rec
	rec.Data = bytes.Replace(rec.Data, []byte(`"z":2`), []byte(`"z":3`), 1)
	save(t, store, &rec)
	save(t, store, &rec) // what is there already, which MySQL does not count
	if _, err := store.Save(t.Context(), &stale); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Save of a stale record: %v", err)
	}
	if got := load(t, store, rec.ID); !bytes.Equal(got.Data, rec.Data) || got.Version != rec.Version {
		t.Errorf("loaded %s, version %d, want %d", got.Data, got.Version, rec.Version)
	}
	if err := store.Delete(t.Context(), rec.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Save(t.Context(), &rec); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Save of a deleted record: %v", err)
	}
}

// testExpressList expects the record "ours" and adds others, whose texts the
// JSON functions of the servers cannot all read.
func testExpressList(t *testing.T, store *sqlstore.Store) {
	t.Helper()
	for id, text := range map[string]string{
		"string":    `{"passport":{"user":"7"}}`,
		"other":     `{"passport":{"user":"77"}}`,
		"nested":    `{"a":{"passport":{"user":7}}}`,
		"case":      `{"Passport":{"user":7},"passport":{"User":7}}`,
		"object":    `{"passport":{"user":{"id":7}}}`,
		"none":      `{}`,
		"null":      `{"passport":null}`,
		"list":      `["7"]`,
		"surrogate": `{"x":"\ud83d","passport":{"user":"7"}}`,
	} {
		save(t, store, &session.Record{ID: id, Data: []byte(text), Expires: now().Add(time.Hour)})
	}
	got := make(map[string]bool)
	for cursor, first := "", true; first || cursor != ""; first = false {
		recs, next, err := store.List(t.Context(), session.Query{Subject: "7", Cursor: cursor, Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			got[rec.ID] = true
		}
		cursor = next
	}
	if len(got) != 3 || !got["ours"] || !got["string"] || !got["surrogate"] {
		t.Errorf("the list of subject 7 has %v", got)
	}
	for _, id := range []string{"string", "other", "nested", "case", "object", "none", "null", "list", "surrogate", "ours"} {
		if err := store.Delete(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}
