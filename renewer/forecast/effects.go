package forecast

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"renewer/renewer"
	"renewer/renewer/traffic"
)

// What the world answers to an action: it is done, unless who is asked is away.

var errAway = errors.New("it is away")

// away reports whether an issuer or a host is away now.
func (p *player) away(name string) bool {
	return slices.ContainsFunc(p.outages, func(o Outage) bool { return o.Of == name && o.at(p.now) })
}

// outcome is how an action ends.
func (p *player) outcome(c *certificate, a renewer.Action) renewer.Outcome {
	out := renewer.Outcome{Action: a, At: p.now}
	if a.Kind == renewer.ActOrder {
		out.Generation, out.Err = p.order(c)
		return out
	}
	if p.away(a.Host) {
		out.Err, out.NotBegun = fmt.Errorf("%s: %w", a.Host, renewer.ErrUnreachable), a.Kind == renewer.ActActivate
		return out
	}
	st := c.Record.Placements[a.Host]
	i := slices.IndexFunc(c.Certificate.Placements, func(pl renewer.Placement) bool { return pl.Host == a.Host })
	if i < 0 {
		return out
	}
	pl := c.Certificate.Placements[i]
	switch a.Kind {
	case renewer.ActStage:
		out.Layout, out.Roots, out.Previous = c.layouts[i], p.rootsOf(c.Certificate, pl), st.Revision
		out.Revision = "r" + strconv.Itoa(c.Record.Rollouts) + "-forecast"
	case renewer.ActActivate:
		s, _ := c.Record.Rollout.Step(a.Host)
		out.Dir, out.Rereads, out.Settle = pl.Dir, rereads(c, s, pl), pl.Settle(c.Certificate)
		p.placed(c, a.Host)
	}
	return out
}

// rereads is when a service needs nothing done to it.
func rereads(c *certificate, s *renewer.Step, pl renewer.Placement) bool {
	st := c.Record.Placements[pl.Host]
	if !c.Record.Rollout.Requested && s.Previous != "" && pl.Uses(st, *s) {
		return true
	}
	return pl.Rereads(st, s.Layout, s.Roots)
}

// order signs, if the issuer is there and its CA lives long enough.
func (p *player) order(c *certificate) (*renewer.Generation, error) {
	cert, r := c.Certificate, c.Record.Rollout
	if p.away(cert.Issuer) {
		return nil, errAway
	}
	if held := func(pl renewer.Placement) bool { return !p.away(pl.Host) }; !cert.Rekey && c.Current != nil && !slices.ContainsFunc(cert.Placements, held) {
		return nil, errAway // its key is read back from a host
	}
	is := p.issuers[cert.Issuer]
	end := p.now.Add(c.lifetime(is))
	if !is.Ends.IsZero() && end.After(is.Ends) {
		if is.Refuses || is.Ends.Sub(p.now) < cert.Lifetime/10 {
			return nil, p.refuse(c, is)
		}
		end = is.Ends
	}
	g := renewer.Generation{
		Certificate: cert.Name, Number: c.Record.Latest + 1, Request: cert.Request(), NotBefore: p.now, NotAfter: end, IssuedAt: p.now,
		Renewal: cert.Renewal, Rollout: r.ID, Under: renewer.NewRootSet(p.signing(cert.Issuer)),
	}
	g.Fingerprint = cert.Name + "#" + strconv.Itoa(g.Number) // the same in each forecast, and so its jitter is
	g.RenewAt = cert.Renewal.Time(g)
	p.events = append(p.events, Event{Time: p.now, Kind: Renewal, Certificate: cert.Name, Issuer: cert.Issuer, Reason: r.Why()})
	return &g, nil
}

// lifetime is what the issuer gives: what it gave last, where that was less than what it
// was asked for and not because its CA expires.
func (c *certificate) lifetime(is Issuer) time.Duration {
	asked, g := c.Certificate.Lifetime, c.Current
	if g == nil || g.Request.Lifetime != asked || g.Request.Issuer != c.Certificate.Issuer || !is.Ends.IsZero() && !g.NotAfter.Before(is.Ends) {
		return asked
	}
	if given := g.NotAfter.Sub(g.IssuedAt); given > 0 && given < asked-time.Minute {
		return given
	}
	return asked
}

