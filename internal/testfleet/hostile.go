package testfleet

import (
	"time"

	"renewer/renewer"
	"renewer/renewer/forecast"
	"renewer/renewer/problems"
)

// Hostiles are pieces of text that run, break out or mislead where a page does
// not escape them. Each would set window.pwned.
var Hostiles = []string{
	`<script>window.pwned=1</script>`,
	`"><img src=x onerror=window.pwned=1>`,
	`' autofocus onfocus=window.pwned=1 x='`,
	`</title></style></textarea><svg onload=window.pwned=1>`,
	`javascript:window.pwned=1`,
	`{{.Now}}${window.pwned=1}`,
	"a\u202egnp.exe\u0000\u2028\r\n<b>",
	`<base href=//example.com><iframe srcdoc="<script>parent.pwned=1</script>">`,
}

// Hostile is a fleet in which everything that comes from outside is hostile.
func Hostile(now time.Time) *Fleet {
	f := &Fleet{Status: system(now)}
	for i, text := range Hostiles {
		d := Certificate(now, text, 10*Day, text)
		d.CommonName, d.SANs, d.Issuer, d.LastError, d.Hint, d.Profile = text, []string{text}, text, text, text, text
		d.Status, d.RolloutProblem = renewer.StatusBlocked, problems.RolloutBlocked
		d.Chain[0].Subject, d.Chain[0].Issuer, d.Chain[0].SANs = text, text, []string{text}
		d.Chain[0].Usages, d.Chain[0].Key, d.Chain[0].Signature, d.Chain[0].Serial = []string{text}, text, text, text
		onHost(&d, 0, text, func(h *renewer.HostRow) { h.Error, h.Served = text, text })
		d.Placements[0].Dir, d.Placements[0].Activate, d.Placements[0].Probe = text, text, text
		r := renewer.RolloutView{Waiting: renewer.Waits{{Kind: renewer.WaitKind(text), Text: text}, {Host: text, Text: text}}, Rollout: renewer.Rollout{
			ID: text, Certificate: text, Kind: renewer.Kind(text), Phase: renewer.PhaseRolling, Error: text, Hint: text, StartedAt: now,
			Reasons: []renewer.Reason{{Text: text}}, Steps: []renewer.Step{{Host: text, State: renewer.StepState(text), Wait: &renewer.Wait{Why: text, Hint: text}, Error: text, Hint: text}},
		}}
		d.Rollout = &r
		f.Put(d)
		f.Status.Rollouts = append(f.Status.Rollouts, r)
		f.Status.Hosts = append(f.Status.Hosts, renewer.HostStatus{Name: text, Type: text, Error: text, Hint: text})
		f.Status.Issuers = append(f.Status.Issuers, renewer.IssuerStatus{Name: text, Type: text, Error: text, Hint: text, CAs: []renewer.CAStatus{{Subject: text, NotAfter: now}}})
		f.Status.Channels = append(f.Status.Channels, renewer.ChannelStatus{Name: text, Type: text, LastError: text, Hint: text})
		f.Ahead.From, f.Ahead.Until = now, now.Add(8*forecast.Week)
		f.Ahead.Events = append(f.Ahead.Events, forecast.Event{Time: now.Add(Day), Kind: forecast.Kind(text), Certificate: text, Host: text, Issuer: text, Window: text, Reason: text})
		f.Log = append(f.Log, renewer.Event{Seq: uint64(i + 1), Time: now, Type: renewer.EventType(text), Certificate: text, Host: text, Message: text, Error: text, Hint: text})
	}
	f.Status.Daemon.FleetError, f.Status.Daemon.FleetFile, f.Status.Daemon.Version = Hostiles[0], Hostiles[1], Hostiles[0]
	return f
}
