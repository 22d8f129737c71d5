package renewer

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"renewer/renewer/problems"
)

// opening are details of certificates that have a problem at t0, by its id.
func opening() map[problems.ID]Detail {
	fresh := func() Row {
		return Row{
			Name: "web", Status: StatusValid, NotBefore: t0.Add(-30 * aDay), NotAfter: t0.Add(60 * aDay), RenewAt: t0.Add(30 * aDay),
			Hosts: []HostRow{{Name: "a", State: HostVerified, Served: "ff", Matches: true, VerifiedAt: t0.Add(-time.Minute)}},
		}
	}
	of := func(change func(r *Row, h *HostRow)) Detail {
		r := fresh()
		change(&r, &r.Hosts[0])
		return Detail{Row: r}
	}
	ends := func(left, margin time.Duration) Detail {
		return of(func(r *Row, _ *HostRow) {
			r.Status, r.NotAfter = StatusDue, t0.Add(left)
			r.NotBefore, r.RenewAt = r.NotAfter.Add(-90*aDay), r.NotAfter.Add(-margin)
		})
	}
	rollout := func(id problems.ID, state HostState) Detail {
		return of(func(r *Row, h *HostRow) {
			r.Status, r.RolloutProblem, h.State, h.Error = StatusBlocked, id, state, "refused"
		})
	}
	return map[problems.ID]Detail{
		problems.CertificateExpired:      of(func(r *Row, _ *HostRow) { r.Status, r.NotAfter = StatusExpired, t0.Add(-58*time.Second) }),
		problems.RevokedInUse:            of(func(r *Row, _ *HostRow) { r.Status = StatusRevoked }),
		problems.RestoreFailed:           rollout(problems.RestoreFailed, HostBlocked),
		problems.RolledBack:              rollout(problems.RolledBack, HostRolledBack),
		problems.RolloutBlocked:          rollout(problems.RolloutBlocked, HostVerified),
		problems.CertificateExpiringSoon: ends(2*aDay, 30*aDay),
		problems.CertificateExpiring:     ends(10*aDay, 30*aDay),
		problems.RenewalOverdue:          ends(20*aDay, 30*aDay),
		problems.ServedExpired:           of(func(_ *Row, h *HostRow) { h.Matches, h.ServedEnd, h.State = false, t0.Add(-time.Hour), HostDrifted }),
		problems.ServedDiffers: of(func(_ *Row, h *HostRow) {
			h.Matches, h.State, h.DriftedAt = false, HostDrifted, t0.Add(-time.Hour)
			h.VerifiedAt = h.DriftedAt
		}),
		problems.Drifted: of(func(_ *Row, h *HostRow) { h.Matches, h.State, h.DriftedAt = false, HostDrifted, t0.Add(-time.Minute) }),
		problems.ServedUnproven: of(func(r *Row, h *HostRow) {
			r.Status, h.State, h.Error, h.Matches = StatusBlocked, HostBlocked, "refused", false
		}),
		problems.NeverIssued: of(func(r *Row, h *HostRow) {
			*r = Row{Name: "web", Status: StatusPending, RolloutProblem: problems.RenewalFailed, Hosts: r.Hosts}
			*h = HostRow{Name: "a", State: HostPending}
		}),
		problems.RenewalFailed: of(func(r *Row, h *HostRow) { r.Status, h.Error = StatusRenewing, "no space" }),
		problems.GateWaiting: of(func(r *Row, _ *HostRow) {
			r.Status, r.Gate = StatusRenewing, &Waiting{By: "b", Text: "app on b does not have the root", Since: t0.Add(-time.Hour)}
		}),
		problems.OrphanedExpiring: of(func(r *Row, _ *HostRow) { r.Status, r.NotAfter = StatusOrphaned, t0.Add(5*aDay) }),
		problems.ProofOld:         of(func(_ *Row, h *HostRow) { h.VerifiedAt = t0.Add(-4 * aDay) }),
	}
}

