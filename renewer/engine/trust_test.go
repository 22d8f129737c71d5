package engine

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

const (
	simLife     = 24 * time.Hour
	simOverride = 3 * time.Hour
)

// sim is a fleet in simulated time whose placements talk to each other: after
// every activation of any of them, all that have loaded something must accept
// each other.
type sim struct {
	*bench
	certs []renewer.Certificate

	mu      sync.Mutex
	exempt  string // a host that was off for so long that others had to go on without it
	refused []string
}

func (s *sim) placements() (out []renewer.Placement) {
	for _, c := range s.certs {
		out = append(out, c.Placements...)
	}
	return out
}

func (s *sim) usages(p renewer.Placement) (server, client bool) {
	i := slices.IndexFunc(s.certs, func(c renewer.Certificate) bool { return c.Name == p.Certificate })
	c := s.certs[i]
	return slices.Contains(c.Usages, renewer.UsageServer), slices.Contains(c.Usages, renewer.UsageClient) || c.IsBundle()
}

// excuse says which host need not be accepted; empty: all must.
func (s *sim) excuse(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exempt = host
}

// converse notes who refuses whom.
func (s *sim) converse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, server := range s.placements() {
		for _, client := range s.placements() {
			isServer, _ := s.usages(server)
			_, isClient := s.usages(client)
			if !isServer || !isClient || server.ID() == client.ID() || s.exempt != "" && (server.Host == s.exempt || client.Host == s.exempt) {
				continue
			}
			one, other := s.machine(server.Host).has(server.Certificate), s.machine(client.Host).has(client.Certificate)
			s.compare(server, one, client, other)
			s.compare(client, other, server, one)
		}
	}
}

func (s *sim) compare(v renewer.Placement, verifier map[renewer.FileKind][]byte, p renewer.Placement, presenter map[renewer.FileKind][]byte) {
	if verifier[renewer.FileCA] == nil || presenter[renewer.FileCert] == nil {
		return // nothing in place, or no certificate to show
	}
	roots, err1 := pki.DecodeCertificates(verifier[renewer.FileCA])
	leaf, err2 := pki.DecodeCertificates(presenter[renewer.FileCert])
	if err := errors.Join(err1, err2); err != nil {
		s.t.Error(err)
		return
	}
	signed := func(root *x509.Certificate) bool { return bytes.Equal(root.SubjectKeyId, leaf[0].AuthorityKeyId) }
	if !slices.ContainsFunc(roots, signed) {
		s.refused = append(s.refused, fmt.Sprintf("%s: %s refuses %s", time.Now().Format("02 15:04:05"), v.ID(), p.ID()))
	}
}

// expired returns who has an expired certificate loaded.
func (s *sim) expired() (out []string) {
	for _, p := range s.placements() {
		leaf, err := pki.DecodeCertificates(s.machine(p.Host).has(p.Certificate)[renewer.FileCert])
		if p.Host != s.exempt && err == nil && !time.Now().Before(leaf[0].NotAfter) {
			out = append(out, p.ID())
		}
	}
	return out
}

// shape is a fleet of up to three hosts.
type shape struct {
	name  string
	hosts string
	rests time.Duration // within which all has to be over, counted from the end of the outage
	certs func(b *bench) []renewer.Certificate
}

// simCert is an entry of a simulation.
func simCert(b *bench, name string, usages []renewer.Usage, hosts ...string) renewer.Certificate {
	c := b.cert(name, simLife, hosts...)
	c.Usages, c.OverrideBefore, c.Pace = usages, simOverride, renewer.Pace{Canary: 1, MaxParallel: 5}
	for i := range c.Placements {
		p := &c.Placements[i]
		p.Probe.Mutual = true
		if !slices.Contains(usages, renewer.UsageServer) {
			p.Probe = renewer.Probe{Kind: renewer.ProbeFile}
		}
		if usages == nil {
			p.Files = map[renewer.FileKind]string{renewer.FileCA: "ca.pem"}
		}
	}
	if !slices.Contains(usages, renewer.UsageServer) {
		c.SANs = nil
	}
	if usages == nil {
		c.Issuer, c.CommonName, c.Key = "", "", ""
	}
	return c
}

