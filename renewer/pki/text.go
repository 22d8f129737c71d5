package pki

import (
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// without returns what of a is not in b, whatever the case of letters: names
// are compared as DNS compares them.
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

// set shows strings whose order does not matter.
func set[T ~string](items []T) string {
	out := texts(items)
	slices.Sort(out)
	return "[" + strings.Join(slices.Compact(out), " ") + "]"
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// NoneDropped reports whether a leaf has no name beyond some SANs: what takes its place with
// those drops none.
func NoneDropped(leaf *x509.Certificate, sans []string) bool {
	return len(without(renewer.SANs(leaf), sans)) == 0
}
