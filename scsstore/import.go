package scsstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/base64"
	"encoding/gob"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/internal/bytestore"
)

// ImportOptions says how scs was set up. The zero value is what scs.New returns.
type ImportOptions struct {
	// Cookie has the name, path and domain of scs's cookie, and Secure and
	// Partitioned if it had those; by default the name is "session" and the path
	// "/".
	Cookie http.Cookie

	// HashTokenInStore is scs's field of that name.
	HashTokenInStore bool

	// Codec is scs's field of that name; nil stands for its GobCodec, which needs
	// the types registered that the old program has registered with encoding/gob,
	// under the same names: gob.RegisterName gives one to a type that has moved.
	Codec Codec

	// SubjectKey is the key under which the old program keeps whose session it is:
	// a string, an integer, or what can make a text of itself, like a UUID. The
	// subject is empty if the key is missing, or has the zero value, as scs reads
	// the two alike. The value stays where it is.
	SubjectKey string

	// Convert, if set, may change what a session holds before it becomes JSON:
	// rename keys, take some out, put other types in. It is called before the
	// subject is read. An error of it fails the request, and the old session is
	// tried again by the next; it must not contain a value.
	Convert func(values map[string]any) error
}

// Codec is what is needed of an scs.Codec.
type Codec interface {
	Decode(b []byte) (deadline time.Time, values map[string]any, err error)
}

// An Importer takes over the sessions of a program that used scs. It implements
// [session.Importer]: a row of scs's store becomes a session of ours at the first
// request that presents its token and uses its session, and is deleted.
//
// Values become JSON. One that would come out of that as another is an error that
// names its key, fails the request and leaves the row as it was: see
// ImportOptions.Convert, and [Importer.Check], which finds them before anybody
// meets one.
//
// The session ends when scs's deadline says, at the latest. What scs was told by
// RememberMe holds on.
type Importer struct {
	source  Source
	backend bytestore.Backend
	opts    ImportOptions
}

// NewImporter returns an importer of the rows in scs's store.
func NewImporter(source Source, opts *ImportOptions) *Importer {
	i := &Importer{source: source, backend: newBackend(source)}
	if opts != nil {
		i.opts = *opts
	}
	if i.opts.Cookie.Name == "" {
		i.opts.Cookie.Name = "session"
	}
	if i.opts.Cookie.Path == "" {
		i.opts.Cookie.Path = "/"
	}
	if i.opts.Codec == nil {
		i.opts.Codec = gobCodec{}
	}
	return i
}

// Token implements session.Importer.
func (i *Importer) Token(r *http.Request) string {
	c, err := r.Cookie(i.opts.Cookie.Name)
	if err != nil || !isToken(c.Value) {
		return ""
	}
	return c.Value
}

// isToken reports whether s has the shape of scs's tokens: 32 bytes as base64url.
// Nothing else is worth a call of the store.
func isToken(s string) bool {
	if len(s) != 43 {
		return false
	}
	_, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil
}

// Cookies implements session.Importer.
func (i *Importer) Cookies() []*http.Cookie {
	c := i.opts.Cookie
	return []*http.Cookie{&c}
}

// Load implements session.Importer.
func (i *Importer) Load(ctx context.Context, r *http.Request) (*session.Imported, error) {
	key := i.Token(r)
	if i.opts.HashTokenInStore {
		sum := sha256.Sum256([]byte(key))
		key = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	b, err := i.backend.Get(ctx, key)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("scsstore: import: %w", ctx.Err())
	case err != nil:
		return nil, &sourceError{"import", err}
	case b == nil:
		return nil, fmt.Errorf("scsstore: import: %w", session.ErrNotFound)
	}
	imported, err := i.convert(b)
	if err != nil {
		return nil, fmt.Errorf("scsstore: import: %w", err)
	}
	imported.Delete = func(ctx context.Context) error {
		if err := i.backend.Delete(ctx, key); err != nil {
			return &sourceError{"import: delete", err}
		}
		return nil
	}
	return imported, nil
}

// rememberMe is the key under which scs keeps what RememberMe was told.
const rememberMe = "__rememberMe"

// convert makes of a row what the manager stores.
func (i *Importer) convert(b []byte) (*session.Imported, error) {
	deadline, values, err := i.opts.Codec.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("a row of scs does not decode: %w", err)
	}
	left := time.Until(deadline)
	if left <= 0 { // scs itself does not look; some of its stores keep such a row for ever
		return nil, session.ErrNotFound
	}
	if values == nil {
		values = make(map[string]any)
	}
	imported := &session.Imported{Values: values, Expires: deadline}
	if remember, _ := values[rememberMe].(bool); remember {
		imported.MaxAge = left
	}
	delete(values, rememberMe)
	if i.opts.Convert != nil {
		if err := i.opts.Convert(values); err != nil {
			return nil, err
		}
	}
	var lost []error
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := survives(values[key]); err != nil {
			lost = append(lost, fmt.Errorf("the value under %q (%T): %w; see ImportOptions.Convert", key, values[key], err))
		}
	}
	if len(lost) > 0 {
		return nil, errors.Join(lost...)
	}
	imported.Subject, err = subject(values[i.opts.SubjectKey])
	if err != nil {
		return nil, fmt.Errorf("the value under SubjectKey %q: %w; put a string there in ImportOptions.Convert", i.opts.SubjectKey, err)
	}
	return imported, nil
}

// subject makes a subject of the value of SubjectKey.
func subject(value any) (string, error) {
	v := reflect.ValueOf(value)
	if !v.IsValid() || v.IsZero() {
		return "", nil
	}
	if m, ok := value.(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		return string(text), err
	}
	switch {
	case v.Kind() == reflect.String:
		return v.String(), nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	}
	return "", fmt.Errorf("a %T is no subject", value)
}

// Check reads all rows of scs's store, as far as it can iterate, and returns how
// many would be imported and the distinct errors of the others, joined. Run it
// before the new program takes over. It changes nothing. For a source that cannot
// iterate the error wraps errors.ErrUnsupported.
func (i *Importer) Check(ctx context.Context) (ok int, err error) {
	var all map[string][]byte
	switch source := i.source.(type) {
	case IterableContextSource:
		all, err = source.AllCtx(ctx)
	case IterableSource:
		all, err = source.All()
	default:
		return 0, fmt.Errorf("scsstore: check: %T cannot iterate: %w", i.source, errors.ErrUnsupported)
	}
	if err != nil {
		return 0, &sourceError{"check", err}
	}
	distinct := make(map[string]error)
	for _, b := range all {
		if _, ours := bytestore.Decode(b); ours {
			continue // in the same store
		}
		_, err := i.convert(b)
		switch {
		case err == nil:
			ok++
		case !errors.Is(err, session.ErrNotFound):
			distinct[err.Error()] = fmt.Errorf("scsstore: check: %w", err)
		}
	}
	errs := make([]error, 0, len(distinct))
	for _, text := range slices.Sorted(maps.Keys(distinct)) {
		errs = append(errs, distinct[text])
	}
	return ok, errors.Join(errs...)
}

// gobCodec reads what scs.GobCodec writes.
type gobCodec struct{}

func (gobCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	var row struct {
		Deadline time.Time
		Values   map[string]any
	}
	err := gob.NewDecoder(bytes.NewReader(b)).Decode(&row)
	return row.Deadline, row.Values, err
}
