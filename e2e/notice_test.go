//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"renewer/internal/testhosts"
)

// message is one problem in a message of renewer's own.
type message struct {
	Kind        string `json:"kind"`
	Certificate string `json:"certificate"`
	Host        string `json:"host"`
	Issuer      string `json:"issuer"`
	Command     string `json:"command"`
}

func (t message) String() string {
	return strings.Join([]string{t.Kind, t.Certificate, t.Host, t.Issuer, t.Command}, "|")
}

// receiver is a channel's webhook that remembers.
type receiver struct {
	*httptest.Server
	mu             sync.Mutex
	open, resolved []string
	texts          []string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var m struct {
			Text           string
			Open, Resolved []message
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<20)).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.texts = append(r.texts, m.Text)
		for _, t := range m.Open {
			r.open = append(r.open, t.String())
		}
		for _, t := range m.Resolved {
			r.resolved = append(r.resolved, t.String())
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// heard counts how often a problem was reported, and reported as resolved.
func (r *receiver) heard(what string) (open, resolved int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return count(r.open, what), count(r.resolved, what)
}

func count(list []string, what string) (n int) {
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}

// page returns what a page of the daemon says.
func page(t *testing.T, address, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
	return string(text)
}

// attention is the section of the first page that lists what needs attention.
func attention(t *testing.T, address string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page(t, address, "/"), `<section id="problems"`)
	if !ok {
		return ""
	}
	section, _, _ := strings.Cut(rest, "</section>")
	return section
}

