package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/coatcheck/session/sqlstore"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// openTimeout is how long a database may be locked when the demo starts.
const openTimeout = 10 * time.Second

// openDatabase opens the file, or creates it, and finds out whether it can be
// written: better now than when somebody signs in.
func openDatabase(ctx context.Context, path string) (*sql.DB, error) {
	// SQLite would let everybody read a file that it creates, and says less
	// about why one cannot be opened.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Close()
	}
	switch {
	case err == nil:
	case isDir(path):
		return nil, fmt.Errorf("the database %s is a directory; name a file in it: -db %s", path, filepath.Join(path, "sessions.db"))
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the database %s cannot be created, because its directory does not exist; create %s, or choose another file with -db", path, filepath.Dir(path))
	default:
		return nil, fmt.Errorf("the database cannot be written: %w; change the permissions, or choose another file with -db", err)
	}
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(path))
	if err != nil {
		return nil, databaseError(path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	// The settings of the DSN make the transaction take the lock for writing.
	tx, err := db.BeginTx(ctx, nil)
	if err == nil {
		err = tx.Rollback()
	}
	if err != nil {
		return nil, errors.Join(databaseError(path, err), db.Close())
	}
	return db, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// The primary result codes of SQLite that get an explanation.
const (
	sqliteBusy     = 5
	sqliteReadonly = 8
	sqliteFull     = 13
	sqliteCantOpen = 14
	sqliteNotADB   = 26
)

// databaseError says what an error of SQLite means to whoever starts the demo.
func databaseError(path string, err error) error {
	var coded interface{ Code() int }
	hint := "choose another file with -db"
	if errors.As(err, &coded) {
		switch coded.Code() & 0xff {
		case sqliteBusy:
			hint = "another program has locked it; end that program, or choose another file with -db"
		case sqliteReadonly:
			hint = "it is read-only; change the permissions of the file and its directory, or choose another file with -db"
		case sqliteFull:
			hint = "the disk is full; make space, or choose a file on another one with -db"
		case sqliteCantOpen:
			hint = "SQLite must be able to create files beside it; change the permissions of its directory, or choose another file with -db"
		case sqliteNotADB:
			hint = "it is not an SQLite database; choose another file with -db"
		}
	}
	return fmt.Errorf("the database %s cannot be used: %s (%w)", path, hint, err)
}
