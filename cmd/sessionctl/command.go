package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
)

// A command is one of the things that sessionctl does. The arguments are those
// after its name.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

var commands = []command{
	{"demo", "serve a small site that shows what sessions do", demoCommand},
	{"secret", "print a fresh secret", secretCommand},
}

// errUsage is returned by commands that have said themselves what is wrong with
// their arguments, as package flag does.
var errUsage = errors.New("usage")

// run finds the command, runs it, and returns the exit status of the program: 1
// if the command failed and 2 if it was not called properly.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		writeHelp(stderr)
		return 2
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		writeHelp(stdout)
		return 0
	}
	for _, c := range commands {
		if c.name != name {
			continue
		}
		switch err := c.run(ctx, args, stdout, stderr); {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			return 2
		default:
			fmt.Fprintf(stderr, "sessionctl %s: %v\n", name, err)
			return 1
		}
	}
	fmt.Fprintf(stderr, "sessionctl: there is no command %q\n\n", name)
	writeHelp(stderr)
	return 2
}

func writeHelp(w io.Writer) {
	fmt.Fprint(w, "Usage: sessionctl <command> [flags]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(w, "  %-8s %s\n\n", "help", "print this")
	fmt.Fprint(w, "sessionctl <command> -h lists the flags of a command.\n")
}

// parse parses the flags of a command that takes no other arguments.
func parse(flags *flag.FlagSet, args []string, stderr io.Writer) error {
	flags.SetOutput(stderr)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "sessionctl %s: unexpected argument %q\n", flags.Name(), flags.Arg(0))
		flags.Usage()
		return errUsage
	}
	return nil
}