var (
	serves = []renewer.Usage{renewer.UsageServer}
	asks   = []renewer.Usage{renewer.UsageClient}
	both   = []renewer.Usage{renewer.UsageServer, renewer.UsageClient}
)

var shapes = []shape{
	{"a service and its client", "a b", simLife / 2, func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{simCert(b, "s", serves, "a"), simCert(b, "c", asks, "b")}
	}},
	{"a service and a client on two hosts", "a b c", simLife / 2, func(b *bench) []renewer.Certificate {
		c := simCert(b, "c", asks, "b", "c")
		c.Pace.Pause = 20 * time.Minute
		return []renewer.Certificate{c, simCert(b, "s", serves, "a")}
	}},
	{"a service and two clients", "a b c", simLife / 2, func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{simCert(b, "c", asks, "b"), simCert(b, "d", asks, "c"), simCert(b, "s", serves, "a")}
	}},
	{"a service on two hosts and its client", "a b c", simLife / 2, func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{simCert(b, "c", asks, "c"), simCert(b, "s", serves, "a", "b")}
	}},
	{"two that are both", "a b", 2 * simLife, func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{simCert(b, "p", both, "a"), simCert(b, "q", both, "b")}
	}},
	{"one that is both on three hosts", "a b c", 2 * simLife, func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{simCert(b, "p", both, "a", "b", "c")}
	}},
	{"a service and trust bundles", "a b c", simLife / 2, func(b *bench) []renewer.Certificate {
		s := simCert(b, "s", serves, "a")
		s.Placements[0].Probe.Mutual = false
		return []renewer.Certificate{s, simCert(b, "t", nil, "b", "c")}
	}},
}

// under gives each side its issuer: servers and clients; what is both is a
// server.
func under(certs []renewer.Certificate, servers, clients string) []renewer.Certificate {
	out := slices.Clone(certs)
	for i := range out {
		c := &out[i]
		switch {
		case slices.Contains(c.Usages, renewer.UsageServer):
			c.Issuer, c.Trust = servers, []string{clients}
		case c.IsBundle():
			c.Trust = []string{servers}
		default:
			c.Issuer, c.Trust = clients, []string{servers}
		}
	}
	return out
}

// outage is what is not there while the CA is replaced.
type outage struct {
	name  string
	host  string // empty: none
	long  time.Duration
	fault bool // of a service
	hard  bool // what failed stays blocked until the next renewal
	off   func(s *sim, host string, until time.Time)
	on    func(s *sim, host string)
}

// opens is a window that is closed until a moment.
type opens struct{ at time.Time }

func (o opens) At(t time.Time) (bool, time.Time) { return !t.Before(o.at), o.at }

func outages(hosts string) []outage {
	none := func(*sim, string) {}
	list := []outage{{name: "nothing is away", off: func(*sim, string, time.Time) {}, on: none}}
	for _, long := range []time.Duration{time.Hour, 21 * time.Hour} {
		for _, host := range strings.Fields(hosts) {
			down := func(is bool) func(*sim, string) {
				return func(s *sim, host string) { s.machine(host).set(func(m *machine) { m.down = is }) }
			}
			list = append(list, outage{fmt.Sprintf("host %s is off for %s", host, long), host, long, false, false, func(s *sim, host string, _ time.Time) {
				if down(true)(s, host); long > simLife/2 {
					s.excuse(host)
				}
			}, down(false)})
			list = append(list, outage{fmt.Sprintf("the window of host %s is closed for %s", host, long), host, long, false, false, closeWindow, none})
		}
	}
	for _, host := range strings.Fields(hosts) {
		list = append(list,
			outage{"the services of host " + host + " are stopped for 1h", host, time.Hour, true, false, func(s *sim, host string, _ time.Time) {
				s.machine(host).set(func(m *machine) { m.stop() })
			}, func(s *sim, host string) { s.machine(host).set(func(m *machine) { m.start() }) }},
			outage{"no one can activate anything on host " + host + " for 1h", host, time.Hour, true, true, func(s *sim, host string, _ time.Time) {
				s.machine(host).set(func(m *machine) { m.fail = failOn("activate", errors.New("the unit failed")) })
			}, func(s *sim, host string) { s.machine(host).set(func(m *machine) { m.fail = nil }) }},
		)
	}
	return append(list, outage{
		"the new issuer is away for 4h", "", 4 * time.Hour, false, false,
		func(s *sim, _ string, _ time.Time) {
			s.fleet.Issuers["new"].(*flaky).breakWith(errors.New("connection refused"))
		},
		func(s *sim, _ string) { s.fleet.Issuers["new"].(*flaky).breakWith(nil) },
	})
}

