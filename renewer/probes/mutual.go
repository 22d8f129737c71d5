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
	switch {
	case mutual && r.Client == nil && r.NoClient != "":
		return p.asStranger(ctx, r, alpn...)
	case mutual && r.Client == nil:
		return obs, &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: errors.New("no client certificate to present")}
	}
	var client *tls.Certificate
	if mutual {
		client = r.Client
	}
	v, err := p.connect(ctx, r, client, nil, alpn...)
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
		return obs, lax(r, "a client without a certificate", "it does not request a client certificate")
	}
	if _, err := p.refuses(ctx, r, v, nil, "a client without a certificate", alpn...); err != nil {
		return obs, err
	}
	if r.Placement.Probe.Kind == renewer.ProbeTLS { // not every TLS service looks at usages
		return obs, nil
	}
	const wrong = "a client whose certificate does not have the usage clientAuth"
	if r.Wrong == nil {
		obs.NotChecked = append(obs.NotChecked, wrong+" is refused: "+r.NoWrong)
		return obs, nil
	}
	_, err = p.refuses(ctx, r, v, r.Wrong, wrong, alpn...)
	return obs, err
}

// asStranger is probe without a client certificate to present.
func (p *Prober) asStranger(ctx context.Context, r renewer.ProbeRequest, alpn ...string) (obs renewer.Observation, err error) {
	seen, err := p.refuses(ctx, r, nil, nil, "a client without a certificate", alpn...)
	if leaf := seen.leaf; leaf != nil {
		obs.Served, obs.NotAfter = renewer.Fingerprint(leaf.Raw), leaf.NotAfter.UTC()
	}
	if err == nil && seen.leaf == nil {
		err = &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: fmt.Errorf("%s presented no certificate", r.Placement.Probe.Address)}
	}
	obs.Stranger, obs.NotChecked = true, []string{"a client with a certificate is accepted: " + r.NoClient}
	return obs, err
}

// silence is the exchange of the kind tls, whose protocol is not known.
func silence(context.Context, *visit, renewer.ProbeRequest) error { return nil }

// refuses sees a client refused, and returns what was served. An alert says so.
// So does a connection that ends abruptly: the same server has just gone on with
// a client that it likes, in the visit before. What ends before the server asked
// for a certificate is no refusal.
func (p *Prober) refuses(ctx context.Context, r renewer.ProbeRequest, before *visit, client *tls.Certificate, who string, alpn ...string) (*peer, error) {
	v, err := p.connect(ctx, r, client, before, alpn...)
	if err == nil {
		var quiet bool
		quiet, err = p.accepted(ctx, v, r.Placement.Probe.Address)
		_ = v.conn.Close()
		switch {
		case quiet:
			return v.peer, lax(r, who, fmt.Sprintf("it kept the connection for %s", p.quiet))
		case err == nil:
			return v.peer, lax(r, who, "it finished the handshake")
		}
	}
	if v.asked && v.peer.err == nil && renewer.ProbeErrorKindOf(err) == renewer.ProbeRejected {
		return v.peer, nil
	}
	return v.peer, fmt.Errorf("as %s: %w", who, err)
}

func lax(r renewer.ProbeRequest, who, why string) error {
	return &renewer.ProbeError{Kind: renewer.ProbeLax, Err: renewer.WithHint(
		fmt.Errorf("%s does not refuse %s: %s", r.Placement.Probe.Address, who, why),
		"make the service verify clients (dockerd: tlsverify), or set mutual: false if this is intended")}
}
