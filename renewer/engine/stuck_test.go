package engine

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

func (m *machine) set(f func(m *machine)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

func (m *machine) count(call string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, c := range m.calls {
		if strings.HasPrefix(c, call) {
			n++
		}
	}
	return n
}

func three(b *bench) []renewer.Certificate {
	return []renewer.Certificate{b.cert("web", month, "a", "b", "c")}
}

// failOn lets one kind of call fail.
func failOn(call string, err error) func(string, string) error {
	return func(c, _ string) error {
		if c == call {
			return err
		}
		return nil
	}
}

// A host that is away for months does not let the certificate of the others
// expire: what is due is renewed although a rollout still waits for it.
func TestADeadHostDoesNotKeepTheOthersFromBeingRenewed(t *testing.T) {
	for name, kind := range map[string]func(b *bench){
		"issue": func(b *bench) {
			_, _ = b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		},
		"place": func(b *bench) {
			b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, "a", "c", "b")}
			must(b.t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		},
	} {
		t.Run(name, func(t *testing.T) {
			certs := three
			if name == "place" {
				certs = func(b *bench) []renewer.Certificate { return []renewer.Certificate{b.cert("web", month, "a", "c")} }
			}
			scene(t, Alone, certs, func(t *testing.T, b *bench) {
				synctest.Wait()
				b.machine("b").set(func(m *machine) { m.down = true })
				kind(b)
				for range 50 { // two renewals and more
					time.Sleep(24 * time.Hour)
					synctest.Wait()
					gens, err := b.store.Generations("web")
					must(t, err)
					end := map[string]time.Time{}
					for _, g := range gens {
						end[g.Fingerprint] = g.NotAfter
					}
					for _, h := range b.row("web").Hosts {
						if h.Name != "b" && !end[h.Served].After(time.Now()) {
							t.Fatalf("%s serves what ended: %+v", h.Name, b.row("web"))
						}
					}
				}
				b.machine("b").set(func(m *machine) { m.down = false })
				time.Sleep(renewer.BackoffMax + time.Minute)
				if row := b.row("web"); row.Status != renewer.StatusValid {
					t.Errorf("row %+v", row)
				}
			})
		})
	}
}

// Lists show what is served as soon as every host that can be reached is proven:
// the other one is not waited for, and nothing is called expired for it.
func TestTheCurrentGenerationIsThatOfTheHostsThatCanBeReached(t *testing.T) {
	scene(t, Alone, three, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.machine("b").set(func(m *machine) { m.down = true })
		_, _ = b.eng.Renew(t.Context(), []string{"web"}, renewer.Overrides{}, true, nil)
		time.Sleep(10 * time.Second) // less than it takes to try again
		synctest.Wait()
		if row := b.row("web"); row.Generation != 2 || row.Status != renewer.StatusRenewing || row.Hosts[1].Generation != 1 {
			t.Errorf("row %+v", row)
		}
	})
}

func TestTheEndOfACertificateIsNotedWhileItsRenewalWaits(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.ca.breakWith(errors.New("away"))
		time.Sleep(month + time.Hour)
		if ev := b.events(renewer.EventExpired); len(ev) != 1 {
			t.Errorf("events %+v", ev)
		}
	})
}

// A dead host that is taken out of the entry ends the wait for it.
func TestTheLastHostOfARolloutLeavesTheEntry(t *testing.T) {
	scene(t, Alone, three, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.machine("b").set(func(m *machine) { m.down = true })
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, "a", "c")}
		delete(b.fleet.Hosts, "b")
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(time.Minute)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 || len(row.Hosts) != 2 {
			t.Errorf("row %+v", row)
		}
		b.noKeys("web")
	})
}

// A host that was between two generations when it left the fleet cannot be
// finished by anybody: the rollout goes on without it.
func TestAHostLeavesInTheMiddleOfItsActivation(t *testing.T) {
	for _, restart := range []bool{false, true} {
		scene(t, Alone, three, func(t *testing.T, b *bench) {
			synctest.Wait()
			gone := b.machine("a")
			gone.set(func(m *machine) { m.fail = failOn("flip", errDown) })
			_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
			must(t, err)
			b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, "b", "c")}
			delete(b.fleet.Hosts, "a")
			if restart {
				b.stop()
				b.start(Alone)
			} else {
				must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
			}
			time.Sleep(time.Hour)
			if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
				t.Errorf("restart %v: row %+v", restart, row)
			}
		})
	}
}

