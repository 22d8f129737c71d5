package renewer

import (
	"slices"
	"strings"
	"time"
)

// PlanSteps says what a run at now would do for one certificate, and why. It
// is empty where nothing is to be done. waits is what its rollout waits for,
// if one is under way.
func PlanSteps(c Certificate, o Observed, k Conditions, waits Waits) []PlanStep {
	d := Plan(c, o, k.Now)
	r := d.Open
	var steps []PlanStep
	var code ReasonCode
	add := func(host, action, reason string) *PlanStep {
		steps = append(steps, PlanStep{Certificate: c.Name, Host: host, Action: action, Reason: reason, Code: code})
		return &steps[len(steps)-1]
	}
	switch {
	case r != nil:
	case d.Adapt != nil:
		r = d.Adapt
	case o.Record.Rollout != nil && o.Record.Rollout.Phase == PhaseBlocked && !d.Close:
		b := o.Record.Rollout
		add("", "wait", after("rollout "+b.ID+" is blocked: "+b.Blocked(o.Current).Text, b.Error))
		return append(steps, reprobes(c, o.Record, k.Now)...)
	case d.Close || o.Record.Rollout == nil || o.Record.Rollout.Phase.Over():
		return append(steps, reprobes(c, o.Record, k.Now)...)
	default:
		r = o.Record.Rollout
		for _, w := range append(slices.Clone(waits), o.Record.Waits()...) {
			if w.Kind != WaitWindow { // said of each host that has to be activated
				add(w.Host, "wait", w.Text)
			}
		}
	}
	why := r.Why()
	if len(r.Reasons) > 0 {
		code = r.Reasons[0].Code
	}
	if r == o.Record.Rollout || d.Adapt != nil {
		why = "rollout " + r.ID + " is in progress: " + why
	}
	if r.Phase == PhaseOrdering {
		s := add("", "issue", after(why, r.Error))
		if s.Target = c.Issuer; o.Current != nil {
			was, want := o.askedFor(c), c.Request()
			if s.Changes = differences(was, want); was.Lifetime != want.Lifetime {
				s.Changes = append(s.Changes, Difference{Field: "lifetime", Before: days(was.Lifetime), After: days(want.Lifetime)})
			}
		}
		if r == d.Open && o.Refusers != nil {
			if who := o.Refusers(); len(who) > 0 {
				add("", "wait", "activated when these peers have its root and have loaded it: "+strings.Join(Members(who, 5), ", "))
			}
		}
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		p, ok := c.Placement(s.Host)
		if !ok || s.State.Over() {
			continue
		}
		reason := after(why, s.Error)
		if r == d.Open && r.Kind == KindPlace && len(r.Reasons) == len(r.Steps) { // each host has its own
			reason = r.Reasons[i].Text
		}
		st := o.Record.Placements[s.Host]
		switch s.State {
		case StepPending:
			added, dropped := rootChanges(o, s.Host)
			for _, id := range added {
				add(s.Host, "add_root", "root "+o.rootName(id)+" is to be trusted").Target = o.rootName(id)
			}
			for _, id := range dropped {
				add(s.Host, "drop_root", "root "+o.rootName(id)+": no certificate that is in place needs it here").Target = o.rootName(id)
			}
			push := add(s.Host, "push", reason)
			push.Target, push.Reason = p.Dir, push.Reason+leaves(st, p.Dir, o.Occupied != nil && len(st.Dirs) > 0 && o.Occupied(s.Host, st.Dirs[0]))
			if st.MovedTo(p.Dir) {
				push.Changes = []Difference{{Field: "dir", Before: st.Dirs[0], After: p.Dir}}
			}
			fallthrough
		case StepStaged, StepActivating:
			if s.State != StepActivating && r.shut(c, k) {
				add(s.Host, "wait", r.window(c, k).Text)
			}
			if verb := p.Activate.Verb(); verb != "" && !p.Rereads(st, p.Layout(), o.Roots.On(s.Host)) {
				restart := add(s.Host, verb, reason)
				if restart.Target = p.Activate.target(); !r.Force {
					restart.Guard = p.guarded()
				}
			}
			fallthrough
		case StepActivated:
			if p.Probe.Kind != ProbeNone {
				add(s.Host, "verify", reason).Target = p.Probe.String()
			}
		default:
			add(s.Host, "restore", reason)
		}
	}
	return steps
}

