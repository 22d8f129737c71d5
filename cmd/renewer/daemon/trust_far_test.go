package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"renewer/internal/testssh"
	"renewer/renewer"
)

const (
	// farClient is mutualTLS with a client on another host too.
	farClient = `
  - {name: svc, usages: [server], common_name: localhost, dir: DIR/svc, activate: ACTIVATE-SVC, probe: {tls: {address: "ADDRESS-SVC", server_name: localhost, mutual: true, timeout: 20s}}, SVC}
  - {name: cli, usages: [client], default_sans: false, hosts: [here, far], dir: DIR/cli, CLI}
`
	// farService is mutualTLS with the service on another host.
	farService = `
  - {name: svc, usages: [server], common_name: localhost, hosts: [far], dir: DIR/svc, activate: ACTIVATE-SVC, probe: {tls: {address: "ADDRESS-SVC", server_name: localhost, mutual: true, timeout: 20s}}, SVC}
  - {name: cli, usages: [client], default_sans: false, dir: DIR/cli, CLI}
`
)

// door is the way to a host, which can be shut: as if the host were off.
type door struct {
	port int
	shut atomic.Bool
}

func newDoor(t *testing.T, to string) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	d := &door{port: ln.Addr().(*net.TCPAddr).Port}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			if d.shut.Load() {
				_ = near.Close()
				continue
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			work.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			work.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); work.Wait() })
	return d
}

// addFar gives a world a second host. Its files are below far.
func (w *world) addFar() *door {
	w.t.Helper()
	s := testssh.Start(w.t, testssh.Options{})
	d := newDoor(w.t, s.Address())
	known := s.KnownHosts(w.t, fmt.Sprintf("[127.0.0.1]:%d", d.port))
	must(w.t, os.MkdirAll(w.in("far"), 0o700))
	w.hosts = fmt.Sprintf(", far: {address: 127.0.0.1, port: %d, user: renewer, identity_file: %s, known_hosts_file: %s, root: %s, names: [localhost]}",
		d.port, s.Login.File, known, w.in("far"))
	return d
}

// A CA is replaced while one host is off. The other hosts refuse no peer, nor does
// the service on that host, which keeps its files. The change completes when the host
// is back, when it is declared gone for good, or when it is excluded.
func TestACAIsReplacedWithOneHostOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, entries string
		on            []string // whose ca files hold both roots while it is off
	}{
		{"a client", farClient, []string{"svc", "cli"}},
		{"a client with a certificate of its own", strings.Replace(farClient, "hosts: [here, far]", "hosts: [here, far], per_host: true", 1), []string{"svc", "cli"}},
		{"the service", farService, []string{"cli"}},
	} {
		for _, grouped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/peer_group=%t", c.name, grouped), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, c.entries, grouped)
				way := w.addFar()
				s := scenario{start: everyone("a"), steps: then(func(w *world) {
					way.shut.Store(true)
					everyone("b")(w)
					w.without("far")
					for _, name := range c.on {
						w.holds(name, "here", "a b")
					}
					w.saysWhoHolds("far")
					way.shut.Store(false)
				}), svc: "b", cli: "b"}
				s.play(w)
			})
		}
	}
}

// without makes passes that cannot reach a host.
func (w *world) without(host string) {
	w.t.Helper()
	w.rocky = true
	for n := range 3 {
		w.pass(fmt.Sprintf("pass %d without %s", n+1, host))
	}
	w.rocky = false
}

// saysWhoHolds checks that the plan names the host that holds the change up, and
// that nothing that renewer advises leads around the gate.
func (w *world) saysWhoHolds(host string) {
	w.t.Helper()
	w.with("plan and doctor", func(ctx context.Context, a *App) {
		left, err := a.planned(ctx)
		must(w.t, err)
		if !slices.ContainsFunc(left, func(s renewer.PlanStep) bool { return s.Action == "wait" && strings.Contains(s.Reason, "@"+host) }) {
			w.t.Errorf("the plan does not say that %s is waited for: %+v", host, left)
		}
		waits, err := a.eng.Waiting(ctx)
		must(w.t, err)
		held := false
		for _, of := range waits {
			if gate := of.Gate(); gate != nil {
				held = held || gate.By == host && !gate.Since.IsZero()
			}
		}
		if !held {
			w.t.Errorf("no trust gate names %s, since when: %+v", host, waits)
		}
		trust, err := a.Trust(ctx, renewer.TrustRequest{})
		must(w.t, err)
		if !slices.ContainsFunc(trust.Roots, func(r renewer.TrustRoot) bool {
			return len(r.Issuers) == 0 && slices.ContainsFunc(r.NeededBy, func(id string) bool { return strings.HasSuffix(id, "@"+host) })
		}) {
			w.t.Errorf("nothing says that %s needs the old root: %+v", host, trust.Roots)
		}
		found, err := a.Doctor(ctx, "here")
		must(w.t, err)
		for _, f := range found {
			if text := f.Text + f.Fix; strings.Contains(text, "--force") || strings.Contains(text, "--without") {
				w.t.Errorf("doctor advises a way around the gate: %+v", f)
			}
		}
	})
}

