package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/rotation"
)

// planRotation says what a rotation would do, or the one under way will still do, and
// changes nothing.
func (a *App) planRotation(ctx context.Context, is configs.Issuer, r renewer.RotateRequest) (v renewer.RotationView, err error) {
	one, wait, ok := a.rotations.of(is.Name)
	goesOn := ok && !one.Stage.Over()
	if goesOn {
		unfit, err := a.cannotGoOn(is, one, r)
		if err != nil {
			return v, err
		}
		goesOn = unfit == nil
	}
	if goesOn {
		if one, _, err = amended(one, wait, r); err != nil {
			return v, err
		}
		v = a.rotationView(is.Name)
		v.Compromised, v.Without = one.Compromised, one.Without
		if !one.CancelledAt.IsZero() {
			return v, nil
		}
		r.Kind, r.Keep, r.Compromised, r.Now, r.Without = string(one.Kind), one.Keep, one.Compromised, one.Now, one.Without
	} else {
		if one, err = a.nextCA(is, r, true); err != nil {
			return v, err
		}
		v = renewer.RotationView{Issuer: is.Name, Kind: r.Kind, Stage: "planned", From: viewCA(one.From), To: viewCA(one.To), Compromised: r.Compromised, Without: r.Without}
	}
	if a.daemon.Load() == nil {
		a.health.ask(ctx, a.parts.Load())
	}
	p := rotationPlan{fleet: a.parts.Load().fleet, issuer: is.Name, now: time.Now(), hurried: r.Now || r.Compromised, sameRoot: one.From.Root == one.To.Root, anew: one.Anew}
	lacking, presenting, err := a.affected(ctx, one)
	if err != nil {
		return v, err
	}
	if one.To.Fingerprint != "" && one.SwitchedAt.IsZero() {
		p.lacking = map[string]bool{}
		for _, h := range lacking {
			p.lacking[h.Name] = true
		}
	}
	v.Plan = p.stages(r, one.From.NotAfter.Add(-a.longest(is.Name)))
	if goesOn {
		v.Plan = ahead(v.Plan, one)
	}
	v.Warnings = append(p.warnings(r), staysStrict(is, r)...)
	v.Breaks = p.breaks(r, a.down())
	for _, h := range append(lacking, presenting...) {
		switch {
		case slices.Contains(r.Without, h.Host):
		case h.Left && r.Compromised:
			v.Breaks = add(v.Breaks, fmt.Sprintf("%s left the fleet file: it will refuse the new certificates and be refused; put its entry back first, or renewer forget %s", h.Name, h.Certificate))
		case h.Left:
			v.Warnings = add(v.Warnings, fmt.Sprintf("%s left the fleet file and is waited for: put its entry back, or renewer forget %s", h.Name, h.Certificate))
		case h.Blocked && r.Compromised && !a.down()[h.Host]: // else the host is named
			v.Breaks = add(v.Breaks, fmt.Sprintf("%s differs from the desired state (%s): it will refuse the new certificates and be refused, until its service has loaded its files", h.Name, h.Why))
		case !h.Kept.IsZero() && !p.hurried:
			v.Warnings = add(v.Warnings, fmt.Sprintf("%s was rolled back, and keeps its certificate until %s: renewer renew %s replaces it then at once, and --now all of them", h.Name, h.Kept.UTC().Format(time.RFC3339), h.Certificate))
		}
	}
	if r.Compromised {
		for _, host := range p.hosts(p.everyone()) {
			if a.down()[host] && !slices.Contains(v.Without, host) {
				v.Without = append(v.Without, host)
			}
		}
	}
	return v, nil
}

