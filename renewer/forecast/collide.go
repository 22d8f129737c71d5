package forecast

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// restart is one service that is made to load its files.
type restart struct {
	Event
	service string // on its host
	group   string // peer group; empty: none
	serves  bool   // it is on the servers' side of the group
}

func (p *player) restartOf(c *certificate, host string, names []string) restart {
	pl, _ := c.Certificate.Placement(host)
	e := Event{Time: p.now, Kind: Reload, Certificate: c.Certificate.Name, Host: host, Issuer: c.Certificate.Issuer, Reason: pl.Activate.String()}
	if pl.Activate.Action == "restart" || pl.Activate.Kind == renewer.ActivateCommand {
		e.Kind = Restart
	}
	if len(names) > 1 {
		e.Reason += ", for " + strings.Join(names, ", ")
	}
	e.Reason += c.guarded(pl)
	if w, ok := p.fleet.Windows[c.Certificate.Window]; ok {
		e.Window = c.Certificate.Window
		if o, _ := p.window(e.Window); o.open {
			e.Until = closes(w, p.now)
		} else {
			e.Window, e.Reason = "", e.Reason+", outside of its window: it would expire before that opens"
		}
	}
	return restart{e, pl.Activate.Key(), c.Certificate.PeerGroup, slices.Contains(c.Certificate.Usages, renewer.UsageServer)}
}

// guarded says until when the guard of a placement may hold its restart up.
func (c *certificate) guarded(pl renewer.Placement) string {
	var ends []renewer.GuardDeadline
	if pl.GuardsDocker() && pl.Guard.Docker.WithoutLiveRestore != renewer.GuardForce {
		ends = append(ends, pl.Guard.Docker.GuardDeadline)
	}
	if pl.GuardsDagu() {
		ends = append(ends, pl.Guard.Dagu.GuardDeadline)
	}
	text := ""
	for _, end := range ends {
		switch text = "; its guard may hold it up"; {
		case end.Before <= 0 || c.Current == nil:
		case end.Then == renewer.GuardRestart:
			text += " until " + c.Current.NotAfter.Add(-end.Before).UTC().Format(time.RFC3339)
		default:
			text += "; from " + c.Current.NotAfter.Add(-end.Before).UTC().Format(time.RFC3339) + " on that needs manual action"
		}
	}
	return text
}

// closes is when a window that is open at t closes; zero where it stays open for a week
// or longer.
func closes(w Window, t time.Time) time.Time {
	_, opened := w.At(t.Add(-w.Duration)) // the first opening that lasts until after t
	end := opened.Add(w.Duration)
	for open, next := w.At(end); open && next.After(end); open, next = w.At(end) { // another opening lasts longer
		if end.Sub(t) >= Week {
			return time.Time{}
		}
		_, opened = w.At(end.Add(-w.Duration))
		if later := opened.Add(w.Duration); later.After(end) {
			end = later
			continue
		}
		break
	}
	if end.Sub(t) >= Week {
		return time.Time{}
	}
	return end
}

// near is how close two restarts are that get in each other's way.
const near = time.Hour

// many is how many hosts restart within a minute before that is worth a word.
const many = 10

// collisions finds restarts that get in each other's way: of one service twice, of both
// sides of a peer group, and of many hosts in one minute.
func collisions(all []restart) (out []Event) {
	type service struct{ host, key string }
	last := map[service]restart{}
	groups := map[string][]restart{}
	var minute []restart
	flush := func() {
		hosts := map[string]bool{}
		for _, r := range minute {
			hosts[r.Host] = true
		}
		if len(hosts) > many {
			first, end := minute[0], minute[len(minute)-1]
			out = append(out, Event{
				Time: first.Time, Until: end.Time, Kind: Collision, Window: first.Window,
				Reason: fmt.Sprintf("%d restarts on %d hosts begin in the same minute", len(minute), len(hosts)),
			})
		}
		minute = minute[:0]
	}
	for _, r := range all {
		if r.Kind != Restart {
			continue
		}
		s := service{r.Host, r.service}
		if before, ok := last[s]; ok && r.Time.Sub(before.Time) < near && before.Certificate != r.Certificate { // else it has to
			out = append(out, Event{
				Time: before.Time, Until: r.Time, Kind: Collision, Certificate: r.Certificate, Host: r.Host, Window: r.Window,
				Reason: fmt.Sprintf("the same service is restarted twice within %s: for %s and for %s (%s)", r.Time.Sub(before.Time).Round(time.Second), before.Certificate, r.Certificate, before.Reason),
			})
		}
		last[s] = r
		if r.group != "" {
			groups[r.group] = append(groups[r.group], r)
		}
		if len(minute) > 0 && r.Time.Sub(minute[0].Time) >= time.Minute {
			flush()
		}
		minute = append(minute, r)
	}
	flush()
	for name, list := range groups {
		out = append(out, sides(name, list)...)
	}
	return out
}

// sides finds the times at which both sides of a peer group restart.
func sides(group string, list []restart) (out []Event) {
	var run []restart
	flush := func() {
		servers := 0
		for _, r := range run {
			if r.serves {
				servers++
			}
		}
		if clients := len(run) - servers; servers > 0 && clients > 0 {
			out = append(out, Event{
				Time: run[0].Time, Until: run[len(run)-1].Time, Kind: Collision, Window: run[0].Window,
				Reason: fmt.Sprintf("both sides of peer group %s restart: %s and %s, one side after the other", group, number(servers, "server"), number(clients, "client")),
			})
		}
		run = run[:0]
	}
	for _, r := range list {
		if len(run) > 0 && r.Time.Sub(run[len(run)-1].Time) >= near {
			flush()
		}
		run = append(run, r)
	}
	flush()
	return out
}

// finish adds what follows from all that was played, and sorts.
func (p *player) finish() {
	for _, r := range p.restarts {
		p.events = append(p.events, r.Event)
	}
	p.events = append(p.events, collisions(p.restarts)...)
	p.events = slices.DeleteFunc(p.events, func(e Event) bool { return e.Time.After(p.until) })
	for i := range p.events {
		p.events[i].Time = p.events[i].Time.UTC()
		if !p.events[i].Until.IsZero() {
			p.events[i].Until = p.events[i].Until.UTC()
		}
	}
	slices.SortStableFunc(p.events, func(a, b Event) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.Certificate, b.Certificate), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Reason, b.Reason))
	})
}

var rank = map[Kind]int{Expires: 0, AtRisk: 1, Refused: 2, CAExpires: 3, CARotates: 4, Collision: 5, Renewal: 6, Restart: 7, Reload: 8}

// cas says when the CAs of an issuer expire.
func (p *player) cas(name string, is Issuer) {
	for _, ca := range is.CAs {
		if ca.NotAfter.After(p.from) {
			p.events = append(p.events, Event{Time: ca.NotAfter, Kind: CAExpires, Issuer: name, Reason: "CA " + ca.Subject + " expires"})
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
