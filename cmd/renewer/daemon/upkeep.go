package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"

	"golang.org/x/sync/errgroup"
)

// upkeep has each issuer do what is due besides orders.
func (a *App) upkeep(ctx context.Context) {
	for name, is := range a.parts.Load().issuers {
		if keeps, ok := engine.Can[engine.Upkeep](is); ok {
			if err := keeps.Upkeep(ctx); err != nil && ctx.Err() == nil {
				a.opts.log().Error("maintenance of the issuer failed; orders continue", "issuer", name, "error", err, "hint", renewer.Hint(err))
			}
		}
	}
}

// issuerFindings are how the issuers are: one that nothing is asked of is no failure.
func (a *App) issuerFindings(ctx context.Context) []renewer.Finding {
	p := a.parts.Load()
	found := make([]renewer.Finding, len(p.fleet.Issuers))
	var all errgroup.Group
	all.SetLimit(8)
	for i, is := range p.fleet.Issuers {
		all.Go(func() error {
			st := askIssuer(ctx, is.Name, is.Type, p.issuers[is.Name], askHealth)
			if name := "issuer " + is.Name; !strings.HasPrefix(st.Error, name) {
				st.Error = name + ": " + st.Error
			}
			found[i] = renewer.Finding{Check: "issuer", Level: renewer.FindingOK, Text: "issuer " + is.Name + " answers"}
			switch used := slices.ContainsFunc(p.fleet.Certificates, func(c renewer.Certificate) bool {
				return c.Issuer == is.Name || slices.Contains(c.Trust, is.Name)
			}); {
			case st.Up:
			case used:
				found[i].Level, found[i].Text, found[i].Fix = renewer.FindingFail, st.Error, st.Hint
			default:
				found[i].Level, found[i].Text, found[i].Fix = renewer.FindingWarn, st.Error+"; no certificate needs it", st.Hint
			}
			return nil
		})
	}
	_ = all.Wait() // the answers carry their errors
	return found
}

// suggestions has the renewals brought forward that issuers want sooner.
func (a *App) suggestions(ctx context.Context) {
	if !a.suggesting.TryLock() {
		return // the call before has not asked about all certificates yet
	}
	defer a.suggesting.Unlock()
	if err := a.eng.Suggestions(ctx, a.suggested); err != nil && ctx.Err() == nil {
		a.opts.log().Error("renewals could not be brought forward as issuers suggest", "error", err)
	}
}

// shortened are the certificates that ask for a longer life than their issuer gives,
// one finding an issuer and lifetime.
func (p *parts) shortened() (out []renewer.Finding) {
	for _, is := range p.fleet.Issuers {
		limited, ok := engine.Can[engine.Limited](p.issuers[is.Name])
		if !ok {
			continue
		}
		limit, known := limited.Longest()
		if !known {
			continue
		}
		type asks struct {
			life      time.Duration
			tolerates bool // an outage that does not fit into what it is given
		}
		asksFor := func(c renewer.Certificate) asks {
			return asks{c.Lifetime, c.Renewal.Lead > renewer.MostLead(limit.Longest)}
		}
		more, order := map[asks]int{}, []renewer.Certificate{}
		for _, c := range p.fleet.Certificates {
			if c.Issuer != is.Name || c.Lifetime <= limit.Longest {
				continue
			}
			if more[asksFor(c)]++; more[asksFor(c)] == 1 {
				order = append(order, c)
			}
		}
		for _, c := range order {
			most, outcome := configs.FormatDuration(limit.Longest), "it will be issued for that long only"
			f := renewer.Finding{Check: "lifetime", Certificate: c.Name, Level: renewer.FindingWarn}
			switch {
			case limit.Refuses:
				f.Level, outcome = renewer.FindingFail, "it will be refused"
			case asksFor(c).tolerates:
				f.Level, outcome = renewer.FindingFail, "its tolerate: does not fit into that"
			}
			f.Text = fmt.Sprintf("asks for %s, and issuer %s gives at most %s: %s", configs.FormatDuration(c.Lifetime), is.Name, most, outcome)
			f.Fix = fmt.Sprintf("set lifetime: %s, or %s", most, strings.ReplaceAll(limit.Raise, "LIFETIME", fmt.Sprintf("%ds", c.Lifetime/time.Second)))
			if n := more[asksFor(c)] - 1; n > 0 {
				f.Text += fmt.Sprintf(" (and %d more)", n)
			}
			out = append(out, f)
		}
	}
	return out
}
