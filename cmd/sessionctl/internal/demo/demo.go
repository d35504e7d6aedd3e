// Package demo is a small site that shows what sessions do: a visit counter and
// a note, sign-up and sign-in, a list of the places where one is signed in, and
// an inspector that takes one's own session apart.
//
// It is also meant to be read, as an example of how a site uses package session.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/sqlstore"
)

// Config says where the demo serves and what it keeps where.
type Config struct {
	Addr string // host:port; with port 0 the system chooses one
	DB   string // the SQLite file
	Env  string // the .env file with SESSION_SECRET
}

const (
	absoluteTimeout = 24 * time.Hour
	rememberFor     = 30 * 24 * time.Hour

	// The default would be a tenth of the idle timeout. Visitors of the demo
	// watch the times, so they are kept more exactly than a busy site needs.
	touchInterval = 5 * time.Second

	sweepInterval = 10 * time.Minute
	drainTimeout  = 5 * time.Second
)

// Run serves until ctx is done, then lets the requests that are under way finish.
func Run(ctx context.Context, c Config, stdout, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, nil))

	// The port comes first: a demo that cannot serve leaves no files behind.
	listener, err := listen(c.Addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	secrets, from, err := findSecrets(c.Env, log)
	if err != nil {
		return err
	}
	db, err := openDatabase(ctx, c.DB)
	if err != nil {
		return err
	}
	defer db.Close()

	store, err := sqlstore.New(db, sqlstore.SQLite, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		return databaseError(c.DB, err)
	}
	sessions, err := session.New(store, &session.Options{
		Secrets: secrets,
		// The demo is served over plain HTTP on the local machine.
		Cookie:          session.Cookie{Secure: session.SecureAuto},
		AbsoluteTimeout: absoluteTimeout,
		TouchInterval:   touchInterval,
		Logger:          log,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	users, err := newUsers(ctx, db)
	if err != nil {
		return databaseError(c.DB, err)
	}

	// The sweeper ends before the database is closed.
	background, stop := context.WithCancel(ctx)
	var sweeper sync.WaitGroup
	sweeper.Go(func() { sessions.RunSweeper(background, sweepInterval) })
	defer sweeper.Wait()
	defer stop()

	server := &http.Server{
		Handler:           newSite(sessions, users, log).handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	fmt.Fprintf(stdout, "The demo is at http://%s\n", listener.Addr())
	fmt.Fprintf(stdout, "  Sessions and users are kept with SQLite in %s.\n", c.DB)
	fmt.Fprintf(stdout, "  The secret is from %s.\n", from)
	fmt.Fprintf(stdout, "Ctrl+C stops it. After kill -9 %d and a new start you are still signed in.\n", os.Getpid())
	if addr, ok := listener.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		log.Warn("other machines can reach the demo, and over plain HTTP everybody on the way can read passwords and cookies", "addr", addr.String())
	}
	return serve(ctx, server, listener)
}

func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return errors.Join(fmt.Errorf("some requests did not end within %v", drainTimeout), server.Close())
	}
	return nil
}

// listen says what to do where an address cannot be had.
func listen(addr string) (net.Listener, error) {
	if addr == "" { // package net would take it for any port, open to other machines
		return nil, errors.New("the address is empty; name one: -addr 127.0.0.1:8081")
	}
	listener, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is taken by another program; choose another port: -addr %s", addr, nextPort(addr))
	}
	return nil, fmt.Errorf("cannot serve on %q; choose another address: -addr 127.0.0.1:8081 (%w)", addr, err)
}

// nextPort returns the address with the port after its own.
func nextPort(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	n, convErr := strconv.Atoi(port)
	if err != nil || convErr != nil || n >= 65535 {
		return "127.0.0.1:8081"
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}
