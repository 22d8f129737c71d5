package engine

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"renewer/issuers/local"
	"renewer/renewer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene runs a test with an engine over hosts a, b and c and the given
// certificates, on the bubble's clock.
func scene(t *testing.T, mode Mode, certs func(b *bench) []renewer.Certificate, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b", "c")
		b.fleet.Certificates = certs(b)
		b.start(mode)
		defer func() {
			if b.stop != nil {
				b.stop()
			}
		}()
		f(t, b)
	})
}

const month = 30 * 24 * time.Hour

func one(b *bench) []renewer.Certificate { return []renewer.Certificate{b.cert("web", month, "a")} }

func TestAFailingProbeRestoresThePreviousGeneration(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.pass()
		first := b.row("web")
		m := b.machine("a")
		b.refuseNew("a", first.Fingerprint)
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Rollouts[0].Result != renewer.ResultBlocked || !res.Failed() {
			t.Fatalf("result %+v", res)
		}
		row := b.row("web")
		if row.Status != renewer.StatusBlocked || row.Generation != 1 || row.Fingerprint != first.Fingerprint {
			t.Errorf("row %+v", row)
		}
		if h := row.Hosts[0]; h.State != renewer.HostRolledBack || h.Generation != 1 || h.Served != first.Fingerprint || h.Error == "" {
			t.Errorf("host %+v", h)
		}
		if pl := m.places["web"]; pl.served != first.Fingerprint || leafOf(pl.revisions[pl.live]) != first.Fingerprint {
			t.Errorf("live %s serves %s", pl.live, pl.served)
		}
		b.noKeys("web")
	})
}

// refuseNew lets a machine's service serve one certificate and no other.
func (b *bench) refuseNew(host, only string) {
	m := b.machine(host)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.only = only
}

func TestBlockedUntilAnOperatorOrANewEntry(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		first := b.row("web")
		b.refuseNew("a", first.Fingerprint)
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		time.Sleep(48 * time.Hour)
		if row := b.row("web"); row.Status != renewer.StatusBlocked || b.ca.count() != 2 {
			t.Fatalf("after two days: %d orders, %+v", b.ca.count(), row)
		}
		b.refuseNew("a", "")
		c := b.fleet.Certificates[0]
		c.SANs = append(c.SANs, "more.test")
		b.fleet.Certificates = []renewer.Certificate{c}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(time.Minute)
		if row := b.row("web"); row.Status != renewer.StatusValid || !slices.Contains(row.SANs, "more.test") {
			t.Errorf("row %+v", row)
		}
	})
}

func TestAnIssuerThatIsAwayForADayCostsNothing(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.ca.breakWith(errors.New("connection refused"))
		time.Sleep(21 * 24 * time.Hour) // past the renew time
		row := b.row("web")
		if row.Status != renewer.StatusRenewing || row.Generation != 1 {
			t.Fatalf("row %+v", row)
		}
		tried := b.ca.count()
		if tried < 4 || tried > 100 {
			t.Errorf("%d orders while the issuer was away", tried)
		}
		b.ca.breakWith(nil)
		time.Sleep(renewer.BackoffMax)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
		if ev := b.events(renewer.EventExpired); len(ev) != 0 {
			t.Errorf("%+v", ev)
		}
	})
}

func TestAHostThatIsDownIsDoneWhenItComesBack(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{b.cert("web", month, "a", "b", "c")}
	}, func(t *testing.T, b *bench) {
		synctest.Wait()
		m := b.machine("b")
		m.mu.Lock()
		m.down = true
		m.mu.Unlock()
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if len(res.Rollouts) != 1 || res.Rollouts[0].Result != renewer.ResultWaiting || !res.Unreached() {
			t.Fatalf("result %+v", res)
		}
		row := b.row("web")
		if row.Hosts[0].Generation != 2 || row.Hosts[1].Generation != 1 || row.Hosts[2].Generation != 2 || row.Hosts[1].Error == "" {
			t.Fatalf("row %+v", row)
		}
		orders := b.ca.count()
		time.Sleep(12 * time.Hour)
		m.mu.Lock()
		m.down = false
		m.mu.Unlock()
		time.Sleep(renewer.BackoffMax)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Hosts[1].Generation != 2 || b.ca.count() != orders {
			t.Errorf("%d orders, row %+v", b.ca.count()-orders, row)
		}
	})
}

