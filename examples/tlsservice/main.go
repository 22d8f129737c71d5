// Command tlsservice is a small HTTPS service with mutual TLS, in the manner
// of many real ones: it loads its certificate, key and client CA at start, and
// again on SIGHUP, and at no other time. So it serves the old certificate
// until somebody signals it, however new the files are.
//
//	tlsservice -listen 127.0.0.1:8443 -dir /srv/tls -pid-file /run/tlsservice.pid
//
// It writes the pid file first, then waits for its files. A pair that does not
// load on SIGHUP is logged, and the old one stays. SIGTERM and SIGINT end it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	listen        string
	cert, key, ca string
	pidFile       string
	wait          time.Duration
}

func main() {
	// Before the pid file is there: who reads it may signal at once, and an
	// unhandled SIGHUP kills.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	if err := run(ctx, parseFlags(), hangup); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func parseFlags() options {
	var o options
	var dir string
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8443", "`address` to serve HTTPS on")
	flag.StringVar(&dir, "dir", ".", "`directory` of tls.crt, tls.key and ca.crt")
	flag.StringVar(&o.cert, "cert", "", "certificate `file`, leaf first (default DIR/tls.crt)")
	flag.StringVar(&o.key, "key", "", "private key `file` (default DIR/tls.key)")
	flag.StringVar(&o.ca, "ca", "", "`file` with the CA certificates of the clients (default DIR/ca.crt)")
	flag.StringVar(&o.pidFile, "pid-file", "", "`file` to write the process id to")
	flag.DurationVar(&o.wait, "wait", time.Minute, "how long to wait for the files at start")
	flag.Parse()
	for name, file := range map[string]*string{"tls.crt": &o.cert, "tls.key": &o.key, "ca.crt": &o.ca} {
		if *file == "" {
			*file = filepath.Join(dir, name)
		}
	}
	return o
}

// run serves until the context ends; hangup makes it load its files again.
func run(ctx context.Context, o options, hangup <-chan os.Signal) error {
	if o.pidFile != "" {
		remove, err := writePIDFile(o.pidFile)
		if err != nil {
			return fmt.Errorf("write the pid file: %w", err)
		}
		defer remove()
	}
	s := &service{options: o}
	if err := s.awaitFiles(ctx, hangup); err != nil {
		if ctx.Err() != nil {
			return nil // asked to end before there was anything to serve
		}
		return err
	}
	go s.reload(ctx, hangup)
	err := s.serve(ctx)
	slog.Info("stopped")
	return err
}