// The same where the files move to another directory meanwhile.
func TestADirectoryChangesInTheMiddleOfAnActivation(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		m := b.machine("a")
		m.set(func(m *machine) { m.fail = failOn("flip", errors.New("read-only file system")) })
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		c := b.cert("web", month, "a")
		c.Placements[0].Dir = "/srv/web"
		b.fleet.Certificates = []renewer.Certificate{c}
		m.set(func(m *machine) { m.fail, m.places = nil, map[string]*place{} }) // nothing is in the new one yet
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(renewer.BackoffMax)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
	})
}

func TestACertificateLeavesWithItsHostInTheMiddleOfItsActivation(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.machine("a").set(func(m *machine) { m.fail = failOn("flip", errDown) })
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		b.fleet.Certificates = nil
		delete(b.fleet.Hosts, "a")
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		if row := b.row("web"); row.Name != "" {
			t.Errorf("still listed: %+v", row)
		}
	})
}

// What could not be proven on a host is of no interest once the host has left
// the entry: not to the loop, and not to the one who reads the list.
func TestAnUnprovenHostLeavesTheEntry(t *testing.T) {
	scene(t, Alone, three, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.machine("b").set(func(m *machine) { m.down = true })
		if err := b.eng.Survey(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		if row := b.row("web"); row.Status != renewer.StatusBlocked {
			t.Fatalf("row %+v", row)
		}
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, "a", "c")}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		if row := b.row("web"); row.Status != renewer.StatusValid || len(row.Hosts) != 2 {
			t.Errorf("row %+v", row)
		}
		time.Sleep(time.Hour) // past the time of the next look at it
		if err := b.eng.Survey(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		looks := b.machine("a").count("probe")
		time.Sleep(time.Hour)
		if n := b.machine("a").count("probe") - looks; n > 1 {
			t.Errorf("%d looks in an hour", n)
		}
		rec, _, err := b.store.Record("web")
		must(t, err)
		if text, _ := rec.LastError(); text != "" {
			t.Errorf("problem %q", text)
		}
	})
}

// A look without a daemon goes on with nothing that was left under way.
func TestVerifyOnlyLooks(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.pass()
		b.ca.breakWith(errors.New("away"))
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		b.stop()
		b.ca.breakWith(nil)
		time.Sleep(24 * time.Hour)
		b.start(Asked)
		orders := b.ca.count()
		if err := b.eng.Survey(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := b.ca.count() - orders; n != 0 {
			t.Errorf("%d orders by looking", n)
		}
	})
}

// What was seen before a rollout says nothing about what is there after it.
func TestALookThatARolloutOvertookIsForgotten(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		m := b.machine("a")
		m.set(func(m *machine) { m.places["web"].served = "something else" })
		var targets []target
		must(t, b.eng.do(context.Background(), func() { targets, _ = b.eng.targets([]string{"web"}) }))
		fleet := b.fleet
		fleet.index()
		roots, creds := b.eng.sources()
		_, look := b.eng.lookAt(context.Background(), targets[0], &fleet, roots, creds)
		if look.Err == nil {
			t.Fatal("it saw nothing")
		}
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		must(t, b.eng.do(context.Background(), func() { must(t, b.eng.observe([]Seen{{target: targets[0], Look: look}})) }))
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Hosts[0].State != renewer.HostVerified {
			t.Errorf("row %+v", row)
		}
	})
}

// countingStore counts commits that are refused.
type countingStore struct {
	*fullStore
	refused int
}

func (c *countingStore) Commit(ctx context.Context, changes ...Change) ([]renewer.Event, error) {
	ev, err := c.fullStore.Commit(ctx, changes...)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refused++
	}
	return ev, err
}

// With something due and a full disk the loop tries now and then, and does not
// spin.
func TestAFullDiskDoesNotKeepTheLoopBusy(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.stop()
		count := &countingStore{fullStore: &fullStore{left: -1}}
		b.wrap = func(s Store) Store { count.Store = s; return count }
		b.start(Alone)
		time.Sleep(time.Until(b.row("web").RenewAt) - time.Minute)
		count.after(0)
		time.Sleep(5 * time.Minute)
		count.mu.Lock()
		before := count.refused
		count.mu.Unlock()
		time.Sleep(10 * time.Minute)
		count.mu.Lock()
		n := count.refused - before
		count.mu.Unlock()
		if n < 1 || n > 200 {
			t.Errorf("%d tries in ten minutes", n)
		}
		count.after(-1)
		time.Sleep(10 * time.Minute)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
	})
}

