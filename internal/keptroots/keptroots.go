// Package keptroots keeps the roots of an issuer in a file, so that a restart
// while the issuer is away does not lose them: what is served has to be judged
// all the same.
package keptroots

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

const maxFile = 1 << 20

// Save writes the roots to a file in a directory of its own, 0700, which is made
// if it is missing. A file that holds them already is left alone.
func Save(path string, roots []*x509.Certificate) error {
	text := renewer.PEM(roots...)
	if was, err := atomicfile.ReadLimited(path, maxFile); err == nil && bytes.Equal(was, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep roots: %w", err)
	}
	return atomicfile.Write(path, text, 0o600)
}

// Load returns the roots that Save wrote; an error wraps fs.ErrNotExist where
// there are none.
func Load(path string) ([]*x509.Certificate, error) {
	text, err := atomicfile.ReadLimited(path, maxFile)
	if err != nil {
		return nil, err
	}
	roots, err := renewer.DecodeCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return roots, nil
}
