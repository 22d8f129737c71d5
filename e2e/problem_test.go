//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"renewer/internal/testhosts"
)

const (
	dockerDir   = "/etc/docker/tls"
	problemWeb  = "/srv/web"
	problemCert = `  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b], per_host: true}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}
  - {name: web, issuer: fleet-ca, profile: files, hosts: [host-b], dir: ` + problemWeb + `}
`
)

// problem is one host that things go wrong with, one after another.
type problem struct {
	operator
	b *testhosts.Host
}

// TestProblemOnTheWay: whatever comes in between, the old certificate is served
// until the new one is, and in the end the new one is.
func TestProblemOnTheWay(t *testing.T) {
	hosts := testhosts.Start(t, "host-b")
	o := newOperator(t)
	o.fleet(hosts, problemCert)
	o.must("ca", "init")
	o.must("host", "setup", "host-b", "--yes")
	o.must("run", "--once")
	for _, what := range []struct {
		name string
		test func(problem)
	}{
		{"unknown host key", unknownHostKey},
		{"changed host key", changedHostKey},
		{"sudo refused", sudoRefused},
		{"expired for the host", expiredForTheHost},
		{"expired one planted", expiredPlanted},
		{"connection cut", connectionCut},
		{"lost inventory", lostInventory},
		{"power cut", powerCut},
		{"reboot", rebooted},
		{"disk full", diskFull}, // a reboot would undo it
	} {
		t.Run(what.name, func(t *testing.T) {
			x := problem{o.with(t), hosts[0]}
			x.fleet(hosts, problemCert)
			what.test(x)
			x.fleet(hosts, problemCert)
			x.right()
		})
	}
}

// right checks from outside that what renewer says of the host is so.
func (x problem) right() {
	x.t.Helper()
	r := x.row("docker@host-b")
	if r.Status != "valid" || r.Hosts[0].State != "verified" || r.Hosts[0].Served != r.Fingerprint {
		x.t.Errorf("in the end: %+v", r)
	}
	x.serves(r.Fingerprint)
	expect(x.t, pairOnDisk(x.t, x.b, dockerDir, "server-cert.pem", "server-key.pem"), r.Fingerprint)
}

// serves checks that dockerd shows a certificate and talks to the client.
func (x problem) serves(fingerprint string) {
	x.t.Helper()
	expect(x.t, served(x.t, x.b), fingerprint)
	if out, err := x.docker(x.b, true, "version"); err != nil {
		x.t.Errorf("docker does not answer: %v\n%s", err, out)
	}
}

// fails renews in vain: what was served is still served, dockerd was not
// restarted, and the output says why and what to do.
func (x problem) fails(says ...string) string {
	x.t.Helper()
	was, started := x.row("docker@host-b"), lastStart(x.t, x.b)
	out, err := x.try("renew", "docker@host-b")
	if err == nil {
		x.t.Errorf("renewed:\n%s", out)
	}
	for _, s := range says {
		if !strings.Contains(out, s) {
			x.t.Errorf("the output does not say %q:\n%s", s, out)
		}
	}
	now := x.row("docker@host-b")
	if now.Fingerprint != was.Fingerprint {
		x.t.Errorf("current is %+v, was %+v", now, was)
	}
	expect(x.t, lastStart(x.t, x.b), started)
	x.serves(was.Fingerprint)
	return out
}

// fixed goes on by itself once the problem has ended, to the next generation.
func (x problem) mended(was row) {
	x.t.Helper()
	x.must("run", "--once")
	if now := x.row("docker@host-b"); now.Generation <= was.Generation || now.Fingerprint == was.Fingerprint {
		x.t.Errorf("after it was fixed: %+v, before %+v", now, was)
	}
}

// known is the host with another known_hosts file.
func (x problem) known(text string) (h *testhosts.Host, file string) {
	login := x.b.Login
	login.KnownHosts = filepath.Join(x.t.TempDir(), "known_hosts")
	write(x.t, login.KnownHosts, text)
	h = &testhosts.Host{Name: x.b.Name, Login: login}
	x.fleet([]*testhosts.Host{h}, problemCert)
	return h, login.KnownHosts
}

