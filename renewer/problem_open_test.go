package renewer_test

import (
	"slices"
	"testing"
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

func open(r renewer.Row, now time.Time) (out []problems.ID) {
	r.Problems(now, func(id problems.ID, _ *renewer.HostRow) { out = append(out, id) })
	slices.Sort(out)
	return out
}

// A rollout that stopped after it went back is blocked as well, as messages say; one
// that is retried is not.
func TestARolloutThatWentBackIsBlockedAsWell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		problem problems.ID
		status  renewer.Status
		state   renewer.HostState
		want    []problems.ID
	}{
		{problems.RolledBack, renewer.StatusBlocked, renewer.HostRolledBack, []problems.ID{problems.RolledBack, problems.RolloutBlocked}},
		{problems.RestoreFailed, renewer.StatusBlocked, renewer.HostBlocked, []problems.ID{problems.RestoreFailed, problems.RolloutBlocked}},
		{problems.RestoreFailed, renewer.StatusRenewing, renewer.HostBlocked, []problems.ID{problems.RestoreFailed}},
		{problems.RolloutBlocked, renewer.StatusBlocked, renewer.HostVerified, []problems.ID{problems.RolloutBlocked}},
	} {
		r := renewer.Row{
			Name: "web", Status: c.status, NotAfter: t0.Add(60 * aDay), RolloutProblem: c.problem,
			Hosts: []renewer.HostRow{{Name: "a", State: c.state, Matches: c.state != renewer.HostBlocked, VerifiedAt: t0}},
		}
		if got := open(r, t0); !slices.Equal(got, c.want) {
			t.Errorf("%s, %s: open are %v instead of %v", c.problem, c.status, got, c.want)
		}
	}
}
