package renewer

import (
	"cmp"
	"slices"
	"time"

	"renewer/renewer/problems"
)

// When a certificate has a problem by time alone. The alert rules have the same
// numbers.
const (
	expiringSoon   = 3 * aDay
	expiring       = 14 * aDay
	gateFor        = 15 * time.Minute
	proofOld       = 3 * aDay
	soonShare      = 0.07 // of the lifetime
	expiringShare  = 0.2
	retriesFor     = 0.9  // of the time from the renew time to the expiry: more is left while a renewal may be under way
	overdueWithout = 0.75 // of that time
)

// DiffersFor is how long a host may have something else than it should before that
// is critical: renewer restores its own within that time.
const DiffersFor = 10 * time.Minute

// Overdue reports whether a renewal should have succeeded by now: a quarter of the
// time that was set aside for it has passed.
func (r Row) Overdue(now time.Time) bool {
	return !r.RenewAt.IsZero() && r.NotAfter.After(r.RenewAt) && less(r.NotAfter.Sub(now), overdueWithout, r.NotAfter.Sub(r.RenewAt))
}

// expiring reports whether less than a time and a share of the lifetime are left
// and the renewal, which was due, did not succeed.
func (r Row) expiring(within time.Duration, share float64, now time.Time) bool {
	left := r.NotAfter.Sub(now)
	return left > 0 && left < within && !r.NotBefore.IsZero() && less(left, share, r.NotAfter.Sub(r.NotBefore)) &&
		(r.RenewAt.IsZero() || float64(left) <= retriesFor*float64(r.NotAfter.Sub(r.RenewAt)))
}

func less(d time.Duration, share float64, of time.Duration) bool {
	return float64(d) < share*float64(of)
}

// Wrong reports whether a host was seen to have something else than it should,
// with nothing that explains it: an activation does, as no probe has judged it yet.
// A rollout that waits for a window or a guard does not.
func (r Row) Wrong(h HostRow) bool {
	if h.Served == "" || h.Matches || h.State == HostActivated {
		return false
	}
	expected := h.Generation == r.Generation && h.Served == r.Fingerprint
	return h.State == HostDrifted || !expected // drift may be in the other files
}

// Problems calls yield for each problem of a certificate at now, with the host that it
// concerns; nil: with none.
func (r Row) Problems(now time.Time, yield func(problems.ID, *HostRow)) {
	switch {
	case r.Status == StatusOrphaned:
		if left := r.NotAfter.Sub(now); left > 0 && left < expiring {
			yield(problems.OrphanedExpiring, nil)
		}
		return
	case r.Status == StatusRevoked:
		yield(problems.RevokedInUse, nil)
	case r.Status == StatusExpired:
		yield(problems.CertificateExpired, nil)
	case r.NotAfter.Sub(now) < expiring || r.Overdue(now):
		if r.expiring(expiringSoon, soonShare, now) {
			yield(problems.CertificateExpiringSoon, nil)
		}
		if r.expiring(expiring, expiringShare, now) {
			yield(problems.CertificateExpiring, nil)
		}
		if r.Overdue(now) {
			yield(problems.RenewalOverdue, nil)
		}
	}
	failed := false
	for i := range r.Hosts {
		h := &r.Hosts[i]
		if h.State == HostVerified && h.Matches && h.Error == "" && now.Sub(h.VerifiedAt) <= proofOld {
			continue // as nearly all are
		}
		if r.Wrong(*h) && !h.ServedEnd.IsZero() && !h.ServedEnd.After(now) && r.Status != StatusExpired {
			yield(problems.ServedExpired, h)
		}
		if id := r.problemOn(h, now); id != "" {
			yield(id, h)
			failed = true
		}
	}
	switch { // a rollout that stopped after it went back, or could not, is blocked as well
	case r.RolloutProblem == problems.RolledBack, r.RolloutProblem == problems.RestoreFailed && r.Status != StatusRenewing:
		yield(problems.RolloutBlocked, r.failed())
	}
	switch {
	case r.RolloutProblem == problems.RolledBack: // said of the host
	case r.Status == StatusPending && r.RolloutProblem != problems.RestoreFailed && (failed || r.RolloutProblem != ""):
		yield(problems.NeverIssued, r.failed())
	case r.RolloutProblem != "":
		yield(r.RolloutProblem, r.failed())
	}
	if r.Gate != nil && !r.Gate.Since.IsZero() && now.Sub(r.Gate.Since) >= gateFor {
		yield(problems.GateWaiting, &HostRow{Name: r.Gate.By})
	}
}

