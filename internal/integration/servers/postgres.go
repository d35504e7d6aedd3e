package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// PostgresServer is a PostgreSQL server, or a PgBouncer in front of one. Its user postgres needs no password.
type PostgresServer struct {
	*Server
	backend *PostgresServer // behind a PgBouncer, otherwise nil
}

// Postgres starts a PostgreSQL server for this test alone. Each setting has the form "max_connections=20".
// The server keeps what was committed over a kill, but (fsync is off) not over a crash of the machine.
func Postgres(tb testing.TB, settings ...string) *PostgresServer {
	tb.Helper()
	p, err := launchPostgres(settings)
	return &PostgresServer{Server: own(tb, p, err)}
}

var sharedPostgres = sync.OnceValues(func() (*process, error) { return launchPostgres(nil) })

// SharedPostgres returns the PostgreSQL server of this test binary, and starts it when it is asked for first.
func SharedPostgres(tb testing.TB) *PostgresServer {
	tb.Helper()
	p, err := sharedPostgres()
	return &PostgresServer{Server: share(tb, p, err)}
}

func launchPostgres(settings []string) (*process, error) {
	initdb, err := findPostgres("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := findPostgres("postgres")
	if err != nil {
		return nil, err
	}
	return launch(spec{
		name: "postgres",
		bin:  postgres,
		user: "postgres",
		quit: syscall.SIGINT, // "fast": does not wait for clients
		prepare: func(p *process) error {
			_, err := p.run(initdb, "-D", filepath.Join(p.dir, "data"), "-U", "postgres", "-A", "trust",
				"--no-sync", "-E", "UTF8", "--locale=C")
			return err
		},
		args: func(p *process) []string {
			args := []string{"-D", filepath.Join(p.dir, "data"), "-p", strconv.Itoa(p.ports[0])}
			for _, setting := range append([]string{
				"listen_addresses=127.0.0.1",
				"unix_socket_directories=",
				"dynamic_shared_memory_type=mmap", // nothing is left in /dev/shm after a kill
				"shared_buffers=32MB",
				"max_connections=200",
				"fsync=off",
				"full_page_writes=off",
			}, settings...) {
				args = append(args, "-c", setting)
			}
			return args
		},
		ready: func(p *process, _ int) error {
			// The server's own word, in its own folder: whoever else may answer on the port is not meant.
			status, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
			if err != nil {
				return err
			}
			lines := strings.Split(string(status), "\n")
			if lines[0] != strconv.Itoa(p.cmd.Process.Pid) || len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready" {
				return errors.New("postmaster.pid does not say ready yet")
			}
			return nil
		},
	})
}

// findPostgres finds a program of PostgreSQL's server, which Debian keeps out of the path, one folder a version.
func findPostgres(program string) (string, error) {
	best, version := "", -1
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	for _, path := range paths {
		v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err == nil && v > version {
			best, version = path, v
		}
	}
	if best != "" {
		return best, nil
	}
	return find(program, "postgresql-15")
}

// DSN returns the address of a database by name, for pgx, lib/pq and everything else that reads postgres URLs.
func (s *PostgresServer) DSN(database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", s.Addr, database)
}

var databases atomic.Int64

// NewDatabase makes an empty database for this test and drops it when the test ends. On a PgBouncer the database
// is made on the server behind it, and its DSN leads through the PgBouncer.
func (s *PostgresServer) NewDatabase(tb testing.TB) Database {
	tb.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if _, err := s.sql("CREATE DATABASE " + name); err != nil {
		tb.Fatalf("servers: new database: %v", err)
	}
	tb.Cleanup(func() {
		if s.root().p.pid() == 0 || s.root().p.isPaused() {
			return // goes with the server
		}
		if _, err := s.sql("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil {
			tb.Errorf("servers: drop database: %v", err)
		}
	})
	return Database{Name: name, DSN: s.DSN(name), URL: s.DSN(name)}
}

func (s *PostgresServer) root() *PostgresServer {
	if s.backend != nil {
		return s.backend
	}
	return s
}

// sql runs one statement as the superuser and returns the unadorned rows.
func (s *PostgresServer) sql(statement string) (string, error) {
	psql, err := find("psql", "postgresql-client-15")
	if err != nil {
		return "", err
	}
	return s.p.run(psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", s.root().DSN("postgres"), "-c", statement)
}

// PGBouncer starts a PgBouncer in transaction mode in front of a PostgreSQL server. Its pools are small (4
// connections a database), so that clients really do share server connections.
func PGBouncer(tb testing.TB, behind *PostgresServer, settings ...string) *PostgresServer {
	tb.Helper()
	bin, err := find("pgbouncer", "pgbouncer")
	if err != nil {
		tb.Fatal(err)
	}
	p, err := launch(spec{
		name: "pgbouncer",
		bin:  bin,
		user: "postgres",
		quit: syscall.SIGTERM, // at once
		prepare: func(p *process) error {
			lines := []string{
				"[databases]",
				fmt.Sprintf("* = host=%s port=%d user=postgres", behind.Host(), behind.Port()),
				"[pgbouncer]",
				"listen_addr = 127.0.0.1",
				"listen_port = " + strconv.Itoa(p.ports[0]),
				"unix_socket_dir =",
				"auth_type = any",
				"pool_mode = transaction",
				"default_pool_size = 4",
				"max_client_conn = 500",
				"server_login_retry = 1", // seconds; the default of 15 would make restarts slow
			}
			ini := strings.Join(append(lines, settings...), "\n") + "\n"
			return os.WriteFile(filepath.Join(p.dir, "pgbouncer.ini"), []byte(ini), 0o644)
		},
		args: func(p *process) []string { return []string{filepath.Join(p.dir, "pgbouncer.ini")} },
		ready: func(p *process, before int) error {
			return logSays(p, before, "process up:")
		},
	})
	return &PostgresServer{Server: own(tb, p, err), backend: behind}
}

// logSays looks for a sentence in what the server has logged since its last start.
func logSays(p *process, before int, sentence string) error {
	log, err := os.ReadFile(p.logFile())
	if err != nil {
		return err
	}
	if len(log) < before || !strings.Contains(string(log[before:]), sentence) {
		return fmt.Errorf("its log does not say %q", sentence)
	}
	return nil
}
