package probes

import (
	"context"
	"fmt"
	"net"
	"strings"
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

// Probe looks at the placement of r. Its error is a *renewer.ProbeError, or
// another one where the files could not be looked at; the observation is
// filled as far as it got. Other files on disk than there should be are a
// mismatch, whatever is served.
func (p *Prober) Probe(ctx context.Context, r renewer.ProbeRequest) (renewer.Observation, error) {
	pl := r.Placement
	if pl.Probe.Kind == renewer.ProbeNone {
		return renewer.Observation{}, nil
	}
	disk, err := r.Host.Inspect(ctx, pl)
	if err != nil {
		return renewer.Observation{}, fmt.Errorf("probe: %w", err)
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
	obs.Disk = disk
	switch {
	case onDisk != nil:
		if served != nil {
			onDisk = fmt.Errorf("%w; %w", onDisk, served)
		}
		return obs, failed(r, renewer.ProbeMismatch, onDisk)
	case served != nil:
		return obs, failed(r, renewer.ProbeErrorKindOf(served), served)
	}
	return obs, nil
}

func failed(r renewer.ProbeRequest, kind renewer.ProbeErrorKind, err error) error {
	return &renewer.ProbeError{Kind: kind, Err: fmt.Errorf("probe: %w", err)}
}

// compare tells what on disk is not as it should be.
func compare(r renewer.ProbeRequest, disk renewer.OnDisk) error {
	wrong := r.Expect.Differs(r.Placement, disk)
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("on disk in %s: %s", r.Placement.Dir, strings.Join(wrong, "; "))
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
