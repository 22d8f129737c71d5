package page

import (
	"net/http"
	"strings"

	"renewer/renewer"
)

// trustPage is who accepts whom.
type trustPage struct {
	Verdict verdict
	Pairs   []pair
	More    int // that are not shown
	Roots   []trustRoot
	AsOf    moment // where that is not now
}

type pair struct {
	renewer.TrustPair
	Presenters, Verifiers string
	Roots                 string
}

type trustRoot struct {
	renewer.TrustRoot
	Short, Foreign, Needed string
}

// Most of a matrix and of its members that a page shows; the command has all.
const (
	mostPairs   = 200
	mostMembers = 8
)

func (p *pages) trust(r *http.Request, f *frame) (any, error) {
	f.Section, f.Title = "trust", "Trust"
	system, err := p.Source.System(r.Context())
	if err != nil {
		return nil, err
	}
	t, err := p.Source.Trust(r.Context())
	if err != nil {
		return nil, err
	}
	f.Daemon = system.Daemon
	page := trustPage{}
	if f.Now.Sub(t.At) > refresh*1e9 {
		page.AsOf = f.When(t.At)
	}
	names := map[string]string{}
	for _, root := range t.Roots {
		names[root.ID] = root.Name()
		page.Roots = append(page.Roots, trustRoot{root, root.ID[:8], members(root.Foreign), members(root.NeededBy)})
	}
	failing := 0
	for i, each := range t.Pairs {
		if !each.State.Works() && !each.Coming {
			failing++
		}
		if i >= mostPairs {
			page.More++
			continue
		}
		var roots []string
		for _, id := range each.Under {
			roots = append(roots, strings.TrimSpace(id[:min(8, len(id))]+" "+names[id]))
		}
		page.Pairs = append(page.Pairs, pair{each, members(each.Presenters), members(each.Verifiers), strings.Join(roots, ", ")})
	}
	switch {
	case len(t.Pairs) == 0:
		page.Verdict = verdict{idle, "Nothing is in place yet that presents or checks a certificate"}
	case failing > 0:
		page.Verdict = verdict{warn, many(failing, "line") + " of " + thousands(len(t.Pairs)) + ": not accepted"}
	default:
		page.Verdict = verdict{good, "Every certificate in place is accepted by those that check it"}
	}
	return page, nil
}

func members(ids []string) string { return strings.Join(renewer.Members(ids, mostMembers), ", ") }
