package testfleet

import (
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// Open is, for each problem that can be seen from inside, a fleet in which it is
// open at now: of a certificate "web" on host "a", or of something else.
func Open(now time.Time) map[problems.ID]*Fleet {
	out := map[problems.ID]*Fleet{}
	certificate := func(id problems.ID, change func(d *renewer.Detail, h *renewer.HostRow)) {
		f, d := &Fleet{Status: system(now)}, Certificate(now, "web", 30*Day, "a")
		d.Hosts[0].VerifiedAt = now.Add(-time.Minute)
		change(&d, &d.Hosts[0])
		for i := range d.Hosts {
			d.Placements[i].HostRow = d.Hosts[i]
		}
		f.Put(d)
		out[id] = f
	}
	expires := func(id problems.ID, left, margin time.Duration) {
		certificate(id, func(d *renewer.Detail, _ *renewer.HostRow) {
			d.Status, d.NotAfter = renewer.StatusDue, now.Add(left)
			d.NotBefore, d.RenewAt = d.NotAfter.Add(-90*Day), d.NotAfter.Add(-margin)
		})
	}
	blocked := func(id problems.ID, state renewer.HostState) {
		certificate(id, func(d *renewer.Detail, h *renewer.HostRow) {
			d.Status, d.RolloutProblem, h.State, h.Error = renewer.StatusBlocked, id, state, "refused"
		})
	}
	drift := func(id problems.ID, since time.Duration, change func(h *renewer.HostRow)) {
		certificate(id, func(d *renewer.Detail, h *renewer.HostRow) {
			d.Status, h.State, h.Matches, h.Served, h.DriftedAt = renewer.StatusDue, renewer.HostDrifted, false, Hex("foreign"), now.Add(-since)
			h.VerifiedAt = h.DriftedAt
			change(h)
		})
	}
	certificate(problems.CertificateExpired, func(d *renewer.Detail, _ *renewer.HostRow) {
		d.Status, d.NotAfter = renewer.StatusExpired, now.Add(-58*time.Second)
		d.NotBefore, d.RenewAt = d.NotAfter.Add(-90*Day), d.NotAfter.Add(-30*Day)
	})
	certificate(problems.RevokedInUse, func(d *renewer.Detail, _ *renewer.HostRow) { d.Status = renewer.StatusRevoked })
	blocked(problems.RestoreFailed, renewer.HostBlocked)
	blocked(problems.RolledBack, renewer.HostRolledBack)
	blocked(problems.RolloutBlocked, renewer.HostVerified)
	expires(problems.CertificateExpiringSoon, 2*Day, 30*Day)
	expires(problems.CertificateExpiring, 10*Day, 30*Day)
	expires(problems.RenewalOverdue, 20*Day, 30*Day)
	drift(problems.ServedExpired, time.Hour, func(h *renewer.HostRow) { h.ServedEnd = now.Add(-time.Hour) })
	drift(problems.ServedDiffers, time.Hour+time.Minute, func(*renewer.HostRow) {})
	drift(problems.Drifted, time.Minute, func(*renewer.HostRow) {})
	certificate(problems.ServedUnproven, func(d *renewer.Detail, h *renewer.HostRow) {
		d.Status, h.State, h.Error, h.Matches = renewer.StatusBlocked, renewer.HostBlocked, "connection refused", false
	})
	certificate(problems.NeverIssued, func(d *renewer.Detail, h *renewer.HostRow) {
		d.Row = renewer.Row{Name: "web", Issuer: d.Issuer, Status: renewer.StatusPending, RolloutProblem: problems.RenewalFailed, Hosts: []renewer.HostRow{{Name: "a", State: renewer.HostPending}}}
		d.LastError = "the issuer does not answer"
	})
	certificate(problems.RenewalFailed, func(d *renewer.Detail, h *renewer.HostRow) { d.Status, h.Error = renewer.StatusRenewing, "no space" })
	certificate(problems.GateWaiting, func(d *renewer.Detail, _ *renewer.HostRow) {
		d.Status = renewer.StatusRenewing
		d.Gate = &renewer.Waiting{Kind: renewer.WaitGate, By: "b", Text: "app@b does not have the root of the new certificate yet", Since: now.Add(-time.Hour)}
	})
	certificate(problems.OrphanedExpiring, func(d *renewer.Detail, _ *renewer.HostRow) {
		d.Status, d.NotAfter = renewer.StatusOrphaned, now.Add(5*Day)
	})
	certificate(problems.ProofOld, func(_ *renewer.Detail, h *renewer.HostRow) { h.VerifiedAt = now.Add(-4 * Day) })
	certificate(problems.BudgetExceeded, func(_ *renewer.Detail, h *renewer.HostRow) { h.OverBudgetAt = now.Add(-time.Minute) })

	status := func(id problems.ID, change func(st *renewer.SystemStatus)) {
		f := &Fleet{Status: system(now)}
		change(&f.Status)
		out[id] = f
	}
	ca := func(id problems.ID, left time.Duration) {
		status(id, func(st *renewer.SystemStatus) { st.Issuers[0].CAs[0].NotAfter = now.Add(left) })
	}
	status(problems.HostUnreachable, func(st *renewer.SystemStatus) {
		st.Hosts = []renewer.HostStatus{{Name: "a", Type: "ssh", Error: "no route to host"}}
	})
	status(problems.IssuerDown, func(st *renewer.SystemStatus) {
		st.Issuers[0].Up, st.Issuers[0].Since, st.Issuers[0].Error = false, now.Add(-time.Hour), "connection refused"
	})
	ca(problems.CAExpiringSoon, 20*Day)
	ca(problems.CAExpiring, 80*Day)
	status(problems.CARotationBlocked, func(st *renewer.SystemStatus) {
		st.Issuers[0].Rotation = &renewer.RotationView{Issuer: "fleet-ca", Stage: "add_root", Since: now.Add(-time.Hour), Blocked: true, Waiting: []string{"a cannot be reached"}}
	})
	status(problems.CheckNotRunning, func(st *renewer.SystemStatus) { st.Daemon.LastCheck = now.Add(-time.Hour) })
	status(problems.FleetFileRefused, func(st *renewer.SystemStatus) { st.Daemon.FleetError = "renewer.yaml:3:1: unknown key" })
	status(problems.NotifyFailing, func(st *renewer.SystemStatus) {
		st.Channels = []renewer.ChannelStatus{{Name: "ops", Type: "webhook", LastError: "status 500", FailingSince: now.Add(-time.Hour), WaitingSince: now.Add(-time.Hour)}}
	})
	status(problems.NotifyStuck, func(st *renewer.SystemStatus) {
		st.Channels = []renewer.ChannelStatus{{Name: "ops", Type: "webhook", WaitingSince: now.Add(-2*time.Hour - 5*time.Minute)}}
	})
	return out
}
