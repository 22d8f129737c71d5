package engine

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

func shared(b *bench) []renewer.Certificate {
	return []renewer.Certificate{b.cert("docker", month, "a", "b", "c")}
}

// touched reports whether anything was written or restarted on a machine.
func touched(m *machine) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.calls, func(call string) bool {
		return call == "stage docker" || call == "flip docker" || call == "activate systemd restart docker.service"
	})
}

func TestASetupConcernsItsHostAlone(t *testing.T) {
	scene(t, Asked, shared, func(t *testing.T, b *bench) {
		must(t, b.eng.Place(context.Background(), "docker", "a", false, nil))
		synctest.Wait()
		if pl := b.machine("a").places["docker"]; pl == nil || pl.live == "" || b.machine("a").activated["systemd restart docker.service"] != 0 {
			t.Errorf("host a: %+v", pl)
		}
		for _, other := range []string{"b", "c"} {
			if touched(b.machine(other)) {
				t.Errorf("host %s: %v", other, b.machine(other).calls)
			}
		}
		row := b.row("docker")
		if row.Status != renewer.StatusDue || row.Hosts[0].State != renewer.HostActivated || row.Hosts[0].Matches || row.Hosts[1].State != renewer.HostPending {
			t.Errorf("called more than it is: %+v", row)
		}
		if res := b.pass(); res.Failed() || b.row("docker").Status != renewer.StatusValid {
			t.Errorf("the pass after it: %+v, row %+v", res, b.row("docker"))
		}
		if n := b.ca.count(); n != 1 {
			t.Errorf("%d orders; the others have the same certificate", n)
		}
	})
}

// A host that comes to a certificate others have gets theirs, and they are not
// touched; one that was installed again too.
func TestASetupOfAFurtherHost(t *testing.T) {
	scene(t, Asked, shared, func(t *testing.T, b *bench) {
		b.pass()
		before := b.row("docker")
		delete(b.machine("b").places, "docker")
		for _, name := range []string{"a", "b", "c"} {
			b.machine(name).calls = nil
		}
		must(t, b.eng.Place(context.Background(), "docker", "b", true, nil))
		synctest.Wait()
		if touched(b.machine("a")) || touched(b.machine("c")) {
			t.Errorf("the others: %v, %v", b.machine("a").calls, b.machine("c").calls)
		}
		if pl := b.machine("b").places["docker"]; pl == nil || leafOf(pl.revisions[pl.live]) != before.Fingerprint {
			t.Errorf("host b: %+v", pl)
		}
		if row := b.row("docker"); row.Status == renewer.StatusValid || row.Generation != 1 || row.Hosts[0].State != renewer.HostVerified {
			t.Errorf("row %+v", row)
		}
		must(t, b.machine("b").restart())
		err := b.eng.Survey(context.Background(), []string{"docker"})
		must(t, err)
		if row := b.row("docker"); row.Status != renewer.StatusValid {
			t.Errorf("once it is served: %+v", row)
		}
	})
}

// restart is what the setup of a host does to its service.
func (m *machine) restart() error {
	_, err := m.activate(renewer.Activation{Kind: renewer.ActivateSystemd, Action: "restart", Units: []string{"docker.service"}})
	return err
}

func TestASetupBringsANewCertificateWhereTheOldOneIsDue(t *testing.T) {
	scene(t, Asked, shared, func(t *testing.T, b *bench) {
		b.pass()
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Asked))
		time.Sleep(25 * 24 * time.Hour) // past the renew time
		for _, name := range []string{"a", "b", "c"} {
			b.machine(name).calls = nil
		}
		must(t, b.eng.Place(context.Background(), "docker", "a", true, nil))
		synctest.Wait()
		row := b.row("docker")
		if row.Generation != 2 || row.Status != renewer.StatusDue || row.Hosts[1].Generation != 1 || touched(b.machine("b")) {
			t.Errorf("row %+v", row)
		}
		must(t, b.machine("a").restart())
		if res := b.pass(); res.Failed() || b.row("docker").Status != renewer.StatusValid || b.ca.count() != 2 {
			t.Errorf("%+v, %d orders, row %+v", res, b.ca.count(), b.row("docker"))
		}
	})
}

func TestASetupThatCannotPlaceSaysWhy(t *testing.T) {
	scene(t, Asked, shared, func(t *testing.T, b *bench) {
		b.machine("a").down = true
		err := b.eng.Place(context.Background(), "docker", "a", false, nil)
		if err == nil || !containsAll(err.Error(), "place docker on a", errDown.Error()) {
			t.Errorf("got %v", err)
		}
	})
}

// A setup of a host that a rollout is just at work on begins when that has ended.
func TestASetupDuringARollout(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		atWork, goOn := make(chan struct{}), make(chan struct{})
		once := sync.OnceFunc(func() { close(atWork); <-goOn })
		m := b.machine("a")
		m.mu.Lock()
		m.after = once
		m.mu.Unlock()
		over := make(chan error, 2)
		go func() {
			b.pass()
			over <- nil
		}()
		<-atWork
		go func() { over <- b.eng.Place(context.Background(), "web", "a", false, nil) }()
		synctest.Wait()
		early := len(over)
		close(goOn)
		for range 2 {
			if err := <-over; err != nil || early > 0 {
				t.Errorf("%d did not wait: %v", early, err)
			}
		}
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 1 {
			t.Errorf("row %+v", row)
		}
	})
}
