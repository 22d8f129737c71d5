package renewer

import (
	"os"
	"slices"
	"testing"
	"time"
)

// A command that is named has to help: to renew what only does not answer, or to
// verify what is served as it should be, does not.
func TestAProblemNamesWhatHelps(t *testing.T) {
	t.Parallel()
	blocked := &RolloutView{Rollout: Rollout{Phase: PhaseBlocked}}
	waiting := &RolloutView{Rollout: Rollout{Phase: PhaseRolling}}
	host := func(state HostState, matches bool) []HostRow {
		return []HostRow{{Name: "a", State: state, Error: "no", Served: "ff", Matches: matches}}
	}
	for name, tt := range map[string]struct {
		Detail
		runbook  string
		commands []string
	}{
		"a stopped service": {
			Detail{Row: Row{Status: StatusBlocked, Hosts: host(HostBlocked, false)}},
			"RenewerServedUnproven",
			[]string{"renewer verify web", "renewer doctor a"},
		},
		"a blocked rollout": {
			Detail{Row: Row{Status: StatusBlocked, Hosts: host(HostBlocked, false)}, Rollout: blocked},
			"RenewerRolloutBlocked",
			[]string{"renewer show web", "renewer renew web", "renewer doctor a"},
		},
		"a host without space": {
			Detail{Row: Row{Status: StatusRenewing, Hosts: host(HostVerified, true)}, Rollout: waiting},
			"RenewerRenewalOverdue",
			[]string{"renewer show web", "renewer renew web", "renewer doctor a"},
		},
		"drift while a guard waits": {
			Detail{Row: Row{Status: StatusRenewing, Hosts: host(HostDrifted, false)}, Rollout: waiting},
			"RenewerServedDiffers",
			[]string{"renewer verify web", "renewer doctor a"},
		},
	} {
		tt.Name = "web"
		if got := tt.Problem(t0); got.Runbook != tt.runbook || !slices.Equal(got.Commands, tt.commands) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whatever is wrong, there is something to type and something to read.
func TestEveryProblemHasACommandAndARunbook(t *testing.T) {
	t.Parallel()
	host := func(state HostState, err, served string, matches bool) []HostRow {
		return []HostRow{{Name: "a", State: state, Error: err, Served: served, Matches: matches}}
	}
	end, renew := t0.Add(30*aDay), t0.Add(-aDay)
	rows := map[string]Row{
		"expired":     {Status: StatusExpired},
		"revoked":     {Status: StatusRevoked},
		"blocked":     {Status: StatusBlocked, Hosts: host(HostRolledBack, "refused", "", false)},
		"late":        {Status: StatusDue, RenewAt: t0.Add(-40 * aDay), NotAfter: end},
		"never":       {Status: StatusPending, Hosts: host(HostPending, "away", "", false)},
		"drifted":     {Status: StatusDue, RenewAt: renew, NotAfter: end, Hosts: host(HostDrifted, "", "ff", false)},
		"rolled back": {Status: StatusValid, Hosts: host(HostRolledBack, "refused", "ff", true)},
		"unproven":    {Status: StatusDue, Hosts: host(HostBlocked, "no answer", "", false)},
		"silent":      {Status: StatusDue, Hosts: host(HostBlocked, "", "", false)},
	}
	var certificates []Problem
	for name, r := range rows {
		r.Name = name
		if r.Severity(t0) == "" {
			t.Errorf("%s is no problem", name)
		}
		certificates = append(certificates, Detail{Row: r}.Problem(t0))
	}
	guarded := Detail{Row: Row{Name: "guarded", Status: StatusBlocked}, Rollout: &RolloutView{Rollout: Rollout{Steps: []Step{{Host: "a", Wait: &Wait{Kind: WaitPerson}}}}}}
	certificates = append(certificates, guarded.Problem(t0))
	st := SystemStatus{
		Daemon:   DaemonStatus{FleetError: "unknown key", LastCheck: t0.Add(-time.Hour)},
		Issuers:  []IssuerStatus{{Name: "ca", CAs: []CAStatus{{Subject: "soon", NotAfter: t0.Add(20 * aDay)}, {Subject: "later", NotAfter: t0.Add(80 * aDay)}, {Subject: "over", NotAfter: t0}, {Subject: "long", NotAfter: t0.Add(800 * aDay)}}}},
		Channels: []ChannelStatus{{Name: "hook", LastError: "500"}, {Name: "mail"}},
	}
	for range MostProblems + 2 {
		st.Hosts = append(st.Hosts, HostStatus{Name: "h"})
	}
	list := Problems(st, certificates, 30*time.Minute, t0)
	if len(list) != 2+len(rows)+1+MostProblems+1+4+1 {
		t.Errorf("%d problems: %+v", len(list), list)
	}
	if !slices.IsSortedFunc(list, func(a, b Problem) int {
		return slices.Index([]Severity{SeverityCritical, SeverityWarning}, a.Severity) - slices.Index([]Severity{SeverityCritical, SeverityWarning}, b.Severity)
	}) {
		t.Error("the worst does not come first")
	}
	for _, x := range list {
		if x.What == "" || x.Kind == "" || x.Name == "" || len(x.Commands) == 0 || x.Severity == "" {
			t.Errorf("%+v", x)
		}
		if _, err := os.Stat("../docs/runbooks/" + x.Runbook + ".md"); err != nil {
			t.Errorf("%+v: %v", x, err)
		}
	}
	if got := Problems(SystemStatus{}, nil, time.Hour, t0); got == nil || len(got) > 0 {
		t.Errorf("a fleet that is well: %+v", got)
	}
}
