package renewer

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// entry makes a certificate with TLS probes on the hosts.
func entry(name string, hosts ...string) Certificate {
	c := Certificate{
		Name: name, Entry: name, Issuer: "ca", Profile: "files", CommonName: name, SANs: []string{name}, Usages: []Usage{UsageServer},
		Key: ECDSAP256, Rekey: true, Lifetime: 90 * 24 * time.Hour, Renewal: Renewal{At: DefaultRenewAt, Jitter: DefaultJitter},
		Trust: []string{"ca"}, Pace: Pace{Canary: 1, MaxParallel: 2},
	}
	for _, h := range hosts {
		c.Placements = append(c.Placements, Placement{
			Certificate: name, Host: h, Dir: "/etc/" + name, Files: map[FileKind]string{FileCA: "ca.pem", FileCert: "cert.pem", FileKey: "key.pem"},
			Activate: Activation{Kind: ActivateSystemd, Action: "restart", Units: []string{name}},
			Probe:    Probe{Kind: ProbeTLS, Address: h + ":1"},
		})
	}
	return c
}

func generation(c Certificate, number int, issued time.Time) *Generation {
	g := Generation{
		Certificate: c.Name, Number: number, Request: c.Request(), Fingerprint: fmt.Sprintf("%064d", number),
		NotBefore: issued.Add(-time.Minute), NotAfter: issued.Add(c.Lifetime), IssuedAt: issued, Renewal: c.Renewal,
	}
	g.RenewAt = c.Renewal.Time(g)
	return &g
}

// inPlace is a record with a generation verified on every host.
func inPlace(c Certificate, number int) Record {
	rec := Record{Name: c.Name, Entry: c.Entry, Issuer: c.Issuer, Current: number, Latest: number, Placements: map[string]PlacementState{}}
	for _, p := range c.Placements {
		rev := Revision{Name: fmt.Sprintf("r%d", number), Generation: number, Layout: p.Layout(), Roots: NewRootSet("root"), Origin: OriginIssued}
		rec.Placements[p.Host] = PlacementState{
			State: HostVerified, Generation: number, Revision: rev.Name, Revisions: []Revision{rev}, Layout: rev.Layout, Roots: rev.Roots, Origin: rev.Origin, Loaded: &Loaded{Generation: number, Roots: rev.Roots}, Matches: true,
		}
	}
	return rec
}

// begin makes a rollout the one under way.
func (rec *Record) begin(r *Rollout) {
	rec.Rollouts++
	r.ID, r.StartedAt = RolloutID(rec.Name, rec.Rollouts), t0
	rec.Rollout = r
}

var errProbe = &ProbeError{Kind: ProbeUnreachable, Err: errors.New("connection refused")}

// hintedError is an error of a package that does not know this one.
type hintedError struct{ error }

func (hintedError) Hint() string        { return "fix it" }
func (hintedError) Misconfigured() bool { return true }

func TestHintsAndClassesOfErrorsThatDoNotKnowTheDomain(t *testing.T) {
	t.Parallel()
	plain := errors.New("broken")
	leaf := hintedError{plain}
	for _, c := range []struct {
		err   error
		hint  string
		class Class
	}{
		{nil, "", ""},
		{plain, "", ClassRetry},
		{fmt.Errorf("read: %w", leaf), "fix it", ClassMisconfigured},
		{WithHint(leaf, "better"), "better", ClassMisconfigured},
		{fmt.Errorf("read: %w", &Error{Class: ClassRefused, Err: leaf}), "fix it", ClassRefused},
		{errors.Join(plain, WithHint(plain, "second"), leaf), "second", ClassMisconfigured},
	} {
		if Hint(c.err) != c.hint || ClassOf(c.err) != c.class {
			t.Errorf("%v: hint %q, class %q; want %q, %q", c.err, Hint(c.err), ClassOf(c.err), c.hint, c.class)
		}
	}
}

// Begin notes that an action begins, and reports whether anything changed.
func (rec *Record) Begin(a Action) bool {
	was := rec.Clone()
	now := applied{State: State{Record: *rec}}
	Begun{Action: a}.apply(&now)
	*rec = now.Record
	return !reflect.DeepEqual(was, *rec)
}

// apply takes an outcome into a record, which keeps an ended rollout.
func (rec *Record) apply(o Outcome) []Event {
	if rec.Placements == nil {
		rec.Placements = map[string]PlacementState{}
	}
	now := applied{State: State{Record: *rec}}
	o.apply(&now)
	*rec = now.Record
	return now.ch.Events
}
