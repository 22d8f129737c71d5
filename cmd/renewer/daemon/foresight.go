package daemon

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"renewer/renewer"
	"renewer/renewer/daguhost"
	"renewer/renewer/dockerhost"
	"renewer/renewer/engine"
	"renewer/renewer/hosts"
	"renewer/renewer/pki"
	"renewer/renewer/unithost"

	"golang.org/x/sync/errgroup"
)

// machine is a host that says what a restart would meet: engine.Foresight.
type machine struct {
	*hosts.Host
	parts *parts
}

// Doubts looks at the units that a placement activates, as systemd has them, and at
// what dockerd would read.
func (m machine) Doubts(ctx context.Context, p renewer.Placement) (out []renewer.Doubt, err error) {
	if p.Activate.Kind != renewer.ActivateSystemd {
		return nil, nil
	}
	runs := map[string]bool{}
	for i, name := range p.Activate.Units {
		unit, err := unithost.Inspect(ctx, m, name)
		if err != nil {
			return out, err
		}
		if unit.Load == "loaded" && !unit.Runs() {
			continue
		}
		runs[name] = true
		doubts := unit.Doubts()
		for i, d := range doubts {
			if strings.HasPrefix(d.Text, "its program ") && strings.HasSuffix(d.Text, "/dockerd is not there") {
				doubts[i].Fix = cmp.Or(dockerhost.RightProgram(ctx, m, name), d.Fix)
			}
		}
		out = append(out, doubts...)
		key, err := m.keyDoubts(ctx, unit, p)
		if err != nil {
			return out, err
		}
		for _, d := range key {
			d.Sure = i == 0 // the files may be for one of them alone
			out = append(out, d)
		}
		if len(unit.Argv) > 0 && path.Base(unit.Argv[0]) == "dockerd" && !unit.Elsewhere {
			var files []string
			for _, f := range unit.EnvFiles {
				if path.IsAbs(f.Path) && path.Clean(f.Path) == f.Path && !f.Missing {
					files = append(files, f.Path)
				}
			}
			start, err := dockerhost.InspectStart(ctx, m, name, unit.Argv, files)
			if err != nil {
				return out, err
			}
			out = append(out, start.Doubts(p)...)
		}
	}
	if c, ok := m.parts.fleet.Certificate(p.Certificate); ok && daguhost.Applies(c) {
		units, err := daguhost.InspectAll(ctx, m, p)
		if err != nil {
			return out, err
		}
		for _, unit := range units {
			if runs[unit.Unit] {
				out = append(out, unit.Doubts()...)
			}
		}
	}
	return append(out, m.refusedByName(ctx, p)...), nil
}

// keyDoubts says whether the unit's user could read its key. Where the host has a root
// of its own, systemd's paths are others.
func (m machine) keyDoubts(ctx context.Context, unit unithost.Facts, p renewer.Placement) ([]renewer.Doubt, error) {
	if h, ok := m.parts.fleet.Host(p.Host); !ok || h.Root != "" && h.Root != "/" {
		return nil, nil
	}
	uid, gid, err := m.Owner(ctx, p)
	if err != nil {
		return nil, nil //nolint:nilerr // placing them says so
	}
	return unit.KeyDoubts(ctx, m, p, uid, gid)
}

// refusedByName looks whether clients of a coordinator would refuse its next certificate.
func (m machine) refusedByName(ctx context.Context, p renewer.Placement) []renewer.Doubt {
	serves := func(c renewer.Certificate) bool {
		return daguhost.Applies(c) && slices.Contains(c.Usages, renewer.UsageServer)
	}
	c, ok := m.parts.fleet.Certificate(p.Certificate)
	if !ok || !serves(c) {
		return nil
	}
	disk, err := m.Inspect(ctx, p)
	if err != nil || disk.Chain.Leaf == nil || pki.NoneDropped(disk.Chain.Leaf, c.SANs) { // mostly the names stay
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(m.parts.fleet.Certificates), func(o renewer.Certificate) bool { return o.Name == c.Name || !serves(o) })
	return dropped(c, disk.Chain.Leaf, others, m.parts.dials(ctx))
}

// WorkerNames are the names of the Dagu workers that a placement's units run.
func (m machine) WorkerNames(ctx context.Context, p renewer.Placement) ([]string, error) {
	return daguhost.WorkerNames(ctx, m, p)
}

// Listens reports whether anything listens on the port of an address.
func (m machine) Listens(ctx context.Context, address string) (bool, error) {
	return unithost.Listens(ctx, m, address)
}

