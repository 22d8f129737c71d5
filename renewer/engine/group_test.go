package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// cluster is a server on host a and a client on each of b and c, all of one
// group.
func cluster(b *bench) []renewer.Certificate {
	server, worker := b.cert("server", month, "a"), b.cert("worker", month, "b", "c")
	worker.Usages, worker.SANs = []renewer.Usage{renewer.UsageClient}, nil
	for i := range worker.Placements {
		worker.Placements[i].Probe = renewer.Probe{Kind: renewer.ProbeFile}
	}
	server.PeerGroup, worker.PeerGroup = "g", "g"
	return []renewer.Certificate{worker, server}
}

// talk fails the test where a server and a client of the cluster, with what
// they have loaded, would refuse each other.
func (b *bench) talk() {
	server := b.machine("a").has("server")
	for _, host := range []string{"b", "c"} {
		client := b.machine(host).has("worker")
		if server != nil && client != nil && (!accepts(b.t, server, client) || !accepts(b.t, client, server)) {
			b.t.Errorf("the server and the client on %s refuse each other", host)
		}
	}
}

func (m *machine) has(certificate string) map[renewer.FileKind][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.place(certificate).loaded
}

func accepts(t *testing.T, one, other map[renewer.FileKind][]byte) bool {
	roots, err := pki.DecodeCertificates(one[renewer.FileCA])
	if err != nil {
		t.Error(err)
		return false
	}
	leaf, err := pki.DecodeCertificates(other[renewer.FileCert])
	if err != nil {
		t.Error(err)
		return false
	}
	return slices.ContainsFunc(roots, func(root *x509.Certificate) bool { return leaf[0].CheckSignatureFrom(root) == nil })
}

func TestAnotherCAForAWholeGroupInOneEdit(t *testing.T) {
	scene(t, Alone, cluster, func(t *testing.T, b *bench) {
		synctest.Wait()
		for _, h := range []string{"a", "b", "c"} {
			b.machine(h).after = b.talk
		}
		cfg := local.Config{Name: "new", CertFile: filepath.Join(b.dir, "new", "ca.pem"), KeyFile: filepath.Join(b.dir, "new", "ca-key.pem")}
		ca, err := local.Create(cfg, local.CreateOptions{})
		must(t, err)
		b.fleet.Issuers["new"] = ca
		certs := cluster(b)
		for i := range certs {
			certs[i].Issuer, certs[i].Trust = "new", []string{"new"}
		}
		b.fleet.Certificates = certs
		down := b.machine("c")
		down.mu.Lock()
		down.down = true
		down.mu.Unlock()
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(time.Hour)
		if row := b.row("server"); row.Generation != 1 {
			t.Errorf("while a client has not the new roots, the server moved: %+v", row)
		}
		down.mu.Lock()
		down.down = false
		down.mu.Unlock()
		time.Sleep(renewer.BackoffMax)
		want, err := ca.Roots(context.Background())
		must(t, err)
		for name, host := range map[string]string{"server": "a", "worker": "b"} {
			row := b.row(name)
			if row.Status != renewer.StatusValid || row.Generation != 2 {
				t.Errorf("row %+v", row)
			}
			has := b.machine(host).has(name)
			if got := string(has[renewer.FileCA]); got != string(pki.PEM(want...)) {
				t.Errorf("%s trusts at the end:\n%s", name, got)
			}
		}
		b.talk()
	})
}

// newCA adds an issuer to the fleet.
func (b *bench) newCA(name string) {
	cfg := local.Config{Name: name, CertFile: filepath.Join(b.dir, name, "ca.pem"), KeyFile: filepath.Join(b.dir, name, "ca-key.pem")}
	ca, err := local.Create(cfg, local.CreateOptions{})
	must(b.t, err)
	b.fleet.Issuers[name] = ca
}

// separated is the cluster with mutual TLS and a CA for each side.
func separated(b *bench, servers, clients string) []renewer.Certificate {
	certs := cluster(b)
	certs[0].Issuer, certs[0].Trust = clients, []string{servers}
	certs[1].Issuer, certs[1].Trust = servers, []string{clients}
	certs[1].Placements[0].Probe.Mutual = true
	return certs
}

func TestFromACAForEachSideToOneForBothInOneEdit(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		b.newCA("clients")
		b.newCA("new")
		return separated(b, "ca", "clients")
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		for _, h := range []string{"a", "b", "c"} {
			b.machine(h).after = b.talk
		}
		b.fleet.Certificates = separated(b, "new", "new")
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		seen, err := b.eng.Looks(context.Background(), []string{"server", "worker"})
		must(t, err)
		for _, s := range seen {
			if s.Err != nil {
				t.Errorf("before the move: %v", s.Err)
			}
		}
		time.Sleep(time.Hour)
		for _, name := range []string{"server", "worker"} {
			if row := b.row(name); row.Status != renewer.StatusValid || row.Generation != 2 || row.Issuer != "new" {
				t.Errorf("row %+v", row)
			}
		}
		if bad := b.events(renewer.EventProbeFailed, renewer.EventRolloutBlocked); len(bad) > 0 {
			t.Errorf("%+v", bad)
		}
		b.talk()
	})
}

// The way back leads to a certificate and a ca file of the CA before.
func TestTheWayBackAcrossAChangeOfTheCA(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		b.newCA("new")
		c := b.cert("web", month, "a")
		c.Placements[0].Probe.Mutual = true
		return []renewer.Certificate{c}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		b.pass()
		first := b.row("web")
		b.refuseNew("a", first.Fingerprint)
		c := b.fleet.Certificates[0]
		c.Issuer, c.Trust = "new", []string{"new"}
		b.fleet.Certificates = []renewer.Certificate{c}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Asked))
		if res := b.pass(); !res.Failed() {
			t.Fatalf("%+v", res)
		}
		if h := b.row("web").Hosts[0]; h.State != renewer.HostRolledBack || h.Served != first.Fingerprint {
			t.Errorf("host %+v", h)
		}
	})
}

