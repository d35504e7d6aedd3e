package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/coatcheck/session/cmd/sessionctl/internal/secret"
)

func secretCommand(_ context.Context, args []string, stdout, stderr io.Writer) error {
	if err := parse(flag.NewFlagSet("secret", flag.ContinueOnError), args, stderr); err != nil {
		return err
	}
	_, err := fmt.Fprintln(stdout, secret.New())
	return err
}