func (p *player) refuse(c *certificate, is Issuer) error {
	name := c.Certificate.Issuer
	err := fmt.Errorf("issuer %s refuses what would outlive its CA, which expires at %s", name, is.Ends.UTC().Format(time.RFC3339))
	if !p.refused[name] {
		p.refused[name] = true
		p.events = append(p.events, Event{Time: p.now, Kind: Refused, Certificate: c.Certificate.Name, Issuer: name, Reason: err.Error()})
	}
	c.over = !p.now.Before(is.Ends) && (c.Current == nil || !p.now.Before(c.Current.NotAfter))
	return &renewer.Error{Class: renewer.ClassRefused, Err: err}
}

// placed notes until when a host has what goes live there now.
func (p *player) placed(c *certificate, host string) {
	if g := c.Rolling; g != nil {
		p.ends.add(g.NotAfter, ending{c, host, g.Number})
	}
}

// expiries notes until when the hosts of a certificate have what is in place.
func (p *player) expiries(c *certificate) {
	for _, pl := range c.Certificate.Placements {
		st, end := c.Record.Placements[pl.Host], time.Time{}
		switch g := c.generation(st.Generation); {
		case c.Certificate.IsBundle() || !st.Placed():
		case g != nil:
			end = g.NotAfter
		default: // an earlier one, of which the probe knows the end
			end = st.ServedEnd
			c.earlier = append(c.earlier, &renewer.Generation{Number: st.Generation, Request: c.Certificate.Request(), NotAfter: end, IssuedAt: end.Add(-c.Certificate.Lifetime)})
		}
		if end.After(p.from) {
			p.ends.add(end, ending{c, pl.Host, st.Generation})
		}
	}
}

// departed says when the placements expire that left the fleet file: nothing renews them.
func (p *player) departed(name string, left []renewer.Departed) {
	for _, d := range left {
		if d.NotAfter.After(p.from) && !p.retired(d.Host) && !p.back(name, d.Host) {
			p.events = append(p.events, Event{Time: d.NotAfter, Kind: Expires, Certificate: name, Host: d.Host, Issuer: d.Issuer, Reason: "it left the fleet file and is still in place; nothing renews it"})
		}
	}
}

// back reports whether a placement is in the fleet file.
func (p *player) back(name, host string) bool {
	c, ok := p.byName[name]
	if !ok {
		return false
	}
	_, ok = c.Certificate.Placement(host)
	return ok
}

// expired says that a placement has what expires, if it has it still.
func (p *player) expired(e ending, at time.Time) {
	st := e.c.Record.Placements[e.host]
	if st.Generation != e.generation {
		return
	}
	why := "it is not renewed in time"
	if e.c.Open() || e.c.Record.Rollout != nil {
		if text, _ := e.c.Record.Rollout.LastError(); text != "" {
			why = text
		}
	}
	for _, o := range p.outages {
		if (o.Of == e.c.Certificate.Issuer || o.Of == e.host) && !at.Before(o.From) {
			why = fmt.Sprintf("%s is away from %s to %s", o.Of, o.From.UTC().Format(time.RFC3339), o.From.Add(o.For).UTC().Format(time.RFC3339))
		}
	}
	p.events = append(p.events, Event{Time: at, Kind: Expires, Certificate: e.c.Certificate.Name, Host: e.host, Issuer: e.c.Certificate.Issuer, Reason: why})
}

// restart notes what a task does to a service.
func (p *player) restart(task traffic.Task) {
	if task[0].Kind != renewer.ActActivate || p.away(task[0].Host) {
		return
	}
	var names []string
	var first *certificate
	for _, a := range task {
		c := p.byName[a.Certificate]
		s, ok := c.Record.Rollout.Step(a.Host)
		pl, found := c.Certificate.Placement(a.Host)
		if !ok || !found || pl.Activate.Key() == "" || rereads(c, s, pl) {
			continue
		}
		if first == nil {
			first = c
		}
		names = append(names, c.Certificate.Name)
	}
	if first == nil {
		return
	}
	p.restarts = append(p.restarts, p.restartOf(first, task[0].Host, names))
}
