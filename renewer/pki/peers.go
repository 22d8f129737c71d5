package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// Bounds on what a peer reads of a handshake: OpenSSL takes 100 KiB of
// certificates (SSL_CTX_set_max_cert_list), and real chains have one to four.
const (
	maxChain      = 10
	maxChainBytes = 64 << 10
)

// Accepted answers as a peer that has the roots would at now: crypto/x509's
// Verify, and for each of the usages whether every CA of the path may give it.
// Its error says which limit of which certificate is in the way.
func Accepted(chain renewer.Chain, roots []*x509.Certificate, usages []renewer.Usage, now time.Time) error {
	if len(chain.Leaf.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("it has the critical extension %s, which peers do not support", chain.Leaf.UnhandledCriticalExtensions[0])
	}
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range roots {
		opts.Roots.AddCert(c)
	}
	for _, c := range chain.Intermediates {
		opts.Intermediates.AddCert(c)
	}
	paths, err := chain.Leaf.Verify(opts)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "x509: "))
	}
	for _, path := range paths {
		if err = mayGive(path, usages); err == nil {
			return nil
		}
	}
	return err
}

// mayGive looks for a CA above the leaf that is not for one of the usages, or
// does not allow the common name, which OpenSSL takes for a DNS name where there is none.
func mayGive(path []*x509.Certificate, usages []renewer.Usage) error {
	leaf := path[0]
	for _, ca := range path[1:] {
		for _, u := range usages {
			if !signsFor(ca, u) {
				return fmt.Errorf("the CA %s may sign for %s only, not for %s (extendedKeyUsage)", ca.Subject, usagesOf(ca), u)
			}
		}
		if cn := leaf.Subject.CommonName; len(leaf.DNSNames) == 0 && strings.Contains(cn, ".") && net.ParseIP(cn) == nil && !permitsDNS(ca, cn) {
			return fmt.Errorf("the CA %s does not permit the common name %s (nameConstraints): OpenSSL treats it as a DNS name, because sans has none", ca.Subject, cn)
		}
	}
	return nil
}

// signsFor reports whether a CA may give a usage: one without extendedKeyUsage may
// give all, and anyExtendedKeyUsage stands for none (OpenSSL, of roots too).
func signsFor(ca *x509.Certificate, u renewer.Usage) bool {
	has := renewer.UsagesOf(ca)
	return len(has) == 0 || slices.Contains(has, u)
}

// usagesOf lists what a CA may sign for.
func usagesOf(ca *x509.Certificate) string {
	has := renewer.UsagesOf(ca)
	if i := slices.Index(has, "any"); i >= 0 {
		has[i] = "any (anyExtendedKeyUsage, which OpenSSL ignores)"
	}
	return list(has)
}

// netscapeRefuses looks at the certificate type of Netscape, as OpenSSL still does
// of a leaf: bit 0 is for clients, bit 1 for servers.
func netscapeRefuses(leaf *x509.Certificate, usages []renewer.Usage) error {
	for _, e := range leaf.Extensions {
		var kind asn1.BitString
		if !e.Id.Equal(oidNetscapeType) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &kind); err != nil {
			return errors.New("its nsCertType cannot be parsed")
		}
		for bit, u := range []renewer.Usage{renewer.UsageClient, renewer.UsageServer} {
			if kind.At(bit) == 0 && slices.Contains(usages, u) {
				return fmt.Errorf("its nsCertType does not include %s, which OpenSSL checks", u)
			}
		}
	}
	return nil
}

// permitsDNS is RFC 5280, section 4.2.1.10, for one DNS name.
func permitsDNS(ca *x509.Certificate, name string) bool {
	within := func(limit string) bool {
		name, limit := strings.ToLower(name), strings.ToLower(limit)
		return limit == "" || name == limit || strings.HasSuffix(name, "."+strings.TrimPrefix(limit, "."))
	}
	return !slices.ContainsFunc(ca.ExcludedDNSDomains, within) &&
		(len(ca.PermittedDNSDomains) == 0 || slices.ContainsFunc(ca.PermittedDNSDomains, within))
}

// Limited reports whether a CA with so many CAs below it can be refused by a
// peer for more than its dates and its signature.
func Limited(ca *x509.Certificate, below int) bool {
	return len(Limits(ca))+len(ca.UnhandledCriticalExtensions) > 0 || PathLen(ca) >= 0 && PathLen(ca) < below
}

// Limits says what a CA may sign where that is not everything.
func Limits(ca *x509.Certificate) (out []string) {
	if len(renewer.UsagesOf(ca)) > 0 {
		out = append(out, "usages: only "+usagesOf(ca))
	}
	ranges := func(in []*net.IPNet) (out []string) {
		for _, r := range in {
			out = append(out, r.String())
		}
		return out
	}
	for what, names := range map[string][]string{
		"DNS names: only": ca.PermittedDNSDomains, "DNS names: not": ca.ExcludedDNSDomains,
		"IP addresses: only": ranges(ca.PermittedIPRanges), "IP addresses: not": ranges(ca.ExcludedIPRanges),
		"mail addresses: only": ca.PermittedEmailAddresses, "mail addresses: not": ca.ExcludedEmailAddresses,
		"URIs: only": ca.PermittedURIDomains, "URIs: not": ca.ExcludedURIDomains,
	} {
		if len(names) > 0 {
			out = append(out, what+" "+strings.Join(names, ", "))
		}
	}
	slices.Sort(out)
	return out
}

// PathLen returns the path length constraint of a CA, -1 for none.
func PathLen(c *x509.Certificate) int {
	if c.MaxPathLen == 0 && !c.MaxPathLenZero {
		return -1
	}
	return c.MaxPathLen
}

func list[T ~string](items []T) string { return strings.Join(texts(items), ", ") }
