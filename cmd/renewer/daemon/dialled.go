package daemon

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"

	"renewer/renewer"
	"renewer/renewer/daguhost"
)

// dialled is a name by which a client reaches a Dagu coordinator, and where that was
// found.
type dialled struct{ name, by string }

// dropped says which names that clients dial a coordinator's certificate covers now and
// will not any more: they would refuse it. What is not covered today is no reason to wait.
func dropped(c renewer.Certificate, live *x509.Certificate, others []renewer.Certificate, dials []dialled) (out []renewer.Doubt) {
	if live == nil {
		return nil
	}
	will := func(c renewer.Certificate, name string) bool {
		return (&x509.Certificate{DNSNames: dnsOf(c.SANs), IPAddresses: ipsOf(c.SANs)}).VerifyHostname(name) == nil
	}
	for _, d := range dials {
		covered := will(c, d.name) || slices.ContainsFunc(others, func(o renewer.Certificate) bool { return will(o, d.name) })
		if !covered && live.VerifyHostname(d.name) == nil {
			out = append(out, renewer.Doubt{
				Sure: true, Peer: true, Unit: d.by, Text: fmt.Sprintf("it dials %s, which %s would not cover any more", d.name, c.Name),
				Fix: "add " + d.name + " to sans: of " + c.Entry + ", or have clients dial another name first (worker.coordinators, coordinator.advertise)",
			})
		}
	}
	return out
}

func dnsOf(sans []string) []string {
	dns, _ := renewer.SplitSANs(sans)
	return dns
}

func ipsOf(sans []string) []net.IP {
	_, ips := renewer.SplitSANs(sans)
	return ips
}

// dials reads what the Dagu clients of a fleet dial: from dials: of their entries, or
// from their settings on the hosts, and what coordinators advertise to clients that
// name no address. What cannot be looked at is left out.
func (p *parts) dials(ctx context.Context) (out []dialled) {
	add := func(addresses, by string) {
		for address := range strings.SplitSeq(addresses, ",") {
			if host, _, err := net.SplitHostPort(strings.TrimSpace(address)); err == nil {
				out = append(out, dialled{host, by})
			}
		}
	}
	for _, c := range p.fleet.Certificates {
		if !daguhost.Applies(c) {
			continue
		}
		if len(c.Dials) > 0 {
			add(strings.Join(c.Dials, ","), c.Name)
			continue
		}
		for _, pl := range c.Placements {
			m, ok := p.hosts[pl.Host].(daguhost.Machine)
			if !ok {
				continue
			}
			units, err := daguhost.InspectAll(ctx, m, pl)
			if err != nil {
				continue
			}
			for _, u := range units {
				if slices.Contains(c.Usages, renewer.UsageClient) {
					add(u.Settings.Coordinators.Value, u.Unit+" on "+pl.Host)
				}
				if slices.Contains(c.Usages, renewer.UsageServer) && u.Advertised() != "" {
					out = append(out, dialled{u.Advertised(), "a client that is sent there by " + u.Unit + " on " + pl.Host})
				}
			}
		}
	}
	return out
}
