package filestore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

func openExpress(t testing.TB, dir string) *Store {
	t.Helper()
	return open(t, dir, &Options{Layout: Express, NoSync: true})
}

// The files in testdata/express were written by session-file-store 1.5.0 on
// Node 20: three by set, the fourth by get, a new key and set.
func TestExpressReadsTheFilesOfSessionFileStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/express")); err != nil {
		t.Fatal(err)
	}
	s := openExpress(t, dir)
	for _, test := range []struct {
		id, subject, data string
		expires           int64
	}{
		{"anonymous-session-cookie-0000001", "",
			`{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"}}`,
			1795430226466 + 3600_000},
		{"passport-string-user-00000000002", "tj",
			`{"cookie":{"originalMaxAge":60000,"expires":"2030-01-01T00:00:00.000Z","httpOnly":true,"path":"/"},"passport":{"user":"tj"},"cart":["a",1.5,{"n":9007199254740991}]}`,
			1795430226472 + 60_000},
		{"passport-number-user-00000000003", "7",
			`{"cookie":{"originalMaxAge":86400000,"expires":"2030-01-01T00:00:00.000Z","httpOnly":true,"path":"/"},"passport":{"user":7},"u":"` + "\u2028" + `<é☃>&"}`,
			1795430226481 + 86400_000},
		{"touched-and-changed-000000000004", "tj",
			`{"cookie":{"originalMaxAge":60000,"expires":"2030-01-01T00:00:00.000Z","httpOnly":true,"path":"/"},"passport":{"user":"tj"},"cart":["a",1.5,{"n":9007199254740991}],"added":true}`,
			1795430226484 + 60_000},
	} {
		t.Run(test.id, func(t *testing.T) {
			file := readFile(t, pathOf(s, test.id))
			rec := load(t, s, test.id)
			wantRecord(t, rec, session.Record{
				ID: test.id, Subject: test.subject, Data: []byte(test.data),
				Version: rec.Version, Expires: fromMillis(test.expires),
			})
			if rec.Version == 0 {
				t.Error("the version is zero")
			}
			save(t, s, &rec)
			// Theirs keeps the place of "__lastAccess", ours puts it at the end.
			if test.id != "touched-and-changed-000000000004" && !bytes.Equal(readFile(t, pathOf(s, test.id)), file) {
				t.Errorf("saved again, the file is\n%s, want\n%s", readFile(t, pathOf(s, test.id)), file)
			}
			wantRecord(t, load(t, s, test.id), rec)
		})
	}
	for subject, want := range map[string]int{"tj": 2, "7": 1, "": 4} {
		if n := subjectOf(t, s, subject); n != want {
			t.Errorf("%d records of %q, want %d", n, subject, want)
		}
	}
}

