//go:build e2e

package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testhosts"
)

// dockerHost is one host that serves Docker over TLS with a certificate of renewer.
func dockerHost(t *testing.T) (*testhosts.Host, operator) {
	t.Helper()
	hosts := testhosts.Start(t, "host-b")
	o := newOperator(t)
	o.fleet(hosts, guideOfOne)
	o.must("ca", "init")
	o.must("host", "setup", "host-b", "--yes")
	o.must("run", "--once")
	return hosts[0], o
}

// TestLookBeforeTouching is about one host, which is right again after each part.
func TestLookBeforeTouching(t *testing.T) {
	b, o := dockerHost(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, *testhosts.Host, operator)
	}{
		{"an edit that no one restarted for", anEditThatNobodyRestartedFor},
		{"what dockerd would refuse", whatDockerdWouldRefuse},
		{"a cause that has gone", aCauseThatHasGone},
		{"a firewall", aFirewall},
		{"a failure in the daemon's words", aFailureInTheDaemonsWords},
		{"what systemd would refuse", whatSystemdWouldRefuse},
		{"killed again and again", killedAgainAndAgain},
		{"a way back that is stuck", aWayBackThatIsStuck},
		{"a slow stop", aSlowStop},
		{"a service that is started later", aServiceThatIsStartedLater},
	} {
		t.Run(part.name, func(t *testing.T) {
			part.test(t, b, o.with(t))
			answers(t, b, o.with(t), "in the end")
		})
	}
}

// answers fails the test if docker does not answer a client of renewer.
func answers(t *testing.T, h *testhosts.Host, o operator, when string) {
	t.Helper()
	if out, err := o.docker(h, true, "info", "--format", "{{.Name}}"); err != nil || strings.TrimSpace(out) != h.Name {
		t.Errorf("%s: %v\n%s", when, err, out)
	}
}

// An edit of daemon.json that no one restarted for is seen before a restart: dockerd
// is never away, plan, check --online and doctor say it, and the printed fix works.
func anEditThatNobodyRestartedFor(t *testing.T, b *testhosts.Host, o operator) {
	was := lastStart(t, b)
	first := o.row("docker@host-b")
	run(t, b, "sed", "-i", `s/^{/{"hosts": ["tcp:\/\/0.0.0.0:2375"],/`, "/etc/docker/daemon.json")
	out, err := o.try("renew", "docker@host-b")
	if err == nil || !strings.Contains(out, `docker.service would not start again: "hosts" is in /etc/docker/daemon.json`) || !strings.Contains(out, "renewer host setup host-b fixes it") {
		t.Errorf("renew: %v\n%s", err, out)
	}
	expect(t, lastStart(t, b), was)
	answers(t, b, o, "after a renewal that was refused")
	if r := o.row("docker@host-b"); r.Status != "blocked" || r.Hosts[0].Served != first.Fingerprint {
		t.Errorf("row %+v", r)
	}
	for _, argv := range [][]string{{"check", "--online"}, {"doctor", "host-b"}} {
		if out, err := o.try(argv...); err == nil || !strings.Contains(out, `would not start again: "hosts"`) {
			t.Errorf("%v: %v\n%s", argv, err, out)
		}
	}
	if out := o.must("plan"); !strings.Contains(out, `would not start again: "hosts"`) {
		t.Errorf("plan: %s", out)
	}
	// Not by force either.
	if out, err := o.try("renew", "docker@host-b", "--force"); err == nil {
		t.Errorf("forced: %s", out)
	}
	expect(t, lastStart(t, b), was)
	o.must("host", "setup", "host-b", "--yes")
	answers(t, b, o, "after the printed fix")
	o.must("renew", "docker@host-b")
	if r := o.row("docker@host-b"); r.Status != "valid" || r.Fingerprint == first.Fingerprint || r.Hosts[0].Served != r.Fingerprint {
		t.Errorf("after the fix: %+v", r)
	}
	answers(t, b, o, "after the renewal")
}