// hostKeyLine is what known_hosts has of the host.
func (x problem) hostKeyLine() string {
	x.t.Helper()
	text, err := os.ReadFile(x.b.KnownHosts)
	if err != nil {
		x.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func unknownHostKey(x problem) {
	was := x.row("docker@host-b")
	_, file := x.known("")
	line := x.hostKeyLine()
	x.fails("is unknown", "add this line to "+file+": "+line)
	write(x.t, file, line+"\n")
	x.mended(was)
}

func changedHostKey(x problem) {
	was := x.row("docker@host-b")
	another := "AAAAC3NzaC1lZDI1NTE5AAAAI" + strings.Repeat("B", 42) + "C"
	_, file := x.known(x.b.Address + " ssh-ed25519 " + another + "\n")
	remove := "ssh-keygen -R '" + x.b.Address + "' -f " + file
	out := x.fails("has changed", remove, "add this line to "+file+": "+x.hostKeyLine())
	if strings.Contains(out, "is unknown") {
		x.t.Errorf("taken for an unknown one:\n%s", out)
	}
	client(x.t, "sh", "-c", remove)
	if left, err := os.ReadFile(file); err != nil || strings.Contains(string(left), another) {
		x.t.Errorf("ssh-keygen left %q, %v", left, err)
	}
	write(x.t, file, x.hostKeyLine()+"\n")
	x.mended(was)
}

func sudoRefused(x problem) {
	const rule, away = "/etc/sudoers.d/renewer", "/root/renewer.sudoers"
	was := x.row("docker@host-b")
	run(x.t, x.b, "mv", rule, away)
	x.fails("sudo does not allow "+testhosts.User, "renewer host sudoers host-b prints all that has to be allowed there", "visudo -f")
	run(x.t, x.b, "mv", away, rule)
	x.mended(was)
}

// expiredForTheHost: the clock of the host is so far ahead that dockerd's
// clients there would refuse the new certificate.
func expiredForTheHost(x problem) {
	const date = "/usr/local/bin/date"
	if err := x.b.WriteFile(x.t.Context(), date, []byte("#!/bin/sh\nexec /bin/date -d '+1 year' \"$@\"\n"), 0o755); err != nil {
		x.t.Fatal(err)
	}
	x.fails("it expired at", "compare the clocks")
	if r := x.row("docker@host-b"); r.Status != "blocked" {
		x.t.Errorf("after the refusal: %+v", r)
	}
	run(x.t, x.b, "rm", date)
	was := x.row("docker@host-b")
	x.must("renew", "docker@host-b")
	if now := x.row("docker@host-b"); now.Generation <= was.Generation {
		x.t.Errorf("after the clock was set: %+v", now)
	}
}

// expiredPlanted: somebody puts an expired certificate and its key in place of
// the live ones and restarts dockerd, which starts happily.
func expiredPlanted(x problem) {
	was := x.row("docker@host-b")
	cert, key := x.expired()
	for name, content := range map[string][]byte{"server-cert.pem": cert, "server-key.pem": key} {
		if err := x.b.WriteFile(x.t.Context(), "/root/"+name, content, 0o600); err != nil {
			x.t.Fatal(err)
		}
		run(x.t, x.b, "mv", "/root/"+name, dockerDir+"/"+name) // in place of renewer's link
	}
	restart(x.t, x.b)
	if out, err := x.docker(x.b, true, "version"); err == nil || !strings.Contains(out, "expired") {
		x.t.Fatalf("the planted certificate is not expired: %v\n%s", err, out)
	}
	if out, err := x.try("verify", "--exit-code", "docker@host-b"); err == nil {
		x.t.Errorf("verify saw nothing:\n%s", out)
	}
	x.must("run", "--once")
	if now := x.row("docker@host-b"); now.Fingerprint != was.Fingerprint {
		x.t.Errorf("current is %+v, was %+v", now, was)
	}
	x.serves(was.Fingerprint)
}

// expired is a certificate of the fleet's CA that expired an hour ago.
func (x problem) expired() (cert, key []byte) {
	x.t.Helper()
	fail := func(err error) {
		if err != nil {
			x.t.Helper()
			x.t.Fatal(err)
		}
	}
	pair := make([]*pem.Block, 2)
	for i, name := range []string{"ca.pem", "ca-key.pem"} {
		text, err := os.ReadFile(filepath.Join(x.dir, "state/issuers/fleet-ca", name))
		fail(err)
		if pair[i], _ = pem.Decode(text); pair[i] == nil {
			x.t.Fatalf("%s is no PEM", name)
		}
	}
	ca, err := x509.ParseCertificate(pair[0].Bytes)
	fail(err)
	caKey, err := x509.ParsePKCS8PrivateKey(pair[1].Bytes)
	if err != nil {
		caKey, err = x509.ParseECPrivateKey(pair[1].Bytes)
	}
	fail(err)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err)
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "host-b"},
		NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour),
		DNSNames: []string{"host-b"}, IPAddresses: []net.IP{net.ParseIP(x.b.Address)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, own.Public(), caKey)
	fail(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(own)
	fail(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// connectionCut cuts the connection at points all along a push, before and
// after what was just said, and before and after the answer.
func connectionCut(x problem) {
	p, h := newProxy(x.t, x.b)
	x.fleet([]*testhosts.Host{h}, problemCert, "port: 2222")
	sweep := func(name string, points int, right func(fingerprint string)) {
		x.t.Helper()
		p.arm(toHost, 0, false)
		x.must("renew", name)
		whole, _ := p.seen()
		p.arm(toHost, 0, false)
		x.must("renew", name) // not every renewal says the same
		again, _ := p.seen()
		whole[0], whole[1] = min(whole[0], again[0]), min(whole[1], again[1])
		for i := range points {
			way, swallow := i%2, i/2%2 == 0
			p.arm(way, 1+whole[way]*i/(points+1), swallow)
			was := x.row(name)
			out, err := x.try("renew", name)
			if _, cuts := p.seen(); cuts != 1 {
				x.t.Errorf("%s, point %d: cut %d times", name, i, cuts)
			}
			if err != nil {
				out = x.must("run", "--once")
			}
			now := x.row(name)
			if now.Generation != was.Generation+1 || now.Status != "valid" || now.Hosts[0].Served != now.Fingerprint {
				x.t.Errorf("%s, point %d: %+v, before %+v\n%s", name, i, now, was, out)
			}
			right(now.Fingerprint)
		}
	}
	sweep("web", 16, func(fingerprint string) {
		expect(x.t, pairOnDisk(x.t, x.b, problemWeb, "tls.crt", "tls.key"), fingerprint)
	})
	sweep("docker@host-b", 4, func(fingerprint string) {
		expect(x.t, pairOnDisk(x.t, x.b, dockerDir, "server-cert.pem", "server-key.pem"), fingerprint)
		x.serves(fingerprint)
	})
}

// lostInventory: the files are all that is left, once as renewer placed them
// and once as plain files. Adopting them touches neither them nor dockerd.
func lostInventory(x problem) {
	for _, plain := range []bool{false, true} {
		was, started := x.row("docker@host-b"), lastStart(x.t, x.b)
		if plain {
			run(x.t, x.b, "sh", "-c", `cd "$1" && mkdir ../plain && cp -L *.pem ../plain && rm -r "$1" && mv ../plain "$1"`, "sh", dockerDir)
		}
		if err := os.Remove(filepath.Join(x.dir, "state/inventory.db")); err != nil {
			x.t.Fatal(err)
		}
		x.must("adopt", "host-b", "--certificate", "docker")
		if r := x.row("docker@host-b"); r.Status != "valid" || r.Generation != 0 || r.Fingerprint != was.Fingerprint || r.Hosts[0].Served != was.Fingerprint {
			x.t.Errorf("adopted (plain files: %v): %+v, before %+v", plain, r, was)
		}
		expect(x.t, lastStart(x.t, x.b), started)
		x.serves(was.Fingerprint)
	}
	x.must("run", "--once") // the others are new to it
	if r := x.row("docker@host-b"); r.Generation != 0 || r.Status != "valid" {
		x.t.Errorf("after a run: %+v", r)
	}
	x.must("renew", "docker@host-b")
	if r := x.row("docker@host-b"); r.Generation != 1 {
		x.t.Errorf("after the first renewal: %+v", r)
	}
}

// flipping starts a renewal and returns when it has moved the live names on the
// host, before dockerd serves them.
func (x problem) flipping() (wait func() (string, error)) {
	x.t.Helper()
	const current = dockerDir + "/.renewer/docker@host-b/current"
	was := run(x.t, x.b, "readlink", current)
	type result struct {
		out string
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := x.try("renew", "docker@host-b")
		done <- result{out, err}
	}()
	for deadline := time.Now().Add(30 * time.Second); run(x.t, x.b, "readlink", current) == was; {
		select {
		case r := <-done:
			x.t.Fatalf("the renewal ended without a flip: %v\n%s", r.err, r.out)
		default:
		}
		if time.Now().After(deadline) {
			x.t.Fatal("no flip")
		}
	}
	return func() (string, error) { r := <-done; return r.out, r.err }
}

func powerCut(x problem) {
	was := x.row("docker@host-b")
	wait := x.flipping()
	if err := x.b.PowerOff(); err != nil {
		x.t.Fatal(err)
	}
	if err := x.b.PowerOn(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	x.goesOn(was, wait)
}

func rebooted(x problem) {
	was := x.row("docker@host-b")
	wait := x.flipping()
	if err := x.b.Reboot(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	x.goesOn(was, wait)
}

// goesOn: after a boot, dockerd has a matched pair, and what was begun ends well.
func (x problem) goesOn(was row, wait func() (string, error)) {
	x.t.Helper()
	pairOnDisk(x.t, x.b, dockerDir, "server-cert.pem", "server-key.pem")
	out, err := wait()
	x.t.Logf("the renewal ended with %v:\n%s", err, out)
	out = x.must("run", "--once")
	if now := x.row("docker@host-b"); now.Generation != was.Generation+1 || now.Status != "valid" {
		x.t.Errorf("after the boot: %+v, before %+v\n%s", now, was, out)
	}
}

var freeBytes = regexp.MustCompile(`no space left on device \(\d+ bytes`)

func diskFull(x problem) {
	was := x.row("docker@host-b")
	if err := x.b.FillDisk(x.t.Context(), dockerDir); err != nil {
		x.t.Fatal(err)
	}
	if out := x.fails("no space left on device", "free space"); !freeBytes.MatchString(out) {
		x.t.Errorf("how much is free is not said:\n%s", out)
	}
	pairOnDisk(x.t, x.b, dockerDir, "server-cert.pem", "server-key.pem")
	if err := x.b.FreeDisk(x.t.Context(), dockerDir); err != nil {
		x.t.Fatal(err)
	}
	x.mended(was)
}
