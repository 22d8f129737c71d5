package engine

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"renewer/renewer"
)

func (m *machine) Doubts(context.Context, renewer.Placement) ([]renewer.Doubt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.doubts, m.blind
}

func (m *machine) Listens(context.Context, string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.stopped, m.blind
}

func (m *machine) StopTime(context.Context, renewer.Activation) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stops
}

func (m *machine) GaveUp(context.Context, renewer.Activation) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gaveUp
}

func (m *machine) Words(context.Context, renewer.Activation) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.words
}

// walled is a prober behind a firewall, while it is up.
type walled struct {
	eyes
	up *atomic.Bool
}

func (w walled) Reach(context.Context, string) error {
	if w.up.Load() {
		return errors.New("dial tcp: i/o timeout")
	}
	return nil
}

func (w walled) Probe(ctx context.Context, r ProbeRequest) (Observation, error) {
	if w.up.Load() && r.Placement.Probe.Kind.Served() {
		return Observation{}, &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: errors.New("dial tcp: i/o timeout")}
	}
	return w.eyes.Probe(ctx, r)
}

func oneDocker(b *bench) []renewer.Certificate {
	c := b.cert("docker", month, "a")
	c.OverrideBefore = 7 * 24 * time.Hour
	return []renewer.Certificate{c}
}

// A service that would not start again is not restarted, for every caller and however;
// when the cause is gone the renewal goes on by itself. What only looks odd, and what
// cannot be known, holds nothing up.
func TestWhatWouldNotStartAgainIsNotRestarted(t *testing.T) {
	scene(t, Asked, oneDocker, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		first := b.row("docker").Fingerprint
		m.set(func(m *machine) {
			m.doubts = []renewer.Doubt{
				{Unit: "docker.service", Text: "odd"},
				{Sure: true, Unit: "docker.service", Text: `"hosts" is in daemon.json and a flag`, Fix: "remove it from"},
			}
		})
		for _, o := range []renewer.Overrides{{}, {Force: true}} {
			res, err := b.eng.Renew(context.Background(), []string{"docker"}, o, true, nil)
			must(t, err)
			row := b.row("docker")
			if res.Rollouts[0].Result != renewer.ResultBlocked || row.Hosts[0].State != renewer.HostBlocked || !strings.Contains(row.Hosts[0].Error, `docker.service would not start again: "hosts"`) {
				t.Fatalf("%+v, row %+v", res.Rollouts[0], row)
			}
		}
		if pl := m.places["docker"]; m.activated["systemd restart docker.service"] != 1 || pl.served != first || leafOf(pl.revisions[pl.live]) != first {
			t.Errorf("activated %v, serves %s, %s is live; want %s", m.activated, pl.served, leafOf(pl.revisions[pl.live]), first)
		}
		m.set(func(m *machine) { m.doubts = m.doubts[:1] })
		time.Sleep(2 * renewer.GuardInterval)
		if row := b.row("docker"); row.Status != renewer.StatusValid || m.places["docker"].served != row.Fingerprint || row.Fingerprint == first {
			t.Errorf("row %+v", row)
		}
		m.set(func(m *machine) { m.blind = errors.New("no rights to look") })
		res, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if res.Failed() {
			t.Errorf("what cannot be known: %+v", res)
		}
	})
}

// Going back restarts nothing either that would not start: its files are back, what runs is
// left running, and it ends by itself when the cause has gone.
func TestWhatGoesBackIsNotRestartedIntoAFailure(t *testing.T) {
	scene(t, Asked, oneDocker, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		first := b.row("docker").Fingerprint
		b.refuseNew("a", first)
		doubt := []renewer.Doubt{{Sure: true, Opens: true, Unit: "docker.service", Text: "it would be open", Fix: "close it"}}
		m.set(func(m *machine) {
			m.fail = func(call, _ string) error {
				if call == "activate" {
					m.doubts = doubt // somebody edits it meanwhile
				}
				return nil
			}
		})
		_, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		row := b.row("docker")
		var n int
		var live, served string
		read := func() {
			m.set(func(m *machine) {
				pl := m.places["docker"]
				n, live, served = m.activated["systemd restart docker.service"], leafOf(pl.revisions[pl.live]), pl.served
			})
		}
		if read(); n != 2 || row.Status != renewer.StatusBlocked || !strings.Contains(row.Hosts[0].Error, "docker.service must not be restarted: it would be open") {
			t.Fatalf("%d restarts, row %+v", n, row)
		}
		if live != first {
			t.Errorf("%s is live, want %s", live, first)
		}
		time.Sleep(5 * renewer.GuardInterval) // each look is one, and no event more
		events, err := b.store.Events(renewer.EventFilter{Certificate: "docker"})
		must(t, err)
		said := 0
		for _, ev := range events {
			if ev.Type == renewer.EventRolloutWaiting {
				said++
			}
		}
		read()
		if stuck, err := b.eng.Restoring(context.Background(), "docker", "a"); err != nil || !stuck || said != 1 || n != 2 {
			t.Errorf("stuck %t, %v; said %d times; %d restarts", stuck, err, said, n)
		}
		m.set(func(m *machine) { m.doubts, m.fail = nil, nil })
		time.Sleep(2 * renewer.GuardInterval)
		read()
		if row := b.row("docker"); row.Hosts[0].State != renewer.HostRolledBack || served != first {
			t.Errorf("row %+v", row)
		}
	})
}

