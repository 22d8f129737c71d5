package local

import (
	"crypto/x509"
	"fmt"
	"time"

	"renewer/renewer"
)

// misconfigured is an error about a file: fixed there, retried later.
func misconfigured(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// refused is an error about an order that will not get better by waiting.
func refused(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// fileError is about one of the files that cfg names.
func fileError(cfg Config, err error) error {
	hint := renewer.Hint(err)
	if hint == "" {
		hint = "check the paths of issuer " + cfg.Name + " in the fleet file: ca_cert, ca_key, passphrase_file, or state_dir"
	}
	return misconfigured(hint, "issuer %s: %w", cfg.Name, err)
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// subject names a certificate in a message.
func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return "CA " + s
	}
	return "CA with serial " + renewer.SerialHex(c)
}
