//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"renewer/internal/testhosts"
)

const guideCertificates = `  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b, host-c], per_host: true}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}
`

// TestTheGuide does what the guide's eight steps do, with ten lines of fleet
// file, on hosts as apt-get install docker.io leaves them; then a renewal with
// a container running.
func TestTheGuide(t *testing.T) {
	hosts := testhosts.Start(t, "host-b", "host-c")
	o := newOperator(t)
	o.fleet(hosts, guideCertificates)
	o.must("check")
	o.must("ca", "init")
	if out, err := o.try("host", "check", "host-b"); err == nil || !strings.Contains(out, "daemon.json") {
		t.Errorf("host check of a host that is not set up: %v\n%s", err, out)
	}
	for _, h := range hosts {
		t.Log(o.must("host", "setup", h.Name, "--yes", "-v"))
	}
	t.Log(o.must("run", "--once"))
	for _, h := range hosts {
		if r := o.row("docker@" + h.Name); r.Status != "valid" || r.Hosts[0].State != "verified" || r.Hosts[0].Served != r.Fingerprint {
			t.Errorf("%s: %+v", h.Name, r)
		}
		if out, err := o.docker(h, true, "info", "--format", "{{.Name}} {{.LiveRestoreEnabled}}"); err != nil || strings.TrimSpace(out) != h.Name+" true" {
			t.Errorf("docker info of %s: %v\n%s", h.Name, err, out)
		}
		if out, err := o.docker(h, false, "info"); err == nil {
			t.Errorf("%s talks to a client without a certificate:\n%s", h.Name, out)
		}
		if out := o.must("host", "setup", h.Name, "--yes"); !strings.Contains(out, "nothing") {
			t.Errorf("the second setup of %s: %s", h.Name, out)
		}
	}

	b := hosts[0]
	id, err := b.StartContainer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid, err := b.ContainerPID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	before := o.row("docker@host-b")
	t.Log(o.must("renew", "docker@host-b", "-v"))
	after := o.row("docker@host-b")
	if after.Generation != before.Generation+1 || after.Status != "valid" || after.Hosts[0].Served == before.Hosts[0].Served {
		t.Errorf("after the renewal: %+v", after)
	}
	if again, err := b.ContainerPID(t.Context(), id); err != nil || again != pid {
		t.Errorf("the container had process %s, and has %s, %v", pid, again, err)
	}
	if out, err := o.try("doctor", "host-b"); err != nil {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	t.Run("clients never notice", func(t *testing.T) { clientsNeverNotice(t, o.with(t), hosts[1]) })
}