// stop ends the services of a machine: what they had loaded is gone. start has
// them load what is in place.
func (m *machine) stop() {
	m.stopped = true
	for _, pl := range m.places {
		pl.loaded, pl.served = nil, ""
	}
}

func (m *machine) start() {
	m.stopped = false
	for _, pl := range m.places {
		pl.loaded = pl.revisions[pl.live]
		pl.served = leafOf(pl.loaded)
	}
}

// closeWindow closes the window of the certificates of a host.
func closeWindow(s *sim, host string, until time.Time) {
	s.fleet.Windows = map[string]Window{"w": opens{until}}
	for i, c := range s.fleet.Certificates {
		if _, has := c.Placement(host); has {
			s.fleet.Certificates[i].Window = "w"
		}
	}
}

// newIssuer adds an issuer that can fail, with a CA of its own.
func (b *bench) newIssuer(name string) *local.Authority {
	b.t.Helper()
	cfg := local.Config{Name: name, CertFile: filepath.Join(b.dir, name, "ca.pem"), KeyFile: filepath.Join(b.dir, name, "ca-key.pem")}
	ca, err := local.Create(cfg, local.CreateOptions{})
	must(b.t, err)
	b.fleet.Issuers[name] = &flaky{Issuer: ca}
	return ca
}

func (b *bench) rootsOf(name string) []*x509.Certificate {
	b.t.Helper()
	roots, err := b.fleet.Issuers[name].Roots(context.Background())
	must(b.t, err)
	return roots
}

// run replaces the CA of a fleet during an outage and lets it come to rest.
func (s *sim) run(o outage, rests time.Duration, servers, clients string) {
	t := s.t
	time.Sleep(time.Hour)
	s.fleet.Certificates = under(s.certs, servers, clients)
	if o.hard {
		rests = 2 * simLife
	}
	begin := time.Now()
	o.off(s, o.host, begin.Add(o.long))
	must(t, s.eng.SetFleet(context.Background(), s.fleet, Alone))
	for back := false; time.Since(begin) < o.long+rests; time.Sleep(time.Hour) {
		if !back && time.Since(begin) >= o.long {
			back = true
			o.on(s, o.host)
		}
		if over := s.expired(); over != nil {
			t.Fatalf("%s after the edit these have expired: %s", time.Since(begin), strings.Join(over, ", "))
		}
	}
	s.excuse("")
	s.converse()
	for _, c := range s.fleet.Certificates {
		for _, p := range c.Placements {
			has, err := pki.DecodeCertificates(s.machine(p.Host).has(c.Name)[renewer.FileCA])
			must(t, err)
			if want := s.rootsOf(c.Trust[0]); !slices.EqualFunc(has, want, (*x509.Certificate).Equal) {
				t.Errorf("%s trusts at the end %s", p.ID(), subjects(has))
			}
		}
		if row := s.row(c.Name); row.Status != renewer.StatusValid && row.Status != renewer.StatusRenewing { // the next renewal may be on its way
			t.Errorf("at the end %+v", row)
		}
	}
}

func subjects(certs []*x509.Certificate) (out []string) {
	for _, c := range certs {
		out = append(out, c.Subject.CommonName)
	}
	return out
}

