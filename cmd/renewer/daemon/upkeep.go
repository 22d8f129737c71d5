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

// shortened are the certificates whose issuer would give them a shorter life
// than they ask for, one finding an issuer and lifetime.
func (p *parts) shortened() (out []renewer.Finding) {
	for _, is := range p.fleet.Issuers {
		limited, ok := engine.Can[engine.Limited](p.issuers[is.Name])
		if !ok {
			continue
		}
		longest, raise, known := limited.Longest()
		if !known {
			continue
		}
		more, order := map[time.Duration]int{}, []renewer.Certificate{}
		for _, c := range p.fleet.Certificates {
			if c.Issuer != is.Name || c.Lifetime <= longest {
				continue
			}
			if more[c.Lifetime]++; more[c.Lifetime] == 1 {
				order = append(order, c)
			}
		}
		for _, c := range order {
			f := renewer.Finding{
				Check: "lifetime", Certificate: c.Name, Level: renewer.FindingWarn,
				Text: fmt.Sprintf("asks for %s, and issuer %s gives at most %s: it will live that long only", configs.FormatDuration(c.Lifetime), is.Name, configs.FormatDuration(longest)),
				Fix:  fmt.Sprintf("set lifetime: %s, or %s", configs.FormatDuration(longest), strings.ReplaceAll(raise, "LIFETIME", fmt.Sprintf("%ds", c.Lifetime/time.Second))),
			}
			if n := more[c.Lifetime] - 1; n > 0 {
				f.Text += fmt.Sprintf(" (and %d more)", n)
			}
			out = append(out, f)
		}
	}
	return out
}
