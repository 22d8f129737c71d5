package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"renewer/inventory"
	"renewer/renewer"
	"renewer/renewer/daguhost"
	"renewer/renewer/dockerhost"
	"renewer/renewer/engine"
	"renewer/renewer/hosts"
	"renewer/renewer/hosts/remote"
	"renewer/renewer/probes"
	"renewer/renewer/unithost"
)

// dockerPlacement returns the certificate that the Docker daemon of a host
// serves, with its placement there.
func (a *App) dockerPlacement(host string) (renewer.Certificate, renewer.Placement, error) {
	fleet := a.parts.Load().fleet
	if _, ok := fleet.Host(host); !ok {
		return renewer.Certificate{}, renewer.Placement{}, noHost(fleet, host)
	}
	for _, c := range fleet.Certificates {
		if p, ok := c.Placement(host); ok && p.Probe.Kind == renewer.ProbeDocker {
			return c, p, nil
		}
	}
	return renewer.Certificate{}, renewer.Placement{}, renewer.WithHint(fmt.Errorf("no certificate for the Docker daemon of %s is in %s", host, fleet.Path),
		"add one: {name: docker, issuer: ISSUER, profile: docker-server, hosts: ["+host+"], per_host: true}")
}

func (a *App) machine(host string) (dockerhost.Machine, error) {
	m, ok := a.parts.Load().hosts[host].(dockerhost.Machine)
	if !ok {
		return nil, fmt.Errorf("host %s cannot be set up", host)
	}
	return m, nil
}

// HostPlan implements server.Service.
func (a *App) HostPlan(ctx context.Context, r renewer.SetupRequest) (renewer.HostPlan, error) {
	plan, _, err := a.hostPlan(ctx, r)
	return plan, err
}

// hostPlan also reports whether the service would not start with the files
// that are there.
func (a *App) hostPlan(ctx context.Context, r renewer.SetupRequest) (plan renewer.HostPlan, unusable bool, err error) {
	host := r.Host
	c, p, err := a.dockerPlacement(host)
	if err != nil {
		return plan, false, err
	}
	rec, _, err := a.store.Record(c.Name)
	if err != nil {
		return plan, false, err
	}
	m, err := a.machine(host)
	if err != nil {
		return plan, false, err
	}
	facts, err := dockerhost.Inspect(ctx, m, p)
	if err != nil {
		return plan, false, err
	}
	plan, err = dockerhost.Plan(facts, p)
	if err == nil && plan.Restart {
		err = startsAgain(ctx, m, p)
	}
	if err == nil && r.Firewall {
		wall, failed := dockerhost.InspectWall(ctx, m)
		if failed != nil {
			return plan, false, failed
		}
		plan, err = dockerhost.WithWall(plan, wall, p, a.clientsOf(ctx, c, host))
	}
	if err == nil && rec.Placements[host].Revision == "" && facts.Disk.Leaf != "" {
		plan.Notes = append(plan.Notes, "the certificate in "+p.Dir+" was not placed by this renewer and is not in its inventory: "+dockerhost.Foreign(p))
	}
	return plan.Sealed(), dockerhost.Unusable(p, facts.Disk) != "", err
}

// startsAgain refuses a setup whose restart systemd would certainly not let succeed,
// whatever dockerd is given. What cannot be looked at refuses nothing.
func startsAgain(ctx context.Context, m dockerhost.Machine, p renewer.Placement) error {
	host, ok := m.(unithost.Machine)
	for _, name := range p.Activate.Units {
		if !ok {
			return nil
		}
		unit, err := unithost.Inspect(ctx, host, name)
		if err != nil {
			continue
		}
		if held := renewer.Doubted(unit.Doubts()); held.Why != "" {
			return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: held.Hint, Err: fmt.Errorf("host %s: %s", p.Host, held.Why)}
		}
	}
	return nil
}

