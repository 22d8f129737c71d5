package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/internal/atomicfile"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

const maxRequest = 256 << 10

// What becomes of a certificate request.
const (
	RequestToSign  = "to sign"
	RequestSigned  = "signed"
	RequestBefore  = "signed before"
	RequestRefused = "refused"
)

// CARequest is one certificate request of a directory, and what becomes of it.
type CARequest struct {
	Certificate string          `json:"certificate"`
	State       string          `json:"state"`
	CommonName  string          `json:"common_name"`
	SANs        []string        `json:"sans"`
	Usages      []renewer.Usage `json:"usages"`
	Key         renewer.KeyType `json:"key"`
	NotAfter    time.Time       `json:"not_after,omitzero"` // of the certificate; to sign: if it were signed now
	File        string          `json:"file"`               // with the certificate
	Error       string          `json:"error,omitempty"`
	Hint        string          `json:"hint,omitempty"`

	order  renewer.Order
	byFlag bool // its lifetime is that of --lifetime
}

// CARequests are those of a directory, for the CA of a local issuer.
type CARequests struct {
	ca   *local.Authority
	List []CARequest
}

// ReadCARequests reads DIR/NAME.csr, for each NAME, and judges what a CA would sign: within
// its limits and those of its issuer and, where the fleet file has certificates, only what
// an entry asks for. lifetime is for requests that say none. Nothing is signed.
func ReadCARequests(fleet *configs.Fleet, issuer, dir string, lifetime time.Duration) (*CARequests, error) {
	cfg, err := localIssuer(fleet, issuer)
	if err != nil {
		return nil, err
	}
	ca, err := local.Open(cfg)
	if err != nil {
		return nil, err
	}
	judge, err := ca.Judge()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the requests in %s: %w", dir, cause(err))
	}
	out := &CARequests{ca: ca}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".csr")
		if !ok || name == "" || strings.HasPrefix(name, ".") {
			continue
		}
		r := CARequest{Certificate: name, State: RequestToSign, File: filepath.Join(dir, name+".crt")}
		err := r.read(filepath.Join(dir, e.Name()), fleet, lifetime)
		if err == nil && r.signedBefore(ca) {
			r.State = RequestBefore
		} else if err == nil {
			r.NotAfter, err = time.Now().Add(r.order.Lifetime).UTC().Truncate(time.Second), judge(r.order.Request)
		}
		r.refuse(err)
		out.List = append(out.List, r)
	}
	return out, nil
}

func (r *CARequest) refuse(err error) {
	if err != nil {
		r.State, r.Error, r.Hint, r.NotAfter = RequestRefused, err.Error(), renewer.Hint(err), time.Time{}
		if r.byFlag { // and no entry's
			r.Hint = strings.ReplaceAll(r.Hint, "set lifetime: ", "give --lifetime ")
		}
	}
}

// read reads a request and compares it with its entry.
func (r *CARequest) read(file string, fleet *configs.Fleet, lifetime time.Duration) error {
	text, err := atomicfile.ReadLimited(file, maxRequest)
	if err != nil {
		return err
	}
	o, err := pki.DecodeRequest(text)
	o.Certificate = r.Certificate
	r.CommonName, r.SANs, r.Usages, r.Key = o.CommonName, o.SANs, o.Usages, o.Request.Key
	if err != nil {
		return err
	}
	entry, known := fleet.Certificate(r.Certificate)
	switch {
	case known:
		if other := entry.Request().Differs(o.Request); other != "" {
			return renewer.WithHint(fmt.Errorf("it is not what the entry asks for: %s", other), "compare the fleet file here with the one where the request was made")
		}
		o.Lifetime = entry.Lifetime
	case len(fleet.Certificates) > 0:
		return renewer.WithHint(fmt.Errorf("%s has no certificate %s", fleet.Path, r.Certificate), "add its entry, or use a fleet file without certificates, where the limits of the issuer hold alone")
	case o.Lifetime == 0:
		o.Lifetime, r.byFlag = lifetime, true
	}
	if o.Lifetime == 0 {
		return renewer.WithHint(errors.New("it does not say for how long"), "give --lifetime 90d")
	}
	r.order = o
	return nil
}

// signedBefore reports whether a certificate of this CA lies there that is good still.
func (r *CARequest) signedBefore(ca *local.Authority) bool {
	text, err := atomicfile.ReadLimited(r.File, maxRequest)
	if err != nil {
		return false
	}
	chain, err := pki.DecodeChain(text, r.order.Key.Public())
	if err != nil || !time.Now().Before(chain.Leaf.NotAfter) {
		return false
	}
	signers := ca.Intermediates()
	if roots, err := ca.Roots(context.Background()); err == nil {
		signers = append(signers, roots...)
	}
	r.NotAfter = chain.Leaf.NotAfter.UTC()
	return slices.ContainsFunc(signers, func(c *x509.Certificate) bool { return chain.Leaf.CheckSignatureFrom(c) == nil })
}

// ToSign counts those that Sign would sign.
func (c *CARequests) ToSign() (n int) {
	for _, r := range c.List {
		if r.State == RequestToSign {
			n++
		}
	}
	return n
}

// Sign signs what is to be signed, and writes each certificate with what is above it.
func (c *CARequests) Sign(ctx context.Context) error {
	for i := range c.List {
		r := &c.List[i]
		if r.State != RequestToSign {
			continue
		}
		chain, err := c.ca.Sign(ctx, r.order)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = atomicfile.Write(r.File, pki.PEM(append([]*x509.Certificate{chain.Leaf}, chain.Intermediates...)...), fs.FileMode(0o644))
		}
		if err != nil {
			r.refuse(err)
			continue
		}
		r.State, r.NotAfter = RequestSigned, chain.Leaf.NotAfter.UTC()
	}
	return nil
}
