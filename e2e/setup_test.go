//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"renewer/internal/testhosts"
)

// TestSetUpOneHostOfASharedCertificate: the other host is left as it is until
// its own turn, and doctor's ways to fix it are followed as they are printed.
func TestSetUpOneHostOfASharedCertificate(t *testing.T) {
	hosts := testhosts.Start(t, "host-b", "host-c")
	c := hosts[1]
	o := newOperator(t)
	o.fleet(hosts, `  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b, host-c]}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}
`)
	o.must("ca", "init")
	out, err := o.try("doctor", "host-b")
	if err == nil || strings.Contains(out, "other roots") || strings.Contains(out, "renewer renew") || !strings.Contains(out, "hint: host-b files: renewer host setup host-b") {
		t.Errorf("doctor of a fresh host: %v\n%s", err, out)
	}
	before := run(t, c, "find", "/etc/docker", "-ls")
	if out := o.must("host", "setup", "host-b", "--yes", "-v"); strings.Contains(out, "unreachable") || strings.Contains(out, "no service serves") || !strings.Contains(out, "serves Docker over TLS: verified") {
		t.Errorf("setup: %s", out)
	}
	if after := run(t, c, "find", "/etc/docker", "-ls"); after != before {
		t.Errorf("the other host was touched:\n%s\n%s", before, after)
	}
	o.must("doctor", "host-b")
	if r := o.row("docker"); r.Status != "due" || r.Hosts[0].State != "verified" || r.Hosts[1].State != "pending" {
		t.Errorf("after the setup of one: %+v", r)
	}
	if out, err := o.try("run", "--once"); err == nil || !strings.Contains(out, "hint: renewer host setup host-c lets its Docker daemon listen there") {
		t.Errorf("a pass before host-c is set up: %v\n%s", err, out)
	}
	o.must("host", "setup", "host-c", "--yes")
	if r := o.row("docker"); r.Status != "valid" || r.Generation != 1 || r.Hosts[1].State != "verified" {
		t.Errorf("after the setup of both: %+v", r)
	}
	o.must("run", "--once")
	for _, h := range hosts {
		if out, err := o.docker(h, true, "info", "--format", "{{.Name}}"); err != nil || strings.TrimSpace(out) != h.Name {
			t.Errorf("docker info of %s: %v\n%s", h.Name, err, out)
		}
	}
	o.must("doctor")

	// A second renewer gets the name of the owner of the directory.
	two := newOperator(t)
	two.fleet(hosts, "  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b], per_host: true}\n")
	two.must("ca", "init")
	for _, argv := range [][]string{{"host", "check", "host-b"}, {"host", "setup", "host-b", "--yes"}, {"doctor", "host-b"}} {
		if out, _ := two.try(argv...); !strings.Contains(out, "renewer adopt --take-over host-b") {
			t.Errorf("%v:\n%s", argv, out)
		}
	}
	// With the CA itself, taking over and adopting work as they are said.
	three := newOperator(t)
	three.fleet(hosts, "  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b], per_host: true}\n")
	three.must("ca", "import", "fleet-ca", "--cert", o.dir+"/state/issuers/fleet-ca/ca.pem", "--key", o.dir+"/state/issuers/fleet-ca/ca-key.pem")
	three.must("adopt", "--take-over", "host-b")
	three.must("adopt", "host-b", "--certificate", "docker@host-b")
	if out := three.must("host", "check", "host-b"); strings.Contains(out, "adopt") {
		t.Errorf("after it was adopted: %s", out)
	}
}

// TestSudoersAsPrinted: with exactly what renewer host sudoers prints installed,
// everything works, and sudo refuses nothing.
func TestSudoersAsPrinted(t *testing.T) {
	hosts := testhosts.Start(t, "host-b")
	b := hosts[0]
	o := newOperator(t)
	o.fleet(hosts, guideOfOne)
	o.must("ca", "init")
	const rule = "/etc/sudoers.d/renewer"
	run(t, b, "rm", rule)
	if err := b.WriteFile(t.Context(), "/etc/sudoers.d/log", []byte("Defaults logfile=/root/sudo.log, loglinelen=0\n"), 0o440); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"host", "check", "host-b"}, {"doctor", "host-b"}, {"host", "setup", "host-b", "--yes"}} {
		out, err := o.try(argv...)
		if err == nil || !strings.Contains(out, "visudo -f") || !strings.Contains(out, "renewer host sudoers host-b prints all that has to be allowed there: put it into "+rule) {
			t.Errorf("%v without rights: %v\n%s", argv, err, out)
		}
	}
	allow := func() {
		if err := b.WriteFile(t.Context(), rule, []byte(o.must("host", "sudoers", "host-b")), 0o440); err != nil {
			t.Fatal(err)
		}
		run(t, b, "visudo", "-c", "-f", rule)
	}
	allow()
	refusals := func() (out []string) {
		for line := range strings.Lines(run(t, b, "cat", "/root/sudo.log")) {
			if strings.Contains(line, "command not allowed") || strings.Contains(line, "password is required") || strings.Contains(line, "NOT in sudoers") {
				out = append(out, strings.TrimSpace(line))
			}
		}
		return out
	}
	before := len(refusals())
	if before == 0 {
		t.Errorf("the refusals of sudo are not in its log, so there is nothing to look for:\n%s", run(t, b, "cat", "/root/sudo.log"))
	}

	t.Log(o.must("host", "setup", "host-b", "--yes", "-v"))
	o.must("run", "--once")
	o.must("renew", "docker@host-b")
	o.must("doctor")
	o.must("verify")
	o.must("rollback", "docker@host-b")
	if r := o.row("docker@host-b"); r.Status != "valid" || r.Hosts[0].State != "verified" {
		t.Errorf("after the rollback: %+v", r)
	}
	// A restore: what was placed has a name that no client dials.
	o.fleet(hosts, strings.Replace(guideOfOne, "per_host: true", `per_host: true, probe: {docker: {address: "{address}:2377"}}`, 1))
	allow()
	if out, err := o.try("renew", "docker@host-b"); err == nil {
		t.Errorf("a renewal that cannot be proven: %s", out)
	}
	if out, err := o.docker(b, true, "info", "--format", "{{.Name}}"); err != nil || strings.TrimSpace(out) != "host-b" {
		t.Errorf("after it was put back: %v\n%s", err, out)
	}
	for _, line := range refusals()[before:] {
		t.Errorf("refused: %s", line)
	}
	if out, err := b.SSH(t.Context(), "sudo", "-n", "id"); err == nil {
		t.Errorf("the account may run anything: %s", out)
	}
}

const guideOfOne = `  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b], per_host: true}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}
`
