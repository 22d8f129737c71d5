//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"renewer/internal/testhosts"
)

// TestABadCertificateNeverTakesDockerDown: whatever is wrong with the new
// generation or the host, the old certificate goes on being served.
func TestABadCertificateNeverTakesDockerDown(t *testing.T) {
	hosts := testhosts.Start(t, "host-b")
	b := hosts[0]
	o := newOperator(t)
	const good = `  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b], per_host: true}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}
`
	o.fleet(hosts, good)
	o.must("ca", "init")
	o.must("host", "setup", "host-b", "--yes")
	o.must("run", "--once")
	serves := func(what string) {
		t.Helper()
		if out, err := o.docker(b, true, "version"); err != nil {
			t.Errorf("%s: docker does not answer: %v\n%s", what, err, out)
		}
	}
	first := o.row("docker@host-b")
	serves("at first")

	// SANs that miss the address that clients dial: refused before a restart.
	started := run(t, b, "systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "docker.service")
	o.fleet(hosts, strings.Replace(good, "per_host: true}", "per_host: true, default_sans: false, sans: [elsewhere.example.com]}", 1))
	if out, err := o.try("run", "--once"); err == nil || !strings.Contains(out, b.Address) || !strings.Contains(out, "elsewhere.example.com") {
		t.Errorf("a certificate that misses %s: %v\n%s", b.Address, err, out)
	}
	if r := o.row("docker@host-b"); r.Status != "blocked" || r.Fingerprint != first.Fingerprint {
		t.Errorf("after it: %+v", r)
	}
	expect(t, run(t, b, "systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "docker.service"), started)
	serves("SANs that miss the address")
	o.fleet(hosts, good)

	// A daemon that cannot start on what is new: the old one is put back.
	run(t, b, "mkdir", "-p", "/etc/systemd/system/docker.service.d")
	if err := b.WriteFile(t.Context(), "/etc/systemd/system/docker.service.d/zz-break.conf",
		[]byte("[Service]\nExecStartPre=/bin/sh -c 'test \"$(readlink /etc/docker/tls/.renewer/docker@host-b/current)\" = "+
			run(t, b, "readlink", "/etc/docker/tls/.renewer/docker@host-b/current")+"'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, b, "systemctl", "daemon-reload")
	if out, err := o.try("renew", "docker@host-b"); err == nil {
		t.Errorf("renewed although the daemon could not start:\n%s", out)
	}
	if r := o.row("docker@host-b"); r.Status != "blocked" || r.Hosts[0].State != "rolled_back" || r.Hosts[0].Served != first.Fingerprint {
		t.Errorf("after a restore: %+v", r)
	}
	serves("a daemon that cannot start")

	// Until the start limit is hit, by failing: Result= stays exit-code. (A start that systemd makes by itself could be interrupted by the next one, a signal.)
	if err := b.WriteFile(t.Context(), "/etc/systemd/system/docker.service.d/zz-worse.conf", []byte("[Service]\nRestart=no\nExecStartPre=/bin/false\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, b, "systemctl", "daemon-reload")
	for range 6 {
		_, _ = b.Run(t.Context(), "systemctl", "restart", "docker.service")
	}
	expect(t, run(t, b, "systemctl", "show", "--value", "-p", "Result,ActiveState", "docker.service"), "exit-code\nfailed")
	if out, err := o.try("doctor", "host-b"); err == nil || !strings.Contains(out, "hit the start limit") || !strings.Contains(out, "systemctl reset-failed docker.service") {
		t.Errorf("doctor of a host whose start limit is hit: %v\n%s", err, out)
	}
	run(t, b, "rm", "/etc/systemd/system/docker.service.d/zz-worse.conf")
	run(t, b, "rm", "/etc/systemd/system/docker.service.d/zz-break.conf")
	run(t, b, "systemctl", "daemon-reload")

	// The start limit is hit already.
	for range 6 {
		_, _ = b.Run(t.Context(), "systemctl", "restart", "docker.service")
	}
	o.must("renew", "docker@host-b")
	serves("the start limit hit")

	// A mismatched key planted by hand.
	run(t, b, "sh", "-c", "rm /etc/docker/tls/server-key.pem && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out /etc/docker/tls/server-key.pem")
	if out, err := o.try("verify", "--exit-code", "docker@host-b"); err == nil {
		t.Errorf("verify saw nothing:\n%s", out)
	}
	o.must("run", "--once")
	serves("a key planted by hand")
	if out := o.must("verify", "--exit-code", "docker@host-b"); strings.Contains(out, "differs") {
		t.Errorf("verify: %s", out)
	}

	// A host that is away is done when it comes back.
	if err := b.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := o.row("docker@host-b").Generation
	if out, err := o.try("renew", "docker@host-b"); err == nil {
		t.Errorf("renewed a host that is away:\n%s", out)
	}
	if err := b.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.must("run", "--once")
	if r := o.row("docker@host-b"); r.Generation != was+1 || r.Status != "valid" {
		t.Errorf("after it came back: %+v", r)
	}
	serves("away for a while")
}

// TestAGuardWaits: live-restore off and a container with the run label.
func TestAGuardWaits(t *testing.T) {
	hosts := testhosts.Start(t, "host-b")
	b := hosts[0]
	o := newOperator(t)
	o.fleet(hosts, `  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b], per_host: true,
     guard: {docker: {without_live_restore: wait_idle, label: dagster/run_id}}}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}
`)
	o.must("ca", "init")
	o.must("host", "setup", "host-b", "--yes")
	o.must("run", "--once")
	run(t, b, "sed", "-i", `s/"live-restore": *true/"live-restore": false/`, "/etc/docker/daemon.json")
	restart(t, b)
	id, err := b.StartContainer(t.Context(), "--label=dagster/run_id=42")
	if err != nil {
		t.Fatal(err)
	}
	was := o.row("docker@host-b").Generation
	if out := o.must("renew", "docker@host-b"); !strings.Contains(out, "waiting") || !strings.Contains(out, "dagster/run_id") {
		t.Errorf("renew says %s", out)
	}
	expect(t, run(t, b, "docker", "ps", "--quiet", "--no-trunc"), id)
	run(t, b, "docker", "kill", id)
	o.must("run", "--once")
	if r := o.row("docker@host-b"); r.Generation != was+1 || r.Status != "valid" {
		t.Errorf("when the run was finished: %+v", r)
	}
}
