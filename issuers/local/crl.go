package local

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

// The list of revoked certificates (RFC 5280, section 5) is one DER file, and
// the only memory of what was revoked: it is read, checked against the CA,
// extended and replaced whole. Nothing is ever taken out of it, because a CRL
// does not say when a certificate expires; people revoke few.
const (
	crlLifetime = 7 * 24 * time.Hour // from thisUpdate to nextUpdate
	maxCRLFile  = 16 << 20           // some 400,000 certificates
)

// crlFile names the list of one CA key: a CA that took the place of another in
// the same files begins its own.
func crlFile(cfg Config, keyID []byte) string {
	dir := cfg.CRLDir
	if dir == "" {
		dir = filepath.Dir(cfg.CertFile)
	}
	return filepath.Join(dir, fmt.Sprintf("crl-%x.der", keyID[:min(8, len(keyID))]))
}

// ErrNoCRL says that this CA's certificate does not allow it to sign a CRL.
var ErrNoCRL = errors.New("the CA may not sign a CRL")

// Revoke puts a certificate into the CRL; on the disk, when it returns. One
// that is there already stays as it is. A CA that may not sign a CRL keeps
// none, and there is no one else to tell: then it returns nil, and CRL says why.
func (a *Authority) Revoke(ctx context.Context, r renewer.Revocation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	number, ok := new(big.Int).SetString(r.Serial, 16)
	if !ok || number.Sign() <= 0 {
		return refused("", "issuer %s: revoke %s: %q is not a serial number", a.name, r.Certificate, r.Serial)
	}
	if r.Chain.Leaf != nil && !signedBy(r.Chain.Leaf, a.chain[0]) {
		return refused("it was signed by a CA that was replaced; peers that still trust that CA need another trust bundle",
			"issuer %s did not sign %s with serial %s", a.name, r.Certificate, r.Serial)
	}
	if !a.signsCRL() {
		return nil // a replacement helps, a list that peers refuse does not
	}
	return a.extend([]*big.Int{number}, r.Reason)
}

// extend puts serial numbers on the list that are not there yet.
func (a *Authority) extend(numbers []*big.Int, reason renewer.RevocationReason) error {
	_, err := a.updateCRL(crlLifetime, func(list *x509.RevocationList, now time.Time) (more bool) {
		listed := map[string]bool{}
		for _, e := range list.RevokedCertificateEntries {
			listed[string(e.SerialNumber.Bytes())] = true
		}
		for _, number := range numbers {
			if key := string(number.Bytes()); !listed[key] {
				listed[key], more = true, true
				list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
					x509.RevocationListEntry{SerialNumber: number, RevocationTime: now, ReasonCode: reason.Code()})
			}
		}
		return more
	})
	return err
}

// RevokeAll puts certificates that the CA signed into the CRL, all at once, for the
// same reason. The serial numbers are lower-case hex. The error is ErrNoCRL where the
// CA may not sign one.
func (a *Authority) RevokeAll(ctx context.Context, serials []string, reason renewer.RevocationReason) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := a.mayNotSignCRL(); err != nil {
		return err
	}
	numbers := make([]*big.Int, 0, len(serials))
	for _, serial := range serials {
		number, ok := new(big.Int).SetString(serial, 16)
		if !ok || number.Sign() <= 0 {
			return refused("", "issuer %s: revoke: %q is not a serial number", a.name, serial)
		}
		numbers = append(numbers, number)
	}
	return a.extend(numbers, reason)
}

// LastCRL signs the list of a CA that signed before for as long as that is valid: its
// key is going to be removed.
func LastCRL(ctx context.Context, cfg Config, fingerprint string) error {
	a, err := OpenOld(cfg, fingerprint)
	if err != nil {
		return err
	}
	if err := errors.Join(ctx.Err(), a.mayNotSignCRL()); err != nil {
		return err
	}
	now := a.clock()
	if !now.Before(a.chain[0].NotAfter) {
		return nil // no one asks for it any more
	}
	_, err = a.updateCRL(a.chain[0].NotAfter.Sub(now), func(*x509.RevocationList, time.Time) bool { return true })
	return err
}

// Signed reports whether the CA itself signed a certificate.
func (a *Authority) Signed(c *x509.Certificate) bool { return signedBy(c, a.chain[0]) }

