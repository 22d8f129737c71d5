package renewer_test

import (
	"errors"
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

// A certificate that expired in place is not unreachable as well, neither in the log nor
// in what is open; one that was not seen may be.
func TestAnExpiredCertificateIsNotUnreachable(t *testing.T) {
	t.Parallel()
	rejected := &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: errors.New("web expired")}
	for _, c := range []struct {
		name  string
		look  renewer.Look
		event renewer.EventType
		want  []problems.ID
	}{
		{"files that expired", renewer.Look{Kind: renewer.ProbeFile, Err: rejected, Seen: renewer.Observation{Served: "ab", NotAfter: t0}}, "", []problems.ID{problems.CertificateExpired}},
		{"served and expired", renewer.Look{Kind: renewer.ProbeTLS, Err: rejected, Seen: renewer.Observation{Served: "ab", NotAfter: t0}}, "", []problems.ID{problems.CertificateExpired}},
		{
			"refused for another reason",
			renewer.Look{Kind: renewer.ProbeTLS, Err: rejected, Seen: renewer.Observation{Served: "ab", NotAfter: t0.Add(aDay)}},
			renewer.EventUnreachable,
			[]problems.ID{problems.CertificateExpired, problems.ServedUnproven},
		},
		{
			"not seen",
			renewer.Look{Kind: renewer.ProbeTLS, Err: &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: errors.New("connection refused")}},
			renewer.EventUnreachable,
			[]problems.ID{problems.CertificateExpired, problems.ServedUnproven},
		},
	} {
		p := renewer.PlacementState{Generation: 1, State: renewer.HostVerified, Matches: true, VerifiedAt: t0.Add(-time.Minute)}
		c.look.At = t0
		var got renewer.EventType
		for _, e := range p.Observe(c.look, "web", "a") {
			got = e.Type
		}
		h := renewer.HostRow{Name: "a", State: p.State, Served: p.Served, ServedEnd: p.ServedEnd, Matches: p.Matches, Error: p.Error, VerifiedAt: p.VerifiedAt}
		r := renewer.Row{Name: "web", Status: renewer.StatusExpired, NotAfter: t0, Hosts: []renewer.HostRow{h}}
		if ids := open(r, t0); got != c.event || !slices.Equal(ids, c.want) {
			t.Errorf("%s: event %q, open %v (%+v)", c.name, got, ids, h)
		}
	}
}
