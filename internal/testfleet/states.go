package testfleet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"renewer/renewer"
	"renewer/renewer/forecast"
	"renewer/renewer/problems"
)

// Hex is a made-up SHA-256.
func Hex(of string) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:])
}

// Certificate makes a valid certificate of 90 days that was issued some days
// ago and is proven on each of the hosts.
func Certificate(now time.Time, name string, age time.Duration, hosts ...string) renewer.Detail {
	start := now.Add(-age)
	row := renewer.Row{
		Name: name, Issuer: "fleet-ca", Generation: 3, Status: renewer.StatusValid, Serial: Hex(name + " serial")[:32], Fingerprint: Hex(name),
		CommonName: name, SANs: []string{name + ".example.com", "10.0.1.2"}, Key: renewer.ECDSAP256,
		NotBefore: start, NotAfter: start.Add(90 * Day), RenewAt: start.Add(60 * Day),
	}
	if len(hosts) > 0 {
		row.CommonName = hosts[0]
	}
	d := renewer.Detail{Profile: "docker-server", Usages: []renewer.Usage{renewer.UsageServer}, Chain: []renewer.ChainEntry{
		{
			Subject: "CN=" + row.CommonName, Issuer: "CN=Fleet intermediate,O=Example", Serial: row.Serial, Fingerprint: row.Fingerprint,
			NotBefore: row.NotBefore, NotAfter: row.NotAfter, SANs: row.SANs, Key: "ecdsa-p256", Signature: "ECDSA-SHA256",
			KeyUsages: []string{"digitalSignature"}, Usages: []string{"serverAuth"},
		},
		{
			Subject: "CN=Fleet intermediate,O=Example", Issuer: "CN=Fleet root,O=Example", Serial: "1f", Fingerprint: Hex("intermediate"),
			NotBefore: now.Add(-200 * Day), NotAfter: now.Add(1600 * Day), IsCA: true, Key: "ecdsa-p384", Signature: "ECDSA-SHA384",
			KeyUsages: []string{"keyCertSign", "cRLSign"},
		},
	}}
	for n := row.Generation; n > 0; n-- {
		at := start.Add(-time.Duration(row.Generation-n) * 60 * Day)
		g := renewer.GenerationView{
			Number: n, Serial: Hex(fmt.Sprint(name, n))[:32], Fingerprint: Hex(fmt.Sprint(name, n)), SANs: row.SANs,
			NotBefore: at, NotAfter: at.Add(90 * Day), RenewAt: at.Add(60 * Day), IssuedAt: at.Add(time.Minute), Current: n == row.Generation,
		}
		d.Generations = append(d.Generations, g)
	}
	for _, h := range hosts {
		on := renewer.HostRow{
			Name: h, State: renewer.HostVerified, Generation: row.Generation, Served: row.Fingerprint, ServedEnd: row.NotAfter,
			Matches: true, VerifiedAt: now.Add(-7 * time.Minute),
		}
		row.Hosts = append(row.Hosts, on)
		d.Placements = append(d.Placements, renewer.PlacementView{
			HostRow: on, Dir: "/etc/docker/tls", Revision: "r3-5d1f0c3a", Activate: "systemd restart docker.service", Probe: "docker " + h + ":2376",
			Files: map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "server-cert.pem", renewer.FileKey: "server-key.pem"},
		})
	}
	d.Row = row
	return d
}

// onHost changes one host in both places where it is shown.
func onHost(d *renewer.Detail, i int, hint string, change func(*renewer.HostRow)) {
	change(&d.Hosts[i])
	d.Placements[i].HostRow, d.Placements[i].Hint = d.Hosts[i], hint
}

// system is a daemon that has looked at everything a moment ago.
func system(now time.Time) renewer.SystemStatus {
	return renewer.SystemStatus{
		Daemon: renewer.DaemonStatus{
			Running: true, Fleet: "prod", PID: 812, Version: "v1.2.3", FleetFile: "/etc/renewer/renewer.yaml", StartedAt: now.Add(-9 * Day),
			LastCheck: now.Add(-2 * time.Minute), NextCheck: now.Add(8 * time.Minute), LastProbe: now.Add(-7 * time.Minute), CheckWithin: 30 * time.Minute, NextDue: now.Add(5 * Day),
		},
		Issuers: []renewer.IssuerStatus{{Name: "fleet-ca", Type: "local", Up: true, CAs: []renewer.CAStatus{{Subject: "CN=Fleet root,O=Example", NotAfter: now.Add(3000 * Day)}}}},
		Counts:  map[renewer.Status]int{}, Rollouts: []renewer.RolloutView{},
	}
}

