package gorillasession_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/gorillasession"
)

var hashKey = []byte("a key of gorilla's, of 32 bytes.")

// oldStores are what a program may have had before.
var oldStores = map[string]func(t *testing.T) sessions.Store{
	"a cookie store": func(*testing.T) sessions.Store { return sessions.NewCookieStore(hashKey) },
	"a cookie store that encrypts": func(*testing.T) sessions.Store {
		return sessions.NewCookieStore(hashKey, []byte("a block key of 32 bytes, for AES"))
	},
	"a cookie store whose keys were rotated": func(*testing.T) sessions.Store {
		return rotated{sessions.NewCookieStore(hashKey), sessions.NewCookieStore([]byte("a newer key of gorilla's"), nil, hashKey)}
	},
	"a cookie store for this browser session": func(*testing.T) sessions.Store {
		store := sessions.NewCookieStore(hashKey)
		store.MaxAge(0)
		return store
	},
	"a store of files": func(t *testing.T) sessions.Store {
		store := sessions.NewFilesystemStore(t.TempDir(), hashKey)
		store.Options.Path, store.Options.Domain = "/shop", "example.test"
		return store
	},
}

// rotated writes with the old keys and reads with the new ones.
type rotated struct {
	sessions.Store
	new sessions.Store
}

func (s rotated) New(r *http.Request, name string) (*sessions.Session, error) {
	return s.new.New(r, name)
}

// writeOld makes a session as the old program did, and gives its cookie to b.
func writeOld(t *testing.T, store sessions.Store, b *browser, name string, values map[any]any) {
	t.Helper()
	r := httptest.NewRequest("GET", "https://example.test/shop/", nil)
	w := httptest.NewRecorder()
	if s, ok := store.(rotated); ok {
		store = s.Store
	}
	s, err := store.New(r, name)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range values {
		s.Values[k] = v
	}
	if err := store.Save(r, w, s); err != nil {
		t.Fatal(err)
	}
	b.cookies[name] = w.Result().Cookies()[0].Value
}

// newImportingSite is the new program, which takes over what the old one had.
func newImportingSite(t *testing.T, within bool, old sessions.Store, edit ...func(*gorillasession.Importer)) *site {
	t.Helper()
	importer := gorillasession.NewImporter(old, "app", "prefs")
	importer.Subject = subjectOf
	for _, f := range edit {
		f(importer)
	}
	st := newSite(t, within, func(o *session.Options) { o.Import = importer })
	st.store.Subject = subjectOf
	return st
}

func TestImport(t *testing.T) {
	for name, newOld := range oldStores {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, within bool) {
				old := newOld(t)
				st := newImportingSite(t, within, old)
				b := st.browser()
				writeOld(t, old, b, "app", map[any]any{"user": 23, "since": moment, 7: "seven", "place": place{1, 2}})
				writeOld(t, old, b, "prefs", map[any]any{"theme": "dark"})
				before := b.clone()

				resp := b.with("app", func(s *sessions.Session) bool {
					equal(t, "IsNew", s.IsNew, false)
					for key, want := range map[any]any{"user": 23, "since": moment, 7: "seven", "place": place{1, 2}} {
						equal(t, fmt.Sprint("the value of ", key), s.Values[key], want)
					}
					s.Values["seen"] = true
					return true
				})
				equal(t, "status", resp.StatusCode, 200)
				equal(t, "the theme", b.look("prefs")["theme"], any("dark"))
				equal(t, "seen", b.look("app")["seen"], any(true))
				equal(t, "cookies of the browser", len(b.cookies), 1)
				recs := st.live()
				if len(recs) != 1 || recs[0].Subject != "23" {
					t.Errorf("the sessions are %v", recs)
				}
				for _, c := range resp.Cookies() {
					if files, ok := old.(*sessions.FilesystemStore); ok && c.Name == "app" && (c.Path != files.Options.Path || c.Domain != files.Options.Domain) {
						t.Errorf("the old cookie is cleared with %v", c)
					}
				}

				// A request that was under way with the old cookie has the same session.
				equal(t, "user of a straggler", before.clone().look("app")["user"], any(23))
				equal(t, "sessions", len(st.live()), 1)

				// After the sign-out the old cookie is worth nothing, whoever kept it,
				// and neither is part of it.
				b.with("app", signOut)
				b.with("prefs", signOut)
				equal(t, "sessions after the sign-out", len(st.live()), 0)
				st.clock.advance(10 * time.Minute)
				delete(b.cookies, "__Host-session")
				thief := before.clone()
				resp = thief.with("app", func(s *sessions.Session) bool {
					equal(t, "what a copy of the old cookies opens", len(s.Values), 0)
					return true
				})
				equal(t, "cookies that the copy is told to forget", len(resp.Cookies()), 2)
				equal(t, "cookies of the copy", len(thief.cookies), 0)
				equal(t, "Cache-Control", resp.Header.Get("Cache-Control"), "no-store")
				alone := before.clone()
				delete(alone.cookies, "prefs")
				equal(t, "what the one that decides opens alone", len(alone.look("app")), 0)
				equal(t, "sessions in the end", len(st.live()), 0)
			})
		})
	}
}

