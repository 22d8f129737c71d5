package local

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"renewer/internal/atomicfile"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// Switch makes the next CA the signing one, if it has that fingerprint. It is
// repeated after a crash, and does nothing where it is done.
//
//  1. The certificate and key that sign are copied to ca.old-HASH16.pem and
//     ca-key.old-HASH16.pem.
//  2. rename(ca.next.pem, ca.pem): from here on the next CA signs.
//  3. rename(ca-key.next.pem, ca-key.pem).
//
// Between 2 and 3 the key of ca.pem is in ca-key.next.pem, and Open finds it
// there: at every moment ca.pem is the signing CA, and has its key.
func Switch(cfg Config, fingerprint string) error {
	was, err := Open(cfg) // a damaged CA is not put away as the old one
	if err != nil {
		return err
	}
	if is(was.chain[0], fingerprint) {
		return settle(cfg)
	}
	next, err := OpenNext(cfg)
	if err != nil {
		return err
	}
	if !is(next.chain[0], fingerprint) {
		return misconfigured("renewer ca show "+cfg.Name+" shows the CAs",
			"issuer %s: the next CA is %s, and not the one with SHA-256 %.16s…", cfg.Name, subject(next.chain[0]), fingerprint)
	}
	if err := next.validAt(next.clock()); err != nil {
		return err
	}
	if err := putAway(cfg, was); err != nil {
		return err
	}
	if err := rename(cfg, cfg.next().CertFile, cfg.CertFile); err != nil {
		return err
	}
	return settle(cfg)
}

func is(c *x509.Certificate, fingerprint string) bool {
	return renewer.Fingerprint(c.Raw) == fingerprint
}

// settle ends a Switch that was cut short: it gives the signing key its own name.
// The one that has it is put away already.
func settle(cfg Config) error {
	a, err := Open(cfg)
	if err != nil || a.keyFile == cfg.KeyFile {
		return err
	}
	return rename(cfg, a.keyFile, cfg.KeyFile)
}

// putAway keeps what signs until now. The key stays encrypted as it is.
func putAway(cfg Config, was *Authority) error {
	old := cfg.old(renewer.Fingerprint(was.chain[0].Raw))
	key, err := readKeyFile(was.keyFile)
	if err == nil {
		err = keep(old.KeyFile, key, 0o600)
	}
	if err == nil {
		err = keep(old.CertFile, pki.PEM(was.path()...), 0o644)
	}
	if err != nil {
		return fileError(cfg, err)
	}
	return nil
}

// keep writes a file that may be there already, as it is.
func keep(file string, data []byte, mode fs.FileMode) error {
	err := atomicfile.WriteNew(file, data, mode)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	has, err := atomicfile.ReadLimited(file, maxCertFile)
	if err == nil && !bytes.Equal(has, data) {
		err = fmt.Errorf("%s already exists with other content", file)
	}
	return err
}

func rename(cfg Config, from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fileError(cfg, err)
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return fileError(cfg, err)
	}
	return nil
}

// old is the configuration of a CA that signed before.
func (c Config) old(fingerprint string) Config {
	o := c
	which := "old-" + fingerprint[:min(16, len(fingerprint))]
	o.CertFile, o.KeyFile = beside(c.CertFile, which), beside(c.KeyFile, which)
	return o
}

// Old is a CA that signed before.
type Old struct {
	Cert, Root *x509.Certificate
	Key        bool // is there still
}

// OldCAs returns the CAs that signed before, in no order. What cannot be read is
// left out, and in the error.
func OldCAs(cfg Config) (list []Old, err error) {
	ext := filepath.Ext(cfg.CertFile)
	files, _ := filepath.Glob(globbed(strings.TrimSuffix(cfg.CertFile, ext)) + ".old-*" + ext) // the pattern is right
	for _, file := range files {
		signs, root, failed := ends(cfg, file)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		_, missing := os.Lstat(cfg.old(renewer.Fingerprint(signs.Raw)).KeyFile)
		list = append(list, Old{signs, root, missing == nil})
	}
	return list, err
}

func globbed(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// OpenOld opens a CA that signed before, for its CRL.
func OpenOld(cfg Config, fingerprint string) (*Authority, error) { return Open(cfg.old(fingerprint)) }

// DestroyOld removes the key of a CA that signed before, and reports whether there
// was one. Its certificate and its last CRL stay.
func DestroyOld(cfg Config, fingerprint string) (was bool, err error) {
	file := cfg.old(fingerprint).KeyFile
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := remove(file); err != nil {
		return false, fileError(cfg, err)
	}
	return true, nil
}

// KeptCRL returns the last list of a CA that signed before, as it was written.
func KeptCRL(cfg Config, fingerprint string) ([]byte, error) {
	signs, _, err := ends(cfg, cfg.old(fingerprint).CertFile)
	if err != nil {
		return nil, err
	}
	id, err := keyIdentifier(signs)
	if err != nil {
		return nil, misconfigured("", "issuer %s: %w", cfg.Name, err)
	}
	return atomicfile.ReadLimited(crlFile(cfg, id), maxCRLFile)
}