// HostSetup implements server.Service: the certificate first, because dockerd
// exits when the files that daemon.json names are missing.
func (a *App) HostSetup(ctx context.Context, r renewer.SetupRequest, progress func(renewer.Event)) (renewer.HostPlan, error) {
	host := r.Host
	plan, unusable, err := a.hostPlan(ctx, r)
	if err != nil {
		return plan, err
	}
	if plan.Digest != r.Digest {
		return plan, renewer.WithHint(fmt.Errorf("host %s has changed since the plan was made", host), "check it again: renewer host check "+host)
	}
	c, p, err := a.dockerPlacement(host)
	if err != nil {
		return plan, err
	}
	if err := a.requested(ctx, renewer.Event{Host: host, Message: said("host setup", "firewall", r.Firewall)}, c.Name); err != nil {
		return plan, err
	}
	prove := func(ctx context.Context) error { return a.prove(ctx, c.Name, p) }
	stuck, err := a.eng.Restoring(ctx, c.Name, host)
	if err != nil {
		return plan, err
	}
	lost := unusable && !plan.Empty() // what is placed without a restart to come would not be served
	if stuck && !unusable {
		// What was there before is there, and dockerd does not start with it: setting the
		// host up is what ends that, and the end is the proof.
		prove = func(ctx context.Context) error { return a.eng.Resume(ctx, c.Name, host, progress) }
	} else if err := a.eng.Place(ctx, c.Name, host, lost, progress); err != nil {
		return plan, err
	}
	m, err := a.machine(host)
	if err != nil {
		return plan, err
	}
	say := func(text string, failed error) {
		ev := renewer.Event{Time: time.Now(), Type: renewer.EventHostSetup, Certificate: c.Name, Host: host, Message: text}
		if failed != nil {
			ev.Error, ev.Hint = failed.Error(), renewer.Hint(failed)
		}
		if events, err := a.store.Commit(context.WithoutCancel(ctx), engine.Change{Events: []renewer.Event{ev}}); err == nil && progress != nil {
			progress(events[0])
		}
	}
	err = dockerhost.Setup{
		Machine: m, Placement: p, Progress: func(text string) { say(text, nil) },
		Prove: prove,
		Force: p.Guard != nil && p.Guard.Docker != nil && p.Guard.Docker.WithoutLiveRestore == renewer.GuardForce,
	}.Apply(ctx, plan)
	if err != nil {
		say("setup failed", err)
		return plan, err
	}
	say("the Docker daemon serves its certificate", nil)
	return plan, nil
}

// prove looks at one placement until it is right or its probe's time is up.
func (a *App) prove(ctx context.Context, name string, p renewer.Placement) error {
	ctx, cancel := context.WithTimeout(ctx, max(p.Probe.Timeout, time.Second))
	defer cancel()
	for {
		seen, err := a.eng.Looks(ctx, []string{name})
		last := errors.Join(err)
		for _, s := range seen {
			if s.Placement().Host == p.Host {
				last = s.Err
			}
		}
		if last == nil {
			return nil
		}
		if plain := (tls.RecordHeaderError{}); errors.As(last, &plain) {
			return last // it is open to everybody: no second longer than needed
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return last
		}
	}
}

// Doctor implements server.Service.
func (a *App) Doctor(ctx context.Context, host string) ([]renewer.Finding, error) {
	found, err := a.examine(ctx, host)
	return renewer.Cataloged(found), err
}