// A rollout that goes on without a host, and the one that waits for that host, are
// one result.
func TestACertificateWithAHostAwayIsOneResult(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{b.cert("web", month, "a", "b", "c")}
	}, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.machine("b").set(func(m *machine) { m.down = true })
		b.machine("c").slow = func(context.Context, string) { time.Sleep(50 * time.Second) }
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if len(res.Rollouts) != 1 || res.Rollouts[0].Rollout != "web#3" || res.Rollouts[0].Result != renewer.ResultWaiting || !res.Unreached() {
			t.Errorf("%+v", res)
		}
	})
}

func TestOneRestartForTwoCertificatesOfOneService(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		x, y := b.cert("x", month, "a"), b.cert("y", month, "a")
		y.Placements[0].Activate = x.Placements[0].Activate
		return []renewer.Certificate{x, y}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() || len(res.Rollouts) != 2 {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		if n := m.activated["systemd restart x.service"]; n != 1 {
			t.Errorf("%d restarts", n)
		}
	})
}

func TestRollbackHolds(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		if _, err := b.eng.Rollback(context.Background(), []string{"web"}, nil); err == nil {
			t.Fatal("rolled back to nothing")
		}
		time.Sleep(21 * 24 * time.Hour) // generation 2, and the renew time of 1 has passed
		if row := b.row("web"); row.Generation != 2 {
			t.Fatalf("row %+v", row)
		}
		res, err := b.eng.Rollback(context.Background(), []string{"web"}, nil)
		must(t, err)
		if res.Failed() {
			t.Fatalf("result %+v", res)
		}
		time.Sleep(24 * time.Hour)
		row := b.row("web")
		if row.Generation != 1 || row.Status != renewer.StatusValid || !row.RenewAt.After(time.Now()) || !row.RenewAt.Before(row.NotAfter) {
			t.Fatalf("a day later: %+v", row)
		}
		time.Sleep(time.Until(row.RenewAt) + time.Minute)
		if row := b.row("web"); row.Generation != 3 || row.Status != renewer.StatusValid {
			t.Errorf("after its renew time: %+v", row)
		}
	})
}

func TestDriftIsFixedFromTheHostsOwnRevision(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		m := b.machine("a")
		m.mu.Lock()
		m.places["web"].served = "something else"
		m.mu.Unlock()
		if err := b.eng.Survey(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		row := b.row("web")
		if row.Status != renewer.StatusValid || row.Generation != 1 || b.ca.count() != 1 {
			t.Errorf("%d orders, row %+v", b.ca.count(), row)
		}
		if ev := b.events(renewer.EventDrifted); len(ev) != 1 || b.seen.drifted.Load() != 1 {
			t.Errorf("events %+v", ev)
		}
	})
}

func TestALostKeyMeansANewCertificate(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		m := b.machine("a")
		m.mu.Lock()
		delete(m.places, "web")
		m.mu.Unlock()
		if err := b.eng.Survey(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
	})
}

// A service that is started after its first certificate was placed is seen within seconds.
func TestAServiceThatIsStartedIsSeenSoon(t *testing.T) {
	for _, kind := range []renewer.ProbeKind{renewer.ProbeTLS, renewer.ProbeFile} {
		t.Run(string(kind), func(t *testing.T) {
			certs := func(b *bench) []renewer.Certificate {
				c := one(b)
				c[0].Placements[0].Probe.Kind = kind
				b.machine("a").stopped = true
				return c
			}
			scene(t, Alone, certs, func(t *testing.T, b *bench) {
				synctest.Wait()
				m := b.machine("a")
				for _, later := range []time.Duration{20 * time.Second, 10 * time.Minute} {
					time.Sleep(later)
					if row := b.row("web"); row.Status != renewer.StatusBlocked || row.Hosts[0].State != renewer.HostBlocked {
						t.Fatalf("row %+v", row)
					}
				}
				m.set(func(m *machine) {
					m.stopped = false
					pl := m.places["web"]
					pl.loaded = pl.revisions[pl.live]
					pl.served = leafOf(pl.loaded)
				})
				time.Sleep(35 * time.Second)
				if row := b.row("web"); row.Status != renewer.StatusValid || row.Hosts[0].State != renewer.HostVerified {
					t.Errorf("row %+v", row)
				}
			})
		})
	}
}

