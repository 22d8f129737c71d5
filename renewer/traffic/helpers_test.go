package traffic

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"renewer/renewer"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// entry makes a certificate with TLS probes on the hosts.
func entry(name string, hosts ...string) renewer.Certificate {
	c := renewer.Certificate{
		Name: name, Entry: name, Issuer: "ca", Profile: "files", CommonName: name, SANs: []string{name}, Usages: []renewer.Usage{renewer.UsageServer},
		Key: renewer.ECDSAP256, Rekey: true, Lifetime: 90 * 24 * time.Hour, Renewal: renewer.Renewal{At: renewer.DefaultRenewAt, Jitter: renewer.DefaultJitter},
		Trust: []string{"ca"}, Pace: renewer.Pace{Canary: 1, MaxParallel: 2},
	}
	for _, h := range hosts {
		c.Placements = append(c.Placements, renewer.Placement{
			Certificate: name, Host: h, Dir: "/etc/" + name, Files: map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "cert.pem", renewer.FileKey: "key.pem"},
			Activate: renewer.Activation{Kind: renewer.ActivateSystemd, Action: "restart", Units: []string{name}},
			Probe:    renewer.Probe{Kind: renewer.ProbeTLS, Address: h + ":1"},
		})
	}
	return c
}

func generation(c renewer.Certificate, number int, issued time.Time) *renewer.Generation {
	g := renewer.Generation{
		Certificate: c.Name, Number: number, Request: c.Request(), Fingerprint: fmt.Sprintf("%064d", number),
		NotBefore: issued.Add(-time.Minute), NotAfter: issued.Add(c.Lifetime), IssuedAt: issued, Renewal: c.Renewal,
	}
	g.RenewAt = c.Renewal.Time(g)
	return &g
}

// inPlace is a record with a generation verified on every host.
func inPlace(c renewer.Certificate, number int) renewer.Record {
	rec := renewer.Record{Name: c.Name, Entry: c.Entry, Issuer: c.Issuer, Current: number, Latest: number, Placements: map[string]renewer.PlacementState{}}
	for _, p := range c.Placements {
		rev := renewer.Revision{Name: fmt.Sprintf("r%d", number), Generation: number, Layout: p.Layout(), Roots: renewer.NewRootSet("root"), Origin: renewer.OriginIssued}
		rec.Placements[p.Host] = renewer.PlacementState{
			State: renewer.HostVerified, Generation: number, Revision: rev.Name, Revisions: []renewer.Revision{rev}, Layout: rev.Layout, Roots: rev.Roots, Origin: rev.Origin, Loaded: &renewer.Loaded{Generation: number, Roots: rev.Roots}, Matches: true,
		}
	}
	return rec
}

// begin makes a rollout the one under way.
func begin(rec *renewer.Record, r *renewer.Rollout) {
	rec.Rollouts++
	r.ID, r.StartedAt = renewer.RolloutID(rec.Name, rec.Rollouts), t0
	rec.Rollout = r
}

// apply takes an input into a record, which keeps an ended rollout.
func apply(c renewer.Certificate, rec *renewer.Record, now time.Time, in renewer.Input) []renewer.Event {
	if rec.Rollout.Phase.Over() {
		return nil
	}
	was := *rec
	given := text(was)
	s, ch := renewer.Apply(renewer.State{Certificate: c, Record: was}, now, in)
	if got := text(was); got != given {
		panic(fmt.Sprintf("%T changed what it was given:\n%s\n%s", in, given, got))
	}
	*rec = s.Record
	rec.NextAt = time.Time{}
	if ch.Closed != nil {
		rec.Rollout = ch.Closed
	}
	return ch.Events
}

func text(rec renewer.Record) string {
	b, err := json.Marshal(rec)
	if err != nil {
		panic(err)
	}
	return string(b)
}

var errProbe = &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: errors.New("connection refused")}