func TestImportDeletesFiles(t *testing.T) {
	dir := t.TempDir()
	old := sessions.NewFilesystemStore(dir, hashKey)
	st := newImportingSite(t, true, old)
	b := st.browser()
	writeOld(t, old, b, "app", map[any]any{"user": 23})
	writeOld(t, old, b, "prefs", map[any]any{"theme": "dark"})
	writeOld(t, old, st.browser(), "app", map[any]any{"user": 24})
	b.look("app")
	files, err := filepath.Glob(filepath.Join(dir, "session_*"))
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// A request whose session nobody uses leaves everything as it is.
func TestImportWaitsForAUse(t *testing.T) {
	old := sessions.NewFilesystemStore(t.TempDir(), hashKey)
	st := newImportingSite(t, true, old)
	b := st.browser()
	writeOld(t, old, b, "app", map[any]any{"user": 23})
	resp := b.get(func(http.ResponseWriter, *http.Request) {})
	equal(t, "cookies", len(resp.Cookies()), 0)
	equal(t, "user", b.look("app")["user"], any(23))
}

// The text of a cookie is not the only one that means the same.
func TestAnOldCookieWrittenOtherwise(t *testing.T) {
	old := sessions.NewCookieStore(hashKey)
	st := newImportingSite(t, true, old)
	b := st.browser()
	for pad := 0; ; pad++ { // until the last character has open bits
		writeOld(t, old, b, "app", map[any]any{"user": 23, "pad": strings.Repeat("x", pad)})
		if strings.HasSuffix(b.cookies["app"], "=") {
			break
		}
	}
	value := b.cookies["app"]
	thief := b.clone()
	b.with("app", save)
	b.with("app", signOut)
	st.clock.advance(time.Hour)

	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	end := len(strings.TrimRight(value, "=")) - 1
	tried := 0
	for _, c := range alphabet {
		other := value[:end] + string(c) + value[end+1:]
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", "app="+other)
		if s, err := old.New(r, "app"); other == value || err != nil || s.IsNew {
			continue
		}
		tried++ // gorilla takes it
		thief.cookies["app"] = other
		equal(t, "what the cookie opens, written otherwise", len(thief.clone().look("app")), 0)
	}
	if tried == 0 {
		t.Fatal("gorilla takes no other text of the cookie; the test is of no use")
	}
}

func TestWhatIsNotImported(t *testing.T) {
	cookieOf := func(t *testing.T, old sessions.Store, values map[any]any) string {
		b := newSite(t, false).browser()
		writeOld(t, old, b, "app", values)
		return b.cookies["app"]
	}
	for name, cookie := range map[string]func(t *testing.T, old *sessions.CookieStore) string{
		"nothing at all": func(*testing.T, *sessions.CookieStore) string { return "" },
		"a forged cookie": func(t *testing.T, old *sessions.CookieStore) string {
			return flip(cookieOf(t, old, map[any]any{"user": 23}))
		},
		"what is no base64":         func(*testing.T, *sessions.CookieStore) string { return "hello, world" },
		"a cookie that is too long": func(*testing.T, *sessions.CookieStore) string { return strings.Repeat("A", 4100) },
		"the cookie of another key": func(t *testing.T, _ *sessions.CookieStore) string {
			return cookieOf(t, sessions.NewCookieStore([]byte("another key")), map[any]any{"user": 23})
		},
		"a session without values": func(t *testing.T, old *sessions.CookieStore) string { return cookieOf(t, old, nil) },
		"a session of ours": func(*testing.T, *sessions.CookieStore) string {
			return "s%3AxKB124lQllyA-QmJj1XLv0BUofCY__M5.1Co3IccQcV8rjWuiMPdgytWpfj8vSiEcVJXRK9JJBe0"
		},
		"a cookie longer than it takes": func(t *testing.T, old *sessions.CookieStore) string {
			value := cookieOf(t, old, map[any]any{"user": 23})
			for _, codec := range old.Codecs {
				codec.(*securecookie.SecureCookie).MaxLength(10)
			}
			return value
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, within bool) {
				old := sessions.NewCookieStore(hashKey)
				st := newImportingSite(t, within, old)
				b := st.browser()
				b.cookies["app"] = cookie(t, old)
				writeOld(t, sessions.NewCookieStore(hashKey), b, "prefs", map[any]any{"theme": "dark"})
				if name != "nothing at all" {
					delete(b.cookies, "prefs")
				}
				resp := b.with("app", func(s *sessions.Session) bool {
					equal(t, "values", len(s.Values), 0)
					return true
				})
				equal(t, "status", resp.StatusCode, 200)
				if name != "nothing at all" {
					equal(t, "sessions", len(st.live()), 0)
				}
				b.set("app", "user", 24)
				equal(t, "the user who has signed in", b.look("app")["user"], any(24))
			})
		})
	}
}

