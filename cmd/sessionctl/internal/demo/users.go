package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A user is somebody who has signed up.
type user struct {
	ID   int64
	Name string
}

// Subject is how sessions name their user: by the ID, which never changes.
func (u user) Subject() string { return strconv.FormatInt(u.ID, 10) }

var (
	errNameTaken     = errors.New("this name is taken")
	errWrongPassword = errors.New("name or password is wrong")
	errNoUser        = errors.New("there is no such user")
)

// A ruleError says which rule a name or a password breaks.
type ruleError string

func (e ruleError) Error() string { return string(e) }

// users is the table of users, beside that of the sessions.
type users struct {
	db        *sql.DB
	passwords *passwords
	nobody    string // a hash that no password has
}

func newUsers(ctx context.Context, db *sql.DB) (*users, error) {
	const schema = `CREATE TABLE IF NOT EXISTS users (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- an ID is not used again
  name TEXT NOT NULL COLLATE NOCASE UNIQUE,
  password TEXT NOT NULL,
  created INTEGER NOT NULL -- milliseconds since 1970
)`
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, err
	}
	return &users{db: db, passwords: newPasswords(), nobody: unmatchable()}, nil
}

// signUp adds a user.
func (us *users) signUp(ctx context.Context, name, password string) (user, error) {
	if err := checkName(name); err != nil {
		return user{}, err
	}
	if err := checkPassword(name, password); err != nil {
		return user{}, err
	}
	hash, err := us.passwords.hash(ctx, password)
	if err != nil {
		return user{}, err
	}
	u := user{Name: name}
	err = us.db.QueryRowContext(ctx,
		`INSERT INTO users (name, password, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING RETURNING id`,
		name, hash, time.Now().UnixMilli()).Scan(&u.ID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return user{}, errNameTaken
	case err != nil:
		return user{}, fmt.Errorf("adding a user: %w", err)
	}
	return u, nil
}

// signIn returns the user with the name and the password, or errWrongPassword.
// It does the same work when there is no such user, so that the time it takes
// does not tell.
func (us *users) signIn(ctx context.Context, name, password string) (user, error) {
	var u user
	hash := us.nobody
	err := us.db.QueryRowContext(ctx, `SELECT id, name, password FROM users WHERE name = ?`, name).Scan(&u.ID, &u.Name, &hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return user{}, fmt.Errorf("looking up a user: %w", err)
	}
	ok, err := us.passwords.verify(ctx, hash, password)
	switch {
	case err != nil:
		return user{}, err
	case !ok:
		return user{}, errWrongPassword
	}
	return u, nil
}

// bySubject returns the user that a session belongs to, or errNoUser.
func (us *users) bySubject(ctx context.Context, subject string) (user, error) {
	id, err := strconv.ParseInt(subject, 10, 64)
	if err != nil {
		return user{}, errNoUser
	}
	u := user{ID: id}
	err = us.db.QueryRowContext(ctx, `SELECT name FROM users WHERE id = ?`, id).Scan(&u.Name)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return user{}, errNoUser
	case err != nil:
		return user{}, fmt.Errorf("looking up a user: %w", err)
	}
	return u, nil
}

const (
	minName, maxName         = 2, 32
	minPassword, maxPassword = 8, 256
)

// checkName keeps names to letters that do not look like others.
func checkName(name string) error {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return ruleError("A name has only the letters a to z, digits, dots, dashes and underscores.")
		}
	}
	if len(name) < minName || len(name) > maxName {
		return ruleError(fmt.Sprintf("A name has %d to %d characters.", minName, maxName))
	}
	return nil
}

// checkPassword follows NIST SP 800-63B: length counts, composition does not.
func checkPassword(name, password string) error {
	switch n := utf8.RuneCountInString(password); {
	case n < minPassword || n > maxPassword:
		return ruleError(fmt.Sprintf("A password has %d to %d characters. A sentence is easy to keep in mind.", minPassword, maxPassword))
	case strings.EqualFold(name, password):
		return ruleError("The password must not be the name.")
	}
	return nil
}
