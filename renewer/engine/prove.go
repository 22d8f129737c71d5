package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// Between two looks at a service that has just been activated.
const (
	probeFirst = 100 * time.Millisecond
	probeMost  = time.Second
)

// lastLook is the time for one look where the restart budget leaves none.
const lastLook = 500 * time.Millisecond

// defaultProbeTimeout is for placements that name none.
const defaultProbeTimeout = 30 * time.Second

// sight is one placement to look at, with all that it takes to look as a peer
// would.
type sight struct {
	cert      renewer.Certificate
	placement renewer.Placement
	gen       *renewer.Generation // that should be there; nil if no one knows which
	expect    renewer.Expected
	accepts   renewer.RootSet // what the service is taken to have loaded: it takes no client under another root
	fleet     *Fleet
	roots     *rootCache
	creds     *credentials
}

// proof is the sight of what the step brings.
func (j job) proof() sight {
	gen := j.gen
	if seen := j.state.Seen; j.step.Pass == renewer.PassRoots && j.state.Origin == renewer.OriginForeign && seen != nil {
		gen = &renewer.Generation{Certificate: j.Certificate, Fingerprint: seen.Leaf, Under: seen.Under}
	}
	v := j.sight(gen)
	v.expect.Roots, v.expect.Origin, v.accepts = j.step.Roots, renewer.OriginIssued, j.step.Roots
	return v
}

// wayBack is the sight of what was in place before, or is again.
func (j job) wayBack(g *renewer.Generation) sight {
	v := j.sight(g)
	v.expect.Roots, v.expect.Digest, v.expect.Origin, v.accepts = j.state.Roots, j.state.Digest, j.state.Origin, j.state.Roots
	if !v.expect.Roots.Known() && v.expect.Digest == "" {
		v.expect.AtLeast = renewer.NewRootSet() // of it no more is known
	}
	return v
}

func (j job) sight(g *renewer.Generation) sight {
	v := sight{cert: j.cert, placement: j.placement, gen: g, fleet: j.fleet, roots: j.roots, creds: j.creds}
	if g != nil {
		v.expect.Leaf = g.Fingerprint
	}
	return v
}

// prove looks until the placement is right or its time is up.
func (e *Engine) prove(ctx context.Context, j job) renewer.Outcome {
	out := renewer.Outcome{Action: j.Action}
	prepare, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	req, err := e.probeRequest(prepare, j.proof())
	if err != nil {
		out.Err, out.End = fmt.Errorf("prepare the probe: %w", err), renewer.EndLost
		return out
	}
	e.lookOrAsk(ctx, j, req, &out, j.step.Half())
	e.awaitWorkers(ctx, j, req, &out)
	if e.hidden(ctx, j, &out); out.Err == nil {
		e.prune(ctx, j, req.Host.(Host))
	}
	return out
}

// provePrevious looks at what was restored: exactly what was there a moment ago,
// which is judged by itself. Of what renewer did not write only the leaf counts.
func (e *Engine) provePrevious(ctx context.Context, j job) renewer.Outcome {
	out := renewer.Outcome{Action: j.Action}
	prepare, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	fail := func(err error) renewer.Outcome {
		out.Err, out.End = err, renewer.EndLost
		return out
	}
	gen := j.gen
	if j.state.Origin == renewer.OriginForeign {
		host, err := j.host()
		if err != nil {
			return fail(err)
		}
		disk, err := host.Inspect(prepare, j.placement)
		if err != nil {
			return fail(err)
		}
		gen = &renewer.Generation{Certificate: j.Certificate, Fingerprint: disk.Leaf, Under: pki.Under(disk.Chain, j.roots.all())}
	}
	req, err := e.probeRequest(prepare, j.wayBack(gen))
	if err = withoutClient(&req, err); err != nil {
		return fail(err)
	}
	e.lookOrAsk(ctx, j, req, &out, time.Time{})
	return out
}

// lookOrAsk looks at what was made live. A service that had to load it ran,
// and has to serve it; of any other the host is asked whether it runs: one that
// does not is left alone, and only its files are looked at.
func (e *Engine) lookOrAsk(ctx context.Context, j job, req ProbeRequest, out *renewer.Outcome, before time.Time) {
	stopped := ""
	if out.Idle = !req.Placement.Probe.Kind.Served(); j.step.Down.IsZero() {
		ask, cancel := context.WithTimeout(ctx, stageTimeout)
		defer cancel()
		if stopped, out.Err = req.Host.(Host).Running(ask, j.placement.Activate); out.Err != nil {
			out.Err, out.End = fmt.Errorf("ask whether the service runs: %w", out.Err), renewer.EndLost
			return
		}
		if stopped != "" && req.Placement.Probe.Kind != renewer.ProbeNone {
			req.Placement.Probe = renewer.Probe{Kind: renewer.ProbeFile}
		}
	}
	if e.look(ctx, req, out, before); out.Err == nil && stopped != "" {
		out.Err, out.End = renewer.Stopped(j.Certificate, stopped, nil), renewer.EndFailed
	}
	out.At = e.Now()
}