// Well is a fleet of n certificates, one on each host, with nothing wrong.
func Well(now time.Time, n int) *Fleet {
	f := &Fleet{Status: system(now)}
	for i := range n {
		host := fmt.Sprintf("host-%05d", i)
		f.Put(Certificate(now, "docker@"+host, time.Duration(i%59)*Day+time.Duration(i)*time.Second, host))
		f.Status.Hosts = append(f.Status.Hosts, renewer.HostStatus{Name: host, Type: "ssh", Up: true})
	}
	f.Log = append(f.Log, renewer.Event{Seq: 1, Time: now.Add(-time.Hour), Type: renewer.EventRolloutDone, Certificate: "docker@host-00000", Generation: 3, Message: "generation 3 is on every host"})
	return f
}

// EveryState is a fleet with a certificate in each state, a host and an issuer
// that are down, a CA that expires soon, and a rollout under way.
func EveryState(now time.Time) *Fleet {
	f := &Fleet{Status: system(now)}
	f.Status.Issuers[0].CAs[0].NotAfter = now.Add(61 * Day)
	f.Status.Issuers[0].Rotation = &renewer.RotationView{
		Issuer: "fleet-ca", Kind: "rotate", Why: "requested by operator", Stage: "add_root", Since: now.Add(-2 * time.Hour), StartedAt: now.Add(-2 * time.Hour),
		From: renewer.RotationCA{Subject: "CN=Fleet root,O=Example"}, To: renewer.RotationCA{Subject: "CN=Fleet root 2,O=Example"}, Blocked: true,
		Waiting: []string{"docker@host-d does not have the root of CN=Fleet root 2,O=Example yet: host-d cannot be reached"},
		Ends:    "ends when host-d can be reached; or renewer ca rotate fleet-ca --without host-d; or retired: true in the fleet file",
	}
	f.Status.Issuers = append(f.Status.Issuers, renewer.IssuerStatus{
		Name: "corp-step", Type: "step-ca", Error: "ask https://ca.example.com:9000/health: dial tcp 10.0.0.9:9000: connect: connection refused",
		Hint: "start step-ca, or correct url in the fleet file",
	})
	for _, h := range []string{"host-a", "host-b", "host-c", "host-e", "host-f"} {
		f.Status.Hosts = append(f.Status.Hosts, renewer.HostStatus{Name: h, Type: "ssh", Up: true})
	}
	f.Status.Hosts = append(f.Status.Hosts, renewer.HostStatus{
		Name: "host-d", Type: "ssh", Error: "dial 10.0.1.4:22: no route to host", Hint: "is the machine up, and does ssh renewer@10.0.1.4 work?",
	})

	f.Status.Channels = []renewer.ChannelStatus{
		{Name: "ops", Type: "shoutrrr", LastSuccess: now.Add(-2 * time.Hour), Open: 3},
		{Name: "hook", Type: "webhook", Open: 3, Waiting: 2, LastError: "post to hook.example.com: status 500", LastErrorAt: now.Add(-time.Minute), Hint: "look into the receiver's own log"},
	}
	f.Put(Certificate(now, "docker@host-b", 12*Day, "host-b"))
	f.Put(Certificate(now, "dagster-client", 31*Day, "host-a"))
	f.Put(Certificate(now, "dagu-worker", 40*Day, "host-a", "host-b", "host-c", "host-e", "host-f"))

	d := Certificate(now, "dagu-coordinator", 61*Day, "host-a")
	d.Status = renewer.StatusDue
	f.Put(d)

	d = Certificate(now, "docker@host-c", 60*Day, "host-c")
	d.Status = renewer.StatusRenewing
	opens := now.Add(21 * time.Hour)
	r := renewer.RolloutView{Rollout: renewer.Rollout{
		ID: "docker@host-c#4", Certificate: d.Name, Kind: renewer.KindIssue, Generation: 4, Phase: renewer.PhaseRolling, StartedAt: now.Add(-40 * time.Second),
		Reasons: []renewer.Reason{{Code: renewer.ReasonRenewTime, Text: "renew time " + d.RenewAt.Format(time.RFC3339) + " reached"}},
		Steps:   []renewer.Step{{Host: "host-c", State: renewer.StepActivated}, {Host: "host-e", State: renewer.StepStaged}},
	}, Waiting: renewer.Waits{{Kind: renewer.WaitWindow, Text: "window nightly opens " + opens.Format(time.RFC3339), Until: opens}}}
	d.Rollout = &r
	onHost(&d, 0, "", func(h *renewer.HostRow) { h.State = renewer.HostActivated })
	f.Status.Rollouts = append(f.Status.Rollouts, r)
	f.Put(d)

	const refused = "probe host-e:2376: the service does not run: Job for docker.service failed because the control process exited with error code"
	d = Certificate(now, "docker@host-e", 63*Day, "host-e")
	d.RolloutProblem = problems.RolledBack
	d.Status, d.LastError, d.Hint = renewer.StatusBlocked, "host-e: "+refused, "journalctl -u docker.service -n 50 on host-e tells why"
	onHost(&d, 0, d.Hint, func(h *renewer.HostRow) { h.State, h.Error = renewer.HostRolledBack, refused })
	retry := now.Add(10 * Day)
	blocked := renewer.RolloutView{Waiting: renewer.Waits{{
		Kind: renewer.WaitPerson, Text: "needs manual action; next automatic retry at " + retry.Format(time.RFC3339), Since: now.Add(-3 * time.Hour), Until: retry,
	}}, Rollout: renewer.Rollout{
		ID: "docker@host-e#4", Certificate: d.Name, Kind: renewer.KindIssue, Generation: 4, Phase: renewer.PhaseBlocked, StartedAt: now.Add(-3 * time.Hour), EndedAt: now.Add(-3 * time.Hour),
		Reasons: []renewer.Reason{{Code: renewer.ReasonRenewTime, Text: "renew time reached"}},
		Steps:   []renewer.Step{{Host: "host-e", State: renewer.StepRolledBack, Error: refused, Hint: d.Hint}},
	}}
	d.Rollout = &blocked
	f.Put(d)

	d = Certificate(now, "docker@host-d", 92*Day, "host-d")
	d.Status, d.LastError = renewer.StatusExpired, "host-d: stage: dial 10.0.1.4:22: no route to host"
	onHost(&d, 0, "", func(h *renewer.HostRow) { h.Error = "stage: dial 10.0.1.4:22: no route to host" })
	f.Put(d)

	d = Certificate(now, "web", 20*Day, "host-f")
	d.Status, d.LastError, d.Hint = renewer.StatusDue, "host-f: serves "+Hex("by hand")[:16]+" instead of "+d.Fingerprint[:16], "renewer corrects it at the next pass; find out who changed it"
	onHost(&d, 0, d.Hint, func(h *renewer.HostRow) {
		h.DriftedAt = now.Add(-time.Minute)
		h.State, h.Matches, h.Served, h.Error = renewer.HostDrifted, false, Hex("by hand"), "serves another certificate than was placed"
	})
	f.Put(d)

	d = Certificate(now, "old-agent", 20*Day, "host-a")
	d.Status, d.Generations[0].RevokedAt = renewer.StatusRevoked, now.Add(-Day)
	f.Put(d)

	d = Certificate(now, "new-service", 0, "host-b")
	d.Row = renewer.Row{Name: d.Name, Issuer: "corp-step", Status: renewer.StatusPending, CommonName: d.Name, SANs: d.SANs, Key: d.Key, Hosts: []renewer.HostRow{{Name: "host-b", State: renewer.HostPending}}}
	d.Chain, d.Generations, d.Placements[0].HostRow = nil, nil, d.Hosts[0]
	f.Put(d)

	f.Ahead = forecast.Forecast{From: now, Until: now.Add(8 * forecast.Week)}
	for i := range 24 {
		at := now.Add(time.Duration(i*i) * 2 * time.Hour)
		f.Ahead.Events = append(f.Ahead.Events,
			forecast.Event{Time: at, Kind: forecast.Renewal, Certificate: "docker@host-b", Issuer: "fleet-ca"},
			forecast.Event{Time: at.Add(time.Hour), Kind: forecast.Restart, Certificate: "docker@host-b", Host: "host-b", Window: []string{"", "nightly"}[i%2]})
	}
	f.Ahead.Events = append(f.Ahead.Events,
		forecast.Event{Time: now.Add(26 * Day), Kind: forecast.Expires, Certificate: "docker@host-e", Host: "host-e", Reason: "blocked until then"},
		forecast.Event{Time: now.Add(50 * Day), Kind: forecast.CAExpires, Issuer: "corp-step", Reason: "CN=Corp intermediate,O=Example"})

	for i, e := range []renewer.Event{
		{Time: now.Add(-3 * time.Hour), Type: renewer.EventRolledBack, Certificate: "docker@host-e", Host: "host-e", Generation: 4, Message: "generation 3 is back in place"},
		{Time: now.Add(-3 * time.Hour), Type: renewer.EventRolloutBlocked, Certificate: "docker@host-e", Generation: 4, Rollout: "docker@host-e#4", Error: refused, Hint: "journalctl -u docker.service -n 50 on host-e tells why"},
		{Time: now.Add(-2 * time.Hour), Type: renewer.EventUnreachable, Host: "host-d", Error: "dial 10.0.1.4:22: no route to host"},
		{Time: now.Add(-40 * time.Second), Type: renewer.EventRolloutPlanned, Certificate: "docker@host-c", Generation: 4, Rollout: "docker@host-c#4", Message: "renew time reached"},
		{Time: now.Add(-39 * time.Second), Type: renewer.EventIssued, Certificate: "docker@host-c", Generation: 4, Message: "by fleet-ca, until " + now.Add(90*Day).Format(time.DateOnly)},
		{Time: now.Add(-35 * time.Second), Type: renewer.EventActivated, Certificate: "docker@host-c", Host: "host-c", Generation: 4, Message: "systemd restart docker.service"},
	} {
		e.Seq = uint64(i + 1)
		f.Log = append(f.Log, e)
	}
	return f
}

