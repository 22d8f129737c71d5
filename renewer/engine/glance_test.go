package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// knocking is a prober that can be asked at a glance: it knows whose addresses
// they are.
type knocking struct {
	eyes
	mu    sync.Mutex
	asked map[string]int
	at    map[string]*machine
}

func (k *knocking) Reach(_ context.Context, address string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked[address]++
	m := k.at[strings.TrimSuffix(address, ":1")]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.down {
		return errors.New("connection refused")
	}
	return nil
}

func (k *knocking) count(host string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked[host+":1"]
}

// Reach makes every machine of the tests one that can be asked.
func (m *machine) Reach(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errDown
	}
	return nil
}

func glancing(t *testing.T, hosts ...string) (*bench, *knocking) {
	b := newBench(t, hosts...)
	k := &knocking{asked: map[string]int{}, at: map[string]*machine{}}
	for _, h := range hosts {
		k.at[h] = b.machine(h)
	}
	b.prober = k
	return b, k
}

func (b *bench) state(name, host string) renewer.HostState {
	b.t.Helper()
	for _, h := range b.row(name).Hosts {
		if h.Name == host {
			return h.State
		}
	}
	return ""
}

// A service that is stopped is known at the next check, and so is its end; and
// in between no one is looked at who is as he was.
func TestAGlanceFindsWhoIsGoneAndWhoIsBack(t *testing.T) {
	for name, change := range map[string]func(m *machine, gone bool){
		"service": func(m *machine, gone bool) { m.stopped = gone },
		"host":    func(m *machine, gone bool) { m.down = gone },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, k := glancing(t, "a", "b")
				b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, "a"), b.cert("other", month, "b")}
				b.start(Asked)
				defer b.stop()
				b.pass()
				a, other := b.machine("a"), b.machine("b")
				looked := func() (int, int) { return a.count("probe"), other.count("probe") }
				glance := func() { t.Helper(); must(t, b.eng.Glance(context.Background())) }

				was, wasOther := looked()
				glance()
				if n, _ := looked(); n != was || k.count("a") != 1 {
					t.Errorf("all is healthy, and it was looked at: %d probes, asked %d times", n-was, k.count("a"))
				}
				a.set(func(m *machine) { change(m, true) })
				glance()
				if got := b.state("web", "a"); got != renewer.HostBlocked {
					t.Fatalf("gone, and it is %s", got)
				}
				if n := len(b.events(renewer.EventUnreachable)); n != 1 {
					t.Fatalf("%d events", n)
				}
				was, _ = looked()
				for range 3 { // it stays away: no look, no event
					glance()
				}
				if n, m := looked(); n != was || m != wasOther || len(b.events(renewer.EventUnreachable)) != 1 {
					t.Errorf("%d and %d looks for nothing", n-was, m-wasOther)
				}
				a.set(func(m *machine) { change(m, false) })
				glance()
				if got := b.state("web", "a"); got != renewer.HostVerified {
					t.Errorf("back, and it is %s", got)
				}
				if n := len(b.events(renewer.EventRecovered)); n != 1 {
					t.Errorf("%d recovered", n)
				}
				if _, m := looked(); m != wasOther {
					t.Errorf("another certificate was looked at")
				}
			})
		})
	}
}

// A service that restarts between two glances is no event, and not looked at.
func TestAGlanceTwiceBeforeItCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, k := glancing(t, "a")
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, "a")}
		b.start(Asked)
		defer b.stop()
		b.pass()
		a := b.machine("a")
		was := a.count("probe")
		a.set(func(m *machine) { m.stopped = true })
		time.AfterFunc(3*time.Second, func() { a.set(func(m *machine) { m.stopped = false }) })
		must(t, b.eng.Glance(context.Background()))
		if k.count("a") != 2 || a.count("probe") != was || len(b.events(renewer.EventUnreachable)) != 0 {
			t.Errorf("asked %d times, %d probes, events %v", k.count("a"), a.count("probe")-was, b.events(renewer.EventUnreachable))
		}
	})
}

// No one is asked whose certificates never got anywhere, and a machine that
// never answers holds a glance up for its timeout only.
func TestAGlanceAtAFleetThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := make([]string, 100)
		for i := range hosts {
			hosts[i] = "h" + string(rune('0'+i/10)) + string(rune('0'+i%10))
		}
		b, k := glancing(t, hosts...)
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, hosts...)}
		b.fleet.Certificates[0].Pace = renewer.Pace{Canary: 1, MaxParallel: 100}
		b.start(Asked)
		defer b.stop()
		must(t, b.eng.Glance(context.Background()))
		if len(k.asked) != 0 {
			t.Errorf("asked before anything was placed: %v", k.asked)
		}
		b.pass()
		for _, h := range hosts {
			b.machine(h).set(func(m *machine) { m.down = true })
		}
		must(t, b.eng.Glance(context.Background()))
		if n := len(b.events(renewer.EventUnreachable)); n != len(hosts) {
			t.Errorf("%d events", n)
		}
		for _, h := range hosts {
			if k.count(h) != 2 {
				t.Errorf("%s was asked %d times", h, k.count(h))
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := b.eng.Glance(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	})
}
