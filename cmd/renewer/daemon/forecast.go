package daemon

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/forecast"
)

// Forecast implements server.Service.
func (a *App) Forecast(ctx context.Context, r forecast.Request) (forecast.Forecast, error) {
	fleet := a.parts.Load().fleet
	for _, o := range r.Outages {
		if _, issuer := fleet.Issuer(o.Of); !issuer && !a.hasHost(o.Of) {
			return forecast.Forecast{}, unknown(fmt.Errorf("%s has no issuer and no host %q", fleet.Path, o.Of))
		}
	}
	select { // one at a time: it may take seconds of a processor
	case a.playing <- struct{}{}:
		defer func() { <-a.playing }()
	case <-ctx.Done():
		return forecast.Forecast{}, ctx.Err()
	}
	f, err := a.ahead(ctx)
	if err != nil {
		return forecast.Forecast{}, err
	}
	now := time.Now().UTC()
	out, err := forecast.Play(ctx, f, forecast.Terms{From: now, Until: now.Add(r.For), Outages: r.Outages})
	out.Fleet = fleetName(fleet)
	return out, err
}

// ahead is what a forecast begins with. No issuer and no host is asked.
func (a *App) ahead(ctx context.Context) (f forecast.Fleet, err error) {
	p := a.parts.Load()
	states, roots, err := a.eng.States(ctx)
	if err != nil {
		return f, err
	}
	f = forecast.Fleet{Certificates: states, Windows: map[string]forecast.Window{}, Issuers: map[string]forecast.Issuer{}}
	retired := p.fleet.Retired()
	f.Retired = func(host string) bool { return slices.Contains(retired, host) }
	for _, s := range states {
		if w, ok := p.fleet.Window(s.Certificate.Window); ok {
			f.Windows[w.Name] = forecast.Window{At: w.At, Duration: w.Duration, Shut: w.LongestShut}
		}
	}
	if f.Orphans, err = a.departed(); err != nil {
		return f, err
	}
	for _, is := range p.fleet.Issuers {
		f.Issuers[is.Name] = issuerAhead(is, p.issuers[is.Name], roots[is.Name])
	}
	return f, nil
}

// nextLife is how long a CA lives that renewer makes.
const nextLife = 10 * 365 * 24 * time.Hour

// issuerAhead is what is known of an issuer without asking it.
func issuerAhead(is configs.Issuer, issuer engine.Issuer, roots []*x509.Certificate) (out forecast.Issuer) {
	signs := []*x509.Certificate(nil)
	if below, ok := engine.Can[engine.Intermediate](issuer); ok {
		signs = below.Intermediates()
	}
	if path, err := local.Certificates(localConfig(is)); is.Type == "local" && err == nil {
		signs, roots, out.Refuses = path, nil, true
		out.Share, out.Standby, out.Next = is.RotateAt, is.StandbyRoot, nextLife
		if life := path[0].NotAfter.Sub(path[0].NotBefore); is.RotateAt > 0 {
			out.RotateAt = path[0].NotBefore.Add(time.Duration(float64(life) * float64(is.RotateAt)))
		}
	}
	for _, ca := range append(slices.Clone(signs), roots...) {
		out.CAs = append(out.CAs, renewer.CAStatus{Subject: ca.Subject.String(), NotAfter: ca.NotAfter.UTC()})
	}
	if is.Type == "local" {
		for _, ca := range signs { // each of them is above what is signed
			out.Ends = earlier(out.Ends, ca.NotAfter)
		}
		return out
	}
	for _, level := range [][]*x509.Certificate{signs, roots} { // which of several signs is not known
		var last time.Time
		for _, ca := range level {
			if ca.NotAfter.After(last) {
				last = ca.NotAfter
			}
		}
		out.Ends = earlier(out.Ends, last)
	}
	return out
}

// earlier is the earlier of two times that are not zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