// affected are the placements that do not have the root of the next CA yet, and those
// that present what is replaced.
func (a *App) affected(ctx context.Context, one rotation.Rotation) (lacking, presenting []engine.Blocker, err error) {
	before, err := a.eng.Succession(ctx, engine.Succeeding{Issuer: one.Issuer, To: one.To.Root})
	if err != nil {
		return nil, nil, err
	}
	s := engine.Succeeding{Issuer: one.Issuer, To: one.To.Root, Switched: true}
	if one.Anew {
		s.Anew = time.Now()
	}
	if one.Kind != rotation.Reissued {
		s.From = rootsOf(one.Old())
	}
	after, err := a.eng.Succession(ctx, s)
	return before.Lacking, after.Presenting, err
}

// add appends what is not in a list yet.
func add(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// ahead leaves out the stages that a rotation has behind it.
func ahead(plan []renewer.RotationStep, one rotation.Rotation) []renewer.RotationStep {
	at := one.Stage
	if at == rotation.AddRoot && !one.SwitchedAt.IsZero() {
		at = rotation.Reissue
	}
	i := slices.IndexFunc(plan, func(s renewer.RotationStep) bool { return s.Stage == string(at) })
	return plan[max(i, 0):]
}

type rotationPlan struct {
	fleet    *configs.Fleet
	issuer   string
	now      time.Time
	hurried  bool
	sameRoot bool // the next CA is under the root that is trusted already
	anew     bool // and has another key

	lacking map[string]bool // placements without the next root, where the next CA is there already; nil: it is not
}

// placed is a placement with its entry.
type placed struct {
	cert renewer.Certificate
	renewer.Placement
}

func (p rotationPlan) placements(want func(renewer.Certificate, renewer.Placement) bool) (out []placed) {
	for _, c := range p.fleet.Certificates {
		for _, pl := range c.Placements {
			if h, ok := p.fleet.Host(pl.Host); ok && !h.Retired && want(c, pl) {
				out = append(out, placed{c, pl})
			}
		}
	}
	return out
}

func (p rotationPlan) verifiers() []placed {
	return p.placements(func(c renewer.Certificate, pl renewer.Placement) bool {
		_, has := pl.Files[renewer.FileCA]
		return has && slices.Contains(c.Trust, p.issuer)
	})
}

func (p rotationPlan) presenters() []placed {
	return p.placements(func(c renewer.Certificate, _ renewer.Placement) bool { return c.Issuer == p.issuer && !c.IsBundle() })
}

func (p rotationPlan) everyone() []placed { return append(p.verifiers(), p.presenters()...) }

func (p rotationPlan) hosts(list []placed) (hosts []string) {
	hosts = []string{}
	for _, pl := range list {
		hosts = append(hosts, pl.Host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// step describes a stage that brings something to placements.
func (p rotationPlan) step(stage rotation.Stage, what string, list []placed, trust bool) renewer.RotationStep {
	s := renewer.RotationStep{Stage: string(stage), What: what, Placements: len(list), Hosts: p.hosts(list), When: "at once"}
	restarts, windows := map[string]bool{}, map[string]bool{}
	for _, pl := range list {
		rereads := pl.Reloads.Leaf && (!trust || pl.Reloads.Trust)
		if pl.Activate.Kind != renewer.ActivateNone && pl.Activate.Kind != "" && !rereads {
			restarts[pl.Host+" "+pl.Activate.Key()] = true
		}
		if pl.cert.Window != "" && !p.hurried {
			windows[pl.cert.Window] = true
		}
	}
	s.Restarts = len(restarts)
	var when []string
	for name := range windows {
		text := "in window " + name
		if w, ok := p.fleet.Window(name); ok {
			if open, next := w.At(p.now); !open {
				text += ", which opens at " + next.UTC().Format(time.RFC3339)
			}
		}
		when = append(when, text)
	}
	if slices.Sort(when); len(when) > 0 {
		s.When = strings.Join(when, "; ")
	}
	return s
}

func (p rotationPlan) stages(r renewer.RotateRequest, switchBy time.Time) []renewer.RotationStep {
	verifiers, presenters := p.verifiers(), p.presenters()
	added, dropped := "the new root goes into every ca file", "the old root leaves every ca file"
	dropping := verifiers
	switch reissued := r.Kind == string(rotation.Reissued); {
	case p.sameRoot:
		verifiers, dropping, added, dropped = nil, nil, "none: both are under the same root", "none: the root stays"
	case reissued:
		dropping, added, dropped = nil, "in every ca file the new root replaces the old one: both have the same name and key", "none: it is gone already"
	case p.lacking != nil:
		verifiers = slices.DeleteFunc(slices.Clone(verifiers), func(pl placed) bool { return !p.lacking[pl.ID()] })
		added = "the new root, which is there already, goes into the ca files without it"
	}
	sw := renewer.RotationStep{
		Stage: "switch", What: "the next CA signs", Hosts: []string{},
		When: "when all of them have loaded the new root, at " + switchBy.UTC().Format(time.RFC3339) + " at the latest",
	}
	if r.Compromised {
		sw.When = "at once: nothing is signed with the old key any more"
	}
	leaves := p.step(rotation.Reissue, fmt.Sprintf("%d certificates are renewed", count(presenters)), presenters, false)
	if r.Kind == string(rotation.Reissued) || p.sameRoot && !p.anew {
		leaves = p.step(rotation.Reissue, "none: certificates signed with the key chain to the new root too", nil, false)
	}
	out := []renewer.RotationStep{
		p.step(rotation.AddRoot, added, verifiers, true), sw, leaves,
	}
	if r.Keep > 0 && !r.Compromised {
		out = append(out, renewer.RotationStep{Stage: string(rotation.Keep), What: "the old root stays trusted", Hosts: []string{}, When: configs.FormatDuration(r.Keep) + " after the switch"})
	}
	return append(out, p.step(rotation.DropRoot, dropped, dropping, true))
}

// count is how many certificates placements are of.
func count(list []placed) int {
	names := map[string]bool{}
	for _, pl := range list {
		names[pl.Certificate] = true
	}
	return len(names)
}

// warnings say what is assumed, and what is not known.
func (p rotationPlan) warnings(r renewer.RotateRequest) (out []string) {
	var assumed []string
	unmanaged := false
	for _, pl := range p.verifiers() {
		if settle := pl.Settle(pl.cert); settle > 0 {
			assumed = append(assumed, pl.ID()+" ("+configs.FormatDuration(settle)+")")
		}
		unmanaged = unmanaged || slices.Contains(pl.cert.Usages, renewer.UsageServer)
	}
	if len(assumed) > 0 {
		out = append(out, "nothing tells these to load a new root, so that they have is assumed after a while: "+strings.Join(assumed, ", "))
	}
	if unmanaged && !r.Compromised && !p.sameRoot {
		keep := "--keep 30d leaves it there that long"
		if r.Keep > 0 {
			keep = "it stays " + configs.FormatDuration(r.Keep)
		}
		out = append(out, "clients that renewer does not manage are not listed; they need the new root before the switch, and a certificate of the new CA before the old root leaves: "+keep)
	}
	return out
}

// breaks says who will refuse whom.
func (p rotationPlan) breaks(r renewer.RotateRequest, down map[string]bool) (out []string) {
	byHost := map[string][]string{}
	for _, pl := range p.everyone() {
		if slices.Contains(r.Without, pl.Host) || r.Compromised && down[pl.Host] {
			if id := pl.ID(); !slices.Contains(byHost[pl.Host], id) {
				byHost[pl.Host] = append(byHost[pl.Host], id)
			}
		}
	}
	for host, ids := range byHost {
		out = append(out, fmt.Sprintf("%s is excluded: its %s will refuse the new certificates and be refused until it is back", host, strings.Join(ids, ", ")))
	}
	slices.Sort(out)
	if r.Compromised && p.sameRoot {
		return append(out, "the root above both CAs stays trusted: what looks at no CRL accepts what the compromised key signs, until that CA expires; have it revoked by the CA above it")
	}
	if r.Compromised {
		out = append(out, "clients and servers that renewer does not manage refuse, and are refused, until they have the new root and a new certificate")
	}
	return out
}
