package forecast

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"renewer/renewer"
	"renewer/renewer/rotation"
)

// A CA that is replaced by itself (rotate_at) makes three waves: the next root goes into
// the ca files, certificates are issued again, the old root leaves. rotation.Decide says
// when each begins; the planner makes the rollouts of it. While it is played, the roots
// of an issuer are called by its name and a number.

// turnover is the last replacement of an issuer's CA.
type turnover struct {
	issuer   string
	number   int // of the CA that signs, or is to
	rotation rotation.Rotation
	signs    string // its root
}

func rootOf(issuer string, number int) string { return issuer + "#" + strconv.Itoa(number) }

func (t *turnover) old() string  { return rootOf(t.issuer, t.number-1) }
func (t *turnover) next() string { return rootOf(t.issuer, t.number) }

// How soon a replacement that is under way is looked at: after a rollout ended, and for
// what only time changes.
const (
	stepSoon  = time.Minute
	stepEvery = time.Hour
)

// moved has replacements looked at, because a rollout ended.
func (p *player) moved() {
	for _, t := range p.turnovers {
		if soon := p.now.Add(stepSoon); !t.rotation.Stage.Over() && p.stepAt.After(soon) {
			p.stepAt = soon
		}
	}
}

// signing is the root of the CA that signs.
func (p *player) signing(issuer string) string {
	if t := p.turnovers[issuer]; t != nil {
		return t.signs
	}
	return rootOf(issuer, 0)
}

// wanted returns the roots of an issuer that belong into ca files.
func (p *player) wanted(issuer string) renewer.RootSet {
	t := p.turnovers[issuer]
	switch {
	case t == nil && p.issuers[issuer].Standby:
		return renewer.NewRootSet(rootOf(issuer, 0), rootOf(issuer, 1))
	case t == nil:
		return renewer.NewRootSet(rootOf(issuer, 0))
	case t.rotation.Stage == rotation.DropRoot || t.rotation.Stage.Over():
		if p.issuers[issuer].Standby {
			return renewer.NewRootSet(t.next(), rootOf(issuer, t.number+1))
		}
		return renewer.NewRootSet(t.next())
	default:
		return renewer.NewRootSet(t.old(), t.next())
	}
}

// rootsOf returns the roots that belong into a ca file of a certificate.
func (p *player) rootsOf(c renewer.Certificate, pl renewer.Placement) renewer.RootSet {
	if _, has := pl.Files[renewer.FileCA]; !has {
		return nil
	}
	var all renewer.RootSet
	for _, issuer := range c.Trust {
		all = all.With(p.wanted(issuer))
	}
	return all
}

// observed is what the planner knows of a certificate.
func (p *player) observed(c *certificate) renewer.Observed {
	o := renewer.Observed{Record: c.Record, Current: c.Current, Rolling: c.Rolling}
	if len(p.turnovers) == 0 {
		return o
	}
	o.Roots = func(host string) renewer.RootSet {
		pl, _ := c.Certificate.Placement(host)
		return p.rootsOf(c.Certificate, pl)
	}
	if t := p.turnovers[c.Certificate.Issuer]; t != nil && c.Current != nil {
		o.Under, o.Trusted = c.Current.Under, renewer.NewRootSet(t.signs)
	}
	return o
}

