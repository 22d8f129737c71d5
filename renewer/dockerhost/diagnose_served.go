package dockerhost

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// These look at the certificate, and at what a probe saw of it.

func expiry(c Case) verdict {
	end, what := c.Seen.NotAfter, "the served certificate"
	if len(c.Served) > 0 {
		end = c.Served[0].NotAfter
	}
	if end.IsZero() {
		end, what = c.Facts.Disk.NotAfter, "the certificate on disk"
	}
	if end.IsZero() && c.Leaf != nil {
		end, what = c.Leaf.NotAfter, "the current generation"
	}
	if end.IsZero() {
		return verdict{}
	}
	fix := "renewer renew " + c.Placement.Certificate
	left := end.Sub(c.Now)
	date := end.UTC().Format(time.RFC3339)
	switch {
	case left <= 0:
		return bad(fix, "%s expired at %s", what, date)
	case c.Leaf != nil && left < c.Life/10:
		return warn(fix, "%s expires at %s: less than a tenth of its lifetime is left", what, date)
	}
	return fine("%s is valid until %s", what, date)
}

func usage(c Case) verdict {
	want := slices.Clone(c.Usages)
	if serves(c.Placement) && !slices.Contains(want, renewer.UsageServer) {
		want = append(want, renewer.UsageServer)
	}
	leaves := c.leaves()
	for _, s := range leaves {
		have := renewer.UsagesOf(s.leaf)
		for _, u := range want {
			if len(have) > 0 && !slices.Contains(have, u) && !slices.Contains(have, "any") {
				return bad(c.fixing(fmt.Sprintf("set usages: [%s] for %s, then run renewer renew", u, c.Placement.Certificate)),
					"%s is used as a %s, but its extended key usage has only %v: peers answer \"bad certificate\" or \"incompatible key usage\"", s.where, u, have)
			}
		}
	}
	if len(leaves) == 0 {
		return verdict{}
	}
	return fine("it has the usages %v", want)
}

// serves reports whether peers connect to what has the certificate.
func serves(p renewer.Placement) bool {
	return p.Probe.Kind == renewer.ProbeDocker || p.Probe.Kind == renewer.ProbeTLS || p.Probe.Kind == renewer.ProbeGRPCHealth
}

func sanMismatch(c Case) verdict {
	leaves := c.leaves()
	if len(leaves) == 0 || !serves(c.Placement) {
		return verdict{}
	}
	name := c.Placement.Probe.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(c.Placement.Probe.Address)
	}
	for _, s := range leaves {
		if s.leaf.VerifyHostname(name) != nil {
			return bad(c.fixing("add "+name+" to sans: (or to names: of the host), then renewer renew "+c.Placement.Certificate),
				"clients connect to %s, but the certificate covers only %s (%s)", name, covers(s.leaf), s.where)
		}
	}
	return fine("clients connect to %s, and the certificate covers %s", name, covers(leaves[0].leaf))
}

func covers(leaf *x509.Certificate) string {
	if sans := renewer.SANs(leaf); len(sans) > 0 {
		return strings.Join(sans, ", ")
	}
	return "no name"
}

// chainHolds looks at a certificate that no probe of the inventory has seen: does it
// lead to a root that is at hand?
func chainHolds(c Case) verdict {
	if c.Probed || !serves(c.Placement) || len(c.Served) == 0 {
		return verdict{}
	}
	chain := renewer.Chain{Leaf: c.Served[0], Intermediates: c.Served[1:]}
	roots := slices.Concat(c.Facts.Disk.Roots, c.Roots)
	if len(pki.Under(chain, roots)) > 0 || len(roots) == 0 {
		return fine("the served chain leads to a known root")
	}
	return warn("serve the intermediates after the leaf, or add the root to the ca file of the clients; "+c.placing()+" places a certificate of the entry's issuer",
		"the served certificate was signed by %q, but neither %s nor the issuer of the entry has that root", c.Served[len(c.Served)-1].Issuer.String(), c.Placement.Files[renewer.FileCA])
}