// flip changes what a cookie says, and leaves it well formed.
func flip(value string) string {
	raw, err := base64.URLEncoding.DecodeString(value)
	if err != nil {
		panic(err)
	}
	i := bytes.IndexByte(raw, '|') + 5
	raw[i] ^= 1
	return base64.URLEncoding.EncodeToString(raw)
}

// The cookie that says who is signed in decides: with a bad one before it nothing
// else gets in a second time.
func TestTheFirstCookieDecides(t *testing.T) {
	old := sessions.NewCookieStore(hashKey)
	st := newImportingSite(t, true, old)
	b := st.browser()
	writeOld(t, old, b, "app", map[any]any{"user": 23})
	writeOld(t, old, b, "prefs", map[any]any{"theme": "dark"})
	b.cookies["app"] = flip(b.cookies["app"])
	equal(t, "prefs", len(b.look("prefs")), 0)

	delete(b.cookies, "app") // who was never signed in has only those
	equal(t, "the theme", b.look("prefs")["theme"], any("dark"))

	// And a second one that is bad is only left out.
	b = st.browser()
	writeOld(t, old, b, "app", map[any]any{"user": 23})
	b.cookies["prefs"] = "bad"
	equal(t, "user", b.look("app")["user"], any(23))

	// Of two cookies by one name the first counts, here as there.
	b = st.browser()
	writeOld(t, old, b, "app", map[any]any{"user": 24})
	r := b.request()
	r.Header["Cookie"] = []string{"app=" + b.cookies["app"] + "; app=bad"}
	s, err := st.OpenRequest(r)
	equal(t, "OpenRequest", err, nil)
	equal(t, "subject", s.Subject(), "24")
}

