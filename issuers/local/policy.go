package local

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// Policy limits what a CA signs, beyond what its own certificate does. It holds
// for every order, for every caller; the zero value limits nothing. Serial numbers need
// no entry: each has 158 random bits.
type Policy struct {
	MaxLifetime time.Duration // zero: no limit but the CA's own end
	// Names that may be signed; empty: any. One is an IP address or a prefix
	// (10.0.0.0/8), or a DNS name: *.example.com stands for every name below
	// example.com, and an asterisk in a label for any part of it.
	Names []string
}

// unused is a name that no peer can have (RFC 2606): probes ask for it, to see
// that it is refused.
const unused = ".invalid"

// refuses returns all reasons for which an order may not be signed.
func (p Policy) refuses(issuer, certificate string, r renewer.Request) (why several) {
	if p.MaxLifetime > 0 && r.Lifetime > p.MaxLifetime {
		why = append(why, refused(fmt.Sprintf("set lifetime: %s, or raise max_lifetime of issuer %s", seconds(p.MaxLifetime), issuer),
			"%s has a lifetime of %s, but issuer %s signs for at most %s (max_lifetime)", certificate, seconds(r.Lifetime), issuer, seconds(p.MaxLifetime)))
	}
	if len(p.Names) == 0 {
		return why
	}
	if cn := r.CommonName; (plainDNS(cn) || isAddress(cn)) && !p.allows(cn) && !slices.Contains(r.SANs, cn) {
		why = append(why, refused(fmt.Sprintf("set common_name to a name that is, or add %s to allowed_names of issuer %s", cn, issuer),
			"%s has the common name %s, which looks like a host name and is not in allowed_names of issuer %s", certificate, cn, issuer))
	}
	if other := slices.DeleteFunc(slices.Clone(r.SANs), p.allows); len(other) > 0 {
		list, them, are := strings.Join(other, ", "), "them", "are"
		if len(other) == 1 {
			them, are = "it", "is"
		}
		why = append(why, refused(fmt.Sprintf("add %s to allowed_names of issuer %s, or remove %s", list, issuer, them),
			"%s requests %s, which %s not in allowed_names of issuer %s", certificate, list, are, issuer))
	}
	return why
}

// several are all reasons at once, each with a hint of its own.
type several []error

func (s several) Error() string {
	var all []string
	for _, err := range s {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

func (s several) Unwrap() []error { return s }

// err is nil where there is no reason.
func (s several) err() error {
	switch len(s) {
	case 0:
		return nil
	case 1:
		return s[0]
	}
	return s
}

func (p Policy) allows(name string) bool {
	if address, err := netip.ParseAddr(name); err == nil {
		return slices.ContainsFunc(p.Names, func(allowed string) bool {
			if prefix, err := netip.ParsePrefix(allowed); err == nil {
				return prefix.Contains(address.Unmap())
			}
			one, err := netip.ParseAddr(allowed)
			return err == nil && one.Unmap() == address.Unmap()
		})
	}
	name = strings.ToLower(name)
	return strings.HasSuffix(name, unused) || slices.ContainsFunc(p.Names, func(allowed string) bool { return covers(strings.ToLower(allowed), name) })
}

// covers compares label by label.
func covers(allowed, name string) bool {
	if parent, ok := strings.CutPrefix(allowed, "*."); ok {
		labels := strings.Split(name, ".")
		for k := 1; k < len(labels); k++ {
			if covers(parent, strings.Join(labels[k:], ".")) {
				return true
			}
		}
		return false
	}
	want, got := strings.Split(allowed, "."), strings.Split(name, ".")
	return slices.EqualFunc(want, got, func(w, g string) bool {
		ok, err := path.Match(w, g)
		return err == nil && ok
	})
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// whole is the most that is written in days, or for little in hours, minutes or seconds.
func whole(d time.Duration) string {
	for _, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute} {
		if d >= unit {
			return seconds(d.Truncate(unit))
		}
	}
	return seconds(d)
}

// seconds writes a duration as the fleet file has it, in its largest whole unit.
func seconds(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d%u.of == 0 {
			return fmt.Sprintf("%d%s", d/u.of, u.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
