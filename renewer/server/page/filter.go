package page

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
)

// perPage is how many rows a page shows.
const perPage = 50

// longestQuery bounds what is searched for.
const longestQuery = 200

// filter is what the form over a list asks for.
type filter struct {
	Query    string // part of a name, SAN, host, serial or fingerprint
	Status   string // a renewer.Status, or attention
	Issuer   string
	Host     string
	Expiring string // one of windows
	Sort     string // one of orders, the other way round with a '-' before it; empty: by expiry
	Page     int    // from 1
}

// attention stands for every status with a problem.
const attention = "attention"

var statuses = []string{
	attention, string(renewer.StatusValid), string(renewer.StatusDue), string(renewer.StatusRenewing), string(renewer.StatusPending),
	string(renewer.StatusBlocked), string(renewer.StatusExpired), string(renewer.StatusRevoked), string(renewer.StatusOrphaned), string(renewer.StatusUnknown),
}

// windows are the times within which certificates expire that can be asked for.
var windows = []struct {
	Name string
	Time time.Duration
}{{"1d", day}, {"3d", 3 * day}, {"7d", 7 * day}, {"14d", 14 * day}, {"30d", 30 * day}, {"90d", 90 * day}}

const day = 24 * time.Hour

// parseFilter reads a query; what makes no sense is left out.
func parseFilter(q url.Values) filter {
	text := func(key string) string {
		s := strings.TrimSpace(strings.ToValidUTF8(q.Get(key), ""))
		return s[:min(len(s), longestQuery)]
	}
	f := filter{Query: text("q"), Status: text("status"), Issuer: text("issuer"), Host: text("host"), Expiring: text("expiring"), Sort: text("sort"), Page: 1}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 && n < 1e6 {
		f.Page = n
	}
	if !slices.Contains(statuses, f.Status) {
		f.Status = ""
	}
	if orders[strings.TrimPrefix(f.Sort, "-")] == nil || f.Sort == byExpiry {
		f.Sort = ""
	}
	if f.within() == 0 {
		f.Expiring = ""
	}
	return f
}

func (f filter) within() time.Duration {
	for _, w := range windows {
		if w.Name == f.Expiring {
			return w.Time
		}
	}
	return 0
}

// Any reports whether anything is left out of the list.
func (f filter) Any() bool {
	f.Page, f.Sort = 0, ""
	return f != filter{}
}

func (f filter) matches(r renewer.Row, now time.Time, n needle) bool {
	switch {
	case f.Status == attention:
		if r.Severity(now) == "" {
			return false
		}
	case f.Status != "" && string(r.Status) != f.Status:
		return false
	}
	if f.Issuer != "" && r.Issuer != f.Issuer {
		return false
	}
	if w := f.within(); w > 0 && (r.NotAfter.IsZero() || r.NotAfter.Sub(now) >= w) {
		return false
	}
	onHost := func(h renewer.HostRow) bool { return h.Name == f.Host }
	if f.Host != "" && !slices.ContainsFunc(r.Hosts, onHost) {
		return false
	}
	return n.text == "" || n.in(r)
}

// needle is a piece of text that is looked for in many rows.
type needle struct {
	text string // in lower case
	hex  string // the same as a part of a serial or fingerprint; empty: too short for one
}

func (f filter) needle() needle {
	n := needle{text: strings.ToLower(f.Query)}
	if hex := strings.NewReplacer(":", "", " ", "").Replace(n.text); len(hex) >= 4 {
		n.hex = hex
	}
	return n
}

func (n needle) in(r renewer.Row) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), n.text) }
	return has(r.Name) || has(r.CommonName) || slices.ContainsFunc(r.SANs, has) ||
		slices.ContainsFunc(r.Hosts, func(h renewer.HostRow) bool { return has(h.Name) }) ||
		n.hex != "" && (strings.HasPrefix(r.Serial, n.hex) || strings.HasPrefix(r.Fingerprint, n.hex))
}

// link is the address of a page with this filter.
func (f filter) link(path string) string {
	q := url.Values{}
	for key, value := range map[string]string{"q": f.Query, "status": f.Status, "issuer": f.Issuer, "host": f.Host, "expiring": f.Expiring, "sort": f.Sort} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if f.Page > 1 {
		q.Set("page", strconv.Itoa(f.Page))
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// whole is the filter of all pages of the list.
func (f filter) whole() filter {
	f.Page = 1
	return f
}

// pager is where a page is in its list.
type pager struct {
	First, Last, Total int    // rows shown, counted from 1
	Prev, Next         string // addresses; empty: there is none
}

// window returns which of the rows are shown, and brings a page that lies
// behind the end back to the last one.
func (f *filter) window(total int) (from, to int) {
	f.Page = max(1, min(f.Page, (total+perPage-1)/perPage))
	from = (f.Page - 1) * perPage
	return from, min(total, from+perPage)
}

func (f filter) pager(path, anchor string, total int) pager {
	from, to := f.window(total)
	p := pager{First: min(from+1, total), Last: to, Total: total}
	if f.Page > 1 {
		prev := f
		prev.Page--
		p.Prev = prev.link(path) + anchor
	}
	if to < total {
		next := f
		next.Page++
		p.Next = next.link(path) + anchor
	}
	return p
}