func TestEachProblemOfACertificateIsThatOfItsRow(t *testing.T) {
	t.Parallel()
	for id, d := range opening() {
		p, ok := d.Problem(t0)
		row := problems.Of(id)
		if !ok || p.ID != id || p.Severity != row.Severity || p.Runbook != row.Runbook || p.Meaning != row.Meaning || d.Severity(t0) != row.Severity {
			t.Errorf("%s: %+v", id, p)
			continue
		}
		if p.Kind != "certificate" || p.Name != "web" || p.What == "" || len(p.Commands) == 0 || !strings.Contains(strings.Join(p.Commands, " "), " web") {
			t.Errorf("%s: %+v", id, p)
		}
		if _, err := os.Stat("../docs/runbooks/" + p.Runbook + ".md"); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, row := range problems.All() { // the states above are all there are
		_, ok := opening()[row.ID]
		if about := strings.Contains(row.Commands[0], "{certificate}"); about && row.NoStatus == "" && !ok {
			t.Errorf("no state opens %s", row.ID)
		}
	}
}

func TestAProblemSaysWhenInPlainWords(t *testing.T) {
	t.Parallel()
	states := opening()
	blocked := states[problems.RolloutBlocked]
	retry := Rollout{Phase: PhaseBlocked, EndedAt: t0.Add(-3 * time.Minute)}
	blocked.Rollout = &RolloutView{retry, Waits{{Kind: WaitPerson, Since: t0.Add(-3 * time.Minute), Until: t0.Add(5 * time.Hour)}}}
	guarded := states[problems.RolloutBlocked]
	guarded.Rollout = &RolloutView{Rollout{Phase: PhaseRolling}, Waits{{Kind: WaitGuard, Host: "a", Since: t0.Add(-2 * aDay)}}}
	for want, d := range map[string]Detail{
		"expired 58 s ago":                                          states[problems.CertificateExpired],
		"expires in 2 d and was not renewed":                        states[problems.CertificateExpiringSoon],
		"renewal overdue for 10 d, expires in 20 d":                 states[problems.RenewalOverdue],
		"blocked for 3 min, next automatic retry in 5 h":            blocked,
		"blocked for 2 d, needs manual action":                      guarded,
		"renewal on a failed, retrying":                             states[problems.RenewalFailed],
		"the service on a cannot be reached or probed":              states[problems.ServedUnproven],
		"waits for 1 h for b":                                       states[problems.GateWaiting],
		"was changed on a; the next pass restores it":               states[problems.Drifted],
		"another certificate is in place or served on a":            states[problems.ServedDiffers],
		"left the fleet file, is still in place and expires in 5 d": states[problems.OrphanedExpiring],
	} {
		if p, _ := d.Problem(t0); p.What != want {
			t.Errorf("got %q, want %q", p.What, want)
		}
	}
	if p, _ := states[problems.GateWaiting].Problem(t0); p.Host != "b" || !slices.Contains(p.Commands, "renewer doctor b") {
		t.Errorf("the host that holds the gate: %+v", p)
	}
}

func TestProblemsOfTheSystemAreThoseOfTheirRows(t *testing.T) {
	t.Parallel()
	st := SystemStatus{
		Daemon:   DaemonStatus{FleetError: "unknown key", LastCheck: t0.Add(-time.Hour), CheckWithin: 30 * time.Minute},
		Issuers:  []IssuerStatus{{Name: "ca", Since: t0.Add(-time.Hour), Rotation: &RotationView{Stage: "add_root", Blocked: true}, CAs: []CAStatus{{"CN=soon", t0.Add(20 * aDay)}, {"CN=later", t0.Add(80 * aDay)}, {"CN=over", t0.Add(-time.Second)}, {"CN=long", t0.Add(800 * aDay)}}}},
		Channels: []ChannelStatus{{Name: "hook", LastError: "500"}, {Name: "mail"}, {Name: "stuck", WaitingSince: t0.Add(-3 * time.Hour)}},
	}
	for range MostProblems + 2 {
		st.Hosts = append(st.Hosts, HostStatus{Name: "h"})
	}
	want := map[problems.ID]int{
		problems.CheckNotRunning: 1, problems.FleetFileRefused: 1, problems.IssuerDown: 1, problems.CARotationBlocked: 1,
		problems.CAExpiringSoon: 2, problems.CAExpiring: 1, problems.NotifyFailing: 1, problems.NotifyStuck: 1, problems.HostUnreachable: MostProblems + 2,
	}
	for id, n := range st.Count(t0) {
		if n != want[id] {
			t.Errorf("%s: %d, want %d", id, n, want[id])
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("not counted: %v", want)
	}
	list := Problems(st, nil, t0)
	if !slices.IsSortedFunc(list, func(a, b Problem) int { return strings.Compare(string(a.Severity), string(b.Severity)) }) {
		t.Error("the worst does not come first")
	}
	var hosts int
	for _, p := range list {
		if row := problems.Of(p.ID); p.Severity != row.Severity || p.Runbook != row.Runbook || p.What == "" || len(p.Commands) == 0 {
			t.Errorf("%+v", p)
		}
		if p.ID == problems.HostUnreachable {
			hosts++
		}
	}
	if hosts != MostProblems+1 {
		t.Errorf("%d lines about hosts", hosts)
	}
	if got := Problems(SystemStatus{}, nil, t0); got == nil || len(got) > 0 {
		t.Errorf("a fleet that is well: %+v", got)
	}
}

// Whatever a row holds, its worst problem is one of those that are open, and none is worse.
func TestTheWorstProblemIsTheWorst(t *testing.T) {
	t.Parallel()
	statuses := []Status{StatusPending, StatusValid, StatusDue, StatusRenewing, StatusBlocked, StatusExpired, StatusRevoked, StatusOrphaned}
	states := []HostState{HostPending, HostStaged, HostActivated, HostVerified, HostRolledBack, HostBlocked, HostDrifted, HostUnknown}
	rapid.Check(t, func(t *rapid.T) {
		at := func(label string) time.Time {
			return t0.Add(time.Duration(rapid.IntRange(-40, 90).Draw(t, label)) * aDay)
		}
		r := Row{Name: "web", Status: rapid.SampledFrom(statuses).Draw(t, "status"), NotBefore: t0.Add(-50 * aDay), NotAfter: at("end"), RenewAt: at("renew")}
		r.RolloutProblem = rapid.SampledFrom([]problems.ID{"", problems.RolloutBlocked, problems.RolledBack, problems.RestoreFailed, problems.RenewalFailed}).Draw(t, "rollout")
		for range rapid.IntRange(0, 3).Draw(t, "hosts") {
			r.Hosts = append(r.Hosts, HostRow{
				Name: "h", State: rapid.SampledFrom(states).Draw(t, "state"), Matches: rapid.Bool().Draw(t, "matches"), Served: rapid.SampledFrom([]string{"", "ff"}).Draw(t, "served"),
				Error: rapid.SampledFrom([]string{"", "no"}).Draw(t, "error"), ServedEnd: at("served end"), VerifiedAt: at("verified"),
			})
		}
		worst, _ := r.Worst(t0)
		found := false
		r.Problems(t0, func(id problems.ID, _ *HostRow) {
			found = found || id == worst
			if problems.Rank(id) < problems.Rank(worst) {
				t.Fatalf("%s is worse than %s", id, worst)
			}
		})
		if p, ok := (Detail{Row: r}).Problem(t0); ok != (worst != "") || ok && (p.ID != worst || p.What == "" || !found) {
			t.Fatalf("%s: %+v", worst, p)
		}
	})
}
