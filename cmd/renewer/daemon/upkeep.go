package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"
)

// upkeep has each issuer do what is due besides orders.
func (a *App) upkeep(ctx context.Context) {
	for name, is := range a.parts.Load().issuers {
		if keeps, ok := engine.Can[engine.Upkeep](is); ok {
			if err := keeps.Upkeep(ctx); err != nil && ctx.Err() == nil {
				a.opts.log().Error("the upkeep of an issuer failed; orders go on", "issuer", name, "error", err, "hint", renewer.Hint(err))
			}
		}
	}
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
		more, order := map[time.Duration]int{}, []renewer.Certificate{}
		for _, c := range p.fleet.Certificates {
			if c.Issuer != is.Name || c.Lifetime <= limit.Longest {
				continue
			}
			if more[c.Lifetime]++; more[c.Lifetime] == 1 {
				order = append(order, c)
			}
		}
		for _, c := range order {
			most, outcome := configs.FormatDuration(limit.Longest), "it will live that long only"
			f := renewer.Finding{Check: "lifetime", Certificate: c.Name, Level: renewer.FindingWarn}
			if limit.Refuses {
				f.Level, outcome = renewer.FindingFail, "it will be refused"
			}
			f.Text = fmt.Sprintf("asks for %s, and issuer %s gives at most %s: %s", configs.FormatDuration(c.Lifetime), is.Name, most, outcome)
			f.Fix = fmt.Sprintf("set lifetime: %s, or %s", most, strings.ReplaceAll(limit.Raise, "LIFETIME", fmt.Sprintf("%ds", c.Lifetime/time.Second)))
			if n := more[c.Lifetime] - 1; n > 0 {
				f.Text += fmt.Sprintf(" (and %d more)", n)
			}
			out = append(out, f)
		}
	}
	return out
}