func TestAStoppedServiceIsNotStartedAndProvenLater(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		m := b.machine("a")
		m.mu.Lock()
		m.stopped = true
		m.mu.Unlock()
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Rollouts[0].Result != renewer.ResultFailed || !strings.Contains(res.Rollouts[0].Error, "not running") {
			t.Fatalf("result %+v", res)
		}
		if row := b.row("web"); row.Status != renewer.StatusBlocked {
			t.Fatalf("row %+v", row)
		}
		m.mu.Lock()
		m.stopped, m.places["web"].served = false, leafOf(m.places["web"].revisions[m.places["web"].live])
		m.mu.Unlock()
		time.Sleep(renewer.BackoffMax)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
	})
}

// Whether a service runs is asked when that matters, and not remembered from its
// activation: one that is started meanwhile is proven, and one that ended because
// of what it had to load was not stopped by anybody.
func TestWhetherAServiceRunsIsAskedWhenItIsProven(t *testing.T) {
	for name, tc := range map[string]struct {
		probe  renewer.ProbeKind
		before bool // it does not run when it is activated
		after  func(*machine)
		state  renewer.HostState
	}{
		"started before the probe":       {renewer.ProbeTLS, true, (*machine).start, renewer.HostVerified},
		"started before the file probe":  {renewer.ProbeFile, true, (*machine).start, renewer.HostVerified},
		"ended by what it was to load":   {renewer.ProbeTLS, false, (*machine).stop, renewer.HostRolledBack},
		"not started before the look":    {renewer.ProbeFile, true, nil, renewer.HostBlocked},
		"not started before the TLS one": {renewer.ProbeTLS, true, nil, renewer.HostBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, Asked, func(b *bench) []renewer.Certificate {
				c := b.cert("web", month, "a")
				c.Placements[0].Probe.Kind = tc.probe
				return []renewer.Certificate{c}
			}, func(t *testing.T, b *bench) {
				b.pass()
				m := b.machine("a")
				m.set(func(m *machine) { m.stopped = tc.before })
				if tc.after != nil {
					m.then(func() { m.then(nil); m.set(tc.after) })
				}
				_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
				must(t, err)
				if h := b.row("web").Hosts[0]; h.State != tc.state || h.Matches == (tc.state == renewer.HostBlocked) {
					t.Errorf("%+v", h)
				}
				if m.stopped != (tc.state == renewer.HostBlocked) {
					t.Errorf("stopped: %t", m.stopped)
				}
			})
		})
	}
}

// A pid_file that is wrong while the service answers on its port is a problem
// that is reported once, not a rollout at every look.
func TestAServiceThatIsNotWhereItIsLookedForIsAProblemOnce(t *testing.T) {
	mend := map[string]func(*bench){
		"the entry names the right file": func(b *bench) {
			b.machine("a").set(func(m *machine) { m.stopped = false })
			c := b.cert("web", month, "a") // the loop has the other one
			c.Placements[0].Activate = renewer.Activation{Kind: renewer.ActivateSignal, Signal: "HUP", PIDFile: "/run/right.pid"}
			b.fleet.Certificates = []renewer.Certificate{c}
			must(t, b.eng.SetFleet(context.Background(), b.fleet, Again))
		},
		"the service is restarted": func(b *bench) {
			b.machine("a").set(func(m *machine) {
				pl := m.places["web"]
				pl.loaded = pl.revisions[pl.live]
				pl.served = leafOf(pl.loaded)
			})
		},
		"an operator asks": func(b *bench) {
			b.machine("a").set(func(m *machine) { m.stopped = false })
			_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
			must(t, err)
		},
	}
	for name, put := range mend {
		t.Run(name, func(t *testing.T) {
			certs := func(b *bench) []renewer.Certificate {
				c := b.cert("web", month, "a")
				c.Placements[0].Activate = renewer.Activation{Kind: renewer.ActivateSignal, Signal: "HUP", PIDFile: "/run/wrong.pid"}
				return []renewer.Certificate{c}
			}
			scene(t, Alone, certs, func(t *testing.T, b *bench) {
				synctest.Wait()
				b.machine("a").set(func(m *machine) { m.stopped, m.elsewhere = true, true })
				_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
				must(t, err)
				for range 48 {
					time.Sleep(30 * time.Minute)
					err := b.eng.Survey(context.Background(), nil)
					must(t, err)
					if name == "the entry names the right file" { // nothing is fixed by a reload, or by a pass
						must(t, b.eng.SetFleet(context.Background(), b.fleet, Again))
					}
				}
				row := b.row("web")
				if row.Status != renewer.StatusBlocked || !strings.Contains(row.Hosts[0].Error, "but something answers there") || row.Hosts[0].Matches {
					t.Errorf("row %+v", row)
				}
				if n, told := len(b.events(renewer.EventRolloutPlanned)), b.events(renewer.EventDrifted); n != 2 || len(told) != 1 || !strings.Contains(told[0].Hint, "pid_file") {
					t.Errorf("%d rollouts; reported %+v", n, told)
				}
				put(b)
				time.Sleep(time.Minute)
				err = b.eng.Survey(context.Background(), nil)
				must(t, err)
				synctest.Wait()
				if row := b.row("web"); row.Status != renewer.StatusValid || !row.Hosts[0].Matches {
					t.Errorf("fixed: %+v", row)
				}
			})
		})
	}
}