// A pair that does not work any more has nothing to lose: it is brought over at
// once.
func TestAnExpiredCAHoldsNoOne(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		cfg := local.Config{Name: "short", CertFile: filepath.Join(b.dir, "short", "ca.pem"), KeyFile: filepath.Join(b.dir, "short", "ca-key.pem")}
		ca, err := local.Create(cfg, local.CreateOptions{Lifetime: 6 * time.Hour})
		must(b.t, err)
		b.fleet.Issuers["short"] = ca
		b.newIssuer("new")
		return under(shapes[0].certs(b), "short", "short")
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		time.Sleep(7 * time.Hour)
		b.fleet.Certificates = under(b.fleet.Certificates, "new", "new")
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(10 * time.Minute)
		for _, c := range b.fleet.Certificates {
			row := b.row(c.Name)
			has, err := pki.DecodeCertificates(b.machine(row.Hosts[0].Name).has(c.Name)[renewer.FileCA])
			must(t, err)
			if row.Status != renewer.StatusValid || row.Issuer != "new" || !slices.EqualFunc(has, b.rootsOf("new"), (*x509.Certificate).Equal) {
				t.Errorf("%+v trusts %s", row, subjects(has))
			}
		}
	})
}

// A host that stays off holds a leaf up until that comes near its expiry; then
// it goes on, and the log says who will refuse it.
func TestALeafGoesOnBeforeItExpiresAndSaysWhoWillRefuseIt(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		b.newIssuer("new")
		return under(shapes[2].certs(b), "ca", "ca")
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		s := &sim{bench: b, certs: b.fleet.Certificates, exempt: "c"}
		for _, h := range []string{"a", "b"} {
			b.machine(h).then(s.converse)
		}
		b.machine("c").set(func(m *machine) { m.down = true })
		b.fleet.Certificates = under(s.certs, "new", "new")
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(simLife - simOverride - time.Hour)
		if row := b.row("s"); row.Issuer != "ca" {
			t.Errorf("long before its expiry the service has gone on: %+v", row)
		}
		time.Sleep(2 * time.Hour)
		if row := b.row("s"); row.Issuer != "new" || row.Hosts[0].State != renewer.HostVerified {
			t.Errorf("near its expiry: %+v", row)
		}
		if said := slices.ContainsFunc(b.events(), func(e renewer.Event) bool {
			return e.Certificate == "s" && strings.Contains(e.Message+e.Error, "d@c") && strings.Contains(e.Message+e.Error, "refuse")
		}); !said {
			t.Error("nothing says that d@c will refuse it")
		}
		if len(s.refused) > 0 {
			t.Errorf("refused: %q", s.refused)
		}
	})
}

// A renewal under the same root waits for no one: not for a client that is off,
// nor for one whose window is closed.
func TestARenewalUnderTheSameRootWaitsForNoOne(t *testing.T) {
	scene(t, Alone, shapes[2].certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.machine("c").set(func(m *machine) { m.down = true })
		time.Sleep(simLife * 3 / 4)
		for _, name := range []string{"s", "c"} {
			if row := b.row(name); row.Generation != 2 || row.Status != renewer.StatusValid {
				t.Errorf("after its renew time: %+v", row)
			}
		}
	})
}

// Where nothing is activated and no one knows when the roots are read, they count
// as loaded after settle:, and until then the leaf waits.
func TestALeafWaitsUntilTheRootsHaveSettled(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		b.newIssuer("new")
		all := shapes[0].certs(b)
		all[1].Placements[0].Activate = renewer.Activation{Kind: renewer.ActivateNone}
		all[1].Settle = 5 * time.Hour
		return under(all, "ca", "ca")
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		time.Sleep(time.Hour)
		b.fleet.Certificates = under(b.fleet.Certificates, "new", "new")
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(4 * time.Hour)
		if row := b.row("s"); row.Issuer != "ca" {
			t.Errorf("before they have settled: %+v", row)
		}
		time.Sleep(90 * time.Minute)
		if row := b.row("s"); row.Issuer != "new" || row.Status != renewer.StatusValid {
			t.Errorf("when they have settled: %+v", row)
		}
	})
}