// A placement that cannot be looked at does not hold back the others that
// share its service.
func TestAProbeThatCannotBeMadeHoldsNoOneUp(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		x, y := b.cert("x", month, "a"), b.cert("y", month, "a")
		y.Placements[0].Activate = x.Placements[0].Activate
		x.Placements[0].Probe.Mutual, x.Placements[0].Probe.Client = true, "missing"
		return []renewer.Certificate{x, y}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		_, err := b.eng.Renew(context.Background(), []string{"x"}, renewer.Overrides{}, true, nil)
		must(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		res, err := b.eng.Renew(ctx, []string{"y"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Rollouts[0].Result != renewer.ResultVerified {
			t.Errorf("result %+v", res)
		}
	})
}

// A pass waits for what was under way when it began.
func TestAPassWaitsForWhatIsUnderWay(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.machine("a").slow = func(context.Context, string) { time.Sleep(10 * time.Second) }
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, false, nil)
		must(t, err)
		time.Sleep(time.Second)
		if res := b.pass(); len(res.Rollouts) != 1 || res.Rollouts[0].Result != renewer.ResultVerified {
			t.Errorf("result %+v", res)
		}
	})
}

// A rollout that stopped on one host while another was still being staged is
// planned again when its entry changes meanwhile.
func TestAnEntryChangesWhileABlockedRolloutStillStages(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a", "b")
		c.Pace = renewer.Pace{}
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.refuseNew("a", b.row("web").Fingerprint)
		b.machine("b").slow = func(context.Context, string) { time.Sleep(40 * time.Second) }
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, false, nil)
		must(t, err)
		time.Sleep(20 * time.Second)
		if row := b.row("web"); row.Status != renewer.StatusBlocked {
			t.Fatalf("row %+v", row)
		}
		b.refuseNew("a", "")
		c := b.fleet.Certificates[0]
		c.SANs = append(slices.Clone(c.SANs), "more.test")
		b.fleet.Certificates = []renewer.Certificate{c}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		time.Sleep(5 * time.Minute)
		if row := b.row("web"); row.Status != renewer.StatusValid || !slices.Contains(row.SANs, "more.test") {
			t.Errorf("row %+v", row)
		}
	})
}

// A machine that never answers costs a probe its time and no more.
func TestAHostThatHangsDoesNotHoldAProbeForEver(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		x, y := b.cert("x", month, "a"), b.cert("y", month, "b")
		x.Placements[0].Probe.Mutual, x.Placements[0].Probe.Client = true, "y"
		return []renewer.Certificate{x, y}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		_, err := b.eng.Renew(context.Background(), []string{"y"}, renewer.Overrides{}, true, nil)
		must(t, err)
		b.machine("b").slow = func(ctx context.Context, call string) {
			if call == "locate" {
				<-ctx.Done()
			}
		}
		res, err := b.eng.Renew(context.Background(), []string{"x"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Rollouts[0].Result != renewer.ResultFailed {
			t.Errorf("result %+v", res)
		}
	})
}

// blindStore cannot read records.
type blindStore struct {
	Store
	blind bool
}

func (s *blindStore) Record(name string) (renewer.Record, bool, error) {
	if s.blind {
		return renewer.Record{}, false, errors.New("input/output error")
	}
	return s.Store.Record(name)
}

// A rollout that cannot be read at a start keeps its key, and goes on with it.
func TestAKeyOfWhatCannotBeReadStays(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.machine("a").set(func(m *machine) { m.down = true })
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		b.stop()
		blind := &blindStore{blind: true}
		b.wrap = func(s Store) Store { blind.Store = s; return blind }
		b.start(Alone)
		if _, ok, err := b.store.Key("web", 2); !ok || err != nil {
			t.Errorf("the key is gone: %v", err)
		}
		must(t, b.eng.do(context.Background(), func() { blind.blind = false }))
		b.machine("a").set(func(m *machine) { m.down = false })
		time.Sleep(renewer.BackoffMax)
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
		b.noKeys("web")
	})
}

