//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"renewer/internal/testhosts"
)

// TestTwoControllersOnOneHost: a restored backup runs beside the machine that it is
// of. One of them keeps the host, and the other one changes and restarts nothing there,
// whatever both do at the same time.
func TestTwoControllersOnOneHost(t *testing.T) {
	hosts := testhosts.Start(t, "host-b")
	b := hosts[0]
	const entries = `  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b], per_host: true}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}
`
	first := newOperator(t)
	first.fleet(hosts, entries)
	first.must("ca", "init")
	first.must("host", "setup", "host-b", "--yes")
	first.must("run", "--once")
	backup := filepath.Join(first.dir, "copy.db")
	first.must("backup", backup)

	second := newOperator(t)
	second.fleet(hosts, entries)
	if err := os.MkdirAll(filepath.Join(second.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(first.dir, "state", "issuers"), filepath.Join(second.dir, "state")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	second.must("restore", backup)

	restarts := func() string {
		return run(t, b, "systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "docker.service")
	}
	refused := func(o operator, by operator, argv ...string) {
		t.Helper()
		out, err := o.try(argv...)
		if err == nil || !strings.Contains(out, "is kept by another renewer") || !strings.Contains(out, by.dir+"/state") || !strings.Contains(out, "renewer adopt --take-over host-b") {
			t.Errorf("renewer %s beside the one that keeps the host: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	before := restarts()
	refused(second, first, "run", "--once")
	refused(second, first, "doctor", "host-b")
	refused(second, first, "check", "--online")
	expect(t, restarts(), before)

	var work sync.WaitGroup
	work.Go(func() {
		for range 3 {
			first.must("renew", "docker")
		}
	})
	work.Go(func() {
		for range 6 {
			refused(second, first, "renew", "docker")
		}
	})
	work.Wait()
	served := first.row("docker@host-b")
	first.must("verify", "docker", "--exit-code")

	// The operator's word comes while the first is at work: from then on it is refused.
	work.Go(func() {
		if out, err := first.try("renew", "docker"); err != nil && !strings.Contains(out, "is kept by another renewer") {
			t.Errorf("a renewal while another renewer takes over: %v\n%s", err, out)
		}
	})
	second.must("adopt", "--take-over", "host-b")
	work.Wait()
	second.must("run", "--once")
	second.must("renew", "docker")
	if now := second.row("docker@host-b"); now.Fingerprint == served.Fingerprint || now.Status != "valid" || now.Hosts[0].Served != now.Fingerprint {
		t.Errorf("after it was taken over: %+v, before %+v", now, served)
	}
	before = restarts()
	refused(first, second, "renew", "docker")
	expect(t, restarts(), before)
	second.must("verify", "docker", "--exit-code")
	if out, err := first.docker(b, true, "version"); err != nil {
		t.Errorf("docker does not answer: %v\n%s", err, out)
	}

	// And back: all that the first has, also what it has no other mark for.
	first.must("adopt", "--take-over", "--all")
	first.must("renew", "docker")
	refused(second, first, "renew", "docker")

	// A plain copy of the state, on the same machine.
	third := newOperator(t)
	third.fleet(hosts, entries)
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(first.dir, "state"), third.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before = restarts()
	issued := third.must("history", "-o", "csv")
	refused(third, first, "renew", "docker")
	if now := third.must("history", "-o", "csv"); strings.Count(now, "issued") != strings.Count(issued, "issued") {
		t.Errorf("who is refused orders a certificate:\n%s\nbefore:\n%s", now, issued)
	}
	expect(t, restarts(), before)
	first.must("renew", "docker")
}