// What listens on its host and cannot be reached from here is not restarted: the
// certificate is not the cause. It goes on by itself when it can be reached.
func TestAFirewallIsNotBlamedOnTheCertificate(t *testing.T) {
	var up atomic.Bool
	certs := func(b *bench) []renewer.Certificate {
		b.prober = walled{up: &up}
		return oneDocker(b)
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		up.Store(true)
		_, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		row := b.row("docker")
		if m.activated["systemd restart docker.service"] != 1 || !strings.Contains(row.Hosts[0].Error, "a:1 cannot be reached from here, although a listens") {
			t.Fatalf("activated %v, row %+v", m.activated, row)
		}
		up.Store(false)
		time.Sleep(2 * renewer.GuardInterval)
		if row := b.row("docker"); row.Status != renewer.StatusValid || m.places["docker"].served != row.Fingerprint || m.activated["systemd restart docker.service"] != 2 {
			t.Errorf("row %+v, activated %v", row, m.activated)
		}
	})
}

// From override_before on it is placed all the same, once, and called unproven; when
// it can be reached again it is proven.
func TestBehindAFirewallItIsPlacedBeforeItExpires(t *testing.T) {
	var up atomic.Bool
	certs := func(b *bench) []renewer.Certificate {
		b.prober = walled{up: &up}
		return oneDocker(b)
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		time.Sleep(time.Minute)
		m := b.machine("a")
		up.Store(true)
		time.Sleep(month - 8*24*time.Hour)
		if n := m.activated["systemd restart docker.service"]; n != 1 {
			t.Fatalf("restarted %d times before it was about to expire: %+v", n, b.row("docker"))
		}
		time.Sleep(2 * 24 * time.Hour)
		row := b.row("docker")
		if n := m.activated["systemd restart docker.service"]; n != 2 || m.places["docker"].served == "" || leafOf(m.places["docker"].revisions[m.places["docker"].live]) != row.Fingerprint {
			t.Fatalf("restarted %d times, row %+v", n, row)
		}
		up.Store(false)
		time.Sleep(7 * time.Hour)
		if row := b.row("docker"); row.Status != renewer.StatusValid || row.Hosts[0].State != renewer.HostVerified || m.activated["systemd restart docker.service"] != 2 {
			t.Errorf("row %+v, activated %v", row, m.activated)
		}
	})
}

// A service that is stopped, and one that refuses, are what a renewal is for.
func TestWhatDoesNotListenIsRenewed(t *testing.T) {
	var up atomic.Bool
	certs := func(b *bench) []renewer.Certificate {
		b.prober = walled{up: &up}
		return oneDocker(b)
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		up.Store(true)
		m.set(func(m *machine) { m.stopped = true })
		_, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if row := b.row("docker"); leafOf(m.places["docker"].revisions[m.places["docker"].live]) != row.Fingerprint || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
	})
}

// A failure is reported with the service's own output, and a unit that systemd has given up
// is not waited for.
func TestAFailureQuotesTheService(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := oneDocker(b)
		c[0].Placements[0].Probe.Timeout = time.Hour
		return c
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		m.set(func(m *machine) {
			m.only, m.gaveUp, m.words, m.blind = m.places["docker"].served, true, "failed to load key pair", errors.New("no ss there")
		})
		began := time.Now()
		_, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		row := b.row("docker")
		if took := time.Since(began); row.Hosts[0].State != renewer.HostRolledBack || !strings.Contains(row.Hosts[0].Error, "; it says: failed to load key pair") || took > time.Minute {
			t.Errorf("after %s: %+v", took, row)
		}
	})
}

// A service has the time that its unit gives it to stop; where that is not enough the
// message names the key.
func TestASlowStopIsWaitedFor(t *testing.T) {
	scene(t, Asked, oneDocker, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		slow := func(stops, takes time.Duration) {
			m.set(func(m *machine) { m.stops, m.takes = stops, takes })
		}
		slow(90*time.Second, 80*time.Second)
		if res, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil); err != nil || res.Failed() {
			t.Errorf("%+v, %v", res, err)
		}
		slow(0, 80*time.Second)
		res, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if r := res.Rollouts[0]; !res.Failed() || !strings.Contains(r.Error, "not finished within 1m0s (timeout") || !strings.Contains(r.Hint, "timeout:") {
			t.Errorf("%+v", r)
		}
	})
}