// rotate begins the replacements whose time has come, and steps those under way.
func (p *player) rotate() {
	for name, is := range p.issuers {
		t := p.turnovers[name]
		if !is.RotateAt.IsZero() && !p.now.Before(is.RotateAt) && (t == nil || t.rotation.Stage.Over()) {
			n := 1
			if t != nil {
				n = t.number + 1
			}
			t = &turnover{issuer: name, number: n, signs: rootOf(name, n-1)}
			t.rotation = rotation.Rotation{Issuer: name, Kind: rotation.Made, Stage: rotation.AddRoot, StartedAt: p.now, From: caOf(t.old()), To: caOf(t.next())}
			p.turnovers[name] = t
			p.rotates(t, "rotate_at: the root of the next CA goes into the ca files first")
		}
		if t != nil && !t.rotation.Stage.Over() && !p.now.Before(p.stepAt) {
			p.step(t)
		}
	}
	p.stepAt = time.Time{}
	for name, is := range p.issuers {
		if t := p.turnovers[name]; t != nil && !t.rotation.Stage.Over() {
			p.stepAt = p.now.Add(stepEvery)
		} else if !is.RotateAt.IsZero() && (p.stepAt.IsZero() || is.RotateAt.Before(p.stepAt)) {
			p.stepAt = is.RotateAt
		}
	}
}

func caOf(root string) rotation.CA { return rotation.CA{Root: root, Fingerprint: root} }

func (p *player) rotates(t *turnover, what string) {
	p.events = append(p.events, Event{Time: p.now, Kind: CARotates, Issuer: t.issuer, Reason: what})
	for _, c := range p.all {
		if c.Certificate.Issuer == t.issuer || slices.Contains(c.Certificate.Trust, t.issuer) {
			p.wake(c, p.now)
		}
	}
}

// step looks at what is in place, and goes on.
func (p *player) step(t *turnover) {
	is, d := p.issuers[t.issuer], rotation.Decide(t.rotation, p.inPlace(t), p.now)
	if d.Switch {
		t.signs, t.rotation.SwitchedAt = t.next(), p.now
		if is.RotateAt = is.again(p.now); is.Next > 0 && !is.Ends.IsZero() {
			is.Ends = p.now.Add(is.Next)
		}
		p.issuers[t.issuer] = is
		d = rotation.Decide(t.rotation, p.inPlace(t), p.now)
		p.rotates(t, "the next CA signs; certificates are issued again")
	}
	if d.Stage == t.rotation.Stage {
		return
	}
	t.rotation.Stage = d.Stage
	switch d.Stage {
	case rotation.DropRoot:
		p.rotates(t, "the old root leaves the ca files")
	case rotation.Done:
		p.rotates(t, fmt.Sprintf("the CA is replaced, %s after that began", short(p.now.Sub(t.rotation.StartedAt))))
	}
}

// again is when a CA that signs from now on is replaced.
func (is Issuer) again(now time.Time) time.Time {
	if is.Next <= 0 || is.Share <= 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(float64(is.Next) * float64(is.Share)))
}

// inPlace is what a replacement waits for.
func (p *player) inPlace(t *turnover) (o rotation.Observed) {
	o.Signing, o.Next = t.signs, t.next()
	var longest time.Duration
	for _, c := range p.all {
		own := c.Certificate.Issuer == t.issuer
		if own {
			longest = max(longest, c.Certificate.Lifetime)
		}
		trusts := slices.Contains(c.Certificate.Trust, t.issuer)
		for _, pl := range c.Certificate.Placements {
			st := c.Record.Placements[pl.Host]
			if !st.Placed() {
				continue
			}
			h := rotation.Holder{Name: pl.ID(), Certificate: c.Certificate.Name, Host: pl.Host, Away: p.away(pl.Host)}
			if _, has := pl.Files[renewer.FileCA]; has && trusts {
				if loaded, at := st.LoadedRoots(c.Certificate.Role(pl)); !loaded.Has(t.next()) && (!st.Roots.Has(t.next()) || at.IsZero() || p.now.Before(at)) {
					o.Lacking = append(o.Lacking, h)
				}
				if st.Roots.Has(t.old()) {
					o.Holding = append(o.Holding, h)
				}
			}
			if g := c.generation(st.Generation); own && !c.Certificate.IsBundle() && (g == nil || g.Under.Has(t.old())) {
				o.Presenting = append(o.Presenting, h)
			}
		}
	}
	if ends := p.issuers[t.issuer].Ends; !ends.IsZero() {
		o.SwitchBy = ends.Add(-longest)
	}
	return o
}