func TestExpressFile(t *testing.T) {
	const never = maxMillis
	for _, test := range []struct {
		name, file, data, subject string
		expires                   int64
	}{
		{"the access at the end", `{"a":1,"__lastAccess":5000}`, `{"a":1}`, "", 5000 + 3600_000},
		{"the access at the beginning", `{"__lastAccess":5000,"a":1}`, `{"a":1}`, "", 5000 + 3600_000},
		{"the access in the middle", `{"a":1,"__lastAccess":5000,"b":2}`, `{"a":1,"b":2}`, "", 5000 + 3600_000},
		{"the access alone", `{"__lastAccess":5000}`, `{}`, "", 5000 + 3600_000},
		{"the access twice, the last counts", `{"__lastAccess":1,"__lastAccess":5000}`, `{}`, "", 5000 + 3600_000},
		{"the access written with an escape", `{"\u005f_lastAccess":5000}`, `{}`, "", 5000 + 3600_000},
		{"the access deeper down is data", `{"x":{"__lastAccess":1},"__lastAccess":5000}`, `{"x":{"__lastAccess":1}}`, "", 5000 + 3600_000},
		{"no access never expires", `{"a":1}`, `{"a":1}`, "", never},
		{"an access that is no number never expires", `{"__lastAccess":"x"}`, `{}`, "", never},
		{"an access with a fraction", `{"__lastAccess":5000.9}`, `{}`, "", 5000 + 3600_000},
		{"an access beyond all calendars", `{"__lastAccess":1e999}`, `{}`, "", never},
		{"white space is kept", " { \"a\" : [ 1 , \"}\\\"\" ] ,\n\"__lastAccess\" : 5000 } \n", " { \"a\" : [ 1 , \"}\\\"\" ] } \n", "", 5000 + 3600_000},
		{"maxAge counts", `{"cookie":{"originalMaxAge":1000},"__lastAccess":5000}`, `{"cookie":{"originalMaxAge":1000}}`, "", 6000},
		{"maxAge null is the TTL", `{"cookie":{"originalMaxAge":null},"__lastAccess":5000}`, `{"cookie":{"originalMaxAge":null}}`, "", 5000 + 3600_000},
		{"maxAge false is the TTL", `{"cookie":{"originalMaxAge":false},"__lastAccess":5000}`, `{"cookie":{"originalMaxAge":false}}`, "", 5000 + 3600_000},
		{"maxAge zero is the TTL", `{"cookie":{"originalMaxAge":0},"__lastAccess":5000}`, `{"cookie":{"originalMaxAge":0}}`, "", 5000 + 3600_000},
		{"maxAge below zero has passed", `{"cookie":{"originalMaxAge":-1000},"__lastAccess":5000}`, `{"cookie":{"originalMaxAge":-1000}}`, "", 4000},
		{"cookie.expires does not count", `{"cookie":{"expires":"1999-01-01T00:00:00.000Z"},"__lastAccess":5000}`, `{"cookie":{"expires":"1999-01-01T00:00:00.000Z"}}`, "", 5000 + 3600_000},
		{"a user with a name", `{"passport":{"user":"t\u006a"}}`, `{"passport":{"user":"t\u006a"}}`, "tj", never},
		{"a user with a number", `{"passport":{"user":12345678901234567890}}`, `{"passport":{"user":12345678901234567890}}`, "12345678901234567890", never},
		{"a user that is an object", `{"passport":{"user":{"id":1}}}`, `{"passport":{"user":{"id":1}}}`, "", never},
		{"a user with a control character", `{"passport":{"user":"a\u0000"}}`, `{"passport":{"user":"a\u0000"}}`, "", never},
		{"no user", `{"passport":{}}`, `{"passport":{}}`, "", never},
		{"passport that is null", `{"passport":null,"cookie":7}`, `{"passport":null,"cookie":7}`, "", never},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, ok := decodeExpress([]byte(test.file), defaultTTL)
			if !ok {
				t.Fatal("it is not a session")
			}
			if string(e.data) != test.data || e.subject != test.subject || e.expires() != test.expires {
				t.Errorf("data %s, subject %q, expires %d; want %s, %q, %d",
					e.data, e.subject, e.expires(), test.data, test.subject, test.expires)
			}
		})
	}
	for _, file := range []string{"", "null", "[1]", `"x"`, `{`, `{"a":1`, `{"a":1}}`, `{"a":1}x`, "{}\x00", "\ufeff{}"} {
		if _, ok := decodeExpress([]byte(file), defaultTTL); ok {
			t.Errorf("%q is taken for a session", file)
		}
	}
}

func TestExpressKeepsDataThatIsNoObject(t *testing.T) {
	s := openExpress(t, t.TempDir())
	rec := sample("the-record")
	for _, data := range []string{`["the-successor",1]`, ` [ 1 ] `, `null`, `"x"`, `7`} {
		rec.Data = []byte(data)
		rec.Expires = rec.LastSeen.Add(10 * time.Second)
		save(t, s, rec)
		got := load(t, s, rec.ID)
		if string(got.Data) != strings.TrimSpace(data) || !got.Expires.Equal(rec.Expires) || got.Version != rec.Version {
			t.Errorf("%s comes back as %s, expires %v, version %d", data, got.Data, got.Expires, got.Version)
		}
	}
	rec.Data = []byte(`["x"]`)
	save(t, s, rec)
	const want = `{"cookie":{"originalMaxAge":10000},"__coatcheck":["x"],"__lastAccess":1795428000123}`
	if file := readFile(t, pathOf(s, rec.ID)); string(file) != want {
		t.Errorf("the file is %s, want %s", file, want)
	}
	for _, data := range []string{``, `x`, `{"a":}`, `{"cookie":{},"__coatcheck":["x"]}`} {
		rec.Data = []byte(data)
		if _, err := s.Save(ctx, rec); err == nil {
			t.Errorf("Save takes the data %s", data)
		}
	}
}

