package dockerhost

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/probes"
)

// healthy is a case where nothing is wrong.
func healthy(t testing.TB) (Case, *testpki.CA) {
	ca := testpki.New(t)
	leaf := ca.Leaf(t, testpki.Options{SANs: []string{"host-b", "10.0.1.2"}}).Cert
	f := fresh(ceUnit)
	plan, err := Plan(f, placement())
	must(t, err)
	f = done(f, plan)
	f.Clock = leaf.NotBefore.Add(2 * time.Minute)
	f.Ours = f.Clock.Add(time.Second)
	f.Disk = renewer.OnDisk{Leaf: renewer.Fingerprint(leaf.Raw), NotAfter: leaf.NotAfter, Trusts: renewer.RootSetOf([]*x509.Certificate{ca.Root})}
	return Case{
		Placement: placement(), Now: f.Ours, Usages: []renewer.Usage{renewer.UsageServer}, Leaf: leaf, Roots: []*x509.Certificate{ca.Root}, Life: leaf.NotAfter.Sub(leaf.NotBefore),
		Facts: f, Placed: true, Probed: true, Seen: renewer.Observation{Served: f.Disk.Leaf, NotAfter: leaf.NotAfter},
	}, ca
}

func made(p testpki.Pair) []*x509.Certificate { return []*x509.Certificate{p.Cert} }

func probeError(kind renewer.ProbeErrorKind, err error) error {
	return &renewer.ProbeError{Kind: kind, Err: renewer.WithHint(err, "a hint")}
}

