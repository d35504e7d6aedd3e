package servers

import (
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// MariaDBServer is a MariaDB server. Its user root needs no password. Its default character set is MariaDB's own
// (latin1), so that a schema which forgets to name utf8mb4 is found out.
type MariaDBServer struct {
	*Server
}

// MariaDB starts a MariaDB server for this test alone. Each setting is an option of mariadbd, such as
// "--max-connections=20".
func MariaDB(tb testing.TB, settings ...string) *MariaDBServer {
	tb.Helper()
	p, err := launchMariaDB(settings)
	return &MariaDBServer{own(tb, p, err)}
}

var sharedMariaDB = sync.OnceValues(func() (*process, error) { return launchMariaDB(nil) })

// SharedMariaDB returns the MariaDB server of this test binary, and starts it when it is asked for first.
func SharedMariaDB(tb testing.TB) *MariaDBServer {
	tb.Helper()
	p, err := sharedMariaDB()
	return &MariaDBServer{share(tb, p, err)}
}

func launchMariaDB(settings []string) (*process, error) {
	install, err := find("mariadb-install-db", "mariadb-server")
	if err != nil {
		return nil, err
	}
	mariadbd, err := find("mariadbd", "mariadb-server")
	if err != nil {
		return nil, err
	}
	return launch(spec{
		name: "mariadb",
		bin:  mariadbd,
		user: "mysql",
		quit: syscall.SIGTERM,
		prepare: func(p *process) error {
			_, err := p.run(install, "--no-defaults", "--datadir="+filepath.Join(p.dir, "data"),
				"--tmpdir="+p.dir, // a server that starts removes the temporary tables that it finds in its own
				"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
				"--innodb-log-file-size=8M")
			return err
		},
		args: func(p *process) []string {
			return append([]string{
				"--no-defaults", // must come first
				"--datadir=" + filepath.Join(p.dir, "data"),
				"--tmpdir=" + p.dir,
				"--bind-address=127.0.0.1",
				"--port=" + strconv.Itoa(p.ports[0]),
				"--socket=socket", // in the datadir: an absolute path could be too long
				"--pid-file=pid",
				"--skip-name-resolve",
				"--max-connections=300",
				"--innodb-log-file-size=8M",
				"--innodb-buffer-pool-size=64M",
				"--innodb-flush-log-at-trx-commit=2", // survives a kill, not a crash of the machine
				"--innodb-fast-shutdown=1",
			}, settings...)
		},
		ready: func(p *process, before int) error {
			return logSays(p, before, "ready for connections")
		},
	})
}

// DSN returns the address of a database by name, in the form of go-sql-driver/mysql, without parameters.
func (s *MariaDBServer) DSN(database string) string {
	return fmt.Sprintf("root@tcp(%s)/%s", s.Addr, database)
}

// NewDatabase makes an empty database for this test and drops it when the test ends.
func (s *MariaDBServer) NewDatabase(tb testing.TB) Database {
	tb.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if _, err := s.sql("CREATE DATABASE " + name); err != nil {
		tb.Fatalf("servers: new database: %v", err)
	}
	tb.Cleanup(func() {
		if s.p.pid() == 0 || s.p.isPaused() {
			return // goes with the server
		}
		// A connection that was cut off in a transaction may hold its locks a little longer.
		if _, err := s.sql("SET lock_wait_timeout = 10; DROP DATABASE IF EXISTS " + name); err != nil {
			tb.Errorf("servers: drop database: %v", err)
		}
	})
	return Database{Name: name, DSN: s.DSN(name), URL: fmt.Sprintf("mysql://root@%s/%s", s.Addr, name)}
}

func (s *MariaDBServer) sql(statement string) (string, error) {
	client, err := find("mariadb", "mariadb-client")
	if err != nil {
		return "", err
	}
	return s.p.run(client, "--no-defaults", "--protocol=tcp", "--host="+s.Host(), "--port="+strconv.Itoa(s.Port()),
		"--user=root", "--batch", "--skip-column-names", "--execute="+statement)
}