// saysWhoRefuses checks that the matrix and the doctor name a verifier that lacks
// the root of what is presented to it.
func (w *world) saysWhoRefuses(verifier, presenter string) {
	w.t.Helper()
	w.with("trust and doctor", func(ctx context.Context, a *App) {
		trust, err := a.Trust(ctx, renewer.TrustRequest{})
		must(w.t, err)
		if !slices.ContainsFunc(trust.Pairs, func(p renewer.TrustPair) bool {
			return p.State == renewer.NoRoot && slices.Contains(p.Verifiers, verifier) && slices.Contains(p.Presenters, presenter)
		}) {
			w.t.Errorf("nothing says that %s refuses %s: %+v", verifier, presenter, trust.Pairs)
		}
		found, err := a.Doctor(ctx, "here")
		must(w.t, err)
		if !slices.ContainsFunc(found, func(f renewer.Finding) bool {
			return f.Check == "trust" && f.Level == renewer.FindingFail && strings.Contains(f.Text, verifier)
		}) {
			w.t.Errorf("doctor does not say that %s refuses %s: %+v", verifier, presenter, found)
		}
	})
}

func TestACAIsReplacedWithoutAHostThatIsGone(t *testing.T) {
	t.Parallel()
	for name, goOn := range map[string]func(w *world){
		"retired": func(w *world) {
			w.hosts = strings.Replace(w.hosts, "{address", "{retired: true, address", 1)
			everyone("b")(w)
		},
		"renewed without it": asked(renewer.RenewRequest{Names: []string{"svc"}, Without: []string{"far"}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, farClient, false)
			way := w.addFar()
			everyone("a")(w)
			w.passes()
			w.talk()
			way.shut.Store(true)
			everyone("b")(w)
			w.without("far")
			goOn(w)
			w.without("far")
			w.rocky = true // far cannot be reached, and refuses
			shows("svc", "b")(w)
			w.holds("cli", "here", "b")
			for _, refused := range w.refusals() {
				if !strings.Contains(refused, "cli on far") {
					t.Error(refused)
				}
			}
			if name == "retired" {
				return
			}
			w.with("verify and impact", func(ctx context.Context, a *App) {
				found, err := a.Verify(ctx, nil)
				must(t, err)
				for _, v := range found {
					if v.Unreachable != (v.Host == "far") || v.OK && v.Unreachable {
						t.Errorf("%+v", v)
					}
				}
				i, err := a.Impact(ctx, renewer.ImpactRequest{Target: "host:far"})
				must(t, err)
				if text := strings.Join(i.Notes, "; "); len(i.Refused) > 0 || !strings.Contains(text, "svc@here is refused by cli@far already: renewer trust shows it") {
					t.Errorf("the impact of far: %+v", i)
				}
			})
			// It comes back after all, with an old leaf and an old bundle.
			w.saysWhoRefuses("cli@far", "svc@here")
			way.shut.Store(false)
			w.settle()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
		})
	}
}

// place is where the files of a certificate are in this file system.
func (w *world) place(name, host string) string {
	dir := w.in(name)
	if host == "far" {
		return filepath.Join(w.in("far"), dir)
	}
	return dir
}

// hostsOf are the hosts of a certificate.
func (w *world) hostsOf(name string) []string {
	for line := range strings.Lines(w.entries) {
		if strings.Contains(line, "name: "+name) {
			switch {
			case strings.Contains(line, "hosts: [here, far]"):
				return []string{"here", "far"}
			case strings.Contains(line, "hosts: [far]"):
				return []string{"far"}
			}
		}
	}
	return []string{"here"}
}
