package configs

import (
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
)

// Issuer returns the issuer of that name.
func (f *Fleet) Issuer(name string) (Issuer, bool) {
	i := slices.IndexFunc(f.Issuers, func(x Issuer) bool { return x.Name == name })
	if i < 0 {
		return Issuer{}, false
	}
	return f.Issuers[i], true
}

// Host returns the host of that name.
func (f *Fleet) Host(name string) (Host, bool) {
	i, ok := f.hosts[name]
	if !ok {
		return Host{}, false
	}
	return f.Hosts[i], true
}

// Retired returns the names of the hosts that are gone for good.
func (f *Fleet) Retired() []string {
	var out []string
	for i := range f.Hosts {
		if f.Hosts[i].Retired {
			out = append(out, f.Hosts[i].Name)
		}
	}
	return out
}

// Index returns where the certificate of that full name stands in Certificates.
func (f *Fleet) Index(name string) (i int, ok bool) {
	i, ok = f.index[name]
	return i, ok
}

// Certificate returns the certificate of that full name, such as docker@host-b.
func (f *Fleet) Certificate(name string) (renewer.Certificate, bool) {
	i, ok := f.index[name]
	if !ok {
		return renewer.Certificate{}, false
	}
	return f.Certificates[i], true
}

// RolloutTime returns what a renewal of a certificate of the fleet takes at most.
func (f *Fleet) RolloutTime(c renewer.Certificate) time.Duration {
	return c.RolloutTime(len(f.entries[c.Entry]))
}

func (f *Fleet) placement(name, host string) *renewer.Placement {
	placed := f.Certificates[f.index[name]].Placements
	return &placed[slices.IndexFunc(placed, func(p renewer.Placement) bool { return p.Host == host })]
}

// Window returns the maintenance window of that name.
func (f *Fleet) Window(name string) (Window, bool) {
	w, ok := f.windows[name]
	return w, ok
}

// Select returns the full names that the names stand for, in the order of
// the file and each once: docker means all of docker@host-b, docker@host-c.
// A name that is not in the file is an error with the nearest one as its hint.
func (f *Fleet) Select(names ...string) ([]string, error) {
	var picked []int
	for _, name := range names {
		full := f.stands(name)
		if len(full) == 0 {
			return nil, f.unknown(name)
		}
		picked = append(picked, full...)
	}
	slices.Sort(picked)
	var out []string
	for _, i := range slices.Compact(picked) {
		out = append(out, f.Certificates[i].Name)
	}
	return out, nil
}

// Stands reports whether a name stands for any certificate.
func (f *Fleet) Stands(name string) bool { return len(f.stands(name)) > 0 }

// stands returns the places in Certificates that a name stands for.
func (f *Fleet) stands(name string) []int {
	if i, ok := f.index[name]; ok {
		return []int{i}
	}
	var out []int
	for _, full := range f.entries[name] {
		out = append(out, f.index[full])
	}
	return out
}

func (f *Fleet) unknown(name string) error {
	known := f.names()
	err := fmt.Errorf("%s has no certificate %s", f.Path, quote(name))
	if len(known) == 0 {
		return renewer.WithHint(err, "it has no certificates yet: add an entry under certificates")
	}
	return renewer.WithHint(err, suggestion(name, known))
}

// names are the full names and those of the entries.
func (f *Fleet) names() []string {
	var out []string
	for i := range f.Certificates {
		out = append(out, f.Certificates[i].Name, f.Certificates[i].Entry)
	}
	return out
}
