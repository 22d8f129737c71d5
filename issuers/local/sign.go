package local

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"renewer/renewer"
	"renewer/renewer/pki"
)

const (
	backdate      = time.Minute // a peer's clock may be behind
	maxCommonName = 64          // ub-common-name, RFC 5280 appendix A.1
)

// Sign returns a certificate for the public half of the order's key, with
// exactly the names and usages asked for. It is valid from a minute ago, but
// not before the CA, for the lifetime counted from now in whole seconds.
func (a *Authority) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	if err := ctx.Err(); err != nil {
		return renewer.Chain{}, err
	}
	now := a.clock().Truncate(time.Second)
	if err := a.validAt(now); err != nil {
		return renewer.Chain{}, err
	}
	tmpl, err := template(o)
	if err != nil {
		return renewer.Chain{}, err
	}
	if err := a.policy.refuses(a.name, o.Certificate, o.Request).err(); err != nil {
		return renewer.Chain{}, err
	}
	if tmpl.NotBefore, tmpl.NotAfter, err = a.validity(o, now); err != nil {
		return renewer.Chain{}, err
	}
	tmpl.AuthorityKeyId = a.authority
	signed, err := a.cas.CreateCertificate(&apiv1.CreateCertificateRequest{Template: tmpl, Lifetime: o.Lifetime})
	if err != nil {
		return renewer.Chain{}, refused("", "issuer %s cannot sign %s: %w", a.name, o.Certificate, err)
	}
	chain := renewer.Chain{Leaf: signed.Certificate, SignedBy: a.chain[0]} // x509.CreateCertificate verifies what it signs
	if a.chain[0] != a.root {
		chain.Intermediates = append(chain.Intermediates, a.chain...)
	}
	if a.constrained {
		if err := a.checkConstraints(chain, o, now); err != nil {
			return renewer.Chain{}, err
		}
	}
	return chain, nil
}

// template checks the order and turns it into a certificate without dates.
func template(o renewer.Order) (*x509.Certificate, error) {
	if o.Key == nil {
		return nil, refused("", "the order for %s has no key", o.Certificate)
	}
	if len(o.CommonName) > maxCommonName {
		return nil, refused("set a shorter common_name; put long names into sans",
			"the common name of %s has %d characters; at most %d are allowed (RFC 5280)", o.Certificate, len(o.CommonName), maxCommonName)
	}
	if o.CommonName == "" && len(o.SANs) == 0 {
		return nil, refused("set common_name or sans", "the order for %s has neither a common name nor a SAN", o.Certificate)
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: o.CommonName},
		PublicKey:             o.Key.Public(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if _, ok := tmpl.PublicKey.(*rsa.PublicKey); ok && slices.Contains(o.Usages, renewer.UsageServer) {
		tmpl.KeyUsage |= x509.KeyUsageKeyEncipherment // RSA key exchange of TLS 1.2; not for a client (RFC 5280, 4.2.1.12)
	}
	if pub, ok := tmpl.PublicKey.(*ecdsa.PublicKey); ok { // of others softcas makes it, at a greater cost
		point, err := pub.Bytes()
		if err != nil {
			return nil, refused("", "the order for %s has no usable key: %w", o.Certificate, err)
		}
		id := sha256.Sum256(point)
		tmpl.SubjectKeyId = id[:20] // RFC 7093, section 2
	}
	tmpl.DNSNames, tmpl.IPAddresses = renewer.SplitSANs(o.SANs)
	for _, name := range tmpl.DNSNames {
		if !plainDNS(name) {
			return nil, refused("write internationalized names in their xn-- form", "SAN %q of %s is not a DNS name or IP address", name, o.Certificate)
		}
	}
	if len(o.Usages) == 0 {
		return nil, refused("set usages: [server], [client] or both", "the order for %s has no usage", o.Certificate)
	}
	for _, u := range o.Usages {
		switch u {
		case renewer.UsageServer:
			tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		case renewer.UsageClient:
			tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		default:
			return nil, refused("set usages: [server], [client] or both", "the order for %s has the unknown usage %q", o.Certificate, u)
		}
	}
	return tmpl, nil
}

// serial is 158 random bits in always 20 octets, the most that RFC 5280
// (4.1.2.2) allows; the top bits make it positive.
func serial() *big.Int {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b)
}

func plainDNS(name string) bool {
	if name == "" || len(name) > 253 || net.ParseIP(name) != nil {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, r := range label {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '*':
			default:
				return false
			}
		}
	}
	return true
}

// validity is how long a certificate holds, if the CA and what is above it do.
func (a *Authority) validity(o renewer.Order, now time.Time) (from, end time.Time, err error) {
	if o.Lifetime < time.Second {
		return from, end, refused("set lifetime to a second or more", "the order for %s has the lifetime %s", o.Certificate, o.Lifetime)
	}
	from, end = now.Add(-backdate), now.Add(o.Lifetime)
	for _, c := range a.path() {
		if from.Before(c.NotBefore) {
			from = c.NotBefore
		}
		if end.After(c.NotAfter) {
			return from, end, refused("set lifetime: "+whole(c.NotAfter.Sub(now))+" or less for "+o.Certificate+"; or "+a.longer(),
				"%s would expire at %s, after its issuer %s (%s), which expires at %s",
				o.Certificate, date(end), a.name, subject(c), date(c.NotAfter))
		}
	}
	return from, end, nil
}

// longer is how the issuer gets a CA that lasts longer.
func (a *Authority) longer() string {
	if len(a.path()) > 1 {
		return fromAbove(a.name)
	}
	return "extend the CA: renewer ca reissue " + a.name
}

// checkConstraints asks as a peer would, where the CA limits what it signs:
// signing does not look at that.
func (a *Authority) checkConstraints(chain renewer.Chain, o renewer.Order, now time.Time) error {
	if err := pki.Accepted(chain, []*x509.Certificate{a.root}, o.Usages, now); err != nil {
		return refused(a.limitsHint(), "peers would refuse %s from issuer %s: %w", o.Certificate, a.name, err)
	}
	return nil
}

func (a *Authority) limitsHint() string {
	another := "replace the CA with one without limits: renewer ca rotate " + a.name
	if len(a.path()) > 1 {
		another = fromAbove(a.name)
	}
	return "renewer ca show " + a.name + " shows what the CA may sign; request only that, or " + another
}
