package remote

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// resolver is the machine's way to look names up (net.Resolver).
type resolver interface {
	LookupHost(ctx context.Context, name string) ([]string, error)
	LookupCNAME(ctx context.Context, name string) (string, error)
}

// lookupTimeout is what one name of CanonicalDomains may take.
const lookupTimeout = 5 * time.Second

// canonical is what CanonicalizeHostname of ssh_config(5) makes of the host's name, and
// whether it is asked for: then there is a second pass.
func (s *settings) canonical() (name string, asked bool, err error) {
	name = s.host()
	mode := strings.ToLower(s.first("canonicalizehostname"))
	if mode != "always" && mode != "yes" && mode != "true" {
		return name, false, nil
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.String(), true, nil
	}
	if s.indirect() && mode != "always" { // what is between here and there resolves the name
		return name, true, nil
	}
	found, ok := s.suffixed(name)
	if !ok && strings.EqualFold(s.first("canonicalizefallbacklocal"), "no") {
		return name, true, misconfigured(fmt.Errorf("%s was not found in any of CanonicalDomains (%s)", name, strings.Join(s.all("canonicaldomains"), ", ")),
			"correct the name, or CanonicalDomains in the ssh configuration, or set address: of the host in the fleet file to the full name")
	}
	return s.follow(found), true, nil
}

// suffixed is the name with the first of CanonicalDomains in which there is one; false
// where it should have one and has not.
func (s *settings) suffixed(name string) (string, bool) {
	if full, ok := strings.CutSuffix(name, "."); ok {
		return full, s.c.resolves(name)
	}
	most, err := strconv.Atoi(s.first("canonicalizemaxdots"))
	if err != nil {
		most = 1
	}
	if strings.Count(name, ".") > most {
		return name, true
	}
	for _, domain := range s.all("canonicaldomains") {
		if strings.EqualFold(domain, "none") {
			break
		}
		if full := name + "." + domain; s.c.resolves(full + ".") {
			return full, true
		}
	}
	return name, false
}

// follow goes to the name that this one is an alias of, where
// CanonicalizePermittedCNAMEs lets it.
func (s *settings) follow(name string) string {
	rules := s.all("canonicalizepermittedcnames")
	if len(rules) == 0 || strings.EqualFold(rules[0], "none") {
		return name
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	cname, err := s.c.names.LookupCNAME(ctx, name)
	if cname = strings.TrimSuffix(cname, "."); err != nil || strings.EqualFold(cname, name) {
		return name
	}
	for _, rule := range rules {
		from, to, _ := strings.Cut(rule, ":")
		if matchList(strings.Split(from, ","), name) && matchList(strings.Split(to, ","), cname) {
			return strings.ToLower(cname)
		}
	}
	return name
}

func (c *Client) resolves(name string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	found, err := c.names.LookupHost(ctx, name)
	return err == nil && len(found) > 0
}
