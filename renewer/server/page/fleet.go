package page

import (
	"context"
	"net/http"
	"slices"
	"time"

	"renewer/renewer"
)

// fleetPage is the first page: the whole fleet at a glance.
type fleetPage struct {
	Verdict  verdict
	Problems []problem
	More     int // problems of certificates that are not shown
	Rollouts []*wave
	Counts   []count
	Bands    []band
	Ahead    *ahead
	Filter   filter
	Statuses []string
	Issuers  []renewer.IssuerStatus
	Rows     []row
	Columns  map[string]column
	Pager    pager
	CSV      string // addresses of the list, as it is filtered and sorted
	JSON     string
	Events   []renewer.Event
}

// count is how many certificates have a status.
type count struct {
	look
	N    int
	Link string
}

// band is how many certificates expire within a span of time.
type band struct {
	Label string
	N     int
	Share float64 // of the fullest band, in percent
	Class string
	Link  string
	Title string // what the link shows
}

// row is one line of the list.
type row struct {
	renewer.Row
	Life  *life
	Class string
	More  int // hosts that are not shown
}

// mostHosts is how many hosts a line names.
const mostHosts = 3

func newRow(r renewer.Row, now time.Time) row {
	out := row{Row: r, Life: lifeOf(r, now), Class: urgency(r, now)}
	if len(r.Hosts) > mostHosts { // those with a problem first
		hosts := slices.Clone(r.Hosts)
		slices.SortStableFunc(hosts, func(a, b renewer.HostRow) int { return rank(a, r) - rank(b, r) })
		out.Hosts, out.More = hosts[:mostHosts], len(hosts)-mostHosts
	}
	return out
}

func rank(h renewer.HostRow, r renewer.Row) int {
	if h.Error != "" || r.Wrong(h) {
		return 0
	}
	return 1
}

// walk is what one pass over the certificates gathers, in memory for one page.
type walk struct {
	now          time.Time
	filter       filter
	needle       needle
	total        int
	statuses     map[renewer.Status]int
	bands        []int // by bounds
	matched      int
	rows         []renewer.Row // of the page; to be sorted, all that match
	problems     []renewer.Row // the first of each class
	warnings     []renewer.Row
	critical     int // certificates with a critical problem
	withProblems int // with any
	waves        []*wave
}

// The bands of the time that certificates have left; the first is for those
// that have none.
var bands = []struct {
	label string
	below time.Duration
	class string
	link  filter
}{
	{"expired", 0, bad, filter{Status: string(renewer.StatusExpired)}},
	{"up to 1 day", day, warn, filter{Expiring: "1d"}},
	{"1–3 days", 3 * day, warn, filter{Expiring: "3d"}},
	{"3–7 days", 7 * day, busy, filter{Expiring: "7d"}},
	{"7–14 days", 14 * day, busy, filter{Expiring: "14d"}},
	{"14–30 days", 30 * day, good, filter{Expiring: "30d"}},
	{"30–90 days", 90 * day, good, filter{Expiring: "90d"}},
	{"over 90 days", 1 << 62, good, filter{}},
}

func (w *walk) take(r renewer.Row) error {
	w.total++
	w.statuses[r.Status]++
	if !r.NotAfter.IsZero() {
		left := r.NotAfter.Sub(w.now)
		for i := range bands {
			if left <= bands[i].below {
				w.bands[i]++
				break
			}
		}
	}
	switch r.Severity(w.now) {
	case renewer.SeverityCritical:
		w.withProblems++
		w.critical++
		if len(w.problems) < renewer.MostProblems {
			w.problems = append(w.problems, r)
		}
	case renewer.SeverityWarning:
		w.withProblems++
		if len(w.warnings) < renewer.MostProblems {
			w.warnings = append(w.warnings, r)
		}
	}
	if w.filter.matches(r, w.now, w.needle) {
		if from := (w.filter.Page - 1) * perPage; w.filter.Sort != "" || w.matched >= from && w.matched < from+perPage {
			w.rows = append(w.rows, r)
		}
		w.matched++
	}
	if len(w.waves) > 0 {
		entry := entryOf(r.Name)
		if i := slices.IndexFunc(w.waves, func(x *wave) bool { return x.Entry == entry }); i >= 0 {
			w.waves[i].take(r)
		}
	}
	return nil
}

// look walks over every certificate once; over all of them again where the
// page that was asked for lies behind the end.
func (p *pages) look(ctx context.Context, f filter, rollouts []renewer.RolloutView, now time.Time) (*walk, error) {
	for {
		w := &walk{now: now, filter: f, needle: f.needle(), statuses: map[renewer.Status]int{}, bands: make([]int, len(bands)), waves: waves(rollouts)}
		if err := p.Source.List(ctx, renewer.ListFilter{}, w.take); err != nil {
			return nil, err
		}
		from, to := f.window(w.matched)
		if from < w.matched && len(w.rows) == 0 {
			continue // f.Page is the last one now
		}
		w.filter = f
		if f.Sort != "" {
			w.rows = f.sorted(w.rows)[from:to]
		}
		for _, each := range w.waves {
			each.count()
		}
		return w, nil
	}
}

func (p *pages) fleet(r *http.Request, f *frame) (any, error) {
	f.Section, f.Title = "certificates", "Certificates"
	system, err := p.Source.System(r.Context())
	if err != nil {
		return nil, err
	}
	w, err := p.look(r.Context(), parseFilter(r.URL.Query()), system.Rollouts, f.Now)
	if err != nil {
		return nil, err
	}
	events, err := p.Source.Events(r.Context(), renewer.EventFilter{Limit: 8})
	if err != nil {
		return nil, err
	}
	slices.Reverse(events)
	f.Daemon = system.Daemon
	if w.statuses[renewer.StatusRenewing] > 0 || len(system.Rollouts) > 0 {
		f.Refresh = refreshLive
	}
	page := fleetPage{
		Rollouts: w.waves, Counts: w.counts(), Bands: w.drawn(), Statuses: statuses, Issuers: system.Issuers, Filter: w.filter,
		Columns: w.filter.columns("/", "#certificates"), Pager: w.filter.pager("/", "#certificates", w.matched), Events: events,
	}
	for _, r := range w.rows {
		page.Rows = append(page.Rows, newRow(r, f.Now))
	}
	page.CSV, page.JSON = w.filter.whole().link("/certificates.csv"), w.filter.whole().link("/certificates.json")
	if page.Problems, page.More, err = p.problems(r.Context(), system, w); err != nil {
		return nil, err
	}
	next, err := p.Source.Forecast(r.Context())
	if err != nil {
		return nil, err
	}
	page.Ahead = aheadOf(next)
	page.Verdict = judge(w, page.Problems, page.More)
	return page, nil
}

func (w *walk) counts() []count {
	var out []count
	for _, s := range statuses[1:] {
		st := renewer.Status(s)
		if n := w.statuses[st]; n > 0 || st == renewer.StatusValid {
			out = append(out, count{countLook(st), n, filter{Status: s}.link("/") + "#certificates"})
		}
	}
	return out
}

func (w *walk) drawn() []band {
	most := max(1, slices.Max(w.bands))
	out := make([]band, len(bands))
	for i, b := range bands {
		out[i] = band{Label: b.label, N: w.bands[i], Share: 100 * float64(w.bands[i]) / float64(most), Class: b.class}
		if out[i].N > 0 {
			out[i].Link, out[i].Title = b.link.link("/")+"#certificates", "all certificates"
			if b.link.Expiring != "" {
				out[i].Title = "all that expire within " + b.link.Expiring
			}
		}
	}
	return out
}
