//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"renewer/internal/testhosts"
)

// operator is somebody with a fleet file and the renewer command.
type operator struct {
	t   *testing.T
	exe string
	dir string
}

// built is the command, built once. It lies in memory, in a directory that goes
// with the tests' namespaces.
var built = sync.OnceValues(func() (string, error) {
	const exe = "/run/renewer"
	if out, err := exec.Command("go", "build", "-o", exe, "../cmd/renewer").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build renewer: %w: %s", err, out)
	}
	return exe, nil
})

func newOperator(t *testing.T) operator {
	t.Helper()
	exe, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return operator{t: t, exe: exe, dir: t.TempDir()}
}

// with is the operator in a subtest.
func (o operator) with(t *testing.T) operator {
	o.t = t
	return o
}

func (o operator) command(argv ...string) *exec.Cmd {
	return exec.CommandContext(o.t.Context(), o.exe, append([]string{"--config", filepath.Join(o.dir, "renewer.yaml")}, argv...)...)
}

// try runs a command and returns what it printed, both streams.
func (o operator) try(argv ...string) (string, error) {
	out, err := o.command(argv...).CombinedOutput()
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

// mustThroughKills runs a command that is killed n times before it may end, at another
// moment each time.
func (o operator) mustThroughKills(n int, argv ...string) string {
	o.t.Helper()
	for i := range n {
		cmd := o.command(argv...)
		if err := cmd.Start(); err != nil {
			o.t.Fatal(err)
		}
		<-time.After(time.Duration(150+230*i) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	return o.must(argv...)
}

// fleet writes a fleet file about hosts. In the certificates DIR is the
// operator's directory. Keys are added to the hosts' entries.
func (o operator) fleet(hosts []*testhosts.Host, certificates string, keys ...string) {
	o.t.Helper()
	var b strings.Builder
	b.WriteString("state_dir: " + o.dir + "/state\nhttp: {listen: 127.0.0.1:0}\nissuers: {fleet-ca: {type: local}}\nhosts:\n  host-a: {type: local}\n")
	for _, h := range hosts {
		b.WriteString("  " + h.Name + ": {address: " + h.Address + ", user: " + testhosts.User + ", sudo: true, identity_file: " + h.IdentityFile + ", known_hosts_file: " + h.KnownHosts + strings.Join(append([]string{""}, keys...), ", ") + "}\n")
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
	out, err := o.command("list", "-o", "json").Output()
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
