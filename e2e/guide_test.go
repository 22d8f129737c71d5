//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
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

// theGuide is what somebody has done by the guide, with keys that cost less: a CA with an
// encrypted key, a certificate, daemon.json and the override, which names a program that
// is elsewhere on Debian.
const theGuide = `set -eu
cd "$(mktemp -d)"
key() { openssl ecparam -genkey -name prime256v1 -noout; }
key | openssl ec -aes256 -passout pass:sesame -out ca-key.pem
printf '[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nsubjectKeyIdentifier=hash\nbasicConstraints=critical,CA:true\n' >ca.cnf
openssl req -new -x509 -days 3650 -key ca-key.pem -passin pass:sesame -sha256 -out ca.pem -subj "/C=US/ST=Washington/L=Pasco/O=MyOrg/CN=Docker CA" -config ca.cnf
key >server-key.pem
openssl req -subj "/CN=host-b" -sha256 -new -key server-key.pem -out server.csr -config ca.cnf
printf 'subjectAltName = DNS:host-b,IP:%s,IP:127.0.0.1\nextendedKeyUsage = serverAuth\n' "$1" >ext.cnf
openssl x509 -req -days 1825 -sha256 -in server.csr -CA ca.pem -CAkey ca-key.pem -passin pass:sesame -CAcreateserial -out server-cert.pem -extfile ext.cnf
mkdir -p /etc/docker/tls /etc/systemd/system/docker.service.d
cp ca.pem server-cert.pem server-key.pem /etc/docker/tls/
chmod 0400 /etc/docker/tls/server-key.pem
chmod 0444 /etc/docker/tls/ca.pem /etc/docker/tls/server-cert.pem
cp ca.pem ca-key.pem /root/
`

const guidesDaemonJSON = `{
  "tls": true,
  "tlsverify": true,
  "tlscacert": "/etc/docker/tls/ca.pem",
  "tlscert": "/etc/docker/tls/server-cert.pem",
  "tlskey": "/etc/docker/tls/server-key.pem"
}
`

const guidesOverride = `[Service]
ExecStart=
ExecStart=/usr/bin/dockerd -H fd:// -H tcp://0.0.0.0:2376
`

// TestAfterTheGuide takes over what the guide left on a Debian host, whose dockerd does
// not start by it: the cause is named with the line to change, and with that done all is
// adopted and renewed without a container that ends.
func TestAfterTheGuide(t *testing.T) {
	hosts := testhosts.Start(t, "host-b")
	b := hosts[0]
	run(t, b, "sh", "-c", theGuide, "sh", b.Address)
	const override = "/etc/systemd/system/docker.service.d/override.conf"
	for path, text := range map[string]string{"/etc/docker/daemon.json": guidesDaemonJSON, override: guidesOverride} {
		if err := b.WriteFile(t.Context(), path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, b, "systemctl", "daemon-reload")
	if out, err := b.Run(t.Context(), "systemctl", "restart", "docker"); err == nil {
		t.Errorf("dockerd starts by the guide: %s", out)
	}
	o := newOperator(t)
	o.fleet(hosts, guideOfOne)
	config := filepath.Join(o.dir, "renewer.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, strings.Replace(string(text), "{type: local}}\n", "{type: local, passphrase_file: "+o.dir+"/pass}}\n", 1))
	write(t, o.dir+"/pass", "sesame\n")
	for _, name := range []string{"ca.pem", "ca-key.pem"} {
		write(t, filepath.Join(o.dir, name), run(t, b, "cat", "/root/"+name)+"\n")
	}
	if out := o.must("ca", "import", "--cert", o.dir+"/ca.pem", "--key", o.dir+"/ca-key.pem", "--passphrase-file", o.dir+"/pass"); !strings.Contains(out, "it has no keyUsage") {
		t.Errorf("the guide's CA: %s", out)
	}
	const fix = "write /usr/sbin/dockerd in place of /usr/bin/dockerd in " + override + ", then systemctl daemon-reload"
	for _, argv := range [][]string{{"doctor", "host-b"}, {"host", "check", "host-b"}, {"host", "setup", "host-b", "--yes"}} {
		if out, err := o.try(argv...); err == nil || !strings.Contains(out, "docker.service starts /usr/bin/dockerd, which does not exist") || !strings.Contains(out, fix) {
			t.Errorf("%v: %v\n%s", argv, err, out)
		}
	}
	run(t, b, "sed", "-i", "s|/usr/bin/dockerd|/usr/sbin/dockerd|", override)
	run(t, b, "systemctl", "daemon-reload")
	restart(t, b)
	id, err := b.StartContainer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := b.ContainerPID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	o.must("adopt", "host-b", "--certificate", "docker@host-b")
	if out, err := o.try("renew", "docker@host-b"); err == nil || !strings.Contains(out, "a restart of dockerd would stop 1 containers") {
		t.Errorf("a renewal that would end a container: %v\n%s", err, out)
	}
	o.must("host", "setup", "host-b", "--yes")
	o.must("run", "--once")
	o.must("renew", "docker@host-b")
	answers(t, b, o, "after the guide was taken over")
	if after, err := b.ContainerPID(t.Context(), id); err != nil || after != before {
		t.Errorf("the container had process %s, and has %s, %v", before, after, err)
	}
	o.must("doctor", "host-b")
}
