package dockerhost

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
)

func setup(m *machine) Setup {
	return Setup{
		Machine: m, Placement: placement(), Pause: time.Nanosecond,
		Now: func() time.Time { return time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC) },
		Prove: func(context.Context) error {
			if !m.running || !slices.Contains(m.listening, "*:2376") {
				return errors.New("10.0.1.2:2376 cannot be reached")
			}
			return nil
		},
	}
}

func planOf(t testing.TB, m *machine) renewer.HostPlan {
	t.Helper()
	f, err := Inspect(t.Context(), m, placement())
	must(t, err)
	plan, err := Plan(f, placement())
	must(t, err)
	m.calls = nil
	return plan
}

// machines are the hosts that setups are tried on.
var machines = map[string]func() *machine{
	"fresh Debian": func() *machine { return newMachine(debianUnit) },
	"Docker CE with containers": func() *machine {
		m := newMachine(ceUnit)
		m.containers = 2
		m.files[DaemonJSON] = memFile{`{"log-driver": "journald"}`, 0o600}
		return m
	},
	"set up by hand": func() *machine {
		m := newMachine(ceUnit)
		m.files["/etc/systemd/system/docker.service.d/override.conf"] = memFile{"[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H fd:// -H tcp://0.0.0.0:2376 --tlsverify\n", 0o644}
		m.loaded = m.unitFiles()
		m.containers = 1
		return m
	},
	"live-restore on, and not in the file any more": func() *machine {
		m := newMachine(ceUnit)
		m.containers, m.liveRestore = 2, true
		m.files[DaemonJSON] = memFile{"{\"debug\": true}\n", 0o644}
		return m
	},
	"live-restore as a flag": func() *machine {
		m := newMachine("[Service]\nExecStart=/usr/bin/dockerd --live-restore -H fd://\n")
		m.containers, m.liveRestore = 2, true
		return m
	},
	"broken by hosts in daemon.json": func() *machine {
		m := newMachine(debianUnit)
		m.files[DaemonJSON] = memFile{`{"hosts": ["fd://", "tcp://0.0.0.0:2376"]}`, 0o644}
		m.running, m.failed = false, burst
		return m
	},
}

func TestSetup(t *testing.T) {
	t.Parallel()
	for name, host := range machines {
		m := host()
		containers := m.containers
		plan := planOf(t, m)
		var said []string
		s := setup(m)
		s.Progress = func(line string) { said = append(said, line) }
		if err := s.Apply(t.Context(), plan); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !m.running || !m.liveRestore || m.starts != 1 || m.containers != containers {
			t.Errorf("%s: running %t, live-restore %t, %d starts, %d of %d containers", name, m.running, m.liveRestore, m.starts, m.containers, containers)
		}
		if !slices.Contains(said, "restart docker.service") {
			t.Errorf("%s: said %q", name, said)
		}
		for _, c := range plan.Changes {
			if c.Exists && m.files[c.Path+".renewer-backup-20261122T050000Z"].text != c.Before {
				t.Errorf("%s: no copy of %s", name, c.Path)
			}
			if c.Exists && m.files[c.Path].mode != c.Mode {
				t.Errorf("%s: mode of %s is %o", name, c.Path, m.files[c.Path].mode)
			}
		}
		again := planOf(t, m)
		if !again.Empty() {
			t.Errorf("%s: a second plan is not empty: %s", name, shown(again, nil))
		}
		files := maps.Clone(m.files)
		must(t, setup(m).Apply(t.Context(), again))
		if m.starts != 1 || !maps.Equal(files, m.files) {
			t.Errorf("%s: the second time something was done: %q", name, m.calls)
		}
	}
}

