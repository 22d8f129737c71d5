package forecast

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"renewer/renewer"
)

const day = 24 * time.Hour

var t0 = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

// entry is a certificate that is renewed after 60 of 90 days, without jitter.
func entry(name string, hosts ...string) renewer.Certificate {
	c := renewer.Certificate{
		Name: name, Entry: name, Issuer: "ca", Profile: "files", CommonName: name, SANs: []string{name}, Usages: []renewer.Usage{renewer.UsageServer},
		Key: renewer.ECDSAP256, Rekey: true, Lifetime: 90 * day, Renewal: renewer.Renewal{Before: 30 * day}, OverrideBefore: 7 * day,
		Trust: []string{"ca"}, Pace: renewer.Pace{Canary: 1, MaxParallel: 2},
	}
	for _, h := range hosts {
		c.Placements = append(c.Placements, renewer.Placement{
			Certificate: name, Host: h, Dir: "/etc/" + name, Files: map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "cert.pem", renewer.FileKey: "key.pem"},
			Activate: renewer.Activation{Kind: renewer.ActivateSystemd, Action: "restart", Units: []string{name + ".service"}},
			Probe:    renewer.Probe{Kind: renewer.ProbeTLS, Address: h + ":1"},
		})
	}
	return c
}

// inPlace is a certificate that was issued and proven on every host at a time.
func inPlace(c renewer.Certificate, issued time.Time) renewer.State {
	g := &renewer.Generation{
		Certificate: c.Name, Number: 1, Request: c.Request(), Fingerprint: c.Name, NotBefore: issued, NotAfter: issued.Add(c.Lifetime), IssuedAt: issued, Renewal: c.Renewal,
	}
	g.RenewAt = c.Renewal.Time(*g)
	rec := renewer.Record{Name: c.Name, Entry: c.Entry, Issuer: c.Issuer, Current: 1, Latest: 1, Rollouts: 1, NextAt: g.RenewAt, Placements: map[string]renewer.PlacementState{}}
	for _, p := range c.Placements {
		rev := renewer.Revision{Name: "r1", Generation: 1, Layout: p.Layout(), Origin: renewer.OriginIssued}
		rec.Placements[p.Host] = renewer.PlacementState{
			State: renewer.HostVerified, Generation: 1, Revision: rev.Name, Revisions: []renewer.Revision{rev}, Layout: rev.Layout, Origin: rev.Origin,
			Loaded: &renewer.Loaded{Generation: 1}, Matches: true, Dirs: []string{p.Dir},
		}
	}
	return renewer.State{Certificate: c, Record: rec, Current: g}
}

// nightly is open from 02:00 to 04:00 UTC.
var nightly = Window{Duration: 2 * time.Hour, At: func(t time.Time) (bool, time.Time) {
	opening := t.Truncate(day).Add(2 * time.Hour)
	if open := !t.Before(opening) && t.Before(opening.Add(2*time.Hour)); open || !t.Before(opening) {
		return open, opening.Add(day)
	}
	return false, opening
}}

func fleetOf(states ...renewer.State) Fleet {
	return Fleet{Certificates: states, Windows: map[string]Window{"nightly": nightly}, Issuers: map[string]Issuer{}}
}

func cas(subject string, end time.Time) []renewer.CAStatus {
	return []renewer.CAStatus{{Subject: subject, NotAfter: end}}
}

// of returns the events of some kinds, one a line.
func (f Forecast) of(kinds ...Kind) (out []string) {
	for _, e := range f.Events {
		if slices.Contains(kinds, e.Kind) {
			out = append(out, fmt.Sprintf("%s %s %s@%s %s", e.Time.Format("2006-01-02 15:04"), e.Kind, e.Certificate, e.Host, e.Window))
		}
	}
	return out
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", lines(got), lines(want))
	}
}

func lines(list []string) (s string) {
	for _, l := range list {
		s += "\t" + l + "\n"
	}
	return s
}

func play(f Fleet, from, until time.Time, outages []Outage, most int) Forecast {
	got, err := Play(context.Background(), f, Terms{from, until, outages, most})
	if err != nil {
		panic(err)
	}
	return got
}