// A daemon.json with which dockerd would not start, or would let in who has no certificate, is
// named before a renewal and before a setup, and dockerd is never away.
func whatDockerdWouldRefuse(t *testing.T, b *testhosts.Host, o operator) {
	const path = "/etc/docker/daemon.json"
	was, good := lastStart(t, b), run(t, b, "cat", path)
	edit := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("%s has no %s", good, from)
		}
		return strings.Replace(good, from, to, 1)
	}
	for _, tc := range []struct {
		says, text string
		setup      bool // fixes it
	}{
		{"must not be restarted: tcp://0.0.0.0:2376 would accept every client, without TLS", "{}", true},
		{"would accept clients without a certificate", edit(`"tlsverify": true`, `"tlsverify": false`), true},
		{"would accept certificates of every public CA", edit(`"tlscacert": "/etc/docker/tls/ca.pem",`, ""), true},
		{"is empty", "", true},
		{`"tlscacert" names /etc/docker/nope/ca.pem, which does not exist`, edit("tls/ca.pem", "nope/ca.pem"), true},
		{`"live-restore" is not true or false`, edit(`"live-restore": true`, `"live-restore": "yes"`), true},
		{`dockerd has no option "live-restor"`, edit("live-restore", "live-restor"), false},
		{`"log-level" has "loud"`, edit("{", `{"log-level": "loud", `), false},
		{`"bip" has "10.0.0.1"`, edit("{", `{"bip": "10.0.0.1", `), false},
	} {
		if err := b.WriteFile(t.Context(), path, []byte(tc.text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, argv := range [][]string{{"renew", "docker@host-b"}, {"doctor", "host-b"}, {"check", "--online"}} {
			if out, err := o.try(argv...); err == nil || !strings.Contains(out, tc.says) {
				t.Errorf("%v, %s: %v\n%s", argv, tc.says, err, out)
			}
		}
		if out := o.must("plan"); !strings.Contains(out, tc.says) {
			t.Errorf("plan, %s: %s", tc.says, out)
		}
		if out, err := o.try("host", "setup", "host-b", "--yes"); !tc.setup && (err == nil || !strings.Contains(out, tc.says)) {
			t.Errorf("setup, %s: %v\n%s", tc.says, err, out)
		} else if tc.setup && err != nil {
			t.Errorf("setup, %s: %v\n%s", tc.says, err, out)
		}
		if now := lastStart(t, b); tc.setup { // which may restart it, into what is right
			was = now
			run(t, b, "systemctl", "reset-failed", "docker.service") // it is no failure to be started often here
		} else {
			expect(t, now, was)
		}
		answers(t, b, o, tc.says)
	}
	if err := b.WriteFile(t.Context(), path, []byte(good), 0o644); err != nil {
		t.Fatal(err)
	}
	o.must("renew", "docker@host-b")
}

// A cause that has gone unblocks by itself.
func aCauseThatHasGone(t *testing.T, b *testhosts.Host, o operator) {
	was, first := lastStart(t, b), o.row("docker@host-b")
	run(t, b, "cp", "/etc/docker/daemon.json", "/root/daemon.json")
	if err := b.WriteFile(t.Context(), "/etc/docker/daemon.json", []byte("{\n  \"tlsverify\": true\n  \"debug\": true\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := o.try("renew", "docker@host-b"); err == nil || !strings.Contains(out, "/etc/docker/daemon.json:3:3") {
		t.Errorf("renew: %v\n%s", err, out)
	}
	expect(t, lastStart(t, b), was)
	run(t, b, "cp", "/root/daemon.json", "/etc/docker/daemon.json")
	await(t, "the renewal goes on", 90*time.Second, func() bool {
		out, err := o.try("run", "--once")
		r := o.row("docker@host-b")
		if err != nil {
			t.Log(out)
		}
		return r.Status == "valid" && r.Generation == first.Generation+1
	})
}

// A firewall is not blamed on the new certificate: no restart, and it goes on when
// it is opened.
func aFirewall(t *testing.T, b *testhosts.Host, o operator) {
	was, first := lastStart(t, b), o.row("docker@host-b")
	rule := []string{"INPUT", "-p", "tcp", "--dport", "2376", "-j", "DROP"}
	run(t, b, append([]string{"iptables", "-I"}, rule...)...)
	if out, err := o.try("renew", "docker@host-b"); err == nil || !strings.Contains(out, "cannot be reached from here, although host-b listens on that port") {
		t.Errorf("renew behind a firewall: %v\n%s", err, out)
	}
	expect(t, lastStart(t, b), was)
	if r := o.row("docker@host-b"); r.Fingerprint != first.Fingerprint {
		t.Errorf("row %+v", r)
	}
	run(t, b, append([]string{"iptables", "-D"}, rule...)...)
	answers(t, b, o, "with the firewall open")
	o.mustThroughKills(5, "run", "--once") // which goes on with it
	if r := o.row("docker@host-b"); r.Status != "valid" || r.Generation != first.Generation+1 || r.Hosts[0].Served != r.Fingerprint {
		t.Errorf("row %+v", r)
	}
}

// A dockerd that takes its time to stop is waited for as long as its unit allows.
func aSlowStop(t *testing.T, b *testhosts.Host, o operator) {
	if err := b.WriteFile(t.Context(), "/etc/systemd/system/docker.service.d/slow.conf", []byte("[Service]\nExecStop=/bin/sleep 80\nTimeoutStopSec=90\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, b, "systemctl", "daemon-reload")
	began := time.Now()
	o.must("renew", "docker@host-b")
	if took := time.Since(began); took < 80*time.Second {
		t.Errorf("it took %s, so it was not stopped as its unit says", took)
	}
	answers(t, b, o, "after a slow stop")
	run(t, b, "rm", "/etc/systemd/system/docker.service.d/slow.conf")
	run(t, b, "systemctl", "daemon-reload")
}

// A failed start is explained with the daemon's own words, and the old certificate
// goes on being served.
func aFailureInTheDaemonsWords(t *testing.T, b *testhosts.Host, o operator) {
	live := run(t, b, "readlink", "/etc/docker/tls/.renewer/docker@host-b/current")
	if err := b.WriteFile(t.Context(), "/etc/systemd/system/docker.service.d/picky.conf", []byte(
		"[Service]\nExecStartPre=/bin/sh -c 'test \"$(readlink /etc/docker/tls/.renewer/docker@host-b/current)\" = "+live+" || { echo the licence is not for this certificate >&2; exit 1; }'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, b, "systemctl", "daemon-reload")
	out, err := o.try("renew", "docker@host-b")
	if err == nil || !strings.Contains(out, "it says: ") || !strings.Contains(out, "the licence is not for this certificate") {
		t.Errorf("renew: %v\n%s", err, out)
	}
	answers(t, b, o, "after a restore")
	run(t, b, "rm", "/etc/systemd/system/docker.service.d/picky.conf")
	run(t, b, "systemctl", "daemon-reload")
}

// What would not start is refused for each of the ways that are sure.
func whatSystemdWouldRefuse(t *testing.T, b *testhosts.Host, o operator) {
	const dropIn = "/etc/systemd/system/docker.service.d/zz-odd.conf"
	for says, text := range map[string]string{
		"its program /usr/bin/nowhere/dockerd does not exist": "[Service]\nExecStart=\nExecStart=/usr/bin/nowhere/dockerd -H fd:// -H tcp://0.0.0.0:2376\n",
		"its EnvironmentFile /etc/nowhere does not exist":     "[Service]\nEnvironmentFile=/etc/nowhere\n",
		"names /etc/docker/other.json, which does not exist":  "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd --config-file /etc/docker/other.json -H fd://\n",
	} {
		was := lastStart(t, b)
		if err := b.WriteFile(t.Context(), dropIn, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, b, "systemctl", "daemon-reload")
		if out, err := o.try("renew", "docker@host-b"); err == nil || !strings.Contains(out, says) {
			t.Errorf("%s: %v\n%s", says, err, out)
		}
		expect(t, lastStart(t, b), was)
		answers(t, b, o, says)
		run(t, b, "rm", dropIn)
		run(t, b, "systemctl", "daemon-reload")
	}
	o.must("renew", "docker@host-b")
	answers(t, b, o, "with everything right again")
}

// Certificates that were made by hand are judged before they are adopted.
func TestDoctorJudgesWhatWasMadeByHand(t *testing.T) {
	hosts := testhosts.Start(t, "host-b")
	b := hosts[0]
	o := newOperator(t)
	o.fleet(hosts, guideOfOne)
	o.must("ca", "init")
	o.must("host", "setup", "host-b", "--yes")
	for says, ext := range map[string]string{
		"is used as a server, but its extended key usage has only [client]":         "extendedKeyUsage=clientAuth,subjectAltName=IP:" + b.Address,
		"clients connect to " + b.Address + ", but the certificate covers only web": "extendedKeyUsage=serverAuth,subjectAltName=DNS:web",
	} {
		// Another inventory, as of somebody who has just come: nothing is adopted.
		fresh := newOperator(t)
		fresh.fleet(hosts, guideOfOne)
		fresh.must("ca", "init")
		eku, san, _ := strings.Cut(ext, ",")
		run(t, b, "sh", "-c", "cd /etc/docker/tls && rm -rf .renewer *.pem && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server-key.pem -out server-cert.pem -days 9 -subj /CN=x -addext "+eku+" -addext "+san+" && cp server-cert.pem ca.pem")
		restart(t, b)
		if out, err := fresh.try("doctor", "host-b"); err == nil || !strings.Contains(out, says) {
			t.Errorf("%s: %v\n%s", says, err, out)
		}
	}
}

// A dockerd that reads another file than daemon.json is set up by that file, and is
// at no moment open to clients without a certificate.
func TestSetUpADaemonWithAnotherConfigurationFile(t *testing.T) {
	hosts := testhosts.Start(t, "host-b")
	b := hosts[0]
	o := newOperator(t)
	o.fleet(hosts, guideOfOne)
	o.must("ca", "init")
	if err := b.WriteFile(t.Context(), "/etc/default/docker", []byte("DOCKER_OPTS=\"--config-file=/opt/docker.json\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteFile(t.Context(), "/opt/docker.json", []byte("{\"debug\": false}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	ctx, stop := context.WithCancel(t.Context())
	plain := make(chan string, 1)
	go func() {
		defer close(plain)
		for ctx.Err() == nil {
			out, _ := exec.CommandContext(ctx, "curl", "-s", "-m", "1", "http://"+b.Address+":2376/version").Output()
			if strings.Contains(string(out), "ApiVersion") {
				plain <- string(out)
				return
			}
			<-time.After(20 * time.Millisecond)
		}
	}()
	o.must("host", "setup", "host-b", "--yes")
	stop()
	if out := <-plain; out != "" {
		t.Errorf("plain HTTP was answered: %s", out)
	}
	o.must("run", "--once") // the client's certificate
	answers(t, b, o, "with another file")
	if text := run(t, b, "cat", "/opt/docker.json"); !strings.Contains(text, "tlsverify") {
		t.Errorf("the file that dockerd reads: %s", text)
	}
	if out, err := b.Run(t.Context(), "test", "-e", "/etc/docker/daemon.json"); err == nil {
		t.Errorf("a file that no one reads was written: %s", out)
	}
}

// The controller is killed again and again while a renewal waits and goes on: the old
// certificate is served until the new one is.
func killedAgainAndAgain(t *testing.T, b *testhosts.Host, o operator) {
	run(t, b, "sed", "-i", `s/^{/{"hosts": ["tcp:\/\/0.0.0.0:2375"],/`, "/etc/docker/daemon.json")
	was := lastStart(t, b)
	for i := range 20 { // with those of the other tests 50
		cmd := exec.Command(o.exe, "--config", filepath.Join(o.dir, "renewer.yaml"), "renew", "docker@host-b")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(30+40*i) * time.Millisecond) // another moment each time
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	expect(t, lastStart(t, b), was)
	answers(t, b, o, "after 20 kills")
	o.mustThroughKills(5, "host", "setup", "host-b", "--yes")
	o.mustThroughKills(5, "renew", "docker@host-b")
	answers(t, b, o, "after 30 kills")
	if r := o.row("docker@host-b"); r.Status != "valid" || r.Hosts[0].Served != r.Fingerprint {
		t.Errorf("row %+v", r)
	}
}

// The port is opened to the known clients alone, stays so over a reboot, and doctor
// looks at it.
func TestSetUpWithAFirewall(t *testing.T) {
	hosts := testhosts.Start(t, "host-b", "host-c")
	b, c := hosts[0], hosts[1]
	o := newOperator(t)
	o.fleet(hosts, guideOfOne)
	o.must("ca", "init")
	if out, err := o.try("host", "setup", "host-b", "--firewall"); err == nil || !strings.Contains(out, "renewer-docker-firewall.service") {
		t.Errorf("the rules are not shown: %v\n%s", err, out)
	}
	if out, err := o.try("host", "check", "host-b", "--firewall"); err == nil || !strings.Contains(out, "renewer-docker-firewall.service") {
		t.Errorf("check does not show the rules: %v\n%s", err, out)
	}
	o.mustThroughKills(5, "host", "setup", "host-b", "--firewall", "--yes")
	o.must("run", "--once")
	dials := func() error {
		_, err := c.Run(t.Context(), "timeout", "3", "bash", "-c", "</dev/tcp/"+b.Address+"/2376")
		return err
	}
	answers(t, b, o, "behind its firewall")
	if dials() == nil {
		t.Error("a host that is no client reaches the port")
	}
	if out := o.must("host", "setup", "host-b", "--firewall", "--yes"); !strings.Contains(out, "nothing") {
		t.Errorf("the second time: %s", out)
	}
	o.must("doctor", "host-b")
	for says, rule := range map[string][]string{
		"INPUT has no rule any more":                {"-F", "INPUT"},
		"chain RENEWER-2376 is empty":               {"-F", "RENEWER-2376"},
		"-j ACCEPT\" comes first and allows others": {"-I", "INPUT", "-p", "tcp", "--dport", "2376", "-j", "ACCEPT"},
	} {
		run(t, b, append([]string{"iptables"}, rule...)...)
		if err := dials(); err != nil {
			t.Errorf("%s: the port is closed all the same: %v", says, err)
		}
		if out, err := o.try("doctor", "host-b"); err == nil || !strings.Contains(out, says) {
			t.Errorf("doctor, %s: %v\n%s", says, err, out)
		}
		o.must("host", "setup", "host-b", "--firewall", "--yes")
		if o.must("doctor", "host-b"); dials() == nil {
			t.Errorf("%s: a host that is no client reaches the port after the printed fix", says)
		}
	}
	if err := b.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers(t, b, o, "after a reboot")
	if dials() == nil {
		t.Error("a host that is no client reaches the port after a reboot")
	}
	run(t, b, "systemctl", "disable", "--now", "renewer-docker-firewall.service")
	if out, err := o.try("doctor", "host-b"); err == nil || !strings.Contains(out, "the firewall does not protect port 2376") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	if err := dials(); err != nil {
		t.Errorf("it was taken back, and yet: %v", err)
	}
}

// What makes dockerd fail while it is restarted keeps the way back from its end, too.
// The fix that doctor prints ends both.
func aWayBackThatIsStuck(t *testing.T, b *testhosts.Host, o operator) {
	was := o.row("docker@host-b")
	const culprit = "/etc/systemd/system/docker.service.d/culprit.conf"
	for path, text := range map[string]string{
		"/usr/local/sbin/culprit": "#!/bin/sh\ngrep -q 2375 /etc/docker/daemon.json || sed -i 's|^{|{ \"hosts\": [\"tcp://0.0.0.0:2375\"],|' /etc/docker/daemon.json\n",
		culprit:                   "[Service]\nExecStartPre=/usr/local/sbin/culprit\n",
	} {
		if err := b.WriteFile(t.Context(), path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, b, "systemctl", "daemon-reload")
	if out, err := o.try("renew", "docker@host-b"); err == nil {
		t.Errorf("renewed: %s", out)
	}
	run(t, b, "rm", culprit)
	run(t, b, "systemctl", "daemon-reload")
	if out, err := o.try("doctor", "host-b"); err == nil || !strings.Contains(out, "renewer host setup host-b") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	o.must("host", "setup", "host-b", "--yes")
	answers(t, b, o, "after the printed fix")
	if r := o.row("docker@host-b"); r.Hosts[0].Served != was.Fingerprint {
		t.Errorf("row %+v", r)
	}
	o.must("renew", "docker@host-b")
	answers(t, b, o, "after another renewal")
}

// A service that does not run yet when its first certificate is placed is named with
// the command that starts it, and seen within seconds when it is. Doctor looks into
// containers: a file alone stays old after a renewal, and a key may be of another user.
func aServiceThatIsStartedLater(t *testing.T, b *testhosts.Host, o operator) {
	if err := b.WriteFile(t.Context(), "/etc/systemd/system/app.service", []byte("[Service]\nExecStart=/bin/sleep infinity\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, b, "systemctl", "daemon-reload")
	o.fleet([]*testhosts.Host{b}, guideOfOne+"  - {name: app, issuer: fleet-ca, profile: files, hosts: [host-b], dir: /srv/app/tls, activate: {systemd: {units: [app.service]}}}\n")
	if out, err := o.try("run", "--once"); err == nil || !strings.Contains(out, "systemctl start app.service") {
		t.Errorf("nothing says how to start it: %v\n%s", err, out)
	}
	start(t, o.exe, "--config", filepath.Join(o.dir, "renewer.yaml"), "run")
	<-time.After(5 * time.Second)
	if r := o.row("app"); r.Status != "blocked" || r.Hosts[0].State != "blocked" {
		t.Errorf("before it is started: %+v", r)
	}
	run(t, b, "systemctl", "start", "app.service")
	await(t, "it is seen", 15*time.Second, func() bool { return o.row("app").Hosts[0].State == "verified" })

	if out := o.must("doctor", "host-b"); strings.Contains(out, "container-key") || strings.Contains(out, "single-file-mount") {
		t.Errorf("without containers: %s", out)
	}
	for _, options := range [][]string{
		{"--name=alone", "-v", "/srv/app/tls/tls.crt:/tls.crt:ro"}, {"--name=user", "--user=1000", "-v", "/srv/app/tls:/tls:ro"}, {"--name=root", "-v", "/srv/app:/app:ro"},
	} {
		if _, err := b.StartContainer(t.Context(), options...); err != nil {
			t.Fatal(err)
		}
	}
	out := o.must("doctor", "host-b")
	for _, says := range []string{"alone has /srv/app/tls/tls.crt", "user runs as 1000, but only user 0 can read /srv/app/tls/tls.key (mode 0400)"} {
		if !strings.Contains(out, says) {
			t.Errorf("without %q: %s", says, out)
		}
	}
}