// inTime are the shipped rules, with seconds for the minutes that they wait
// and look back.
func inTime(t *testing.T) string {
	t.Helper()
	shipped, err := os.ReadFile("../configs/prometheus/renewer.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`for: \d+[mh]\n`).ReplaceAllString(string(shipped), "for: 2s\n")
	return strings.NewReplacer("[15m]", "[15s]", "[1h]", "[30s]", "< 3600", "< 30").Replace(text)
}

// TestOperatorIsNotifiedInTime: a host's dockerd is stopped, an issuer is stopped,
// a certificate is replaced by hand. Each is on the page, in the metrics, in an
// alert and in one message, with the command that helps; and each is resolved in
// all four once it was fixed. That somebody is gone is found by the check:
// the probe, once an hour, does not run meanwhile.
func TestOperatorIsNotifiedInTime(t *testing.T) {
	hosts := testhosts.Start(t, "host-b", "host-c")
	b, c := hosts[0], hosts[1]
	ca := newStepProcess(t)
	o := newOperator(t)
	webhook, channel := newOnCall(t), newReceiver(t)
	ports := freePorts(t, 3)
	metrics, prometheus, alertmanager := ports[0], ports[1], ports[2]
	write(t, filepath.Join(o.dir, "hook"), channel.URL+"\n")
	fleet := func(probe string) {
		var entries strings.Builder
		for _, h := range hosts {
			fmt.Fprintf(&entries, "  %s: {address: %s, user: %s, sudo: true, identity_file: %s, known_hosts_file: %s}\n", h.Name, h.Address, testhosts.User, h.IdentityFile, h.KnownHosts)
		}
		write(t, filepath.Join(o.dir, "renewer.yaml"), strings.NewReplacer("DIR", o.dir, "METRICS", metrics, "PROBE", probe, "HOSTS\n", entries.String(),
			"URL", ca.URL, "FINGERPRINT", ca.Fingerprint, "PASSWORD", ca.PasswordFile,
			"HOUR", strconv.Itoa((time.Now().UTC().Hour()+12)%24)).Replace(`state_dir: DIR/state
http: {listen: "METRICS"}
schedule: {check: "@every 2s", probe: "PROBE"}
issuers:
  fleet-ca: {type: local}
  corp: {type: step-ca, url: "URL", root_fingerprint: FINGERPRINT, provisioner: renewer, password_file: PASSWORD}
hosts:
  host-a: {type: local}
HOSTS
certificates:
  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [host-b, host-c], per_host: true, window: nightly}
  - {name: dagster-client, issuer: fleet-ca, profile: docker-client, hosts: [host-a], dir: DIR/client}
  - {name: web, issuer: corp, profile: files, hosts: [host-a], dir: DIR/web, lifetime: 24h}
windows:
  nightly: {cron: "0 HOUR * * *", duration: 1h}
notify:
  - {name: hook, webhook: {url_file: DIR/hook}}
`))
	}
	fleet("@every 1h")
	o.must("ca", "init", "fleet-ca")
	for _, h := range hosts {
		o.must("host", "setup", h.Name, "--yes")
	}
	o.must("renew", "--all")
	daemon := start(t, o.exe, "--config", filepath.Join(o.dir, "renewer.yaml"), "run")
	await(t, "the daemon", time.Minute, func() bool {
		return shows(metrics, `renewer_host_up{host="host-c"} 1`) && shows(metrics, `renewer_issuer_up{issuer="corp"} 1`)
	})
	if text := attention(t, metrics); text != "" {
		t.Fatalf("at first:\n%s", text)
	}
	write(t, filepath.Join(o.dir, "alertmanager.yml"), fmt.Sprintf(`route: {receiver: on-call, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}
receivers:
  - name: on-call
    webhook_configs: [{url: %q, send_resolved: true}]
`, webhook.URL))
	write(t, filepath.Join(o.dir, "renewer.rules.yml"), inTime(t))
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
	await(t, "Prometheus", time.Minute, func() bool { return len(series(t, prometheus, "renewer_build_info", false)) == 1 })

	problems := []struct {
		what                    string
		breaks, mends           func()
		metric, well            string // a line of the metrics while it lasts, and afterwards
		page                    []string
		alert, label, of, first string // the alert, one of its labels, and its command
		message                 message
		over                    message
	}{
		{
			what:   "dockerd is stopped",
			breaks: func() { run(t, b, "systemctl", "stop", "docker.socket", "docker.service") },
			mends:  func() { run(t, b, "systemctl", "start", "docker.socket", "docker.service") },
			metric: `renewer_served_matches{certificate="docker@host-b",host="host-b"} 0`, well: `renewer_served_matches{certificate="docker@host-b",host="host-b"} 1`,
			page:  []string{"docker@host-b", "renewer doctor host-b"},
			alert: "RenewerServedUnproven", label: "certificate", of: "docker@host-b", first: "renewer doctor host-b",
			message: message{Kind: "unreachable", Certificate: "docker@host-b", Host: "host-b", Command: "renewer doctor host-b"},
			over:    message{Kind: "unreachable", Certificate: "docker@host-b", Host: "host-b", Command: "renewer show docker@host-b"},
		},
		{
			what: "an issuer is stopped", breaks: ca.kill, mends: ca.start,
			metric: `renewer_issuer_up{issuer="corp"} 0`, well: `renewer_issuer_up{issuer="corp"} 1`,
			page:  []string{"corp", "renewer check --online"},
			alert: "RenewerIssuerDown", label: "issuer", of: "corp", first: "renewer check --online",
			message: message{Kind: "issuer_down", Issuer: "corp", Command: "renewer check --online"},
			over:    message{Kind: "issuer_down", Issuer: "corp", Command: "renewer status"},
		},
		{
			what: "a certificate is replaced by hand", breaks: func() {
				run(t, c, "sh", "-c", `cd "$1" && openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=by-hand -keyout k -out c 2>/dev/null && mv k server-key.pem && mv c server-cert.pem`, "sh", dockerDir)
				restart(t, c)
				fleet("@every 3s") // what is served is the probe's to see
				if err := daemon.cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
			},
			// Its window is closed, so it needs manual action.
			mends:  func() { t.Log(o.must("renew", "docker@host-c")) },
			metric: `renewer_served_matches{certificate="docker@host-c",host="host-c"} 0`, well: `renewer_served_matches{certificate="docker@host-c",host="host-c"} 1`,
			page:  []string{"docker@host-c", "renewer verify docker@host-c"},
			alert: "RenewerServedDiffers", label: "certificate", of: "docker@host-c", first: "renewer verify docker@host-c",
			message: message{Kind: "drifted", Certificate: "docker@host-c", Host: "host-c", Command: "renewer verify docker@host-c"},
			over:    message{Kind: "drifted", Certificate: "docker@host-c", Host: "host-c", Command: "renewer show docker@host-c"},
		},
	}
	for i, x := range problems {
		x.breaks()
		if i == 1 { // before the probe is made to run often
			for _, x := range problems[:2] {
				await(t, x.what+": the metrics, by the check alone", 30*time.Second, func() bool { return shows(metrics, x.metric) })
			}
		}
	}
	firing := func(name, label, of string) string {
		for _, a := range webhook.about(name) {
			if a.Labels[label] == of {
				return a.Status
			}
		}
		return ""
	}
	for _, x := range problems {
		await(t, x.what+": the metrics", 90*time.Second, func() bool { return shows(metrics, x.metric) })
		await(t, x.what+": the page", 30*time.Second, func() bool {
			text := attention(t, metrics)
			for _, s := range x.page {
				if !strings.Contains(text, s) {
					return false
				}
			}
			return strings.Contains(text, "<code")
		})
		await(t, x.what+": the alert", time.Minute, func() bool { return firing(x.alert, x.label, x.of) == "firing" })
		for _, a := range webhook.about(x.alert) {
			if a.Labels[x.label] == x.of {
				expect(t, a.Annotations["command"], x.first)
			}
		}
		await(t, x.what+": the message", 2*time.Minute, func() bool { n, _ := channel.heard(x.message.String()); return n > 0 })
	}
	dashboard(t, prometheus, false, "With problems", "Not as issued", "Issuers", "State by host")
	for _, x := range problems {
		x.mends()
	}
	for _, x := range problems {
		await(t, x.what+", fixed: the metrics", 90*time.Second, func() bool { return shows(metrics, x.well) && !shows(metrics, x.metric) })
		await(t, x.what+", fixed: the alert", time.Minute, func() bool { return firing(x.alert, x.label, x.of) == "resolved" })
		await(t, x.what+", fixed: the message", 3*time.Minute, func() bool { _, n := channel.heard(x.over.String()); return n > 0 })
		open, _ := channel.heard(x.message.String())
		if _, resolved := channel.heard(x.over.String()); open != 1 || resolved != 1 {
			t.Errorf("%s: reported %d times, and resolved %d times", x.what, open, resolved)
		}
	}
	await(t, "a page without problems", time.Minute, func() bool { return attention(t, metrics) == "" })
	channel.mu.Lock()
	if n := len(channel.texts); n > 4 {
		t.Errorf("%d messages", n)
	}
	for _, text := range channel.texts {
		if !strings.Contains(text, "run: renewer ") {
			t.Errorf("a message without a command:\n%s", text)
		}
		t.Log(text)
	}
	channel.mu.Unlock()
	o.must("renew", "web") // a time that an order and a rollout take
	daemon.end()
	start(t, o.exe, "--config", filepath.Join(o.dir, "renewer.yaml"), "run")
	await(t, "the daemon to be back", time.Minute, func() bool { return shows(metrics, `renewer_issuer_up{issuer="corp"} 1`) })
	await(t, "the daemon to be scraped", time.Minute, func() bool {
		return len(series(t, prometheus, "renewer_ca_not_after_timestamp_seconds", false)) > 0 && len(series(t, prometheus, "renewer_channel_failing_since_timestamp_seconds", false)) > 0
	})
	await(t, "a restart on the dashboard", time.Minute, func() bool {
		return len(series(t, prometheus, `changes(process_start_time_seconds[2m]) > 0`, false)) > 0
	})
	dashboard(t, prometheus, true, "Valid", "Renewals", "Rollouts", "Time an order takes", "Time a service is away", "Hosts", "Notifications")
}
