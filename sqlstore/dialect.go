package sqlstore

import (
	"fmt"
	"strings"
)

// A Dialect is a kind of database.
type Dialect uint8

const (
	// SQLite is SQLite 3.35 or later.
	SQLite Dialect = iota + 1
	// Postgres is PostgreSQL 11 or later, or CockroachDB.
	Postgres
	// MySQL is MySQL 5.7 or later, or MariaDB 10.3 or later.
	MySQL
)

// String returns the name of the dialect.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "sqlite"
	case Postgres:
		return "postgres"
	case MySQL:
		return "mysql"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// quote returns the name as an identifier.
func (d Dialect) quote(name string) string {
	if d == MySQL {
		return "`" + strings.ReplaceAll(name, "`", "``") + "`"
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// prepares tells whether preparing statements is worth it: with SQLite and
// MySQL a statement that is not prepared is parsed anew every time, and for
// MySQL costs a further round trip. pgx keeps prepared statements on its own,
// and where it was told not to, as behind PgBouncer, nobody else may.
func (d Dialect) prepares() bool { return d != Postgres }

// maxData is how many bytes the data column holds, or 0 if the server can be
// trusted to refuse what it cannot hold. MySQL cuts it short, depending on its
// sql_mode.
func (d Dialect) maxData() int {
	if d == MySQL {
		return 1<<24 - 1
	}
	return 0
}

// A table is the name of a table.
type table struct {
	dialect      Dialect
	schema, name string
}

// quoted returns the name with the suffix, as it is written in a statement.
func (t table) quoted(suffix string) string {
	name := t.dialect.quote(t.name + suffix)
	if t.schema != "" {
		name = t.dialect.quote(t.schema) + "." + name
	}
	return name
}

// expand fills a template of SQL: {table} is the name of the table and
// {table _x} that of one beside it; {name _x} and {X_ _x} are names of indexes,
// which are not written with a schema.
func (t table) expand(template string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(template, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		word, after, _ := strings.Cut(rest, "}")
		switch prefix, suffix, _ := strings.Cut(word, " "); prefix {
		case "table":
			b.WriteString(t.quoted(suffix))
		case "name":
			b.WriteString(t.dialect.quote(t.name + suffix))
		default:
			b.WriteString(t.dialect.quote(prefix + t.name + suffix))
		}
		template = after
	}
}
