package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/redisstore"
)

// What is in the server is what connect-redis writes, and what it writes is read.
func TestRedisExpressKeys(t *testing.T) {
	place := oneRedis(t)
	admin := redisAdmin{t, rueidisClient(t, place.addrs...)}
	for name, open := range map[string]func(testing.TB, redisPlace, redisstore.Options) redisStore{
		"rueidis": openRueidis, "cache": openCached, "go-redis": openGoRedis,
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			admin := redisAdmin{t, admin.client}
			store := open(t, place, redisstore.Options{Layout: redisstore.Express})
			if !store.ExpressLayout() {
				t.Error("ExpressLayout is false")
			}
			const text = `{"cookie":{"originalMaxAge":60000,"expires":"2030-01-01T00:01:00.000Z","httpOnly":true,"path":"/"},` +
				"\"n\":9007199254740993,\"f\":1.0,\"u\":\"\u2028\",\"passport\":{\"user\":7}}"

			// Ours to theirs: 59.2 seconds are 60, as Math.ceil has it.
			rec := session.Record{ID: name, Data: []byte(text), Expires: now().Add(59200 * time.Millisecond)}
			save(t, store, &rec)
			if got := admin.text("GET", "sess:"+name); got != text {
				t.Errorf("the key has %s", got)
			}
			if ttl := admin.int("PTTL", "sess:"+name); ttl <= 59_500 || ttl > 60_000 {
				t.Errorf("the time to live is %d ms, want 60 s", ttl)
			}
			got := load(t, store, name)
			if got.Subject != "7" || got.Version != rec.Version || !got.Created.IsZero() || !got.LastSeen.IsZero() {
				t.Errorf("loaded %+v", got)
			}
			if left := time.Until(got.Expires); left <= 59*time.Second || left > 60*time.Second {
				t.Errorf("it expires in %v, want what the server says", left)
			}

			// Touch prolongs, and never shortens: not even to nothing.
			for _, test := range []struct {
				in   time.Duration
				want int64
			}{{2 * time.Hour, 7200}, {time.Hour, 7200}, {-time.Hour, 7200}, {7300*time.Second + time.Millisecond, 7301}} {
				if err := store.Touch(ctx, name, now(), now().Add(test.in)); err != nil {
					t.Fatal(err)
				}
				if ttl := admin.int("TTL", "sess:"+name); ttl != test.want {
					t.Errorf("touched by %v the time to live is %d, want %d", test.in, ttl, test.want)
				}
			}
			if err := store.Touch(ctx, "missing", now(), now().Add(time.Hour)); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Touch of a missing record: %v", err)
			}
			if admin.int("EXISTS", "sess:missing") != 0 {
				t.Error("Touch has created a record")
			}

			// Theirs to ours: overwritten by Express, our stale save is a conflict.
			admin.do("SET", "sess:"+name, `{"cookie":{},"passport":{"user":"bob"}}`, "EX", "100")
			got.Data = []byte(`{"cookie":{}}`)
			if _, err := store.Save(ctx, &got); !errors.Is(err, session.ErrConflict) {
				t.Errorf("Save over what Express has written: %v", err)
			}
			eventually(t, time.Second, func(context.Context) error {
				if got = load(t, store, name); got.Subject != "bob" {
					return fmt.Errorf("the subject is %q", got.Subject)
				}
				return nil
			})
			if ids := listAll(t, store, "bob", 10); !slices.Contains(ids, name) {
				t.Errorf("bob has %v", ids)
			}

			// A save that is past its end deletes, as there.
			got.Expires = now().Add(-time.Second)
			save(t, store, &got)
			if admin.int("EXISTS", "sess:"+name) != 0 {
				t.Error("a record that has ended is still there")
			}

			// Without expiry (disableTTL), until it is saved.
			admin.do("SET", "sess:"+name, `{"cookie":{}}`)
			eventually(t, time.Second, func(context.Context) (err error) { got, err = store.Load(ctx, name); return err })
			if got.Expires.Year() != 9999 {
				t.Errorf("it expires in %v", got.Expires)
			}
			if err := store.Touch(ctx, name, now(), now().Add(time.Hour)); err != nil || admin.int("TTL", "sess:"+name) != -1 {
				t.Errorf("Touch has shortened it: %v", err)
			}
			got.Expires = now().Add(time.Hour)
			save(t, store, &got)
			if ttl := admin.int("TTL", "sess:"+name); ttl != 3600 {
				t.Errorf("the time to live is %d, want 3600", ttl)
			}
			if err := store.Delete(ctx, name); err != nil || admin.int("EXISTS", "sess:"+name) != 0 {
				t.Errorf("Delete: %v", err)
			}
		})
	}
}

// The version that the server computes is the one computed here, for any text.
func TestRedisExpressVersion(t *testing.T) {
	store := openRueidis(t, oneRedis(t), redisstore.Options{Layout: redisstore.Express})
	rec := redisRecord("id", "")
	for n := range 300 {
		rec.Data = fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, n, strings.Repeat("é\x00", n))
		save(t, store, &rec)
		if got := load(t, store, rec.ID); got.Version != rec.Version {
			t.Fatalf("the version is %x, and was %x", got.Version, rec.Version)
		}
	}
}

// What is not ours spoils no list, and is not overwritten.
func TestRedisForeignKeys(t *testing.T) {
	place := oneRedis(t)
	admin := redisAdmin{t, rueidisClient(t, place.addrs...)}
	for _, layout := range []redisstore.Layout{redisstore.Native, redisstore.Express} {
		prefix := layout.String() + ":"
		keys := prefix
		if layout == redisstore.Native {
			keys += "id:"
		}
		store := openRueidis(t, place, redisstore.Options{Layout: layout, Prefix: prefix})
		rec := redisRecord("ours", "")
		save(t, store, &rec)
		admin.do("HSET", keys+"hash", "field", "value")
		admin.do("SET", keys+"empty", "")
		admin.do("SET", keys+"short", "s1")
		admin.do("SET", keys+"number", "12345")
		admin.do("SET", keys+"long", strings.Repeat("x", 500))
		admin.do("SET", keys+"nearly", "s1"+strings.Repeat("z", 500))
		var want []string
		if layout == redisstore.Express { // to which any text is one
			want = []string{"long", "nearly", "number", "ours", "short"}
		} else {
			want = []string{"ours"}
		}
		if got := listAll(t, store, "", 2); !slices.Equal(got, want) {
			t.Errorf("%v: the list is %v, want %v", layout, got, want)
		}
		for _, id := range []string{"hash", "short", "number", "long", "nearly"} {
			before := admin.text("TYPE", keys+id)
			rec := redisRecord(id, "alice")
			if _, err := store.Save(t.Context(), &rec); err == nil {
				t.Errorf("%v: Save has overwritten %s", layout, id)
			}
			store.Load(t.Context(), id)
			store.Touch(t.Context(), id, now(), now().Add(time.Hour))
			if after := admin.text("TYPE", keys+id); after != before {
				t.Errorf("%v: %s was a %s and is a %s", layout, id, before, after)
			}
		}
	}
}
