//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/dagupeer"
	"renewer/internal/testhosts"
)

// cluster is a Dagu cluster on hosts: coordinator and scheduler on the first,
// a worker on each, every one of them a unit of its own.
type cluster struct {
	t     *testing.T
	hosts []*testhosts.Host
	batch int
}

const daguDir = "/var/lib/dagu"

func startCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "dagupeer")
	if out, err := exec.Command("go", "build", "-o", exe, "./dagupeer").CombinedOutput(); err != nil {
		t.Fatalf("build dagupeer: %v\n%s", err, out)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, hosts: testhosts.Start(t, names...)}
	first := c.hosts[0].Name
	for i, h := range c.hosts {
		run(t, h, "useradd", "--system", "--home-dir", daguDir, "--create-home", "dagu")
		run(t, h, "install", "-d", "-o", "dagu", "-m", "0700", daguDir+"/spool", daguDir+"/registry")
		if err := h.WriteFile(t.Context(), "/usr/local/bin/dagupeer", program, 0o755); err != nil {
			t.Fatal(err)
		}
		id := ""
		if i == 1 { // the others are named after their host and process
			id = " --worker.id=second"
		}
		c.unit(h, "dagu-worker", "worker"+id+" --worker.max-active-runs=2 --worker.coordinators="+first+":50055", "worker", "server-ca.crt")
		if i == 0 {
			c.unit(h, "dagu-coordinator", "coordinator --coordinator.host=0.0.0.0 --registry="+daguDir+"/registry --health=0.0.0.0:8091 --dir="+daguDir, "coordinator", "client-ca.crt")
			c.unit(h, "dagu-scheduler", "scheduler --registry="+daguDir+"/registry --dir="+daguDir+"/spool", "peer-client", "peer-client-ca.crt")
		}
		run(t, h, "systemctl", "daemon-reload")
	}
	return c
}

func (c *cluster) unit(h *testhosts.Host, name, command, pair, ca string) {
	c.t.Helper()
	text := fmt.Sprintf(`[Service]
User=dagu
ExecStart=/usr/local/bin/dagupeer %s
Environment=DAGU_PEER_INSECURE=false DAGU_PEER_CERT_FILE=/etc/dagu/tls/%s.crt DAGU_PEER_KEY_FILE=/etc/dagu/tls/%s.key DAGU_PEER_CLIENT_CA_FILE=/etc/dagu/tls/%s
Restart=on-failure
`, command, pair, pair, ca)
	if err := h.WriteFile(c.t.Context(), "/etc/systemd/system/"+name+".service", []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) start() {
	c.t.Helper()
	run(c.t, c.hosts[0], "systemctl", "start", "dagu-coordinator", "dagu-scheduler")
	for _, h := range c.hosts {
		run(c.t, h, "systemctl", "start", "dagu-worker")
	}
}

func (c *cluster) runs() (runs []dagupeer.Run) {
	c.t.Helper()
	text, err := c.hosts[0].ReadFile(c.t.Context(), dagupeer.RunsFile(daguDir))
	if err == nil {
		err = json.Unmarshal(text, &runs)
	}
	if err != nil {
		c.t.Logf("runs: %v", err)
	}
	return runs
}

// perWorker is how many runs each worker takes at once.
const perWorker = 2

// dispatch gives every worker its runs, and returns when all of them are under way.
// Those that wait have no process.
func (c *cluster) dispatch(seconds int, wait bool) {
	c.t.Helper()
	c.batch++
	for i := range perWorker * len(c.hosts) {
		file := fmt.Sprintf("%s/spool/%d-%d", daguDir, c.batch, i)
		run(c.t, c.hosts[0], "sh", "-c", `echo "$1" >"$2" && chown dagu "$2" && mv "$2" "$2.run"`, "sh", fmt.Sprintf(`{"seconds": %d, "wait": %t}`, seconds, wait), file)
	}
	c.await(fmt.Sprintf("batch %d under way", c.batch), func(runs []dagupeer.Run) bool {
		return len(runs) == c.all() && c.count(runs, dagupeer.Running) == perWorker*len(c.hosts)
	})
}

// all is how many runs there were.
func (c *cluster) all() int { return c.batch * perWorker * len(c.hosts) }

func (c *cluster) count(runs []dagupeer.Run, status string) (n int) {
	for _, r := range runs {
		if r.Status == status {
			n++
		}
	}
	return n
}

func (c *cluster) await(what string, holds func([]dagupeer.Run) bool) {
	c.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !holds(c.runs()); <-time.After(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not within 40 s: %+v", what, c.runs())
		}
	}
}

// finish returns when no run is under way, and fails the test if one was lost.
func (c *cluster) finish() {
	c.t.Helper()
	c.await("runs over", func(runs []dagupeer.Run) bool {
		return c.count(runs, dagupeer.Running)+c.count(runs, dagupeer.Queued) == 0
	})
	runs := c.runs()
	if lost := slices.DeleteFunc(slices.Clone(runs), func(r dagupeer.Run) bool { return r.Status == dagupeer.Succeeded }); len(lost) > 0 || len(runs) != c.all() {
		c.t.Fatalf("of %d runs these were lost: %+v", c.all(), lost)
	}
}

