//go:build e2e

package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testhosts"
)

// operator is somebody with a fleet file and the renewer command.
type operator struct {
	t   *testing.T
	exe string
	dir string
}

func newOperator(t *testing.T) operator {
	t.Helper()
	o := operator{t: t, exe: filepath.Join(t.TempDir(), "renewer"), dir: t.TempDir()}
	if out, err := exec.Command("go", "build", "-o", o.exe, "../cmd/renewer").CombinedOutput(); err != nil {
		t.Fatalf("build renewer: %v\n%s", err, out)
	}
	return o
}

// try runs a command and returns what it printed, both streams.
func (o operator) try(argv ...string) (string, error) {
	cmd := exec.CommandContext(o.t.Context(), o.exe, append([]string{"--config", filepath.Join(o.dir, "renewer.yaml")}, argv...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (o operator) must(argv ...string) string {
	o.t.Helper()
	out, err := o.try(argv...)
	if err != nil {
		o.t.Fatalf("renewer %s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// fleet writes a fleet file about hosts; %s are the hosts' entries.
func (o operator) fleet(hosts []*testhosts.Host, certificates string) {
	o.t.Helper()
	var b strings.Builder
	b.WriteString("state_dir: " + o.dir + "/state\nhttp: {listen: 127.0.0.1:0}\nissuers: {fleet-ca: {type: local}}\nhosts:\n  host-a: {type: local}\n")
	for _, h := range hosts {
		b.WriteString("  " + h.Name + ": {address: " + h.Address + ", user: " + testhosts.User + ", sudo: true, identity_file: " + h.IdentityFile + ", known_hosts_file: " + h.KnownHosts + "}\n")
	}
	b.WriteString("certificates:\n" + strings.ReplaceAll(certificates, "DIR", o.dir))
	write(o.t, filepath.Join(o.dir, "renewer.yaml"), b.String())
}

type row struct {
	Name        string `json:"name"`
	Status      string `json:"status"`
	Generation  int    `json:"generation"`
	Fingerprint string `json:"fingerprint_sha256"`
	Hosts       []struct {
		State  string `json:"state"`
		Served string `json:"served_sha256"`
		Error  string `json:"error"`
	} `json:"hosts"`
}

func (o operator) row(name string) row {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), o.exe, "--config", filepath.Join(o.dir, "renewer.yaml"), "list", "-o", "json")
	out, err := cmd.Output()
	if err != nil {
		o.t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(out, &rows); err != nil {
		o.t.Fatal(err)
	}
	for _, r := range rows {
		if r.Name == name {
			return r
		}
	}
	o.t.Fatalf("no certificate %s in %s", name, out)
	return row{}
}

// docker asks a host's daemon over TLS, with the client certificate that was
// placed or without.
func (o operator) docker(h *testhosts.Host, withCertificate bool, argv ...string) (string, error) {
	args := []string{"docker", "--host", "tcp://" + h.Address + ":2376", "--tlsverify", "--tlscacert", o.dir + "/client/ca.pem"}
	if withCertificate {
		args = append(args, "--tlscert", o.dir+"/client/client-cert.pem", "--tlskey", o.dir+"/client/client-key.pem")
	} else {
		args = append(args, "--tlscert", "", "--tlskey", "")
	}
	out, err := testhosts.Client(o.t.Context(), append(args, argv...)...).CombinedOutput()
	return string(out), err
}

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
}
