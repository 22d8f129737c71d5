// Command renewer keeps the TLS certificates of a fleet valid.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"renewer/internal/plaintext"
	"renewer/renewer"
	"renewer/renewer/server"
)

// version is set with -ldflags "-X main.version=…".
var version = ""

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs one command and returns its exit code. The first SIGINT or SIGTERM
// ends its context, the second the process.
func run(args []string, in *os.File, out, errOut io.Writer) int {
	me := func() string { return server.Operator(os.Getuid(), os.Getenv("SUDO_USER")) }
	ctx, cancel := context.WithCancel(renewer.WithOperator(context.Background(), me))
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitFailed)
	}()
	errOut = &screen{to: &plaintext.Writer{To: errOut, Colours: true}}
	if isTerminal(out) {
		out = &plaintext.Writer{To: out, Colours: true}
	}
	c := &cli{in: in, out: out, errOut: errOut}
	root := newRoot(c, args)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	return c.report(root.ExecuteContext(ctx))
}
