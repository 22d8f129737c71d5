//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testhosts"
)

// refused are the calls that failed for a certificate, and not because dockerd was
// down. clients that read their pair while it is replaced are not among them.
func (c *calls) refused() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.made {
		for _, word := range []string{"certificate", "x509", "unknown ca"} {
			if strings.Contains(strings.ToLower(one.failed), word) {
				out = append(out, one.failed)
				break
			}
		}
	}
	return out
}

// roots are the fingerprints of the certificates in a PEM file, sorted.
func roots(data []byte) (out []string) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		sum := sha256.Sum256(block.Bytes)
		out = append(out, hex.EncodeToString(sum[:]))
	}
	slices.Sort(out)
	return out
}

// rotated is a fleet whose CA is replaced again and again.
type rotated struct {
	operator
	hosts  []*testhosts.Host
	daemon *process
}

func (r *rotated) start() {
	r.t.Helper()
	r.daemon = start(r.t, r.exe, "--config", filepath.Join(r.dir, "renewer.yaml"), "run")
	await(r.t, "the daemon", time.Minute, func() bool {
		out, err := r.try("status")
		return err == nil && !strings.Contains(out, "not running")
	})
}

// kill ends the daemon without a word.
func (r *rotated) kill() {
	r.daemon.once.Do(func() {
		_ = r.daemon.cmd.Process.Kill()
		_ = r.daemon.cmd.Wait()
	})
}

// signing is the root of the CA that signs now.
func (r *rotated) signing() string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "state/issuers/fleet-ca/ca.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	return roots(data)[0]
}

// trusted are the roots in the ca files of the client and of hosts, by name.
func (r *rotated) trusted(hosts ...*testhosts.Host) map[string][]string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "client/ca.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string][]string{"the client": roots(data)}
	for _, h := range hosts {
		data, err := h.ReadFile(r.t.Context(), "/etc/docker/tls/ca.pem")
		if err != nil {
			r.t.Fatal(err)
		}
		out[h.Name] = roots(bytes.TrimSpace(data))
	}
	return out
}

// alone lets no other root than the one that signs be trusted.
func (r *rotated) alone(when string, hosts ...*testhosts.Host) {
	r.t.Helper()
	want := []string{r.signing()}
	await(r.t, when+": one root everywhere", 30*time.Second, func() bool { // what was on its way ends first
		for _, got := range r.trusted(hosts...) {
			if !slices.Equal(got, want) {
				return false
			}
		}
		return true
	})
}

const rotatedCertificates = `  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b, host-c, host-d], per_host: true}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client, settle: 2s}
`