// A service that is started after its files came needs no waiting for the next
// try: a pass looks at once.
func TestAPassActivatesWhatWasStartedMeanwhile(t *testing.T) {
	scene(t, Asked, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Placements[0].Probe = renewer.Probe{Kind: renewer.ProbeFile}
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		m := b.machine("a")
		m.stopped = true
		if res := b.pass(); !res.Failed() {
			t.Fatalf("no one runs it: %+v", res)
		}
		m.stopped = false
		time.Sleep(time.Second)
		if res := b.pass(); res.Failed() || b.row("web").Status != renewer.StatusValid {
			t.Errorf("%+v, row %+v", res, b.row("web"))
		}
	})
}

func TestAnIssuerThatChangedItsCAIsAskedForItsRootsAgain(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.pass()
		cfg := local.Config{Name: "ca", CertFile: filepath.Join(b.dir, "next", "ca.pem"), KeyFile: filepath.Join(b.dir, "next", "ca-key.pem")}
		next, err := local.Create(cfg, local.CreateOptions{})
		must(t, err)
		b.ca.Issuer = next
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if row := b.row("web"); res.Failed() || row.Generation != 2 || row.Status != renewer.StatusValid {
			t.Errorf("%+v, row %+v", res, row)
		}
	})
}

func TestAnAddedHostGetsTheSameGeneration(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, "a", "b")}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(time.Minute)
		row := b.row("web")
		if row.Status != renewer.StatusValid || row.Generation != 1 || b.ca.count() != 1 || row.Hosts[1].Served != row.Fingerprint {
			t.Errorf("%d orders, row %+v", b.ca.count(), row)
		}
	})
}

func TestRekeyFalseKeepsTheKey(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Rekey = false
		return []renewer.Certificate{c}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		b.pass()
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		gens, err := b.store.Generations("web")
		must(t, err)
		var keys [][]byte
		for _, g := range gens {
			chain, err := g.Parse()
			must(t, err)
			keys = append(keys, chain.Leaf.RawSubjectPublicKeyInfo)
		}
		if len(keys) != 2 || !slices.Equal(keys[0], keys[1]) {
			t.Errorf("%d generations, keys differ", len(keys))
		}
	})
}

func TestATickWithNothingDueAsksNoOne(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{b.cert("web", month, "a", "b", "c")}
	}, func(t *testing.T, b *bench) {
		synctest.Wait()
		calls, orders := len(b.machine("a").calls), b.ca.count()
		for range 100 {
			b.eng.Tick(context.Background())
			time.Sleep(10 * time.Minute)
		}
		if n := len(b.machine("a").calls) - calls; n != 0 || b.ca.count() != orders {
			t.Errorf("%d host calls, %d orders", n, b.ca.count()-orders)
		}
	})
}

func TestACertificateThatLeavesTheFleetFileIsInNoListAndComesBack(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		certs := b.fleet.Certificates
		b.fleet.Certificates = nil
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		if row := b.row("web"); row.Name != "" {
			t.Fatalf("still listed: %+v", row)
		}
		b.fleet.Certificates = certs
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		if row := b.row("web"); row.Status == renewer.StatusValid {
			t.Errorf("valid before anything was looked at: %+v", row)
		}
		time.Sleep(time.Minute)
		if row := b.row("web"); row.Generation != 1 || row.Status != renewer.StatusValid { // it is what it was
			t.Errorf("row %+v", row)
		}
	})
}