func unknownAuthority(c Case) verdict {
	var unknown x509.UnknownAuthorityError
	ca := c.Placement.Files[renewer.FileCA]
	want := renewer.RootSetOf(c.Roots)
	missing := want.Without(c.Facts.Disk.Trusts)
	switch {
	case c.Probed && errors.As(c.ProbeErr, &unknown):
		return bad("the service has to serve the intermediates too, and every peer needs the same ca file: run renewer verify, then renewer renew for those that differ",
			"%v", c.ProbeErr)
	case c.Err != nil || ca == "" || len(want) == 0:
		return verdict{}
	case len(c.Facts.Disk.Trusts) == 0: // files says so
		return verdict{}
	case len(missing) > 0 && c.foreign():
		return bad(Foreign(c.Placement), "%s/%s has other roots than the issuer: another CA issued the current certificate, and clients with certificates of the issuer are refused", c.Placement.Dir, ca)
	case len(missing) > 0:
		return bad("renewer run --once adds them; roots that are still needed stay",
			"%s/%s lacks a root of the issuer: peers say \"certificate signed by unknown authority\"", c.Placement.Dir, ca)
	case c.Leaf != nil && !signedBy(c.Leaf, c.Roots):
		return warn("check trust: of "+c.Placement.Certificate, "%s/%s has the configured roots, but none of them is of the certificate's issuer %q", c.Placement.Dir, ca, c.Leaf.Issuer)
	}
	return fine("%s/%s has the issuer's roots", c.Placement.Dir, ca)
}

// signedBy reports whether one of the roots signed the leaf, or something that
// is neither may have: an intermediate.
func signedBy(leaf *x509.Certificate, roots []*x509.Certificate) bool {
	for _, r := range roots {
		if string(r.RawSubject) == string(leaf.RawIssuer) {
			return leaf.CheckSignatureFrom(r) == nil
		}
	}
	return true
}

func timeout(c Case) verdict {
	var looked *renewer.ProbeError // else it was the host that was not reached, and its files: reach and sudo say so
	if !c.Probed || !errors.As(c.ProbeErr, &looked) || looked.Kind != renewer.ProbeUnreachable {
		return verdict{}
	}
	address := c.Placement.Probe.Address
	host, port, _ := net.SplitHostPort(address)
	var dns *net.DNSError
	var plain tls.RecordHeaderError
	switch {
	case errors.Is(c.ProbeErr, syscall.ECONNREFUSED):
		if c.docker() && c.Err == nil {
			return verdict{} // connection-refused says so
		}
		return bad("check that the service is running, and that the address is correct", "%s refuses connections", address)
	case errors.As(c.ProbeErr, &dns):
		return bad("set address: of the host, or put the name into DNS", "the name %s cannot be resolved: %v", host, dns)
	case errors.As(c.ProbeErr, &plain):
		return bad("renewer host setup "+c.Placement.Host, "%s answers without TLS", address)
	}
	return bad(fmt.Sprintf("a firewall may block it; on the host: ufw allow from CLIENT to any port %[1]s proto tcp, or iptables -I INPUT -p tcp --dport %[1]s -s CLIENT -j ACCEPT; try nc -zv %[2]s %[1]s", port, host),
		"%v", c.ProbeErr)
}

func clientRefused(c Case) verdict {
	switch {
	case !c.Probed || !c.docker() || renewer.ProbeErrorKindOf(c.ProbeErr) == renewer.ProbeUnreachable:
		return verdict{}
	case renewer.ProbeErrorKindOf(c.ProbeErr) == renewer.ProbeLax:
		return bad("renewer host setup "+c.Placement.Host+" sets tlsverify", "%v", c.ProbeErr)
	case isAlert(c.ProbeErr):
		return bad("the ca file of the server needs the CA of the client's certificate, the client's certificate needs the usage clientAuth, and dockerd has to be restarted after a change: renewer verify shows the difference",
			"%v", c.ProbeErr)
	case c.ProbeErr == nil && c.Seen.Stranger:
		return unknown("fix the problem that prevents a certificate for the probe: renewer status", "not checked: %s", strings.Join(c.Seen.NotChecked, "; "))
	case c.ProbeErr == nil:
		return fine("clients with a certificate are accepted, clients without are refused")
	}
	return verdict{}
}

// isAlert reports whether the other side ended the handshake.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func servedRight(c Case) verdict {
	if !c.Probed {
		return verdict{}
	}
	switch kind := renewer.ProbeErrorKindOf(c.ProbeErr); {
	case c.ProbeErr == nil && c.Seen.Stranger:
		return fine("the expected certificate is served")
	case c.ProbeErr == nil:
		return fine("the service serves the expected certificate")
	case kind == renewer.ProbeUnreachable: // connection-refused and timeout say so
		return verdict{}
	case kind == renewer.ProbeMismatch:
		fix := renewer.Hint(c.ProbeErr)
		if c.docker() {
			fix = "dockerd reads its certificate only when it starts, not on SIGHUP: renewer renew " + c.Placement.Certificate
		}
		return bad(fix, "%v", c.ProbeErr)
	default:
		return bad(renewer.Hint(c.ProbeErr), "%v", c.ProbeErr)
	}
}