// rules keep the hosts from the coordinator.
func (c *cluster) rules() string {
	var rules []string
	for _, h := range c.hosts {
		rules = append(rules, "iptables -A INPUT -p tcp --dport 50055 -s "+h.Address+" -j REJECT --reject-with tcp-reset")
	}
	return strings.Join(rules, " && ")
}

// started is when a unit was last started.
func started(t *testing.T, h *testhosts.Host, unit string) string {
	t.Helper()
	return run(t, h, "systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", unit)
}

const daguCertificates = `  - {name: coordinator, issuer: fleet-ca, profile: dagu-coordinator, hosts: [host-b], peer_group: dagu, activate: {systemd: {units: [dagu-coordinator.service], budget: 25s}}}
  - {name: worker, issuer: fleet-ca, profile: dagu-worker, hosts: [host-b, host-c, host-d], per_host: true, peer_group: dagu, dials: ["host-b:50055"]}
  - {name: scheduler, issuer: fleet-ca, profile: dagu-client, hosts: [host-b], peer_group: dagu, dials: ["host-b:50055"], activate: {systemd: {units: [dagu-scheduler.service]}}}
`

// TestDaguClusterLosesNoRun renews every certificate of a cluster twice with
// work in flight, and then shows that a certificate which the workers could not
// accept never reaches them.
func TestDaguClusterLosesNoRun(t *testing.T) {
	c := startCluster(t, "host-b", "host-c", "host-d")
	o := newOperator(t)
	o.fleet(c.hosts, daguCertificates)
	o.must("ca", "init")
	c.start() // in vain, without certificates; a unit that failed is activated like one that runs
	o.must("run", "--once")
	names := []string{"coordinator", "scheduler", "worker@host-b", "worker@host-c", "worker@host-d"}
	for _, name := range names {
		if r := o.row(name); r.Status != "valid" || r.Hosts[0].State != "verified" {
			t.Fatalf("at first %s: %+v", name, r)
		}
	}
	for round := 2; round <= 3; round++ {
		noProcess := round == 3
		c.dispatch(10, noProcess)
		before := started(t, c.hosts[0], "dagu-coordinator")
		worker := started(t, c.hosts[1], "dagu-worker")
		out := o.must("renew", "--all")
		t.Log(out)
		for _, worker := range []string{"host-b", "second", "host-d"} {
			left := 2 * perWorker // a task and its process
			if noProcess {
				left = perWorker
			}
			if says := fmt.Sprintf("waiting until no tasks of worker %s and child processes of dagu-worker.service are left (%d now)", worker, left); !strings.Contains(out, says) {
				t.Errorf("renew of busy workers, without %q: %s", says, out)
			}
		}
		if c.count(c.runs(), dagupeer.Running) == 0 {
			t.Error("no run was under way while the coordinator was restarted: the test shows nothing")
		}
		if started(t, c.hosts[0], "dagu-coordinator") == before {
			t.Error("the coordinator was not restarted")
		}
		expect(t, started(t, c.hosts[1], "dagu-worker"), worker)
		c.finish()
		t.Log(o.mustThroughKills(5, "run", "--once"))
		o.serversFirst(round)
		for _, name := range names {
			if r := o.row(name); r.Generation != round || r.Status != "valid" || r.Hosts[0].State != "verified" {
				t.Errorf("round %d, %s: %+v", round, name, r)
			}
		}
		if started(t, c.hosts[1], "dagu-worker") == worker {
			t.Error("an idle worker was not restarted")
		}
	}

	// The doctor is content, until the environment of a worker is not as it should be.
	if out, err := o.try("doctor", "host-c", "-o", "json"); err != nil || !strings.Contains(out, "host-b, which is covered") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	run(t, c.hosts[1], "mkdir", "-p", "/etc/systemd/system/dagu-worker.service.d")
	if err := c.hosts[1].WriteFile(t.Context(), "/etc/systemd/system/dagu-worker.service.d/test.conf", []byte("[Service]\nEnvironment=DAGU_PEER_INSECURE=true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, c.hosts[1], "systemctl", "daemon-reload")
	if out, err := o.try("doctor", "host-c"); err == nil || !strings.Contains(out, "peer.insecure is on") {
		t.Errorf("doctor of a worker that dials in plaintext: %v\n%s", err, out)
	}
	run(t, c.hosts[1], "rm", "/etc/systemd/system/dagu-worker.service.d/test.conf")
	run(t, c.hosts[1], "systemctl", "daemon-reload")

	// A coordinator that cannot start on what is new: the old one is back within
	// the budget, and the runs that were under way go on.
	was := o.row("coordinator")
	c.dispatch(6, true)
	current := "/etc/dagu/tls/.renewer/coordinator/current"
	run(t, c.hosts[0], "mkdir", "-p", "/etc/systemd/system/dagu-coordinator.service.d")
	if err := c.hosts[0].WriteFile(t.Context(), "/etc/systemd/system/dagu-coordinator.service.d/test.conf",
		[]byte("[Service]\nExecStartPre=/bin/sh -c 'test \"$(readlink "+current+")\" = "+run(t, c.hosts[0], "readlink", current)+"'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, c.hosts[0], "systemctl", "daemon-reload")
	if out, err := o.try("renew", "coordinator"); err == nil {
		t.Errorf("renewed although the coordinator could not start:\n%s", out)
	}
	if r := o.row("coordinator"); r.Status != "blocked" || r.Hosts[0].State != "rolled_back" || r.Hosts[0].Served != was.Fingerprint {
		t.Errorf("after a restore: %+v", r)
	}
	if out := o.must("history", "coordinator"); !strings.Contains(out, "of a restart budget of 25s") || strings.Contains(out, "budget_exceeded") {
		t.Errorf("the budget: %s", out)
	}
	c.finish()
	run(t, c.hosts[0], "rm", "/etc/systemd/system/dagu-coordinator.service.d/test.conf")
	run(t, c.hosts[0], "systemctl", "daemon-reload")

	// A coordinator that its workers cannot reach any more, for all that renewer sees of
	// it: none of them comes back, so what was there before does.
	if err := c.hosts[0].WriteFile(t.Context(), "/etc/systemd/system/dagu-coordinator.service.d/test.conf", []byte(strings.NewReplacer("CURRENT", current, "WAS", run(t, c.hosts[0], "readlink", current)).Replace("[Service]\nExecStartPost=+/bin/sh -c 'if test \"$(readlink CURRENT)\" = WAS; then iptables -F INPUT; else "+c.rules()+"; fi'\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, c.hosts[0], "systemctl", "daemon-reload")
	if out, err := o.try("renew", "coordinator"); err == nil || !strings.Contains(out, "none of the 3 workers that coordinator had on host-b has reconnected") {
		t.Errorf("renewed although no worker came back: %v\n%s", err, out)
	}
	if r := o.row("coordinator"); r.Hosts[0].State != "rolled_back" || r.Hosts[0].Served != was.Fingerprint {
		t.Errorf("without workers: %+v", r)
	}
	run(t, c.hosts[0], "rm", "/etc/systemd/system/dagu-coordinator.service.d/test.conf")
	run(t, c.hosts[0], "systemctl", "daemon-reload")

	// A certificate that misses what is dialled: the fleet file is refused where
	// it says who dials what, and what was issued is refused before a restart.
	c.dispatch(3, false)
	before := started(t, c.hosts[0], "dagu-coordinator")
	missing := strings.Replace(daguCertificates, "hosts: [host-b], peer_group: dagu,", "hosts: [host-b], peer_group: dagu, default_sans: false, sans: [elsewhere.example.com],", 1)
	o.fleet(c.hosts, missing)
	if out, err := o.try("check"); err == nil || !strings.Contains(out, `dials "host-b:50055", which no server of group dagu covers: coordinator has elsewhere.example.com`) {
		t.Errorf("check: %v\n%s", err, out)
	}
	o.fleet(c.hosts, strings.ReplaceAll(missing, `, dials: ["host-b:50055"]`, ""))
	if out, err := o.try("run", "--once"); err == nil {
		t.Errorf("a certificate that misses %s:\n%s", c.hosts[0].Address, out)
	}
	if out := o.must("history", "coordinator", "-o", "json"); !strings.Contains(out, "peers connect to "+c.hosts[0].Address+", but it covers only elsewhere.example.com") {
		t.Errorf("no event says which address is not covered: %s", out)
	}
	if r := o.row("coordinator"); r.Status != "blocked" || r.Fingerprint != was.Fingerprint {
		t.Errorf("after it: %+v", r)
	}
	expect(t, started(t, c.hosts[0], "dagu-coordinator"), before)
	c.finish()
}

// serversFirst checks in the audit log that no client was activated before the
// coordinator was proven with its generation.
func (o operator) serversFirst(generation int) {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), o.exe, "--config", filepath.Join(o.dir, "renewer.yaml"), "history", "-o", "json")
	out, err := cmd.Output()
	if err != nil {
		o.t.Fatal(err)
	}
	var events []struct {
		Seq         uint64 `json:"seq"`
		Type        string `json:"type"`
		Certificate string `json:"certificate"`
		Generation  int    `json:"generation"`
	}
	if err := json.Unmarshal(out, &events); err != nil {
		o.t.Fatalf("%v\n%s", err, out)
	}
	var server, client uint64
	for _, e := range events {
		switch {
		case e.Generation != generation:
		case e.Certificate == "coordinator" && e.Type == "verified":
			server = e.Seq
		case e.Certificate != "coordinator" && e.Type == "activated" && (client == 0 || e.Seq < client):
			client = e.Seq
		}
	}
	if server == 0 || client == 0 || client < server {
		o.t.Errorf("generation %d: the coordinator was proven at event %d, the first client activated at %d", generation, server, client)
	}
}