func TestAWindowHoldsActivationUntilExpiryIsNear(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Window, c.OverrideBefore = "never", 2*24*time.Hour
		b.fleet.Windows["never"] = shutWindow{}
		return []renewer.Certificate{c}
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		if row := b.row("web"); row.Status != renewer.StatusPending || row.Hosts[0].State != renewer.HostStaged {
			t.Fatalf("the first waits too: %+v", row)
		}
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil) // an operator does not
		must(t, err)
		first := b.row("web")
		if first.Status != renewer.StatusValid {
			t.Fatalf("row %+v", first)
		}
		time.Sleep(25 * 24 * time.Hour)
		row := b.row("web")
		if row.Status != renewer.StatusRenewing || row.Generation != 1 || row.Hosts[0].State != renewer.HostStaged {
			t.Fatalf("in the window's time: %+v", row)
		}
		time.Sleep(time.Until(first.NotAfter.Add(-2*24*time.Hour)) + time.Minute)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("near expiry: %+v", row)
		}
	})
}

type shutWindow struct{}

func (shutWindow) At(t time.Time) (bool, time.Time) { return false, t.AddDate(10, 0, 0) }

func TestAPassTriesAgainWhatWaits(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.ca.breakWith(&renewer.Error{Class: renewer.ClassMisconfigured, Err: errors.New("no CA"), Hint: "renewer ca init"})
		if res := b.pass(); !res.Failed() || res.Rollouts[0].Hint != "renewer ca init" {
			t.Fatalf("result %+v", res)
		}
		b.ca.breakWith(nil) // fixed at once
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
	})
}

// An inventory that takes nothing for a while (a full disk) loses nothing:
// what was done is recorded later, and not done again.
func TestAFullDiskLosesNothing(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		full := &fullStore{Store: b.store}
		b.stop()
		b.wrap = func(s Store) Store { full.Store = s; return full }
		b.start(Alone)
		for n := range 8 { // the nth commit of a renewal and the ones after it fail for ten minutes
			full.after(n)
			before := b.ca.count()
			_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
			if n > 0 && n < 6 && !errors.Is(err, errFull) {
				t.Fatalf("commit %d: the one who waits was asked %v", n, err)
			}
			time.Sleep(10 * time.Minute)
			full.after(-1)
			time.Sleep(10 * time.Minute)
			row := b.row("web")
			if row.Status != renewer.StatusValid {
				t.Errorf("commit %d: row %+v", n, row)
			}
			if made := b.ca.count() - before; made > 1 {
				t.Errorf("commit %d: %d orders", n, made)
			}
			if g := b.row("web").Generation; g != b.ca.count() {
				t.Errorf("commit %d: generation %d of %d orders", n, g, b.ca.count())
			}
		}
	})
}

var errFull = errors.New("no space left on device")

// fullStore refuses commits from some point on.
type fullStore struct {
	Store
	mu   sync.Mutex
	left int // commits that still succeed; less than 0: all
}

func (f *fullStore) after(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = n
}

func (f *fullStore) Commit(ctx context.Context, changes ...Change) ([]renewer.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		return nil, errFull
	}
	if f.left > 0 {
		f.left--
	}
	return f.Store.Commit(ctx, changes...)
}

func TestAPanicStaysWithItsTask(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		return []renewer.Certificate{b.cert("bad", month, "a"), b.cert("good", month, "b")}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		m := b.machine("a")
		m.fail = func(call, _ string) error {
			if call == "stage" {
				panic("a bug")
			}
			return nil
		}
		res := b.pass()
		if len(res.Rollouts) != 2 || res.Rollouts[0].Result != renewer.ResultFailed || res.Rollouts[1].Result != renewer.ResultVerified {
			t.Errorf("result %+v", res)
		}
	})
}

func TestStoppingParksWhatIsUnderWay(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.ca.breakWith(errors.New("away"))
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		b.stop()
		b.ca.breakWith(nil)
		b.start(Alone)
		time.Sleep(renewer.BackoffMax)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
	})
}

func TestASlowEffectGetsItsGrace(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		m := b.machine("a")
		m.slow = func(ctx context.Context, call string) {
			if call == "stage" {
				select {
				case <-time.After(5 * time.Second):
				case <-ctx.Done():
					t.Error("it was cut off")
				}
			}
		}
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, false, nil)
		must(t, err)
		time.Sleep(time.Second)
		b.stop()
		b.start(Alone)
		time.Sleep(time.Minute)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 || b.ca.count() != 2 {
			t.Errorf("%d orders, row %+v", b.ca.count(), row)
		}
	})
}

