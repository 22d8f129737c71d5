package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"renewer/renewer"
	"renewer/renewer/forecast"
	"renewer/renewer/server"
)

var update = flag.Bool("update", false, "write the golden files")

// What a narrow terminal must not cut.
const (
	longError = "host build-runner-17: activate: systemctl restart docker.service: exit status 1: Job for docker.service failed because the control process exited with error code"
	longWhy   = "window nightly opens 2026-11-29T02:00:00Z; waits until 2026-12-09T04:10:00Z at most"
	longHint  = "sudo journalctl -u docker.service -n 50 on the host shows what dockerd refused"
	longName  = "docker@build-runner-17.eu-west.example.com"
)

// madeUp is a service whose answers have long names and long reasons.
type madeUp struct{ server.Service }

func at(days int) time.Time { return time.Now().Add(time.Duration(days)*24*time.Hour + 12*time.Hour) }

var hash = strings.Repeat("0123456789abcdef", 4)

func (madeUp) FleetFile(context.Context) (server.FleetFile, error) { return server.FleetFile{}, nil }

func (madeUp) row(name string, s renewer.Status, hosts ...renewer.HostRow) renewer.Row {
	return renewer.Row{
		Name: name, Issuer: "corp-issuing-ca", Generation: 12, Status: s, Serial: hash[:40], Fingerprint: hash, CommonName: "x", SANs: []string{"build-runner-17", "10.0.0.17"},
		Key: "ecdsa-p256", NotBefore: at(-60), NotAfter: at(30), RenewAt: at(5), Hosts: hosts,
	}
}

