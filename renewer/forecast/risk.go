package forecast

import (
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
)

// risks finds the entries that an outage of that length would expire if it began at the
// worst moment: when one of their certificates is renewed.
func (p *player) risks() {
	for _, o := range p.outages {
		seen := map[string]bool{}
		for _, s := range p.fleet.Certificates {
			c := s.Certificate
			onHost := func(pl renewer.Placement) bool { return pl.Host == o.Of }
			if c.IsBundle() || c.Issuer != o.Of && !slices.ContainsFunc(c.Placements, onHost) {
				continue
			}
			can, most := p.atWorst(p.byName[c.Name])
			if can >= o.For || seen[c.Entry] {
				continue
			}
			seen[c.Entry] = true
			e := Event{Time: p.from, Kind: AtRisk, Certificate: c.Name, Issuer: c.Issuer}
			if c.Issuer != o.Of {
				e.Host = o.Of
			}
			if g := s.Current; g != nil && g.RenewAt.After(p.from) {
				e.Time = g.RenewAt
			}
			e.Reason = fmt.Sprintf("it would expire if %s were away for %s when it is renewed: it tolerates %s then", o.Of, short(o.For), short(can))
			if o.For <= most {
				e.Reason += "; tolerate: " + short(o.For) + " has it renewed earlier"
			} else {
				e.Reason += ", and its lifetime is too short for more than " + short(most)
			}
			p.events = append(p.events, e)
		}
	}
}

// atWorst returns the outage that a certificate tolerates if that begins when it is
// renewed, as late as that can be, and the most that it can have for tolerate:.
func (p *player) atWorst(c *certificate) (can, most time.Duration) {
	cert, r := c.Certificate, c.Certificate.Renewal
	r.Jitter = 0
	life := c.lifetime(p.issuers[cert.Issuer])
	g := renewer.Generation{IssuedAt: p.from, NotAfter: p.from.Add(life)}
	left, need, shut := g.NotAfter.Sub(r.Time(g)), cert.RolloutTime(c.size), time.Duration(0)
	if w, ok := p.fleet.Windows[cert.Window]; ok && w.Shut != nil {
		if _, known := p.shut[cert.Window]; !known {
			p.shut[cert.Window] = w.Shut()
		}
		shut = p.shut[cert.Window]
	}
	tolerated := func(left time.Duration) time.Duration {
		if can := renewer.Tolerated(left, need); cert.Lead(can, need, shut) <= left {
			return can
		}
		return renewer.Tolerated(max(left-shut, min(left, cert.OverrideBefore)), need) // it may have waited for its window by then
	}
	return tolerated(left), tolerated(renewer.MostLead(life))
}

// short writes a duration in its two largest units, as the fleet file has them.
func short(d time.Duration) string {
	units := []struct {
		of   time.Duration
		name string
	}{{Day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units[:3] {
		if d >= u.of {
			text, next := fmt.Sprintf("%d%s", d/u.of, u.name), units[i+1]
			if rest := d % u.of / next.of; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, next.name)
			}
			return text
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