// problemOn returns what is wrong on one host; empty for nothing.
func (r Row) problemOn(h *HostRow, now time.Time) problems.ID {
	wrong := r.Wrong(*h)
	switch {
	case h.State == HostRolledBack:
		return problems.RolledBack
	case wrong && h.State != HostBlocked && since(latest(h.DriftedAt, h.VerifiedAt), now) > DiffersFor:
		return problems.ServedDiffers
	case wrong && h.State != HostBlocked, h.State == HostDrifted:
		return problems.Drifted
	case h.State == HostBlocked && r.RolloutProblem == "":
		if r.Status == StatusExpired && !h.ServedEnd.IsZero() && !h.ServedEnd.After(now) { // it was seen, and is said of the certificate
			return ""
		}
		return problems.ServedUnproven
	case h.Error != "" && h.State != HostBlocked && r.RolloutProblem == "":
		return problems.RenewalFailed
	case h.Matches && !h.VerifiedAt.IsZero() && now.Sub(h.VerifiedAt) > proofOld:
		return problems.ProofOld
	}
	return ""
}

// since is how long ago something was; 0 for an unknown time.
func since(at, now time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return now.Sub(at)
}

// DriftOn returns which problem it is at now if a host has something else than it
// should.
func (r Row) DriftOn(host string, now time.Time) problems.ID {
	drift := problems.Drifted
	r.Problems(now, func(id problems.ID, h *HostRow) {
		if id == problems.ServedDiffers && h.Name == host {
			drift = id
		}
	})
	return drift
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// failed returns the first host that says why a rollout does not go on; nil: none.
func (r Row) failed() *HostRow {
	i := slices.IndexFunc(r.Hosts, func(h HostRow) bool { return h.Error != "" || h.State == HostBlocked || r.Wrong(h) })
	if i < 0 {
		return nil
	}
	return &r.Hosts[i]
}

// Worst returns the worst problem of a certificate at now and the host that it
// concerns, if any; empty for none.
func (r Row) Worst(now time.Time) (worst problems.ID, host HostRow) {
	r.Problems(now, func(id problems.ID, h *HostRow) {
		if worst != "" && problems.Rank(worst) <= problems.Rank(id) {
			return
		}
		if worst, host = id, (HostRow{}); h != nil {
			host = *h
		}
	})
	return worst, host
}

// Severity is how bad the worst problem of a certificate is; empty for none.
func (r Row) Severity(now time.Time) Severity {
	id, _ := r.Worst(now)
	if id == "" {
		return ""
	}
	return problems.Of(id).Severity
}

// Problem is what the rollout of a record says of itself; empty for nothing.
func (rec Record) Problem() problems.ID {
	r := rec.Rollout
	switch {
	case r == nil, r.Phase == PhaseDone, r.Phase == PhaseSuperseded:
		return ""
	case slices.ContainsFunc(r.Steps, Step.unrestored):
		return problems.RestoreFailed
	case r.Phase == PhaseBlocked && slices.ContainsFunc(r.Steps, func(s Step) bool { return s.State == StepRolledBack }):
		return problems.RolledBack
	case r.Phase == PhaseBlocked, r.GuardBlocked():
		return problems.RolloutBlocked
	case r.Error != "" && !r.Wait.For(WaitRate) && !r.Wait.For(WaitIssuer),
		slices.ContainsFunc(r.Steps, func(s Step) bool {
			return s.Error != "" && !s.State.Over() && s.State != StepRestoring && s.State != StepRestored
		}):
		return problems.RenewalFailed
	}
	return ""
}

// unrestored reports whether the previous revision could not be put back, or is not
// served either.
func (s Step) unrestored() bool {
	back := s.Revision != "" && s.Previous != "" && s.Previous != s.Revision
	return s.State == StepBlocked && back || s.State == StepRestoring && s.Attempts > 0
}

// Problem says what the worst problem of a certificate is; ok is false for none.
func (d Detail) Problem(now time.Time) (p Problem, ok bool) {
	id, host := d.Worst(now)
	if id == "" {
		return p, false
	}
	p = newProblem(id, "certificate", d.Name, problems.Names{Certificate: d.Name, Host: host.Name})
	p.Host, p.Expires, p.Error, p.Hint = host.Name, d.NotAfter, d.LastError, d.Hint
	on := ""
	if host.Name != "" {
		on = " on " + host.Name
	}
	switch id {
	case problems.CertificateExpired:
		p.What, p.Since = ExpiresText(d.NotAfter, now), d.NotAfter
	case problems.CertificateExpiringSoon, problems.CertificateExpiring:
		p.What = ExpiresText(d.NotAfter, now) + " and was not renewed"
	case problems.RenewalOverdue:
		p.Since = d.RenewAt
		p.What = "renewal overdue" + forSpan(d.RenewAt, now) + ", " + ExpiresText(d.NotAfter, now)
	case problems.RevokedInUse:
		p.What, p.Since = "is revoked and still in place", d.revokedAt()
	case problems.OrphanedExpiring:
		p.What = "left the fleet file, is still in place and " + ExpiresText(d.NotAfter, now)
	case problems.RolloutBlocked, problems.RolledBack, problems.RestoreFailed:
		p.What, p.Since = d.blocked(id, host, now)
	case problems.RenewalFailed:
		p.What = "renewal" + on + " failed, retrying"
	case problems.NeverIssued:
		p.What = "has never been proven in place"
	case problems.GateWaiting:
		p.What, p.Since, p.Error = "waits"+forSpan(d.Gate.Since, now)+" for "+d.Gate.By, d.Gate.Since, d.Gate.Text
	case problems.ServedExpired:
		p.What, p.Since = host.Name+" serves an expired certificate", host.ServedEnd
	case problems.ServedDiffers:
		p.What, p.Since = "another certificate is in place or served"+on, host.DriftedAt
	case problems.Drifted:
		p.What, p.Since = "was changed"+on+"; renewer tries to restore it", host.DriftedAt
	case problems.ServedUnproven:
		p.What = "the service" + on + " cannot be reached or probed"
	case problems.ProofOld:
		p.What, p.Since = "was last verified"+on+" "+Span(now.Sub(host.VerifiedAt))+" ago", host.VerifiedAt.Add(proofOld)
	}
	if p.Error == "" {
		p.Error = host.Error
	}
	return p, true
}

// blocked says how the rollout stands that failed.
func (d Detail) blocked(id problems.ID, host HostRow, now time.Time) (what string, since time.Time) {
	switch on := cmp.Or(host.Name, "a host"); id {
	case problems.RolledBack:
		what = "rolled back on " + on + ", "
	case problems.RestoreFailed:
		what = "could not be restored on " + on + ", "
	}
	switch r := d.Rollout; {
	case r == nil:
		return what + "blocked", since
	case !r.Phase.Over() && !r.GuardBlocked():
		return what + "retrying", since
	}
	what += "blocked"
	for _, w := range d.Rollout.Waiting {
		if w.Kind == WaitPerson || w.Kind == WaitGuard {
			since = w.Since
			if what += forSpan(since, now); w.Kind == WaitPerson && w.Until.After(now) {
				return what + ", next automatic retry in " + Span(w.Until.Sub(now)), since
			}
			break
		}
	}
	return what + ", needs manual action", since
}

func (d Detail) revokedAt() time.Time {
	for _, g := range d.Generations {
		if g.Current {
			return g.RevokedAt
		}
	}
	return time.Time{}
}
