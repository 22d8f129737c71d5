// Package files is the issuer behind a directory: an offline CA, or those who carry
// files. An order is written there as NAME.csr, in PEM, with the names and usages asked for
// as requested extensions; its certificate is awaited there as NAME.crt, with what is
// above it, for as long as it takes (renewer.ErrLater).
//
// The same order is the same file, byte by byte, so a restart changes nothing. When a new
// order is written, a certificate that lies there for the one before is renamed to
// NAME.crt.old. What lies there then is looked at each time it is asked for, and taken only
// if it can be used: whole, for the key of the CSR, from a root of root_file, with the
// names and usages of the order. Else the error says what is wrong, and the wait goes on.
//
// Nothing in the directory is secret, and nothing in it is trusted: the key stays with
// renewer, and a certificate has to lead to a root of root_file.
package files

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"renewer/internal/atomicfile"
	"renewer/issuers/keptroots"
	"renewer/renewer"
	"renewer/renewer/pki"
)

const maxFile = 256 << 10

// Shortest is the least lifetime that is asked for here: what probes present for minutes
// would be carried to a CA for nothing.
const Shortest = time.Hour

// Config says where the directory is.
type Config struct {
	Name     string // of the issuer
	Dir      string // made if what is above it is there
	RootFile string
}

// Issuer waits for files. It is safe for many goroutines.
type Issuer struct {
	cfg   Config
	now   func() time.Time
	above atomic.Pointer[[]*x509.Certificate] // the CAs of the last certificate
}

// New looks at nothing.
func New(cfg Config) *Issuer { return &Issuer{cfg: cfg, now: time.Now} }

// OrderTimeout serves engine.Deferred.
func (i *Issuer) OrderTimeout() time.Duration { return 0 }

// Sign writes the CSR unless it is there, and returns the certificate if that is.
func (i *Issuer) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	doing := "sign " + o.Certificate
	if err := ctx.Err(); err != nil {
		return renewer.Chain{}, err
	}
	switch {
	case o.CommonName == "" && len(o.SANs) == 0:
		return renewer.Chain{}, i.refused(doing, "set common_name or sans", errors.New("the order has neither a common name nor a SAN"))
	case o.Lifetime < Shortest:
		return renewer.Chain{}, wrong("set lifetime to an hour or more; for a probe, set client: to the certificate that it presents",
			fmt.Errorf("issuer %s: %s: an issuer of type files cannot sign for %s", i.cfg.Name, doing, o.Lifetime))
	}
	csr, err := pki.EncodeRequest(o)
	if err != nil {
		return renewer.Chain{}, i.refused(doing, "", err)
	}
	asked, signed := i.path(o.Certificate, ".csr"), i.path(o.Certificate, ".crt")
	if err := i.write(asked, signed, csr); err != nil {
		return renewer.Chain{}, i.away(doing, err)
	}
	text, err := atomicfile.ReadLimited(signed, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return renewer.Chain{}, &renewer.Error{
			Class: renewer.ClassRetry, Hint: "have the CA sign " + asked + " and put the certificate there, with its intermediates: renewer ca sign-requests " + i.cfg.Dir + " does so for a local CA",
			Err: fmt.Errorf("issuer %s: %s is %w: %s needs %s", i.cfg.Name, o.Certificate, renewer.ErrLater, asked, filepath.Base(signed)),
		}
	}
	if err != nil {
		hint := fmt.Sprintf("put the certificate there as a plain file of at most %d KiB, in PEM", maxFile>>10)
		if errors.Is(err, fs.ErrPermission) {
			hint = "let renewer read the file"
		}
		return renewer.Chain{}, wrong(hint, fmt.Errorf("issuer %s: %w", i.cfg.Name, err))
	}
	chain, err := pki.DecodeChain(text, o.Key.Public())
	hint := "put the complete certificate there, in PEM: the one for " + asked
	switch {
	case errors.Is(err, pki.ErrOtherKey):
		err = fmt.Errorf("it does not belong to the request %s", filepath.Base(asked))
	case errors.Is(err, pki.ErrPrivateKey):
		hint = "remove the private key from " + signed + " and leave only certificates: the key of the request never leaves renewer"
	}
	if err != nil {
		return renewer.Chain{}, wrong(hint, fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, signed, err))
	}
	roots, err := i.Roots(ctx)
	if err == nil {
		_, err = pki.CheckIssued(o, false, chain, roots, i.now())
	}
	if err != nil {
		return renewer.Chain{}, wrong(renewer.Hint(err), fmt.Errorf("%s: %w", signed, err))
	}
	i.above.Store(&chain.Intermediates)
	return chain, nil
}

// Roots returns those of root_file.
func (i *Issuer) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return keptroots.Given(i.cfg.Name, i.cfg.RootFile)
}

// Intermediates returns the CAs below the root, as the last certificate had them.
func (i *Issuer) Intermediates() []*x509.Certificate {
	if above := i.above.Load(); above != nil {
		return slices.Clone(*above)
	}
	return nil
}

// Health reports whether a CSR can be written, and the roots be read.
func (i *Issuer) Health(ctx context.Context) error {
	if _, err := i.Roots(ctx); err != nil {
		return err
	}
	if err := i.usable(); err != nil {
		return i.away("check its directory", err)
	}
	return nil
}

func (i *Issuer) path(certificate, ending string) string {
	return filepath.Join(i.cfg.Dir, certificate+ending)
}

// usable reports whether files can be made in the directory, or it itself.
func (i *Issuer) usable() error {
	dir := i.cfg.Dir
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		dir = filepath.Dir(dir)
		if above, missing := os.Stat(dir); missing == nil {
			info, err = above, nil
		}
	}
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "write to", Path: dir, Err: unix.ENOTDIR}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// write writes the CSR, unless it is there. What was signed before for another one is out
// of the way then.
func (i *Issuer) write(asked, signed string, csr []byte) error {
	has, err := atomicfile.ReadLimited(asked, maxFile)
	if err == nil && bytes.Equal(has, csr) {
		return nil
	}
	if err := os.Mkdir(i.cfg.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := atomicfile.Clean(i.cfg.Dir); err != nil {
		return err
	}
	if err := os.Rename(signed, signed+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.Write(asked, csr, 0o644)
}

// wrong is an answer that is of no use; the next one is waited for.
func wrong(hint string, err error) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: hint, Err: unusable{err}}
}

// unusable says what is wrong in its own words, and is renewer.ErrLater.
type unusable struct{ error }

func (u unusable) Unwrap() error        { return u.error }
func (u unusable) Is(target error) bool { return target == renewer.ErrLater }

func (i *Issuer) refused(doing, hint string, err error) error {
	return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, doing, err)}
}

// away is about the directory: a share that is not mounted comes back.
func (i *Issuer) away(doing string, err error) error {
	return &renewer.Error{
		Class: renewer.ClassRetry, Hint: "make the directory " + i.cfg.Dir + ", writable for renewer; if it is on a network share, check that the share is mounted",
		Err: fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, doing, err),
	}
}