// examine makes the checks of Doctor.
func (a *App) examine(ctx context.Context, host string) ([]renewer.Finding, error) {
	parts := a.parts.Load()
	if _, ok := parts.fleet.Host(host); host != "" && !ok {
		return nil, noHost(parts.fleet, host)
	}
	found := []renewer.Finding{}
	if host == "" {
		found = append(found, a.inventoryFindings(ctx)...)
		found = append(found, a.issuerFindings(ctx)...)
		found = append(found, a.strictFindings(ctx)...)
	}
	var names []string
	for _, c := range parts.fleet.Certificates {
		if _, ok := c.Placement(host); ok || host == "" {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return found, nil
	}
	found = append(found, parts.sshFindings(host)...)
	found = append(found, parts.keeperFindings(ctx, directories(parts.fleet, host), true)...)
	blocked, err := a.blockedFindings(names, host)
	if err != nil {
		return nil, err
	}
	found = append(found, blocked...)
	seen, err := a.eng.Looks(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, s := range seen {
		if p := s.Placement(); host == "" || p.Host == host {
			found = append(found, a.diagnose(ctx, s)...)
		}
	}
	trusted, err := a.trustFindings(ctx, host) // by what was just seen
	return append(found, trusted...), err
}

// sshFindings are what of this account's SSH files is done without, each once.
func (p *parts) sshFindings(host string) (found []renewer.Finding) {
	told := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(p.transports)) {
		t, ok := hosts.Find[*remote.Transport](p.transports[name])
		if !ok || host != "" && name != host {
			continue
		}
		for _, r := range t.Remarks() {
			if !told[r.Text] {
				told[r.Text] = true
				found = append(found, renewer.Finding{Check: "ssh-files", Host: name, Level: renewer.FindingWarn, Text: r.Text, Fix: r.Fix})
			}
		}
	}
	return found
}

// blockedFindings are the rollouts that failed, or are blocked. The hosts may be
// well: they have what they had before.
func (a *App) blockedFindings(names []string, host string) (found []renewer.Finding, err error) {
	for _, name := range names {
		rec, ok, err := a.store.Record(name)
		if err != nil {
			return nil, err
		}
		c, _ := a.parts.Load().fleet.Certificate(name)
		r := rec.Rollout
		if ok && r != nil && !r.Phase.Over() {
			if why, hint := r.LastError(); why != "" {
				found = append(found, renewer.Finding{
					Check: "rollout", Host: host, Certificate: name, Level: renewer.FindingWarn,
					Text: "rollout " + r.ID + " is under way and has failed so far: " + why, Fix: cmp.Or(hint, "renewer show "+name),
				})
			}
		}
		if !ok || r == nil || r.Phase != renewer.PhaseBlocked || r.Entry != c.Digest() { // another entry closes it
			continue
		}
		why, hint := r.LastError()
		if hint != "" {
			hint += "; then "
		}
		found = append(found, renewer.Finding{
			Check: "blocked", Host: host, Certificate: name, Level: renewer.FindingFail, Problem: rec.Problem(),
			Text: "rollout " + r.ID + " is blocked: " + why, Fix: hint + "renewer renew " + name,
		})
	}
	return found, nil
}

func (a *App) diagnose(ctx context.Context, s engine.Seen) []renewer.Finding {
	p := s.Placement()
	c, _ := a.parts.Load().fleet.Certificate(p.Certificate)
	kase := dockerhost.Case{
		Placement: p, Now: time.Now(), Usages: c.Usages, Roots: a.rootsOf(ctx, c.Trust),
		Placed: s.Placed(), PlacedAt: s.PlacedAt(), Probed: s.Generation() != nil, Seen: s.Seen, ProbeErr: s.Err,
	}
	if g := s.Generation(); g != nil {
		if leaf, err := x509.ParseCertificate(g.Chain[0]); err == nil {
			kase.Leaf, kase.Life = leaf, min(g.NotAfter.Sub(g.IssuedAt), c.Lifetime)
		}
	}
	kase.Clients = a.clientsOf(ctx, c, p.Host)
	if p.Probe.Kind.Served() {
		kase.Served, _ = probes.New().Peek(ctx, p.Probe) // the probe says why nothing was seen
	}
	m, err := a.machine(p.Host)
	if err == nil {
		kase.Facts, err = dockerhost.Inspect(ctx, m, p)
	}
	kase.Err = err
	found := dockerhost.Diagnose(kase)
	for i, f := range found {
		if f.Check == "served" && f.Level == renewer.FindingFail && renewer.ProbeErrorKindOf(s.Err) == renewer.ProbeMismatch {
			rec, _, _ := a.store.Record(c.Name) // blockedFindings reports an error
			found[i].Problem = renewer.NewRow(c, rec, s.Generation()).DriftOn(p.Host, kase.Now)
		}
	}
	if sees, ok := m.(engine.Foresight); ok && err == nil {
		if doubts, failed := sees.Doubts(ctx, p); failed == nil {
			found = append(found, findings(p, doubts)...)
		}
		for i, f := range found {
			if down := f.Check == "docker-unit" || f.Check == "start-limit"; down && f.Level == renewer.FindingFail {
				if said := sees.Words(ctx, p.Activate); said != "" {
					found[i].Text += "; it says: " + said
				}
			}
		}
	}
	if err == nil && daguhost.Applies(c) {
		found = append(found, a.diagnoseDagu(ctx, c, s, m)...)
	}
	return found
}

// diagnoseDagu makes the checks of Dagu's page for a machine that could be
// looked at.
func (a *App) diagnoseDagu(ctx context.Context, c renewer.Certificate, s engine.Seen, m daguhost.Machine) []renewer.Finding {
	p := s.Placement()
	units, err := daguhost.InspectAll(ctx, m, p)
	if err != nil {
		return []renewer.Finding{{
			Check: "dagu-unit", Host: p.Host, Certificate: p.Certificate, Level: renewer.FindingUnknown,
			Text: "the settings of Dagu could not be looked at: " + err.Error(), Fix: renewer.Hint(err),
		}}
	}
	kase := daguhost.Case{Certificate: c, Placement: p, Servers: a.daguServers(ctx)}
	if g := s.Generation(); g != nil {
		if chain, err := g.Parse(); err == nil {
			kase.Leaf, kase.Intermediates = chain.Leaf, chain.Intermediates
		}
	}
	var found []renewer.Finding
	for _, facts := range units {
		kase.Facts = facts
		found = append(found, daguhost.Diagnose(kase)...)
	}
	return found
}

// daguServers are the coordinators' certificates that are in place.
func (a *App) daguServers(ctx context.Context) (servers []daguhost.Server) {
	for _, c := range a.parts.Load().fleet.Certificates {
		if !daguhost.Applies(c) || !slices.Contains(c.Usages, renewer.UsageServer) {
			continue
		}
		rec, ok, err := a.store.Record(c.Name)
		if err != nil || !ok {
			continue
		}
		g, ok, err := a.store.Generation(c.Name, rec.Current)
		if err != nil || !ok {
			continue
		}
		chain, err := g.Parse()
		if err != nil {
			continue
		}
		server := daguhost.Server{Certificate: c.Name, Group: c.PeerGroup, Leaf: chain.Leaf}
		if _, asks := c.Placements[0].Files[renewer.FileCA]; asks {
			server.ClientRoots = a.rootsOf(ctx, c.Trust)
		}
		servers = append(servers, server)
	}
	return servers
}

// inventoryFindings runs the full check, which is too slow for a start. If only
// indexes are damaged, it rebuilds them.
func (a *App) inventoryFindings(ctx context.Context) []renewer.Finding {
	errs := a.inv.CheckFull(ctx)
	if len(errs) == 0 {
		return []renewer.Finding{{Check: "inventory", Level: renewer.FindingOK, Text: "every page, value and index is intact"}}
	}
	level, fix := renewer.FindingFail, "stop renewer and restore a backup: renewer restore FILE"
	if inventory.OnlyIndexes(errs) {
		if err := a.inv.Reindex(); err != nil {
			errs = append(errs, err)
		} else {
			level, fix = renewer.FindingWarn, "the indexes of the inventory were rebuilt; nothing is to be done"
		}
	}
	var found []renewer.Finding
	for _, err := range errs {
		found = append(found, renewer.Finding{Check: "inventory", Level: level, Text: err.Error(), Fix: fix})
	}
	return found
}