// A store may read a request in its own way; it must not find another session than
// the one that the request is known by.
func TestAStoreThatReadsCookiesItsOwnWay(t *testing.T) {
	old := ownWay{sessions.NewCookieStore(hashKey)}
	st := newImportingSite(t, true, old)
	b := st.browser()
	writeOld(t, old.CookieStore, b, "app", map[any]any{"user": 23})
	value := b.cookies["app"]
	b.with("app", save)
	b.with("app", signOut)
	st.clock.advance(time.Hour)
	for _, cookies := range []string{"app=" + value, "app=x; app=" + value, "app=" + value + "; app=x"} {
		r := b.request()
		r.Header.Set("Cookie", cookies)
		s, err := st.OpenRequest(r)
		equal(t, "OpenRequest", err, nil)
		equal(t, "keys", len(s.Keys()), 0)
	}
	// Nor is it a session that it finds nothing and has no error.
	thief := st.browser()
	writeOld(t, old.CookieStore, thief, "prefs", map[any]any{"theme": "dark"})
	thief.cookies["app"] = "x"
	equal(t, "prefs", len(thief.look("prefs")), 0)
}

// ownWay reads the first of several cookies that is good, and has no error if none
// is.
type ownWay struct{ *sessions.CookieStore }

func (s ownWay) New(r *http.Request, name string) (*sessions.Session, error) {
	for _, c := range r.CookiesNamed(name) {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(c)
		if gs, err := s.CookieStore.New(r, name); err == nil {
			return gs, nil
		}
	}
	return s.CookieStore.New(httptest.NewRequest("GET", "/", nil), name)
}

func TestHowOldACookieMayBe(t *testing.T) {
	write := func(t *testing.T, old sessions.Store, age time.Duration) string {
		// securecookie has no clock to be set, so that the date is written here.
		codec := securecookie.New(hashKey, nil)
		value, err := codec.Encode("app", map[any]any{"user": 23})
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := base64.URLEncoding.DecodeString(value)
		parts := bytes.SplitN(raw, []byte("|"), 3)
		return sign(t, fmt.Sprint(time.Now().Add(-age).Unix()), parts[1])
	}
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		age     time.Duration
		store   func(s *sessions.CookieStore)
		edit    func(i *gorillasession.Importer)
		imports bool
		left    time.Duration
	}{
		"younger than 30 days":                     {age: 29 * day, imports: true, left: day},
		"older than 30 days":                       {age: 31 * day},
		"older, where the store says so":           {age: 31 * day, store: func(s *sessions.CookieStore) { s.MaxAge(90 * 86400) }, imports: true, left: 59 * day},
		"where the store takes any, not any":       {age: 31 * day, store: func(s *sessions.CookieStore) { s.MaxAge(0) }},
		"older than the importer takes":            {age: 2 * day, edit: func(i *gorillasession.Importer) { i.MaxAge = day }},
		"as old as the importer is told to take":   {age: 31 * day, store: func(s *sessions.CookieStore) { s.MaxAge(0) }, edit: func(i *gorillasession.Importer) { i.MaxAge = 40 * day }, imports: true, left: 9 * day},
		"options that do not reach securecookie":   {age: 2 * day, store: func(s *sessions.CookieStore) { s.Options = &sessions.Options{MaxAge: 60} }, imports: true, left: 28 * day},
		"an hour after the last save, as is usual": {age: time.Hour, imports: true, left: 30*day - time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			old := sessions.NewCookieStore(hashKey)
			if test.store != nil {
				test.store(old)
			}
			st := newImportingSite(t, true, old, func(i *gorillasession.Importer) {
				if test.edit != nil {
					test.edit(i)
				}
			})
			b := st.browser()
			b.cookies["app"] = write(t, old, test.age)
			equal(t, "whether it was imported", len(b.look("app")) > 0, test.imports)
			if !test.imports {
				return
			}
			var ends time.Time
			for rec, err := range st.All(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				_, data, _ := strings.Cut(string(rec.Data), `"ends":`)
				ms, _, _ := strings.Cut(data, "}")
				var n int64
				if _, err := fmt.Sscan(ms, &n); err != nil {
					t.Fatalf("%s: %v", rec.Data, err)
				}
				ends = time.UnixMilli(n)
			}
			if got := time.Until(ends); got > test.left || got < test.left-time.Minute {
				t.Errorf("the session ends in %v, want %v", got, test.left)
			}
		})
	}
}

// sign makes a cookie of its parts, as securecookie does.
func sign(t *testing.T, date string, value []byte) string {
	t.Helper()
	mac := hmacSHA256(hashKey, []byte("app|"+date+"|"+string(value)))
	return base64.URLEncoding.EncodeToString([]byte(date + "|" + string(value) + "|" + string(mac)))
}

