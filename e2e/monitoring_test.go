//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// alert is what Alertmanager tells a webhook.
type alert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// onCall is a webhook that remembers.
type onCall struct {
	*httptest.Server
	mu   sync.Mutex
	told []alert
}

func newOnCall(t *testing.T) *onCall {
	o := &onCall{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Alerts []alert `json:"alerts"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.told = append(o.told, body.Alerts...)
	}))
	t.Cleanup(o.Close)
	return o
}

// last returns the last word about an alert.
func (o *onCall) last(name string) (a alert) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, told := range o.told {
		if told.Labels["alertname"] == name {
			a = told
		}
	}
	return a
}

// about returns the last word about each alert of a name, by its labels.
func (o *onCall) about(name string) (all []alert) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := map[string]alert{}
	for _, told := range o.told {
		if told.Labels["alertname"] == name {
			last[fmt.Sprint(told.Labels)] = told // maps are printed in order
		}
	}
	for _, a := range last {
		all = append(all, a)
	}
	return all
}

// TestOperatorIsNotified runs the shipped rules in a real Prometheus that scrapes
// a real daemon, with Alertmanager behind it. A certificate of less than a
// minute cannot be brought to its host any more and expires; each alert on the
// way arrives, and ends when the host is fixed. Then the daemon ends. The rules are those that are shipped but for
// `for: 5m`, which is 2s here; they are evaluated each second instead of each
// minute.
func TestOperatorIsNotified(t *testing.T) {
	o := newOperator(t)
	webhook := newOnCall(t)
	ports := freePorts(t, 4)
	metrics, service, prometheus, alertmanager := ports[0], ports[1], ports[2], ports[3]
	tls, pid := filepath.Join(o.dir, "tls"), filepath.Join(o.dir, "web.pid")
	write(t, filepath.Join(o.dir, "renewer.yaml"), fmt.Sprintf(`state_dir: %s/state
http: {listen: %q}
schedule: {check: "@every 1s", probe: "@every 2s"}
issuers: {fleet-ca: {type: local}}
hosts: {here: {type: local, address: 127.0.0.1}}
certificates:
  - name: web
    issuer: fleet-ca
    profile: files
    hosts: [here]
    dir: %s
    sans: [localhost, 127.0.0.1]
    lifetime: 40s
    renew_at: 50%%
    activate: {signal: {pid_file: %s, signal: HUP}}
    probe: {tls: {address: %q, server_name: localhost, mutual: true}}
`, o.dir, metrics, tls, pid, service))
	o.must("ca", "init")
	if err := os.MkdirAll(tls, 0o755); err != nil {
		t.Fatal(err)
	}

	tlsservice := filepath.Join(o.dir, "tlsservice")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", tlsservice, "../examples/tlsservice").CombinedOutput(); err != nil {
		t.Fatalf("build the service: %v\n%s", err, out)
	}
	start(t, tlsservice, "-listen", service, "-dir", tls, "-pid-file", pid)
	daemon := start(t, o.exe, "--config", filepath.Join(o.dir, "renewer.yaml"), "run")
	await(t, "a proven certificate", time.Minute, func() bool { return shows(metrics, `renewer_served_matches{certificate="web",host="here"} 1`) })

	write(t, filepath.Join(o.dir, "alertmanager.yml"), fmt.Sprintf(`route: {receiver: on-call, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}
receivers:
  - name: on-call
    webhook_configs: [{url: %q, send_resolved: true}]
`, webhook.URL))
	shipped, err := os.ReadFile("../configs/prometheus/renewer.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(o.dir, "renewer.rules.yml"), strings.ReplaceAll(string(shipped), "for: 5m\n", "for: 2s\n"))
	write(t, filepath.Join(o.dir, "prometheus.yml"), fmt.Sprintf(`global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [renewer.rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs:
  - job_name: renewer
    static_configs: [{targets: [%q]}]
`, alertmanager, metrics))
	start(t, debian(t, "prometheus-alertmanager"), "--config.file", filepath.Join(o.dir, "alertmanager.yml"), "--web.listen-address", alertmanager,
		"--storage.path", filepath.Join(o.dir, "alerts"), "--cluster.listen-address=")
	start(t, debian(t, "prometheus"), "--config.file", filepath.Join(o.dir, "prometheus.yml"), "--web.listen-address", prometheus,
		"--storage.tsdb.path", filepath.Join(o.dir, "tsdb"))

	// A file where the staging directory was: whatever is issued, nothing of it
	// gets there.
	staging := filepath.Join(tls, ".renewer")
	if err := os.Rename(staging, staging+".away"); err != nil {
		t.Fatal(err)
	}
	write(t, staging, "")
	for _, name := range []string{"RenewerRenewalOverdue", "RenewerCertificateExpiring", "RenewerCertificateExpired"} {
		await(t, name, 2*time.Minute, func() bool { return webhook.last(name).Status != "" })
		a := webhook.last(name)
		expect(t, a.Labels["certificate"], "web")
		expect(t, a.Annotations["command"], "renewer show web")
		t.Logf("%s: %s", name, a.Annotations["summary"])
	}
	expect(t, webhook.last("RenewerCertificateExpired").Labels["severity"], "critical")

	for _, err := range []error{os.Remove(staging), os.Rename(staging+".away", staging)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Log(o.must("renew", "web"))
	// Its certificates expire within the minute again, so only problems of the
	// past stay resolved.
	await(t, "the end of the alert", 2*time.Minute, func() bool { return webhook.last("RenewerCertificateExpired").Status == "resolved" })

	if a := webhook.last("RenewerDown"); a.Status != "" {
		t.Errorf("before the daemon ended: %+v", a)
	}
	daemon.end()
	await(t, "RenewerDown", time.Minute, func() bool { return webhook.last("RenewerDown").Status == "firing" })
	expect(t, webhook.last("RenewerAbsent").Status, "")
	start(t, o.exe, "--config", filepath.Join(o.dir, "renewer.yaml"), "run")
	await(t, "the daemon to be back", time.Minute, func() bool { return webhook.last("RenewerDown").Status == "resolved" })
}

// debian is one of the programs that e2e/install unpacks.
func debian(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: e2e/install unpacks it, and make e2e knows where", err)
	}
	return path
}

type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	once sync.Once
}

// start starts a program that ends with the test; its last words are shown if
// the test fails.
func start(t *testing.T, path string, argv ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.CommandContext(context.WithoutCancel(t.Context()), path, argv...)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.end()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), text[max(0, len(text)-4000):])
		}
	})
	return p
}

func (p *process) end() {
	p.once.Do(func() {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			p.t.Errorf("end %s: %v", p.cmd.Path, err)
		}
		late := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		_ = p.cmd.Wait() // how it ends is its own matter
	})
}

func freePorts(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all of them are taken at once, so none comes twice
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

func await(t *testing.T, what string, within time.Duration, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.After(within)
	for !yes() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// shows reports whether the metrics at an address have a line.
func shows(address, line string) bool {
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(text), line+"\n")
}
