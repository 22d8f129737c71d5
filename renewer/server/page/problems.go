package page

import (
	"context"
	"slices"

	"renewer/renewer"
)

// problem is one as a page shows it.
type problem struct {
	renewer.Problem
	Class string
	Link  string // to its own page
}

func newProblem(t renewer.Problem) problem {
	out := problem{Problem: t, Class: classOf(t.Severity)}
	switch t.Kind {
	case "certificate":
		out.Link = certificateLink(t.Name)
	case "host":
		out.Link = hostLink(t.Name)
	case "hosts":
		out.Link = "/hosts"
	case "issuer":
		out.Link = "/issuers"
	case "channel":
		out.Link = "/issuers#channels"
	}
	return out
}

// classOf is the class of a severity.
func classOf(s renewer.Severity) string {
	if s == renewer.SeverityCritical {
		return bad
	}
	return warn
}

func newProblems(list []renewer.Problem) (out []problem) {
	for _, t := range list {
		out = append(out, newProblem(t))
	}
	return out
}

// verdict is the state of the fleet in one sentence.
type verdict struct{ Class, Text string }

func (v verdict) Sign() string { return signs[v.Class] }

func judge(w *walk, problems []problem, more int) verdict {
	n, critical := len(problems)+more, w.critical
	for _, t := range problems {
		if t.Class == bad && t.Kind != "certificate" {
			critical++
		}
	}
	switch busyNow := w.statuses[renewer.StatusRenewing]; {
	case critical == 1 && n == 1:
		return verdict{bad, "1 critical problem"}
	case critical > 0:
		return verdict{bad, many(n, "problem") + ", " + thousands(critical) + " critical"}
	case n > 0:
		return verdict{warn, many(n, "problem")}
	case w.total == 0:
		return verdict{idle, "The fleet file has no certificates yet"}
	case busyNow > 0:
		return verdict{busy, many(busyNow, "certificate") + " of " + thousands(w.total) + " being renewed, no problems"}
	case w.statuses[renewer.StatusValid] == w.total-w.statuses[renewer.StatusOrphaned]:
		return verdict{good, "No problems: " + many(w.statuses[renewer.StatusValid], "certificate") + " valid and proven in place"}
	default:
		return verdict{good, "No problems; " + thousands(w.statuses[renewer.StatusValid]) + " of " + many(w.total, "certificate") + " valid and proven in place"}
	}
}

// problems gathers what needs attention, the worst first, and how many more
// certificates have a problem than those shown.
func (p *pages) problems(ctx context.Context, system renewer.SystemStatus, w *walk) (list []problem, more int, err error) {
	rows := slices.Concat(w.problems, w.warnings)
	rows = rows[:min(len(rows), renewer.MostProblems)]
	var certificates []renewer.Problem
	for _, r := range rows {
		d, ok, err := p.Source.Show(ctx, r.Name)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			d = renewer.Detail{Row: r}
		}
		d.Row = r
		if t, ok := d.Problem(w.now); ok {
			certificates = append(certificates, t)
		}
	}
	return newProblems(renewer.Problems(system, certificates, w.now)), w.withProblems - len(rows), nil
}
