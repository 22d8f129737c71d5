//go:build e2e

package e2e

import (
	"testing"

	"renewer/internal/testhosts"
)

func TestExplore(t *testing.T) {
	hosts := testhosts.Start(t, "host-b", "host-c")
	o := newOperator(t)
	o.fleet(hosts, "  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b, host-c]}\n  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}\n")
	show := func(argv ...string) {
		out, err := o.try(argv...)
		t.Logf("$ renewer %v: %v\n%s", argv, err, out)
	}
	show("ca", "init")
	show("doctor", "host-b")
	show("host", "check", "host-b")
	show("host", "setup", "host-b", "--yes", "-v")
	show("list")
	show("doctor", "host-b", "-v")
	show("doctor", "host-c")
	show("run", "--once")
	show("doctor", "host-c")
	show("list")
	show("host", "setup", "host-c", "--yes", "-v")
	show("run", "--once")
	show("list")
	show("doctor", "-v")
	t.Log(run(t, hosts[0], "sudo", "--version"))
	two := newOperator(t)
	two.fleet(hosts, "  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b, host-c], per_host: true}\n")
	o = two
	show("ca", "init")
	show("host", "check", "host-b")
	show("doctor", "host-b")
	show("host", "setup", "host-b", "--yes", "-v")
	show("doctor", "host-b")
}
