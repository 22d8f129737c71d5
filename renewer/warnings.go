package renewer

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Warnings say what the issuer added to a generation, left out of its subject,
// or shortened. What it did alike to the one before (nil: none) is left out, so
// that it is not reported at every renewal.
func (g Generation) Warnings(before *Generation) []string {
	if before == nil || before.Request.Issuer != g.Request.Issuer {
		before = &Generation{ // all as it was asked for
			Request: g.Request, SANs: g.Request.SANs, Usages: g.Request.Usages, CommonName: g.Request.CommonName,
			IssuedAt: g.IssuedAt, NotAfter: g.IssuedAt.Add(g.Request.Lifetime),
		}
	}
	var out []string
	added := func(what string, extra, known []string) {
		if news := without(extra, known); len(news) > 0 {
			out = append(out, fmt.Sprintf("issuer %s added the %s %s", g.Request.Issuer, what, strings.Join(extra, ", ")))
		}
	}
	added("SANs", without(g.SANs, g.Request.SANs), without(before.SANs, before.Request.SANs))
	added("usages", without(texts(g.Usages), texts(g.Request.Usages)), without(texts(before.Usages), texts(before.Request.Usages)))
	if cn := g.CommonName; cn != g.Request.CommonName && cn != before.CommonName && cn != "" && !slices.Contains(g.Request.SANs, cn) {
		out = append(out, fmt.Sprintf("issuer %s gave the common name %q instead of %q", g.Request.Issuer, g.CommonName, g.Request.CommonName))
	}
	if given, asked := g.given(), g.Request.Lifetime; shorter(given, asked) {
		told := before.Request.Lifetime == asked && shorter(before.given(), asked) && !shorter(given, before.given())
		if chain, err := g.Parse(); !told && err == nil && chain.Leaf.NotAfter.After(g.NotAfter) {
			out = append(out, fmt.Sprintf("the certificate from issuer %s expires at %s, after its CA, which expires at %s; it is renewed before its CA expires", g.Request.Issuer, date(chain.Leaf.NotAfter), date(g.NotAfter)))
		} else if !told {
			text := fmt.Sprintf("issuer %s shortened the lifetime from %s to %s; it is renewed by that", g.Request.Issuer, asked, given.Round(time.Second))
			if g.Renewal.Lead > MostLead(given) {
				text += ", and its tolerate: does not fit into that"
			}
			out = append(out, text)
		}
	}
	for _, more := range BeyondDates(g.Request.Lifetime, g.NotBefore, g.NotAfter, g.IssuedAt) {
		if !slices.Contains(BeyondDates(before.Request.Lifetime, before.NotBefore, before.NotAfter, before.IssuedAt), more) {
			out = append(out, fmt.Sprintf("the certificate from issuer %s %s", g.Request.Issuer, more))
		}
	}
	return out
}

// longestBackdate is more than any issuer has a reason for.
const longestBackdate = 25 * time.Hour

// BeyondDates says what an issuer gave beyond the lifetime that was asked for at
// now: a later end, or an earlier beginning, than clocks and rounding explain.
func BeyondDates(asked time.Duration, notBefore, notAfter, now time.Time) (out []string) {
	if given := notAfter.Sub(now); shorter(asked, given) {
		out = append(out, fmt.Sprintf("is valid for longer than requested: %s instead of %s", days(given), days(asked)))
	}
	if now.Sub(notBefore) > longestBackdate {
		out = append(out, fmt.Sprintf("is backdated to %s", date(notBefore)))
	}
	return out
}

// LifetimeLimit is the longest lifetime that an issuer gives.
type LifetimeLimit struct {
	Longest time.Duration
	Raise   string // the command that raises it to LIFETIME
	Refuses bool   // what asks for more; else that gets as much as there is
}

// days writes a long duration in days, as the fleet file does.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
}

// given is the lifetime that the issuer really gave.
func (g Generation) given() time.Duration { return g.NotAfter.Sub(g.IssuedAt) }

// shorter reports whether a lifetime is less than another by more than clocks
// and rounding explain.
func shorter(given, asked time.Duration) bool {
	return given < asked-max(2*time.Minute, asked/100)
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool {
		return slices.ContainsFunc(b, func(t string) bool { return strings.EqualFold(s, t) })
	})
}

func texts[T ~string](in []T) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, string(s))
	}
	return out
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
