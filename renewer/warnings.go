package renewer

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Warnings say what the issuer added to a generation, left out of its subject,
// or shortened. What it did alike to the one before (nil: none) is left out: a
// person who knows is not told at every renewal.
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
	if g.CommonName != g.Request.CommonName && g.CommonName != before.CommonName {
		out = append(out, fmt.Sprintf("issuer %s gave the common name %q instead of %q", g.Request.Issuer, g.CommonName, g.Request.CommonName))
	}
	if given, asked := g.given(), g.Request.Lifetime; shorter(given, asked) {
		told := before.Request.Lifetime == asked && shorter(before.given(), asked) && !shorter(given, before.given())
		if !told {
			out = append(out, fmt.Sprintf("issuer %s shortened the lifetime from %s to %s; it is renewed by that", g.Request.Issuer, asked, given.Round(time.Second)))
		}
	}
	return out
}

// given is the lifetime that the issuer really gave.
func (g Generation) given() time.Duration { return g.NotAfter.Sub(g.IssuedAt) }

// shorter reports whether a lifetime is less than another by more than clocks
// and rounding explain.
func shorter(given, asked time.Duration) bool {
	return given < asked-max(2*time.Minute, asked/100) && given < asked*99/100
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
