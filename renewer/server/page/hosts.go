package page

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

func hostLink(name string) string        { return "/hosts/" + url.PathEscape(name) }
func certificateLink(name string) string { return "/certificates/" + url.PathEscape(name) }

// hostsPage is the list of hosts.
type hostsPage struct {
	Filter filter
	Up     int
	Down   int
	Hosts  []*hostSummary
	Pager  pager
}

// Class is that of the verdict.
func (h hostsPage) Class() string {
	if h.Down > 0 {
		return classes["down"]
	}
	return good
}

// Sign says the same without colour.
func (h hostsPage) Sign() string { return signs[h.Class()] }

// All is how many hosts there are.
func (h hostsPage) All() int { return h.Up + h.Down }

// hostSummary is a host with what is on it.
type hostSummary struct {
	renewer.HostStatus
	Certificates int
	Right        int       // proven to be as they should
	FirstEnd     time.Time // of what is served there
	Problem      string    // the first one of its certificates
	ProblemOf    string    // whose
}

// State is up or down.
func (h *hostSummary) State() string {
	if h.Up {
		return "up"
	}
	return "down"
}

func (h *hostSummary) severity() int {
	switch {
	case !h.Up:
		return 0
	case h.Problem != "":
		return 1
	default:
		return 2
	}
}

func (p *pages) hosts(r *http.Request, f *frame) (any, error) {
	f.Section, f.Title = "hosts", "Hosts"
	system, err := p.Source.System(r.Context())
	if err != nil {
		return nil, err
	}
	f.Daemon = system.Daemon
	page := hostsPage{Filter: parseFilter(r.URL.Query())}
	byName := make(map[string]*hostSummary, len(system.Hosts))
	for _, h := range system.Hosts {
		byName[h.Name] = &hostSummary{HostStatus: h}
		if h.Up {
			page.Up++
		} else {
			page.Down++
		}
	}
	err = p.Source.List(r.Context(), renewer.ListFilter{}, func(row renewer.Row) error {
		for _, h := range row.Hosts {
			if s := byName[h.Name]; s != nil {
				s.add(row, h)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	query := strings.ToLower(page.Filter.Query)
	for _, s := range byName {
		if strings.Contains(strings.ToLower(s.Name), query) && (page.Filter.Status != attention || s.severity() < 2) {
			page.Hosts = append(page.Hosts, s)
		}
	}
	slices.SortFunc(page.Hosts, func(a, b *hostSummary) int {
		return cmp.Or(cmp.Compare(a.severity(), b.severity()), cmp.Compare(a.Name, b.Name))
	})
	from, to := page.Filter.window(len(page.Hosts))
	page.Pager = page.Filter.pager("/hosts", "", len(page.Hosts))
	page.Hosts = page.Hosts[from:to]
	return page, nil
}

func (h *hostSummary) add(row renewer.Row, on renewer.HostRow) {
	h.Certificates++
	if on.State == renewer.HostVerified && !row.Wrong(on) {
		h.Right++
	}
	if end := on.ServedEnd; !end.IsZero() && (h.FirstEnd.IsZero() || end.Before(h.FirstEnd)) {
		h.FirstEnd = end
	}
	if h.Problem != "" {
		return
	}
	if on.Error != "" {
		h.Problem, h.ProblemOf = on.Error, row.Name
	} else if row.Wrong(on) {
		h.Problem, h.ProblemOf = "serves a different certificate than "+row.Name, row.Name
	}
}

// hostPage is one host.
type hostPage struct {
	Host    *hostSummary
	Class   string
	Problem *problem // of the host or, while it can be reached, of a certificate there
	Rows    []placed
	Pager   pager
}

// placed is one certificate on the host.
type placed struct {
	row
	On    renewer.HostRow
	Wrong bool
}

func (p *pages) host(r *http.Request, f *frame) (any, error) {
	f.Section = "hosts"
	name := r.PathValue("name")
	system, err := p.Source.System(r.Context())
	if err != nil {
		return nil, err
	}
	f.Daemon = system.Daemon
	i := slices.IndexFunc(system.Hosts, func(h renewer.HostStatus) bool { return h.Name == name })
	if i < 0 {
		return nil, notFound{"There is no host of this name, or it has not been checked yet", name}
	}
	f.Title = name
	page := hostPage{Host: &hostSummary{HostStatus: system.Hosts[i]}}
	query := parseFilter(url.Values{"page": r.URL.Query()["page"]})
	err = p.Source.List(r.Context(), renewer.ListFilter{Host: name}, func(row renewer.Row) error {
		for _, h := range row.Hosts {
			if h.Name != name {
				continue
			}
			if from := (query.Page - 1) * perPage; page.Host.Certificates >= from && len(page.Rows) < perPage {
				page.Rows = append(page.Rows, placed{newRow(row, f.Now), h, row.Wrong(h)})
			}
			page.Host.add(row, h)
			if down := page.Host.Error; down != "" && len(page.Rows) > 0 && strings.HasSuffix(h.Error, down) {
				page.Rows[len(page.Rows)-1].On.Error = "" // it stands above
			}
			if row.Status == renewer.StatusRenewing {
				f.Refresh = refreshLive
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page.Pager = query.pager(hostLink(name), "", page.Host.Certificates)
	page.Problem, err = p.problemOf(r.Context(), page.Host, f.Now)
	page.Class = good
	if page.Problem != nil {
		page.Class = page.Problem.Class
	}
	return page, err
}

func (p *pages) problemOf(ctx context.Context, h *hostSummary, now time.Time) (*problem, error) {
	list := renewer.Problems(renewer.SystemStatus{Hosts: []renewer.HostStatus{h.HostStatus}}, nil, now)
	if len(list) == 0 && h.ProblemOf != "" {
		d, _, err := p.Source.Show(ctx, h.ProblemOf)
		if err != nil {
			return nil, err
		}
		if found, ok := d.Problem(now); ok {
			list = append(list, found)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	t := newProblem(list[0])
	return &t, nil
}
