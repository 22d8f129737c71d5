package renewer

import (
	"errors"
	"fmt"
	"time"
)

// Look is one look at a placement outside of a rollout.
type Look struct {
	Kind ProbeKind
	At   time.Time
	Seen Observation
	Err  error // nil: what should be is there and served
	// Differs: the files are not as expected. Under are the known roots that the
	// leaf among them leads to.
	Differs bool
	Content bool // of them other bytes
	Under   RootSet
}

// Observe takes a look into what is known of a placement, and returns the
// event if the answer is another than last time. Something else seen is drift;
// nothing seen is blocked, and looked at again soon: a service that somebody
// stopped is not restarted.
func (p *PlacementState) Observe(l Look, certificate, host string) []Event {
	ev := Event{Time: l.At, Certificate: certificate, Host: host, Generation: p.Generation}
	l.Err = AtHost(host, l.Err)
	was := p.State
	wasError := p.Error
	if errors.Is(l.Err, ErrLocal) {
		return nil // says nothing about the host
	}
	switch {
	case l.Err == nil && l.Kind != ProbeNone:
		p.Seen = nil
		p.learn(l.Seen.Disk)
	case l.Differs:
		p.Seen = &Seen{Content: l.Content, Leaf: l.Seen.Disk.Leaf, Under: l.Under, NotAfter: l.Seen.Disk.NotAfter.Unix(), Roots: l.Seen.Disk.Trusts}
	}
	if l.Err != nil {
		p.Same = 0 // what is done next is about something else
	}
	p.ProbedAt, p.Served, p.ServedEnd = l.At, l.Seen.Served, l.Seen.NotAfter
	if l.Err == nil && p.Unactivated && !l.Kind.Served() { // it runs, and is to load what is there
		p.State, p.Error, p.Hint, p.Reprobe = HostActivated, "", "", time.Time{}
		return nil
	}
	if l.Err == nil {
		if l.Kind.Served() && (p.Unactivated || p.Loaded == nil || p.Loaded.Generation != p.Generation) {
			p.loaded() // who serves this leaf has started since it was placed, and read all of it
		}
		p.Unactivated = false
		recovered := !p.Matches && was != HostPending && was != HostUnknown
		if was != HostRolledBack || recovered {
			p.State, p.Error, p.Hint = HostVerified, "", ""
		}
		p.Matches, p.VerifiedAt, p.Failures, p.Reprobe = true, l.At, 0, time.Time{}
		if !recovered {
			return nil
		}
		ev.Type, ev.Message = EventRecovered, fmt.Sprintf("generation %d is served as expected", p.Generation)
		return []Event{ev}
	}
	ev.Type = EventUnreachable
	switch kind := ProbeErrorKindOf(l.Err); kind {
	case ProbeMismatch:
		p.State, p.Matches, p.Error, p.Hint, p.Reprobe, ev.Type = HostDrifted, false, l.Err.Error(), Hint(l.Err), time.Time{}, EventDrifted
	default:
		answers := l.Kind.Served() && l.Seen.Served != ""
		if kind == ProbeStopped {
			p.stopped(answers)
		}
		if p.unproven(l.Err, l.At); kind == ProbeStopped && answers { // to place and activate again would change nothing
			ev.Type = EventDrifted
		}
	}
	if p.State == was && p.Error == wasError || ev.Type == EventUnreachable && l.expired() {
		return nil
	}
	if ev.Type == EventDrifted && was != HostDrifted {
		p.DriftedAt = l.At
	}
	ev.Error, ev.Hint = p.Error, p.Hint
	return []Event{ev}
}

// expired reports whether the certificate is refused because it has expired: it was
// seen, so it is not unreachable, and EventExpired says it.
func (l Look) expired() bool {
	return ProbeErrorKindOf(l.Err) == ProbeRejected && !l.Seen.NotAfter.IsZero() && !l.At.Before(l.Seen.NotAfter)
}

// learn takes over what no one had compared before: the roots of files that a
// version before placed, or that were adopted by one.
func (p *PlacementState) learn(d OnDisk) {
	if p.Roots.Known() || !d.Trusts.Known() {
		return
	}
	p.Recognize(d.Trusts)
}

// Recognize notes which roots a version before placed.
func (p *PlacementState) Recognize(roots RootSet) {
	p.Roots, p.Digest = roots, ""
	if p.Loaded == nil && !p.Unactivated {
		p.loaded()
	}
}