// What cannot be told from a stranger must not look like one.
func TestImportThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		old   func(t *testing.T) (old sessions.Store, cookie string)
		error string
	}{
		"a type that is not registered any more": {
			func(t *testing.T) (sessions.Store, string) {
				codec := securecookie.New(hashKey, nil).SetSerializer(rawGob{})
				value, err := codec.Encode("app", nil)
				if err != nil {
					t.Fatal(err)
				}
				return sessions.NewCookieStore(hashKey), value
			},
			"not registered",
		},
		"a store that is down": {
			func(*testing.T) (sessions.Store, string) { return brokenStore{errDown}, "x" },
			errDown.Error(),
		},
		"a store without a key": {
			func(*testing.T) (sessions.Store, string) { return sessions.NewCookieStore(nil), "x" },
			"hash key is not set",
		},
		"a file that may not be read": {
			func(t *testing.T) (sessions.Store, string) {
				dir := t.TempDir()
				old := sessions.NewFilesystemStore(dir, hashKey)
				b := newSite(t, false).browser()
				writeOld(t, old, b, "app", map[any]any{"user": 23})
				files, err := filepath.Glob(filepath.Join(dir, "session_*"))
				if err != nil || len(files) != 1 {
					t.Fatal(files, err)
				}
				if err := os.Remove(files[0]); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(files[0], 0o700); err != nil {
					t.Fatal(err)
				}
				return old, b.cookies["app"]
			},
			"is a directory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, within bool) {
				old, cookie := test.old(t)
				var log bytes.Buffer
				st := newSite(t, within, func(o *session.Options) {
					o.Import = gorillasession.NewImporter(old, "app")
					o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				})
				b := st.browser()
				b.cookies["app"] = cookie
				resp := b.get(func(_ http.ResponseWriter, r *http.Request) {
					_, err := st.store.Get(r, "app")
					var down *session.StoreError
					if !errors.As(err, &down) {
						t.Fatalf("Get: %v", err)
					}
					contains(t, "the error", err.Error(), test.error)
					if strings.Contains(err.Error(), "/session_") || strings.Contains(err.Error(), cookie) && len(cookie) > 1 {
						t.Errorf("the error tells the ID: %v", err)
					}
				})
				if within {
					equal(t, "status", resp.StatusCode, http.StatusServiceUnavailable)
					contains(t, "the log", log.String(), test.error)
				}
				equal(t, "cookies", len(resp.Cookies()), 0)
				equal(t, "the old cookie", b.cookies["app"], cookie)
			})
		})
	}
}

// rawGob writes a map with a value of a type that is not registered.
type rawGob struct{}

func (rawGob) Serialize(any) ([]byte, error) {
	var buf bytes.Buffer
	err := gob.NewEncoder(&buf).Encode(map[any]any{"user": 23, "place": place{1, 2}})
	return bytes.ReplaceAll(buf.Bytes(), []byte("session_test.place"), []byte("session_test.plaza")), err
}
func (rawGob) Deserialize([]byte, any) error { return errors.New("not used") }

// brokenStore cannot be reached.
type brokenStore struct{ err error }

func (s brokenStore) Get(*http.Request, string) (*sessions.Session, error) { return nil, s.err }
func (s brokenStore) New(r *http.Request, name string) (*sessions.Session, error) {
	if len(r.Cookies()) == 0 {
		return nil, s.err
	}
	return sessions.NewSession(s, name), s.err
}
func (s brokenStore) Save(*http.Request, http.ResponseWriter, *sessions.Session) error { return s.err }