func (m madeUp) List(_ context.Context, _ renewer.ListFilter, yield func(renewer.Row) error) error {
	up := func(name string) renewer.HostRow { return renewer.HostRow{Name: name, State: renewer.HostVerified} }
	for _, r := range []renewer.Row{
		m.row(longName, renewer.StatusBlocked, renewer.HostRow{Name: "build-runner-17.eu-west.example.com", State: renewer.HostRolledBack, Error: longError}),
		m.row("dagu-coordinator", renewer.StatusValid, up("coordinator-a"), up("coordinator-b"), up("coordinator-c")),
		m.row("web", renewer.StatusPending, renewer.HostRow{Name: "web-1", State: renewer.HostPending}),
	} {
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

func (madeUp) rollout() renewer.RolloutView {
	return renewer.RolloutView{
		Rollout: renewer.Rollout{ID: longName + "#12", Certificate: longName, Kind: renewer.KindIssue, Phase: renewer.PhaseRolling, Generation: 12, Steps: []renewer.Step{
			{Host: "build-runner-17.eu-west.example.com", State: renewer.StepStaged, Attempts: 3, Revision: "r12-0011aabb", Error: longError},
			{Host: "build-runner-18.eu-west.example.com", State: renewer.StepPending},
		}},
		Waiting: renewer.Waits{{Kind: renewer.WaitWindow, Text: longWhy}},
	}
}

func (m madeUp) Show(context.Context, string) (renewer.Detail, error) {
	r := m.rollout()
	host := renewer.HostRow{Name: "build-runner-17.eu-west.example.com", State: renewer.HostRolledBack, Generation: 11, VerifiedAt: at(-5), Error: longError}
	return renewer.Detail{
		Row: m.row(longName, renewer.StatusBlocked, host), Profile: "docker-server", Usages: []renewer.Usage{"server"}, LastError: longError, Hint: longHint, Rollout: &r,
		Chain:       []renewer.ChainEntry{{Subject: "CN=build-runner-17.eu-west.example.com", Issuer: "CN=corp issuing CA 2024", NotAfter: at(30), Serial: hash[:40], Fingerprint: hash}},
		Generations: []renewer.GenerationView{{Number: 12, Current: true, IssuedAt: at(-60), NotAfter: at(30), Serial: hash[:40]}, {Number: 11, IssuedAt: at(-150), NotAfter: at(-60), RevokedAt: at(-59), Serial: hash[:40]}},
		Placements: []renewer.PlacementView{{
			HostRow: host, Dir: "/etc/docker/tls", Files: map[renewer.FileKind]string{"ca": "ca.pem", "cert": "server-cert.pem", "key": "server-key.pem"}, Revision: "r11-0011aabb",
			Activate: "systemd restart docker.service", Probe: "docker build-runner-17.eu-west.example.com:2376",
		}},
	}, nil
}

func (m madeUp) Status(context.Context) (renewer.SystemStatus, error) {
	ahead := 3.0
	return renewer.SystemStatus{
		Daemon: renewer.DaemonStatus{Running: true, PID: 4711, Version: "1.2.3", FleetFile: "/etc/renewer/renewer.yaml", Page: "http://127.0.0.1:9925", StartedAt: at(-30), FleetError: "/etc/renewer/renewer.yaml:12:5: " + longWhy},
		Issuers: []renewer.IssuerStatus{
			{Name: "corp-issuing-ca", Type: "vault", Since: at(-4), Error: longError, Hint: longHint, ClockOffset: &ahead, CAs: []renewer.CAStatus{{Subject: "CN=a", NotAfter: at(500)}}},
			{Name: "fleet-ca", Type: "local", Up: true, Since: at(-30), CAs: []renewer.CAStatus{{Subject: "CN=a", NotAfter: at(3000)}}},
		},
		Hosts:    []renewer.HostStatus{{Name: "build-runner-17.eu-west.example.com", Type: "ssh", Error: longError, Hint: longHint}, {Name: "web-1", Type: "ssh", Up: true}},
		Channels: []renewer.ChannelStatus{{Name: "ops", Type: "webhook", Open: 2, Waiting: 1, LastSuccess: at(-4), LastErrorAt: at(-4), LastError: longError}},
		Rollouts: []renewer.RolloutView{m.rollout()}, Counts: map[renewer.Status]int{renewer.StatusBlocked: 1, renewer.StatusValid: 40, renewer.StatusPending: 1},
		Problems: []renewer.Problem{
			{Severity: renewer.SeverityCritical, Kind: "certificate", Name: longName, What: "renewal blocked for 3 min, next automatic retry in 5 h", Error: longError, Hint: longHint, Commands: []string{"renewer show " + longName, "renewer doctor build-runner-17.eu-west.example.com"}, Runbook: "RenewerRolloutBlocked"},
			{Severity: renewer.SeverityWarning, Kind: "issuer", Name: "corp-issuing-ca", What: "CA expires in 20 d", Commands: []string{"renewer ca show corp-issuing-ca"}, Runbook: "RenewerCAEnding"},
		},
		MoreProblems: 3,
	}, nil
}

func (m madeUp) Events(context.Context, renewer.EventFilter) ([]renewer.Event, error) {
	when := time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	return []renewer.Event{
		{Seq: 1, Time: when, Type: renewer.EventIssued, Certificate: longName, Generation: 12, Rollout: longName + "#12", Message: "issued by corp-issuing-ca"},
		{Seq: 2, Time: when, Type: renewer.EventActivateFailed, Certificate: longName, Host: "build-runner-17.eu-west.example.com", Generation: 12, Rollout: longName + "#12", Error: longError, Hint: longHint},
		{Seq: 3, Time: when, Type: renewer.EventIssuerDown, Issuer: "corp-issuing-ca", Message: "issuer corp-issuing-ca", Error: longError},
	}, nil
}

func (madeUp) Verify(context.Context, []string) ([]renewer.Verification, error) {
	return []renewer.Verification{
		{Certificate: "web", Host: "web-1", OK: true, Generation: 3, Expected: hash, OnDisk: hash, Served: hash},
		{Certificate: longName, Host: "build-runner-17.eu-west.example.com", Generation: 12, Expected: hash, OnDisk: hash, Served: hash, Problems: []string{longError, longWhy}},
	}, nil
}

func (madeUp) Plan(context.Context, renewer.PlanRequest) (renewer.PlanView, error) {
	v := examplePlan()
	v.Orphans[0].NotAfter = at(30)
	v.Steps = append([]renewer.PlanStep{
		{Certificate: longName, Action: "issue", Target: "corp-issuing-ca", Reason: longWhy},
		{Certificate: longName, Host: "build-runner-17.eu-west.example.com", Action: "restart", Target: "docker.service", Reason: longError},
	}, v.Steps...)
	return v, nil
}

func (madeUp) Renew(_ context.Context, _ renewer.RenewRequest, tell func(renewer.Event)) (renewer.RunResult, error) {
	tell(renewer.Event{Type: renewer.EventRolloutDone, Certificate: "web", Rollout: "web#4"})
	return renewer.RunResult{Rollouts: []renewer.RolloutResult{
		{Certificate: longName, Generation: 12, Result: renewer.ResultBlocked, Error: longError, Waiting: renewer.Waits{{Text: longWhy}}, Hint: longHint},
		{Certificate: "web", Generation: 4, Result: renewer.ResultVerified},
	}}, nil
}

func (madeUp) Trust(context.Context, renewer.TrustRequest) (renewer.Trust, error) {
	return renewer.Trust{
		Pairs: []renewer.TrustPair{{Presenters: []string{"docker×24", "dagu-coordinator"}, As: "server", Under: renewer.RootSet{hash[:64]}, Verifiers: []string{"dagu-workers-of-the-build-cluster×240"}, State: renewer.NotLoaded, Until: at(1), Coming: true}},
		Roots: []renewer.TrustRoot{{ID: hash, Fingerprint: hash, Subject: "CN=corp issuing CA 2024", NotAfter: at(500), Issuers: []string{"corp-issuing-ca"}, Presenters: 24, Verifiers: 240, Foreign: []string{"build-runner-17", "build-runner-18"}}},
	}, nil
}

func (madeUp) Impact(context.Context, renewer.ImpactRequest) (renewer.Impact, error) {
	return renewer.Impact{Kind: "certificate", Name: "docker", Case: renewer.ImpactExpired, Notes: []string{longWhy}, Refused: []renewer.Refusal{{
		Presenters: []string{"docker×24"}, As: "server", Verifiers: []string{"dagu-workers-of-the-build-cluster×240"}, State: renewer.NoRoot, Since: at(30), Services: []string{"docker.service@build-runner-17", "dagu-worker.service@build-runner-18"},
	}}}, nil
}

func (madeUp) Forget(context.Context, renewer.ForgetRequest) ([]renewer.Forgotten, error) {
	return []renewer.Forgotten{{Certificate: longName, Host: "build-runner-17.eu-west.example.com", Generation: 12, Issuer: "corp-issuing-ca", NotAfter: at(30), Accepted: []string{"dagu-workers×240", "dagster"}}}, nil
}

func (madeUp) Revoke(context.Context, renewer.RevokeRequest, func(renewer.Event)) ([]renewer.Revoked, error) {
	return []renewer.Revoked{{Certificate: longName, Generation: 12, Serial: hash[:40], Reason: "keyCompromise", ServedBy: []string{"build-runner-17.eu-west.example.com"}, Error: longError, Hint: longHint, Notes: []string{longWhy}}}, nil
}

func (madeUp) Doctor(context.Context, string) ([]renewer.Finding, error) {
	return []renewer.Finding{
		{Check: "daemon-json", Host: "build-runner-17.eu-west.example.com", Certificate: longName, Level: renewer.FindingFail, Text: longError, Fix: longHint},
		{Check: "clock", Host: "web-1", Level: renewer.FindingOK, Text: "the clock is right"},
	}, nil
}

func (madeUp) HostPlan(context.Context, renewer.SetupRequest) (renewer.HostPlan, error) {
	return renewer.HostPlan{Host: "web-1", Certificate: "docker@web-1", Restart: true, Changes: []renewer.FileChange{{Path: "/etc/docker/daemon.json", Diff: "--- /etc/docker/daemon.json\n+++ /etc/docker/daemon.json\n@@ -1 +1 @@\n-{}\n+{\"tls\": true}\n"}}, Notes: []string{longWhy}}, nil
}

func (madeUp) Forecast(context.Context, forecast.Request) (forecast.Forecast, error) {
	return forecast.Forecast{From: at(0), Until: at(40), Events: []forecast.Event{
		{Time: at(10), Kind: forecast.Expires, Certificate: longName, Host: "build-runner-17.eu-west.example.com", Window: "nightly", Reason: longWhy},
		{Time: at(12), Kind: forecast.CAExpires, Issuer: "corp-issuing-ca", Reason: "CN=corp issuing CA 2024 expires"},
		{Time: at(12), Kind: forecast.Restart, Certificate: longName, Host: "build-runner-17.eu-west.example.com"},
	}}, nil
}

func (m madeUp) rotation() renewer.RotationView {
	return renewer.RotationView{
		Issuer: "corp-issuing-ca", Kind: "rotate", Why: "requested by operator", Stage: "distribute", StartedAt: at(-3), From: renewer.RotationCA{Subject: "CN=old"}, To: renewer.RotationCA{Subject: "CN=new"}, Blocked: true,
		Waiting: []string{longError}, Ends: longHint, Breaks: []string{longWhy}, Warnings: []string{longWhy}, Plan: []renewer.RotationStep{{Stage: "distribute", What: longWhy, Placements: 240, Hosts: []string{"a", "b"}, Restarts: 24, When: longWhy}},
	}
}

func (m madeUp) Rotate(context.Context, renewer.RotateRequest, func(renewer.Event)) (renewer.RotationView, error) {
	return m.rotation(), nil
}

func (m madeUp) CA(context.Context, string) (renewer.CAView, error) {
	r := m.rotation()
	r.Plan, r.Breaks = nil, nil
	return renewer.CAView{CAInfo: renewer.CAInfo{Issuer: "corp-issuing-ca", Subject: "CN=corp issuing CA 2024", Fingerprint: hash, Serial: hash[:40], NotBefore: at(-500), NotAfter: at(500), Key: "ecdsa-p256", StrictPeers: []string{longWhy}}, Rotation: &r}, nil
}

// date is what differs from one day to the next.
var date = regexp.MustCompile(`\b20\d\d-\d\d-\d\d(?:T[0-9:]+Z)?`)

// said are what each command has to show whole.
var said = []struct {
	argv    []string
	reasons []string
}{
	{[]string{"list"}, []string{longName, longError}},
	{[]string{"show", "web"}, []string{longError, longWhy, longHint, longName}},
	{[]string{"status"}, []string{longError, longWhy, longHint, longName, "renewal blocked for 3 min, next automatic retry in 5 h"}},
	{[]string{"history"}, []string{longError, longName}},
	{[]string{"plan"}, []string{longError, longWhy, longName}},
	{[]string{"verify"}, []string{longError, longWhy, longName}},
	{[]string{"renew", "--all"}, []string{longError, longHint, longName}},
	{[]string{"trust"}, []string{"docker×24, dagu-coordinator", "dagu-workers-of-the-build-cluster×240", "in progress"}},
	{[]string{"impact", "docker"}, []string{"dagu-workers-of-the-build-cluster×240", "dagu-worker.service@build-runner-18", longWhy}},
	{[]string{"forget", "web"}, []string{longName, "dagu-workers×240"}},
	{[]string{"revoke", "web"}, []string{longError, longHint, longWhy, longName}},
	{[]string{"doctor"}, []string{longError, longHint, longName}},
	{[]string{"host", "check", "web-1"}, []string{longWhy}},
	{[]string{"ca", "show"}, []string{longError, longHint, longWhy}},
	{[]string{"ca", "rotate", "corp-issuing-ca", "--plan"}, []string{longWhy, longError}},
	{[]string{"forecast", "--for", "40d"}, []string{longWhy, longName, "expires", "ca_expires", "corp-issuing-ca"}},
	{[]string{"profiles"}, []string{"server-cert.pem 0444", "systemd restart docker.service"}},
}

// Every command that prints a table is shown at four widths, and what it says is whole.
func TestTablesKeepTheReason(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	srv, err := server.New(server.Options{Service: madeUp{}, Socket: socket, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	defer func() { stop(); <-ended }()
	t.Setenv("NO_COLOR", "1")
	for _, columns := range []int{0, 60, 80, 100, 200} { // 0: a pipe
		var all bytes.Buffer
		for _, x := range said {
			var out, errOut bytes.Buffer
			c := &cli{out: &out, errOut: &errOut, columns: columns, warned: true}
			root := newRoot(c, x.argv)
			root.SetArgs(append([]string{"--socket", socket}, x.argv...))
			c.report(root.ExecuteContext(t.Context()))
			shown := strings.Join(strings.Fields(out.String()+errOut.String()), " ")
			for _, want := range x.reasons {
				if columns > 0 && !strings.Contains(shown, want) {
					t.Errorf("%d columns: renewer %s does not show %q:\n%s", columns, strings.Join(x.argv, " "), want, out.String()+errOut.String())
				}
			}
			if got := widest(out.String(), columns); columns > 0 && got > columns {
				t.Errorf("%d columns: renewer %s has a line of %d:\n%s", columns, strings.Join(x.argv, " "), got, &out)
			}
			fmt.Fprintf(&all, "$ renewer %s\n%s", strings.Join(x.argv, " "), &out)
			for line := range strings.Lines(errOut.String()) {
				all.WriteString("2> " + line)
			}
			all.WriteString("\n")
		}
		golden := fmt.Sprintf("testdata/tables/%d.txt", columns)
		got := date.ReplaceAllStringFunc(all.String(), func(s string) string { return "2026-11-28T03:00:00Z"[:len(s)] })
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got; -update writes it):\n%s", golden, diff)
		}
	}
}