func TestExpressTouchChangesTheLastAccessOnly(t *testing.T) {
	dir := t.TempDir()
	s := openExpress(t, dir)
	writeFile(t, filepath.Join(dir, "x.json"), []byte(`{"cookie":{"originalMaxAge":60000},"__lastAccess":5000,"k":1}`))
	rec := load(t, s, "x")
	if err := s.Touch(ctx, "x", fromMillis(9000), fromMillis(70000)); err != nil {
		t.Fatal(err)
	}
	rec.Expires = fromMillis(70000)
	wantRecord(t, load(t, s, "x"), rec)
	if err := s.Touch(ctx, "x", fromMillis(0), fromMillis(0)); err != nil {
		t.Fatal(err)
	}
	wantRecord(t, load(t, s, "x"), rec)
	const want = `{"cookie":{"originalMaxAge":60000},"k":1,"__lastAccess":10000}`
	if file := readFile(t, filepath.Join(dir, "x.json")); string(file) != want {
		t.Errorf("the file is %s, want %s", file, want)
	}
	rec.Data = []byte(`{}`)
	save(t, s, &rec)

	// What never expires does not begin to by a touch.
	writeFile(t, filepath.Join(dir, "y.json"), []byte(`{}`))
	rec = load(t, s, "y")
	if err := s.Touch(ctx, "y", time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantRecord(t, load(t, s, "y"), rec)
	sweep(t, s, time.Now().AddDate(100, 0, 0), 1)
	load(t, s, "y")
}

func TestExpressSavesOfTheSameSessionDiffer(t *testing.T) {
	s := openExpress(t, t.TempDir())
	rec := sample("the-record")
	seen := map[uint64]bool{}
	for range 50 {
		save(t, s, rec)
		if seen[rec.Version] {
			t.Fatal("a version came back")
		}
		seen[rec.Version] = true
	}
}

func TestExpressSeesTheWritesOfOthers(t *testing.T) {
	s := openExpress(t, t.TempDir())
	rec := sample("the-record")
	save(t, s, rec)
	path := pathOf(s, rec.ID)
	file := readFile(t, path)
	// An Express process touches a second later: the same session in a new file.
	writeFile(t, path+".1234", bytes.Replace(file, []byte(`"__lastAccess":1`), []byte(`"__lastAccess":2`), 1))
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(path+".1234", later, later); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".1234", path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(ctx, rec); !errors.Is(err, session.ErrConflict) {
		t.Fatalf("Save over the write of another gave %v, want ErrConflict", err)
	}
	// And it removes the session.
	*rec = load(t, s, rec.ID)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(ctx, rec); !errors.Is(err, session.ErrConflict) {
		t.Fatalf("Save of what another removed gave %v, want ErrConflict", err)
	}
}

// The last look at the file comes after the new one has been written.
func TestExpressSeesAWriteDuringSave(t *testing.T) {
	s := openExpress(t, t.TempDir())
	x := s.layout.(*express)
	rec := sample("the-record")
	save(t, s, rec)
	seen, err := x.read(rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, seen := range map[string]os.FileInfo{"a change": seen.info, "an appearance": nil} {
		writeFile(t, x.path(rec.ID), []byte(`{"by":"another"}`))
		writeFile(t, x.path(rec.ID)+tempSuffix, []byte(`{"by":"us"}`))
		if same, err := x.replace(ctx, rec.ID, seen); same || err != nil {
			t.Errorf("%s was not seen: %v, %v", name, same, err)
		}
		if _, err := os.Stat(x.path(rec.ID) + tempSuffix); !os.IsNotExist(err) {
			t.Errorf("%s: the temporary file is still there", name)
		}
	}
}

func TestExpressRefusesIDsThatAreNoFileNames(t *testing.T) {
	parent := t.TempDir()
	s := openExpress(t, filepath.Join(parent, "sessions"))
	for _, id := range []string{"../evil", "../../evil", "/etc/evil", `..\evil`, "a/b", ".", "..", ".hidden", "a\x00b", "a\nb", "\xff"} {
		if _, err := s.Save(ctx, sample(id)); err == nil || !strings.Contains(err.Error(), "cannot be a file name") {
			t.Errorf("Save of %q gave %v", id, err)
		}
		wantNotFound(t, s, id)
		if err := s.Touch(ctx, id, now, now); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Touch of %q gave %v", id, err)
		}
	}
	outside := filepath.Join(parent, "evil.json")
	writeFile(t, outside, []byte(`{}`))
	if err := s.Delete(ctx, "../evil"); err != nil {
		t.Fatal(err)
	}
	wantNotFound(t, s, "../evil")
	readFile(t, outside)
	if left := files(t, s.folder.dir); len(left) != 0 {
		t.Errorf("%d files were made", len(left))
	}
}

func TestExpressSweepSparesADamagedFileThatMayBeYoung(t *testing.T) {
	dir := t.TempDir()
	s := openExpress(t, dir)
	writeFile(t, filepath.Join(dir, "x.json"), []byte(`{"cookie":`))
	writeFile(t, filepath.Join(dir, "package.json.bak"), nil)
	sweep(t, s, time.Now().Add(30*time.Minute), 0)
	if left := files(t, dir); len(left) != 2 {
		t.Errorf("%d files are left, want 2", len(left))
	}
	sweep(t, s, time.Now().Add(61*time.Minute), 0)
	if left := files(t, dir); len(left) != 1 {
		t.Errorf("%d files are left, want 1", len(left))
	}
}