// Whatever call fails, with or without its effect, the files, the daemon and
// its containers are as they were; or all is done.
func TestSetupFailsAtEveryCall(t *testing.T) {
	t.Parallel()
	for name, host := range machines {
		for _, effect := range []bool{false, true} {
			for at := 1; ; at++ {
				m := host()
				plan := planOf(t, m)
				before, running, containers := maps.Clone(m.files), m.running, m.containers
				loaded := maps.Clone(m.loaded)
				m.at, m.effect = at, effect
				err := setup(m).Apply(t.Context(), plan)
				if len(m.calls) < at {
					must(t, err)
					if at < 8 {
						t.Fatalf("%s: only %d calls", name, at)
					}
					break
				}
				where := fmt.Sprintf("%s, call %d (%s), effect %t: %v", name, at, m.calls[at-1], effect, err)
				if m.containers != containers {
					t.Errorf("%s: %d of %d containers are left", where, m.containers, containers)
				}
				if err == nil {
					if again := planOf(t, m); !again.Empty() {
						t.Errorf("%s: it is not done: %s", where, shown(again, nil))
					}
					continue
				}
				if !errors.Is(err, errInjected) || !strings.HasPrefix(err.Error(), "set up host-b: ") {
					t.Errorf("%s: the error", where)
				}
				if !maps.Equal(m.files, before) {
					t.Errorf("%s: files are not as before: %q", where, slices.Sorted(maps.Keys(m.files)))
				}
				if m.running != running || !maps.Equal(m.loaded, loaded) {
					t.Errorf("%s: runs %t, before %t", where, m.running, running)
				}
			}
		}
	}
}

// The proof fails, and after it one more call: what is said is true.
func TestSetupSaysWhatIsNotBack(t *testing.T) {
	t.Parallel()
	for name, host := range machines {
		unproven := errors.New("another certificate is served")
		proved := 0
		run := func(at int) (*machine, map[string]memFile, error) {
			m := host()
			plan, before := planOf(t, m), maps.Clone(m.files)
			s := setup(m)
			s.Prove = func(context.Context) error { proved = len(m.calls); return unproven }
			m.at = at
			return m, before, s.Apply(t.Context(), plan)
		}
		m, before, err := run(0)
		fatal := len(m.calls)
		if !errors.Is(err, unproven) || !strings.Contains(err.Error(), "all changes were rolled back") || !maps.Equal(m.files, before) {
			t.Errorf("%s: %v", name, err)
		}
		for at := proved + 1; at <= fatal; at++ {
			m, before, err := run(at)
			call := m.calls[at-1]
			same := maps.Equal(m.files, before) && maps.Equal(m.loaded, m.unitFiles())
			switch {
			case !errors.Is(err, unproven):
				t.Errorf("%s, %s: %v", name, call, err)
			case strings.Contains(err.Error(), "all changes were rolled back"):
				if !same && !strings.Contains(call, "renewer-backup") {
					t.Errorf("%s, %s: it says that all is back, and it is not: %v", name, call, err)
				}
			case !strings.Contains(err.Error(), "the rollback is INCOMPLETE") || !errors.Is(err, errInjected):
				t.Errorf("%s, %s: %v", name, call, err)
			case strings.Contains(err.Error(), "the files are restored, but docker.service does not start"):
				if !same || !strings.Contains(renewer.Hint(err), "journalctl -n 50 -u docker.service") {
					t.Errorf("%s, %s: %v; %s", name, call, err, renewer.Hint(err))
				}
			default:
				for _, c := range planOf(t, host()).Changes {
					if copied := c.Path + ".renewer-backup-20261122T050000Z"; c.Exists && (m.files[copied].text != c.Before || !strings.Contains(renewer.Hint(err), copied)) {
						t.Errorf("%s, %s: no copy of %s, or the hint does not name it: %s", name, call, c.Path, renewer.Hint(err))
					}
				}
			}
		}
	}
}