// A block is not for ever: one failure does not let a certificate expire on a
// service that has long been healthy again.
func TestABlockedRenewalIsTriedAgainBeforeTheEnd(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		first := b.row("web")
		time.Sleep(time.Until(first.RenewAt) - time.Minute)
		b.refuseNew("a", first.Fingerprint)
		time.Sleep(time.Hour)
		if row := b.row("web"); row.Status != renewer.StatusBlocked {
			t.Fatalf("row %+v", row)
		}
		restarts := b.machine("a").activated["systemd restart web.service"]
		time.Sleep(24 * time.Hour)
		if n := b.machine("a").activated["systemd restart web.service"]; n != restarts {
			t.Errorf("%d restarts within a day", n-restarts)
		}
		b.refuseNew("a", "")
		time.Sleep(time.Until(first.NotAfter) - time.Hour)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation < 3 {
			t.Errorf("row %+v", row)
		}
		if ev := b.events(renewer.EventExpired); len(ev) != 0 {
			t.Errorf("%+v", ev)
		}
	})
}

func TestARollbackHoldsAgainstTheEntryOfThen(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		c := b.fleet.Certificates[0]
		c.SANs = append(c.SANs, "bad.test")
		b.fleet.Certificates = []renewer.Certificate{c}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(time.Minute)
		res, err := b.eng.Rollback(context.Background(), []string{"web"}, nil)
		must(t, err)
		time.Sleep(time.Hour)
		if row := b.row("web"); res.Failed() || row.Generation != 1 || row.Status != renewer.StatusValid {
			t.Fatalf("%+v, row %+v", res, row)
		}
		c.SANs = []string{"good.test"}
		b.fleet.Certificates = []renewer.Certificate{c}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(time.Minute)
		if row := b.row("web"); row.Generation != 3 || row.SANs[0] != "good.test" {
			t.Errorf("row %+v", row)
		}
	})
}

// Files in the right place prove nothing of a service that never got a command.
func TestAFileProbeDoesNotClearAnActivationThatNeverWas(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Placements[0].Probe = renewer.Probe{Kind: renewer.ProbeFile}
		return []renewer.Certificate{c}
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		m := b.machine("a")
		m.mu.Lock()
		m.stopped = true
		m.mu.Unlock()
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		for range 5 {
			err := b.eng.Survey(context.Background(), nil)
			must(t, err)
			time.Sleep(time.Hour)
		}
		if row := b.row("web"); row.Status != renewer.StatusBlocked || row.Hosts[0].State != renewer.HostBlocked {
			t.Fatalf("row %+v", row)
		}
		m.mu.Lock()
		m.stopped = false
		m.mu.Unlock()
		time.Sleep(renewer.BackoffMax + time.Minute)
		if row := b.row("web"); row.Status != renewer.StatusValid || m.places["web"].served != row.Fingerprint {
			t.Errorf("row %+v", row)
		}
	})
}

func TestAGuardHoldsARestartThatWouldEndContainers(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := b.cert("docker", month, "a")
		c.Placements[0].Activate.Units = []string{"docker.service"}
		c.Placements[0].Guard = &renewer.Guard{Docker: &renewer.DockerGuard{WithoutLiveRestore: renewer.GuardWaitIdle, Label: "run"}}
		return []renewer.Certificate{c}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		busy := func(d renewer.DockerState) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.docker = d
		}
		busy(renewer.DockerState{Running: true, Containers: 2, Matching: 1})
		res, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Failed() || res.Rollouts[0].Result != renewer.ResultWaiting || len(res.Rollouts[0].Waiting) == 0 {
			t.Fatalf("result %+v", res)
		}
		if row := b.row("docker"); row.Generation != 1 || row.Hosts[0].State != renewer.HostStaged || m.activated["systemd restart docker.service"] != 1 {
			t.Fatalf("row %+v", row)
		}
		busy(renewer.DockerState{Running: true, Containers: 1})
		time.Sleep(2 * renewer.GuardInterval)
		if row := b.row("docker"); row.Generation != 2 || row.Status != renewer.StatusValid {
			t.Errorf("row %+v", row)
		}
		b.fleet.Certificates[0].Placements[0].Guard = &renewer.Guard{Docker: &renewer.DockerGuard{WithoutLiveRestore: renewer.GuardBlock}}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Asked))
		res, err = b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if row := b.row("docker"); res.Rollouts[0].Result != renewer.ResultBlocked || row.Status != renewer.StatusBlocked || row.Generation != 2 {
			t.Errorf("%+v, row %+v", res, row)
		}
		res, err = b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{Force: true}, true, nil)
		must(t, err)
		if row := b.row("docker"); res.Failed() || row.Status != renewer.StatusValid {
			t.Errorf("forced: %+v, row %+v", res, row)
		}
	})
}

