package main

import (
	"context"
	"flag"
	"io"

	"github.com/coatcheck/session/cmd/sessionctl/internal/demo"
)

func demoCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	var c demo.Config
	flags.StringVar(&c.Addr, "addr", "127.0.0.1:8080", "serve on this `address`; with port 0 the system chooses one")
	flags.StringVar(&c.DB, "db", "sessions.db", "keep sessions and users in this SQLite `file`")
	flags.StringVar(&c.Env, "env", ".env", "read SESSION_SECRET from this `file`, or put a fresh one there")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	return demo.Run(ctx, c, stdout, stderr)
}