// look probes until it passes or the placement's time is up; before (if it is
// not zero) ends it earlier. What can only be as it is, such as a file, is
// looked at once.
func (e *Engine) look(ctx context.Context, req ProbeRequest, out *renewer.Outcome, before time.Time) {
	timeout := req.Placement.Probe.Timeout
	if timeout <= 0 {
		timeout = defaultProbeTimeout
	}
	if !before.IsZero() {
		timeout = min(timeout, max(before.Sub(e.Now()), lastLook))
	}
	deadline := e.Now().Add(timeout)
	pause := probeFirst
	for {
		probe, cancel := context.WithTimeout(ctx, timeout)
		seen, err := e.Prober.Probe(probe, req)
		cancel()
		out.Served, out.ServedEnd, out.Warnings, out.Err = seen.Served, seen.NotAfter, seen.NotChecked, err
		kind := req.Placement.Probe.Kind
		seenAsIs := (kind == renewer.ProbeFile || kind == renewer.ProbeNone) && !errors.Is(err, renewer.ErrUnreachable)
		if err == nil || seenAsIs || !e.Now().Add(pause).Before(deadline) || ctx.Err() != nil {
			break
		}
		if sees, ok := req.Host.(Foresight); ok && pause >= probeMost && renewer.ProbeErrorKindOf(err) == renewer.ProbeUnreachable && sees.GaveUp(ctx, req.Placement.Activate) {
			break // waiting for it would use up the time of the way back
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, probeMost)
	}
	if out.Err != nil {
		var looked *renewer.ProbeError
		if out.End = renewer.EndLost; errors.As(out.Err, &looked) {
			out.End = renewer.EndFailed
		}
	}
}

func (e *Engine) prune(ctx context.Context, j job, host Host) {
	keep := []string{j.step.Revision}
	for _, r := range j.state.Revisions {
		keep = append(keep, r.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	if err := host.Prune(ctx, j.placement, keep); err != nil {
		e.Log.Warn("could not remove old revisions", "certificate", j.Certificate, "host", j.Host, "error", err, "hint", renewer.Hint(err))
	}
}

// probeRequest gathers what a probe needs to look as a peer would: the roots that
// the leaf leads to, whatever its issuer has now, and a client certificate that
// the service takes.
func (e *Engine) probeRequest(ctx context.Context, v sight) (ProbeRequest, error) {
	p := v.placement
	host, ok := v.fleet.Hosts[p.Host]
	if !ok {
		return ProbeRequest{}, fmt.Errorf("host %s is not in the fleet file", p.Host)
	}
	req := ProbeRequest{Placement: p, Expect: v.expect, Host: host}
	if !p.Probe.Kind.Served() {
		return req, nil
	}
	var err error
	if req.Roots, err = v.signers(ctx); err != nil || !p.Probe.Mutual {
		return req, err
	}
	issuer := v.minter()
	switch {
	case p.Probe.Client != "":
		req.Client, err = e.placedClient(ctx, p.Probe.Client, v.fleet)
	case issuer == "":
		return req, &mintError{errors.New("no issuer in the fleet file has a root that the service accepts")}
	default:
		req.Client, err = v.creds.mint(ctx, issuer, renewer.UsageClient, v)
		if errors.Is(err, renewer.ErrLater) || errors.Is(err, renewer.ErrNoNames) { // too late for a look: what is served can be seen all the same
			req.NoClient, err = err.Error(), nil
		}
	}
	if err == nil && issuer != "" && p.Probe.Kind != renewer.ProbeTLS {
		req.Wrong, req.NoWrong = v.creds.wrong(ctx, issuer, v)
	}
	return req, err
}

// minter returns the issuer of the certificate that a probe presents: one with a
// root that the service accepts or, where that is not known, is to accept.
func (v sight) minter() string {
	accepts := v.accepts
	if !accepts.Known() {
		accepts = v.roots.base(v.cert.Trust...)
	}
	if accepts.Known() {
		return v.roots.issuerUnder(accepts, v.cert.Trust)
	}
	return v.cert.Trust[0]
}

// takes reports whether the service accepts a chain, as far as that is known.
func (v sight) takes(chain renewer.Chain) bool {
	if !v.accepts.Known() {
		return true
	}
	roots, err := v.roots.certs(v.accepts)
	return err != nil || len(pki.Under(chain, roots)) > 0
}

// signers returns the roots that a peer would verify the leaf with.
func (v sight) signers(ctx context.Context) ([]*x509.Certificate, error) {
	issuer := v.cert.Issuer
	if v.gen != nil {
		if under := v.roots.under(v.gen); len(under) > 0 {
			return v.roots.certs(under)
		}
		if _, known := v.fleet.Issuers[v.gen.Request.Issuer]; known {
			issuer = v.gen.Request.Issuer
		}
	}
	return v.roots.need(ctx, v.fleet.Issuers, issuer)
}

// placedClient reads the certificate that a probe has to present from the
// host that has it.
func (e *Engine) placedClient(ctx context.Context, name string, fleet *Fleet) (*tls.Certificate, error) {
	c, ok := fleet.Certificate(name)
	if !ok {
		return nil, fmt.Errorf("the probe's client certificate %s is not in the fleet file", name)
	}
	rec, _, err := e.Store.Record(name)
	if err != nil {
		return nil, err
	}
	g, ok, err := e.Store.Generation(name, rec.Current)
	if err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("the probe's client certificate %s is not in place yet", name), err)
	}
	text, err := e.readBack(ctx, job{cert: c, fleet: fleet, placements: rec.Placements}, &g)
	if err != nil {
		return nil, fmt.Errorf("the probe's client certificate %s: %w", name, err)
	}
	key, err := pki.DecodeKey(text)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: g.Chain, PrivateKey: key}, nil
}