// leaves says which files are not kept any more once a placement is in another directory:
// no root is added there, so what reads them still is refused when a peer's CA changes.
// Where another entry places its files there, they are kept (occupied).
func leaves(st PlacementState, dir string, occupied bool) string {
	if !st.MovedTo(dir) || occupied {
		return ""
	}
	return "; " + st.Dirs[0] + " is left unchanged: no service should read it any more"
}

// ForgetStep is what a plan says of a certificate, or of one host of it, that left the
// fleet file; left is what is in place there.
func ForgetStep(name, host string, left []Departed) PlanStep {
	s := PlanStep{Certificate: name, Host: host, Action: "forget", Reason: "left the fleet file; nothing of it is in place"}
	if len(left) > 0 {
		s.Reason = "left the fleet file; its files stay in place, and it is listed as orphaned until it expires or you run: renewer forget " + name
	}
	return s
}

// guarded says in which case the placement's guard would hold a restart up.
func (p Placement) guarded() string {
	switch {
	case p.GuardsDocker() && p.Guard.Docker.WithoutLiveRestore == GuardForce:
	case p.GuardsDocker() && p.Guard.Docker.Label != "":
		return "containers with the label " + p.Guard.Docker.Label + " run"
	case p.GuardsDocker():
		return "containers run without live-restore"
	case p.GuardsDagu():
		return "runs are active"
	}
	return ""
}

// rootChanges returns the roots that the ca file on a host gets and loses.
func rootChanges(o Observed, host string) (added, dropped RootSet) {
	has, want := o.Record.Placements[host].Roots, o.Roots.On(host)
	if !has.Known() || !want.Known() {
		return nil, nil
	}
	return want.Without(has), has.Without(want)
}

// reprobes lists the placements that are looked at again outside the schedule.
func reprobes(c Certificate, rec Record, now time.Time) []PlanStep {
	var steps []PlanStep
	for _, p := range c.Placements {
		st := rec.Placements[p.Host]
		if !st.Reprobe.IsZero() && !st.Reprobe.After(now) {
			why := "could not be verified: " + st.Error
			if st.Failures == 0 && st.State == HostActivated {
				why = "not verified yet"
			}
			steps = append(steps, PlanStep{Certificate: c.Name, Host: p.Host, Action: "verify", Reason: why})
		}
	}
	return steps
}

// Why returns the reasons of a rollout as one text.
func (r *Rollout) Why() string {
	texts := make([]string, 0, len(r.Reasons))
	for _, reason := range r.Reasons {
		texts = append(texts, reason.Text)
	}
	return strings.Join(texts, "; ")
}

// because reports whether a reason is among those of a rollout.
func (r *Rollout) because(code ReasonCode) bool {
	return slices.ContainsFunc(r.Reasons, func(why Reason) bool { return why.Code == code })
}

func after(why, failed string) string {
	if failed != "" {
		why += "; failed: " + failed
	}
	return why
}

// Verb says what an activation does, in the words of a plan; empty for none.
func (a Activation) Verb() string {
	switch a.Kind {
	case ActivateSystemd, ActivateDocker:
		return a.Action
	case ActivateSignal, ActivateCommand:
		return string(a.Kind)
	default:
		return ""
	}
}

// target is what an activation acts on.
func (a Activation) target() string {
	switch a.Kind {
	case ActivateSystemd:
		return strings.Join(a.Units, " ")
	case ActivateSignal:
		return a.PIDFile
	case ActivateCommand:
		return strings.Join(a.Command, " ")
	default:
		return a.Container
	}
}

// String describes an activation for operators.
func (a Activation) String() string {
	switch a.Kind {
	case ActivateSystemd:
		return "systemd " + a.Action + " " + strings.Join(a.Units, " ")
	case ActivateSignal:
		return "signal " + a.Signal + " to " + a.PIDFile
	case ActivateCommand:
		return "command " + strings.Join(a.Command, " ")
	case ActivateDocker:
		return "docker " + a.Action + " " + a.Container
	default:
		return "none"
	}
}

// String describes a probe for operators.
func (p Probe) String() string {
	switch p.Kind {
	case ProbeTLS, ProbeDocker, ProbeGRPCHealth:
		text := string(p.Kind) + " " + p.Address
		if p.Mutual {
			text += " mutual"
		}
		return text
	case ProbeCommand:
		return "command " + strings.Join(p.Command, " ")
	default:
		return string(p.Kind)
	}
}