// The key goes with the record of its rollout's end, whichever of the engine's
// commits fail, and a failure later on brings none back.
func TestNoKeyOutlivesItsRollout(t *testing.T) {
	for fails := range 12 {
		scene(t, Asked, func(b *bench) []renewer.Certificate {
			commits := 0
			b.wrap = func(s Store) Store {
				return &failingStore{Store: s, fail: func() bool { commits++; return commits%12 == fails }}
			}
			return []renewer.Certificate{b.cert("web", month, "a", "b")}
		}, func(t *testing.T, b *bench) {
			for generation := 1; generation <= 3; generation++ {
				_, _ = b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil) // a commit may fail under it
				time.Sleep(time.Hour)
				synctest.Wait()
			}
			rec, _, err := b.store.Record("web")
			must(t, err)
			if rec.Rollout != nil || rec.Current < 2 {
				t.Fatalf("commit %d fails: %+v", fails, rec)
			}
			b.noKeys("web")
		})
	}
}

// While a rollout lasts its key lies in the inventory sealed: neither that, nor
// a backup, nor the log shows a part of it.
func TestNoKeyIsInClear(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		b.machine("b").down = true
		rsa := b.cert("rsa", month, "a", "b")
		rsa.Key = renewer.RSA2048
		return []renewer.Certificate{b.cert("ec", month, "a", "b"), rsa}
	}, func(t *testing.T, b *bench) {
		synctest.Wait()
		var backup bytes.Buffer
		must(t, b.store.Backup(&backup))
		file, err := os.ReadFile(b.store.Path())
		must(t, err)
		for _, name := range []string{"ec", "rsa"} {
			if _, ok, err := b.store.Key(name, 1); !ok || err != nil {
				t.Fatalf("the key of %s is not there: %v", name, err)
			}
			pl := b.machine("a").place(name)
			text := pl.revisions[pl.live][renewer.FileKey]
			key, err := pki.DecodeKey(text)
			must(t, err)
			secrets := [][]byte{text[len(text)/2:][:32], []byte("PRIVATE KEY")}
			switch k := key.(type) {
			case *ecdsa.PrivateKey:
				secret, err := k.Bytes()
				must(t, err)
				secrets = append(secrets, secret)
			case *rsa.PrivateKey:
				secrets = append(secrets, k.D.Bytes()[:32], k.Primes[0].Bytes()[:32])
			}
			for what, content := range map[string][]byte{"inventory": file, "backup": backup.Bytes(), "log": b.log.Bytes()} {
				for _, secret := range secrets {
					if bytes.Contains(content, secret) {
						t.Errorf("the %s shows the key of %s", what, name)
					}
				}
			}
		}
	})
}

type failingStore struct {
	Store
	fail func() bool
}

func (s *failingStore) Commit(ctx context.Context, changes ...Change) ([]renewer.Event, error) {
	if s.fail() {
		return nil, errors.New("no space left on device")
	}
	return s.Store.Commit(ctx, changes...)
}

// A revision that somebody removed before it went live is staged again; the way
// back that is gone is no way.
func TestARevisionIsGone(t *testing.T) {
	b := newBench(t, "b")
	b.fleet.Certificates = []renewer.Certificate{b.cert("web", 90*24*time.Hour, "b")}
	b.start(Again)
	defer func() { b.stop() }()
	b.pass()
	m := b.machine("b")
	forget := func(call string, which func(*place) string) {
		once := true
		m.mu.Lock()
		defer m.mu.Unlock()
		m.fail = func(did, certificate string) error {
			if pl := m.places[certificate]; did == call && once && pl != nil {
				once = false
				delete(pl.revisions, which(pl))
			}
			return nil
		}
	}
	forget("flip", func(pl *place) string { return pl.order[len(pl.order)-1] })
	if _, err := b.eng.Renew(t.Context(), []string{"web"}, renewer.Overrides{}, true, nil); err != nil {
		t.Fatal(err)
	}
	if r := b.row("web"); r.Hosts[0].State == renewer.HostBlocked {
		t.Fatalf("after the revision was removed: %+v", r)
	}
	b.pass()
	if r := b.row("web"); r.Status != renewer.StatusValid || r.Generation != 2 {
		t.Fatalf("staged again: %+v", r)
	}

	m.mu.Lock()
	m.only = "nothing that there is"
	m.mu.Unlock()
	forget("flip", func(pl *place) string { return pl.order[len(pl.order)-2] })
	res, err := b.eng.Renew(t.Context(), []string{"web"}, renewer.Overrides{}, true, nil)
	must(t, err)
	if len(res.Rollouts) != 1 || res.Rollouts[0].Result != renewer.ResultBlocked || !strings.Contains(res.Rollouts[0].Error, "the previous certificate cannot be restored") {
		t.Errorf("without a way back: %+v", res)
	}
}
