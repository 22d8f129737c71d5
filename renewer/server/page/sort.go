package page

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// byExpiry is the order in which certificates come.
const byExpiry = "expiry"

// orders are the orders in which a list can be shown. What is equal stays in
// the order of expiry.
var orders = map[string]func(a, b renewer.Row) int{
	byExpiry: func(a, b renewer.Row) int { return earlier(a.NotAfter, b.NotAfter) },
	"name":   func(a, b renewer.Row) int { return strings.Compare(a.Name, b.Name) },
	"renew":  func(a, b renewer.Row) int { return earlier(a.RenewAt, b.RenewAt) },
	"issuer": func(a, b renewer.Row) int { return strings.Compare(a.Issuer, b.Issuer) },
	"status": func(a, b renewer.Row) int {
		return cmp.Compare(slices.Index(byUrgency, a.Status), slices.Index(byUrgency, b.Status))
	},
}

// byUrgency are the statuses, the worst first.
var byUrgency = []renewer.Status{
	renewer.StatusExpired, renewer.StatusRevoked, renewer.StatusBlocked, renewer.StatusDue, renewer.StatusRenewing, renewer.StatusPending,
	renewer.StatusUnknown, renewer.StatusOrphaned, renewer.StatusValid,
}

// earlier compares times; none comes last.
func earlier(a, b time.Time) int {
	if a.IsZero() != b.IsZero() {
		return map[bool]int{true: 1, false: -1}[a.IsZero()]
	}
	return a.Compare(b)
}

// sorted brings rows into the order that is asked for.
func (f filter) sorted(rows []renewer.Row) []renewer.Row {
	by, down := strings.CutPrefix(f.Sort, "-")
	if order := orders[by]; order != nil {
		slices.SortStableFunc(rows, func(a, b renewer.Row) int {
			if down {
				a, b = b, a
			}
			return order(a, b)
		})
	}
	return rows
}

// column is the header of a column that the list can be sorted by.
type column struct {
	Name, Link string
	Order      string // as aria-sort has it; empty: not by this one
}

// columns returns the headers for the addresses of a list.
func (f filter) columns(path, anchor string) map[string]column {
	by, down := strings.CutPrefix(cmp.Or(f.Sort, byExpiry), "-")
	out := map[string]column{}
	for key, name := range map[string]string{"name": "Certificate", "status": "Status", byExpiry: "Expires", "renew": "Renewal due", "issuer": "Issuer"} {
		c, next := column{Name: name}, f
		next.Page, next.Sort = 1, key
		if key == by {
			c.Order = "ascending"
			if next.Sort = "-" + key; down {
				c.Order, next.Sort = "descending", key
			}
		}
		if next.Sort == byExpiry {
			next.Sort = ""
		}
		c.Link = next.link(path) + anchor
		out[key] = c
	}
	return out
}

// choice is one option of a field.
type choice struct {
	Value, Label string
	Chosen       bool
}

// Orders are the options of the field for the order.
func (f filter) Orders() (out []choice) {
	for _, each := range []choice{{Value: byExpiry, Label: "expiry"}, {Value: "renew", Label: "renewal"}, {Value: "name", Label: "name"}, {Value: "issuer", Label: "issuer"}, {Value: "status", Label: "status"}} {
		for _, way := range []choice{each, {Value: "-" + each.Value, Label: each.Label + ", descending"}} {
			way.Chosen = way.Value == cmp.Or(f.Sort, byExpiry)
			out = append(out, way)
		}
	}
	return out
}