// CRL returns the list in DER, signed again when half of its time has passed.
// The error is ErrNoCRL, and refused, where the CA may not sign one.
func (a *Authority) CRL(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := a.mayNotSignCRL(); err != nil {
		return nil, err
	}
	return a.updateCRL(crlLifetime, func(*x509.RevocationList, time.Time) bool { return false })
}

func (a *Authority) signsCRL() bool { return a.mayNotSignCRL() == nil }

// mayNotSignCRL says why peers would refuse a CRL of this CA: see RFC 5280,
// sections 4.2.1.3, 5.2.1 and 6.3.3 (f).
func (a *Authority) mayNotSignCRL() error {
	var lacks string
	switch ca := a.chain[0]; {
	case ca.KeyUsage&x509.KeyUsageCRLSign == 0:
		lacks = "keyUsage without cRLSign"
		if ca.KeyUsage == 0 {
			lacks = "no keyUsage, so no cRLSign"
		}
	case len(ca.SubjectKeyId) == 0:
		lacks = "no subjectKeyIdentifier"
	default:
		return nil
	}
	return refused("a CA made by renewer ca init can; until then, replace the certificate, use a shorter lifetime, or change the CA",
		"issuer %s: %w: %s has %s", a.name, ErrNoCRL, subject(a.chain[0]), lacks)
}

// updateCRL gives change the list as it is, and signs and writes it if change
// says so or if it is time, for as long as it is to hold. Other processes and other Authorities over the same
// files wait meanwhile.
func (a *Authority) updateCRL(holds time.Duration, change func(list *x509.RevocationList, now time.Time) bool) ([]byte, error) {
	unlock, err := lockDir(filepath.Dir(a.crlFile))
	if err != nil {
		return nil, misconfigured("", "issuer %s: lock its CRL: %w", a.name, err)
	}
	defer unlock()
	list, der, err := a.readCRL()
	if err != nil {
		return nil, err
	}
	now := a.clock().UTC().Truncate(time.Second)
	due := list.NextUpdate.Sub(now) < crlLifetime/2 || list.ThisUpdate.After(now) // the second: a clock that was ahead
	if !change(list, now) && !due {
		return der, nil
	}
	if err := a.validAt(now); err != nil {
		return nil, err
	}
	list.Number = nextNumber(list.Number, now)
	list.ThisUpdate, list.NextUpdate = now.Add(-backdate), now.Add(holds)
	signed, err := a.cas.CreateCRL(&apiv1.CreateCRLRequest{RevocationList: list})
	if err != nil {
		return nil, misconfigured("", "issuer %s: sign its CRL: %w", a.name, err)
	}
	if err := atomicfile.Write(a.crlFile, signed.CRL, 0o644); err != nil {
		return nil, misconfigured("", "issuer %s: %w", a.name, err)
	}
	return signed.CRL, nil
}

// readCRL reads the list and trusts nothing that the CA's own key did not sign.
func (a *Authority) readCRL() (*x509.RevocationList, []byte, error) {
	der, err := atomicfile.ReadLimited(a.crlFile, maxCRLFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &x509.RevocationList{}, nil, nil
	}
	if err != nil {
		return nil, nil, misconfigured("", "issuer %s: its CRL: %w", a.name, err)
	}
	list, err := x509.ParseRevocationList(der)
	if err == nil {
		err = list.CheckSignatureFrom(a.chain[0])
	}
	if err != nil {
		return nil, nil, misconfigured("restore it from a backup; without it, a new list starts that lacks all earlier revocations",
			"issuer %s: its CRL %s is damaged: %w", a.name, a.crlFile, err)
	}
	return &x509.RevocationList{
		RevokedCertificateEntries: list.RevokedCertificateEntries, Number: list.Number,
		ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
	}, der, nil
}

// nextNumber counts in milliseconds, so that numbers grow even over a list that
// was lost (RFC 5280, section 5.2.3).
func nextNumber(last *big.Int, now time.Time) *big.Int {
	next := big.NewInt(now.UnixMilli())
	if last == nil || next.Cmp(last) > 0 {
		return next
	}
	return next.Add(last, big.NewInt(1))
}

// lockDir takes the lock of a directory, against this process too.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) { // the CA's own files are elsewhere
		if err = os.MkdirAll(dir, 0o700); err == nil {
			d, err = os.Open(dir)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
	}
	return func() { _ = d.Close() }, nil // which unlocks
}