func TestServersOfAGroupAreRenewedBeforeItsClients(t *testing.T) {
	scene(t, Asked, cluster, func(t *testing.T, b *bench) {
		b.pass()
		res, err := b.eng.Renew(context.Background(), []string{"worker", "server"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Failed() {
			t.Fatalf("%+v", res)
		}
		var order []string
		for _, e := range b.events(renewer.EventActivated, renewer.EventVerified) {
			if e.Generation == 2 {
				order = append(order, string(e.Type)+" "+e.Host)
			}
		}
		want := []string{"activated a", "verified a", "activated b", "verified b", "activated c", "verified c"}
		if !slices.Equal(order, want) {
			t.Errorf("%q, want %q", order, want)
		}
	})
}

// The certificates of one entry are one rollout in all but name: the first
// goes alone, and its failure keeps the others from being touched.
func TestAFailingFirstOfAnEntryStopsTheOthers(t *testing.T) {
	perHost := func(b *bench) (out []renewer.Certificate) {
		for _, h := range []string{"a", "b", "c"} {
			c := b.cert("web@"+h, month, h)
			c.Entry, c.OverrideBefore, c.SANs = "web", 24*time.Hour, []string{h + ".test"}
			out = append(out, c)
		}
		return out
	}
	scene(t, Alone, perHost, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.refuseNew("a", b.row("web@a").Fingerprint)
		certs := perHost(b)
		for i := range certs {
			certs[i].SANs = append(certs[i].SANs, "more.test")
		}
		b.fleet.Certificates = certs
		res := b.pass()
		for _, r := range res.Rollouts {
			switch {
			case r.Certificate == "web@a" && r.Result != renewer.ResultBlocked,
				r.Certificate != "web@a" && (r.Result != renewer.ResultWaiting || !strings.Contains(r.Waiting.String(), "web@a failed")):
				t.Errorf("%+v", r)
			}
		}
		for _, h := range []string{"b", "c"} {
			if row := b.row("web@" + h); row.Generation != 1 {
				t.Errorf("web@%s was touched: %+v", h, row)
			}
		}
		steps, err := b.eng.Plan(context.Background())
		must(t, err)
		if !slices.ContainsFunc(steps, func(s renewer.PlanStep) bool {
			return s.Certificate == "web@b" && s.Action == "wait" && strings.Contains(s.Reason, "web@a failed: a: ")
		}) {
			t.Errorf("the plan does not say that web@b waits: %+v", steps)
		}
		b.stop()
		b.start(Alone) // what is known of the others is read again
		time.Sleep(time.Hour)
		if row := b.row("web@b"); row.Generation != 1 {
			t.Errorf("after a restart web@b was touched: %+v", row)
		}
		res, err = b.eng.Renew(context.Background(), []string{"web@b"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Failed() || b.row("web@b").Generation != 2 {
			t.Errorf("an operator asked: %+v", res)
		}
	})
}

func TestAClientThatReadsItsLeafAgainIsNotRestarted(t *testing.T) {
	scene(t, Asked, func(b *bench) []renewer.Certificate {
		c := b.cert("client", month, "a")
		c.Usages, c.SANs = []renewer.Usage{renewer.UsageClient}, nil
		c.Placements[0].Probe = renewer.Probe{Kind: renewer.ProbeFile}
		c.Placements[0].Reloads = renewer.Reloads{Leaf: true}
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		b.pass()
		m, key := b.machine("a"), b.fleet.Certificates[0].Placements[0].Activate.Key()
		before := m.activated[key]
		res, err := b.eng.Renew(context.Background(), []string{"client"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Failed() || b.row("client").Generation != 2 || m.activated[key] != before {
			t.Errorf("%+v; activated %d times, before %d", res, m.activated[key], before)
		}
	})
}

func TestWhatDoesNotServeIsBackWithinItsBudget(t *testing.T) {
	scene(t, Asked, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Placements[0].Activate.Budget = 20 * time.Second
		c.Placements[0].Probe.Timeout = time.Minute
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		b.pass()
		b.refuseNew("a", b.row("web").Fingerprint)
		begin := time.Now()
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if took := time.Since(begin); !res.Failed() || took < 9*time.Second || took > 20*time.Second {
			t.Errorf("back after %s: %+v", took, res)
		}
		if back := b.events(renewer.EventRolledBack); len(back) != 1 || !strings.Contains(back[0].Message, "of a restart budget of 20s") {
			t.Errorf("%+v", back)
		}
		if b.seen.away.Load() != 1 {
			t.Errorf("reported %d times how long it was away", b.seen.away.Load())
		}
		if over := b.events(renewer.EventBudgetExceeded); len(over) != 0 {
			t.Errorf("%+v", over)
		}
	})
}

// What the proof needs is had before the service is touched.
func TestWithoutAClientCertificateForTheProbeNothingIsTouched(t *testing.T) {
	scene(t, Asked, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Placements[0].Probe.Mutual = true
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		b.pass()
		first := b.row("web")
		m := b.machine("a")
		time.Sleep(time.Hour) // what was minted is of no use any more
		orders := b.ca.count()
		b.ca.after = func(n int) error {
			if n > orders+1 { // the renewal's own is signed
				return errors.New("the issuer went away")
			}
			return nil
		}
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if pl := m.places["web"]; !res.Failed() || leafOf(pl.revisions[pl.live]) != first.Fingerprint || pl.served != first.Fingerprint {
			t.Errorf("%+v; live %s, served %s", res, pl.live, pl.served)
		}
	})
}
