package page

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// trouble is something that a person should look at, and what to type.
type trouble struct {
	Class    string
	Kind     string // certificate, host, issuer, channel, daemon
	Name     string
	Link     string
	What     string // in a few words
	Error    string
	Hint     string
	Commands []string
}

// mostTroubles is how many troubles of one kind and class are shown.
const mostTroubles = 10

// A CA that ends within the first is a trouble, within the second a bad one.
const (
	caWarning  = 90 * day
	caCritical = 30 * day
)

// verdict is the state of the fleet in one sentence.
type verdict struct{ Class, Text string }

func (v verdict) Sign() string { return signs[v.Class] }

func judge(w *walk, troubles []trouble, more int) verdict {
	class := good
	for _, t := range troubles {
		if t.Class == bad || class == good {
			class = t.Class
		}
	}
	n := len(troubles) + more
	switch busyNow := w.statuses[renewer.StatusRenewing]; {
	case n == 1:
		return verdict{class, "1 thing needs attention"}
	case n > 1:
		return verdict{class, thousands(n) + " things need attention"}
	case w.total == 0:
		return verdict{idle, "The fleet file has no certificates yet"}
	case busyNow > 0:
		return verdict{busy, many(busyNow, "certificate") + " of " + thousands(w.total) + " being renewed, nothing needs attention"}
	case w.statuses[renewer.StatusValid] == w.total:
		return verdict{good, "All is well: " + many(w.total, "certificate") + " valid and proven in place"}
	default:
		return verdict{good, "Nothing needs attention; " + thousands(w.statuses[renewer.StatusValid]) + " of " + many(w.total, "certificate") + " valid and proven in place"}
	}
}

// troubles gathers what needs a person, the worst first, and how many more
// certificates there are than those shown.
func (p *pages) troubles(ctx context.Context, system renewer.SystemStatus, w *walk) (list []trouble, more int, err error) {
	list = daemonTroubles(system.Daemon, w.now, p.CheckWithin)
	rows := slices.Concat(w.troubles, w.warnings)
	rows = rows[:min(len(rows), mostTroubles)]
	for _, r := range rows {
		t, err := p.certificateTrouble(ctx, r, w.now)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, t)
	}
	list = append(list, hostTroubles(system.Hosts)...)
	for _, i := range system.Issuers {
		list = append(list, issuerTroubles(i, w.now)...)
	}
	for _, c := range system.Channels {
		if c.LastError != "" {
			list = append(list, trouble{
				Class: bad, Kind: "channel", Name: c.Name, Link: "/issuers#channels", What: "cannot be told: nobody hears of a trouble through it",
				Error: c.LastError, Hint: c.Hint, Commands: []string{"renewer notify test " + c.Name},
			})
		}
	}
	slices.SortStableFunc(list, func(a, b trouble) int { return cmp.Compare(severity[a.Class], severity[b.Class]) })
	return list, w.troubled - len(rows), nil
}

var severity = map[string]int{bad: 0, warn: 1}

func daemonTroubles(d renewer.DaemonStatus, now time.Time, within time.Duration) (list []trouble) {
	t := trouble{Class: bad, Kind: "daemon", Name: "renewer"}
	if d.FleetError != "" {
		t := t
		t.What, t.Error, t.Hint = "the fleet file was not taken over", d.FleetError, "the last good one still holds"
		t.Commands = []string{"renewer check"}
		list = append(list, t)
	}
	if age := now.Sub(d.LastCheck); !d.LastCheck.IsZero() && within > 0 && age > within {
		t := t
		t.What = "the last check ended " + span(age) + " ago; at most " + span(within) + " is expected"
		t.Commands = []string{"renewer status", "systemctl restart renewer"}
		list = append(list, t)
	}
	return list
}

func issuerTroubles(i renewer.IssuerStatus, now time.Time) (list []trouble) {
	t := trouble{Kind: "issuer", Name: i.Name, Link: "/issuers"}
	if !i.Up {
		t := t
		t.Class, t.What, t.Error, t.Hint, t.Commands = bad, "is down", i.Error, i.Hint, []string{"renewer check --online"}
		list = append(list, t)
	}
	for _, ca := range i.CAs {
		left := ca.NotAfter.Sub(now)
		if left > caWarning {
			continue
		}
		t := t
		t.Class, t.What, t.Commands = warn, "will not sign for long: its CA "+ca.Subject+" ends in "+span(left), []string{"renewer ca show " + i.Name}
		if left <= caCritical {
			t.Class = bad
		}
		if left <= 0 {
			t.What = "cannot sign: its CA " + ca.Subject + " has ended"
		}
		list = append(list, t)
	}
	return list
}

func hostTroubles(hosts []renewer.HostStatus) (list []trouble) {
	more := 0
	for _, h := range hosts {
		switch {
		case h.Up:
		case len(list) == mostTroubles:
			more++
		default:
			list = append(list, trouble{
				Class: bad, Kind: "host", Name: h.Name, Link: hostLink(h.Name), What: "cannot be reached", Error: h.Error, Hint: h.Hint,
				Commands: []string{"renewer doctor " + h.Name},
			})
		}
	}
	if more > 0 {
		list = append(list, trouble{
			Class: bad, Kind: "hosts", Name: many(more, "more host"), Link: "/hosts", What: "cannot be reached", Commands: []string{"renewer status"},
		})
	}
	return list
}

// certificateTrouble says what is wrong with a certificate and what to type.
func (p *pages) certificateTrouble(ctx context.Context, r renewer.Row, now time.Time) (trouble, error) {
	t := trouble{Class: urgency(r, now), Kind: "certificate", Name: r.Name, Link: certificateLink(r.Name)}
	d, ok, err := p.Source.Show(ctx, r.Name)
	if err != nil {
		return t, err
	}
	if ok {
		t.Error, t.Hint = d.LastError, d.Hint
	}
	renew := "renewer renew " + r.Name
	host := ""
	for _, h := range r.Hosts {
		if h.Error != "" || wrong(h, r) {
			host = h.Name
			break
		}
	}
	switch {
	case r.Status == renewer.StatusExpired:
		t.What, t.Commands = "has expired", []string{renew}
	case r.Status == renewer.StatusRevoked:
		t.What, t.Commands = "is revoked", []string{renew}
	case r.Status == renewer.StatusBlocked && d.Rollout != nil && d.Rollout.Held():
		t.What, t.Commands = "waits for a person: a guard keeps it from being activated", []string{renew + " --force"}
	case r.Status == renewer.StatusBlocked:
		t.What, t.Commands = "is blocked until a person has put right what stopped it", []string{"renewer show " + r.Name, renew}
	case late(r, now):
		t.What, t.Commands = "is late: half of the time to renew it in is over", []string{"renewer show " + r.Name, renew}
	case host != "":
		t.What, t.Commands = "is not right on "+host, []string{"renewer verify " + r.Name}
	default:
		t.What, t.Commands = "is "+string(r.Status), []string{"renewer show " + r.Name}
	}
	if host != "" {
		t.Commands = append(t.Commands, "renewer doctor "+host)
	}
	if t.Error == "" && host != "" && !strings.Contains(t.What, host) {
		t.Error = fmt.Sprintf("%s was seen to serve another certificate", host)
	}
	return t, nil
}