// Every problem of the guide, and what else was seen, gives its finding with a
// fix, and where all is healthy nothing is found.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	well, ca := healthy(t)
	for _, f := range Diagnose(well) {
		if f.Level != renewer.FindingOK || f.Fix != "" || f.Text == "" || f.Host != "host-b" || f.Certificate != "docker@host-b" {
			t.Errorf("nothing is wrong, and %+v", f)
		}
	}
	refusedErr := fmt.Errorf("10.0.1.2:2376 cannot be reached: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}
	for _, c := range []struct {
		name   string
		change func(*Case)
		check  string
		level  renewer.FindingLevel
		text   string // part of it
		fix    string // part of it
	}{
		{"other roots on the host", func(c *Case) { c.Facts.Disk.Trusts = renewer.NewRootSet("cc") }, "unknown-authority", renewer.FindingFail, "lacks a root of the issuer", "renewer run --once"},
		{"served by another CA", func(c *Case) {
			c.ProbeErr = probeError(renewer.ProbeRejected, fmt.Errorf("signed by: %w", x509.UnknownAuthorityError{}))
		}, "unknown-authority", renewer.FindingFail, "unknown authority", "same ca file"},
		{"trust without the issuer", func(c *Case) {
			c.Leaf = testpki.New(t).Leaf(t, testpki.Options{SANs: []string{"10.0.1.2"}}).Cert
		}, "unknown-authority", renewer.FindingWarn, "none of them", "trust:"},
		{"client only", func(c *Case) {
			c.Leaf = ca.Leaf(t, testpki.Options{SANs: []string{"10.0.1.2"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).Cert
		}, "usage", renewer.FindingFail, "used as a server", "usages: [server]"},
		{"another address", func(c *Case) { c.Placement.Probe.Address = "10.0.1.3:2376" }, "san-mismatch", renewer.FindingFail, "clients connect to 10.0.1.3, but the certificate covers only host-b, 10.0.1.2", "add 10.0.1.3 to sans:"},
		{"no process listens", func(c *Case) { c.Facts.Listening = nil }, "connection-refused", renewer.FindingFail, "no process listens on port 2376", "renewer host setup host-b"},
		{"no drop-in", func(c *Case) { c.Facts.Listening, c.Facts.DropIn = nil, File{Path: dropInPath} }, "connection-refused", renewer.FindingFail, dropInPath + " is missing", "host setup"},
		{"loopback", func(c *Case) { c.Facts.Listening = []string{"127.0.0.1:2376"} }, "connection-refused", renewer.FindingFail, "on loopback only", "host setup"},
		{"refused although it listens", func(c *Case) { c.ProbeErr = probeError(renewer.ProbeUnreachable, refusedErr) }, "connection-refused", renewer.FindingFail, "although the host listens on *:2376", "iptables"},
		{"no ss", func(c *Case) { c.Facts.ListenErr = errors.New("ss: not found") }, "connection-refused", renewer.FindingUnknown, "could not check", "iproute2"},
		{"firewall", func(c *Case) {
			c.ProbeErr = probeError(renewer.ProbeUnreachable, fmt.Errorf("10.0.1.2:2376 cannot be reached: no answer within 5s"))
		}, "timeout", renewer.FindingFail, "no answer within", "ufw allow from CLIENT to any port 2376 proto tcp"},
		{"unknown name", func(c *Case) {
			c.ProbeErr = probeError(renewer.ProbeUnreachable, &net.DNSError{Err: "no such host", Name: "host-b"})
		}, "timeout", renewer.FindingFail, "cannot be resolved", "DNS"},
		{"-H conflict", func(c *Case) {
			c.Facts.DropIn = File{Path: dropInPath}
			c.Facts.Daemon = file(DaemonJSON, `{"hosts": ["fd://"]}`)
		}, "host-conflict", renewer.FindingFail, "hosts is given as a flag in docker.service and in /etc/docker/daemon.json", "host setup"},
		{"flag conflict", func(c *Case) {
			c.Facts.DropIn = file(dropInPath, "[Service]\nExecStart=/usr/bin/dockerd --tlsverify -H fd:// -H tcp://0.0.0.0:2376\n")
		}, "host-conflict", renewer.FindingFail, "tlsverify", "host setup"},
		{"expired", func(c *Case) { c.Now = c.Leaf.NotAfter }, "expiry", renewer.FindingFail, "the served certificate expired", "renewer renew docker@host-b"},
		{"about to expire", func(c *Case) { c.Now = c.Leaf.NotAfter.Add(-time.Minute) }, "expiry", renewer.FindingWarn, "less than a tenth", "renewer renew"},
		{"dated back by years", func(c *Case) {
			c.Leaf = ca.Leaf(t, testpki.Options{SANs: []string{"host-b", "10.0.1.2"}, NotBefore: time.Unix(0, 0)}).Cert
		}, "expiry", renewer.FindingOK, "is valid until", ""},
		{"clock behind", func(c *Case) { c.Facts.Clock = c.Facts.Ours.Add(-10 * time.Minute) }, "clock", renewer.FindingFail, "10m0s behind", "timedatectl"},
		{"clock ahead", func(c *Case) { c.Facts.Clock = c.Facts.Ours.Add(time.Minute) }, "clock", renewer.FindingWarn, "1m0s ahead of", "NTP"},
		{"live-restore off", func(c *Case) { c.Facts.Docker.LiveRestore, c.Facts.Docker.Containers = false, 2 }, "live-restore", renewer.FindingWarn, "(2 now)", "host setup"},
		{"swarm", func(c *Case) { c.Facts.Docker.LiveRestore, c.Facts.Swarm = false, true }, "live-restore", renewer.FindingWarn, "swarm", "window"},
		{"start limit", func(c *Case) { c.Facts.Unit.Active, c.Facts.Unit.GaveUp = "failed", true }, "start-limit", renewer.FindingFail, "hit the start limit", "reset-failed docker.service"},
		{"down", func(c *Case) { c.Facts.Unit.Active, c.Facts.Unit.Sub = "failed", "failed" }, "docker-unit", renewer.FindingFail, "is not running (failed, failed)", "journalctl"},
		{"no Docker", func(c *Case) { c.Facts.Unit.Load = "not-found" }, "docker-unit", renewer.FindingFail, "no unit", "apt-get install"},
		{"masked", func(c *Case) { c.Facts.Unit.Load = "masked" }, "docker-unit", renewer.FindingFail, "masked", "unmask"},
		{"it comes and goes", func(c *Case) { c.Facts.Unit.Restarts = 4 }, "docker-unit", renewer.FindingWarn, "4 times", "journalctl"},
		{"modes", func(c *Case) {
			c.Facts.Disk.Deviations = []renewer.Deviation{{Kind: renewer.DeviationMode, Text: "server-key.pem has mode 0644 instead of 0400"}}
		}, "file-modes", renewer.FindingFail, "has mode 0644", "renewer renew"},
		{"public files that more may read", func(c *Case) {
			c.Facts.Disk.Deviations = []renewer.Deviation{{Kind: renewer.DeviationMode, Text: "ca.pem has mode 0644 instead of 0444", Readable: true}}
		}, "file-modes", renewer.FindingOK, "are correct", ""},
		{"a full disk", func(c *Case) { c.Facts.Room = Room{true, 12, 100} }, "disk", renewer.FindingFail, "12 KiB are left", "df -h"},
		{"a disk nearly full", func(c *Case) { c.Facts.Room = Room{true, 1 << 20, 97} }, "disk", renewer.FindingWarn, "97 % full", "free disk space"},
		{"a single file in a container", func(c *Case) {
			c.Facts.Containers = []renewer.Container{
				{Name: "app", Sources: []string{"/etc/docker/tls"}},
				{Name: "web", Sources: []string{"/etc/docker/tls/server-key.pem"}},
				{Name: "old", Sources: []string{"/etc/docker/tls/.renewer/docker@host-b/r1-0/ca.pem"}},
				{Name: "x", Sources: []string{"/srv/ca.pem"}},
			}
		}, "single-file-mount", renewer.FindingWarn, "old has /etc/docker/tls/.renewer/docker@host-b/r1-0/ca.pem; web has /etc/docker/tls/server-key.pem mounted as a single file", "mount the directory"},
		{"a single file in a container, and a renewal since", func(c *Case) {
			c.PlacedAt = c.Facts.Ours.Add(-time.Hour)
			c.Facts.Containers = []renewer.Container{
				{Name: "web", Sources: []string{"/etc/docker/tls/server-key.pem"}, Started: c.Facts.Clock.Add(-2 * time.Hour)},
				{Name: "new", Sources: []string{"/etc/docker/tls/server-key.pem"}, Started: c.Facts.Clock.Add(-time.Minute)},
			}
		}, "single-file-mount", renewer.FindingWarn, "web has /etc/docker/tls/server-key.pem mounted as a single file and was started before the last renewal: it still uses the old file", "recreate the container"},
		{"a key that a container's user may not read", func(c *Case) {
			c.Placement.Probe = renewer.Probe{Kind: renewer.ProbeFile}
			c.Facts.Key = KeyFile{Known: true, Mode: 0o400}
			c.Facts.Containers = []renewer.Container{
				{Name: "app", User: "1000", Sources: []string{"/etc/docker/tls"}},
				{Name: "root", Sources: []string{"/etc/docker/tls"}},
				{Name: "ca", User: "1000", Sources: []string{"/etc/docker/tls/ca.pem"}},
			}
		}, "container-key", renewer.FindingWarn, "app runs as 1000, but only user 0 can read /etc/docker/tls/server-key.pem (mode 0400)", `owner: "1000"`},
		{"the daemon's own key", func(c *Case) {
			c.Facts.Key = KeyFile{Known: true, Mode: 0o400}
			c.Facts.Containers = []renewer.Container{{Name: "app", User: "1000", Sources: []string{"/etc/docker/tls"}}}
		}, "container-key", renewer.FindingWarn, "app runs as 1000", "only dockerd may use"},
		{"a user of an image", func(c *Case) {
			c.Placement.Probe = renewer.Probe{Kind: renewer.ProbeFile}
			c.Facts.Key = KeyFile{Known: true, Mode: 0o400}
			c.Facts.Containers = []renewer.Container{{Name: "app", User: "dagster", Sources: []string{"/etc/docker"}}}
		}, "container-key", renewer.FindingWarn, "app runs as dagster", "id -u"},
		{"made by hand, for clients", func(c *Case) {
			c.Served = made(ca.Leaf(t, testpki.Options{SANs: []string{"10.0.1.2"}, Usages: testpki.ClientUsage}))
			c.Placed, c.Probed, c.Leaf = false, false, nil
		}, "usage", renewer.FindingFail, "the served certificate is used as a server", "replaces it with a certificate of the entry"},
		{"made by hand, for another name", func(c *Case) {
			c.Facts.Disk.Chain.Leaf = ca.Leaf(t, testpki.Options{SANs: []string{"web"}}).Cert
			c.Placed, c.Probed, c.Leaf = false, false, nil
		}, "san-mismatch", renewer.FindingFail, "covers only web (the certificate in /etc/docker/tls)", "replaces it with a certificate of the entry"},
		{"made by hand, expired", func(c *Case) {
			c.Served = made(ca.Leaf(t, testpki.Options{SANs: []string{"10.0.1.2"}, NotAfter: time.Now().Add(-24 * time.Hour)}))
			c.Placed, c.Probed, c.Leaf, c.Seen = false, false, nil, renewer.Observation{}
		}, "expiry", renewer.FindingFail, "the served certificate expired", "renewer renew"},
		{"made by hand, by no one that is known", func(c *Case) {
			c.Served = made(testpki.New(t).Leaf(t, testpki.Options{SANs: []string{"10.0.1.2"}}))
			c.Placed, c.Probed, c.Leaf = false, false, nil
		}, "chain", renewer.FindingWarn, "neither ca.pem nor the issuer of the entry has that root", "intermediates"},
		{"served otherwise than on the disk", func(c *Case) {
			c.Served = made(ca.Leaf(t, testpki.Options{SANs: []string{"old"}}))
			c.Facts.Disk.Chain.Leaf = c.Leaf
		}, "san-mismatch", renewer.FindingFail, "covers only old (the served certificate)", "add 10.0.1.2 to sans:"},
		{"files missing", func(c *Case) { c.Facts.Disk = renewer.OnDisk{} }, "files", renewer.FindingFail, "no certificate", "renewer renew"},
		{"files missing, and not set up", func(c *Case) {
			c.Facts.Disk, c.Facts.Daemon, c.Placed = renewer.OnDisk{}, File{Path: DaemonJSON}, false
		}, "files", renewer.FindingFail, "no certificate", "renewer host setup host-b"},
		{"placed by", func(c *Case) { c.Placed = false }, "files", renewer.FindingWarn, "placed by", "renewer adopt host-b --certificate docker@host-b"},
		{"placed by something else, of another CA", func(c *Case) { c.Placed, c.Facts.Disk.Trusts = false, renewer.NewRootSet("cc") }, "unknown-authority", renewer.FindingFail, "another CA issued the current certificate", "renewer ca import"},
		{"stopped", func(c *Case) { c.Facts.Unit.Active, c.Facts.Unit.Sub = "inactive", "dead" }, "docker-unit", renewer.FindingFail, "is not running (inactive, dead)", "systemctl start docker.service"},
		{"no client certificate for the probe", func(c *Case) { c.Seen.Stranger, c.Seen.NotChecked = true, []string{"a client is answered: no CA"} }, "client-refused", renewer.FindingUnknown, "not checked: a client is answered", "renewer status"},
		{"sudo", func(c *Case) { c.Err = errors.New("host host-b: sudo: a password is required") }, "sudo", renewer.FindingFail, "permissions are missing", "renewer host sudoers host-b"},
		{"no rights", func(c *Case) { c.Err = fmt.Errorf("read: %w", fs.ErrPermission) }, "sudo", renewer.FindingFail, "permissions are missing", "sudoers"},
		{"unreachable", func(c *Case) { c.Err = renewer.WithHint(errors.New("host host-b: no route"), "the fix") }, "reach", renewer.FindingFail, "no route", "the fix"},
		{"not set up", func(c *Case) { c.Facts.Daemon = File{Path: DaemonJSON} }, "daemon-config", renewer.FindingFail, "not set up for these files: /etc/docker/daemon.json", "renewer host check host-b"},
		{"only live-restore is missing, the guide's file", func(c *Case) {
			c.Facts.Daemon, c.Facts.Docker.LiveRestore = without(c.Facts.Daemon, liveRestoreKey), false
		}, "daemon-config", renewer.FindingOK, "as expected", ""},
		{"live-restore was taken out of the file", func(c *Case) { c.Facts.Daemon = without(c.Facts.Daemon, liveRestoreKey) }, "daemon-config", renewer.FindingWarn, "off after the next restart", "host setup host-b"},
		{"an option that dockerd has not", func(c *Case) {
			c.Facts.Options, c.Facts.Daemon = parseOptions(help2010(t)), with(c.Facts.Daemon, "live-restor", true)
		}, "daemon-config", renewer.FindingFail, `dockerd has no option "live-restor"`, `write "live-restore"`},
		{"a profile that is not there", func(c *Case) {
			c.Facts.Missing, c.Facts.Daemon = []string{"/etc/s.json"}, with(c.Facts.Daemon, "seccomp-profile", "/etc/s.json")
		}, "daemon-config", renewer.FindingFail, "/etc/s.json, which does not exist", "create the file"},
		{"live-restore is on in a swarm", func(c *Case) { c.Facts.Swarm, c.Facts.Docker.LiveRestore = true, false }, "daemon-config", renewer.FindingFail, "the host is in a swarm", `remove "live-restore" from`},
		{"syntax error", func(c *Case) { c.Facts.Daemon = file(DaemonJSON, "{") }, "daemon-config", renewer.FindingFail, "/etc/docker/daemon.json:1:1", "by hand"},
		{"not read yet", func(c *Case) { c.Facts.Unit.Stale = true }, "daemon-config", renewer.FindingWarn, "not loaded them yet", "daemon-reload"},
		{"client refused", func(c *Case) { c.ProbeErr = probeError(renewer.ProbeRejected, alert) }, "client-refused", renewer.FindingFail, "bad certificate", "clientAuth"},
		{"open to all", func(c *Case) { c.ProbeErr = probeError(renewer.ProbeLax, errors.New("does not refuse")) }, "client-refused", renewer.FindingFail, "does not refuse", "tlsverify"},
		{"not restarted", func(c *Case) { c.ProbeErr = probeError(renewer.ProbeMismatch, errors.New("serves another")) }, "served", renewer.FindingFail, "serves another", "only when it starts"},
	} {
		x := well
		c.change(&x)
		found := Diagnose(x)
		i := slices.IndexFunc(found, func(f renewer.Finding) bool { return f.Check == c.check })
		if i < 0 {
			t.Errorf("%s: no finding %s in %+v", c.name, c.check, found)
			continue
		}
		if f := found[i]; f.Level != c.level || !strings.Contains(f.Text, c.text) || !strings.Contains(f.Fix, c.fix) {
			t.Errorf("%s: found %+v", c.name, f)
		}
		for _, f := range found {
			if f.Level == renewer.FindingFail && f.Fix == "" {
				t.Errorf("%s: no fix of %+v", c.name, f)
			}
		}
	}
}

// Where the login or sudo failed, the probe saw nothing of the service's port.
func TestAHostThatIsNotReachedSaysNothingOfAFirewall(t *testing.T) {
	t.Parallel()
	c, _ := healthy(t)
	c.Err = renewer.WithHint(errors.New("host host-b: sudo: a password is required"), "put this line into /etc/sudoers.d/renewer")
	c.ProbeErr = c.Err
	for _, f := range Diagnose(c) {
		if f.Check == "timeout" || f.Check == "sudo" && f.Fix != "put this line into /etc/sudoers.d/renewer" {
			t.Errorf("found %+v", f)
		}
	}
}

func TestDiagnoseAClient(t *testing.T) {
	t.Parallel()
	c, ca := healthy(t)
	c.Placement.Probe = renewer.Probe{Kind: renewer.ProbeFile}
	c.Placement.Activate = renewer.Activation{}
	c.Usages = []renewer.Usage{renewer.UsageClient}
	c.Leaf = ca.Leaf(t, testpki.Options{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).Cert
	c.Facts = Facts{Disk: c.Facts.Disk, Clock: c.Facts.Clock, Ours: c.Facts.Ours}
	for _, f := range Diagnose(c) {
		if f.Level != renewer.FindingOK || f.Check == "docker-unit" || f.Check == "live-restore" {
			t.Errorf("found %+v", f)
		}
	}
	c.Facts.Environment = file("/etc/environment", "PATH=/bin\nREQUESTS_CA_BUNDLE=\"/etc/ssl/x.pem\"\n")
	c.Leaf = ca.Leaf(t, testpki.Options{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}).Cert
	got := map[string]renewer.FindingLevel{}
	for _, f := range Diagnose(c) {
		got[f.Check] = f.Level
	}
	if got["environment"] != renewer.FindingWarn || got["usage"] != renewer.FindingFail {
		t.Errorf("found %v", got)
	}
}

// units is a machine whose services have an environment.
type units struct{ *machine }

func (m units) Output(ctx context.Context, argv []string) (string, error) {
	if !slices.Contains(argv, "--type=service") {
		return m.machine.Output(ctx, argv)
	}
	return `Id=ssh.service
Environment=

EnvironmentFiles=/etc/default/dagster (ignore_errors=yes)
EnvironmentFiles=/etc/default/missing (ignore_errors=yes)
Id=dagster.service
Environment=PASSWORD=secret "CURL_CA_BUNDLE=/etc/ssl/a b.pem"

Id=right.service
Environment=REQUESTS_CA_BUNDLE=/etc/docker/tls/ca.pem
`, nil
}

// A unit that overrides the ca file is named, and nothing else of its
// environment is shown.
func TestDiagnoseUnitsEnvironment(t *testing.T) {
	t.Parallel()
	c, _ := healthy(t)
	c.Placement.Probe, c.Placement.Activate = renewer.Probe{Kind: renewer.ProbeFile}, renewer.Activation{}
	m := units{newMachine(ceUnit)}
	m.files["/etc/default/dagster"] = memFile{text: "TOKEN=secret\nREQUESTS_CA_BUNDLE=/etc/ssl/x.pem\n", mode: 0o644}
	facts, err := Inspect(t.Context(), m, c.Placement)
	must(t, err)
	c.Facts.UnitEnv = facts.UnitEnv
	found := Diagnose(c)
	i := slices.IndexFunc(found, func(f renewer.Finding) bool { return f.Check == "environment" })
	if i < 0 || found[i].Level != renewer.FindingWarn {
		t.Fatalf("found %+v", found)
	}
	const want = "dagster.service (by /etc/default/dagster) sets REQUESTS_CA_BUNDLE=/etc/ssl/x.pem; dagster.service sets CURL_CA_BUNDLE=/etc/ssl/a b.pem: clients in that unit"
	if !strings.HasPrefix(found[i].Text, want) || strings.Contains(fmt.Sprintf("%+v", facts), "TOKEN") {
		t.Errorf("found %q", found[i].Text)
	}
}

// What the prober really says of a port where nothing listens is recognised.
func TestDiagnoseARealRefusal(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	c, _ := healthy(t)
	c.Placement.Probe = renewer.Probe{Kind: renewer.ProbeTLS, Address: address}
	_, c.ProbeErr = probes.New().Probe(t.Context(), renewer.ProbeRequest{Placement: c.Placement, Expect: renewer.Expected{Origin: renewer.OriginForeign}, Roots: c.Roots, Host: noFiles{}})
	i := slices.IndexFunc(Diagnose(c), func(f renewer.Finding) bool {
		return f.Check == "timeout" && strings.Contains(f.Text, address+" refuses connections")
	})
	if i < 0 {
		t.Errorf("%v gives %+v", c.ProbeErr, Diagnose(c))
	}
}

type noFiles struct{}

func (noFiles) Inspect(context.Context, renewer.Placement) (renewer.OnDisk, error) {
	return renewer.OnDisk{}, nil
}
func (noFiles) Run(context.Context, []string) error { return nil }

// What hosts.Host says of files that dockerd does not start with is understood.
func TestUnusableFiles(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	pair, other := ca.Leaf(t, testpki.Options{SANs: []string{"host-b"}}), ca.Leaf(t, testpki.Options{SANs: []string{"host-b"}})
	p := placement()
	p.Activate, p.Owner = renewer.Activation{}, "" // no systemd here
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
		says  string
	}{
		{"whole", func(string) error { return nil }, ""},
		{"open to all", func(dir string) error { return os.Chmod(dir+"/server-key.pem", 0o644) }, ""},
		{"no directory", os.RemoveAll, "no certificate"},
		{"no key", func(dir string) error { return os.Remove(dir + "/server-key.pem") }, "server-key.pem is missing"},
		{"no roots", func(dir string) error { return os.WriteFile(dir+"/ca.pem", nil, 0o644) }, "ca.pem has no root"},
		{"another key", func(dir string) error {
			return os.WriteFile(dir+"/server-key.pem", testpki.KeyPEM(t, other.Key), 0o600)
		}, "server-key.pem is not the key of server-cert.pem"},
		{"an encrypted key", func(dir string) error {
			return os.WriteFile(dir+"/server-key.pem", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"), 0o600)
		}, "the private key is encrypted"},
		{"a cut key", func(dir string) error { return os.WriteFile(dir+"/server-key.pem", []byte("-----BEGIN"), 0o600) }, "no private key"},
		{"a cut certificate", func(dir string) error { return os.WriteFile(dir+"/server-cert.pem", []byte("-----BEGIN"), 0o600) }, "no certificate"},
	} {
		root := t.TempDir()
		dir := filepath.Join(root, p.Dir)
		testpki.WriteFile(t, dir+"/ca.pem", ca.PEM(), 0o644)
		testpki.WriteFile(t, dir+"/server-cert.pem", testpki.PEM(pair.Cert), 0o644)
		testpki.WriteFile(t, dir+"/server-key.pem", testpki.KeyPEM(t, pair.Key), 0o600)
		must(t, c.spoil(dir))
		disk, err := hosts.New(renewer.Host{Name: "host-b"}, hosts.Local(root)).Inspect(t.Context(), p)
		must(t, err)
		if got := Unusable(p, disk); got == "" != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %+v (%+v)", c.name, got, disk.Deviations)
		}
	}
}

// On a host that is not set up nothing is said of files that are not there but
// that they are missing, and the hint is one command.
func TestDiagnoseAFreshHost(t *testing.T) {
	t.Parallel()
	c, _ := healthy(t)
	c.Facts = fresh(ceUnit)
	c.Facts.Disk = renewer.OnDisk{}
	c.Facts.Clock, c.Facts.Ours = c.Now, c.Now
	c.Placed, c.Probed, c.Leaf, c.Seen = false, false, nil, renewer.Observation{}
	for _, f := range Diagnose(c) {
		switch f.Check {
		case "unknown-authority":
			t.Errorf("of a file that is not there: %+v", f)
		case "files", "daemon-config", "connection-refused":
			if f.Level != renewer.FindingFail || !strings.Contains(f.Fix, "renewer host setup host-b") || strings.Contains(f.Fix, "renewer renew") {
				t.Errorf("got %+v", f)
			}
		}
	}
}

func with(f File, key string, value any) File {
	f.Text = string(document(f.Text).set(key, value))
	return f
}

func without(f File, key string) File {
	f.Text = string(document(f.Text).remove(key))
	return f
}
