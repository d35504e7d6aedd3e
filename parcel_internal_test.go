package session

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A parcelStore lets clients keep records as they are: how they travel does not
// depend on what a store makes of them.
type parcelStore struct{}

func (parcelStore) KeepsParcels() bool { return true }

func (parcelStore) Load(ctx context.Context, id string) (Record, error) {
	p, _ := ParcelsOf(ctx)
	for _, parcel := range p.Get(id) {
		if data, ok := bytes.CutPrefix(parcel, []byte(id)); ok {
			return Record{ID: id, Data: bytes.Clone(data), Version: 1, Expires: time.Now().Add(time.Hour)}, nil
		}
	}
	return Record{}, ErrNotFound
}

func (parcelStore) Save(ctx context.Context, rec *Record) (uint64, error) {
	p, _ := ParcelsOf(ctx)
	return rec.Version + 1, p.Put(rec.ID, append([]byte(rec.ID), rec.Data...))
}

func (parcelStore) Delete(ctx context.Context, id string) error {
	p, _ := ParcelsOf(ctx)
	p.Delete(id)
	return nil
}

func newParcelManager(t testing.TB, edit ...func(*Options)) *Manager {
	t.Helper()
	opts := Options{Secrets: []Secret{"the secret that signs, of 40 bytes......"}}
	for _, f := range edit {
		f(&opts)
	}
	m, err := New(parcelStore{}, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Whatever the cookie is called and wherever it belongs, a parcel of any size
// comes back whole, in lines that a browser keeps, and of which there are few.
func TestParcelsTravelInCookies(t *testing.T) {
	for name, c := range map[string]Cookie{
		"as it comes": {},
		"with the longest attributes": {
			Name: strings.Repeat("n", maxParcelName), Path: "/" + strings.Repeat("p", 1023), Domain: strings.Repeat("d", 253),
			Priority: "medium", SameSite: http.SameSiteStrictMode, MaxAge: time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newParcelManager(t, func(o *Options) { o.Cookie = c })
			for _, size := range []int{1, 2, 3, 100, 2799, 2800, 2801, 2802, 3000, 6000, MaxParcel - 1, MaxParcel} {
				s := &Session{m: m, rec: Record{ID: "an ID", Version: 1, Expires: time.Now()}, parcels: &parcels{limit: MaxParcel}, attrs: attributes{hasMaxAge: c.MaxAge > 0}}
				parcel := bytes.Repeat([]byte{0xfb, 1}, size)[:size]
				if err := s.parcels.Put("an ID", parcel); err != nil {
					t.Fatal(err)
				}
				lines := s.parcelCookies(nil)
				if len(lines) > 10 || size < 1500 && len(lines) > 1 {
					t.Errorf("%d bytes make %d cookies", size, len(lines))
				}
				var pairs []string
				for i, line := range lines {
					if len(line) > maxPieceLine {
						t.Errorf("%d bytes make a line of %d", size, len(line))
					}
					pair, _, _ := strings.Cut(line.Reveal(), ";")
					pairs = append([]string{pair}, pairs...) // in any order
					if i < len(lines)-1 && len(pair) < minPiece {
						t.Errorf("a piece has %d bytes only", len(pair))
					}
				}
				back := m.collectParcels([]string{"x=1; " + strings.Join(pairs, "; ")}).Get("an ID")
				if len(back) != 1 || !bytes.Equal(back[0], parcel) {
					t.Errorf("%d bytes came back as %d parcels", size, len(back))
				}
				if again := s.parcelCookies(nil); again != nil || s.parcels.owes() {
					t.Errorf("the client is told twice")
				}
			}
		})
	}
}

func TestAParcelThatCannotTravelIsTooLarge(t *testing.T) {
	m := newParcelManager(t)
	w := httptest.NewRecorder()
	var err error
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := From(r)
		s.Set("big", strings.Repeat("x", MaxParcel))
		err = s.Save()
	})).ServeHTTP(w, httptest.NewRequest("GET", "https://example.test/", nil))
	if !errors.Is(err, ErrTooLarge) || w.Code != 500 || len(w.Header()["Set-Cookie"]) > 0 {
		t.Errorf("%v, status %d, %q", err, w.Code, w.Header()["Set-Cookie"])
	}
	p := &parcels{limit: MaxParcel}
	if err := p.Put("an ID", nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an empty parcel: %v", err)
	}
}

func FuzzCollectParcels(f *testing.F) {
	m := newParcelManager(f, func(o *Options) { o.Cookie.Name = "sid" })
	raw := parcelMark("an ID")
	mark := string(raw[:])
	for _, s := range []string{
		"", "sid." + mark + ".0=abcdAAAA", "sid." + mark + ".0=abcdAAAA; sid." + mark + ".1=abcdBBBB; sid." + mark + ".1=efghBBBB",
		"sid." + mark + ".0=abcd", "sid." + mark + ".0=abcdA", "sid." + mark + ".9=abcdAAAA", "sid.....0=abcdAAAA", "sid." + mark + ".0", "sid.",
		"=;=;;; sid." + mark + ".0 = abcdAAAA ", `sid.` + mark + `.0="abcdAAAA"`, "sid." + mark + ".0=abcd%41AAA",
	} {
		f.Add(s, "")
		f.Add("x=1", s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p := m.collectParcels([]string{a, b})
		if len(p.sent) > maxPieces || len(p.names) > maxPieces {
			t.Fatalf("%d parcels of %d cookies", len(p.sent), len(p.names))
		}
		for _, name := range p.names {
			if !isCookieName(name) || !strings.HasPrefix(name, "sid.") || len(name) != len("sid.abcd.0") {
				t.Fatalf("the name %q", name)
			}
		}
		for _, sent := range p.sent {
			if len(sent.data) == 0 || len(sent.data) > MaxParcel || len(sent.mark) != markChars {
				t.Fatalf("a parcel of %d bytes with mark %q", len(sent.data), sent.mark)
			}
		}
	})
}

func FuzzCutParcels(f *testing.F) {
	for _, s := range []string{"", "~", "token.sig", "token.sig~", "token.sig~AAAA", "to~ken.sig~AAAA~BBBB", "a.b~A", "a.b~AA==", "~AAAA", "a.b~.~AAAA", "a.b~000\n0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wire, p := cutParcels(text)
		if !strings.HasPrefix(text, wire) || len(p.sent) > maxPieces {
			t.Fatalf("%q is %q and %d parcels", text, wire, len(p.sent))
		}
		if strings.Contains(wire[strings.LastIndexByte(wire, '.')+1:], "~") {
			t.Fatalf("%q has the wire %q", text, wire)
		}
		for _, sent := range p.sent {
			if len(sent.data) == 0 || len(sent.data) > MaxParcel || !strings.Contains(text, parcelText.EncodeToString(sent.data)) {
				t.Fatalf("%q has the parcel %x", text, sent.data)
			}
		}
	})
}
