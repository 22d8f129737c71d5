package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"renewer/renewer"
)

// What is logged while a command runs are lines of the command, with their hints, and
// not what its result says anyway.
func TestNoticesOfACommand(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	c := &cli{errOut: &out}
	log := slog.New(notices{c: c})
	log.Info("nothing of interest")
	log.Warn("a passphrase file can be read by other users", "file", "pass", "hint", "chmod 0600 pass")
	log.Warn(string(renewer.EventIssueWarning), "certificate", "web", "generation", 2, "rollout", "web#2", "message", "the issuer added a name")
	log.With("host", "host-b").Warn("connection to host lost", "error", errors.New("EOF"))
	log.Error(string(renewer.EventRenewalFailed), "certificate", "web", "error", "the result says it")
	c.quiet = true
	log.Warn("it is quiet")
	log.Error("could not record the plan; retrying", "error", "disk full")
	want := `warning: a passphrase file can be read by other users (file pass)
hint: chmod 0600 pass
warning: web: the issuer added a name
warning: host-b: connection to host lost: EOF
error: could not record the plan; retrying: disk full
`
	c.complain(errors.New("disk full")) // the log has said it
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
