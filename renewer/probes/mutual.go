package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"renewer/renewer"
)

// exchange speaks over a connection that the server has accepted.
type exchange func(ctx context.Context, v *visit, r renewer.ProbeRequest) error

// probe is the common part of the kinds that connect: the handshake, the
// exchange and, with mutual, the refusal of a client without a certificate.
func (p *Prober) probe(ctx context.Context, r renewer.ProbeRequest, talk exchange, alpn ...string) (renewer.Observation, error) {
	var obs renewer.Observation
	mutual := r.Placement.Probe.Mutual
	if mutual && r.Client == nil {
		return obs, &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: errors.New("there is no client certificate to present")}
	}
	var client *tls.Certificate
	if mutual {
		client = r.Client
	}
	v, err := p.connect(ctx, r, client, alpn...)
	if leaf := v.peer.leaf; leaf != nil {
		obs.Served, obs.NotAfter = renewer.Fingerprint(leaf.Raw), leaf.NotAfter.UTC()
	}
	if err != nil {
		return obs, err
	}
	if v.asked {
		_, err = p.accepted(ctx, v, r.Placement.Probe.Address)
	}
	if err == nil {
		err = talk(ctx, v, r)
	}
	_ = v.conn.Close()
	switch {
	case err != nil || !mutual:
		return obs, err
	case !v.asked:
		return obs, lax(r, "it does not ask for a client certificate")
	}
	obs.NotChecked = append(obs.NotChecked, "a client certificate without the usage clientAuth is refused: no issuer to make one was given")
	return obs, p.refusesStrangers(ctx, r, alpn...)
}

// silence is the exchange of the kind tls, whose protocol is not known.
func silence(context.Context, *visit, renewer.ProbeRequest) error { return nil }

// refusesStrangers sees a client without a certificate refused. An alert says
// so. So does a connection that ends abruptly: the same server has just gone
// on with a client that had one.
func (p *Prober) refusesStrangers(ctx context.Context, r renewer.ProbeRequest, alpn ...string) error {
	v, err := p.connect(ctx, r, nil, alpn...)
	if err == nil {
		var quiet bool
		quiet, err = p.accepted(ctx, v, r.Placement.Probe.Address)
		_ = v.conn.Close()
		switch {
		case quiet:
			return lax(r, fmt.Sprintf("it kept the connection for %s", p.quiet))
		case err == nil:
			return lax(r, "it finished the handshake")
		}
	}
	if v.peer.err == nil && renewer.ProbeErrorKindOf(err) == renewer.ProbeRejected {
		return nil
	}
	return fmt.Errorf("without a client certificate: %w", err)
}

func lax(r renewer.ProbeRequest, why string) error {
	return &renewer.ProbeError{Kind: renewer.ProbeLax, Err: renewer.WithHint(
		fmt.Errorf("%s does not refuse a client without a certificate: %s", r.Placement.Probe.Address, why),
		"make the service verify clients (dockerd: tlsverify), or set mutual: false if that is meant")}
}