// Limits of the look that `plan` and `check --online` take.
const (
	looksAtOnce  = 8
	plannedLooks = 15 * time.Second
)

// doubted asks the hosts about placements, several at once, and returns what they
// doubt, by placement ID. A host that does not answer in time has no doubts.
func (p *parts) doubted(ctx context.Context, placements []renewer.Placement) map[string][]renewer.Doubt {
	ctx, cancel := context.WithTimeout(ctx, plannedLooks)
	defer cancel()
	var mu sync.Mutex
	out := map[string][]renewer.Doubt{}
	var all errgroup.Group
	all.SetLimit(looksAtOnce)
	for _, pl := range placements {
		host, ok := p.hosts[pl.Host].(engine.Foresight)
		if !ok {
			continue
		}
		all.Go(func() error {
			doubts, err := host.Doubts(ctx, pl)
			if err != nil || len(doubts) == 0 {
				return nil // it is asked again before it is touched
			}
			mu.Lock()
			defer mu.Unlock()
			out[pl.ID()] = doubts
			return nil
		})
	}
	_ = all.Wait()
	return out
}

// foretell adds to the steps of a plan what would keep them from being done.
func (a *App) foretell(ctx context.Context, p *parts, steps []renewer.PlanStep) []renewer.PlanStep {
	if steps == nil {
		return []renewer.PlanStep{}
	}
	judge, without := judges(p.fleet), missing(p.fleet)
	var restarted []renewer.Placement
	for i, s := range steps {
		c, ok := p.fleet.Certificate(s.Certificate)
		if !ok {
			continue
		}
		switch pl, there := c.Placement(s.Host); {
		case s.Action == "issue" && without[c.Issuer] != nil:
			steps[i].Reason += "; it will fail: " + without[c.Issuer].Error()
		case s.Action == "issue" && judge[c.Issuer] != nil:
			if refused := judge[c.Issuer](c.Request()); refused != nil {
				steps[i].Reason += "; it will fail: " + refused.Error()
			}
		case s.Action == "restart" && there:
			restarted = append(restarted, pl)
		}
	}
	doubts := p.doubted(ctx, restarted)
	for i, s := range steps {
		c, _ := p.fleet.Certificate(s.Certificate)
		pl, ok := c.Placement(s.Host)
		if !ok || s.Action != "restart" {
			continue
		}
		for _, d := range doubts[pl.ID()] {
			if d.Sure {
				steps[i].Reason += "; it will wait: " + d.String() + " (" + d.Fix + ")"
			} else {
				steps[i].Reason += "; warning: " + d.String()
			}
		}
	}
	return steps
}

// findings are doubts as the doctor says them.
func findings(p renewer.Placement, doubts []renewer.Doubt) (out []renewer.Finding) {
	for _, d := range doubts {
		f := renewer.Finding{Check: "would-start", Host: p.Host, Certificate: p.Certificate, Level: renewer.FindingWarn, Text: d.String(), Fix: d.Fix}
		if d.Sure {
			f.Level = renewer.FindingFail
		}
		out = append(out, f)
	}
	return out
}

// StopTime is the longest TimeoutStopSec= of the units; 0 where systemd is not asked
// or does not bound it.
func (m machine) StopTime(ctx context.Context, a renewer.Activation) (longest time.Duration) {
	for _, f := range m.units(ctx, a) {
		longest = max(longest, f.StopTimeout)
	}
	return min(longest, mostStop)
}

// mostStop bounds what a unit can ask for.
const mostStop = 15 * time.Minute

// GaveUp reports whether systemd says that a unit has failed: it does not start it
// again by itself.
func (m machine) GaveUp(ctx context.Context, a renewer.Activation) bool {
	return slices.ContainsFunc(m.units(ctx, a), func(f unithost.Facts) bool { return f.Active == "failed" })
}

// Words are the last lines of the journal of the units.
func (m machine) Words(ctx context.Context, a renewer.Activation) string {
	if a.Kind != renewer.ActivateSystemd {
		return ""
	}
	var said []string
	for _, unit := range a.Units {
		if words := unithost.Words(ctx, m, unit); words != "" {
			said = append(said, words)
		}
	}
	return strings.Join(said, "; ")
}

// units are as systemd has them; those that it does not tell of are left out.
func (m machine) units(ctx context.Context, a renewer.Activation) (out []unithost.Facts) {
	if a.Kind != renewer.ActivateSystemd {
		return nil
	}
	for _, unit := range a.Units {
		if f, err := unithost.Ask(ctx, m, unit); err == nil {
			out = append(out, f)
		}
	}
	return out
}