// TestACAIsReplacedUnderDockersClients: the CA of a fleet is replaced while docker's
// command and Docker's library for Python, with a client that is kept and with new
// ones, ask all the time. Calls fail while a dockerd restarts, and none because of a
// certificate: rotated, taken back, killed again and again, compromised, and with a
// host off.
func TestACAIsReplacedUnderDockersClients(t *testing.T) {
	hosts := testhosts.Start(t, "host-b", "host-c", "host-d")
	b, c, d := hosts[0], hosts[1], hosts[2]
	r := &rotated{operator: newOperator(t), hosts: hosts}
	r.fleet(hosts, rotatedCertificates)
	file := filepath.Join(r.dir, "renewer.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fleet := string(text) + "schedule: {check: \"@every 2s\"}\n"
	write(t, file, fleet)
	r.must("ca", "init")
	for _, h := range hosts {
		r.must("host", "setup", h.Name, "--yes")
	}
	r.must("run", "--once")
	r.start()
	library, command := r.python(b), r.cli(c)
	library.await(t, 3)
	command.await(t, 3)

	first := r.signing()
	t.Log(r.must("ca", "rotate", "fleet-ca", "--plan"))
	t.Log(r.must("ca", "rotate", "fleet-ca", "--now", "--wait"))
	second := r.signing()
	if second == first {
		t.Fatal("the same CA signs")
	}
	r.alone("rotated", hosts...)

	r.must("ca", "rotate", "fleet-ca")
	r.must("ca", "rotate", "fleet-ca", "--cancel", "--wait")
	expect(t, r.signing(), second)
	r.alone("taken back", hosts...)

	r.must("ca", "rotate", "fleet-ca", "--now")
	for i := range 12 {
		<-time.After(time.Duration(300+200*i) * time.Millisecond) // another moment each time
		r.kill()
		r.start()
	}
	t.Log(r.must("ca", "rotate", "fleet-ca", "--wait"))
	third := r.signing()
	if third == second {
		t.Error("killed: the same CA signs")
	}
	r.alone("killed", hosts...)

	// A root that lies everywhere ahead of time signs at once.
	r.daemon.end()
	write(t, file, strings.Replace(fleet, "fleet-ca: {type: local}", "fleet-ca: {type: local, standby_root: true}", 1))
	r.start()
	await(t, "the standby root everywhere", 2*time.Minute, func() bool {
		for _, got := range r.trusted(hosts...) {
			if len(got) != 2 {
				return false
			}
		}
		return strings.TrimSpace(r.must("plan", "-o", "json")) == "[]"
	})
	<-time.After(3 * time.Second) // settle:
	t.Log(r.must("ca", "rotate", "fleet-ca", "--compromised", "--yes", "--wait"))
	if r.signing() == third {
		t.Error("compromised: the same CA signs")
	}
	for who, got := range r.trusted(hosts...) {
		if slices.Contains(got, third) {
			t.Errorf("%s trusts the CA that is compromised", who)
		}
	}

	// One host is off throughout, and is brought over when it is back.
	if err := d.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	fourth := r.signing()
	t.Log(r.must("ca", "rotate", "fleet-ca", "--now", "--without", "host-d", "--wait"))
	for who, got := range r.trusted(b, c) {
		if slices.Contains(got, fourth) {
			t.Errorf("with a host off: %s trusts the old CA", who)
		}
	}
	if err := d.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "host-d to be brought over", 2*time.Minute, func() bool {
		row := r.row("docker@host-d")
		return row.Status == "valid" && row.Hosts[0].State == "verified" && !slices.Contains(r.trusted(d)["host-d"], fourth)
	})
	if out, err := r.docker(d, true, "info", "--format", "{{.Name}}"); err != nil || strings.TrimSpace(out) != "host-d" {
		t.Errorf("host-d, which was off: %v\n%s", err, out)
	}

	library.await(t, 3)
	command.await(t, 3)
	for who, client := range map[string]*calls{"Python's docker": library, "docker": command} {
		for _, text := range client.refused() {
			t.Errorf("%s was refused: %s", who, text)
		}
		t.Logf("%s: %d calls", who, len(client.made))
	}
}

// TestAStepCAIsReplacedUnderDockersClients: the intermediate of a step-ca is replaced, and
// then the whole step-ca by another one that vouches for no root but its own.
func TestAStepCAIsReplacedUnderDockersClients(t *testing.T) {
	first, second := newStepProcess(t), newStepProcess(t)
	hosts := testhosts.Start(t, "host-b", "host-c")
	r := &rotated{operator: newOperator(t), hosts: hosts}
	r.fleet(hosts, strings.ReplaceAll(rotatedCertificates, ", host-d", ""))
	file := filepath.Join(r.dir, "renewer.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	under := func(ca *stepProcess) {
		step := strings.NewReplacer("URL", ca.URL, "FINGERPRINT", ca.Fingerprint, "PASSWORD", ca.PasswordFile).Replace(
			`{type: step-ca, url: "URL", root_fingerprint: FINGERPRINT, provisioner: renewer, password_file: PASSWORD}`)
		write(t, file, strings.Replace(string(text), "{type: local}", step, 1)+"defaults: {lifetime: 12h}\n")
	}
	under(first)
	for _, h := range hosts {
		r.must("host", "setup", h.Name, "--yes")
	}
	r.must("run", "--once")
	library, command := r.python(hosts[0]), r.cli(hosts[1])
	library.await(t, 3)
	command.await(t, 3)

	first.kill()
	if err := first.NewIntermediate(); err != nil {
		t.Fatal(err)
	}
	first.start()
	t.Log(r.must("renew", "--all"))

	under(second)
	want := []string{second.Fingerprint}
	await(t, "the new root alone", 3*time.Minute, func() bool {
		r.must("run", "--once")
		for _, got := range r.trusted(hosts...) {
			if !slices.Equal(got, want) {
				return false
			}
		}
		return true
	})
	library.await(t, 3)
	command.await(t, 3)
	for who, client := range map[string]*calls{"Python's docker": library, "docker": command} {
		for _, text := range client.refused() {
			t.Errorf("%s was refused: %s", who, text)
		}
		t.Logf("%s: %d calls", who, len(client.made))
	}
}

// TestACAIsReplacedUnderARunningDaguCluster: no run is lost, and none is refused.
func TestACAIsReplacedUnderARunningDaguCluster(t *testing.T) {
	c := startCluster(t, "host-b", "host-c", "host-d")
	o := newOperator(t)
	o.fleet(c.hosts, daguCertificates)
	o.must("ca", "init")
	c.start() // in vain, without certificates
	o.must("run", "--once")
	r := &rotated{operator: o}
	before := r.signing()
	o.must("ca", "rotate", "fleet-ca", "--now")
	over := func() bool {
		out, err := o.try("ca", "show")
		return err == nil && strings.Contains(out, "stage:         done")
	}
	for range 8 {
		c.dispatch(3, false)
		t.Log(o.try("run", "--once"))
		c.finish() // and fails if a run was lost
		t.Log(o.must("run", "--once"))
		if over() {
			break
		}
	}
	if !over() || r.signing() == before {
		t.Fatalf("it is not over: %s", o.must("ca", "show"))
	}
	for i, name := range []string{"coordinator.crt", "worker.crt", "worker.crt"} {
		ca := map[bool]string{true: "client-ca.crt", false: "server-ca.crt"}[i == 0]
		data, err := c.hosts[i].ReadFile(t.Context(), "/etc/dagu/tls/"+ca)
		if err != nil {
			t.Fatal(err)
		}
		if got := roots(data); !slices.Equal(got, []string{r.signing()}) {
			t.Errorf("%s trusts %v beside %s", c.hosts[i].Name, got, name)
		}
	}
	c.dispatch(1, false)
	c.finish()
}
