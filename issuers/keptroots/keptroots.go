// Package keptroots keeps the roots of an issuer in a file, so that a restart
// while the issuer is away does not lose them: what is served has to be judged
// all the same.
package keptroots

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"renewer/internal/atomicfile"
	"renewer/renewer"
	"renewer/renewer/pki"
)

const maxFile = 1 << 20

// File is where the roots of one issuer are kept.
type File struct {
	Issuer string // its name, for messages
	Path   string // empty: nothing is kept
	Pinned string // SHA-256 of the first root, hex; roots of another CA are not taken. Empty: any
}

// Roots asks an issuer for its roots and keeps the answer. Those that it had
// last are returned instead while it is away, which is what away says of the
// error that ask ended with; nil stands for errors of renewer.ClassRetry.
func (f File) Roots(ctx context.Context, ask func(context.Context) ([]*x509.Certificate, error), away func(error) bool) ([]*x509.Certificate, error) {
	roots, err := ask(ctx)
	if err == nil {
		f.keep(roots)
		return roots, nil
	}
	if away == nil {
		away = func(err error) bool { return renewer.ClassOf(err) == renewer.ClassRetry }
	}
	if ctx.Err() == nil && away(err) {
		if kept := f.Kept(); kept != nil {
			return kept, nil
		}
	}
	return nil, err
}

// Kept returns the roots that are kept; nil where there are none, or others
// than the pinned one.
func (f File) Kept() []*x509.Certificate {
	if f.Path == "" {
		return nil
	}
	roots, err := Load(f.Path)
	if err != nil || f.Pinned != "" && !strings.EqualFold(renewer.Fingerprint(roots[0].Raw), f.Pinned) {
		return nil
	}
	return roots
}

// keep is only for a time without the issuer: that it fails is no reason to
// fail with one that is there.
func (f File) keep(roots []*x509.Certificate) {
	if f.Path == "" {
		return
	}
	if err := Save(f.Path, roots); err != nil && !errors.Is(err, fs.ErrNotExist) { // no state directory: only looked at so far
		slog.Warn("the roots of an issuer could not be stored", "issuer", f.Issuer, "error", err)
	}
}

// Save writes the roots to a file in a directory of their own, 0700, which is
// made if it is missing, but not what is above it. A file that holds them
// already is left alone.
func Save(path string, roots []*x509.Certificate) error {
	text := pki.PEM(roots...)
	if was, err := atomicfile.ReadLimited(path, maxFile); err == nil && bytes.Equal(was, text) {
		return nil
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("store roots: %w", err)
	}
	return atomicfile.Write(path, text, 0o600)
}

// Given returns the roots in the root_file of an issuer, which is read each time: another
// root in it is rolled out as one of any other issuer.
func Given(issuer, path string) ([]*x509.Certificate, error) {
	wrong := func(err error) error {
		return &renewer.Error{
			Class: renewer.ClassMisconfigured, Err: fmt.Errorf("issuer %s: root_file %s: %w", issuer, path, err),
			Hint: "put the root of the CA into it, in PEM: peers trust the certificates in that file",
		}
	}
	text, err := atomicfile.ReadLimited(path, maxFile)
	if err != nil {
		return nil, wrong(err)
	}
	roots, err := pki.DecodeCertificates(text)
	if err != nil {
		return nil, wrong(err)
	}
	for _, c := range roots {
		if !bytes.Equal(c.RawIssuer, c.RawSubject) {
			return nil, wrong(fmt.Errorf("%q is not a root: %q signed it", c.Subject.String(), c.Issuer.String()))
		}
	}
	return roots, nil
}

// Load returns the roots that Save wrote; an error wraps fs.ErrNotExist where
// there are none.
func Load(path string) ([]*x509.Certificate, error) {
	text, err := atomicfile.ReadLimited(path, maxFile)
	if err != nil {
		return nil, err
	}
	roots, err := pki.DecodeCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return roots, nil
}
