package pki

import (
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// Preflight looks at a leaf as the placement's peers will, before anything is
// restarted: services start happily with what no peer accepts. hostNow is the
// host's own clock. An error is permanent for this generation.
func Preflight(p renewer.Placement, leaf *x509.Certificate, hostNow time.Time) error {
	refuse := func(hint, format string, a ...any) error {
		return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: fmt.Errorf("preflight: "+format, a...)}
	}
	switch {
	case !hostNow.Before(leaf.NotAfter):
		return refuse("compare the clocks", "it expired at %s, and the clock of %s is %s", date(leaf.NotAfter), p.Host, date(hostNow))
	case hostNow.Before(leaf.NotBefore):
		return refuse("compare the clocks", "it is valid from %s, but the clock of %s is %s", date(leaf.NotBefore), p.Host, date(hostNow))
	}
	if p.Probe.Kind != renewer.ProbeDocker && p.Probe.Kind != renewer.ProbeGRPCHealth {
		return nil // what a restart does to another service is not known
	}
	if !slices.Contains(renewer.UsagesOf(leaf), renewer.UsageServer) {
		return refuse("add server to usages", "it is for a server, but does not have the usage server")
	}
	name := p.Probe.ServerName
	if name == "" {
		host, _, err := net.SplitHostPort(p.Probe.Address)
		if err != nil {
			return refuse("write the probe's address as host:port", "address %q: %w", p.Probe.Address, err)
		}
		name = host
	}
	if err := leaf.VerifyHostname(name); err != nil {
		return refuse("add "+name+" to sans", "peers connect to %s, but it covers only %s", name, strings.Join(renewer.SANs(leaf), ", "))
	}
	return nil
}