// That the old session cannot be deleted keeps nobody out, and it is not taken over
// again.
func TestImportThatCannotDelete(t *testing.T) {
	old := stubborn{sessions.NewCookieStore(hashKey)}
	var log bytes.Buffer
	st := newSite(t, true, func(o *session.Options) {
		o.Import = gorillasession.NewImporter(old, "app")
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	b := st.browser()
	writeOld(t, old.CookieStore, b, "app", map[any]any{"user": 23})
	thief := b.clone()
	equal(t, "user", b.look("app")["user"], any(23))
	contains(t, "the log", log.String(), "could not delete")
	b.with("app", signOut)
	st.clock.advance(time.Hour)
	equal(t, "what a copy of the old cookie opens", len(thief.look("app")), 0)
}

type stubborn struct{ *sessions.CookieStore }

func (stubborn) Save(*http.Request, http.ResponseWriter, *sessions.Session) error { return errDown }

// The context of the request, with the time that there is for the store, reaches
// the old store.
func TestImportHonoursTheContext(t *testing.T) {
	seen := make(chan context.Context, 8)
	old := listening{sessions.NewCookieStore(hashKey), seen}
	st := newSite(t, true, func(o *session.Options) { o.Import = gorillasession.NewImporter(old, "app") })
	b := st.browser()
	writeOld(t, old.CookieStore, b, "app", map[any]any{"user": 23})
	for len(seen) > 0 {
		<-seen // those of NewImporter and New
	}
	equal(t, "user", b.look("app")["user"], any(23))
	for range 2 { // New and Save
		if _, ok := (<-seen).Deadline(); !ok {
			t.Error("the old store is called without a deadline")
		}
	}
}

type listening struct {
	*sessions.CookieStore
	seen chan context.Context
}

func (s listening) New(r *http.Request, name string) (*sessions.Session, error) {
	s.seen <- r.Context()
	return s.CookieStore.New(r, name)
}

func (s listening) Save(r *http.Request, w http.ResponseWriter, gs *sessions.Session) error {
	s.seen <- r.Context()
	return s.CookieStore.Save(r, w, gs)
}

// However often a program saves, the client is told once.
func TestImportAndSeveralSaves(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		old := sessions.NewCookieStore(hashKey)
		st := newImportingSite(t, within, old)
		b := st.browser()
		writeOld(t, old, b, "app", map[any]any{"user": 23})
		resp := b.get(func(w http.ResponseWriter, r *http.Request) {
			s, err := st.store.Get(r, "app")
			if err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				s.Values["n"] = n
				if err := s.Save(r, w); err != nil {
					t.Fatal(err)
				}
			}
		})
		equal(t, "cookies", len(resp.Cookies()), 2)
		equal(t, "n", b.look("app")["n"], any(2))
	})
}

// Without Handler a program that only reads tells the client nothing: until it
// does, the old cookie leads to the new session.
func TestImportByReading(t *testing.T) {
	old := sessions.NewFilesystemStore(t.TempDir(), hashKey)
	st := newImportingSite(t, false, old)
	b := st.browser()
	writeOld(t, old, b, "app", map[any]any{"user": 23})
	for range 3 {
		equal(t, "user", b.look("app")["user"], any(23))
		st.clock.advance(20 * time.Minute)
	}
	equal(t, "sessions", len(st.live()), 1)
}

// The new cookie may have the name of the old one.
func TestImportUnderTheSameName(t *testing.T) {
	inBoth(t, func(t *testing.T, within bool) {
		old := sessions.NewCookieStore(hashKey)
		st := newSite(t, within, func(o *session.Options) {
			o.Cookie.Name = "app"
			o.Import = gorillasession.NewImporter(old, "app")
		})
		b := st.browser()
		writeOld(t, old, b, "app", map[any]any{"user": 23})
		resp := b.set("app", "seen", true)
		equal(t, "cookies", len(resp.Cookies()), 1)
		equal(t, "user", b.look("app")["user"], any(23))
		equal(t, "seen", b.look("app")["seen"], any(true))
	})
}

func TestNewImporterPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"without a store":     func() { gorillasession.NewImporter(nil, "app") },
		"without a name":      func() { gorillasession.NewImporter(sessions.NewCookieStore(hashKey)) },
		"with a name as \"\"": func() { gorillasession.NewImporter(sessions.NewCookieStore(hashKey), "") },
	} {
		func() {
			defer func() { contains(t, name, fmt.Sprint(recover()), "gorillasession: ") }()
			f()
		}()
	}
}
