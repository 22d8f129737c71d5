package page

import (
	"maps"
	"net/http"
	"path"
	"slices"

	"renewer/renewer"
)

// certificatePage is one certificate, whole.
type certificatePage struct {
	renewer.Detail
	Life     *life
	Class    string
	Axis     *axis
	Problem  *problem
	Wave     *wave // Rollout as it is shown
	Places   []place
	Events   []renewer.Event
	SANsMore int
}

// place is one host's part.
type place struct {
	renewer.PlacementView
	Wrong bool // it was seen to have something else
	Paths []string
}

// mostPlaces is how many hosts of one certificate are shown, those with a
// problem first; mostSANs how many names.
const (
	mostPlaces = 200
	mostSANs   = 100
)

func (p *pages) certificate(r *http.Request, f *frame) (any, error) {
	f.Section = "certificates"
	system, err := p.Source.System(r.Context())
	if err != nil {
		return nil, err
	}
	f.Daemon = system.Daemon
	d, ok, err := p.Source.Show(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound{"The fleet file has no certificate of this name", r.PathValue("name")}
	}
	f.Title = d.Name
	if d.Rollout != nil && !d.Rollout.Phase.Over() {
		f.Refresh = refreshLive
	}
	page := certificatePage{Detail: d, Life: lifeOf(d.Row, f.Now), Class: urgency(d.Row, f.Now), Axis: axisOf(d.Generations, f.Now)}
	if d.Rollout != nil {
		page.Wave = waves([]renewer.RolloutView{*d.Rollout})[0]
		page.Wave.count()
	}
	if found, ok := d.Problem(f.Now); ok {
		t := newProblem(found)
		page.Problem = &t
	}
	for _, view := range d.Placements {
		pl := place{PlacementView: view, Wrong: d.Wrong(view.HostRow)}
		for _, kind := range slices.Sorted(maps.Keys(view.Files)) {
			pl.Paths = append(pl.Paths, path.Join(view.Dir, view.Files[kind]))
		}
		page.Places = append(page.Places, pl)
	}
	slices.SortStableFunc(page.Places, func(a, b place) int { return rank(a.HostRow, d.Row) - rank(b.HostRow, d.Row) })
	page.Events, err = p.Source.Events(r.Context(), renewer.EventFilter{Certificate: d.Name, Limit: 20})
	slices.Reverse(page.Events)
	return page, err
}

// Shown are the places that the page has room for.
func (c certificatePage) Shown() []place { return c.Places[:min(len(c.Places), mostPlaces)] }

// Hidden is how many it leaves out.
func (c certificatePage) Hidden() int { return len(c.Places) - len(c.Shown()) }
