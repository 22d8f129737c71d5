package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"renewer/renewer"
)

// Prober looks once and does not retry. It is safe for many goroutines.
type Prober struct {
	now   func() time.Time
	step  time.Duration // bound of each step on the network: dial, handshake, answer
	quiet time.Duration // how long a TLS 1.3 server may take to refuse a client
}

// New returns a prober. What a context allows beyond 5 s a step on the network
// is not used.
func New() *Prober {
	return &Prober{now: time.Now, step: 5 * time.Second, quiet: 2 * time.Second}
}

// Probe looks at the placement of r. Its error is a *renewer.ProbeError; the
// observation is filled as far as it got. Other files on disk than there
// should be are a mismatch, whatever is served.
func (p *Prober) Probe(ctx context.Context, r renewer.ProbeRequest) (renewer.Observation, error) {
	pl := r.Placement
	if pl.Probe.Kind == renewer.ProbeNone {
		return renewer.Observation{}, nil
	}
	disk, err := r.Host.Inspect(ctx, pl)
	if err != nil {
		return renewer.Observation{}, failed(r, renewer.ProbeUnreachable, err)
	}
	onDisk := compare(r, disk)
	var obs renewer.Observation
	var served error
	switch pl.Probe.Kind {
	case renewer.ProbeFile, "":
		obs = renewer.Observation{Served: disk.Leaf, NotAfter: disk.NotAfter}
	case renewer.ProbeTLS:
		obs, served = p.probe(ctx, r, silence)
	case renewer.ProbeDocker:
		obs, served = p.probe(ctx, r, p.docker)
	case renewer.ProbeGRPCHealth:
		obs, served = p.probe(ctx, r, p.grpcHealth, "h2")
	case renewer.ProbeCommand:
		served = command(ctx, r)
	default:
		return obs, failed(r, renewer.ProbeUnreachable, fmt.Errorf("probe by %s is not supported", pl.Probe.Kind))
	}
	switch {
	case onDisk != nil:
		return obs, failed(r, renewer.ProbeMismatch, errors.Join(onDisk, served))
	case served != nil:
		return obs, failed(r, renewer.ProbeErrorKindOf(served), served)
	}
	return obs, nil
}

func failed(r renewer.ProbeRequest, kind renewer.ProbeErrorKind, err error) error {
	return &renewer.ProbeError{Kind: kind, Err: fmt.Errorf("probe %s: %w", r.Placement.ID(), err)}
}

// compare tells what on disk is not as it should be.
func compare(r renewer.ProbeRequest, disk renewer.OnDisk) error {
	var errs []error
	for _, problem := range disk.Problems {
		errs = append(errs, fmt.Errorf("on disk in %s: %s", r.Placement.Dir, problem))
	}
	if r.Fingerprint != "" && disk.Leaf != r.Fingerprint {
		errs = append(errs, fmt.Errorf("on disk in %s: %s instead of %s", r.Placement.Dir, print(disk.Leaf), print(r.Fingerprint)))
	}
	if r.Trust != "" && disk.Trust != r.Trust && r.Placement.Files[renewer.FileCA] != "" {
		errs = append(errs, fmt.Errorf("on disk in %s: %s holds other roots than it should", r.Placement.Dir, r.Placement.Files[renewer.FileCA]))
	}
	return errors.Join(errs...)
}

// print shortens a fingerprint for people.
func print(fingerprint string) string {
	if fingerprint == "" {
		return "no certificate"
	}
	return "certificate " + fingerprint[:min(16, len(fingerprint))] + "…"
}

func command(ctx context.Context, r renewer.ProbeRequest) error {
	err := r.Host.Run(ctx, r.Placement.Probe.Command)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: err}
	default:
		return &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: err}
	}
}

// serverName is the name that the served leaf has to cover.
func serverName(p renewer.Probe) (string, error) {
	host, _, err := net.SplitHostPort(p.Address)
	if err != nil {
		return "", renewer.WithHint(fmt.Errorf("address %q: %w", p.Address, err), "write it as host:port")
	}
	if p.ServerName != "" {
		return p.ServerName, nil
	}
	return host, nil
}
