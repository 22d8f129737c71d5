package renewer_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"renewer/internal/testfleet"
	"renewer/renewer"
	"renewer/renewer/problems"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const aDay = 24 * time.Hour

// opening are details of certificates that have a problem at t0, by its id.
func opening() map[problems.ID]renewer.Detail {
	out := map[problems.ID]renewer.Detail{}
	for id, f := range testfleet.Open(t0) {
		if d, ok := f.Details["web"]; ok && problems.Of(id).NoStatus == "" {
			out[id] = d
		}
	}
	return out
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
	retry := renewer.Rollout{Phase: renewer.PhaseBlocked, EndedAt: t0.Add(-3 * time.Minute)}
	blocked.Rollout = &renewer.RolloutView{Rollout: retry, Waiting: renewer.Waits{{Kind: renewer.WaitPerson, Since: t0.Add(-3 * time.Minute), Until: t0.Add(5 * time.Hour)}}}
	guarded := states[problems.RolloutBlocked]
	retried := states[problems.RolledBack]
	retried.Status, retried.RolloutProblem, retried.Rollout = renewer.StatusRenewing, "", &renewer.RolloutView{Rollout: renewer.Rollout{Phase: renewer.PhaseRolling}}
	guarded.Rollout = &renewer.RolloutView{Rollout: renewer.Rollout{Phase: renewer.PhaseRolling, Steps: []renewer.Step{{Host: "a", Wait: &renewer.Wait{Kind: renewer.WaitPerson}}}}, Waiting: renewer.Waits{{Kind: renewer.WaitGuard, Host: "a", Since: t0.Add(-2 * aDay)}}}
	for want, d := range map[string]renewer.Detail{
		"rolled back on a, retrying":                                retried,
		"expired 58 s ago":                                          states[problems.CertificateExpired],
		"expires in 2 d and was not renewed":                        states[problems.CertificateExpiringSoon],
		"renewal overdue for 10 d, expires in 20 d":                 states[problems.RenewalOverdue],
		"blocked for 3 min, next automatic retry in 5 h":            blocked,
		"blocked for 2 d, needs manual action":                      guarded,
		"renewal on a failed, retrying":                             states[problems.RenewalFailed],
		"the service on a cannot be reached or probed":              states[problems.ServedUnproven],
		"waits for 1 h for b":                                       states[problems.GateWaiting],
		"was changed on a; renewer tries to restore it":             states[problems.Drifted],
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
	st := renewer.SystemStatus{
		Daemon:   renewer.DaemonStatus{FleetError: "unknown key", LastCheck: t0.Add(-time.Hour), CheckWithin: 30 * time.Minute},
		Issuers:  []renewer.IssuerStatus{{Name: "ca", Since: t0.Add(-time.Hour), Rotation: &renewer.RotationView{Stage: "add_root", Blocked: true}, CAs: []renewer.CAStatus{{Subject: "CN=soon", NotAfter: t0.Add(20 * aDay)}, {Subject: "CN=later", NotAfter: t0.Add(80 * aDay)}, {Subject: "CN=over", NotAfter: t0.Add(-time.Second)}, {Subject: "CN=long", NotAfter: t0.Add(800 * aDay)}}}},
		Channels: []renewer.ChannelStatus{{Name: "hook", LastError: "500"}, {Name: "mail"}, {Name: "stuck", WaitingSince: t0.Add(-3 * time.Hour)}},
	}
	for range renewer.MostProblems + 2 {
		st.Hosts = append(st.Hosts, renewer.HostStatus{Name: "h"})
	}
	want := map[problems.ID]int{
		problems.CheckNotRunning: 1, problems.FleetFileRefused: 1, problems.IssuerDown: 1, problems.CARotationBlocked: 1,
		problems.CAExpiringSoon: 2, problems.CAExpiring: 1, problems.NotifyFailing: 1, problems.NotifyStuck: 1, problems.HostUnreachable: renewer.MostProblems + 2,
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
	list := renewer.Problems(st, nil, t0)
	if !slices.IsSortedFunc(list, func(a, b renewer.Problem) int { return strings.Compare(string(a.Severity), string(b.Severity)) }) {
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
	if hosts != renewer.MostProblems+1 {
		t.Errorf("%d lines about hosts", hosts)
	}
	if got := renewer.Problems(renewer.SystemStatus{}, nil, t0); got == nil || len(got) > 0 {
		t.Errorf("a healthy fleet: %+v", got)
	}
}

// Whatever a row holds, its worst problem is one of those that are open, and none is worse.
func TestTheWorstProblemIsTheWorst(t *testing.T) {
	t.Parallel()
	statuses := []renewer.Status{renewer.StatusPending, renewer.StatusValid, renewer.StatusDue, renewer.StatusRenewing, renewer.StatusBlocked, renewer.StatusExpired, renewer.StatusRevoked, renewer.StatusOrphaned}
	states := []renewer.HostState{renewer.HostPending, renewer.HostStaged, renewer.HostActivated, renewer.HostVerified, renewer.HostRolledBack, renewer.HostBlocked, renewer.HostDrifted, renewer.HostUnknown}
	rapid.Check(t, func(t *rapid.T) {
		at := func(label string) time.Time {
			return t0.Add(time.Duration(rapid.IntRange(-40, 90).Draw(t, label)) * aDay)
		}
		r := renewer.Row{Name: "web", Status: rapid.SampledFrom(statuses).Draw(t, "status"), NotBefore: t0.Add(-50 * aDay), NotAfter: at("end"), RenewAt: at("renew")}
		r.RolloutProblem = rapid.SampledFrom([]problems.ID{"", problems.RolloutBlocked, problems.RolledBack, problems.RestoreFailed, problems.RenewalFailed}).Draw(t, "rollout")
		for range rapid.IntRange(0, 3).Draw(t, "hosts") {
			r.Hosts = append(r.Hosts, renewer.HostRow{
				Name: "h", State: rapid.SampledFrom(states).Draw(t, "state"), Matches: rapid.Bool().Draw(t, "matches"), Served: rapid.SampledFrom([]string{"", "ff"}).Draw(t, "served"),
				Error: rapid.SampledFrom([]string{"", "no"}).Draw(t, "error"), ServedEnd: at("served end"), VerifiedAt: at("verified"),
			})
		}
		worst, _ := r.Worst(t0)
		found := false
		r.Problems(t0, func(id problems.ID, _ *renewer.HostRow) {
			found = found || id == worst
			if problems.Rank(id) < problems.Rank(worst) {
				t.Fatalf("%s is worse than %s", id, worst)
			}
		})
		if p, ok := (renewer.Detail{Row: r}).Problem(t0); ok != (worst != "") || ok && (p.ID != worst || p.What == "" || !found) {
			t.Fatalf("%s: %+v", worst, p)
		}
	})
}

func TestFindingsOfTheDoctorNameTheirProblem(t *testing.T) {
	t.Parallel()
	found := renewer.Cataloged([]renewer.Finding{
		{Check: "reach", Host: "a", Level: renewer.FindingFail},
		{Check: "reach", Host: "b", Level: renewer.FindingOK},
		{Check: "blocked", Certificate: "web", Level: renewer.FindingFail, Problem: problems.RolledBack, Fix: "renewer renew web"},
		{Check: "disk", Host: "a", Level: renewer.FindingWarn, Fix: "make room"},
	})
	for i, want := range []struct {
		id           problems.ID
		runbook, fix string
	}{
		{problems.HostUnreachable, "RenewerHostUnreachable", "renewer status"},
		{},
		{problems.RolledBack, "RenewerRolledBack", "renewer renew web"},
		{"", "", "make room"},
	} {
		if f := found[i]; f.Problem != want.id || f.Runbook != want.runbook || f.Fix != want.fix {
			t.Errorf("%+v", f)
		}
	}
}