// Setting a host up places the files and restarts nothing: the one who sets it up
// sees to the containers.
func TestAGuardDoesNotHoldThePlacingForASetup(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := b.cert("docker", month, "a")
		c.Placements[0].Activate.Units = []string{"docker.service"}
		c.Placements[0].Guard = &renewer.Guard{Docker: &renewer.DockerGuard{WithoutLiveRestore: renewer.GuardBlock}}
		return []renewer.Certificate{c}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		m := b.machine("a")
		m.docker = renewer.DockerState{Running: true, Containers: 1, Matching: 1}
		must(t, b.eng.Place(context.Background(), "docker", "a", false, nil))
		if pl := m.places["docker"]; pl == nil || pl.live == "" || m.activated["systemd restart docker.service"] != 0 {
			t.Errorf("row %+v, activated %v", b.row("docker"), m.activated)
		}
		for _, lost := range []bool{false, true} {
			delete(m.places, "docker")
			must(t, b.eng.Place(context.Background(), "docker", "a", lost, nil))
			if pl := m.places["docker"]; lost != (pl != nil && pl.live != "") {
				t.Errorf("lost %v: row %+v", lost, b.row("docker"))
			}
		}
	})
}

func TestAGuardHoldsAWorkerThatHasRuns(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := b.cert("worker", month, "a")
		c.Placements[0].Guard = &renewer.Guard{Dagu: &renewer.DaguGuard{By: renewer.IdleByProcesses}}
		return []renewer.Certificate{c}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		has := func(w renewer.Work) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.work = w
		}
		has(renewer.Work{Running: true, Active: 2, What: "runs"})
		res, err := b.eng.Renew(context.Background(), []string{"worker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Failed() || res.Rollouts[0].Result != renewer.ResultWaiting || !strings.Contains(res.Rollouts[0].Waiting.String(), "no runs are left (2 now)") {
			t.Fatalf("result %+v", res)
		}
		if row := b.row("worker"); row.Generation != 1 || row.Hosts[0].State != renewer.HostStaged {
			t.Fatalf("row %+v", row)
		}
		err = b.eng.Survey(context.Background(), nil) // what waits, for days maybe, is watched meanwhile
		must(t, err)
		if row := b.row("worker"); row.Hosts[0].State != renewer.HostStaged || !row.Hosts[0].Matches {
			t.Errorf("row %+v", row)
		}
		m.set(func(m *machine) { m.places["worker"].served = "something else" })
		err = b.eng.Survey(context.Background(), nil)
		must(t, err)
		if row := b.row("worker"); row.Hosts[0].State != renewer.HostDrifted || row.Hosts[0].Matches || row.Severity(time.Now()) == "" {
			t.Errorf("row %+v", row)
		}
		has(renewer.Work{Running: true})
		time.Sleep(2 * renewer.GuardInterval)
		if row := b.row("worker"); row.Generation != 2 || row.Status != renewer.StatusValid {
			t.Errorf("row %+v", row)
		}
	})
}

func TestThePreflightKeepsOutWhatNoPeerTakes(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.pass()
		p := &b.fleet.Certificates[0].Placements[0]
		p.Probe = renewer.Probe{Kind: renewer.ProbeDocker, Address: "10.9.9.9:2376", Timeout: time.Second}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Asked))
		before := b.machine("a").activated["systemd restart web.service"]
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Rollouts[0].Result != renewer.ResultBlocked || !strings.Contains(res.Rollouts[0].Error, "10.9.9.9") || res.Rollouts[0].Hint == "" {
			t.Fatalf("result %+v", res)
		}
		if row := b.row("web"); row.Generation != 1 || b.machine("a").activated["systemd restart web.service"] != before {
			t.Errorf("row %+v", row)
		}
	})
}
