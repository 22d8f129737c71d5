package acme

import (
	"context"
	"os/exec"
	"time"
)

// The types of challenges that can be answered.
const (
	HTTP01       = "http-01"
	TLSALPN01    = "tls-alpn-01"
	DNS01        = "dns-01"
	DNSPersist01 = "dns-persist-01"
)

// cleanTimeout bounds what is taken away after a challenge.
const cleanTimeout = 15 * time.Second

// Challenge says how names are proven: a type, and what it needs.
type Challenge struct {
	Type   string
	Listen string // http-01 and tls-alpn-01: where this process answers
	// Files is http-01: a directory that a web server serves.
	Files Files
	// Exec is dns-01: a command that makes and removes a record, and what runs it.
	Exec []string
	Run  Run
	// RFC2136 is dns-01: a name server that takes updates.
	RFC2136 RFC2136
}

// Files is the document root of a web server, on this machine or another.
type Files interface {
	// Put makes a file, and the directories that it is in, readable for all.
	Put(ctx context.Context, name string, content []byte) error
	// Remove removes a file; one that is not there is no error.
	Remove(ctx context.Context, name string) error
	// Where says what it is, for messages.
	Where() string
}

// Run runs a command on this machine, with an environment without secrets, and returns
// the end of what it said. It ends with ctx.
type Run func(ctx context.Context, argv []string) (output []byte, err error)

func newSolver(cfg Config) (solver, error) {
	c := cfg.Challenge
	switch {
	case (c.Type == HTTP01 || c.Type == TLSALPN01) && c.Listen != "":
		return &portSolver{at: c.Listen, secure: c.Type == TLSALPN01}, nil
	case c.Type == HTTP01 && c.Files != nil:
		return &fileSolver{c.Files}, nil
	case c.Type == DNS01 && len(c.Exec) > 0 && c.Run != nil:
		return &execSolver{c.Exec, c.Run}, nil
	case c.Type == DNS01 && c.RFC2136.Server != "":
		return &updateSolver{c.RFC2136}, nil
	case c.Type == DNSPersist01:
		return persistSolver{}, nil
	}
	return nil, misconfigured("set challenge: {http-01: {listen: \":80\"}}, or another challenge", "issuer %s: challenge %q is not complete", cfg.Name, c.Type)
}

// executable says why a program cannot be run; nil where it can.
func executable(path string) error {
	_, err := exec.LookPath(path)
	return err
}
