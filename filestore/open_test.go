package filestore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck/session"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	for _, test := range []struct {
		name, dir string
		opts      *Options
		want      string
	}{
		{"no folder", "", nil, "no folder given"},
		{"a file", file, nil, "give the path of a folder"},
		{"a folder in a file", filepath.Join(file, "sub"), nil, "give the path of a folder"},
		{"a negative TTL", t.TempDir(), &Options{TTL: -1}, "leave it zero"},
		{"an unknown layout", t.TempDir(), &Options{Layout: 7}, "use Native or Express"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := New(test.dir, test.opts)
			if err == nil || s != nil {
				t.Fatal("New gave a store")
			}
			if !strings.HasPrefix(err.Error(), "filestore: new: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %q, want it to say %q", err, test.want)
			}
		})
	}
}

func TestFilesAreForTheirUserAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	both(t, func(t *testing.T, opts *Options) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		s := open(t, dir, opts)
		save(t, s, sample("the-record"))
		err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("a file has mode %v", info.Mode())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestExpressLayout(t *testing.T) {
	if open(t, t.TempDir(), noSync).ExpressLayout() {
		t.Error("layout Native says that it is that of Express")
	}
	if !open(t, t.TempDir(), &Options{Layout: Express}).ExpressLayout() {
		t.Error("layout Express says that it is not that of Express")
	}
}

func TestRelativeFolderStaysWhereItWas(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "sessions", noSync)
	rec := sample("the-record")
	save(t, s, rec)
	t.Chdir(t.TempDir())
	load(t, s, rec.ID)
}

// A volume that is not mounted must not look like a store without sessions.
func TestFolderThatIsGoneIsAFailure(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		dir := filepath.Join(t.TempDir(), "sessions")
		s := open(t, dir, opts)
		rec := sample("the-record")
		save(t, s, rec)
		if err := os.Rename(dir, dir+"-away"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil { // the empty mount point
			t.Fatal(err)
		}
		errs := map[string]error{}
		_, errs["load"] = s.Load(ctx, rec.ID)
		_, errs["save"] = s.Save(ctx, rec)
		errs["touch"] = s.Touch(ctx, rec.ID, now, now.Add(time.Hour))
		errs["delete"] = s.Delete(ctx, rec.ID)
		_, _, errs["list"] = s.List(ctx, session.Query{Limit: 1})
		_, errs["sweep"] = s.Sweep(ctx, now)
		errs["ping"] = s.Ping(ctx)
		for op, err := range errs {
			if !errors.Is(err, errFolderGone) || errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s: the error is %v", op, err)
			}
			if !strings.HasPrefix(err.Error(), "filestore: "+op+": ") {
				t.Errorf("%s: the error is %q", op, err)
			}
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+"-away", dir); err != nil {
			t.Fatal(err)
		}
		load(t, s, rec.ID)
	})
}

func TestErrorsDoNotTellWhose(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		s := open(t, t.TempDir(), opts)
		const id = "SecretTokenOfSomebody"
		rec := sample(id)
		path := pathOf(s, id)
		if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil { // cannot be read, replaced or removed
			t.Fatal(err)
		}
		_, saveErr := s.Save(ctx, rec)
		for _, err := range []error{saveErr, s.Delete(ctx, id)} {
			if err == nil {
				t.Fatal("a folder in the place of the file is no error")
			}
			for _, secret := range []string{id, nameOf(id), "user-23", "cookie", s.folder.dir} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error %q tells %q", err, secret)
				}
			}
		}
	})
}

func TestLargeDataIsRefusedWhole(t *testing.T) {
	both(t, func(t *testing.T, opts *Options) {
		s := open(t, t.TempDir(), opts)
		rec := sample("the-record")
		save(t, s, rec)
		rec.Data = append(append([]byte(`{"x":"`), make([]byte, maxData)...), `"}`...)
		if _, err := s.Save(ctx, rec); !errors.Is(err, session.ErrTooLarge) {
			t.Fatalf("Save gave %v, want ErrTooLarge", err)
		}
		load(t, s, rec.ID)
	})
}