func TestSetupIsNotBegun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		make func(*machine)
		late func(*machine) // after the plan was made
		says []string
	}{
		{name: "no files", late: func(m *machine) {
			m.disk = renewer.OnDisk{Deviations: []renewer.Deviation{{Kind: renewer.DeviationMissing, Text: "directory /etc/docker/tls is missing"}}}
		}, says: []string{"no certificate", "dockerd would not start"}},
		{name: "no roots", late: func(m *machine) { m.disk.Trusts = nil }, says: []string{"ca.pem has no root"}},
		{name: "mixed pair", late: func(m *machine) {
			m.disk.Deviations = []renewer.Deviation{{Kind: renewer.DeviationKey, Text: "server-key.pem is not the key of server-cert.pem"}}
		}, says: []string{"is not the key of"}},
		{name: "changed meanwhile", late: func(m *machine) { m.files[DaemonJSON] = memFile{"{}", 0o644} }, says: []string{"/etc/docker/daemon.json was changed after the plan was made", "nothing was changed"}},
		{name: "a deaf dockerd", make: func(m *machine) { m.containers, m.deaf = 4, true }, says: []string{"live-restore could not be turned on", "would stop 4 containers", "all changes were rolled back"}},
		{name: "a swarm", make: func(m *machine) { m.containers, m.swarm = 4, true }, says: []string{"would stop 4 containers", "daemon.json: the host is in a swarm"}},
	} {
		m := newMachine(ceUnit)
		if c.make != nil {
			c.make(m)
		}
		plan := planOf(t, m)
		if c.late != nil {
			c.late(m)
		}
		before, containers := maps.Clone(m.files), m.containers
		err := setup(m).Apply(t.Context(), plan)
		fails(t, err, c.says...)
		if m.starts != 0 || m.containers != containers || !maps.Equal(before, m.files) {
			t.Errorf("%s: something was done: %q", c.name, m.calls)
		}
		if c.make == nil {
			continue
		}
		s := setup(m)
		s.Force = true
		if err := s.Apply(t.Context(), plan); err != nil || m.starts != 1 {
			t.Errorf("%s: forced: %v", c.name, err)
		}
	}
}

// dockerd does not come up: the old one runs again, although systemd's start
// limit was reached on the way, and the containers have gone on.
func TestDockerdDoesNotComeUp(t *testing.T) {
	t.Parallel()
	m := newMachine(ceUnit)
	m.containers, m.refuse = 3, true
	plan, before := planOf(t, m), maps.Clone(m.files)
	err := setup(m).Apply(t.Context(), plan)
	fails(t, err, "systemctl restart docker.service", "could not load X509 key pair", "all changes were rolled back", "its next restart; its containers kept running")
	if !m.running || m.containers != 3 || !maps.Equal(m.files, before) {
		t.Errorf("running %t, %d containers, files %q", m.running, m.containers, slices.Sorted(maps.Keys(m.files)))
	}
}

// The way back is gone to its end even where the caller has given up.
func TestPutBackAfterCancel(t *testing.T) {
	t.Parallel()
	m := newMachine(debianUnit)
	plan, before := planOf(t, m), maps.Clone(m.files)
	ctx, cancel := context.WithCancel(t.Context())
	s := setup(m)
	s.Prove = func(ctx context.Context) error { cancel(); return ctx.Err() }
	err := s.Apply(ctx, plan)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "; all changes were rolled back") {
		t.Error(err)
	}
	if !maps.Equal(m.files, before) || !m.running {
		t.Errorf("files %q", slices.Sorted(maps.Keys(m.files)))
	}
}

func TestInspectReportsEveryFailure(t *testing.T) {
	t.Parallel()
	m := newMachine(debianUnit)
	if _, err := Inspect(t.Context(), m, placement()); err != nil {
		t.Fatal(err)
	}
	for at := range len(m.calls) {
		m := newMachine(debianUnit)
		m.at = at + 1
		f, err := Inspect(t.Context(), m, placement())
		if extra := strings.HasPrefix(m.calls[at], "room ") || m.calls[at] == "containers" || strings.HasSuffix(m.calls[at], " --help"); extra {
			continue // without it a check is left out
		}
		if !errors.Is(errors.Join(err, f.DockerErr, f.ListenErr), errInjected) {
			t.Errorf("%s failed, and no one knows", m.calls[at])
		}
	}
}
