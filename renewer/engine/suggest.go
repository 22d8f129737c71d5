package engine

import (
	"context"
	"time"

	"renewer/renewer"
)

// leastAgain and mostAgain are between two questions about one certificate.
const (
	leastAgain = time.Hour
	mostAgain  = 24 * time.Hour
)

// Suggestions asks the issuers that have an opinion until when they want the current
// certificates renewed, and brings forward what is due later than that. next has when each
// wants to be asked again, by certificate and fingerprint, and is brought up to date.
func (e *Engine) Suggestions(ctx context.Context, next map[string]time.Time) error {
	var fleet Fleet
	if err := e.do(ctx, func() { fleet = e.fleet }); err != nil {
		return err
	}
	var names []string
	for _, c := range fleet.Certificates {
		if _, ok := Can[Suggests](fleet.Issuers[c.Issuer]); ok && !c.IsBundle() {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	all, err := e.Store.Recorded(names)
	if err != nil {
		return err
	}
	for _, r := range all {
		g, now := r.Current, e.Now()
		if g == nil || !g.RevokedAt.IsZero() || !now.Before(g.RenewAt) || now.Before(next[g.Certificate+g.Fingerprint]) {
			continue
		}
		is, ok := Can[Suggests](fleet.Issuers[g.Request.Issuer])
		chain, err := g.Parse()
		if !ok || err != nil {
			continue // it is of another issuer, or was adopted
		}
		s, err := is.RenewBy(ctx, chain.Leaf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			e.Log.Warn("an issuer did not answer until when a certificate should be renewed", "certificate", g.Certificate, "error", err)
		}
		next[g.Certificate+g.Fingerprint] = now.Add(min(max(s.Again, leastAgain), mostAgain))
		if !s.By.IsZero() && s.By.Before(g.RenewAt) {
			if err := e.try(ctx, func() error { return e.hasten(*g, s) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasten brings the renewal of a generation forward, if it is the current one still.
func (e *Engine) hasten(asked renewer.Generation, s renewer.Suggestion) error {
	c, ok := e.fleet.Certificate(asked.Certificate)
	if !ok {
		return nil
	}
	en, _, err := e.load(c.Name, c)
	if err != nil || en.current == nil || en.current.Number != asked.Number {
		return err
	}
	g := *en.current
	before, err := e.generation(c.Name, g.Number-1)
	if err != nil {
		return err
	}
	at, sooner := s.Sooner(g, before)
	if !sooner {
		return nil
	}
	g.RenewAt = at
	why := "renew time is now " + at.Format(time.RFC3339) + ": issuer " + g.Request.Issuer + " wants it renewed by then"
	if s.Why != "" {
		why += ", see " + s.Why
	}
	_, err = e.rewrite(renewer.Rewritten{Generation: g, Events: []renewer.Event{{
		Time: e.Now(), Type: renewer.EventRescheduled, Certificate: c.Name, Generation: g.Number, Message: why,
	}}})
	if err == nil && e.onItsOwn {
		e.consider([]string{c.Name})
	}
	return err
}