// Lifetime of a minted client certificate, and how much of it is used.
const (
	credentialLifetime = 10 * time.Minute
	credentialUse      = 5 * time.Minute
)

// credentials mints client certificates for probes, one an issuer, kept in
// memory for minutes.
type credentials struct {
	now  func() time.Time
	turn chan struct{}         // holds one while somebody asks an issuer
	held map[string]credential // by issuer and usage
}

type credential struct {
	cert  *tls.Certificate
	chain renewer.Chain
	until time.Time
}

func newCredentials(now func() time.Time) *credentials {
	return &credentials{now: now, turn: make(chan struct{}, 1), held: map[string]credential{}}
}

// CredentialRequest is what an issuer is asked for so that a probe can present it.
func CredentialRequest(issuer string, usage renewer.Usage) renewer.Request {
	var sans []string
	if usage == renewer.UsageServer {
		sans = []string{"renewer.invalid"} // a name that no one has (RFC 2606)
	}
	return renewer.Request{
		Issuer: issuer, CommonName: "renewer probe", SANs: sans, Usages: []renewer.Usage{usage}, Key: renewer.ECDSAP256, Lifetime: credentialLifetime,
	}
}

// wrong mints a certificate that no server may take for a client's; why not,
// where the issuer always adds the usage clientAuth.
func (cr *credentials) wrong(ctx context.Context, issuer string, v sight) (*tls.Certificate, string) {
	cert, err := cr.mint(ctx, issuer, renewer.UsageServer, v)
	switch {
	case err != nil:
		return nil, err.Error()
	case slices.Contains(renewer.UsagesOf(cert.Leaf), renewer.UsageClient):
		return nil, "issuer " + issuer + " adds clientAuth to every certificate"
	}
	return cert, ""
}

// mintError is the error for an issuer that signs no certificate for a probe.
type mintError struct{ error }

func (e *mintError) Unwrap() error { return e.error }

// withoutClient lets a look go on that has no certificate to present, because
// its issuer is away: what is served can be seen all the same.
func withoutClient(req *renewer.ProbeRequest, err error) error {
	var mint *mintError
	if !errors.As(err, &mint) || renewer.ClassOf(err) == renewer.ClassRefused {
		return err
	}
	req.NoClient = err.Error()
	return nil
}

// mint returns a certificate of an issuer that the service of v takes: the issuer
// may have another CA than it had a moment ago.
func (cr *credentials) mint(ctx context.Context, issuer string, usage renewer.Usage, v sight) (*tls.Certificate, error) {
	select {
	case cr.turn <- struct{}{}:
		defer func() { <-cr.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	held := issuer + " " + string(usage)
	if c, ok := cr.held[held]; ok && cr.now().Before(c.until) && v.takes(c.chain) {
		return c.cert, nil
	}
	is, ok := v.fleet.Issuers[issuer]
	if !ok {
		return nil, fmt.Errorf("issuer %s is not in the fleet file", issuer)
	}
	key, err := pki.NewKey(renewer.ECDSAP256)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	chain, err := sign(ctx, is, renewer.Order{Certificate: "probe", Key: key, Request: CredentialRequest(issuer, usage)})
	if err != nil {
		return nil, &mintError{fmt.Errorf("mint a client certificate for the probe from %s: %w", issuer, err)}
	}
	if !v.takes(chain) {
		return nil, &mintError{fmt.Errorf("the service has not loaded the root of issuer %s", issuer)}
	}
	cert := &tls.Certificate{Certificate: [][]byte{chain.Leaf.Raw}, PrivateKey: key, Leaf: chain.Leaf}
	for _, c := range chain.Intermediates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	cr.held[held] = credential{cert, chain, cr.now().Add(credentialUse)}
	return cert, nil
}