// Wave is a fleet of one certificate on each of n hosts, whose renewals are under
// way together and stand at different stages.
func Wave(now time.Time, n int) *Fleet {
	f := Well(now, 0)
	opens := now.Add(3 * time.Hour)
	for i := range n {
		host := fmt.Sprintf("host-%02d.example.com", i)
		d := Certificate(now, "docker@"+host, 60*Day, host)
		r := renewer.RolloutView{Rollout: renewer.Rollout{
			ID: d.Name + "#4", Certificate: d.Name, Kind: renewer.KindIssue, Generation: 4, Phase: renewer.PhaseRolling, StartedAt: now.Add(-10 * time.Minute),
			Reasons: []renewer.Reason{{Code: renewer.ReasonRenewTime, Text: "renew time has come"}}, Steps: []renewer.Step{{Host: host}},
		}}
		step := &r.Steps[0]
		switch i % 11 {
		case 0:
			step.State = renewer.StepStaged
			r.Waiting = renewer.Waits{{Kind: renewer.WaitWindow, Text: "window nightly opens " + opens.Format(time.RFC3339), Until: opens}}
			onHost(&d, 0, "", func(h *renewer.HostRow) { h.State = renewer.HostStaged })
		case 1:
			step.State, step.Error = renewer.StepRestoring, "activate: docker.service failed on "+host
			onHost(&d, 0, "", func(h *renewer.HostRow) { h.State, h.Error = renewer.HostActivated, step.Error })
		case 5:
			step.State = renewer.StepPending
		case 7:
			step.State = renewer.StepActivated
			onHost(&d, 0, "", func(h *renewer.HostRow) { h.State = renewer.HostActivated })
		default:
			step = nil
		}
		if step != nil {
			d.Status, d.Rollout = renewer.StatusRenewing, &r
			f.Status.Rollouts = append(f.Status.Rollouts, r)
		}
		f.Put(d)
		f.Status.Hosts = append(f.Status.Hosts, renewer.HostStatus{Name: host, Type: "ssh", Up: true})
	}
	return f
}
