package local

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// Judge returns what Sign would say of a request: all reasons at once, because of the
// policy and the CA's dates and limits. It reads the certificate file alone: neither a
// key nor a passphrase is needed, and nothing is signed with the CA. Where there is no
// CA that can be read, which is said where one is needed, the policy holds alone.
func Judge(cfg Config) func(renewer.Request) error {
	if path, err := pathOf(cfg); err == nil {
		a := &Authority{name: cfg.Name, chain: path, root: path[len(path)-1], policy: cfg.Policy, instead: cfg.instead(path), clock: time.Now}
		if judge, err := a.Judge(); err == nil {
			return judge
		}
	}
	return func(r renewer.Request) error { return cfg.Policy.refuses(cfg.Name, "it", r).err() }
}

// pathOf reads the certificate file alone: the signing CA, and what is above it up
// to the root.
func pathOf(cfg Config) ([]*x509.Certificate, error) {
	text, err := readCertificateFile(cfg.CertFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noCA(cfg, err)
	}
	if err != nil {
		return nil, fileError(cfg, err)
	}
	if text, err = inPlace(cfg, text, cfg.CertFile); err != nil {
		return nil, err
	}
	certs, err := parseCertificates(cfg, text, cfg.CertFile)
	if err != nil {
		return nil, err
	}
	path := pathsToRoots(certs)[certs[0]]
	if path == nil {
		return nil, misconfigured(importedChain, "%s: %s was signed by %q, whose certificate is not in the file", cfg.CertFile, subject(certs[0]), certs[0].Issuer.String())
	}
	return path, checkChain(cfg, path, cfg.CertFile)
}

// Judge returns what Sign would say now of a request; see the function Judge. What the
// limits make of a request is tried once.
func (a *Authority) Judge() (func(renewer.Request) error, error) {
	trial, err := pki.NewTrial(a.path(), a.clock())
	if err != nil {
		return nil, misconfigured("", "issuer %s: %w", a.name, err)
	}
	var tried sync.Map
	return func(r renewer.Request) error {
		now := a.clock()
		why := a.policy.refuses(a.name, "it", r)
		if err := a.validAt(now); err != nil {
			return append(several{err}, why...).err()
		}
		if _, _, err := a.validity(renewer.Order{Certificate: "it", Request: r}, now); err != nil {
			why = append(why, err)
		}
		if trial == nil {
			return why.err()
		}
		key := fmt.Sprintln(r.CommonName, r.SANs, r.Usages)
		said, known := tried.Load(key)
		if !known {
			said = trial.Refuses(r)
			tried.Store(key, said)
		}
		if err, _ := said.(error); err != nil {
			why = append(why, refused(a.limitsHint(), "peers would refuse what issuer %s signs: %w", a.name, err))
		}
		return why.err()
	}, nil
}

// path leads from the signing CA to its root, both included.
func (a *Authority) path() []*x509.Certificate {
	if slices.Contains(a.chain, a.root) {
		return a.chain
	}
	return append(slices.Clone(a.chain), a.root)
}
